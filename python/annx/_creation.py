"""Tensors from data and from nothing: annx.tensor, zeros, rand and their relatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from annx import _core
from annx._core import Tensor

_ops = _core.ops
DTypeLike = Any  # an annx dtype, its name, a NumPy dtype or float, int, bool
DeviceLike = Any  # "cpu", "cuda:0" or a device


def check_device(device: DeviceLike, op: str) -> None:
    """Raises unless device is one this build and machine have."""
    if device is None:
        return
    name = str(device)
    kind, _, index = name.partition(":")
    if kind == "cpu" and index in ("", "0"):
        return
    if kind == "cuda" and (index == "" or index.isdigit()):
        built = _core.build_info()["cuda"]
        reason = _core.cuda_info()["reason"] if built else "this build of annx has no CUDA backend"
        raise RuntimeError(f"[{op}] expected an available device but got '{name}': {reason}")
    raise ValueError(f"[{op}] expected device 'cpu' or 'cuda' but got '{name}'")


def _finish(t: Tensor, dtype: DTypeLike, requires_grad: bool) -> Tensor:
    if dtype is not None:
        t = _ops.cast(t, dtype)
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
    ``dtype`` says otherwise.
    """
    check_device(device, "tensor")
    if isinstance(data, Tensor):
        return _finish(_ops.clone(data.detach()), dtype, requires_grad)
    if _is_plain(data) and _holds_tensors(data):
        return _finish(_ops.stack([tensor(item) for item in data]), dtype, requires_grad)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"[tensor] expected a rectangular nesting but got: {error}") from None
    if dtype is None and _is_plain(data) and array.dtype == np.float64:
        array = array.astype(np.float32)
    return _finish(_from_array(array, copy=True), dtype, requires_grad)


def _holds_tensors(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and len(data) > 0 and isinstance(data[0], Tensor)


def as_tensor(data: Any, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """data as a tensor, sharing memory where the layout allows; tensors come back as they are."""
    check_device(device, "as_tensor")
    if isinstance(data, Tensor):
        return data if dtype is None else _ops.cast(data, dtype)
    if isinstance(data, np.ndarray):
        return _finish(_from_array(data, copy=not data.flags.aligned), dtype, False)
    return tensor(data, dtype=dtype)


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
    check_device(device, "full")
    if dtype is None:
        dtype = (
            _core.bool_
            if isinstance(fill_value, bool)
            else _core.int64
            if isinstance(fill_value, int)
            else _core.float32
        )
    return _finish(_ops.full(size, fill_value, dtype=dtype), None, requires_grad)


def zeros(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of shape size (float32 by default)."""
    check_device(device, "zeros")
    return _finish(_ops.full(_size(size), 0.0, dtype=dtype), None, requires_grad)


def ones(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Ones of shape size (float32 by default)."""
    check_device(device, "ones")
    return _finish(_ops.full(_size(size), 1.0, dtype=dtype), None, requires_grad)


def empty(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of shape size to be written to; zero-filled, so no run depends on old memory."""
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


def zeros_like(input: Tensor, dtype: DTypeLike = None) -> Tensor:
    """Zeros of input's shape and dtype."""
    return _ops.full(input.shape, 0.0, dtype=input.dtype if dtype is None else dtype)


def ones_like(input: Tensor, dtype: DTypeLike = None) -> Tensor:
    """Ones of input's shape and dtype."""
    return _ops.full(input.shape, 1.0, dtype=input.dtype if dtype is None else dtype)


def full_like(input: Tensor, fill_value: float, dtype: DTypeLike = None) -> Tensor:
    """fill_value in input's shape and dtype."""
    return _ops.full(input.shape, fill_value, dtype=input.dtype if dtype is None else dtype)


def empty_like(input: Tensor, dtype: DTypeLike = None) -> Tensor:
    """A tensor of input's shape and dtype to be written to (zero-filled)."""
    return zeros_like(input, dtype)


def arange(
    start: float, end: float | None = None, step: float = 1, *, dtype: DTypeLike = None
) -> Tensor:
    """start, start + step, … below end; with one argument from 0. Integers give int64."""
    if end is None:
        start, end = 0, start
    if dtype is None:
        whole = all(isinstance(v, int) for v in (start, end, step))
        dtype = _core.int64 if whole else _core.float32
    return _ops.arange(start, end, step, dtype=dtype)


def linspace(start: float, end: float, steps: int, *, dtype: DTypeLike = None) -> Tensor:
    """steps numbers from start to end, both included, equally spaced."""
    if steps < 0:
        raise ValueError(f"[linspace] expected steps >= 0 but got {steps}")
    values = np.linspace(start, end, steps)
    return _ops.cast(_core.from_buffer(values, copy=True), dtype or _core.float32)


def eye(n: int, m: int | None = None, *, dtype: DTypeLike = None) -> Tensor:
    """An (n, m) matrix with ones on the diagonal; m defaults to n."""
    return _ops.eye(n, m, dtype=dtype)


def rand(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Uniform numbers in [0, 1) of shape size."""
    check_device(device, "rand")
    return _finish(_ops.rand(_size(size), dtype=dtype), None, requires_grad)


def randn(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Standard normal numbers of shape size."""
    check_device(device, "randn")
    return _finish(_ops.randn(_size(size), dtype=dtype), None, requires_grad)


def rand_like(input: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) in input's shape and dtype."""
    return _ops.rand(input.shape, dtype=input.dtype)


def randn_like(input: Tensor) -> Tensor:
    """Standard normal numbers in input's shape and dtype."""
    return _ops.randn(input.shape, dtype=input.dtype)


def randint(low: int, high: Any = None, size: Any = None, *, dtype: DTypeLike = None) -> Tensor:
    """Integers in [low, high) of shape size; randint(high, size) starts at 0."""
    if size is None:
        low, high, size = 0, low, high
    return _ops.randint(low, high, size, dtype=dtype)


def randperm(n: int) -> Tensor:
    """The integers 0 … n - 1 in random order (int64)."""
    return _ops.randperm(n)


def bernoulli(input: Tensor) -> Tensor:
    """1 with probability input, else 0, element by element."""
    return _ops.bernoulli(input)
