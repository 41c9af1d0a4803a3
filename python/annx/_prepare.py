"""``annx.prepare``: a module for inference alone, with what depends on its weights made ahead."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from annx import _capture, _core, _creation, pytree
from annx._core import Tensor
from annx._jit import _Entry, _locked, take_apart
from annx.autograd import no_grad

if TYPE_CHECKING:
    from annx.nn import Module

_call_key = _core.call_key
_structure_epoch = _core.structure_epoch


def _structure(module: Any) -> list[Any]:
    """What the module is made of, its modes and the values of its tensors aside."""
    parts = _core.modules_within([module], [])
    return [*map(id, parts), _core.module_states(parts)[1]]


class Prepared:
    """A module as a function for inference. Made by :func:`prepare`, which says what it does."""

    def __init__(self, module: Module, cache_size: int) -> None:
        if not hasattr(module, "named_modules"):
            raise TypeError(f"[prepare] expected a Module but got {type(module).__name__}")
        if cache_size < 1:
            raise ValueError(f"[prepare] expected cache_size >= 1 but got {cache_size}")
        self._module = module
        self._size = cache_size
        self._lock = RLock()
        _locked.add(self)
        self._start()

    def _start(self) -> None:
        self._epoch = _structure_epoch()
        self._seen = _structure(self._module)
        self._entries: dict[Any, _Entry] = {}

    def __repr__(self) -> str:
        return f"<annx.prepare of {type(self._module).__name__}>"

    def __getstate__(self) -> dict[str, Any]:
        # Records belong to this process: the next one makes its own.
        return {"module": self._module, "size": self._size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._module, self._size = state["module"], state["size"]
        self._lock = RLock()
        _locked.add(self)
        self._start()

    def __call__(self, *inputs: Any) -> Any:
        """What the module computes in evaluation mode.

        Args:
            inputs: of the module: Tensors, arrays, and dicts, lists and tuples of them, such as the
                ``(h, c)`` of an LSTM.
        """
        if _structure_epoch() != self._epoch:
            self._look_again()
        treedef = None
        key: Any
        try:
            key = _call_key(inputs)
        except TypeError:
            inputs, treedef = _take_apart(inputs)
            key = _call_key(inputs) if treedef is None else (_call_key(inputs), treedef)
        entry = self._entries.get(key)
        return self._first(key, inputs, treedef) if entry is None else entry.run(inputs)

    def predict(self, *inputs: Any, batch_size: int | None = None) -> Any:
        """The outputs for arrays, as arrays.

        Args:
            inputs: of the module; their first axes are samples.
            batch_size: samples per call; all at once by default.

        Returns:
            A NumPy array, or the tree of them that the module returns.

        Raises:
            ValueError: the inputs do not have the same number of samples, or ``batch_size`` < 1.
        """
        arrays = [x.numpy() if isinstance(x, Tensor) else np.asarray(x) for x in inputs]
        if batch_size is None:
            return pytree.map(_array, self(*arrays))
        counts = {len(a) if a.ndim else -1 for a in arrays}
        if len(counts) != 1 or -1 in counts:
            raise ValueError(
                "[predict] expected inputs of one number of samples but got shapes "
                f"{', '.join(str(a.shape) for a in arrays)}"
            )
        if batch_size < 1:
            raise ValueError(f"[predict] expected batch_size >= 1 but got {batch_size}")
        starts = range(0, max(1, counts.pop()), batch_size)
        parts = [self(*[a[k : k + batch_size] for a in arrays]) for k in starts]
        return pytree.map(_joined, *parts)

    def refresh(self) -> None:
        """Makes everything anew from the weights.

        Calls notice by themselves when Tensors, optimizers or ``load_state_dict`` write weights;
        this is for weights written through the memory that they share with NumPy.
        """
        for entry in tuple(self._entries.values()):
            entry.program.prepare()

    @property
    def programs(self) -> list[Any]:
        """The records in use."""
        return [entry.program for entry in self._entries.values()]

    def _look_again(self) -> None:
        """Some module was changed somewhere: starts anew if it is part of this one."""
        with self._lock:
            epoch = _structure_epoch()
            if _structure(self._module) == self._seen:
                self._epoch = epoch
            else:
                self._start()

    def _first(self, key: Any, inputs: tuple[Tensor, ...], treedef: Any) -> Any:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                return entry.run(inputs)
            modes = [part for part in self._module.modules() if part.training]
            for part in modes:
                part.training = False
            try:
                entry, outputs = self._record(inputs, treedef)
            finally:
                for part in modes:
                    part.training = True
            entry.program.prepare()
            while len(self._entries) >= self._size:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = entry
            return entry.build(outputs)

    def _record(self, inputs: tuple[Tensor, ...], treedef: Any) -> tuple[_Entry, Any]:
        for name, part in self._module.named_modules():
            if part._hooks is not None:
                raise RuntimeError(
                    f"[prepare] expected modules without hooks but {name or 'the module'} has some"
                )
        arguments = inputs if treedef is None else tuple(pytree.unflatten(treedef, list(inputs)))
        with no_grad():
            recorded, outputs = _capture.record(
                self._module, arguments, {}, inputs, (), False, True, take_apart
            )
        entry = _Entry(recorded)
        if entry.changes_state:
            raise RuntimeError(
                "[prepare] expected a module that writes no state in evaluation mode but "
                f"{type(self._module).__name__} does"
            )
        return entry, outputs


def _take_apart(inputs: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], Any]:
    """The Tensors within the inputs and their structure; None for Tensors side by side."""
    leaves, treedef = pytree.flatten(inputs)
    flat = len(leaves) == len(inputs) and all(a is b for a, b in zip(leaves, inputs, strict=True))
    if not any(isinstance(leaf, (Tensor, np.ndarray)) for leaf in leaves):
        leaves, flat = [*inputs], True  # rows of numbers
    tensors = []
    for leaf in leaves:
        try:
            tensors.append(_creation.as_tensor(leaf))
        except TypeError:
            raise TypeError(
                "[prepare] expected Tensors, arrays, or dicts, lists and tuples of them but got "
                f"{type(leaf).__name__}"
            ) from None
    return tuple(tensors), None if flat else treedef


def _array(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value


def _joined(*values: Any) -> Any:
    """The rows of all batches; what is no Tensor is the first batch's."""
    if not isinstance(values[0], Tensor):
        return values[0]
    if values[0].ndim == 0:
        raise ValueError("[predict] expected outputs with a row per sample but got a single number")
    return np.concatenate([value.numpy() for value in values])


