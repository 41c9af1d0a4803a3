"""``annx.jit``: an eager function recorded once and replayed as one native call."""

from __future__ import annotations

from collections import OrderedDict
from functools import update_wrapper
from threading import RLock
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from annx import _capture, _core, _creation, pytree
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_call_key = _core.call_key
_read_arguments = _core.read_arguments
_copy_containers = _core.copy_containers


class _Entry:
    """A captured call with what is needed to use it again."""

    __slots__ = (
        "_on_rows",
        "guard",
        "instance",
        "program",
        "repeats",
        "scopes",
        "template",
        "treedef",
    )

    def __init__(
        self,
        program: Any,
        guard: _capture.Guard,
        recording: _capture.Recording,
        treedef: Any,
        template: Any,
        instance: Any,
    ) -> None:
        self.program = program
        self.guard = guard
        self.scopes = recording.scopes
        self.repeats = recording.repeats
        self._on_rows: bool | None = None
        self.treedef = treedef
        # The result's leaves; None where a tensor goes.
        self.template = template
        # Kept so that its id, part of the key, is not used again.
        self.instance = instance

    def run(self, tensors: Any) -> Any:
        try:
            results = self.program.run(tensors)
        except Exception as error:
            self._blame(error)
            raise
        return self.build(results)

    def on_rows(self, sums: bool) -> bool:
        """Whether rows of arrays can be run through, batch after batch."""
        if self._on_rows is None:
            self._on_rows = self.program.runs_on_rows(sums)
        return self._on_rows

    def run_rows(self, loop: Any) -> None:
        """Runs through rows of arrays, batch after batch."""
        try:
            self.program.run_rows(loop)
        except Exception as error:
            self._blame(error)
            raise

    def _blame(self, error: Exception) -> None:
        scope = self.program.failed_scope()
        if scope >= 0:
            from annx.nn._blame import blame

            while scope >= 0:
                scope, module = self.scopes[scope]
                blame(error, module)

    def build(self, results: Any) -> Any:
        if self.treedef is None:
            return results[0]
        it = iter(results)
        return pytree.unflatten(
            self.treedef, [next(it) if leaf is _TENSOR else leaf for leaf in self.template]
        )


_TENSOR = object()


