"""Captured methods, and what tells the calls of a captured function apart."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import annx
import pytest
from annx import nn


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.factor = 2.0

    def plain(self, x: annx.Tensor) -> annx.Tensor:
        # Uses a layer's weight without calling the layer.
        y = nn.functional.linear(x, self.layer.weight) * self.factor
        return y if self.training else -y

    fast = annx.jit(plain)


@annx.jit
def doubled(x: annx.Tensor) -> annx.Tensor:
    return x * 2


def same(a: annx.Tensor, b: annx.Tensor) -> bool:
    return a.tolist() == b.tolist()


ONE = annx.ones(1, 2)


def test_a_method_notices_what_its_module_is() -> None:
    module = Scaled()
    for captured in (module.fast, annx.jit(module.plain)):
        for change in (
            lambda: None,
            lambda: setattr(module, "factor", module.factor + 1),
            lambda: module.train(not module.training),
            lambda: setattr(module.layer, "weight", nn.Parameter(annx.ones(2, 2))),
            lambda: setattr(module, "layer", nn.Linear(2, 2)),
        ):
            change()
            assert same(captured(ONE), module.plain(ONE))
            assert same(captured(ONE), module.plain(ONE))


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_a_module_has_methods_of_its_own(how: Any) -> None:
    module = Scaled()
    module.fast(ONE)
    twin = how(module)
    twin.factor = 5.0
    assert same(twin.fast(ONE), twin.plain(ONE))
    assert same(module.fast(ONE), module.plain(ONE))
    method = how(module.fast)
    assert same(method(ONE), module.fast(ONE))


def test_functions_and_methods_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(doubled)) is doubled
    assert copy.deepcopy(doubled) is doubled
    module = Scaled()
    assert same(pickle.loads(pickle.dumps(module.fast))(ONE), module.plain(ONE))
    assert module.fast.__self__ is module


def test_records_of_a_method_go_with_its_instance() -> None:
    module = Scaled()
    module.fast(ONE), module.fast(ONE)
    assert module.fast.captures == 1
    assert Scaled().fast.captures == 0
    gone = weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None


def test_a_subclass_reaches_the_method_it_overrides() -> None:
    class More(Scaled):
        @annx.jit
        def fast(self, x: annx.Tensor) -> annx.Tensor:  # type: ignore[override]
            return super().fast(x) + 1

    module = More()
    for _ in range(3):
        assert same(module.fast(ONE), module.plain(ONE) + 1)


def test_methods_of_classes_and_of_instances_without_a_dictionary() -> None:
    class Slotted:
        __slots__ = ("factor",)

        @annx.jit
        def scale(self, x: annx.Tensor) -> annx.Tensor:
            return x * self.factor

    items = [Slotted() for _ in range(3)]
    for k, item in enumerate(items):
        item.factor = float(k)  # type: ignore[attr-defined]
    for _ in range(2):
        assert [item.scale(annx.ones(1)).item() for item in items] == [0.0, 1.0, 2.0]
    assert items[0].scale.captures == 1

    class Tools:
        @classmethod
        @annx.jit
        def more(cls, x: annx.Tensor) -> annx.Tensor:
            return x + 1

        @staticmethod
        @annx.jit
        def less(x: annx.Tensor) -> annx.Tensor:
            return x - 1

    for tools in (Tools, Tools()):
        assert tools.more(annx.ones(1)).item() == 2.0
        assert tools.less(annx.ones(1)).item() == 0.0


def test_a_class_method_of_a_module() -> None:
    class Layer(nn.Linear):
        @classmethod
        @annx.jit
        def twice(cls, x: annx.Tensor) -> annx.Tensor:
            return x * 2

        @classmethod
        def thrice(cls, x: annx.Tensor) -> annx.Tensor:
            return x * 3

    thrice = annx.jit(Layer.thrice)
    for _ in range(2):
        assert Layer.twice(ONE).tolist() == [[2.0, 2.0]]
        assert Layer(2, 2).twice(ONE).tolist() == [[2.0, 2.0]]
        assert thrice(ONE).tolist() == [[3.0, 3.0]]


def test_modules_that_are_arguments_are_noticed() -> None:
    module = Scaled()
    named = annx.jit(lambda x, parts: parts["m"].plain(x))
    for factor in (2.0, 2.0, 3.0):
        module.factor = factor
        # As a subclass calls what it overrides.
        assert same(Scaled.fast(module, ONE), module.plain(ONE))
        assert same(named(ONE, {"m": module}), module.plain(ONE))


def test_weights_of_layers_that_are_not_called_are_noticed() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Scaled()

        def forward(self, x: annx.Tensor) -> annx.Tensor:
            return self.inner.plain(x)

    module = Outer()
    captured = annx.jit(lambda x: module(x))
    for change in (
        lambda: None,
        lambda: setattr(module.inner.layer, "weight", nn.Parameter(annx.ones(2, 2))),
        lambda: setattr(module.inner, "factor", 7.0),
        lambda: setattr(module.inner, "layer", nn.Linear(2, 2)),
    ):
        change()
        assert same(captured(ONE), module(ONE))
        assert same(captured(ONE), module(ONE))
    captures = captured.captures
    module.eval()
    captured(ONE)
    module.train()
    captured(ONE)
    assert captured.captures == captures + 1


def test_threads_that_come_at_once_take_the_same_method(monkeypatch: pytest.MonkeyPatch) -> None:
    class Worker:
        @annx.jit
        def step(self, x: annx.Tensor) -> annx.Tensor:
            return x * 2

    worker = Worker()
    bind, both, taken = annx._jit.Jitted._bind, threading.Barrier(2), []

    def slow(self: Any, instance: Any, owner: Any) -> Any:
        both.wait(10)
        return bind(self, instance, owner)

    monkeypatch.setattr(annx._jit.Jitted, "_bind", slow)
    threads = [threading.Thread(target=lambda: taken.append(worker.step)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 2
    assert taken[0] is taken[1] is worker.step


def test_static_arguments_are_static_however_they_are_passed() -> None:
    def f(x: annx.Tensor, k: float, *, s: float = 1.0) -> annx.Tensor:
        return x * math.sqrt(k) * math.sqrt(s)

    one = annx.ones(1)
    for how in ({"static_argnums": (1,)}, {"static_argnums": -1}, {"static_argnames": "k"}):
        g = annx.jit(f, **how)  # type: ignore[arg-type]
        assert [g(one, 4.0).item(), g(one, k=4.0).item(), g(one, 9.0).item()] == [2.0, 2.0, 3.0]
    assert annx.jit(f, static_argnames=["k", "s"])(one, 4.0, s=4.0).item() == 4.0
    with pytest.raises(ValueError, match="static_argnums among the 2 positional arguments but got"):
        annx.jit(f, static_argnums=2)
    with pytest.raises(ValueError, match="static_argnames among the arguments x, k, s but got 'q'"):
        annx.jit(f, static_argnames="q")


def test_static_values_that_are_equal_but_not_the_same() -> None:
    f = annx.jit(lambda x, pair: x * pair[0], static_argnums=1)
    x = annx.ones(1, dtype=annx.int64)
    assert [f(x, (k,)).dtype for k in (1, 1.0, True)] == [annx.int64, annx.float32, annx.int64]
    g = annx.jit(lambda x, k: x * k, static_argnums=1)
    assert [math.copysign(1, g(annx.ones(1), k).item()) for k in (0.0, -0.0)] == [1.0, -1.0]


def test_results_that_can_be_taken_once_are_an_error() -> None:
    def generator(x: annx.Tensor) -> Any:
        yield x + 1

    with pytest.raises(RuntimeError, match="got a generator: return a list or a tuple"):
        annx.jit(generator)(ONE)
    with pytest.raises(RuntimeError, match="got a map"):
        annx.jit(lambda x: map(abs, [1, 2]))(ONE)


def test_containers_that_are_not_looked_into_are_named() -> None:
    @dataclass
    class Pair:
        a: Any
        b: Any

    with pytest.raises(TypeError, match="but got Pair: take it apart"):
        annx.jit(lambda p: p.a)(Pair(ONE, ONE))
    with pytest.raises(RuntimeError, match="not a Pair"):
        annx.jit(lambda x: Pair(x + 1, None))(ONE)
