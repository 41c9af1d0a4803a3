"""Tells an exception which module it comes from.

Each ``Module.__call__`` that an exception passes through calls :func:`blame`. The innermost one
adds `` (in Linear(...))`` to the message; every parent puts the name of its child in front:
`` (in model.2.linear: Linear(...))``. Nothing runs while there is no exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from annx.nn._module import Module

_TRAIL = "_annx_trail"


class _Trail:
    """What an exception knows of its way up: its own message, the path so far, the last module."""

    __slots__ = ("description", "message", "module", "path")

    def __init__(self, message: str, module: Module) -> None:
        self.message = message
        self.path = ""
        self.module = module
        kind = type(module).__name__
        # A module with children would print a whole tree: its name says enough.
        leaf = next(module.children(), None) is None
        self.description = f"{kind}({module.extra_repr()})" if leaf else kind

    def text(self) -> str:
        where = f"{self.path}: {self.description}" if self.path else self.description
        return f"{self.message} (in {where})"


def blame(error: Exception, module: Module) -> None:
    """Adds or completes the module path in the message of ``error``, raised inside ``module``."""
    args = error.args
    if len(args) != 1 or not isinstance(args[0], str):
        return
    trail: _Trail | None = getattr(error, _TRAIL, None)
    if trail is None or trail.text() != args[0]:
        trail = _Trail(args[0], module)
        setattr(error, _TRAIL, trail)
    else:
        for name, child in module.named_modules():
            if child is trail.module:
                trail.path = ".".join([part for part in (name, trail.path) if part])
                break
        trail.module = module
    error.args = (trail.text(),)
