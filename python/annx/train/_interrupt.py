"""Keeps Ctrl-C from cutting a training step in two."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType


class StepGuard:
    """While ``busy``, a first Ctrl-C waits for the end of the step; a second one does not.

    Acts in the main thread only, and only where nobody else handles the signal.
    """

    def __init__(self) -> None:
        self.busy = False
        self._pending = False
        self._previous: Any = None

    def __enter__(self) -> StepGuard:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.busy and not self._pending:
            self._pending = True
            return
        raise KeyboardInterrupt

    def release(self) -> None:
        """Ends the step."""
        self.busy = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt
