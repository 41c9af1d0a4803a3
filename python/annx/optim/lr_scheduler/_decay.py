"""Schedules that decay, warm up or follow a function."""

from __future__ import annotations

from collections import Counter
from math import cos, pi
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from annx.optim.lr_scheduler._base import LRScheduler, per_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from annx.optim._optimizer import Optimizer


_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)


class LambdaLR(LRScheduler):
    """``lr = initial_lr * lr_lambda(epoch)``.

    Args:
        optimizer: whose rates are set.
        lr_lambda: epoch -> factor, or one such function per parameter group.
        last_epoch: see :class:`LRScheduler`.

    Raises:
        ValueError: not one function per parameter group.
    """

    _NOT_STATE = ("optimizer", "lr_lambdas")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas = per_group("LambdaLR", "lr_lambda", lr_lambda, optimizer)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rows = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * function(self.last_epoch) for base, function in rows]

    def state_dict(self) -> dict[str, Any]:
        """As the base's; callable objects give their attributes, plain functions nothing."""
        state = super().state_dict()
        state["lr_lambdas"] = [
            None if isinstance(function, _FUNCTIONS) else dict(vars(function))
            for function in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        state = dict(state_dict)
        for function, attributes in zip(self.lr_lambdas, state.pop("lr_lambdas"), strict=True):
            if attributes is not None:
                vars(function).update(attributes)
        super().load_state_dict(state)


class StepLR(LRScheduler):
    """Multiplies the rates by ``gamma`` every ``step_size`` epochs.

    Source: guide, "Learning Rate Schedules", Step Decay.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if step_size < 1:
            raise ValueError(f"[StepLR] expected step_size >= 1 but got {step_size}")
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._current()
        return [lr * self.gamma for lr in self._current()]


class MultiStepLR(LRScheduler):
    """Multiplies the rates by ``gamma`` at each of the epochs ``milestones``."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        times = self.milestones.get(self.last_epoch, 0)
        return [lr * self.gamma**times for lr in self._current()] if times else self._current()


class ExponentialLR(LRScheduler):
    """Multiplies the rates by ``gamma`` every epoch.

    Source: guide, "Learning Rate Schedules", Exponential Decay.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._current()
        return [lr * self.gamma for lr in self._current()]


class LinearLR(LRScheduler):
    """Moves the factor of the rates linearly from ``start_factor`` to ``end_factor``.

    Args:
        optimizer: whose rates are set.
        start_factor: in (0, 1], the factor of epoch 0.
        end_factor: in [0, 1], the factor of epoch ``total_iters`` and later ones.
        total_iters: epochs until the end factor.
        last_epoch: see :class:`LRScheduler`.

    Raises:
        ValueError: a factor out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0.0 < start_factor <= 1.0:
            raise ValueError(f"[LinearLR] expected start_factor in (0, 1] but got {start_factor}")
        if not 0.0 <= end_factor <= 1.0:
            raise ValueError(f"[LinearLR] expected end_factor in [0, 1] but got {end_factor}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rates = self._current()
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in rates]
        if self.last_epoch > self.total_iters:
            return rates
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return [lr * (1.0 + rise / before) for lr in rates]


class CosineAnnealingLR(LRScheduler):
    r"""Lets the rates follow half a cosine down to ``eta_min`` within ``T_max`` epochs.

    :math:`\alpha_t = \alpha_{min} + (\alpha_0 - \alpha_{min}) (1 + \cos(\pi t / T)) / 2`

    Source: guide, "Learning Rate Schedules", Cosine Annealing; Loshchilov and Hutter 2017.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_max < 1:
            raise ValueError(f"[CosineAnnealingLR] expected T_max >= 1 but got {T_max}")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rates = self._current()
        epoch, period, low = self.last_epoch, self.T_max, self.eta_min
        if epoch == 0:
            return rates
        if (epoch - 1 - period) % (2 * period) == 0:
            # The rate before is eta_min: its ratio to the next one says nothing.
            swing = (1 - cos(pi / period)) / 2
            return [
                lr + (base - low) * swing for lr, base in zip(rates, self.base_lrs, strict=True)
            ]
        ratio = (1 + cos(pi * epoch / period)) / (1 + cos(pi * (epoch - 1) / period))
        return [ratio * (lr - low) + low for lr in rates]
