"""Methods of Tensor that need no speed, written in Python and attached to the native type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from annx import _core
from annx._core import Tensor
from annx._layout import (
    check_dims,
    check_format,
    contiguous_format,
    has_format,
    memory_format,
    preserve_format,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ops = _core.ops


class RemovableHandle:
    """Takes a hook away again: by remove(), or at the end of a with block."""

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    def remove(self) -> None:
        """Removes the hook; a second call does nothing."""
        if self._remove is not None:
            self._remove()
            self._remove = None

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Adds d self / d leaf, times gradient, to the grad of every leaf. self is a scalar or
    gradient has its shape."""
    _core.backward(self, gradient, retain_graph, create_graph)


def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Calls hook with the gradient of self in every backward; what it returns replaces it."""
    number = _core.register_hook(self, hook)
    return RemovableHandle(lambda: _core.remove_hook(self, number))


def numpy(self: Tensor) -> np.ndarray[Any, Any]:
    """A read-only array over the memory of self; bfloat16 is converted to float32."""
    if self.requires_grad:
        raise RuntimeError(
            "[numpy] expected a tensor without gradient but got one that requires it: "
            "use detach().numpy()"
        )
    if self.device.type != "cpu":
        raise TypeError(
            f"[numpy] expected a tensor on cpu but got one on {self.device}: use .cpu() first"
        )
    if self.dtype is _core.bfloat16:
        self = self.float()
    return np.asarray(memoryview(self))


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
    array = numpy(self)
    if dtype is not None and array.dtype != dtype:
        return array.astype(dtype)
    return array.copy() if copy else array


def tolist(self: Tensor) -> Any:
    """The values as nested Python lists (a number for a scalar)."""
    return numpy(cpu(self.detach())).tolist()


def __dlpack__(
    self: Tensor,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    if dl_device is not None and tuple(dl_device) != (1, 0):
        raise BufferError(f"[dlpack] expected the CPU device (1, 0) but got {dl_device}")
    if self.device.type != "cpu":
        raise BufferError(
            f"[dlpack] expected a tensor on cpu but got one on {self.device}: use .cpu() first"
        )
    versioned = max_version is not None and max_version[0] >= 1
    return _core.to_dlpack(self, versioned, bool(copy))


def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    return (1, 0) if self.device.type == "cpu" else (2, self.device.index)


def is_contiguous(self: Tensor, memory_format: memory_format = contiguous_format) -> bool:
    """Whether the elements lie in memory as memory_format says: row-major if left out."""
    return has_format(self, check_format("is_contiguous", memory_format))


def contiguous(self: Tensor, memory_format: memory_format = contiguous_format) -> Tensor:
    """self with its elements in memory as memory_format says; a copy where they are not.

    Raises:
        ValueError: the format is for another number of dimensions.
    """
    check_dims("contiguous", self, check_format("contiguous", memory_format))
    if memory_format is preserve_format or has_format(self, memory_format):
        return self
    if memory_format is contiguous_format:
        return _ops.contiguous(self)
    return _ops.channels_last(self)


def to(
    self: Tensor, *args: Any, memory_format: memory_format | None = None, **kwargs: Any
) -> Tensor:
    """self in another dtype, on another device or in another memory format: to(dtype), to("cuda"),
    to(other), to(memory_format=annx.channels_last)."""
    result = self
    if memory_format is not None:
        result = contiguous(result, memory_format)
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            result = _core.to_device(result, str(value.device))
            value = value.dtype
        if isinstance(value, _core.device) or (
            isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda")
        ):
            result = _core.to_device(result, str(value))
        elif value is not None and not isinstance(value, bool):
            result = _ops.cast(result, _core.dtype_from_name(value))
    return result


def cpu(self: Tensor) -> Tensor:
    """self on the CPU: a copy when it is on another device."""
    return _core.to_device(self, "cpu")


def cuda(self: Tensor, device: Any = None) -> Tensor:
    """self on a CUDA device, the first by default; raises RuntimeError where there is none."""
    name = f"cuda:{device}" if isinstance(device, int) else str(device or "cuda")
    return _core.to_device(self, name)


def _caster(name: str) -> Callable[[Tensor], Tensor]:
    dtype = getattr(_core, name)

    def method(self: Tensor) -> Tensor:
        return _ops.cast(self, dtype)

    method.__doc__ = f"self as {name.rstrip('_')}."
    return method


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """self in the dtype of other."""
    return _ops.cast(self, other.dtype)


def zero_(self: Tensor) -> Tensor:
    """Writes 0 to every element, off the tape."""
    return self.copy_(_ops.full((), 0.0, dtype=self.dtype, device=str(self.device)))


def fill_(self: Tensor, value: float) -> Tensor:
    """Writes value to every element, off the tape."""
    return self.copy_(_ops.full((), value, dtype=self.dtype, device=str(self.device)))


def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """self in the shape of other."""
    return _ops.reshape(self, other.shape)


def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """self broadcast to the shape of other."""
    return _ops.expand(self, other.shape)


def broadcast_to(self: Tensor, size: Any) -> Tensor:
    """A view of self, broadcast to size."""
    return _ops.expand(self, size)


def allclose(
    self: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether |self - other| <= atol + rtol * |other| everywhere."""
    return bool(_ops.all(_ops.isclose(self, other, rtol, atol, equal_nan)))


