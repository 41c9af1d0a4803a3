"""Module: the base class of everything that has parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from annx import _capture, _core, _creation
from annx._core import Tensor
from annx._layout import check_format
from annx.nn._blame import blame
from annx.nn._hooks import Hookable, call_with_hooks
from annx.nn._state import IncompatibleKeys, load_state
from annx.nn.parameter import Buffer, Parameter
from annx.train._fit import Trainable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_Self = TypeVar("_Self", bound="Module")
_recorded_call = _core.recorded_call
_REGISTRIES = ("_parameter_names", "_buffer_names", "_module_names")


def _indent(text: str) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *["  " + line for line in rest]])


class Module(Hookable, Trainable):
    """Base class of layers and models.

    Assign Parameters, Buffers and Modules as attributes in ``__init__`` (after
    ``super().__init__()``) and write ``forward``; call the module itself, not ``forward``, so that
    hooks run and errors name the layer.

    Values live in the instance's ``__dict__``, so reading ``self.weight`` is an ordinary attribute
    access; the three ``_*_names`` dictionaries say, in order, which of them are registered.

    Source: PyTorch ``torch.nn.Module``.
    """

    training: bool
    forward: Callable[..., Any]
    _parameter_names: dict[str, None]
    _buffer_names: dict[str, bool]  # whether persistent
    _module_names: dict[str, None]

    def __init__(self) -> None:
        state = self.__dict__
        state["training"] = True
        state["_parameter_names"] = {}
        state["_buffer_names"] = {}
        state["_module_names"] = {}
        state["_edits"] = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _capture.active:
            return _recorded_call(self, self.__invoke, args, kwargs)
        return self.__invoke(*args, **kwargs)

    def __invoke(self, *args: Any, **kwargs: Any) -> Any:
        try:
            hooks = self._hooks
            if hooks is not None:
                return call_with_hooks(self, hooks, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            blame(error, self)
            raise

    # Registration

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._register("_parameter_names", name, value)
        elif isinstance(value, Module):
            self._register("_module_names", name, value)
        elif isinstance(value, Buffer):
            self._register("_buffer_names", name, value, value.persistent)
        else:
            if value is not None:
                self._check_plain(name, value)
            object.__setattr__(self, name, value)
            if name == "training":
                _capture.bump()
            else:
                self._edited()

    def __getattr__(self, name: str) -> Any:
        if name in _REGISTRIES or name == "training":
            raise AttributeError(
                f"[{type(self).__name__}] expected super().__init__() as the first thing in "
                "__init__ but it was not called"
            )
        # The error that brought us here: a property may have raised it.
        return object.__getattribute__(self, name)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        for registry in _REGISTRIES:
            self.__dict__[registry].pop(name, None)
        self._edited()

    def _edited(self) -> None:
        """Tells captured calls that this module is no longer what they recorded."""
        state = self.__dict__
        state["_edits"] = state.get("_edits", 0) + 1
        _capture.bump()

    def _check_plain(self, name: str, value: Any) -> None:
        state = self.__dict__
        if name in state.get("_parameter_names", ()):
            expected = "a Parameter or None"
        elif name in state.get("_module_names", ()):
            expected = "a Module or None"
        elif name in state.get("_buffer_names", ()) and not isinstance(value, Tensor):
            expected = "a Tensor or None"
        else:
            return
        raise TypeError(
            f"[{type(self).__name__}] expected {expected} for {name} but got {type(value).__name__}"
        )

    def _register(self, registry: str, name: str, value: Any, mark: Any = None) -> None:
        state = self.__dict__
        kind = type(self).__name__
        if "_module_names" not in state:
            raise AttributeError(
                f"[{kind}] expected super().__init__() before {name} is assigned but got none"
            )
        if not isinstance(name, str):
            raise TypeError(f"[{kind}] expected a string as name but got {type(name).__name__}")
        if name == "" or "." in name:
            raise KeyError(f"[{kind}] expected a name without dots but got {name!r}")
        if hasattr(Module, name):
            raise KeyError(f"[{kind}] expected a name that Module does not use but got {name!r}")
        for other in _REGISTRIES:
            if other != registry:
                state[other].pop(name, None)
        state[registry][name] = mark
        state[name] = value
        self._edited()

    def _check_free(self, registry: str, name: str) -> None:
        names = self.__dict__.get(registry, {})
        if isinstance(name, str) and name not in names and hasattr(self, name):
            raise KeyError(
                f"[{type(self).__name__}] expected a new name but got {name!r}, an attribute"
            )

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a Parameter, or an empty place (None) for one.

        Raises:
            TypeError: ``param`` is neither a Parameter nor None.
            KeyError: the name is empty, has a dot or is taken.
        """
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"[register_parameter] expected a Parameter or None for {name} "
                f"but got {type(param).__name__}"
            )
        self._check_free("_parameter_names", name)
        self._register("_parameter_names", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a Tensor that is kept but not trained; ``state_dict`` has it if ``persistent``.

        Raises:
            TypeError: ``tensor`` is neither a Tensor nor None.
            KeyError: the name is empty, has a dot or is taken.
        """
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"[register_buffer] expected a Tensor or None for {name} "
                f"but got {type(tensor).__name__}"
            )
        self._check_free("_buffer_names", name)
        self._register("_buffer_names", name, tensor, persistent)

    def register_module(self, name: str, module: Module | None) -> None:
        """Adds a child Module, or an empty place (None) for one.

        Raises:
            TypeError: ``module`` is neither a Module nor None.
            KeyError: the name is empty, has a dot or is taken.
        """
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"[register_module] expected a Module or None for {name} "
                f"but got {type(module).__name__}"
            )
        self._check_free("_module_names", name)
        self._register("_module_names", name, module)

    def add_module(self, name: str, module: Module | None) -> None:
        """The same as :meth:`register_module`."""
        self.register_module(name, module)

    # Walking the tree

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Gives the direct children with their names, each child once."""
        _capture.note_module(self)
        seen: set[int] = set()
        for name in self._module_names:
            module = self.__dict__[name]
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """Gives the direct children, each once."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Gives this module and all below it with their dotted names, parents first."""
        if memo is None:
            memo = set()
            _capture.note_module(self)
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        dotted = prefix + "." if prefix else ""
        for name in tuple(self._module_names):
            module = self.__dict__[name]
            if module is not None:
                yield from module.named_modules(memo, dotted + name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Gives this module and all below it, each once, parents first."""
        for _, module in self.named_modules():
            yield module

    def _named_members(
        self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        if not recurse:
            _capture.note_module(self)
        seen: set[int] = set()
        owners = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for owner_name, owner in owners:
            state = owner.__dict__
            dotted = owner_name + "." if owner_name else ""
            for name in tuple(getattr(owner, registry)):
                value = state[name]
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield dotted + name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Gives the parameters with their dotted names; a shared one once."""
        return self._named_members("_parameter_names", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Gives the parameters, a shared one once: what an optimizer takes."""
        for _, parameter in self.named_parameters("", recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Gives the buffers with their dotted names; a shared one once."""
        return self._named_members("_buffer_names", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Gives the buffers, a shared one once."""
        for _, buffer in self.named_buffers("", recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """Returns the module of that dotted name; the empty name is this module.

        Raises:
            AttributeError: there is no such module.
        """
        module = self
        for part in target.split(".") if target else []:
            if part not in module._module_names or module.__dict__[part] is None:
                raise AttributeError(
                    f"[get_submodule] expected a module at {target!r} "
                    f"but got {type(module).__name__} without {part!r}"
                )
            module = module.__dict__[part]
        return module

    def _get_member(self, op: str, registry: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if name not in owner.__dict__[registry]:
            raise AttributeError(
                f"[{op}] expected a registered name but got {name!r} for {type(owner).__name__}"
            )
        return owner.__dict__[name]

    def get_parameter(self, target: str) -> Parameter:
        """Returns the parameter of that dotted name.

        Raises:
            AttributeError: there is no such parameter.
        """
        return cast("Parameter", self._get_member("get_parameter", "_parameter_names", target))

    def get_buffer(self, target: str) -> Tensor:
        """Returns the buffer of that dotted name.

        Raises:
            AttributeError: there is no such buffer.
        """
        return cast("Tensor", self._get_member("get_buffer", "_buffer_names", target))

    # State

    def state_dict(
        self,
        *,
        destination: dict[str, Tensor] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Tensor]:
        """Returns parameters and persistent buffers by their dotted names.

        The tensors share memory with the module and are detached unless ``keep_vars``. A tensor
        registered in several places stands under each of its names.
        """
        out: dict[str, Tensor] = {} if destination is None else destination
        for owner_name, owner in self.named_modules(remove_duplicate=False):
            state = owner.__dict__
            dotted = prefix + (owner_name + "." if owner_name else "")
            kept = [name for name, persistent in owner._buffer_names.items() if persistent]
            for name in [*owner._parameter_names, *kept]:
                value = state[name]
                if value is not None:
                    out[dotted + name] = value if keep_vars else value.detach()
        return out

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copies values, converted to the module's dtypes, into parameters and persistent buffers.

        Everything is checked before anything is written, so a failure leaves the module as it was.

        Args:
            state_dict: Tensors (or arrays) by name, as :meth:`state_dict` gives them.
            strict: whether missing and unexpected names are errors.

        Returns:
            ``(missing_keys, unexpected_keys)``.

        Raises:
            RuntimeError: names or shapes do not fit; the message lists every one of them.
            TypeError: ``state_dict`` is not a mapping.
        """
        return load_state(self, state_dict, strict)

    def train(self: _Self, mode: bool = True) -> _Self:
        """Sets training mode (dropout drops, batch norm takes batch statistics) for all modules."""
        if not isinstance(mode, bool):
            raise ValueError(f"[train] expected a bool but got {type(mode).__name__}")
        if self.training is not mode:
            object.__setattr__(self, "training", mode)
            _capture.bump()
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: _Self) -> _Self:
        """Sets evaluation mode: the same as ``train(False)``."""
        return self.train(False)

    def requires_grad_(self: _Self, requires_grad: bool = True) -> _Self:
        """Sets whether the parameters collect gradients: False freezes the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of all parameters, or fills them with zeros."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = _creation.zeros_like(parameter.grad)

    def apply(self: _Self, fn: Callable[[Module], Any]) -> _Self:
        """Calls ``fn`` on every module, children first, then this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # Conversion

    def _convert(self: _Self, change: Callable[[Tensor], Tensor]) -> _Self:
        """Changes the data of every parameter, its gradient and every buffer.

        The Tensor objects stay the same, so optimizers and other holders see the change.
        """
        with_grads: list[Tensor] = [*self.parameters(), *self.buffers()]
        for tensor in with_grads:
            grad = tensor.grad
            if grad is not None:
                tensor.grad = None
            changed = change(tensor.detach())
            tensor.data = changed
            if grad is not None:
                tensor.grad = change(grad)
        return self

    def to(self: _Self, *args: Any, **kwargs: Any) -> _Self:
        """Moves or converts parameters and buffers, in place.

        ``to(device)``, ``to(dtype)``, ``to(device, dtype)`` or ``to(tensor)``, also by keyword. A
        dtype changes only the tensors of floating point. A ``memory_format`` is checked and changes
        nothing: convolutions work channels last whatever the layout of their weights.

        Raises:
            TypeError: the dtype is not one of floating point, or an argument is none of these.
        """
        device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
        layout = kwargs.pop("memory_format", None)
        if layout is not None:
            check_format("Module.to", layout)
        for arg in args:
            if isinstance(arg, Tensor):
                device, dtype = arg.device, arg.dtype
            elif isinstance(arg, _core.dtype):
                dtype = arg
            else:
                device = arg
        if kwargs:
            raise TypeError(f"[Module.to] expected device and dtype but got {next(iter(kwargs))!r}")
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f"[Module.to] expected a floating-point dtype but got {dtype}")

        def change(tensor: Tensor) -> Tensor:
            if device is not None:
                tensor = tensor.to(device)
            if dtype is not None and tensor.dtype.is_floating_point:
                tensor = tensor.to(dtype)
            return tensor

        return self._convert(change)

    def cpu(self: _Self) -> _Self:
        """Moves parameters and buffers to the CPU."""
        return self.to("cpu")

    def cuda(self: _Self) -> _Self:
        """Moves parameters and buffers to the GPU."""
        return self.to("cuda")

    def float(self: _Self) -> _Self:
        """Converts floating-point parameters and buffers to float32."""
        return self.to(_core.float32)

    def double(self: _Self) -> _Self:
        """Converts floating-point parameters and buffers to float64."""
        return self.to(_core.float64)

    def half(self: _Self) -> _Self:
        """Converts floating-point parameters and buffers to float16."""
        return self.to(_core.float16)

    def bfloat16(self: _Self) -> _Self:
        """Converts floating-point parameters and buffers to bfloat16."""
        return self.to(_core.bfloat16)

    # Text

    def extra_repr(self) -> str:
        """Returns what stands between the brackets of ``repr``; override it in your layers."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [f"({name}): {_indent(repr(self.__dict__[name]))}" for name in self._module_names]
        return self._layout(extra.split("\n") if extra else [], lines)

    def _layout(self, extra: list[str], lines: list[str]) -> str:
        body = extra + lines
        if not body:
            inside = ""
        elif len(extra) == 1 and not lines:
            inside = extra[0]
        else:
            inside = "\n  " + "\n  ".join(body) + "\n"
        return f"{type(self).__name__}({inside})"
