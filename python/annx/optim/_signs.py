"""Rprop and Lion, which go by the sign of the gradient, and averaged SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx.optim._fused import RuleOptimizer, check_at_least, check_betas, check_no_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annx.optim._optimizer import Params


class ASGD(RuleOptimizer):
    """Averaged SGD (Polyak and Juditsky 1992), as ``torch.optim.ASGD``.

    With gradient ``g``, at step ``t``::

        g = g + weight_decay * theta
        eta = lr / (1 + lambd * lr * (t - 1))^alpha
        theta = theta * (1 - lambd * eta) - eta * g
        ax = ax + (theta - ax) / max(1, t - 1 - t0)

    The average ``ax`` is in the state. A changed ``lr`` acts in the same step.

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: learning rate at first.
        lambd: decay of the parameters and of the rate.
        alpha: power of the rate's decay.
        t0: where the average begins.
        weight_decay: L2 penalty.
        maximize: ascend instead of descend.
        foreach, capturable: taken for compatibility.
        differentiable: only False.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE_KEYS = ("step", "eta", "mu", "ax")
    _SCALAR_KEYS = ("step", "eta", "mu")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr", "weight_decay"):
            check_at_least("ASGD", name, group[name])
        check_no_graph("ASGD", group)

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def _scalars(self, group: Mapping[str, Any], count: int) -> dict[str, float]:
        rate = (1.0 + group["lambd"] * group["lr"] * count) ** group["alpha"]
        return {"eta": group["lr"] / rate, "mu": 1.0 / max(1.0, count - group["t0"])}

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "asgd"

    def _own(self, group: Mapping[str, Any], step: int) -> list[float]:
        return [group["lambd"], group["alpha"], group["t0"]]


class Rprop(RuleOptimizer):
    """Resilient backpropagation (Riedmiller and Braun 1993), as ``torch.optim.Rprop``.

    Every element has a step size of its own, which grows while the gradient keeps its sign and
    shrinks when the sign changes; the gradient's size does not matter. For full batches.

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: step size at first.
        etas: factors of the step size after a change of sign and without one.
        step_sizes: smallest and largest step size.
        maximize: ascend instead of descend.
        capturable, foreach: taken for compatibility.
        differentiable: only False.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE_KEYS = ("step", "prev", "step_size")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        check_at_least("Rprop", "lr", group["lr"])
        if not 0.0 < group["etas"][0] < 1.0 < group["etas"][1]:
            raise ValueError(f"[Rprop] expected etas around 1 but got {group['etas']}")
        check_no_graph("Rprop", group)

    def _initial(self, name: str, group: Mapping[str, Any]) -> float:
        return float(group["lr"]) if name == "step_size" else 0.0

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("prev", "step_size")

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "rprop"

    def _own(self, group: Mapping[str, Any], step: int) -> list[float]:
        return [*group["etas"], *group["step_sizes"]]


class Lion(RuleOptimizer):
    """Lion (Chen et al. 2023): steps of one size by the sign of a momentum.

    With gradient ``g``::

        theta = theta * (1 - lr * weight_decay) - lr * sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: size of the steps.
        betas: weight of the momentum in the step, and its decay.
        weight_decay: decay of the weights.
        maximize: ascend instead of descend.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE_KEYS = ("step", "exp_avg")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "weight_decay": weight_decay,
                "decoupled_weight_decay": True,
                "maximize": maximize,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr", "weight_decay"):
            check_at_least("Lion", name, group[name])
        check_betas("Lion", group["betas"])

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("exp_avg",)

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "lion"

    def _own(self, group: Mapping[str, Any], step: int) -> list[float]:
        return [*group["betas"]]
