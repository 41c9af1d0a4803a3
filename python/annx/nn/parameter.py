"""Tensors that a module owns: trainable ones (Parameter) and others that are kept (Buffer)."""

from __future__ import annotations

from typing import Any, TypeVar

from annx import _core, _creation
from annx._core import Tensor

_P = TypeVar("_P", bound="Parameter")
_B = TypeVar("_B", bound="Buffer")


class Parameter(Tensor):
    """A Tensor that a :class:`~annx.nn.Module` registers when it is assigned as an attribute.

    Args:
        data: a Tensor, whose memory is shared, or anything that ``annx.as_tensor`` takes.
        requires_grad: whether a backward pass collects ``.grad``.

    Raises:
        RuntimeError: a gradient is asked for data that is not of floating point.
    """

    def __new__(cls: type[_P], data: Any, requires_grad: bool = True) -> _P:
        made: _P = _core.make_subclass(cls, _creation.as_tensor(data), requires_grad)
        return made

    def __repr__(self) -> str:
        return "Parameter containing:\n" + repr(self.detach().requires_grad_(self.requires_grad))

    def __deepcopy__(self: _P, memo: dict[int, Any]) -> _P:
        return type(self)(self.detach().clone(), self.requires_grad)


class Buffer(Tensor):
    """A Tensor that a :class:`~annx.nn.Module` keeps but does not train.

    Args:
        data: as for :class:`Parameter`.
        persistent: whether it is part of the module's ``state_dict``.
    """

    persistent: bool

    def __new__(cls: type[_B], data: Any, persistent: bool = True) -> _B:
        made: _B = _core.make_subclass(cls, _creation.as_tensor(data), False)
        made.persistent = persistent
        return made

    def __deepcopy__(self: _B, memo: dict[int, Any]) -> _B:
        return type(self)(self.detach().clone(), self.persistent)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self), (self.detach(), self.persistent)
