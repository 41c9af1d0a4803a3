"""Schedules that rise again: warm restarts and one cycle."""

from __future__ import annotations

from math import cos, pi
from typing import TYPE_CHECKING, Any

from annx import _capture
from annx.optim.lr_scheduler._base import LRScheduler, check_optimizer, per_group

if TYPE_CHECKING:
    from annx.optim._optimizer import Optimizer


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine annealing that starts again after ``T_0`` epochs, then after ``T_mult`` times more.

    Args:
        optimizer: whose rates are set.
        T_0: epochs of the first period.
        T_mult: each period is this many times as long as the one before.
        eta_min: the lowest rate.
        last_epoch: see :class:`LRScheduler`.

    Raises:
        ValueError: ``T_0`` or ``T_mult`` is not an integer of at least 1.

    Source: guide, "Learning Rate Scheduling", Warm Restarts; Loshchilov and Hutter 2017.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"[CosineAnnealingWarmRestarts] expected {name} as an int >= 1 but got {value}"
                )
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        share = (1 + cos(pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Goes to the next epoch, or to ``epoch``, which may be a fraction within a period.

        Raises:
            ValueError: ``epoch`` is negative.
            RuntimeError: ``epoch`` is given inside a captured call.
        """
        if epoch is None:
            _capture.repeat(self.step)
            epoch = self.last_epoch + 1
        else:
            _capture.refuse(
                "expected no epoch given to a schedule inside a captured call: replays would set "
                "the same one. Leave it out, or step outside of the call"
            )
        if epoch < 0:
            raise ValueError(
                f"[CosineAnnealingWarmRestarts.step] expected epoch >= 0 but got {epoch}"
            )
        if self.T_mult == 1:
            self.T_i, self.T_cur = self.T_0, epoch % self.T_0
        else:
            self.T_i, self.T_cur = self.T_0, epoch
            while self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult
        self._step_count += 1
        self.last_epoch = int(epoch // 1)
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
        self._last_lr = self._current()


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (cos(pi * share) + 1)


def _line(start: float, end: float, share: float) -> float:
    return (end - start) * share + start


class OneCycleLR(LRScheduler):
    """Raises the rates to ``max_lr`` and lets them fall far below the start, in one cycle.

    Call :meth:`step` after every batch. Momentum (or Adam's first beta) moves the other way.

    Args:
        optimizer: whose rates are set.
        max_lr: the highest rate, one or one per parameter group.
        total_steps: steps of the cycle; or give ``epochs`` and ``steps_per_epoch``.
        epochs, steps_per_epoch: whose product is the number of steps.
        pct_start: share of the cycle in which the rate rises.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: whether momentum cycles between the next two.
        base_momentum, max_momentum: lowest and highest momentum.
        div_factor: the first rate is ``max_lr / div_factor``.
        final_div_factor: the last rate is the first one divided by this.
        three_phase: fall as fast as it rose, then to the last rate; otherwise fall in one go.
        last_epoch: index of the last batch, to go on with an interrupted training.

    Raises:
        ValueError: the number of steps is not given, an argument is out of range, the optimizer
            has no momentum to cycle, or :meth:`step` is called too often.

    Source: guide, "Learning Rate Scheduling", One-Cycle Policy; Smith and Topin 2018.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer("OneCycleLR", optimizer)
        self.total_steps = _count_steps(total_steps, epochs, steps_per_epoch)
        if not 0.0 <= pct_start <= 1.0:
            raise ValueError(f"[OneCycleLR] expected pct_start in [0, 1] but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"[OneCycleLR] expected anneal_strategy 'cos' or 'linear' but got "
                f"{anneal_strategy!r}"
            )
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        self.cycle_momentum = cycle_momentum
        self.use_beta1 = "betas" in optimizer.defaults
        rates = per_group("OneCycleLR", "max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["initial_lr"] = rate / div_factor
                group["max_lr"] = rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
        if cycle_momentum:
            if not self.use_beta1 and "momentum" not in optimizer.defaults:
                raise ValueError(
                    "[OneCycleLR] expected an optimizer with momentum or betas for "
                    f"cycle_momentum=True but got {type(optimizer).__name__}"
                )
            highs = per_group("OneCycleLR", "max_momentum", max_momentum, optimizer)
            lows = per_group("OneCycleLR", "base_momentum", base_momentum, optimizer)
            if last_epoch == -1:
                for group, high, low in zip(optimizer.param_groups, highs, lows, strict=True):
                    self._set_momentum(group, high)
                    group["max_momentum"] = high
                    group["base_momentum"] = low
        super().__init__(optimizer, last_epoch)

    def _set_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value

    def get_lr(self) -> list[float]:
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"[OneCycleLR.step] expected at most {self.total_steps} steps but got {step}"
            )
        anneal = _cosine if self._anneal_func_type == "cos" else _line
        phases = self._schedule_phases
        number = next((i for i, phase in enumerate(phases) if step <= phase[0]), len(phases) - 1)
        end, lr_from, lr_to, momentum_from, momentum_to = phases[number]
        start = phases[number - 1][0] if number else 0.0
        share = (step - start) / (end - start) if end != start else 1.0
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(anneal(group[lr_from], group[lr_to], share))
            if self.cycle_momentum:
                self._set_momentum(group, anneal(group[momentum_from], group[momentum_to], share))
        return rates


def _count_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise ValueError(
                "[OneCycleLR] expected total_steps, or both epochs and steps_per_epoch, but got "
                "neither"
            )
        for name, value in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"[OneCycleLR] expected {name} as an int >= 1 but got {value}")
        return epochs * steps_per_epoch
    if not isinstance(total_steps, int) or total_steps < 1:
        raise ValueError(f"[OneCycleLR] expected total_steps as an int >= 1 but got {total_steps}")
    return total_steps


def _phases(
    total: int, pct_start: float, three_phase: bool
) -> list[tuple[float, str, str, str, str]]:
    """Last step of each phase, and the keys that hold rate and momentum at its ends."""
    peak = pct_start * total - 1
    up = ("initial_lr", "max_lr", "max_momentum", "base_momentum")
    if not three_phase:
        return [(peak, *up), (total - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
    return [
        (peak, *up),
        (2 * pct_start * total - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
        (total - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
    ]
