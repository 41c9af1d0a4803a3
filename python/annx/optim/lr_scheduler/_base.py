"""The base of the learning-rate schedules."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from annx import _capture
from annx.optim._optimizer import Optimizer

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_optimizer(name: str, optimizer: object) -> None:
    """Raises TypeError for anything but an optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"[{name}] expected an Optimizer but got {type(optimizer).__name__}")


class LRScheduler:
    """Base class of schedules that follow the number of calls of :meth:`step`.

    A subclass defines :meth:`get_lr`, the rates at ``self.last_epoch``. Rates are computed from
    those in force, not from the first ones, so that several schedules can act on one optimizer.

    Args:
        optimizer: whose groups' ``"lr"`` is set.
        last_epoch: index of the last epoch, to go on with an interrupted training; -1 starts.
            Otherwise the groups must have an ``"initial_lr"``.

    Raises:
        TypeError: ``optimizer`` is not one.
        KeyError: training is to go on but a group has no ``"initial_lr"``.
    """

    # Attributes that state_dict leaves out.
    _NOT_STATE: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(type(self).__name__, optimizer)
        self.optimizer = optimizer
        for index, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"[{type(self).__name__}] expected 'initial_lr' in every parameter group to "
                    f"go on from epoch {last_epoch} but group {index} has none"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._last_lr: list[float] = []
        self.step()

    def get_lr(self) -> list[float]:
        """The rate of each group at ``self.last_epoch``; here the ones in force."""
        return self._current()

    def get_last_lr(self) -> list[float]:
        """The rate of each group that this schedule set last."""
        return self._last_lr

    def _current(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def step(self) -> None:
        """Goes to the next epoch and sets the rates; call it after ``optimizer.step()``."""
        _capture.repeat(self.step)
        if self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn(
                f"[{type(self).__name__}.step] expected optimizer.step() before it but got none: "
                "the first value of the schedule is skipped",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        self.last_epoch += 1
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
        self._last_lr = self._current()

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer and functions."""
        return {key: value for key, value in vars(self).items() if key not in self._NOT_STATE}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state_dict` returned; load the optimizer's state besides."""
        vars(self).update(state_dict)

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))


def per_group(name: str, what: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """``value`` as a list with an entry for each group of ``optimizer``.

    Raises:
        TypeError: ``optimizer`` is not one.
        ValueError: a list of another length.
    """
    check_optimizer(name, optimizer)
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"[{name}] expected {what} as one value or {count}, one per parameter group, but got "
            f"{len(value)}"
        )
    return list(value)
