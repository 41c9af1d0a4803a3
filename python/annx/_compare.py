"""Functions of several tensors that are not ops: they take any number, or answer with a bool."""

from __future__ import annotations

from typing import Any

import numpy as np

from annx import _core
from annx._core import Tensor

_ops = _core.ops


def _as_list(tensors: tuple[Any, ...]) -> list[Tensor]:
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        return list(tensors[0])
    return list(tensors)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products by labelled dimensions, as ``einsum("bij,bjk->bik", x, y)``.

    Labels that the result leaves out are summed; ``...`` stands for leading dimensions that
    broadcast; a label that one operand repeats takes its diagonal. Without ``->`` the result has
    the labels that occur once, in alphabetical order. Pairs are multiplied from the left.

    Raises:
        ValueError: the equation cannot be read, or shapes do not fit it.
    """
    return _ops.einsum(equation, _as_list(operands))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of the grid that one-dimensional tensors span, one view for each.

    Shapes: with ``n_i`` the length of tensor i, ``(n_0, n_1, …)`` each; ``indexing="xy"`` swaps the
    first two dimensions.

    Raises:
        ValueError: a tensor has more dimensions, or indexing is another word.
    """
    return _ops.meshgrid(_as_list(tensors), indexing)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Views of all tensors in the shape they broadcast to.

    Raises:
        ValueError: there is no such shape.
    """
    given = _as_list(tensors)
    shape = broadcast_shapes(*(t.shape for t in given))
    return tuple(_ops.expand(t, shape) for t in given)


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that all shapes broadcast to.

    Raises:
        ValueError: there is none.
    """
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            "[broadcast_shapes] expected shapes that broadcast together but got "
            + ", ".join(str(tuple(s) if not isinstance(s, int) else (s,)) for s in shapes)
        ) from None


def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """A view of input, broadcast to size."""
    return _ops.expand(input, size)


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether ``|input - other| <= atol + rtol * |other|`` everywhere."""
    return bool(_ops.all(_ops.isclose(input, other, rtol, atol, equal_nan)))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have one shape and the same elements."""
    if input.shape != other.shape:
        return False
    return bool(_ops.all(_ops.eq(input, other)))


def is_tensor(obj: Any) -> bool:
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype of input is a floating one."""
    return input.dtype.is_floating_point


def numel(input: Tensor) -> int:
    """How many elements input has."""
    return input.numel()


def _at_least(t: Tensor, dims: int) -> Tensor:
    while t.ndim < dims:
        t = _ops.unsqueeze(t, 0)
    return t


def hstack(tensors: Any) -> Tensor:
    """Tensors side by side: along dimension 1, or 0 where they have only one."""
    parts = [_at_least(t, 1) for t in tensors]
    return _ops.concat(parts, 0 if parts and parts[0].ndim == 1 else 1)


def vstack(tensors: Any) -> Tensor:
    """Tensors on top of one another: along dimension 0, vectors as rows."""
    return _ops.concat([_at_least(t, 2) for t in tensors], 0)