class Jitted:
    """A function that records its first call of each kind and replays it from then on.

    Made by :func:`jit`, which says what is recorded.

    Attributes:
        captures: how many times a call was recorded.
        refusal: why the last lenient capture gave no program; None if it did.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        static_argnums: int | Sequence[int] = (),
        static_argnames: str | Iterable[str] = (),
        cache_size: int = 16,
        lenient: bool = False,
        trials: int = 1,
    ) -> None:
        if not callable(function):
            raise TypeError(f"[jit] expected a function but got {type(function).__name__}")
        if cache_size < 1:
            raise ValueError(f"[jit] expected cache_size >= 1 but got {cache_size}")
        update_wrapper(self, function)
        self._function = function
        self._argnums = (static_argnums,) if isinstance(static_argnums, int) else (*static_argnums,)
        names = (static_argnames,) if isinstance(static_argnames, str) else (*static_argnames,)
        self._argnames = frozenset(names)
        self._size = cache_size
        self._lenient = lenient
        # Recordings of one key that must agree before the first replay of any.
        self._trials = trials
        self._entries: OrderedDict[Any, list[_Entry]] = OrderedDict()
        self._lock = RLock()
        self._bound: Any = None
        self.captures = 0
        self.refusal: str | None = None

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return _Bound(self, instance)

    def __repr__(self) -> str:
        return f"<annx.jit of {self._function!r}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(None, args, kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # Records belong to this process, a lock to its threads.
        state = dict(self.__dict__)
        state["_entries"], state["_lock"] = OrderedDict(), None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = RLock()

    def clear_cache(self) -> None:
        """Forgets all captured calls."""
        with self._lock:
            self._entries.clear()

    @property
    def programs(self) -> list[Any]:
        """The captured calls, the one used last at the end."""
        return [entry.program for entries in self._entries.values() for entry in entries]

    def _call(self, instance: Any, args: Any, kwargs: Any) -> Any:
        if _core.capturing():
            # Within another capture a call is part of it.
            return self._plain(instance, args, kwargs)
        key, tensors, spec = self._read(instance, args, kwargs)
        entries = self._entries.get(key)
        if entries is not None:
            for entry in entries:
                if entry.guard.holds() and entry.program.fits():
                    if self._trials > 1:
                        with self._lock:
                            return self._try_again(entry, instance, key, tensors, spec)
                    if entry is not entries[-1]:
                        entries.remove(entry)
                        entries.append(entry)
                    if entry.program.changes_state():
                        with self._lock:
                            return entry.run(tensors)
                    return entry.run(tensors)
        with self._lock:
            return self._record(instance, key, tensors, spec)

    def _find(self, instance: Any, args: Any) -> tuple[Any, Any]:
        """The record that a call with these arguments would replay, and its tensors."""
        key, tensors, _ = self._read(instance, args, {})
        for entry in self._entries.get(key, ()):
            if entry.guard.holds() and entry.program.fits():
                return entry.program, tensors
        raise RuntimeError(
            "[trace] expected arguments of a call that has been captured: call the function first"
        )

    def _ready(self, key: Any) -> _Entry | None:
        """The record that a call of this key would replay without looking at it again."""
        if self._trials == 1 and not _core.capturing():
            for entry in self._entries.get(key, ()):
                if entry.guard.holds() and entry.program.fits():
                    return entry
        return None

    def _try_again(self, entry: _Entry, instance: Any, key: Any, tensors: Any, spec: Any) -> Any:
        """Records once more and compares: a function that does not do the same is not replayed."""
        self._entries[key].remove(entry)
        result = self._record(instance, key, tensors, spec)
        again = self._entries.get(key)
        if self.refusal is None and again:
            first, second = entry.program.fingerprint(), again[-1].program.fingerprint()
            self._trials -= 1
            if first != second:
                self._entries.clear()
                lines = zip(first.splitlines(), second.splitlines(), strict=False)
                at = next((a for a, b in lines if a != b), "the number of ops").partition("|")[0]
                self.refusal = (
                    "[jit] expected two recordings of one function to do the same but they differ "
                    f"at {at}: does it draw random numbers, count calls or choose in Python?"
                )
        return result

    def _plain(self, instance: Any, args: Any, kwargs: Any) -> Any:
        if instance is not None:
            return self._function(instance, *args, **kwargs)
        return self._function(*args, **kwargs)

    def _read(self, instance: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        """The key of a call, its tensors, and how to put its arguments together again."""
        grad_mode = _core.is_grad_enabled()
        if not kwargs and not self._argnums:
            found = _read_arguments(args)
            if found is not None:
                return (found[0], grad_mode, id(instance)), found[1], (None, args)
        plain: list[Any] = []
        tree: list[Any] = []
        for i, value in enumerate(args):
            (plain if i in self._argnums else tree).append(value)
        names = {k: v for k, v in kwargs.items() if k not in self._argnames}
        fixed = {k: v for k, v in kwargs.items() if k in self._argnames}
        leaves, treedef = pytree.flatten((tree, names))
        tensors: list[Tensor] = []
        constants: list[Any] = []
        values: list[Any] = []
        for leaf in leaves:
            value = _as_argument(leaf)
            values.append(value)
            if isinstance(value, Tensor):
                tensors.append(value)
                constants.append(_TENSOR)
            else:
                constants.append((type(value), value))
        key = (
            _call_key(tensors),
            grad_mode,
            id(instance),
            treedef,
            tuple(constants),
            tuple([(type(value), value) for value in plain]),
            tuple([(name, type(value), value) for name, value in sorted(fixed.items())]),
            len(args),
        )
        try:
            hash(key)
        except TypeError:
            bad = next((c for c in (*plain, *fixed.values(), *values) if not _hashable(c)), None)
            raise TypeError(
                "[jit] expected arguments that are tensors, arrays, numbers or hashable values but "
                f"got {type(bad).__name__}"
            ) from None
        return key, tensors, (treedef, values, plain, fixed, len(args))

    def _arguments(self, spec: Any) -> tuple[Any, Any]:
        if spec[0] is None:
            # Containers of its own, as a replay leaves the caller's alone too.
            return _copy_containers(spec[1]), {}
        treedef, values, plain, fixed, count = spec
        tree, names = pytree.unflatten(treedef, values)
        it, rest = iter(plain), iter(tree)
        args = [next(it) if i in self._argnums else next(rest) for i in range(count)]
        return args, {**names, **fixed}

    def _record(self, instance: Any, key: Any, tensors: Any, spec: Any) -> Any:
        args, kwargs = self._arguments(spec)
        with _capture.Recording(list(tensors), self._lenient) as recording:
            result = self._plain(instance, args, kwargs)
            leaves: Any = [result]
            treedef: Any = None
            if not isinstance(result, Tensor):
                leaves, treedef = pytree.flatten(result)
            outputs = _core.detached_results([x for x in leaves if isinstance(x, Tensor)])
            template = [_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            # The graph goes with them; what is alive then was kept by somebody.
            del result, leaves
            program = recording.finish(list(outputs))
        refused = isinstance(program, str)
        if refused:
            self.refusal = program
        entry = _Entry(
            program,
            _capture.Guard(recording),
            recording,
            treedef,
            template,
            instance,
        )
        if not refused:
            self.captures += 1
            self._keep(key, entry)
        return entry.build(outputs)

    def _keep(self, key: Any, entry: _Entry) -> None:
        entries = self._entries.get(key)
        if entries is None:
            self._entries[key] = [entry]
        else:
            entries[:] = [e for e in entries if e.guard.could_hold()]
            entries.append(entry)
            self._entries.move_to_end(key)
        if self.captures <= self._size:
            return
        while sum(len(e) for e in self._entries.values()) > self._size:
            oldest = next(iter(self._entries))
            self._entries[oldest].pop(0)
            if not self._entries[oldest]:
                del self._entries[oldest]


class _Bound:
    """A captured method of an instance."""

    def __init__(self, jitted: Jitted, instance: Any) -> None:
        self._jitted = jitted
        self.__self__ = instance
        self.__wrapped__ = jitted._function.__get__(instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._jitted._call(self.__self__, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jitted, name)


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _as_argument(leaf: Any) -> Any:
    """A leaf as a tensor whose value may differ from call to call, or as it is."""
    if isinstance(leaf, Tensor):
        return leaf
    if isinstance(leaf, (np.ndarray, np.generic)):
        return _creation.as_tensor(leaf)
    if type(leaf) is float:
        return _core.number_argument(leaf)
    return leaf


@overload
def jit(
    function: Callable[..., Any],
    *,
    static_argnums: int | Sequence[int] = ...,
    static_argnames: str | Iterable[str] = ...,
    cache_size: int = ...,
) -> Jitted: ...
@overload
def jit(
    function: None = ...,
    *,
    static_argnums: int | Sequence[int] = ...,
    static_argnames: str | Iterable[str] = ...,
    cache_size: int = ...,
) -> Callable[[Callable[..., Any]], Jitted]: ...


def jit(
    function: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Iterable[str] = (),
    cache_size: int = 16,
) -> Any:
    """Makes a function that is recorded at its first call and replayed natively from then on.

    The first call runs eagerly, as without ``jit``, while every op is written down: forward,
    backward, optimizer, buffers. Later calls with arguments of the same shapes, dtypes and devices
    run the record as one native call, fused and in planned memory, with the same bits. Anything
    else a call depends on is checked: the grad mode, the modes, attributes and parameters of the
    modules it called, the state of its optimizers. Where that differs the call is recorded anew.

    Args:
        function: a function or method of pytrees of Tensors, arrays and Python values. Tensors,
            arrays and floats may differ from call to call; other values (int, bool, str, None) are
            part of the key.
        static_argnums: positions of arguments that are part of the key as they are (hashable).
        static_argnames: names of such keyword arguments.
        cache_size: how many records are kept, the last used ones.

    Returns:
        A callable of the same arguments. Results are new Tensors whose graph stayed inside.

    Raises:
        RuntimeError: at the first call: a value is read inside (``item``, ``if tensor``,
            ``numpy``), or the shape of a result depends on values.

    What happens in Python inside ``function`` (prints, counters, ``random``) happens when it is
    recorded, not when it is replayed: see docs/capture.md.

    Source: JAX ``jax.jit``; docs/capture.md.
    """
    if function is None:
        return lambda f: Jitted(f, static_argnums, static_argnames, cache_size)
    return Jitted(function, static_argnums, static_argnames, cache_size)
