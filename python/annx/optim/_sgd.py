"""Stochastic gradient descent with momentum and Nesterov's variant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx import _core
from annx.optim._fused import Bucket, FusedOptimizer, check_at_least, check_no_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annx._core import Tensor
    from annx.optim._optimizer import Params

_sgd_step = _core.ops.sgd_step_


class SGD(FusedOptimizer):
    r"""Stochastic gradient descent, as ``torch.optim.SGD``.

    With gradient :math:`g`, learning rate :math:`\alpha` and momentum :math:`\mu`::

        g = -g                                 if maximize
        g = g + weight_decay * theta
        v = mu * v + (1 - dampening) * g       (v = g at the first step)
        g = g + mu * v  if nesterov  else  v
        theta = theta - alpha * g

    This is the form of Sutskever et al. 2013 as PyTorch has it: the learning rate multiplies the
    velocity when it is applied, so a change of the rate acts at once.

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: learning rate.
        momentum: factor of the velocity, 0 for none.
        dampening: how much less than its full size the gradient enters the velocity.
        weight_decay: L2 penalty.
        nesterov: look ahead along the velocity; needs momentum and no dampening.
        maximize: ascend instead of descend.
        foreach, fused: taken for compatibility; every step is one native call anyway.
        differentiable: only False.

    Raises:
        ValueError: an argument is out of range.
    """

    _HYPER_LENGTH = 8
    _TELLS_FIRST = True
    _SCALE_AT = 7
    _STATE_KEYS = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            check_at_least("SGD", name, group[name])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "[SGD] expected momentum > 0 and dampening = 0 with nesterov but got "
                f"momentum={group['momentum']}, dampening={group['dampening']}"
            )
        check_no_graph("SGD", group)

    def _mode(self, group: Mapping[str, Any]) -> object:
        return group["momentum"] != 0

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def _hyper_values(self, group: Mapping[str, Any], bucket: Bucket) -> list[float]:
        return [
            group["lr"],
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            group["maximize"],
            bucket.first,
            1.0,
        ]

    def _apply(self, group: Mapping[str, Any], bucket: Bucket, grads: list[Tensor]) -> None:
        _sgd_step(bucket.params, grads, bucket.slots.get("momentum_buffer", []), bucket.hyper)
