"""Epochs of batches, one at a time or as rows that a captured step runs through by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx.train._parts import groups
from annx.utils.data._sampler import RandomSampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annx.train._data import Batches, Rows


class Pass:
    """A pass over all rows: in which order, and how far it is."""

    __slots__ = ("at", "order", "rows", "samples", "size")

    def __init__(self, batches: Batches) -> None:
        loader = batches.source
        self.rows: Rows = loader.dataset
        self.order = loader.sampler.order() if type(loader.sampler) is RandomSampler else None
        self.size: int = loader.batch_size
        self.samples = len(self.rows)
        self.at = 0

    def peek(self) -> tuple[Any, Any, Any]:
        """The next batch."""
        index = slice(self.at, min(self.at + self.size, self.samples))
        return self.rows.take(index if self.order is None else self.order[index])


class RowEpoch:
    """The batches of an epoch of arrays."""

    def __init__(self, stream: Stream, steps: int) -> None:
        self.batches = stream.batches
        self._stream = stream
        self._left = steps

    def __iter__(self) -> RowEpoch:
        return self

    def __next__(self) -> tuple[Any, Any, Any]:
        if not self._left:
            raise StopIteration
        batch = self.current().peek()
        self.skip(1)
        return batch

    def current(self) -> Pass:
        """The pass that the next batch is part of."""
        found = self._stream.passing
        if found is None or found.at >= found.samples:
            found = self._stream.passing = Pass(self._stream.batches)
        return found

    def whole(self) -> int:
        """How many batches of full size come next in one pass."""
        if not self._left:
            return 0
        current = self.current()
        return min(self._left, (current.samples - current.at) // current.size)

    def skip(self, batches: int) -> None:
        """Leaves out that many batches, which somebody else has taken."""
        self._left -= batches
        self.current().at += batches * self.current().size


class Stream:
    """Epochs of batches: each a whole pass, or ``steps`` batches of an endless one.

    With ``several`` lists of so many batches, fewer at the end of a pass; for other sources than
    arrays, whose batches are as large as they have to be.
    """

    def __init__(self, batches: Batches, steps: int | None, several: int = 1) -> None:
        self.batches = batches
        self._several = several
        self.steps = steps
        self.passing: Pass | None = None
        self._iterator: Iterator[Any] | None = None
        if steps is not None and steps < 1:
            raise ValueError(f"[{batches.op}] expected at least 1 step per epoch but got {steps}")

    def epoch(self) -> Iterator[tuple[Any, Any, Any]]:
        """The batches of the next epoch.

        Raises:
            ValueError: the source is used up.
        """
        if not self.batches.rows:
            return self._batches()
        if self.steps is None:
            self.passing = None
            assert self.batches.steps is not None  # rows are counted
            return RowEpoch(self, self.batches.steps)
        return RowEpoch(self, self.steps)

    def _batches(self) -> Iterator[tuple[Any, Any, Any]]:
        if self.steps is None:
            count = 0
            for batch in self._pass():
                count += 1
                yield batch
            if count == 0:
                raise self._used_up()
            return
        for _ in range(self.steps):
            yield self._next()

    def _pass(self) -> Iterator[Any]:
        return (
            iter(self.batches) if self._several == 1 else groups(iter(self.batches), self._several)
        )

    def _next(self) -> tuple[Any, Any, Any]:
        for _ in range(2):
            if self._iterator is None:
                self._iterator = self._pass()
            for batch in self._iterator:
                return batch  # type: ignore[no-any-return]
            self._iterator = None
        raise self._used_up()

    def _used_up(self) -> ValueError:
        return ValueError(
            f"[{self.batches.op}] expected more batches but the source is used up; a generator can "
            "be read once: pass a DataLoader, a list of batches or fewer steps"
        )
