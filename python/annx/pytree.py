"""Nested containers of values: take them apart into leaves and put them together again.

A tree is built of ``dict``, ``OrderedDict``, ``list``, ``tuple``, named tuples and ``None`` (which
holds no leaf). Everything else, a Tensor for one, is a leaf.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class TreeDef:
    """The structure of a tree without its leaves. Hashable, so it can be part of a cache key."""

    __slots__ = ("children", "keys", "kind", "num_leaves")

    def __init__(
        self, kind: type | None, keys: tuple[Any, ...] = (), children: tuple[TreeDef, ...] = ()
    ) -> None:
        self.kind = kind
        self.keys = keys
        self.children = children
        self.num_leaves: int = 1 if kind is None else sum(c.num_leaves for c in children)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TreeDef):
            return NotImplemented
        return (
            self.kind is other.kind
            and self.keys == other.keys
            and all(type(a) is type(b) for a, b in zip(self.keys, other.keys, strict=True))
            and self.children == other.children
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.keys, self.children))

    def __repr__(self) -> str:
        return f"TreeDef({unflatten(self, ['*'] * self.num_leaves)!r})"


_LEAF = TreeDef(None)
_NONE = TreeDef(type(None))


def _is_sequence(kind: type) -> bool:
    return kind is tuple or kind is list or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def _take(tree: Any, leaves: list[Any]) -> TreeDef:
    if tree is None:
        return _NONE
    kind = type(tree)
    if _is_sequence(kind):
        return TreeDef(kind, (), tuple([_take(child, leaves) for child in tree]))
    if kind is dict or kind is OrderedDict:
        children = tuple([_take(child, leaves) for child in tree.values()])
        return TreeDef(kind, tuple(tree), children)
    leaves.append(tree)
    return _LEAF


def flatten(tree: Any) -> tuple[list[Any], TreeDef]:
    """Returns the leaves of ``tree``, left to right, and its structure.

    Dictionaries keep their insertion order.
    """
    collected: list[Any] = []
    treedef = _take(tree, collected)
    return collected, treedef


def leaves(tree: Any) -> list[Any]:
    """Returns the leaves of ``tree``, left to right."""
    return flatten(tree)[0]


def unflatten(treedef: TreeDef, leaves: Iterable[Any]) -> Any:
    """Builds the tree of structure ``treedef`` from its leaves: the inverse of :func:`flatten`.

    Raises:
        ValueError: the number of leaves is not ``treedef.num_leaves``.
    """
    values = list(leaves)
    if len(values) != treedef.num_leaves:
        raise ValueError(
            f"[pytree.unflatten] expected {treedef.num_leaves} leaves but got {len(values)}"
        )
    return _build(treedef, iter(values))


def _build(treedef: TreeDef, values: Any) -> Any:
    kind = treedef.kind
    if kind is None:
        return next(values)
    if kind is type(None):
        return None
    children = [_build(child, values) for child in treedef.children]
    if treedef.keys or kind is dict or kind is OrderedDict:
        return kind(zip(treedef.keys, children, strict=True))
    if kind is list:
        return children
    return tuple(children) if kind is tuple else kind(*children)


def _match(treedef: TreeDef, tree: Any, out: list[Any]) -> None:
    """Collects the leaves of ``tree`` in the order of ``treedef``; dictionaries match by key."""
    kind = treedef.kind
    if kind is None:
        out.append(tree)
        return
    same: bool = type(tree) is kind
    if same and kind is not type(None):
        same = len(tree) == len(treedef.children)
    if same and treedef.keys:
        same = all(key in tree for key in treedef.keys)
    if not same:
        raise ValueError(f"[pytree.map] expected a tree like {treedef!r} but got {tree!r}")
    if kind is type(None):
        return
    children = [tree[key] for key in treedef.keys] if treedef.keys else tree
    for child, value in zip(treedef.children, children, strict=True):
        _match(child, value, out)


def map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Applies ``function`` to the leaves of ``tree`` and to those at the same places in ``rest``.

    Raises:
        ValueError: a tree in ``rest`` does not have the structure of ``tree``.
    """
    first, treedef = flatten(tree)
    columns = [first]
    for other in rest:
        column: list[Any] = []
        _match(treedef, other, column)
        columns.append(column)
    return unflatten(treedef, [function(*values) for values in zip(*columns, strict=True)])
