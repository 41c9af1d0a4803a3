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
    from collections.abc import Callable

bump = _core.bump_structure

# Captures at work in all threads: modules look at it before anything else.
active = 0


class _State(_local):
    recording: Recording | None = None


_state = _State()


def current() -> Recording | None:
    """The capture of this thread."""
    return _state.recording if active else None


def _members(module: Any) -> tuple[tuple[str, int], ...]:
    state = module.__dict__
    if not state["_parameter_names"] and not state["_buffer_names"]:
        return ()
    return tuple(
        [
            (name, _core.storage_id(state[name]) if state[name] is not None else -1)
            for registry in ("_parameter_names", "_buffer_names")
            for name in state[registry]
        ]
    )


class Guard:
    """What must still hold for a captured call to mean the same."""

    __slots__ = ("_epoch", "_modules", "_optimizers")

    def __init__(self, recording: Recording) -> None:
        self._epoch = _core.structure_epoch()
        self._modules = [
            (module, module.training, module.__dict__.get("_edits", 0), _members(module))
            for module in recording.modules.values()
        ]
        self._optimizers = [(o, o._plan_version) for o in recording.optimizers]

    def could_hold(self) -> bool:
        """Whether it may come to hold again: a mode can be switched back, an edit not undone."""
        return all(
            module.__dict__.get("_edits", 0) == edits and _members(module) == members
            for module, _, edits, members in self._modules
        ) and all(o._plan_version == version for o, version in self._optimizers)

    def holds(self) -> bool:
        """Whether modules and optimizers are as they were."""
        for optimizer, version in self._optimizers:
            if optimizer._plan_version != version:
                return False
        epoch = _core.structure_epoch()
        if epoch == self._epoch:
            return True
        for module, training, edits, members in self._modules:
            if module.training is not training or module.__dict__.get("_edits", 0) != edits:
                return False
            if _members(module) != members:
                return False
        self._epoch = epoch
        return True


class Recording:
    """A capture at work: begins with ``with``; then :meth:`finish` gives the program."""

    def __init__(self, arguments: list[Any], lenient: bool = False) -> None:
        self.modules: dict[int, Any] = {}
        self.optimizers: list[Any] = []
        # Of each call of the host: the optimizer that it prepares, or None.
        self.repeats: list[Any] = []
        self.scopes: list[tuple[Any, ...]] = []
        self._stack: tuple[Any, ...] = ()
        self._arguments = arguments
        self._lenient = lenient
        self._finished = False

    def __enter__(self) -> Recording:
        global active
        _core.capture_begin(self._arguments, self._lenient)
        active += 1
        _state.recording = self
        return self

    def __exit__(self, *error: object) -> None:
        self._leave()
        if not self._finished:
            _core.capture_abort()

    def _leave(self) -> None:
        global active
        if _state.recording is self:
            _state.recording = None
            active -= 1

    def finish(self, results: list[Any], prepared: bool = False) -> Any:
        """The program, or the reason why there is none (of a lenient capture)."""
        self._leave()
        if _core.capture_kept(results):
            import gc

            gc.collect()
            kept = _core.capture_kept(results)
            if kept:
                _core.capture_refuse(
                    f"expected no tensor of a captured call to be kept outside of it but {kept} "
                    "are, by an attribute or a list for instance: a replay would not renew them. "
                    "Return them instead"
                )
        self._finished = True
        return _core.capture_end(results, prepared=prepared)

    def call(self, module: Any, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Runs a module's call, noting the module and its place in the tree."""
        self.modules[id(module)] = module
        outer = self._stack
        self._stack = (*outer, module)
        scope = _core.capture_scope(len(self.scopes))
        self.scopes.append(self._stack)
        try:
            return call(*args, **kwargs)
        finally:
            self._stack = outer
            _core.capture_scope(scope)


class paused:
    """What runs within is not part of a capture: state that is made once, before its first use."""

    def __enter__(self) -> None:
        _core.capture_pause(True)

    def __exit__(self, *error: object) -> None:
        _core.capture_pause(False)


def refuse(why: str) -> None:
    """While a call is captured: says that it cannot be.

    Raises:
        RuntimeError: unless the capture is lenient, which then gives no program.
    """
    if current() is not None:
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
