"""Takes what users hand to ``fit`` and makes batches of Tensors of it."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any

import numpy as np

from annx import _core, _creation
from annx._core import Tensor
from annx.utils.data import DataLoader, Dataset
from annx.utils.data._dataset import take_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annx.train._objective import Objective


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """Applies a function to the leaves of tuples and dicts; None stays."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {key: map_tree(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map_tree(function, value) for value in tree)
    return function(tree)


def leaves(tree: Any) -> list[Any]:
    """The leaves of tuples and dicts."""
    if tree is None:
        return []
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    if isinstance(tree, tuple):
        return [leaf for value in tree for leaf in leaves(value)]
    return [tree]


def rows_of(tree: Any) -> int:
    """Length of the first leaf."""
    return int(leaves(tree)[0].shape[0])


class Place:
    """Where data goes: the dtype and device of a model's parameters."""

    def __init__(self, model: Any) -> None:
        self.dtype: Any = _core.float32
        self.device: Any = None
        for parameter in model.parameters():
            if parameter.dtype.is_floating_point:
                self.dtype, self.device = parameter.dtype, parameter.device
                break
        self._numpy = {"float64": np.float64, "float16": np.float16}.get(
            str(self.dtype).rpartition(".")[2], np.float32
        )

    def tensor(self, op: str, what: str, values: Any) -> Tensor:
        """Values as a Tensor: floats in the model's dtype, integers and bools as they are.

        Raises:
            TypeError: the values are not numbers.
        """
        if not isinstance(values, Tensor):
            array = np.asarray(values)
            kind = array.dtype.kind
            if kind not in "fiub":
                raise TypeError(f"[{op}] expected {what} of numbers but got dtype {array.dtype}")
            if kind == "f":
                array = array.astype(self._numpy, copy=False)
            values = _creation.as_tensor(np.ascontiguousarray(array).reshape(array.shape))
        if values.dtype.is_floating_point and values.dtype != self.dtype:
            values = values.to(self.dtype)
        if self.device is not None and str(values.device) != str(self.device):
            values = values.to(self.device)
        tensor: Tensor = values.detach() if values.requires_grad else values
        return tensor

    def tree(self, op: str, what: str, tree: Any) -> Any:
        """As :meth:`tensor`, for every leaf."""
        return map_tree(lambda leaf: self.tensor(op, what, leaf), tree)


def is_arrays(x: Any) -> bool:
    """Whether ``x`` holds all samples, not a way to get at batches of them."""
    if isinstance(x, (tuple, dict, list, Tensor, np.ndarray)):
        return True
    return hasattr(x, "__array__") and not isinstance(x, (Dataset, DataLoader))


def prepare_target(op: str, y: Any, objective: Objective, place: Place) -> Any:
    """Targets as Tensors of the dtype that the loss takes.

    Raises:
        TypeError: the values are not numbers.
        ValueError: one is NaN, or class indices are asked for and one is a fraction.
    """
    kind = objective.kind.target

    def convert(leaf: Any) -> Tensor:
        tensor = place.tensor(op, "y", leaf)
        if tensor.dtype.is_floating_point:
            _check_nan(op, tensor)
            if kind == "index" and (tensor.ndim < 2 or tensor.shape[-1] == 1):
                return _whole(op, tensor, objective)
        elif kind == "same":
            return tensor.to(place.dtype)
        elif (tensor.dtype != _core.int64 and tensor.dtype != _core.bool_) or kind == "index":
            return tensor.to(_core.int64)
        return tensor

    return map_tree(convert, y)


def _check_nan(op: str, tensor: Tensor) -> None:
    array = tensor.detach().cpu().numpy()
    if np.isnan(array).any():
        row = int(np.argwhere(np.isnan(array))[0][0])
        raise ValueError(f"[{op}] expected y without NaN but row {row} holds one")


def _whole(op: str, tensor: Tensor, objective: Objective) -> Tensor:
    array = tensor.detach().cpu().numpy()
    off = array != np.round(array)
    if off.any():
        raise ValueError(
            f"[{op}] expected y as integer class indices for loss {objective.name!r} but got "
            f"{array[off].flat[0]:g}"
        )
    return tensor.to(_core.int64)


def class_bounds(y: Any, objective: Objective) -> tuple[int, int] | None:
    """Lowest and highest class index, where targets are such."""
    if objective.kind.target != "index" or not isinstance(y, Tensor):
        return None
    if y.dtype.is_floating_point or y.ndim > 1:
        return None
    array = y.detach().cpu().numpy()
    if objective.ignore_index is not None:
        array = array[array != objective.ignore_index]
    return (int(array.min()), int(array.max())) if array.size else None


def sample_weights(
    op: str, y: Any, sample_weight: Any, class_weight: dict[int, float] | None, place: Place
) -> Tensor | None:
    """The weight of each sample: its own times that of its class, ``(N,)``; None if all are 1.

    Raises:
        TypeError: the weights are not numbers.
        ValueError: their number is not that of the samples, one is negative or NaN, or targets
            are no classes.
    """
    weight: Any = None
    if sample_weight is not None:
        weight = np.asarray(place.tensor(op, "sample_weight", sample_weight).cpu(), np.float64)
        if weight.shape != (rows_of(y),):
            raise ValueError(
                f"[{op}] expected sample_weight of shape ({rows_of(y)},) but got {weight.shape}"
            )
        if not (weight >= 0).all():
            raise ValueError(f"[{op}] expected sample_weight >= 0 but got {weight.min():g}")
    if class_weight is not None:
        own = _class_weights(op, y, class_weight)
        weight = own if weight is None else weight * own
    return None if weight is None else place.tensor(op, "sample_weight", weight)


