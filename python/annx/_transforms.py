"""Functional transforms over pytrees: ``grad`` and ``value_and_grad``, after JAX."""

from __future__ import annotations

from _thread import _local
from functools import wraps
from typing import TYPE_CHECKING, Any

from annx import _creation, pytree
from annx._core import Tensor
from annx._jit import Jitted
from annx.autograd import enable_grad
from annx.autograd import grad as _grad

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class _Nesting(_local):
    # How many transforms enclose the running code: an inner one must record its gradient.
    depth = 0


_nesting = _Nesting()


def _positions(argnums: int | Sequence[int], count: int) -> list[int]:
    wanted = [argnums] if isinstance(argnums, int) else list(argnums)
    for index in wanted:
        if not -count <= index < count:
            raise ValueError(
                f"[grad] expected argnums below the {count} positional arguments but got {index}"
            )
    return [index % count for index in wanted]


def _variable(value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else _creation.as_tensor(value)
    if not tensor.dtype.is_floating_point:
        raise TypeError(
            f"[grad] expected floating-point arguments to differentiate by but got {tensor.dtype}"
        )
    if tensor.requires_grad and (_nesting.depth > 0 or not tensor.is_leaf):
        # A fresh node on the outer graph: we differentiate by it, the outer transform through it.
        return tensor.view(tensor.shape)
    return tensor.detach().requires_grad_()


def value_and_grad(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Makes a function that returns ``(value, gradient)`` of ``fun``.

    Args:
        fun: returns a scalar Tensor of floating point, or ``(scalar, aux)`` if ``has_aux``.
        argnums: which positional arguments to differentiate by. Each is a pytree of
            floating-point Tensors, arrays or numbers.
        has_aux: ``fun`` returns a second value, passed through; the new function then returns
            ``((value, aux), gradient)``.

    Returns:
        A function with the arguments of ``fun``. The gradient has the structure of the argument,
        or is a tuple of such when ``argnums`` is a sequence. Tensors that ``fun`` does not depend
        on get zeros. Transforms nest: ``grad(grad(f))`` is the second derivative. Of a function
        made by ``annx.jit`` it is captured too: ``grad(jit(f))`` is ``jit(grad(f))``.

    Raises:
        TypeError: an argument to differentiate by is not of floating point, or the result is no
            Tensor.
        ValueError: the result is not a scalar, or ``argnums`` is out of range.

    Source: JAX ``jax.value_and_grad``.
    """

    if isinstance(fun, Jitted):
        return fun.alike(value_and_grad(fun._function, argnums, has_aux))

    @wraps(fun)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        positions = _positions(argnums, len(args))
        flat = [pytree.flatten(args[i]) for i in positions]
        create_graph = _nesting.depth > 0
        with enable_grad():
            variables: list[list[Tensor]] = []
            replaced = list(args)
            for i, (leaves, treedef) in zip(positions, flat, strict=True):
                own = [_variable(leaf) for leaf in leaves]
                create_graph = create_graph or any(not v.is_leaf for v in own)
                variables.append(own)
                replaced[i] = pytree.unflatten(treedef, own)
            _nesting.depth += 1
            try:
                result = fun(*replaced, **kwargs)
            finally:
                _nesting.depth -= 1
            value, aux = _split(result, has_aux)
            grads = _gradients(value, [v for own in variables for v in own], create_graph)
        if not create_graph:
            value = value.detach()
            aux = pytree.map(lambda x: x.detach() if isinstance(x, Tensor) else x, aux)
        remaining = iter(grads)
        trees = tuple(
            [pytree.unflatten(d, [next(remaining) for _ in leaves]) for leaves, d in flat]
        )
        gradient = trees[0] if isinstance(argnums, int) else trees
        return ((value, aux), gradient) if has_aux else (value, gradient)

    return transformed


def _split(result: Any, has_aux: bool) -> tuple[Tensor, Any]:
    value, aux = result, None
    if has_aux:
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(f"[grad] expected a pair (value, aux) but got {type(result).__name__}")
        value, aux = result
    if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"[grad] expected a floating-point Tensor as result but got {got}")
    if value.ndim != 0:
        raise ValueError(f"[grad] expected a scalar result but got shape {tuple(value.shape)}")
    return value, aux


def _gradients(value: Tensor, variables: list[Tensor], create_graph: bool) -> list[Tensor]:
    if not variables:
        return []
    if not value.requires_grad:
        return [_creation.zeros_like(v) for v in variables]
    grads = _grad(value, variables, create_graph=create_graph, materialize_grads=True)
    return [g for g in grads if g is not None]


def grad(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Makes a function that returns the gradient of ``fun``.

    With ``has_aux`` it returns ``(gradient, aux)``. Arguments, nesting and errors are those of
    :func:`value_and_grad`.

    Source: JAX ``jax.grad``.
    """
    if isinstance(fun, Jitted):
        return fun.alike(grad(fun._function, argnums, has_aux))
    both = value_and_grad(fun, argnums, has_aux)

    @wraps(fun)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return transformed
