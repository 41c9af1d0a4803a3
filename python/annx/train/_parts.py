"""Steps over several batches: gradients are summed up, then the optimizer steps once."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from annx import _functions as _ops
from annx.train._data import leaves, map_tree

if TYPE_CHECKING:
    from collections.abc import Iterator


def samples_in(x: Any) -> int:
    """The samples of a batch, or of all batches in a list."""
    parts = x if isinstance(x, list) else [x]
    return sum(int(leaves(part)[0].shape[0]) for part in parts)


def split(x: Any, y: Any, weight: Any, rows: int) -> list[tuple[Any, Any, Any]]:
    """The batches of a step: parts of so many rows, or what lists hold."""
    if isinstance(x, list):
        return list(zip(x, y, weight, strict=True))
    samples = samples_in(x)

    def part(at: int) -> Any:
        return map_tree(lambda leaf: leaf[at : min(at + rows, samples)], (x, y, weight))

    return [part(at) for at in range(0, samples, rows)]


def join(trees: list[Any]) -> Any:
    """Trees of Tensors, one below the other."""
    if len(trees) == 1:
        return trees[0]
    columns = iter(list(zip(*[leaves(tree) for tree in trees], strict=True)))
    return map_tree(lambda leaf: _ops.concat(list(next(columns)), 0), trees[0])


def groups(batches: Iterator[Any], count: int) -> Iterator[Any]:
    """So many batches at a time as lists; fewer at the end."""
    while several := list(islice(batches, count)):
        yield tuple(list(part) for part in zip(*several, strict=True))
