"""Layers that change shapes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from annx import _core
from annx._core import Tensor
from annx.nn._module import Module

if TYPE_CHECKING:
    from collections.abc import Sequence

_flatten = _core.ops.flatten


class Flatten(Module):
    """Joins the dimensions ``start_dim`` to ``end_dim`` into one; by default all but the batch.

    Args:
        start_dim: the first dimension to join.
        end_dim: the last.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return _flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits the dimension ``dim`` into several.

    Args:
        dim: the dimension to split.
        unflattened_size: the new sizes; one may be -1 and is worked out.

    Raises:
        ValueError: in forward: the product of the sizes is not that of the dimension.
        IndexError: in forward: there is no such dimension.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        shape = tuple(input.shape)
        if not -len(shape) <= self.dim < len(shape):
            raise IndexError(
                f"[Unflatten] expected dim within {len(shape)} dimensions but got {self.dim}"
            )
        dim = self.dim % len(shape)
        sizes = self.unflattened_size
        known = prod([size for size in sizes if size != -1])
        whole = shape[dim]
        free = sizes.count(-1)
        fits = whole == known if free == 0 else free == 1 and known > 0 and whole % known == 0
        if not fits:
            raise ValueError(f"[Unflatten] expected sizes whose product is {whole} but got {sizes}")
        sizes = tuple([whole // known if size == -1 else size for size in sizes])
        return input.reshape((*shape[:dim], *sizes, *shape[dim + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
