"""Progress of a training: a live bar on a terminal, else a line per epoch."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERVAL = 0.1  # seconds between two drawings
_FULL_WIDTH = 24
_LEAST_WIDTH = 8


def is_terminal(stream: Any) -> bool:
    """Whether a line can be drawn over again."""
    return bool(getattr(stream, "isatty", bool)()) and os.environ.get("TERM") != "dumb"


def choose(verbose: int | str, stream: Any, quiet: bool = False) -> str:
    """``"none"``, ``"bar"`` or ``"line"`` for a ``verbose`` argument.

    Args:
        verbose: ``"auto"``, 0, 1 or 2.
        stream: where the output goes.
        quiet: ``"auto"`` prints nothing where a bar cannot be drawn.

    Raises:
        ValueError: ``verbose`` is something else.
    """
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"[fit] expected verbose 'auto', 0, 1 or 2 but got {verbose!r}")
    if verbose == 0:
        return "none"
    if verbose == 2 or not is_terminal(stream):
        return "none" if verbose == "auto" and quiet else "line"
    return "bar"


def format_value(value: Any) -> str:
    """A value of the logs with four digits."""
    if not isinstance(value, (int, float)):
        return str(value)
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"


def format_time(seconds: float) -> str:
    """``350ms``, ``2.1s``, ``42s``, ``3:05`` or ``1:02:03``."""
    if seconds < 1:
        return f"{seconds * 1e3:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"


def _per_step(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f}s/step"
    return f"{seconds * 1e3:.0f}ms/step" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us/step"


class Progress:
    """Shows how far an epoch, an evaluation or a prediction is.

    Args:
        mode: as :func:`choose` returns it.
        steps: batches of an epoch, or None if that is not known yet.
        stream: where to write; ``sys.stdout`` by default.
    """

    def __init__(self, mode: str, steps: int | None, stream: Any = None) -> None:
        self.mode = mode
        self.steps = steps
        self.stream = sys.stdout if stream is None else stream
        self._title = ""
        self._start = self._drawn = 0.0
        self._step = 0
        self._open = False
        if mode == "bar":
            encoding = getattr(self.stream, "encoding", None) or "ascii"
            try:
                "━╸─…".encode(encoding)
                self._signs = ("━", "╸", "─", "…")
            except UnicodeEncodeError:
                self._signs = ("=", ">", ".", "~")
            self._color = not os.environ.get("NO_COLOR")

    def begin(self, title: str) -> None:
        """Starts an epoch."""
        self._title = title
        self._step = 0
        self._start = time.perf_counter()
        self._drawn = 0.0
        if self.mode == "bar":
            self._draw({}, done=False)

    def batch(self, step: int, logs: Callable[[], dict[str, Any]]) -> None:
        """After batch number ``step`` (from 1); ``logs`` is called only to be drawn."""
        self._step = step
        if self.mode == "bar" and time.perf_counter() - self._drawn >= _INTERVAL:
            self._draw(logs(), done=False)

    def end(self, logs: dict[str, Any]) -> None:
        """Ends the epoch with its values."""
        if self.steps is None:
            self.steps = self._step
        if self.mode == "bar":
            self._draw(logs, done=True)
            self._write("\n")
            self._open = False
        elif self.mode == "line":
            seconds = time.perf_counter() - self._start
            parts = [
                self._title,
                f"{self._step}/{self.steps}",
                format_time(seconds),
                _per_step(seconds / max(self._step, 1)),
                *(f"{name}: {format_value(value)}" for name, value in logs.items()),
            ]
            self._write(" - ".join(part for part in parts if part) + "\n")

    def close(self) -> None:
        """Leaves the line of a bar that was broken off."""
        if self._open:
            self._write("\n")
            self._open = False

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()

    def _draw(self, logs: dict[str, Any], done: bool) -> None:
        import shutil

        self._drawn = now = time.perf_counter()
        seconds = now - self._start
        steps = "?" if self.steps is None else str(self.steps)
        words = [(f"{self._step:>{len(steps)}}/{steps}", ""), (format_time(seconds), "")]
        if done:
            words.append((_per_step(seconds / max(self._step, 1)), "2"))
        elif self._step and self.steps:
            left = seconds / self._step * (self.steps - self._step)
            words.append((f"ETA {format_time(left)}", "2"))
        words += [
            word
            for name, value in logs.items()
            for word in ((name, "2"), (format_value(value), "1"))
        ]
        width = shutil.get_terminal_size().columns - 1
        text = sum(len(word) for word, _ in words) + 2 * len(words) + len(self._title)
        text -= len(logs)  # a name and its value stand one blank apart
        bar = min(_FULL_WIDTH, width - text - 2)
        pieces = [(self._title, "1")] if self._title else []
        if bar >= _LEAST_WIDTH:
            pieces += [("  ", "")] if pieces else []
            pieces += self._bar(bar, done)
        for index, word in enumerate(words):
            follows = index > 0 and word[1] == "1" and words[index - 1][1] == "2"
            pieces += [(" " if follows else "  ", "") if pieces else ("", ""), word]
        self._write("\r" + self._fit(pieces, width) + "\x1b[K")
        self._open = True

    def _bar(self, width: int, done: bool) -> list[tuple[str, str]]:
        full, tip, rest, _ = self._signs
        if done or not self.steps:
            filled = width if done else 0
        else:
            filled = min(width, width * self._step // self.steps)
        if filled == width:
            return [(full * width, "32")]
        head = full * (filled - 1) + tip if filled else ""
        return [(head, "36"), (rest * (width - filled), "2")]

    def _fit(self, pieces: list[tuple[str, str]], width: int) -> str:
        out = []
        for text, style in pieces:
            if not text:
                continue
            if len(text) > width:
                out.append(text[: max(width - 1, 0)] + self._signs[3] if width > 0 else "")
                break
            width -= len(text)
            out.append(f"\x1b[{style}m{text}\x1b[0m" if style and self._color else text)
        return "".join(out)
