"""Whole stretches of an epoch in one native call: gathering, steps, sums.

Python comes back in between for what only it can do: Ctrl-C, the progress bar, and metrics, which
take in the rows of a stretch at once.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from annx import _core, _creation
from annx.metrics import Metric
from annx.train._stream import RowEpoch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annx.train._step import Step

_SECONDS = 0.05
# Predictions kept at once.
_BYTES = 1 << 23


class Stretch:
    """Runs a captured step through the rows of an epoch.

    Args:
        step: what runs.
        batches: of the epoch; those that do not come from arrays are left alone.
        metrics: of the epoch: only annx's own can take in many batches at once.
    """

    def __init__(
        self, step: Step, batches: Iterator[Any], metrics: list[Metric] | None = None
    ) -> None:
        self._step = step
        self._epoch = batches if isinstance(batches, RowEpoch) else None
        self._key: Any = None
        if any(type(metric).__module__ != Metric.__module__ for metric in metrics or ()):
            self._epoch = None

    def run(self, total: float, keep: Callable[[Any, int], None] | None) -> tuple[int, float, int]:
        """Runs as many of the next whole batches as time and memory allow.

        Args:
            total: what the losses times their samples are added to.
            keep: takes what the step returned for all rows, and the rows of a batch.

        Returns:
            Batches run, the total, and the samples among them.
        """
        epoch, step = self._epoch, self._step
        if epoch is None or step.reason is not None or not (count := epoch.whole()):
            return 0, total, 0
        current = epoch.current()
        jitted = step.jitted
        if self._key is None:
            self._key = jitted._read(None, current.peek(), {})[0]
        entry = jitted._ready(self._key)
        if entry is None:
            return 0, total, 0
        optimizer = entry.repeats[0] if entry.repeats else None
        if not entry.program.runs_on_rows() or (entry.repeats and optimizer is None):
            self._epoch = None
            return 0, total, 0
        columns = jitted._read(None, current.rows.parts, {})[1]
        if not all(column.is_contiguous() for column in columns):
            self._epoch = None
            return 0, total, 0
        count = min(count, step.stretch)
        kept: list[Any] = []
        if keep is not None:
            specs = entry.program.result_specs()[1:]
            bytes_each = sum(8 * prod(shape) for shape, _ in specs)
            count = min(count, max(1, _BYTES // max(1, bytes_each)))
            kept = [_creation.empty(count * s[0], *s[1:], dtype=dtype) for s, dtype in specs]
        loop = _core.RowLoop(
            columns,
            current.order,
            current.at,
            current.size,
            count,
            optimizer._feeds(count) if optimizer is not None else [],
            kept,
            total,
            _SECONDS,
        )
        try:
            with jitted._lock:
                entry.run_rows(loop)
        finally:
            if optimizer is not None:
                optimizer._count_steps(loop.fed)
        done = loop.done
        step.stretch = max(64, 2 * done)
        epoch.skip(done)
        rows = done * current.size
        if keep is not None:
            outputs = [part if done == count else part[:rows] for part in kept]
            keep(entry.build([None, *outputs]), current.size)
        return done, loop.total, rows
