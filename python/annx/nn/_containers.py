"""Containers of modules and parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from operator import index as as_index
from typing import TYPE_CHECKING, Any, TypeVar, overload

from annx._core import Tensor
from annx.nn._module import Module, _indent
from annx.nn.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import ItemsView, KeysView, ValuesView

_Self = TypeVar("_Self", bound="_Numbered")


def _check_module(owner: object, value: object) -> None:
    if not isinstance(value, Module):
        raise TypeError(
            f"[{type(owner).__name__}] expected a Module but got {type(value).__name__}"
        )


class _Numbered(Module):
    """A list of modules named "0", "1", …"""

    def _list(self) -> list[Module]:
        state = self.__dict__
        return [state[name] for name in self._module_names]

    def _set_list(self, modules: Iterable[Module]) -> None:
        """Replaces all children, numbered anew."""
        new = list(modules)
        for module in new:
            _check_module(self, module)
        for name in tuple(self._module_names):
            delattr(self, name)
        for i, module in enumerate(new):
            self.register_module(str(i), module)

    def _name_at(self, position: Any) -> str:
        position = as_index(position)
        count = len(self)
        if not -count <= position < count:
            raise IndexError(
                f"[{type(self).__name__}] expected an index below {count} but got {position}"
            )
        names = list(self._module_names)
        return names[int(position)]

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self: _Self, index: slice) -> _Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._slice(index)
        return self.__dict__[self._name_at(index)]

    def _slice(self, index: slice) -> Module:
        raise TypeError(f"[{type(self).__name__}] expected an integer index but got a slice")

    def __setitem__(self, index: int, module: Module) -> None:
        _check_module(self, module)
        setattr(self, self._name_at(index), module)

    def __delitem__(self, index: int | slice) -> None:
        remaining = self._list()
        if isinstance(index, slice):
            del remaining[index]
        else:
            del remaining[list(self._module_names).index(self._name_at(index))]
        self._set_list(remaining)

    def __len__(self) -> int:
        return len(self._module_names)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._list())

    def __contains__(self, module: object) -> bool:
        return any(module is child for child in self._list())

    def append(self: _Self, module: Module) -> _Self:
        """Adds a module at the end."""
        _check_module(self, module)
        number = len(self)
        while str(number) in self._module_names:  # a slice keeps its numbers
            number += 1
        self.register_module(str(number), module)
        return self

    def extend(self: _Self, modules: Iterable[Module]) -> _Self:
        """Adds several modules at the end."""
        new = list(modules)
        for module in new:
            _check_module(self, module)
        for module in new:
            self.append(module)
        return self

    def insert(self: _Self, index: int, module: Module) -> _Self:
        """Puts a module in front of position ``index``.

        Raises:
            IndexError: ``index`` is outside of ``-len(self)..len(self)``.
        """
        _check_module(self, module)
        if not -len(self) <= index <= len(self):
            raise IndexError(
                f"[{type(self).__name__}] expected an index up to {len(self)} but got {index}"
            )
        modules = self._list()
        modules.insert(index, module)
        self._set_list(modules)
        return self

    def pop(self, index: int = -1) -> Module:
        """Removes a module and returns it."""
        module = self[index]
        del self[index]
        return module


class Sequential(_Numbered):
    """Calls its modules one after the other, each on the result of the one before.

    ``Sequential(first, second, …)``, or ``Sequential(OrderedDict([("name", module), …]))``. Index
    with a number or a slice (which shares the modules).

    Example::

        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    Source: guide, "Feedforward Computation".
    """

    @overload
    def __init__(self, *args: Module) -> None: ...
    @overload
    def __init__(self, arg: OrderedDict[str, Module], /) -> None: ...
    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], dict):
            for name, module in args[0].items():
                _check_module(self, module)
                self.register_module(name, module)
        else:
            self.extend(args)

    def forward(self, input: Any) -> Any:
        state = self.__dict__
        for name in state["_module_names"]:
            input = state[name](input)
        return input

    def _slice(self, index: slice) -> Sequential:
        names = list(self._module_names)[index]
        return type(self)(OrderedDict([(name, self.__dict__[name]) for name in names]))

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            return NotImplemented
        return Sequential(*self, *other)


class ModuleList(_Numbered):
    """Holds modules in a list; it has no ``forward`` of its own.

    Args:
        modules: the modules to begin with.
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def _slice(self, index: slice) -> ModuleList:
        return type(self)(self._list()[index])

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        # Neighbours that print alike are printed once: "(0-2): 3 x Linear(…)".
        blocks: list[tuple[int, int, str]] = []
        for i, module in enumerate(self._list()):
            text = repr(module)
            if blocks and blocks[-1][2] == text:
                blocks[-1] = (blocks[-1][0], i, text)
            else:
                blocks.append((i, i, text))
        lines = []
        for first, last, text in blocks:
            count = last - first + 1
            head = f"({first}): " if count == 1 else f"({first}-{last}): {count} x "
            lines.append(_indent(head + text))
        return self._layout([], lines)