def _class_weights(op: str, y: Any, class_weight: dict[int, float]) -> Any:
    if not isinstance(class_weight, dict):
        raise TypeError(
            f"[{op}] expected class_weight as a dict of class -> weight but got "
            f"{type(class_weight).__name__}"
        )
    array = y.detach().cpu().numpy() if isinstance(y, Tensor) else None
    if array is not None and array.ndim == 2:
        array = array.argmax(1) if array.shape[1] > 1 else array[:, 0]
    if array is None or array.ndim != 1 or (array != np.round(array)).any():
        raise ValueError(f"[{op}] expected y of classes to use class_weight but got other targets")
    if any(not weight >= 0 for weight in class_weight.values()):
        raise ValueError(f"[{op}] expected class_weight >= 0 but got {class_weight}")
    weights = np.ones(len(array))
    for label, weight in class_weight.items():
        weights[array == label] = weight
    return weights


class Rows:
    """All samples as Tensors: inputs, targets and weights, each None or a tree."""

    def __init__(self, op: str, x: Any, y: Any, weight: Tensor | None) -> None:
        self.parts = (x, y, weight)
        lengths = []
        for name, tree in zip(("x", "y", "sample_weight"), self.parts, strict=True):
            for leaf in leaves(tree):
                if leaf.ndim == 0:
                    raise ValueError(f"[{op}] expected {name} with a dimension of samples, got 0-d")
                lengths.append((name, int(leaf.shape[0])))
        if not lengths or lengths[0][1] == 0:
            raise ValueError(f"[{op}] expected at least one sample but x is empty")
        for name, length in lengths:
            if length != lengths[0][1]:
                raise ValueError(
                    f"[{op}] expected equal lengths but x has {lengths[0][1]} samples and {name} "
                    f"{length}"
                )
        self.samples = lengths[0][1]

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: Any) -> Any:
        return self.take(slice(index, index + 1))

    def take(self, index: Tensor | slice) -> tuple[Any, Any, Any]:
        """The samples at ``index``."""
        x, y, weight = self.parts
        if type(x) is Tensor and weight is None and (y is None or type(y) is Tensor):
            return take_rows(x, index), None if y is None else take_rows(y, index), None
        return map_tree(lambda leaf: take_rows(leaf, index), self.parts)  # type: ignore[no-any-return]

    def split(self, op: str, share: float) -> tuple[Rows, Rows]:
        """The first samples and the last ``share`` of them.

        Raises:
            ValueError: ``share`` is not between 0 and 1, or leaves a side empty.
        """
        if not 0.0 < share < 1.0:
            raise ValueError(f"[{op}] expected validation_split in [0, 1) but got {share}")
        at = floor(self.samples * (1.0 - share))
        if at == 0 or at == self.samples:
            raise ValueError(
                f"[{op}] expected validation_split to leave samples on both sides but "
                f"{share} of {self.samples} does not"
            )
        return Rows(op, *self.take(slice(0, at))), Rows(op, *self.take(slice(at, self.samples)))


class Batches:
    """Batches ``(x, y, weight)`` of Tensors, anew at each ``iter()``.

    Attributes:
        steps: batches of one pass, or None if that is not known.
        samples: samples of one pass, or None.
        once: the source can be read only once.
    """

    def __init__(
        self,
        op: str,
        source: Any,
        place: Place,
        batch_size: int,
        shuffle: bool = False,
        objective: Objective | None = None,
        class_weight: dict[int, float] | None = None,
    ) -> None:
        self.op = op
        self.place = place
        self.objective = objective
        self.class_weight = class_weight
        self.samples: int | None = None
        self.rows = isinstance(source, Rows)
        # What native calls need of rows: the key of a batch and all rows as columns.
        self.columns: Any = None
        if self.rows or (isinstance(source, Dataset) and not isinstance(source, DataLoader)):
            if len(source) == 0:
                raise ValueError(f"[{op}] expected at least one sample but the dataset is empty")
            self.samples = len(source)
            source = DataLoader(source, batch_size=batch_size, shuffle=shuffle)
        if not hasattr(source, "__iter__"):
            raise TypeError(
                f"[{op}] expected x as arrays, a Dataset, a DataLoader or an iterable of batches "
                f"but got {type(source).__name__}"
            )
        self.source = source
        self.once = iter(source) is source if hasattr(source, "__next__") else False
        try:
            self.steps: int | None = len(source)
        except TypeError:
            self.steps = None
        if self.steps == 0:
            raise ValueError(f"[{op}] expected at least one batch but the loader gives none")

    def resize(self, batch_size: int) -> None:
        """Makes batches of another size, of samples in order."""
        self.source = DataLoader(self.source.dataset, batch_size=batch_size)
        self.steps = len(self.source)

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        return iter(self.source) if self.rows else map(self._convert, self.source)

    def _convert(self, batch: Any) -> tuple[Any, Any, Any]:
        parts = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
        if not 1 <= len(parts) <= 3:
            raise ValueError(
                f"[{self.op}] expected batches (x, y) or (x, y, sample_weight) but got "
                f"{len(parts)} parts"
            )
        x, y, weight = (*parts, None, None)[:3]
        x = self.place.tree(self.op, "x", x)
        if self.objective is None:
            return x, None, None
        if y is None:
            raise ValueError(f"[{self.op}] expected batches with targets, (x, y), but got x alone")
        y = prepare_target(self.op, y, self.objective, self.place)
        weight = sample_weights(self.op, y, weight, self.class_weight, self.place)
        Rows(self.op, x, y, weight)
        return x, y, weight
