"""Adam, AdamW and their AMSGrad variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx import _core
from annx.optim._fused import (
    Bucket,
    FusedOptimizer,
    RuleOptimizer,
    apply_rule,
    check_at_least,
    check_no_graph,
    rule_hyper,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annx._core import Tensor
    from annx.optim._optimizer import Params

_adam_step = _core.ops.adam_step_


class Adam(FusedOptimizer):
    r"""Adam (Kingma and Ba 2015), as ``torch.optim.Adam``.

    With gradient :math:`g` and learning rate :math:`\alpha`, at step :math:`t`::

        g = -g                                       if maximize
        theta = theta * (1 - alpha * weight_decay)   if decoupled_weight_decay
        g = g + weight_decay * theta                 otherwise
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        theta = theta - alpha * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    With ``amsgrad`` the largest ``v`` so far stands in place of ``v`` (Reddi et al. 2018).

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: learning rate.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: L2 penalty, or decay of the weights with ``decoupled_weight_decay``.
        amsgrad: divide by the largest second moments so far.
        maximize: ascend instead of descend.
        decoupled_weight_decay: decay the weights as AdamW does.
        foreach, capturable, fused: taken for compatibility; every step is one native call that a
            captured step can replay.
        differentiable: only False.

    Raises:
        ValueError: an argument is out of range.
    """

    _HYPER_LENGTH = 12
    _SCALE_AT = 8
    _STATE_KEYS = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    _COUNTS_STEPS = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay"):
            check_at_least(self._name, name, group[name])
        betas = group["betas"]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"[{self._name}] expected two betas in [0, 1) but got {betas}")
        check_no_graph(self._name, group)

    def _mode(self, group: Mapping[str, Any]) -> object:
        return group["amsgrad"]

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        names = ("exp_avg", "exp_avg_sq")
        return (*names, "max_exp_avg_sq") if group["amsgrad"] else names

    def _hyper_values(self, group: Mapping[str, Any], bucket: Bucket) -> list[float]:
        beta1, beta2 = group["betas"]
        if group["amsgrad"]:
            return rule_hyper(group, bucket.count + 1, [beta1, beta2, group["eps"]])
        return [
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            group["decoupled_weight_decay"],
            group["maximize"],
            bucket.count + 1,
            1.0,
            0.0,
            0.0,
            0.0,
        ]

    def _step_at(self, group: Mapping[str, Any]) -> int | None:
        return 4 if group["amsgrad"] else 7

    def _scale_at(self, group: Mapping[str, Any]) -> int:
        return RuleOptimizer._SCALE_AT if group["amsgrad"] else self._SCALE_AT

    def _apply(self, group: Mapping[str, Any], bucket: Bucket, grads: list[Tensor]) -> None:
        slots = bucket.slots
        if group["amsgrad"]:
            apply_rule("adam_amsgrad", bucket, grads)
        else:
            _adam_step(bucket.params, grads, slots["exp_avg"], slots["exp_avg_sq"], bucket.hyper)


class AdamW(Adam):
    r"""Adam with decoupled weight decay (Loshchilov and Hutter 2019), as ``torch.optim.AdamW``.

    The weights decay by ``lr * weight_decay`` apart from the gradient; see :class:`Adam` for the
    formulas and the other arguments.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
