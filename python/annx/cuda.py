"""CUDA devices: what there is, waiting for them, their memory. As ``torch.cuda``.

The backend is a library of its own that ``ANNX_CUDA=1 pip install .`` builds; it is opened when
something here, or a tensor with ``device="cuda"``, needs it.
"""

from __future__ import annotations

from typing import Any

from annx import _core


def is_available() -> bool:
    """Whether the backend is built in and has a device to run on. Never raises."""
    return bool(_core.cuda_info()["available"])


def device_count() -> int:
    """The number of devices; 0 where CUDA is not available."""
    return len(_core.cuda_info()["devices"])


def _index(device: Any) -> int:
    if device is None:
        return 0
    if isinstance(device, int):
        return device
    return _core.check_device(str(device), "cuda").index


def get_device_name(device: Any = None) -> str:
    """The name of a device: an index, "cuda:1" or None for the first.

    Raises:
        RuntimeError: there is no such device; the message says why.
    """
    return str(_properties(device)["name"])


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a device, as (9, 0)."""
    major, minor = _properties(device)["capability"]
    return major, minor


def _properties(device: Any) -> dict[str, Any]:
    index = _index(device)
    _core.check_device(f"cuda:{index}", "cuda")
    properties: dict[str, Any] = _core.cuda_info()["devices"][index]
    return properties


def synchronize(device: Any = None) -> None:
    """Waits until all work queued on a device is done; errors of that work are raised here."""
    _core.cuda_synchronize(_index(device))


def memory_allocated(device: Any = None) -> int:
    """Bytes of a device's memory that tensors hold."""
    return int(_core.cuda_memory(_index(device))["current_bytes"])


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that tensors held at once."""
    return int(_core.cuda_memory(_index(device))["peak_bytes"])


def memory_reserved(device: Any = None) -> int:
    """Bytes held from the driver: in use and kept for reuse."""
    return int(_core.cuda_memory(_index(device))["reserved_bytes"])


def empty_cache() -> None:
    """Gives the cached memory of all devices back to the driver."""
    for index in range(device_count()):
        _core.cuda_empty_cache(index)
