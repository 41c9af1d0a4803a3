"""Tensors from data and from nothing: annx.tensor, zeros, rand and their relatives."""

from __future__ import annotations

from math import prod
from operator import index
from typing import Any

import numpy as np

from annx import _core
from annx._core import Tensor
from annx._generator import Generator, drawing_from

_ops = _core.ops
DTypeLike = Any  # an annx dtype, its name, a NumPy dtype or float, int, bool
DeviceLike = Any  # "cpu", "cuda:0" or a device


def check_device(device: DeviceLike, op: str) -> _core.device:
    """device as an object; raises unless it is one this build and machine have."""
    return _core.check_device("cpu" if device is None else str(device), op)


def _wanted(device: DeviceLike, op: str) -> _core.device | None:
    """None, for the CPU, costs nothing."""
    return None if device is None else check_device(device, op)


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
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"[tensor] expected integers that int64 holds but got {array.max()}")
    if array.dtype.kind in "iu" and array.dtype not in (np.int64, np.int32, np.uint8):
        array = array.astype(np.int64)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(f"[tensor] expected numbers or bools but got NumPy dtype {kind}")
    # Such as a field of packed records.
    if not array.flags.aligned or any(s % array.itemsize for s in array.strides):
        array = array.copy()
    return _core.from_buffer(array, copy=copy)


def _is_plain(data: Any) -> bool:
    """Lists and Python numbers: their floats become the default float32. NumPy's keep their type,
    even float64, which is a float to Python."""
    return isinstance(data, (list, tuple, int, float, range)) and not isinstance(data, np.generic)


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
    place = _wanted(device, "tensor")
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
    place = _wanted(device, "as_tensor")
    if isinstance(data, Tensor):
        return _finish(data, dtype, False, place)
    if isinstance(data, np.ndarray):
        return _finish(_from_array(data, copy=False), dtype, False, place)
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


def _size(size: tuple[Any, ...], op: str) -> tuple[int, ...]:
    """The sizes of zeros(2, 3) or zeros((2, 3)), checked."""
    if len(size) == 1 and type(size[0]) is tuple:
        size = size[0]
    given: Any = size
    # Plain ints, the usual case, cost little.
    elements = 1
    for s in size:
        if type(s) is not int or s < 0:
            break
        elements *= s
    else:
        if elements < 2**59:
            return size
    if len(size) == 1 and not isinstance(size[0], int):
        given = size[0]
    try:
        sizes = tuple(index(s) for s in given)
    except TypeError:
        # A tensor of one element or an integer of NumPy is one size.
        try:
            sizes = (index(given),)
        except TypeError:
            raise TypeError(f"[{op}] expected sizes as ints but got {given!r}") from None
    if any(s < 0 for s in sizes):
        raise ValueError(f"[{op}] expected non-negative sizes but got shape {sizes}")
    if prod(sizes) >= 2**59:
        raise ValueError(f"[{op}] expected fewer than 2**59 elements but got shape {sizes}")
    return sizes


