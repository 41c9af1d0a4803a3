"""``annx.jit``: an eager function recorded once and replayed as one native call."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from functools import update_wrapper
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, overload
from weakref import WeakSet

import numpy as np

from annx import _capture, _core, _creation, pytree
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_call_key = _core.call_key
_read_arguments = _core.read_arguments
_copy_containers = _core.copy_containers


class _Entry(_capture.Record):
    """A captured call with what is needed to use it again."""

    __slots__ = ()

    def run(self, tensors: Any) -> Any:
        try:
            results = self.program.run(tensors)
        except Exception as error:
            self._blame(error)
            raise
        return self.build(results)

    def runs_on_rows(self, sums: bool) -> bool:
        """Whether rows of arrays can be run through, batch after batch."""
        if self.on_rows is None:
            self.on_rows = self.program.runs_on_rows(sums)
        return self.on_rows

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
            self.treedef, [next(it) if leaf is _TENSOR else leaf for leaf in self.leaves]
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
        nums = (static_argnums,) if isinstance(static_argnums, int) else (*static_argnums,)
        names = (static_argnames,) if isinstance(static_argnames, str) else (*static_argnames,)
        self._static = nums, names
        self._argnums, self._argnames = _static_places(function, nums, names)
        self._size = cache_size
        self._lenient = lenient
        # Recordings of one key that must agree before the first replay of any.
        self._trials = trials
        self._entries: OrderedDict[Any, list[_Entry]] = OrderedDict()
        self._lock = RLock()
        _locked.add(self)
        # What a method belongs to, where its attributes tell when they change.
        owner = getattr(function, "__self__", function)
        self._owner = owner if _is_module(owner) else None
        # Of a method: the instance and its name.
        self.__self__: Any
        self._place: tuple[Any, str] | None = None
        self._guests: dict[int, Jitted] = {}
        self.captures = 0
        self.refusal: str | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        # Records lie with the instance, which they keep alive, and go with it.
        state = getattr(instance, "__dict__", None)
        if type(state) is not dict:
            return self._method_of(instance, owner)
        methods = state.get(_METHODS)
        # What was copied along with other attributes is another instance's.
        if methods is None or methods.instance is not instance:
            with _making_methods:
                methods = state.get(_METHODS)
                if methods is None or methods.instance is not instance:
                    methods = state[_METHODS] = _Methods(instance)
        bound = methods.get(self)
        # Of threads that come at once, all take the one that is there first, and its lock.
        return bound or methods.setdefault(self, self._bind(instance, owner))

    def _bind(self, instance: Any, owner: type | None) -> Jitted:
        function = self._function.__get__(instance, owner)
        bound = Jitted(function, *self._static, self._size, self._lenient, self._trials)
        bound.__self__ = instance
        bound._place = instance, getattr(self, "_name", function.__name__)
        return bound

    def _method_of(self, instance: Any, owner: type | None) -> Jitted:
        """The captured method of an instance that has no room for it."""
        with self._lock:
            bound = self._guests.get(id(instance))
            if bound is None:
                bound = self._guests[id(instance)] = self._bind(instance, owner)
                while len(self._guests) > self._size:
                    del self._guests[next(iter(self._guests))]
        return bound

    def __repr__(self) -> str:
        return f"<annx.jit of {self._function!r}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._place is not None:
            return getattr, self._place
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(getattr(self, "__module__", None) or "")
        for part in name.split("."):
            found = getattr(found, part, None)
        # What decorates a function stands in its place.
        if found is self:
            return name
        return super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        # Records belong to this process, a lock to its threads.
        state = dict(self.__dict__)
        state["_entries"], state["_guests"], state["_lock"] = OrderedDict(), {}, None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = RLock()
        _locked.add(self)

    def alike(self, function: Callable[..., Any]) -> Jitted:
        """Another function captured in the same way: static arguments and number of records."""
        return Jitted(function, *self._static, cache_size=self._size)

    def clear_cache(self) -> None:
        """Forgets all captured calls."""
        with self._lock:
            self._entries.clear()

    @property
    def programs(self) -> list[Any]:
        """The captured calls, the one used last at the end."""
        return [entry.program for entries in self._entries.values() for entry in entries]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _core.capturing():
            # Within another capture a call is part of it.
            return self._function(*args, **kwargs)
        key, tensors, spec = self._read(args, kwargs)
        known = self._entries.get(key)
        if known and self._trials == 1 and not known[-1].changes_state:
            entry = self._fitting(key)
            if entry is not None and not entry.changes_state:
                return entry.run(tensors)
        with self._lock:
            entry = self._fitting(key)
            if entry is None:
                return self._record(key, tensors, spec)
            if self._trials > 1:
                return self._try_again(entry, key, tensors, spec)
            return entry.run(tensors)

    def _fitting(self, key: Any) -> _Entry | None:
        """The record that a call of this key may replay; it counts as used."""
        # Lists are replaced, not changed: another thread may be going through them.
        entries = self._entries.get(key, [])
        for entry in entries:
            if entry.fits():
                if entry is not entries[-1]:
                    with self._lock:
                        now = self._entries.get(key, [])
                        if entry in now:
                            self._entries[key] = [*(e for e in now if e is not entry), entry]
                return entry
        return None

    def _find(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The record that a call with these arguments would replay, and its tensors."""
        key, tensors, _ = self._read(args, kwargs)
        entry = self._fitting(key)
        if entry is None:
            raise RuntimeError(
                "[trace] expected arguments of a call that has been captured: call the function "
                "first"
            )
        return entry.program, tensors

    def _ready(self, key: Any) -> _Entry | None:
        """The record that a call of this key would replay without looking at it again."""
        return self._fitting(key) if self._trials == 1 and not _core.capturing() else None

    def _try_again(self, entry: _Entry, key: Any, tensors: Any, spec: Any) -> Any:
        """Records once more and compares: a function that does not do the same is not replayed."""
        self._entries[key] = [e for e in self._entries[key] if e is not entry]
        result = self._record(key, tensors, spec)
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

    def _read(self, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        """The key of a call, its tensors, and how to put its arguments together again."""
        if not kwargs and not self._argnums:
            found = _read_arguments(args)
            if found is not None:
                return found
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
        arrays: dict[int, Tensor] = {}  # one tensor of an array that comes twice
        for leaf in leaves:
            value = _as_argument(leaf)
            if value is not leaf and type(leaf) is np.ndarray:
                value = arrays.setdefault(id(leaf), value)
            values.append(value)
            if isinstance(value, Tensor):
                tensors.append(value)
                constants.append(_TENSOR)
            else:
                constants.append((type(value), value))
        key = (
            _call_key(tensors),
            _core.is_grad_enabled(),
            treedef,
            tuple(constants),
            tuple([_static_key(value) for value in plain]),
            tuple([(name, _static_key(value)) for name, value in sorted(fixed.items())]),
            len(args),
        )
        try:
            hash(key)
        except TypeError:
            bad = next((c for c in (*plain, *fixed.values(), *values) if not _hashable(c)), None)
            raise TypeError(
                "[jit] expected arguments that are tensors, arrays, numbers or hashable values, or "
                f"dicts, lists and tuples of them, but got {type(bad).__name__}: take it apart, or "
                "let the function close over it"
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
        return tuple(args), {**names, **fixed}

    def _record(self, key: Any, tensors: Any, spec: Any) -> Any:
        args, kwargs = self._arguments(spec)
        # Of the method's own module, and of those that are arguments, attributes count.
        owners: list[Any] = []
        if spec[0] is not None:  # else they are tensors alone
            owners += filter(_is_module, pytree.flatten((args, kwargs))[0])
        if self._owner is not None:
            owners.append(self._owner)
        recorded, outputs = _capture.record(
            self._function, args, kwargs, tensors, owners, self._lenient, False, take_apart
        )
        entry = _Entry(recorded)
        if isinstance(entry.program, str):
            self.refusal = entry.program
        else:
            self.captures += 1
            self._keep(key, entry)
        return entry.build(outputs)

    def _keep(self, key: Any, entry: _Entry) -> None:
        entries = self._entries.get(key)
        if entries is None:
            self._entries[key] = [entry]
        else:
            self._entries[key] = [*(e for e in entries if e.could_fit()), entry]
            self._entries.move_to_end(key)
        if self.captures <= self._size:
            return
        while sum(len(e) for e in self._entries.values()) > self._size:
            oldest = next(iter(self._entries))
            self._entries[oldest] = self._entries[oldest][1:]
            if not self._entries[oldest]:
                del self._entries[oldest]


_METHODS = "_annx_jitted"
_making_methods = Lock()


def _renew_locks() -> None:
    """In a forked child: the threads that may have held them are not there."""
    global _making_methods
    _making_methods = Lock()
    for one in tuple(_locked):
        one._lock = RLock()


# Everything with a lock of its own, held while a step is replayed.
_locked: WeakSet[Any] = WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class _Methods(dict[Jitted, Jitted]):
    """The captured methods of an instance; a copy of the instance has its own."""

    def __init__(self, instance: Any = None) -> None:
        self.instance = instance

    def __reduce__(self) -> Any:
        return _Methods, ()


def _is_module(value: Any) -> bool:
    """Whether its attributes tell when they change."""
    return hasattr(value, "_edited") and not isinstance(value, type)


def _static_places(
    function: Any, nums: tuple[int, ...], names: tuple[str, ...]
) -> tuple[tuple[int, ...], frozenset[str]]:
    """Positions and names of static arguments, each completed by the other."""
    if not nums and not names:
        return (), frozenset()
    import inspect

    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return nums, frozenset(names)
    kinds = inspect.Parameter
    places = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    more = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
    found = [n + len(places) if n < 0 and not more else n for n in nums]
    for given, n in zip(nums, found, strict=True):
        if n < 0 or (n >= len(places) and not more):
            raise ValueError(
                f"[jit] expected static_argnums among the {len(places)} positional arguments but "
                f"got {given}"
            )
    for name in names:
        if all(name != p.name for p in parameters) and all(
            p.kind is not kinds.VAR_KEYWORD for p in parameters
        ):
            raise ValueError(
                "[jit] expected static_argnames among the arguments "
                f"{', '.join(p.name for p in parameters)} but got {name!r}"
            )
    known = {places[n] for n in found if n < len(places)}
    known -= {p.name for p in parameters if p.kind is kinds.POSITIONAL_ONLY}
    also = {places.index(name) for name in names if name in places}
    return tuple(sorted({*found, *also})), frozenset({*names, *known})


def _static_key(value: Any) -> Any:
    """Tells values apart that are equal, but not the same: 1, 1.0 and True, 0.0 and -0.0."""
    kind = type(value)
    if kind is tuple:
        return kind, tuple([_static_key(item) for item in value])
    return kind, value.hex() if kind is float else value


def take_apart(result: Any) -> tuple[list[Tensor], Any, list[Any], str | None]:
    """The tensors of a result, its tree and leaves, and the type of what was not looked into."""
    leaves, treedef = pytree.flatten(result)
    tensors = []
    opaque = None
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            tensors.append(leaf)
            leaves[i] = _TENSOR
        elif hasattr(type(leaf), "__next__") or hasattr(type(leaf), "__await__"):
            _core.capture_refuse(
                "expected a result that can be handed out again and again but got a "
                f"{type(leaf).__name__}: return a list or a tuple",
                False,
            )
        elif opaque is None and not isinstance(leaf, (str, bytes, bool, int, float)):
            opaque = type(leaf).__name__
    return tensors, treedef, leaves, opaque


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
        static_argnums: positions of arguments that are part of the key as they are (hashable),
            however they are passed; ``self`` of a method is not counted.
        static_argnames: names of such arguments, likewise.
        cache_size: how many records are kept, the last used ones; of a method, per instance.

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
