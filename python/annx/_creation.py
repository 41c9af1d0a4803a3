"""Tensors from data and from nothing: annx.tensor, zeros, rand and their relatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from annx import _core
from annx._core import Tensor

_ops = _core.ops
DTypeLike = Any  # an annx dtype, its name, a NumPy dtype or float, int, bool
DeviceLike = Any  # "cpu", "cuda:0" or a device


def check_device(device: DeviceLike, op: str) -> _core.device:
    """device as an object; raises unless it is one this build and machine have."""
    return _core.check_device("cpu" if device is None else str(device), op)


def _place(t: Tensor, device: _core.device) -> Tensor:
    return t if t.device == device else _core.to_device(t, str(device))


def _finish(
    t: Tensor, dtype: DTypeLike, requires_grad: bool, device: _core.device | None = None
) -> Tensor:
    if dtype is not None:
        t = _ops.cast(t, dtype)
    if device is not None:
        t = _place(t, device)
    if requires_grad:
        t.requires_grad = True
    return t


def _from_array(array: np.ndarray[Any, Any], copy: bool) -> Tensor:
    kind = array.dtype
    if not kind.isnative:
        array = array.astype(kind.newbyteorder("="))
    if array.dtype.kind in "iu" and array.dtype not in (np.int64, np.int32, np.uint8):
        array = array.astype(np.int64)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(f"[tensor] expected numbers or bools but got NumPy dtype {kind}")
    return _core.from_buffer(array, copy=copy)


def _is_plain(data: Any) -> bool:
    """Lists and Python numbers: their floats become the default float32."""
    return isinstance(data, (list, tuple, int, float, range))


def tensor(
    data: Any,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor with a copy of data: numbers, nested lists, arrays or tensors.

    Python floats become float32, ints int64 and bools bool; arrays keep their dtype unless
    ``dtype`` says otherwise. Without ``device`` a tensor stays where data is.
    """
    place = None if device is None else check_device(device, "tensor")
    if isinstance(data, Tensor):
        return _finish(_ops.clone(data.detach()), dtype, requires_grad, place)
    if _is_plain(data) and _holds_tensors(data):
        return _finish(_ops.stack([tensor(item) for item in data]), dtype, requires_grad, place)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"[tensor] expected a rectangular nesting but got: {error}") from None
    if dtype is None and _is_plain(data) and array.dtype == np.float64:
        array = array.astype(np.float32)
    return _finish(_from_array(array, copy=True), dtype, requires_grad, place)


