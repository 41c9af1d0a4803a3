"""Every op of the registry, once: a line of ``shapes/ops.txt``, or for an elementwise op a default.

Values are arrays (``f32[8,4]`` normal, ``f32+[8,4]`` in (0.1, 1), ``i64[8]<10`` below 10,
``b8[8]``), several arrays (``2*f32[8]``) or Python literals. PyTorch takes part where it has a
function of the same name that takes the same arguments.
"""

from __future__ import annotations

import ast
import re
from functools import partial
from typing import Any

import numpy as np

from ..cases import Case, load_suite
from ..problem import Array, Contender, Problem, Suite, arrays_of, generator, module

_ARRAY = re.compile(r"(?:(\d+)\*)?(f32|f64|i64|b8)(\+?)\[([\d,]*)\](?:<(\d+))?$")
_DEFAULT = "f32+[256,1024]"
_TORCH = {"concat": "cat", "slice": ""}


def has_default(row: dict[str, Any]) -> bool:
    """Whether a default suits the op: elementwise, and what it requires is tensors."""
    required = re.findall(r"(\w+\??(?:\[\])?) (\w+)(?=[,)])", row["signature"].split("->")[0])
    return bool(row["elementwise"]) and all(kind == "Tensor" for kind, _ in required)


def cases() -> list[Case]:
    """Every op that has a case: those of the file, then the elementwise ones."""
    core = module("annx")._core
    table = {row["name"]: row for row in core.op_table() if not row["internal"]}
    listed = [case for case in load_suite("ops") if case.kind in table]
    named = {case.kind for case in listed}
    rest = [n for n, row in table.items() if n not in named and has_default(row)]
    return listed + [Case("ops", name) for name in rest]


def case_of(name: str) -> Case | None:
    """The case of an op, or None where it has none."""
    return next((case for case in cases() if case.kind == name), None)


def without_case() -> list[str]:
    """Public ops that no case runs."""
    names = {row["name"] for row in module("annx")._core.op_table() if not row["internal"]}
    return sorted(names - {case.kind for case in cases()})


def read_value(text: str, rng: np.random.Generator) -> Any:
    """An array, a list of them, or a literal; a word that is none is itself."""
    match = _ARRAY.match(text)
    if not match:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text
    count, kind, positive, sizes, below = match.groups()
    shape = tuple(int(n) for n in sizes.split(",") if n)

    def make() -> Array:
        if kind == "i64":
            return rng.integers(0, int(below or 2), shape)
        if kind == "b8":
            return rng.random(shape) < 0.5
        values = rng.uniform(0.1, 1, shape) if positive else rng.standard_normal(shape)
        return values.astype(np.float64 if kind == "f64" else np.float32)

    return [make() for _ in range(int(count))] if count else make()


def _converted(value: Any, wrap: Any) -> Any:
    if isinstance(value, np.ndarray):
        return wrap(value)
    if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
        return [wrap(v) for v in value]
    return value


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _function(library: Any, name: str) -> Any:
    name = _TORCH.get(name, name)
    for place in (library.nn.functional, library):
        if name and hasattr(place, name):
            return getattr(place, name)
    return None


def build(case: Case) -> Problem:
    annx = module("annx")
    op = getattr(annx._core.ops, case.kind, None)
    row = next((r for r in annx._core.op_table() if r["name"] == case.kind), None)
    if op is None or row is None:
        raise ValueError(f"{case.id}: expected the name of an op")
    rng = generator(case)
    params = dict(case.params)
    if not params and has_default(row):
        required = re.findall(r"Tensor (\w+)(?=[,)])", row["signature"].split("->")[0])
        params = {n: "b8[256,1024]" if n == "condition" else _DEFAULT for n in required}
    values = {name: read_value(text, rng) for name, text in params.items()}

    def bind() -> Any:
        args = {name: _converted(v, annx.from_numpy) for name, v in values.items()}
        return lambda: op(**args)

    def torch() -> Any:
        lib = module("torch")
        function = _function(lib, case.kind)
        if function is None:
            return None
        args = {name: _converted(v, lib.from_numpy) for name, v in values.items()}
        for call in (partial(function, **args), partial(function, *args.values())):
            try:
                call()
            except (TypeError, RuntimeError, ValueError):
                continue  # other names, meaning or order of the arguments
            return call
        return None

    def reference() -> list[Array]:
        """The op's own answer in float64, which the tests of ops compare with NumPy's."""
        args = {name: _converted(v, lambda a: annx.tensor(_wide(a))) for name, v in values.items()}
        return arrays_of(op(**args))

    fixed = not (row["mutates"] or case.kind in _RANDOM)
    return Problem(
        makers={"annx": lambda: Contender(bind()), "torch": torch},
        reference=reference if fixed else None,
        tolerance=1e-3,
    )


_RANDOM = {"rand", "randn", "randint", "randperm", "bernoulli", "dropout"}
SUITE = Suite(default=build)
