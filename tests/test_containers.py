"""Containers of modules and parameters: what they share with Python's own, and their errors."""

from __future__ import annotations

from collections import OrderedDict

import annx
import pytest
from annx import nn


def test_sequential_as_a_list():
    a, b, c = nn.Linear(2, 2), nn.ReLU(), nn.Tanh()
    model = nn.Sequential(a, b)
    assert model.append(c) is model
    assert list(model) == [a, b, c]
    assert model[-1] is c
    assert len(model) == 3
    assert b in model
    assert model[1:][0] is b
    assert type(model[:2]) is nn.Sequential
    assert list(model[:2].state_dict()) == ["0.weight", "0.bias"]
    del model[1]
    assert [name for name, _ in model.named_children()] == ["0", "1"]
    model.insert(0, b)
    model.insert(3, a)
    assert list(model) == [b, a, c, a]
    model[2] = b
    assert list(model.extend([c])) == [b, a, b, a, c]
    assert model.pop() is c
    assert model.pop(0) is b
    del model[1:]
    assert list(model) == [a]
    assert list(model + nn.Sequential(c)) == [a, c]
    tail = nn.Sequential(a, b, c)[1:]
    tail.append(a)
    assert list(tail) == [b, c, a]


def test_sequential_with_names():
    model = nn.Sequential(OrderedDict(first=nn.Linear(2, 2), act=nn.ReLU()))
    assert list(model.state_dict()) == ["first.weight", "first.bias"]
    assert model.first is model[0]
    assert model(annx.ones((1, 2))).shape == (1, 2)
    assert nn.Sequential()(3) == 3


CONTAINER_ERRORS = [
    (lambda: nn.Sequential(nn.ReLU(), 3), TypeError, r"\[Sequential\] expected a Module but got"),
    (lambda: nn.ModuleList([nn.ReLU, 3]), TypeError, r"\[ModuleList\] expected a Module but got"),
    (lambda: nn.Sequential(nn.ReLU())[1], IndexError, "expected an index below 1 but got 1"),
    (lambda: nn.ModuleList([nn.ReLU()])[-2], IndexError, "expected an index below 1 but got -2"),
    (lambda: nn.ModuleList().insert(1, nn.ReLU()), IndexError, "expected an index up to 0"),
    (lambda: nn.ModuleDict({"a": 1}), TypeError, r"\[ModuleDict\] expected a Module but got int"),
    (lambda: nn.ModuleDict({"keys": nn.ReLU()}), KeyError, "expected a new name but got 'keys'"),
    (lambda: nn.ModuleDict()["a"], KeyError, r"expected one of \[\] but got 'a'"),
    (lambda: nn.ParameterList([1]), TypeError, r"\[ParameterList\] expected a Parameter or Tensor"),
    (lambda: nn.ParameterList()[0], IndexError, "expected an index below 0 but got 0"),
    (lambda: nn.ParameterDict()["a"], KeyError, r"expected one of \[\] but got 'a'"),
]


@pytest.mark.parametrize(("call", "kind", "message"), CONTAINER_ERRORS)
def test_container_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_module_list():
    a, b, c = nn.Linear(2, 2), nn.ReLU(), nn.Tanh()
    modules = nn.ModuleList([a, b])
    assert list(modules + nn.ModuleList([c])) == [a, b, c]
    assert type(modules[:1]) is nn.ModuleList
    modules[0] = c
    modules.extend([a])
    assert list(modules) == [c, b, a]
    assert [name for name, _ in modules.named_parameters()] == ["2.weight", "2.bias"]


def test_module_dict():
    a, b = nn.Linear(2, 2), nn.ReLU()
    modules = nn.ModuleDict({"a": a})
    modules["b"] = b
    modules.update([("c", a)])
    assert list(modules) == list(modules.keys()) == ["a", "b", "c"]
    assert list(modules.values()) == [a, b, a]
    assert list(modules.items())[1] == ("b", b)
    assert "a" in modules
    assert "training" not in modules
    assert modules.pop("a") is a
    del modules["b"]
    assert len(modules) == 1
    modules.clear()
    assert len(modules) == 0


def test_parameter_list_and_dict():
    shared = nn.Parameter(annx.zeros((2, 3)))
    items = nn.ParameterList([shared, annx.ones((2,))])
    assert items[0] is shared
    assert type(items[1]) is nn.Parameter
    items.append(annx.ones((1,)))
    items[-1] = annx.zeros((4,))
    assert [tuple(p.shape) for p in items] == [(2, 3), (2,), (4,)]
    assert list(items.state_dict()) == ["0", "1", "2"]
    assert len(items[1:]) == 2
    assert repr(items).splitlines()[1] == (
        f"    (0): Parameter containing: [{annx.float32} of size 2x3]"
    )
    named = nn.ParameterDict({"a": shared})
    named["b"] = annx.ones((2,))
    named.update({"c": shared})
    assert list(named) == ["a", "b", "c"]
    assert named.pop("c") is shared
    assert list(named.state_dict()) == ["a", "b"]
    assert dict(named.items())["a"] is shared
    assert "b" in named
    del named["b"]
    assert len(named) == 1
