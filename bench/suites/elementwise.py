"""Elementwise ops on arrays in L2 and in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Array, Maker, Problem, Suite, generator, module, normal

SUITE = Suite()

# Op -> (inputs, the answer in float64, the function's path in torch, in numpy or scipy).
_Row = tuple[int, Callable[..., Array], str, str]


def _erf(x: Array) -> Array:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), np.float64)


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + _erf(x / np.sqrt(2.0))))


def _gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


_FUNCTIONS: dict[str, _Row] = {
    "exp": (1, np.exp, "exp", "numpy.exp"),
    "log": (1, np.log, "log", "numpy.log"),
    "tanh": (1, np.tanh, "tanh", "numpy.tanh"),
    "sigmoid": (1, _sigmoid, "sigmoid", "scipy.special.expit"),
    "erf": (1, _erf, "erf", "scipy.special.erf"),
    "gelu": (1, _gelu, "nn.functional.gelu", ""),
    "silu": (1, lambda x: x * _sigmoid(x), "nn.functional.silu", ""),
    "relu": (1, lambda x: np.maximum(x, 0), "relu", ""),
    "sqrt": (1, np.sqrt, "sqrt", "numpy.sqrt"),
    "sin": (1, np.sin, "sin", "numpy.sin"),
    "add": (2, np.add, "add", "numpy.add"),
    "mul": (2, np.multiply, "mul", "numpy.multiply"),
    "div": (2, np.divide, "div", "numpy.divide"),
    "maximum": (2, np.maximum, "maximum", "numpy.maximum"),
}
_POSITIVE = {"log", "sqrt", "div"}


def _find(path: str) -> Callable[..., Any]:
    library, _, name = path.rpartition(".")
    return getattr(module(library), name)  # type: ignore[no-any-return]


def _problem(
    inputs: list[Array], answer: Callable[..., Array], functions: dict[str, str]
) -> Problem:
    def maker(name: str, path: str) -> Maker:
        def make() -> Any:
            wrap: Callable[[Array], Any] = (
                module(name).from_numpy if name in ("annx", "torch") else np.asarray
            )
            function = _find(path)
            args = [wrap(a) for a in inputs]
            if len(args) == 1:
                x = args[0]
                return lambda: function(x)
            x, y = args
            return lambda: function(x, y)

        return make

    shape = np.broadcast_shapes(*(a.shape for a in inputs))
    return Problem(
        makers={name: maker(name, path) for name, path in functions.items() if path},
        reference=lambda: [answer(*(a.astype(np.float64) for a in inputs))],
        flops=float(np.prod(shape)),
        bytes=4.0 * (sum(a.size for a in inputs) + float(np.prod(shape))),
        traffic="add" if sum(a.shape == shape for a in inputs) == 2 else "copy",
    )


@SUITE.kind(*_FUNCTIONS)
def function(case: Case) -> Problem:
    count, answer, torch_name, numpy_path = _FUNCTIONS[case.kind]
    rng = generator(case)
    shape = case.sizes("shape")
    inputs = [normal(rng, *shape) for _ in range(count)]
    if case.kind in _POSITIVE:
        inputs = [np.abs(a) + np.float32(0.1) for a in inputs]
    library, _, name = f"torch.{torch_name}".rpartition(".")
    peer = numpy_path.split(".", maxsplit=1)[0] or "numpy"
    return _problem(
        inputs,
        answer,
        {"annx": f"annx.{case.kind}", "torch": f"{library}.{name}", peer: numpy_path},
    )


@SUITE.kind("gelu_tanh")
def gelu_tanh(case: Case) -> Problem:
    x = normal(generator(case), *case.sizes("shape"))

    def make(library: str) -> Maker:
        def bind() -> Any:
            lib = module(library)
            t, gelu = lib.from_numpy(x), module(f"{library}.nn.functional").gelu
            return lambda: gelu(t, approximate="tanh")

        return bind

    return Problem(
        makers={"annx": make("annx"), "torch": make("torch")},
        reference=lambda: [_gelu_tanh(x.astype(np.float64))],
        flops=float(x.size),
        bytes=8.0 * x.size,
    )


@SUITE.kind("bias")
def bias(case: Case) -> Problem:
    """A row added to every row of a matrix."""
    rng = generator(case)
    shape = case.sizes("shape")
    return _problem(
        [normal(rng, *shape), normal(rng, shape[-1])],
        np.add,
        {"annx": "annx.add", "torch": "torch.add", "numpy": "numpy.add"},
    )
