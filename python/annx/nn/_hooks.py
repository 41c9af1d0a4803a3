"""Hooks of modules: calls before and after forward, and when gradients have passed a module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx import _capture, _core, pytree
from annx._core import Tensor
from annx._tensor import RemovableHandle

if TYPE_CHECKING:
    from collections.abc import Callable

    from annx.nn._module import Module

Hook = tuple["Callable[..., Any]", bool]  # the function, and whether it takes keyword arguments


class Hooks:
    """The hooks of one module. It exists only where a hook was registered."""

    __slots__ = ("_next", "backward", "backward_pre", "forward", "forward_pre")

    def __init__(self) -> None:
        self._next = 0
        self.forward_pre: dict[int, Hook] = {}
        self.forward: dict[int, Hook] = {}
        self.backward_pre: dict[int, Hook] = {}
        self.backward: dict[int, Hook] = {}

    def add(
        self,
        kind: str,
        hook: Callable[..., Any],
        prepend: bool,
        with_kwargs: bool,
        changed: Callable[[], None],
    ) -> RemovableHandle:
        """Adds a hook; ``changed`` is called when it is taken away again."""
        hooks: dict[int, Hook] = getattr(self, kind)
        key = self._next
        self._next += 1
        rest = list(hooks.items()) if prepend else []
        if prepend:
            hooks.clear()
        hooks[key] = (hook, with_kwargs)
        hooks.update(rest)

        def remove() -> None:
            hooks.pop(key, None)
            changed()

        return RemovableHandle(remove)

    def __bool__(self) -> bool:
        return bool(self.forward_pre or self.forward or self.backward_pre or self.backward)


class Hookable:
    """The part of a Module that takes hooks. A handle's ``remove()`` takes one away again."""

    _hooks: Hooks | None = None

    if TYPE_CHECKING:

        def _edited(self) -> None: ...

    def _add_hook(
        self, kind: str, hook: Callable[..., Any], prepend: bool, with_kwargs: bool = False
    ) -> RemovableHandle:
        hooks = self._hooks
        if hooks is None:
            hooks = Hooks()
            object.__setattr__(self, "_hooks", hooks)
        self._edited()
        return hooks.add(kind, hook, prepend, with_kwargs, self._edited)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, args)`` before forward; what it returns replaces the arguments.

        With ``with_kwargs`` it is ``hook(module, args, kwargs)``, returning None or a pair.
        """
        return self._add_hook("forward_pre", hook, prepend, with_kwargs)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, args, output)`` after forward; what it returns replaces the output.

        With ``with_kwargs`` it is ``hook(module, args, kwargs, output)``.
        """
        return self._add_hook("forward", hook, prepend, with_kwargs)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, grad_output)`` before gradients pass through the module.

        What it returns replaces ``grad_output``.
        """
        return self._add_hook("backward_pre", hook, prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls ``hook(module, grad_input, grad_output)`` after gradients passed the module.

        What it returns replaces ``grad_input``: one gradient, or None, for each Tensor argument.
        """
        return self._add_hook("backward", hook, prepend)


def call_with_hooks(
    module: Module, hooks: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Runs ``module.forward`` between its hooks, in PyTorch's order."""
    if not hooks:
        object.__setattr__(module, "_hooks", None)  # all were removed: back to the fast path
        return module.forward(*args, **kwargs)
    _capture.refuse_if_lenient(
        f"expected modules without hooks, which run at every call, but {type(module).__name__} "
        "has some"
    )
    for hook, with_kwargs in tuple(hooks.forward_pre.values()):
        if with_kwargs:
            changed = hook(module, args, kwargs)
            if changed is not None:
                args, kwargs = _args_and_kwargs(changed)
        else:
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
    watch = None
    if (hooks.backward or hooks.backward_pre) and _core.is_grad_enabled():
        watch = _BackwardWatch(module, hooks)
        args = watch.inputs(args)
    result = module.forward(*args, **kwargs)
    for hook, with_kwargs in tuple(hooks.forward.values()):
        given = (args, kwargs, result) if with_kwargs else (args, result)
        changed = hook(module, *given)
        if changed is not None:
            result = changed
    return result if watch is None else watch.outputs(result)


def _args_and_kwargs(changed: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not (isinstance(changed, tuple) and len(changed) == 2 and isinstance(changed[1], dict)):
        raise TypeError(
            "[forward pre hook] expected None or a pair (args, kwargs) but got "
            f"{type(changed).__name__}"
        )
    return changed[0], changed[1]


_Grads = tuple["Tensor | None", ...]


class _BackwardWatch:
    """Two identities around one forward call, whose gradients are those of the module.

    The one behind the outputs sees ``grad_output`` first; the one before the inputs then sees
    ``grad_input`` and calls the hooks with both. Where no input needs a gradient, the hooks are
    called with None for each as soon as ``grad_output`` is known.
    """

    __slots__ = ("grad_output", "hooks", "inputs_missing", "module")

    def __init__(self, module: Module, hooks: Hooks) -> None:
        self.module = module
        self.hooks = hooks
        self.grad_output: _Grads = ()
        self.inputs_missing: _Grads | None = None

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        watched: tuple[Any, ...]
        watched, self.inputs_missing = _watch(args, self._call_backward)
        return watched

    def outputs(self, result: Any) -> Any:
        return _watch(result, self._call_backward_pre)[0]

    def _call_backward_pre(self, grad_output: _Grads) -> _Grads:
        for hook, _ in tuple(self.hooks.backward_pre.values()):
            changed = hook(self.module, grad_output)
            if changed is not None:
                grad_output = _same_count("full backward pre hook", changed, grad_output)
        self.grad_output = grad_output
        if self.inputs_missing is not None:
            self._call_backward(self.inputs_missing)
        return grad_output

    def _call_backward(self, grad_input: _Grads) -> _Grads:
        for hook, _ in tuple(self.hooks.backward.values()):
            changed = hook(self.module, grad_input, self.grad_output)
            if changed is not None:
                grad_input = _same_count("full backward hook", changed, grad_input)
        return grad_input


def _watch(tree: Any, see: Callable[[_Grads], _Grads]) -> tuple[Any, _Grads | None]:
    """Puts an identity behind the tensors of ``tree`` whose backward passes through ``see``.

    ``see`` gets one gradient per tensor, None for those that need none. Where none needs one, the
    second result is the tuple of Nones that ``see`` would have got.
    """
    leaves, treedef = pytree.flatten(tree)
    places = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
    tracked = [k for k, i in enumerate(places) if leaves[i].requires_grad]
    if not tracked:
        return tree, (None,) * len(places)

    def backward(*grads: Tensor | None) -> _Grads:
        full: list[Tensor | None] = [None] * len(places)
        for k, grad in zip(tracked, grads, strict=True):
            full[k] = grad
        seen = see(tuple(full))
        return tuple([seen[k] for k in tracked])

    tensors = [leaves[places[k]] for k in tracked]
    outputs = _core.custom_function(backward, tensors, [x.detach() for x in tensors])
    for k, output in zip(tracked, outputs, strict=True):
        leaves[places[k]] = output
    return pytree.unflatten(treedef, leaves), None


def _same_count(name: str, changed: Any, grads: _Grads) -> _Grads:
    new = changed if isinstance(changed, tuple) else (changed,)
    if len(new) != len(grads):
        raise RuntimeError(f"[{name}] expected {len(grads)} gradients but got {len(new)}")
    return new
