"""Datasets: collections of samples that are reached by index."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from math import floor, isclose
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from annx import _core, _creation
from annx._core import Tensor
from annx.utils.data._generator import Generator, as_generator, draw_permutation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_T_co = TypeVar("_T_co", covariant=True)
_T = TypeVar("_T")

_index_select = _core.ops.index_select


def take_rows(tensor: Tensor, index: Tensor | slice) -> Tensor:
    """Rows of a tensor: a view for a slice, else gathered by one op."""
    if isinstance(index, slice):
        rows: Tensor = tensor[index]
        return rows
    gathered: Tensor = _index_select(tensor, 0, index)
    return gathered


class Dataset(Generic[_T_co]):
    """Base class of datasets: a subclass defines ``__getitem__(index)`` and ``__len__``.

    It may define ``take(index)`` besides, which returns a whole batch, collated, for an int64
    Tensor or a slice of indices; a loader with the default ``collate_fn`` then uses it.
    """

    def __getitem__(self, index: Any) -> _T_co:
        raise TypeError(f"[{type(self).__name__}] expected the dataset to define __getitem__")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Rows of tensors that belong together; a sample is a tuple with a row of each.

    Args:
        tensors: Tensors, or arrays that become some, of equal length along dimension 0.

    Raises:
        ValueError: there is none, one is 0-d, or the lengths differ.
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tuple(_creation.as_tensor(tensor) for tensor in tensors)
        shapes = [tuple(tensor.shape) for tensor in self.tensors]
        if not shapes or any(not shape for shape in shapes):
            raise ValueError(
                "[TensorDataset] expected tensors of at least one dimension but got shapes "
                f"{shapes}"
            )
        if any(shape[0] != shapes[0][0] for shape in shapes):
            raise ValueError(f"[TensorDataset] expected equal lengths but got shapes {shapes}")

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def take(self, index: Tensor | slice) -> list[Tensor]:
        """The rows at ``index`` of each tensor."""
        return [take_rows(tensor, index) for tensor in self.tensors]


class Subset(Dataset[_T_co]):
    """Some samples of a dataset.

    Args:
        dataset: where the samples are.
        indices: their indices.
    """

    def __init__(self, dataset: Dataset[_T_co], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> _T_co:
        return self.dataset[int(self.indices[index])]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def take(self) -> Any:
        """The batch gather of the dataset behind, at this subset's indices.

        Raises:
            AttributeError: that dataset has none.
        """
        inner = self.dataset.take  # type: ignore[attr-defined]
        own = _creation.as_tensor(self.indices, dtype="int64")
        return lambda index: inner(take_rows(own, index))


class ConcatDataset(Dataset[_T_co]):
    """Datasets one after another.

    Raises:
        ValueError: there is none.
    """

    def __init__(self, datasets: Iterable[Dataset[_T_co]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("[ConcatDataset] expected at least one dataset but got none")
        self.cumulative_sizes = list(accumulate(length_of(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: Any) -> _T_co:
        position = int(index)
        if position < 0:
            position += len(self)
        if not 0 <= position < len(self):
            raise IndexError(
                f"[ConcatDataset] expected an index in [{-len(self)}, {len(self)}) but got {index}"
            )
        number = bisect_right(self.cumulative_sizes, position)
        start = self.cumulative_sizes[number - 1] if number else 0
        return self.datasets[number][position - start]


def length_of(dataset: Any) -> int:
    """``len(dataset)``.

    Raises:
        TypeError: the dataset has no length.
    """
    try:
        return len(dataset)
    except TypeError:
        raise TypeError(
            f"[data] expected a dataset with a length but {type(dataset).__name__} has none"
        ) from None


def random_split(
    dataset: Dataset[_T],
    lengths: Sequence[int | float],
    generator: Generator | int | None = None,
) -> list[Subset[_T]]:
    """Divides a dataset at random into subsets without overlap.

    Args:
        dataset: what is divided.
        lengths: sizes that add up to the dataset's, or shares that add up to 1: sizes are then
            rounded down and what is left goes, one each, to the first subsets.
        generator: the random stream, or a seed; the global one by default.

    Raises:
        ValueError: the lengths do not add up, or one is negative.
    """
    total = length_of(dataset)
    sizes = _split_sizes(list(lengths), total)
    order = draw_permutation(total, as_generator("random_split", generator)).tolist()
    ends = list(accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def _split_sizes(lengths: list[int | float], total: int) -> list[int]:
    if not lengths or any(length < 0 for length in lengths):
        raise ValueError(f"[random_split] expected lengths of at least 0 but got {lengths}")
    if all(isinstance(length, int) for length in lengths) and sum(lengths) != 1:
        sizes = [int(length) for length in lengths]
    elif isclose(sum(lengths), 1.0):
        sizes = [floor(total * share) for share in lengths]
        for index in range(total - sum(sizes)):
            sizes[index % len(sizes)] += 1
    else:
        sizes = [-1]
    if sum(sizes) != total:
        raise ValueError(
            f"[random_split] expected lengths that add up to {total}, or shares to 1, but got "
            f"{lengths}"
        )
    return sizes
