"""What the Python side notes while a call is being captured: modules, optimizers, schedules.

A captured call replays native instructions only. What Python decided while it was recorded is
checked before a replay (:class:`Guard`); what Python must do again, such as writing the learning
rate, is called at its place in the replay (:func:`repeat`).
"""

from __future__ import annotations

from _thread import _local
from typing import TYPE_CHECKING, Any

from annx import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

bump = _core.bump_structure
_module_states = _core.module_states
_modules_within = _core.modules_within

# Captures at work in all threads: modules look at it before anything else.
active = 0


class _State(_local):
    recording: Recording | None = None


state = _State()


def current() -> Recording | None:
    """The capture of this thread."""
    return state.recording if active else None


class Guard:
    """What must still hold for a captured call to mean the same."""

    __slots__ = ("_epoch", "_modules", "_optimizers", "_states")

    def __init__(self, recording: Recording, owners: Iterable[Any] = ()) -> None:
        self._epoch = _core.structure_epoch()
        # Those that were called, the owners, and all of their modules: a weight may have been read
        # without a call of the module that holds it.
        self._modules = _modules_within(list(owners), recording.scopes)
        self._states = _module_states(self._modules)
        self._optimizers = [(o, o._plan_version) for o in recording.optimizers]

    def could_hold(self) -> bool:
        """Whether it may come to hold again: a mode can be switched back, an edit not undone."""
        now = _module_states(self._modules)
        return all(a[1:] == b[1:] for a, b in zip(now, self._states, strict=True)) and all(
            o._plan_version == version for o, version in self._optimizers
        )

    def holds(self) -> bool:
        """Whether modules and optimizers are as they were."""
        for optimizer, version in self._optimizers:
            if optimizer._plan_version != version or not optimizer._as_planned():
                return False
        epoch = _core.structure_epoch()
        if epoch == self._epoch:
            return True
        if _module_states(self._modules) != self._states:
            return False
        self._epoch = epoch
        return True


class Recording:
    """A capture at work: begins with ``with``; then :meth:`finish` gives the program."""

    def __init__(self, arguments: list[Any], lenient: bool = False) -> None:
        self.optimizers: list[Any] = []
        # Of each call of the host: the optimizer that it prepares, or None.
        self.repeats: list[Any] = []
        # Of each call of a module: the call around it, or -1, and the module.
        self.scopes: list[tuple[int, Any]] = []
        self._arguments = arguments
        self.lenient = lenient
        self._finished = False

    def __enter__(self) -> Recording:
        global active
        _core.capture_begin(self._arguments, self.lenient)
        active += 1
        state.recording = self
        return self

    def __exit__(self, *error: object) -> None:
        self._leave()
        if not self._finished:
            _core.capture_abort()

    def _leave(self) -> None:
        global active
        if state.recording is self:
            state.recording = None
            active -= 1

    def finish(self, results: list[Any], prepared: bool = False, opaque: str | None = None) -> Any:
        """The program, or the reason why there is none (of a lenient capture)."""
        self._leave()
        if _core.capture_kept(results):
            import gc

            gc.collect()
            kept = _core.capture_kept(results)
            if kept:
                hint = "Return them instead"
                if opaque is not None:
                    hint += f" (only dicts, lists and tuples are looked into, not a {opaque})"
                _core.capture_refuse(
                    f"expected no tensor of a captured call to be kept outside of it but {kept} "
                    "are, by an attribute or a list for instance: a replay would not renew them. "
                    + hint
                )
        self._finished = True
        return _core.capture_end(results, prepared=prepared)


def refuse(why: str) -> None:
    """While a call is captured: says that it cannot be.

    Raises:
        RuntimeError: unless the capture is lenient, which then gives no program.
    """
    if current() is not None:
        _core.capture_refuse(why)


def refuse_if_lenient(why: str) -> None:
    """While ``fit`` captures a step by itself: says that it cannot be. ``annx.jit`` goes on."""
    recording = current()
    if recording is not None and recording.lenient:
        _core.capture_refuse(why)


def repeat(function: Callable[[], Any], optimizer: Any = None) -> None:
    """While a call is captured: has every replay call ``function`` at this place."""
    recording = current()
    if recording is None:
        return
    _core.capture_host(function)
    recording.repeats.append(optimizer)
    if optimizer is not None and all(optimizer is not other for other in recording.optimizers):
        recording.optimizers.append(optimizer)
