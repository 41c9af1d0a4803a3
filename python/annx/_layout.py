"""Memory formats: how a tensor's elements lie in memory, never what they mean."""

from __future__ import annotations

from annx._core import Tensor


class memory_format:
    """A layout of memory, as ``torch.memory_format``: those of this module, and no others."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"annx.{self._name}"

    def __reduce__(self) -> str:
        return self._name


contiguous_format = memory_format("contiguous_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
preserve_format = memory_format("preserve_format")

_DIMS = {channels_last: 4, channels_last_3d: 5}


def check_format(op: str, value: object) -> memory_format:
    """value, or TypeError when it is no memory format."""
    if not isinstance(value, memory_format):
        raise TypeError(f"[{op}] expected a memory format but got {value!r}")
    return value


def has_format(t: Tensor, wanted: memory_format) -> bool:
    """Whether t lies in memory as wanted says; sizes of 1 may have any stride."""
    order = list(range(t.ndim))
    if wanted in _DIMS:
        if t.ndim != _DIMS[wanted]:
            return False
        order = [0, *range(2, t.ndim), 1]
    shape, strides, expected = t.shape, t.stride(), 1
    for d in reversed(order):
        if shape[d] == 0:
            return True
        if shape[d] != 1 and strides[d] != expected:
            return False
        expected *= shape[d]
    return True


def check_dims(op: str, t: Tensor, wanted: memory_format) -> None:
    """ValueError when t has not the number of dimensions of the format."""
    if t.ndim != _DIMS.get(wanted, t.ndim):
        raise ValueError(
            f"[{op}] expected {_DIMS[wanted]} dimensions for {wanted!r} but got shape {t.shape}"
        )
