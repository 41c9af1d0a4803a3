"""Instructions retired by this thread, where the kernel and the machine let us count them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Callable
from typing import Any

_SYSCALL = {"x86_64": 298, "aarch64": 241}
HARDWARE_INSTRUCTIONS = (0, 1)
SOFTWARE_TASK_CLOCK = (1, 1)
_DISABLED, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1 << 0, 1 << 5, 1 << 6
_ENABLE, _DISABLE, _RESET = 0x2400, 0x2401, 0x2403


class Counter:
    """One perf event of the calling thread.

    Raises:
        OSError: the event is not to be had: no such counter, or not allowed to us.
    """

    def __init__(self, event: tuple[int, int] = HARDWARE_INSTRUCTIONS) -> None:
        number = _SYSCALL.get(platform.machine())
        if number is None:
            raise OSError(f"no perf events on {platform.machine()}")
        kind, config = event
        # struct perf_event_attr: type, size, config, period, sample type, read format, flags.
        flags = _DISABLED | _EXCLUDE_KERNEL | _EXCLUDE_HV
        size = 112
        head = struct.pack("=IIQQQQQ", kind, size, config, 0, 0, 0, flags)
        attributes = ctypes.create_string_buffer(head, size)
        libc = ctypes.CDLL(None, use_errno=True)
        file = libc.syscall(
            ctypes.c_long(number), attributes, ctypes.c_int(0), ctypes.c_int(-1),
            ctypes.c_int(-1), ctypes.c_ulong(0),
        )  # fmt: skip
        if file < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        self._file: int = file

    def count(self, call: Callable[[], Any]) -> int:
        fcntl.ioctl(self._file, _RESET, 0)
        fcntl.ioctl(self._file, _ENABLE, 0)
        try:
            call()
        finally:
            fcntl.ioctl(self._file, _DISABLE, 0)
        return int(struct.unpack("=Q", os.read(self._file, 8))[0])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._file)


def absence() -> str:
    """Why there is no counter of instructions; "" where there is one."""
    try:
        Counter().close()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return "this machine offers no counter of them"
        if error.errno in (errno.EPERM, errno.EACCES):
            return "not allowed: see /proc/sys/kernel/perf_event_paranoid"
        return error.strerror or str(error)
    return ""


def counter() -> Counter | None:
    """A counter of instructions, or None where there is none."""
    try:
        return Counter()
    except OSError:
        return None