class ModuleDict(Module):
    """Holds modules by name, in the order of insertion; it has no ``forward`` of its own.

    Args:
        modules: a mapping or pairs ``(name, module)`` to begin with.
    """

    def __init__(
        self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None
    ) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        if key not in self._module_names:
            raise KeyError(f"[ModuleDict] expected one of {list(self.keys())} but got {key!r}")
        module: Module = self.__dict__[key]
        return module

    def __setitem__(self, key: str, module: Module) -> None:
        _check_module(self, module)
        self.register_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._module_names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._module_names)

    def __contains__(self, key: object) -> bool:
        return key in self._module_names

    def _dict(self) -> dict[str, Module]:
        return {name: self.__dict__[name] for name in self._module_names}

    def keys(self) -> KeysView[str]:
        """Returns the names."""
        return self._dict().keys()

    def values(self) -> ValuesView[Module]:
        """Returns the modules."""
        return self._dict().values()

    def items(self) -> ItemsView[str, Module]:
        """Returns pairs of name and module."""
        return self._dict().items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Adds or replaces several modules."""
        pairs = modules.items() if isinstance(modules, (Mapping, ModuleDict)) else modules
        for key, module in pairs:
            self[key] = module

    def pop(self, key: str) -> Module:
        """Removes a module and returns it."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Removes all modules."""
        for name in tuple(self._module_names):
            delattr(self, name)


def _as_parameter(owner: object, value: object) -> Parameter:
    if isinstance(value, Parameter):
        return value
    if not isinstance(value, Tensor):
        raise TypeError(
            f"[{type(owner).__name__}] expected a Parameter or Tensor but got "
            f"{type(value).__name__}"
        )
    return Parameter(value)


def _describe(parameter: Parameter) -> str:
    size = "x".join([str(n) for n in parameter.shape])
    return f"Parameter containing: [{parameter.dtype} of size {size}]"


class ParameterList(Module):
    """Holds parameters in a list; plain Tensors become Parameters.

    Args:
        values: the parameters to begin with.
    """

    def __init__(self, values: Iterable[Tensor] | None = None) -> None:
        super().__init__()
        if values is not None:
            self.extend(values)

    def _list(self) -> list[Parameter]:
        return [self.__dict__[name] for name in self._parameter_names]

    def _name_at(self, position: Any) -> str:
        position = as_index(position)
        count = len(self)
        if not -count <= position < count:
            raise IndexError(f"[ParameterList] expected an index below {count} but got {position}")
        return str(position % count)

    @overload
    def __getitem__(self, index: int) -> Parameter: ...
    @overload
    def __getitem__(self, index: slice) -> ParameterList: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(self._list()[index])
        return self.__dict__[self._name_at(index)]

    def __setitem__(self, index: int, value: Tensor) -> None:
        setattr(self, self._name_at(index), _as_parameter(self, value))

    def __len__(self) -> int:
        return len(self._parameter_names)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._list())

    def append(self, value: Tensor) -> ParameterList:
        """Adds a parameter at the end."""
        self.register_parameter(str(len(self)), _as_parameter(self, value))
        return self

    def extend(self, values: Iterable[Tensor]) -> ParameterList:
        """Adds several parameters at the end."""
        for value in list(values):
            self.append(value)
        return self

    def __repr__(self) -> str:
        return self._layout([], [f"  ({i}): {_describe(p)}" for i, p in enumerate(self)])


class ParameterDict(Module):
    """Holds parameters by name, in the order of insertion; plain Tensors become Parameters.

    Args:
        parameters: a mapping or pairs ``(name, parameter)`` to begin with.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] | None = None
    ) -> None:
        super().__init__()
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Parameter:
        if key not in self._parameter_names:
            raise KeyError(f"[ParameterDict] expected one of {list(self.keys())} but got {key!r}")
        parameter: Parameter = self.__dict__[key]
        return parameter

    def __setitem__(self, key: str, value: Tensor) -> None:
        self.register_parameter(key, _as_parameter(self, value))

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._parameter_names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameter_names)

    def __contains__(self, key: object) -> bool:
        return key in self._parameter_names

    def _dict(self) -> dict[str, Parameter]:
        return {name: self.__dict__[name] for name in self._parameter_names}

    def keys(self) -> KeysView[str]:
        """Returns the names."""
        return self._dict().keys()

    def values(self) -> ValuesView[Parameter]:
        """Returns the parameters."""
        return self._dict().values()

    def items(self) -> ItemsView[str, Parameter]:
        """Returns pairs of name and parameter."""
        return self._dict().items()

    def update(self, parameters: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> None:
        """Adds or replaces several parameters."""
        known = isinstance(parameters, (Mapping, ParameterDict))
        pairs: Any = parameters.items() if known else parameters  # type: ignore[union-attr]
        for key, value in pairs:
            self[key] = value

    def pop(self, key: str) -> Parameter:
        """Removes a parameter and returns it."""
        parameter = self[key]
        del self[key]
        return parameter

    def __repr__(self) -> str:
        return self._layout([], [f"  ({name}): {_describe(p)}" for name, p in self.items()])
