"""Gradients in PyTorch's terms, switches for recording, and functions with a gradient of your own.

The JAX-style transforms ``annx.grad`` and ``annx.value_and_grad`` stand in ``annx._transforms``.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, overload

from annx import _core, _creation
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Function = TypeVar("_Function", bound="Callable[..., Any]")

is_grad_enabled = _core.is_grad_enabled
_set_grad_enabled = _core.set_grad_enabled

_CO_GENERATOR = 0x20


class GradMode:
    """Switches the recording of gradients on or off inside a ``with`` block or a function."""

    __slots__ = ("_mode", "_previous")

    def __init__(self, mode: bool) -> None:
        self._mode = mode
        self._previous = mode

    def __enter__(self) -> None:
        self._previous = is_grad_enabled()
        _set_grad_enabled(self._mode)

    def __exit__(self, *error: object) -> None:
        _set_grad_enabled(self._previous)

    def __call__(self, function: _Function) -> _Function:
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _CO_GENERATOR:
            raise TypeError(
                "[grad mode] expected a function but got a generator function: "
                "its body runs later, so use a with block inside it"
            )
        mode = self._mode

        @wraps(function)
        def switched(*args: Any, **kwargs: Any) -> Any:
            with GradMode(mode):
                return function(*args, **kwargs)

        return switched  # type: ignore[return-value]


@overload
def no_grad() -> GradMode: ...
@overload
def no_grad(function: _Function) -> _Function: ...
def no_grad(function: Any = None) -> Any:
    """Stops recording: results need no gradient and hold no graph.

    Use as ``with no_grad():``, ``@no_grad()`` or ``@no_grad``.
    """
    return GradMode(False) if function is None else GradMode(False)(function)


@overload
def enable_grad() -> GradMode: ...
@overload
def enable_grad(function: _Function) -> _Function: ...
def enable_grad(function: Any = None) -> Any:
    """Records again inside a :func:`no_grad` region. Use like :func:`no_grad`."""
    return GradMode(True) if function is None else GradMode(True)(function)


class set_grad_enabled(GradMode):
    """Switches recording to ``mode`` at once; as a context manager it restores the old mode after.

    As a decorator, ``@set_grad_enabled(mode)``, it changes the mode only while the function runs.
    """

    __slots__ = ()

    def __init__(self, mode: bool) -> None:
        self._mode = bool(mode)
        self._previous = is_grad_enabled()
        _set_grad_enabled(self._mode)

    def __enter__(self) -> None:
        _set_grad_enabled(self._mode)

    def __call__(self, function: _Function) -> _Function:
        _set_grad_enabled(self._previous)
        return super().__call__(function)


def _as_list(value: Tensor | Sequence[Any] | None) -> list[Any]:
    if value is None or isinstance(value, Tensor):
        return [value]
    return list(value)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Returns the gradients of the sum of ``outputs`` with respect to ``inputs``.

    Args:
        outputs: tensors to differentiate.
        inputs: tensors to differentiate by, leaves or not. Their ``.grad`` stays as it is.
        grad_outputs: one gradient per output, of the output's shape. May be left out, or None in
            a place, where the output is a scalar.
        retain_graph: keep the graph for another backward pass. Default: ``create_graph``.
        create_graph: record the gradient's own graph, for derivatives of higher order.
        allow_unused: give None for an input that no output depends on, instead of an error.
            Default: ``materialize_grads``.
        materialize_grads: give zeros instead of None for such an input.

    Returns:
        One gradient per input, each of its input's shape.

    Raises:
        ValueError: the numbers of ``grad_outputs`` and ``outputs`` differ.
        RuntimeError: an input or output needs no gradient, or an input is unused and
            ``allow_unused`` is False.

    Source: PyTorch ``torch.autograd.grad``; guide, "Chain Rule and Gradient Descent".
    """
    outs = _as_list(outputs)
    ins = _as_list(inputs)
    seeds = [None] * len(outs) if grad_outputs is None else _as_list(grad_outputs)
    if len(seeds) != len(outs):
        raise ValueError(f"[autograd.grad] expected {len(outs)} grad_outputs but got {len(seeds)}")
    if allow_unused is None:
        allow_unused = materialize_grads
    elif materialize_grads and not allow_unused:
        raise ValueError(
            "[autograd.grad] expected allow_unused=True with materialize_grads=True but got False"
        )
    if retain_graph is None:
        retain_graph = create_graph
    grads = _core.grad(outs, ins, seeds, retain_graph, create_graph, allow_unused)
    if materialize_grads:
        pairs = zip(ins, grads, strict=True)
        return tuple([_creation.zeros_like(x) if g is None else g for x, g in pairs])
    return tuple(grads)


def _is_float_tensor(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype.is_floating_point


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a function a gradient of your own.

    ``function`` returns ``(result, gradient)``: ``result`` is a Tensor or a tuple of Tensors, and
    ``gradient(*upstream)`` takes one Tensor per result and returns one gradient (or None) for each
    positional Tensor argument of floating point, in order: a single one may stand alone. Other
    arguments and keyword arguments are passed through and get no gradient.

    The body runs without recording. When a backward pass records itself (``create_graph=True``),
    the body runs once more, recorded, so that derivatives of higher order are right too.

    Example::

        @annx.custom_gradient
        def log1pexp(x):
            e = annx.exp(x)
            return annx.log1p(e), lambda upstream: upstream * (1 - 1 / (1 + e))

    Raises:
        TypeError: ``function`` does not return a pair ``(result, callable)``.
        ValueError: ``gradient`` returns a wrong number of gradients.

    Source: TensorFlow ``tf.custom_gradient``.
    """
    name = getattr(function, "__name__", "custom_gradient")

    def run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Callable[..., Any]]:
        pair = function(*args, **kwargs)
        if not (isinstance(pair, tuple) and len(pair) == 2 and callable(pair[1])):
            raise TypeError(
                f"[{name}] expected a pair (result, gradient function) but got "
                f"{type(pair).__name__}"
            )
        return pair

    @wraps(function)
    def differentiable(*args: Any, **kwargs: Any) -> Any:
        inputs = [value for value in args if _is_float_tensor(value)]
        frozen = tuple([a.detach() if isinstance(a, Tensor) else a for a in args])
        with GradMode(False):
            result, gradient = run(frozen, kwargs)
        if not (is_grad_enabled() and any(value.requires_grad for value in inputs)):
            return result
        single = isinstance(result, Tensor)
        outputs = [value.detach() for value in ([result] if single else result)]

        def backward(*upstream: Tensor | None) -> tuple[Tensor | None, ...]:
            rule = run(args, kwargs)[1] if is_grad_enabled() else gradient
            pairs = zip(outputs, upstream, strict=True)
            full = [_creation.zeros_like(o) if u is None else u for o, u in pairs]
            grads = rule(*full)
            grads = tuple(grads) if isinstance(grads, (tuple, list)) else (grads,)
            if len(grads) != len(inputs):
                raise ValueError(
                    f"[{name}] expected {len(inputs)} gradients, one for each Tensor argument, "
                    f"but got {len(grads)}"
                )
            return grads

        attached = _core.custom_function(backward, inputs, outputs)
        return attached[0] if single else tuple(attached)

    return differentiable
