"""Whole stretches of an epoch in one native call: gathering, steps, sums.

Python comes back in between for what only it can do: Ctrl-C, the progress bar, and metrics, which
take in the rows of a stretch at once.
"""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy
from math import prod
from typing import TYPE_CHECKING, Any

from annx import _core, _creation
from annx.metrics import Metric
from annx.train._stream import RowEpoch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annx.optim.lr_scheduler import LRScheduler
    from annx.train._step import Step

_SECONDS = 0.05
# Predictions kept at once for the metrics.
_BYTES = 1 << 23


def in_stretches(metrics: list[Metric]) -> bool:
    """Whether metrics take in many batches at once as they would one by one: annx's own do."""
    return all(type(metric).__module__ == Metric.__module__ for metric in metrics)


class Stretch:
    """Runs a captured step through the rows of an epoch.

    Args:
        step: what runs.
        batches: of the epoch; those that do not come from arrays are left alone.
        more: what the step takes behind the batch.
        schedule: is stepped after every step.
        sums: the step's first result is a loss.

    Attributes:
        total: the losses so far times their samples.
    """

    def __init__(
        self,
        step: Step,
        batches: Iterator[Any],
        more: tuple[Any, ...] = (),
        schedule: LRScheduler | None = None,
        sums: bool = True,
    ) -> None:
        self._step = step
        self._more = more
        self._schedule = schedule
        self._epoch = batches if isinstance(batches, RowEpoch) else None
        self._sums = sums
        self.total = 0.0

    def run(
        self,
        places: Callable[[list[Any], int], list[Any] | None] | None,
        keep: Callable[[Any, int], None] | None,
    ) -> tuple[int, int]:
        """Runs as many of the next whole batches as time and memory allow.

        Args:
            places: gives Tensors for the rows of results, from their shapes and dtypes and the
                number of batches; None where they cannot be kept.
            keep: takes the results of all rows, and the rows of a batch.

        Returns:
            Batches run, and the samples among them.
        """
        epoch, step = self._epoch, self._step
        if epoch is None or step.reason is not None or not (count := epoch.whole()):
            return 0, 0
        current, jitted = epoch.current(), step.jitted
        known = epoch.batches.columns
        form = _core.winograd()
        if known is None or known[:2] != (step, form):
            known = epoch.batches.columns = (step, form, *self._columns(epoch))
        key, columns = known[2:]
        entry = jitted._ready(key)
        if entry is None:
            return 0, 0
        program, repeats = entry.program, entry.repeats
        optimizer = repeats[0] if repeats else None
        if columns is None or (repeats and optimizer is None) or not entry.runs_on_rows(self._sums):
            self._epoch = None
            return 0, 0
        count = min(count, step.stretch)
        kept: list[Any] = []
        if places is not None:
            specs = program.result_specs()[self._sums :]
            if keep is not None:
                each = sum(8 * prod(shape) for shape, _ in specs)
                count = min(count, max(1, _BYTES // max(1, each)))
            found = places(specs, count)
            if found is None:
                self._epoch = None
                return 0, 0
            kept = found
        feeds: list[Any] = []
        if optimizer is not None:
            feeds, count = self._feeds(optimizer, count)
        loop = _core.RowLoop(
            columns,
            current.order,
            current.at,
            current.size,
            count,
            feeds,
            self._sums,
            kept,
            self.total,
            _SECONDS,
        )
        try:
            with jitted._lock if entry.changes_state else nullcontext():
                entry.run_rows(loop)
        finally:
            if optimizer is not None:
                optimizer._count_steps(loop.fed)
                if self._schedule is not None:
                    for _ in range(loop.fed):
                        self._schedule.step()
        self.total, done = loop.total, loop.done
        step.stretch = max(64, 2 * done)
        epoch.skip(done)
        rows = done * current.size
        if keep is not None:
            outputs = [part if done == count else part[:rows] for part in kept]
            keep(entry.build([None, *outputs]), current.size)
        return done, rows

    def _feeds(self, optimizer: Any, count: int) -> tuple[list[Any], int]:
        """What the optimizer reads at each step, and for how many steps that is known."""
        schedule = self._schedule
        if schedule is None:
            return optimizer._feeds(count), count
        # Looks ahead on copies of what a schedule changes: its own numbers and the groups'.
        groups = [dict(group) for group in optimizer.param_groups]
        state = dict(vars(schedule))
        vars(schedule).update(deepcopy(state, {id(optimizer): optimizer}))
        try:
            return optimizer._feeds_ahead(count, schedule.step)  # type: ignore[no-any-return]
        finally:
            for group, before in zip(optimizer.param_groups, groups, strict=True):
                group.clear()
                group.update(before)
            vars(schedule).clear()
            vars(schedule).update(state)

    def _columns(self, epoch: RowEpoch) -> tuple[Any, Any]:
        """The key of a whole batch, and all rows; None for them where they lie in no order."""
        current, jitted = epoch.current(), self._step.jitted
        # Predictions take inputs alone.
        taken = 3 if self._sums else 1
        parts, rows = current.peek()[:taken], current.rows.parts[:taken]
        columns = jitted._read(rows, {})[1]
        plain = all(column.is_contiguous() for column in columns)
        return jitted._read((*parts, *self._more), {})[0], columns if plain else None


def fresh_places(specs: list[Any], batches: int) -> list[Any]:
    """New Tensors for the results of that many batches."""
    return [_creation.empty(batches * s[0], *s[1:], dtype=dtype) for s, dtype in specs]
