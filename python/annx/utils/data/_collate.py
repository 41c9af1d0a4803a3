"""Makes a batch of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from annx import _core, _creation
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

_stack = _core.ops.stack


def _stacked(tensors: list[Tensor]) -> Tensor:
    shape = tuple(tensors[0].shape)
    for tensor in tensors:
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"[default_collate] expected samples of one shape but got {shape} and "
                f"{tuple(tensor.shape)}; pass a collate_fn that pads them"
            )
    batch: Tensor = _stack(tensors)
    return batch


def default_collate(batch: Sequence[Any]) -> Any:
    """Stacks samples along a new dimension 0, inside of dicts, tuples and lists.

    Tensors and arrays are stacked; numbers become a Tensor (floats float32, ints int64); strings
    stay a list; tuples and lists become a list, named tuples and dicts stay what they are.

    Raises:
        TypeError: a sample is of another kind.
        ValueError: the batch is empty, or samples differ in shape or length.
    """
    if not batch:
        raise ValueError("[default_collate] expected at least one sample but got none")
    first = batch[0]
    if isinstance(first, Tensor):
        return _stacked(list(batch))
    if isinstance(first, np.ndarray):
        return _stacked([_creation.as_tensor(array) for array in batch])
    if isinstance(first, (bool, int, float)) and not isinstance(first, np.generic):
        return _creation.tensor(list(batch))
    if isinstance(first, np.generic) and first.dtype.kind in "biuf":
        return _creation.tensor(np.asarray(batch))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, dict):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, (tuple, list)):
        if any(len(sample) != len(first) for sample in batch):
            raise ValueError(
                "[default_collate] expected samples of equal length but got "
                f"{sorted({len(sample) for sample in batch})}"
            )
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise TypeError(
        "[default_collate] expected samples of Tensors, arrays, numbers, strings, dicts, tuples "
        f"or lists but got {type(first).__name__}"
    )


def convert(sample: Any) -> Any:
    """A single sample with its arrays as Tensors, for a loader that makes no batches."""
    if isinstance(sample, np.ndarray):
        return _creation.as_tensor(sample)
    if isinstance(sample, dict):
        return {key: convert(value) for key, value in sample.items()}
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*map(convert, sample))
    if isinstance(sample, (tuple, list)):
        return [convert(value) for value in sample]
    return sample