def _holds_tensors(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and len(data) > 0 and isinstance(data[0], Tensor)


def as_tensor(data: Any, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """data as a tensor, sharing memory where the layout allows; tensors come back as they are."""
    place = None if device is None else check_device(device, "as_tensor")
    if isinstance(data, Tensor):
        return _finish(data, dtype, False, place)
    if isinstance(data, np.ndarray):
        return _finish(_from_array(data, copy=not data.flags.aligned), dtype, False, place)
    return tensor(data, dtype=dtype, device=place)


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor over the memory of array: writes to the array show in the tensor."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"[from_numpy] expected a NumPy array but got {type(array).__name__}")
    return _core.from_buffer(array, copy=False)


def from_dlpack(source: Any) -> Tensor:
    """A tensor over the CPU memory of any object with ``__dlpack__`` (or of a capsule)."""
    if not hasattr(source, "__dlpack__"):
        return _core.from_dlpack_capsule(source)
    try:
        capsule = source.__dlpack__(max_version=(1, 0))
    except TypeError:
        capsule = source.__dlpack__()
    return _core.from_dlpack_capsule(capsule)


def _size(size: tuple[Any, ...]) -> tuple[int, ...]:
    if len(size) == 1 and not isinstance(size[0], int):
        return tuple(int(s) for s in size[0])
    return tuple(size)


def full(
    size: Any,
    fill_value: float,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of shape size filled with fill_value; its dtype follows the value's type."""
    place = str(check_device(device, "full"))
    if dtype is None:
        dtype = (
            _core.bool_
            if isinstance(fill_value, bool)
            else _core.int64
            if isinstance(fill_value, int)
            else _core.float32
        )
    return _finish(_ops.full(size, fill_value, dtype=dtype, device=place), None, requires_grad)


def zeros(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of shape size (float32 by default)."""
    place = str(check_device(device, "zeros"))
    return _finish(_ops.full(_size(size), 0.0, dtype=dtype, device=place), None, requires_grad)


def ones(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Ones of shape size (float32 by default)."""
    place = str(check_device(device, "ones"))
    return _finish(_ops.full(_size(size), 1.0, dtype=dtype, device=place), None, requires_grad)


def empty(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of shape size to be written to; zero-filled, so no run depends on old memory."""
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


def _like(input: Tensor, value: float, dtype: DTypeLike, device: DeviceLike, op: str) -> Tensor:
    place = input.device if device is None else check_device(device, op)
    dtype = input.dtype if dtype is None else dtype
    return _ops.full(input.shape, value, dtype=dtype, device=str(place))


def zeros_like(input: Tensor, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """Zeros of input's shape, dtype and device."""
    return _like(input, 0.0, dtype, device, "zeros_like")


def ones_like(input: Tensor, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """Ones of input's shape, dtype and device."""
    return _like(input, 1.0, dtype, device, "ones_like")


def full_like(
    input: Tensor, fill_value: float, dtype: DTypeLike = None, device: DeviceLike = None
) -> Tensor:
    """fill_value in input's shape, dtype and device."""
    return _like(input, fill_value, dtype, device, "full_like")


def empty_like(input: Tensor, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """A tensor of input's shape, dtype and device to be written to (zero-filled)."""
    return _like(input, 0.0, dtype, device, "empty_like")


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
) -> Tensor:
    """start, start + step, … below end; with one argument from 0. Integers give int64."""
    place = check_device(device, "arange")
    if end is None:
        start, end = 0, start
    if dtype is None:
        whole = all(isinstance(v, int) for v in (start, end, step))
        dtype = _core.int64 if whole else _core.float32
    return _place(_ops.arange(start, end, step, dtype=dtype), place)


def linspace(
    start: float, end: float, steps: int, *, dtype: DTypeLike = None, device: DeviceLike = None
) -> Tensor:
    """steps numbers from start to end, both included, equally spaced."""
    place = check_device(device, "linspace")
    if steps < 0:
        raise ValueError(f"[linspace] expected steps >= 0 but got {steps}")
    values = np.linspace(start, end, steps)
    return _place(_ops.cast(_core.from_buffer(values, copy=True), dtype or _core.float32), place)


def eye(
    n: int, m: int | None = None, *, dtype: DTypeLike = None, device: DeviceLike = None
) -> Tensor:
    """An (n, m) matrix with ones on the diagonal; m defaults to n."""
    place = check_device(device, "eye")
    return _place(_ops.eye(n, m, dtype=dtype), place)


def rand(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Uniform numbers in [0, 1) of shape size; drawn on the CPU, the same on every device."""
    place = check_device(device, "rand")
    return _finish(_ops.rand(_size(size), dtype=dtype), None, requires_grad, place)


def randn(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Standard normal numbers of shape size; drawn on the CPU, the same on every device."""
    place = check_device(device, "randn")
    return _finish(_ops.randn(_size(size), dtype=dtype), None, requires_grad, place)


def rand_like(input: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) in input's shape, dtype and device."""
    return _place(_ops.rand(input.shape, dtype=input.dtype), input.device)


def randn_like(input: Tensor) -> Tensor:
    """Standard normal numbers in input's shape, dtype and device."""
    return _place(_ops.randn(input.shape, dtype=input.dtype), input.device)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
) -> Tensor:
    """Integers in [low, high) of shape size; randint(high, size) starts at 0."""
    place = check_device(device, "randint")
    if size is None:
        low, high, size = 0, low, high
    return _place(_ops.randint(low, high, size, dtype=dtype), place)


def randperm(n: int, *, device: DeviceLike = None) -> Tensor:
    """The integers 0 … n - 1 in random order (int64)."""
    place = check_device(device, "randperm")
    return _place(_ops.randperm(n), place)


def bernoulli(input: Tensor) -> Tensor:
    """1 with probability input, else 0, element by element."""
    return _ops.bernoulli(input)
