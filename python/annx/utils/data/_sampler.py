"""Samplers: the order in which a loader visits a dataset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from annx import _creation
from annx.utils.data._dataset import length_of
from annx.utils.data._generator import (
    Generator,
    as_generator,
    draw_integers,
    draw_permutation,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from annx._core import Tensor

_T_co = TypeVar("_T_co", covariant=True)


class Sampler(ABC, Generic[_T_co]):
    """Base class of samplers: an iterable of indices, anew at each ``iter()``."""

    @abstractmethod
    def __iter__(self) -> Iterator[_T_co]: ...


class SequentialSampler(Sampler[int]):
    """Indices from the first to the last."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return length_of(self.data_source)


class RandomSampler(Sampler[int]):
    """Indices in random order.

    Args:
        data_source: anything with a length.
        replacement: draw each index anew, so that some repeat.
        num_samples: how many are drawn; by default as many as there are.
        generator: the random stream, or a seed; the global one by default.

    Raises:
        ValueError: ``num_samples`` is not positive.
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | int | None = None,
    ) -> None:
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"[RandomSampler] expected num_samples >= 1 but got {num_samples}")
        self.data_source = data_source
        self.replacement = replacement
        self.generator = as_generator("RandomSampler", generator)
        self._num_samples = num_samples

    def order(self) -> Tensor:
        """The indices of one pass, int64."""
        total, count = length_of(self.data_source), len(self)
        if self.replacement:
            return draw_integers(total, count, self.generator)
        passes = [draw_permutation(total, self.generator) for _ in range(-(-count // total))]
        if len(passes) == 1:
            return passes[0] if count == total else passes[0][:count]
        return _creation.tensor([i for order in passes for i in order.tolist()][:count])

    def __iter__(self) -> Iterator[int]:
        if length_of(self.data_source) == 0:
            return iter(())
        return iter(self.order().tolist())

    def __len__(self) -> int:
        return length_of(self.data_source) if self._num_samples is None else self._num_samples


class SubsetRandomSampler(Sampler[int]):
    """Given indices in random order.

    Args:
        indices: what is visited.
        generator: the random stream, or a seed; the global one by default.
    """

    def __init__(self, indices: Sequence[int], generator: Generator | int | None = None) -> None:
        self.indices = indices
        self.generator = as_generator("SubsetRandomSampler", generator)

    def __iter__(self) -> Iterator[int]:
        order = draw_permutation(len(self.indices), self.generator).tolist()
        return iter([int(self.indices[i]) for i in order])

    def __len__(self) -> int:
        return len(self.indices)


class BatchSampler(Sampler[list[int]]):
    """Lists of ``batch_size`` indices of another sampler.

    Args:
        sampler: an iterable of indices.
        batch_size: indices per list.
        drop_last: leave out a last list that is shorter.

    Raises:
        ValueError: ``batch_size`` is not a positive int.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        check_batch_size("BatchSampler", batch_size)
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        return count_batches(length_of(self.sampler), self.batch_size, self.drop_last)


def check_batch_size(op: str, batch_size: Any) -> None:
    """Raises ValueError unless ``batch_size`` is a positive int."""
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"[{op}] expected batch_size as an int >= 1 but got {batch_size!r}")


def count_batches(samples: int, batch_size: int, drop_last: bool) -> int:
    """Batches that ``samples`` samples make."""
    return samples // batch_size if drop_last else -(-samples // batch_size)
