"""RMSprop, Adagrad and Adadelta: rates scaled by sums or averages of squared gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx.optim._fused import RuleOptimizer, check_at_least, check_no_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annx.optim._optimizer import Params


class RMSprop(RuleOptimizer):
    """RMSprop (Tieleman and Hinton 2012), as ``torch.optim.RMSprop``.

    With gradient ``g``::

        g = g + weight_decay * theta
        v = alpha * v + (1 - alpha) * g * g
        a = alpha * a + (1 - alpha) * g,  d = sqrt(v - a * a) + eps   if centered
        d = sqrt(v) + eps                                             otherwise
        b = momentum * b + g / d
        theta = theta - lr * b

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: learning rate.
        alpha: decay of the averages.
        eps: added to the denominator.
        weight_decay: L2 penalty.
        momentum: decay of the sum of steps, 0 for none.
        centered: divide by the estimated standard deviation.
        maximize: ascend instead of descend.
        capturable, foreach: taken for compatibility.
        differentiable: only False.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE_KEYS = ("step", "square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr", "eps", "momentum", "weight_decay", "alpha"):
            check_at_least("RMSprop", name, group[name])
        check_no_graph("RMSprop", group)

    def _mode(self, group: Mapping[str, Any]) -> object:
        return group["momentum"] != 0, group["centered"]

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        names = ["square_avg"]
        if group["centered"]:
            names.append("grad_avg")
        if group["momentum"] != 0:
            names.append("momentum_buffer")
        return tuple(names)

    def _rule(self, group: Mapping[str, Any]) -> str:
        centered = "_centered" if group["centered"] else ""
        return f"rmsprop{centered}{'_momentum' if group['momentum'] != 0 else ''}"

    def _own(self, group: Mapping[str, Any], step: int) -> list[float]:
        return [group["alpha"], group["eps"], group["momentum"]]


class Adagrad(RuleOptimizer):
    """Adagrad (Duchi et al. 2011), as ``torch.optim.Adagrad``.

    With gradient ``g``, at step ``t``::

        g = g + weight_decay * theta
        s = s + g * g
        theta = theta - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: learning rate.
        lr_decay: how fast the rate falls.
        weight_decay: L2 penalty.
        initial_accumulator_value: ``s`` before the first step.
        eps: added to the denominator.
        maximize: ascend instead of descend.
        foreach, fused: taken for compatibility.
        differentiable: only False.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE_KEYS = ("step", "sum")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            check_at_least("Adagrad", name, group[name])
        check_no_graph("Adagrad", group)

    def _initial(self, name: str, group: Mapping[str, Any]) -> float:
        return float(group["initial_accumulator_value"])

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "adagrad"

    def _own(self, group: Mapping[str, Any], step: int) -> list[float]:
        return [group["lr_decay"], group["eps"]]


class Adadelta(RuleOptimizer):
    """Adadelta (Zeiler 2012), as ``torch.optim.Adadelta``.

    With gradient ``g``::

        g = g + weight_decay * theta
        v = rho * v + (1 - rho) * g * g
        d = sqrt(u + eps) / sqrt(v + eps) * g
        u = rho * u + (1 - rho) * d * d
        theta = theta - lr * d

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: factor of the step.
        rho: decay of the averages.
        eps: added to both averages.
        weight_decay: L2 penalty.
        maximize: ascend instead of descend.
        capturable, foreach: taken for compatibility.
        differentiable: only False.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE_KEYS = ("step", "square_avg", "acc_delta")

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay"):
            check_at_least("Adadelta", name, group[name])
        if not 0.0 <= group["rho"] <= 1.0:
            raise ValueError(f"[Adadelta] expected rho in [0, 1] but got {group['rho']}")
        check_no_graph("Adadelta", group)

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "adadelta"

    def _own(self, group: Mapping[str, Any], step: int) -> list[float]:
        return [group["rho"], group["eps"]]
