"""What the Python side has to do with a call that is being captured.

A captured call replays native instructions only. What Python decided while it was recorded is
checked before a replay (:class:`Record`); what Python must do again, such as writing the learning
rate, is called at its place in the replay (:func:`repeat`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

bump = _core.bump_structure
_capture_note_module = _core.capture_note_module
_capture_refuse = _core.capture_refuse
_capture_repeat = _core.capture_repeat
_module_states = _core.module_states
_record_call = _core.record_call
_structure_epoch = _core.structure_epoch

# Captures at work in all threads: modules look at it before anything else.
active = 0


class Record:
    """A captured call, and what must still hold for it to mean the same.

    Attributes:
        program: what is replayed; of a lenient capture also the reason why there is nothing.
        changes_state: whether a replay leaves more behind than its results.
        treedef: the tree of the result; None for a single Tensor.
        leaves: the result's leaves, with a mark where a Tensor goes.
        scopes: of each call of a module: the call around it, or -1, and the module.
        repeats: of each call of the host: the optimizer that it prepares, or None.
        on_rows: for who replays it on rows of arrays; None at first.
    """

    __slots__ = (
        "_epoch",
        "_modes",
        "_modules",
        "_optimizers",
        "_states",
        "changes_state",
        "leaves",
        "on_rows",
        "program",
        "repeats",
        "scopes",
        "treedef",
    )

    def __init__(self, recorded: Any) -> None:
        (
            self.program,
            self.changes_state,
            self.treedef,
            self.leaves,
            self.scopes,
            self.repeats,
            self._optimizers,
            self._modules,
            self._modes,
            self._states,
            self._epoch,
        ) = recorded
        self.on_rows: bool | None = None

    def could_fit(self) -> bool:
        """Whether it may come to fit again: a mode can be switched back, an edit not undone."""
        return _module_states(self._modules)[1] == self._states and all(
            optimizer._plan_version == version for optimizer, version in self._optimizers
        )

    def fits(self) -> bool:
        """Whether modules, optimizers and leaves are as they were."""
        for optimizer, version in self._optimizers:
            if optimizer._plan_version != version or not optimizer._as_planned():
                return False
        epoch = _structure_epoch()
        if epoch != self._epoch:
            if _module_states(self._modules) != (self._modes, self._states):
                return False
            self._epoch = epoch
        return bool(self.program.fits())


def record(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    tensors: Sequence[Any],
    owners: Sequence[Any],
    lenient: bool,
    prepared: bool,
    take_apart: Callable[[Any], Any],
) -> tuple[Any, tuple[Any, ...]]:
    """Calls ``function`` and records what it does.

    Args:
        function: runs eagerly, once.
        args: its arguments.
        kwargs: its arguments by name.
        tensors: those among the arguments, whose values may differ from call to call.
        owners: modules whose attributes count whether they are called or not.
        lenient: go on where the call cannot be captured.
        prepared: for many calls without gradients: keep what depends on weights alone.
        take_apart: of a result that is no Tensor: its Tensors, its tree, its leaves, and the type
            of what may hold tensors unseen, or None.

    Returns:
        What :class:`Record` takes, and the Tensors of the result, detached.
    """
    global active
    active += 1
    try:
        return _record_call(function, args, kwargs, tensors, owners, lenient, prepared, take_apart)
    finally:
        active -= 1


def note_module(module: Any) -> None:
    """While a call is captured: replays must find this module, and all of its, as it is now."""
    if active:
        _capture_note_module(module)


def refuse(why: str) -> None:
    """While a call is captured: says that it cannot be.

    Raises:
        RuntimeError: unless the capture is lenient, which then gives no program.
    """
    if active:
        _capture_refuse(why, False)


def refuse_if_lenient(why: str) -> None:
    """While ``fit`` captures a step by itself: says that it cannot be. ``annx.jit`` goes on."""
    if active:
        _capture_refuse(why, True)


def repeat(function: Callable[[], Any], optimizer: Any = None) -> None:
    """While a call is captured: has every replay call ``function`` at this place."""
    if active:
        _capture_repeat(function, optimizer)