def full(
    size: Any,
    fill_value: float,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of shape size filled with fill_value; its dtype follows the value's type."""
    place = None if device is None else str(check_device(device, "full"))
    if dtype is None:
        dtype = (
            _core.bool_
            if isinstance(fill_value, bool)
            else _core.int64
            if isinstance(fill_value, int)
            else _core.float32
        )
    return _finish(
        _ops.full(_size((size,), "full"), fill_value, dtype=dtype, device=place),
        None,
        requires_grad,
    )


def zeros(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Zeros of shape size (float32 by default)."""
    place = None if device is None else str(check_device(device, "zeros"))
    return _finish(
        _ops.full(_size(size, "zeros"), 0.0, dtype=dtype, device=place), None, requires_grad
    )


def ones(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Ones of shape size (float32 by default)."""
    place = None if device is None else str(check_device(device, "ones"))
    return _finish(
        _ops.full(_size(size, "ones"), 1.0, dtype=dtype, device=place), None, requires_grad
    )


def empty(
    *size: Any, dtype: DTypeLike = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of shape size to be written to; zero-filled, so no run depends on old memory."""
    return zeros(_size(size, "empty"), dtype=dtype, device=device, requires_grad=requires_grad)


def zeros_like(
    input: Tensor,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros of input's shape, dtype and device."""
    return _like("zeros_like", input, 0.0, dtype, device, requires_grad)


def ones_like(
    input: Tensor,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones of input's shape, dtype and device."""
    return _like("ones_like", input, 1.0, dtype, device, requires_grad)


def full_like(
    input: Tensor,
    fill_value: float,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """fill_value in input's shape and dtype."""
    return _like("full_like", input, fill_value, dtype, device, requires_grad)


def empty_like(
    input: Tensor,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of input's shape and dtype to be written to (zero-filled)."""
    return _like("empty_like", input, 0.0, dtype, device, requires_grad)


def _expect_tensor(input: Any, op: str) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(
            f"[{op}] argument 'input': expected a Tensor but got {type(input).__name__}"
        )


def _like(
    op: str,
    input: Tensor,
    value: float,
    dtype: DTypeLike,
    device: DeviceLike,
    requires_grad: bool,
) -> Tensor:
    _expect_tensor(input, op)
    place = input.device if device is None else check_device(device, op)
    dtype = input.dtype if dtype is None else dtype
    made = _ops.full(input.shape, value, dtype=dtype, device=str(place))
    return _finish(made, None, requires_grad)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, … below end; with one argument from 0. Integers give int64."""
    place = _wanted(device, "arange")
    if end is None:
        start, end = 0, start
    if dtype is None:
        whole = all(isinstance(v, (int, np.integer)) for v in (start, end, step))
        dtype = _core.int64 if whole else _core.float32
    return _finish(_ops.arange(start, end, step, dtype=dtype), None, requires_grad, place)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """steps numbers from start to end, both included, equally spaced."""
    place = _wanted(device, "linspace")
    if not isinstance(steps, (int, np.integer)):
        raise TypeError(f"[linspace] expected steps as an int but got {steps!r}")
    if steps < 0:
        raise ValueError(f"[linspace] expected steps >= 0 but got {steps}")
    if steps >= 2**59:
        raise ValueError(f"[linspace] expected fewer than 2**59 steps but got {steps}")
    return _finish(_ops.linspace(start, end, steps, dtype=dtype), None, requires_grad, place)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """An (n, m) matrix with ones on the diagonal; m defaults to n."""
    place = _wanted(device, "eye")
    return _finish(_ops.eye(n, m, dtype=dtype), None, requires_grad, place)


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1) of shape size; drawn on the CPU, the same on every device."""
    place = _wanted(device, "rand")
    with drawing_from(generator, "rand"):
        drawn = _ops.rand(_size(size, "rand"), dtype=dtype)
    return _finish(drawn, None, requires_grad, place)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers of shape size; drawn on the CPU, the same on every device."""
    place = _wanted(device, "randn")
    with drawing_from(generator, "randn"):
        drawn = _ops.randn(_size(size, "randn"), dtype=dtype)
    return _finish(drawn, None, requires_grad, place)


def rand_like(input: Tensor, dtype: DTypeLike = None) -> Tensor:
    """Uniform numbers in [0, 1) in input's shape and dtype."""
    _expect_tensor(input, "rand_like")
    drawn = _ops.rand(input.shape, dtype=input.dtype if dtype is None else dtype)
    return _place(drawn, input.device)


def randn_like(input: Tensor, dtype: DTypeLike = None) -> Tensor:
    """Standard normal numbers in input's shape and dtype."""
    _expect_tensor(input, "randn_like")
    drawn = _ops.randn(input.shape, dtype=input.dtype if dtype is None else dtype)
    return _place(drawn, input.device)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
) -> Tensor:
    """Integers in [low, high) of shape size; randint(high, size) starts at 0."""
    place = check_device(device, "randint")
    if size is None:
        low, high, size = 0, low, high
    with drawing_from(generator, "randint"):
        drawn = _ops.randint(low, high, _size((size,), "randint"), dtype=dtype)
    return _place(drawn, place)


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
) -> Tensor:
    """The integers 0 … n - 1 in random order (int64)."""
    place = _wanted(device, "randperm")
    with drawing_from(generator, "randperm"):
        return _finish(_ops.randperm(n), dtype, False, place)


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with probability input, else 0, element by element."""
    with drawing_from(generator, "bernoulli"):
        return _ops.bernoulli(input)
