"""Adamax, NAdam and RAdam: relatives of Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx.optim._fused import RuleOptimizer, check_at_least, check_betas, check_no_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annx.optim._optimizer import Params


class _AdamVariant(RuleOptimizer):
    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay"):
            check_at_least(self._name, name, group[name])
        check_betas(self._name, group["betas"])
        check_no_graph(self._name, group)

    def _own(self, group: Mapping[str, Any], step: int) -> list[float]:
        return [*group["betas"], group["eps"]]


class Adamax(_AdamVariant):
    """Adamax (Kingma and Ba 2015), as ``torch.optim.Adamax``: Adam by the largest gradient.

    With gradient ``g``, at step ``t``::

        g = g + weight_decay * theta
        m = beta1 * m + (1 - beta1) * g
        u = max(beta2 * u, |g| + eps)
        theta = theta - lr / (1 - beta1^t) * m / u

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: learning rate.
        betas: decay of the average of the gradient and of its largest magnitude.
        eps: added to the magnitude.
        weight_decay: L2 penalty.
        maximize: ascend instead of descend.
        foreach, capturable: taken for compatibility.
        differentiable: only False.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE_KEYS = ("step", "exp_avg", "exp_inf")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "adamax"


# The product of the momenta of steps 1, 2, ... by beta1 and momentum_decay.
_mu_products: dict[tuple[float, float], list[float]] = {}


def _momentum(beta1: float, momentum_decay: float, step: int) -> float:
    return float(beta1 * (1.0 - 0.5 * 0.96 ** (step * momentum_decay)))


def _momentum_product(beta1: float, momentum_decay: float, step: int) -> float:
    products = _mu_products.setdefault((beta1, momentum_decay), [1.0])
    while len(products) <= step:
        products.append(products[-1] * _momentum(beta1, momentum_decay, len(products)))
    return products[step]


class NAdam(_AdamVariant):
    """NAdam (Dozat 2016), as ``torch.optim.NAdam``: Adam with Nesterov's momentum.

    With gradient ``g``, at step ``t``::

        theta = theta * (1 - lr * weight_decay)   if decoupled_weight_decay
        g = g + weight_decay * theta              otherwise
        mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        n = mu_(t+1) * m / (1 - mu_1 ... mu_(t+1)) + (1 - mu_t) * g / (1 - mu_1 ... mu_t)
        theta = theta - lr * n / (sqrt(v / (1 - beta2^t)) + eps)

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: learning rate.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: L2 penalty, or decay of the weights with ``decoupled_weight_decay``.
        momentum_decay: how fast the momentum reaches ``beta1``.
        decoupled_weight_decay: decay the weights as AdamW does.
        maximize: ascend instead of descend.
        foreach, capturable: taken for compatibility.
        differentiable: only False.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE_KEYS = ("step", "mu_product", "exp_avg", "exp_avg_sq")
    _SCALAR_KEYS = ("step", "mu_product")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        super()._check(group)
        check_at_least("NAdam", "momentum_decay", group["momentum_decay"])

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "nadam"

    def _scalars(self, group: Mapping[str, Any], count: int) -> dict[str, float]:
        product = _momentum_product(group["betas"][0], group["momentum_decay"], count)
        return {"mu_product": product}

    def _own(self, group: Mapping[str, Any], step: int) -> list[float]:
        beta1, decay = group["betas"][0], group["momentum_decay"]
        return [
            *super()._own(group, step),
            _momentum(beta1, decay, step),
            _momentum(beta1, decay, step + 1),
            _momentum_product(beta1, decay, step),
        ]


class RAdam(_AdamVariant):
    """RAdam (Liu et al. 2019), as ``torch.optim.RAdam``: Adam without its early variance.

    As Adam, but the step is multiplied by a rectification that grows with the number of steps, and
    not divided by ``sqrt(v)`` while it cannot be estimated (about the first five steps).

    Args:
        params: Tensors, or dicts of parameter groups, or named parameters.
        lr: learning rate.
        betas: decay of the averages of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: L2 penalty, or decay of the weights with ``decoupled_weight_decay``.
        decoupled_weight_decay: decay the weights as AdamW does.
        maximize: ascend instead of descend.
        foreach, capturable: taken for compatibility.
        differentiable: only False.

    Raises:
        ValueError: an argument is out of range.
    """

    _STATE_KEYS = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _state_names(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "radam"
