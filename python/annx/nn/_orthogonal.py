"""Orthonormal rows from random ones.

LAPACK's QR gives other bits on other machines; this one is built on our own matmul, whose bits
depend on its inputs alone.
"""

from __future__ import annotations

from annx import _core, _creation
from annx._core import Tensor

_ops = _core.ops

_BLOCK = 32


def _without(rows: Tensor, basis: Tensor) -> Tensor:
    """Takes the parts along ``basis`` out of ``rows``; twice, because rounding leaves some."""
    for _ in range(2):
        rows = rows - _ops.matmul(_ops.matmul(rows, basis.transpose(0, 1)), basis)
    return rows


def orthonormal_rows(matrix: Tensor) -> Tensor:
    """Makes the rows of a ``(k, n)`` matrix, ``k <= n``, orthonormal, one after the other.

    Block Gram-Schmidt with reorthogonalisation. Each row keeps a positive part along its original,
    so rows from a normal distribution become a uniformly distributed frame (Mezzadri, 2006).
    """
    count = matrix.shape[0]
    basis = _creation.zeros(tuple(matrix.shape), dtype=matrix.dtype)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        block = matrix[start:stop]
        if start > 0:
            block = _without(block, basis[:start])
        for i in range(start, stop):
            row = block[i - start : i - start + 1]
            if i > start:
                row = _without(row, basis[start:i])
            basis[i : i + 1].copy_(row / _ops.sqrt((row * row).sum()))
    return basis