def prepare(module: Module, *example: Any, cache_size: int = 16) -> Prepared:
    """Makes a function of a module for inference: fast from the first call, for many threads.

    Calls run the module in evaluation mode and without gradients, with the bits of the eager call,
    each as one native call that holds no GIL. What depends on weights alone is made once and shared
    by all calls: weights packed as the kernels read them, scales of batch norms, weights in other
    dtypes, masks.

    The module's own mode is not changed, but the first call for inputs of some shapes runs the
    module in evaluation mode: do not train it just then. Weights may change: calls notice when
    Tensors are written to and make the shared parts anew, and record again when parameters or
    attributes are replaced. Only writes through memory shared with NumPy go unseen
    (:meth:`Prepared.refresh`). It can be pickled with the module.

    Args:
        module: the module.
        example: inputs, Tensors or arrays, of the shapes to expect: they are recorded right away.
            Others are recorded at their first call.
        cache_size: for how many kinds of inputs (shapes, dtypes, layouts) records are kept.

    Returns:
        A function of the module's inputs; see also :meth:`Prepared.predict`.

    Raises:
        TypeError: ``module`` is no Module.
        RuntimeError: the module looks at values of Tensors, writes state or has hooks.

    Example::

        serve = annx.prepare(model, x[:1])
        probabilities = serve(x[:1])

    Source: docs/capture.md.
    """
    prepared = Prepared(module, cache_size)
    if example:
        prepared(*example)
    return prepared