def equal(self: Tensor, other: Tensor) -> bool:
    """Whether both have one shape and the same elements."""
    return self.shape == other.shape and bool(_ops.all(_ops.eq(self, other)))


def t(self: Tensor) -> Tensor:
    """The transpose of a matrix."""
    if self.ndim > 2:
        raise ValueError(f"[t] expected a matrix but got shape {self.shape}")
    return self.T if self.ndim == 2 else self


def __iter__(self: Tensor) -> Iterator[Tensor]:
    return iter(_ops.unbind(self, 0))


def __contains__(self: Tensor, value: Any) -> bool:
    return bool(_ops.any(_ops.eq(self, value)))


def __repr__(self: Tensor) -> str:
    values = numpy(cpu(self.detach()))
    body = np.array2string(values, separator=", ", prefix="tensor(", threshold=1000, precision=4)
    extra = ""
    if self.dtype not in (_core.float32, _core.int64, _core.bool_) or values.size == 0:
        extra += f", dtype={self.dtype!r}"
    if values.size == 0 and values.ndim > 1:
        extra += f", size={self.shape}"
    if self.device.type != "cpu":
        extra += f", device='{self.device}'"
    if not self.is_leaf:
        extra += f", grad_fn={self.grad_fn}"
    elif self.requires_grad:
        extra += ", requires_grad=True"
    return f"tensor({body}{extra})"


def __format__(self: Tensor, spec: str) -> str:
    if self.ndim == 0:
        return format(self.item(), spec)
    return format(repr(self), spec)


def _rebuild(
    array: np.ndarray[Any, Any],
    dtype: _core.dtype,
    requires_grad: bool,
    cls: type[Tensor],
    device: str = "cpu",
) -> Tensor:
    data = _ops.cast(_core.from_buffer(array, copy=True), dtype)
    data = _core.to_device(data, device)
    if cls is not Tensor:
        return _core.make_subclass(cls, data, requires_grad)
    data.requires_grad = requires_grad
    return data


def __reduce_ex__(self: Tensor, protocol: SupportsIndex) -> Any:
    if not self.is_leaf:
        raise RuntimeError("[pickle] expected a leaf tensor: use detach() first")
    array = np.array(numpy(cpu(self.detach())))
    return _rebuild, (array, self.dtype, self.requires_grad, type(self), str(self.device))


def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if id(self) in memo:
        return memo[id(self)]  # type: ignore[no-any-return]
    if not self.is_leaf:
        raise RuntimeError("[deepcopy] expected a leaf tensor: use detach() or clone() first")
    data = _ops.clone(self.detach())
    copied: Tensor
    if type(self) is Tensor:
        data.requires_grad = self.requires_grad
        copied = data
    else:
        copied = _core.make_subclass(type(self), data, self.requires_grad)
    if self.grad is not None:
        copied.grad = _ops.clone(self.grad.detach())
    memo[id(self)] = copied
    return copied


METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        backward,
        register_hook,
        numpy,
        __array__,
        tolist,
        __dlpack__,
        __dlpack_device__,
        is_contiguous,
        contiguous,
        to,
        cpu,
        cuda,
        type_as,
        zero_,
        fill_,
        reshape_as,
        expand_as,
        broadcast_to,
        allclose,
        equal,
        t,
        __iter__,
        __contains__,
        __repr__,
        __format__,
        __reduce_ex__,
        __deepcopy__,
    )
}
METHODS |= {
    "float": _caster("float32"),
    "double": _caster("float64"),
    "half": _caster("float16"),
    "bfloat16": _caster("bfloat16"),
    "long": _caster("int64"),
    "int": _caster("int32"),
    "bool": _caster("bool_"),
    "div": _ops.div,
    "multiply": _ops.mul,
    "divide": _ops.div,
    "subtract": _ops.sub,
    "swapaxes": _ops.transpose,
}


def install() -> None:
    """Attaches the methods to the native type."""
    for name, method in METHODS.items():
        setattr(Tensor, name, method)
