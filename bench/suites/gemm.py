"""Matrix products of real layers: nn is ``A B``, nt a layer's forward, tn its weight gradient, and
bmm ``batch`` products at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Maker, Problem, Suite, generator, module, normal

SUITE = Suite()


def _sides(kind: str, a: Any, b: Any) -> tuple[Any, Any]:
    if kind == "nt":
        return a, b.T
    if kind == "tn":
        return a.T, b
    return a, b


def _maker(library: str, wrap: str, multiply: str, a: Any, b: Any, kind: str = "nn") -> Maker:
    def make() -> Any:
        lib = module(library)
        convert = getattr(lib, wrap)
        x, y = _sides(kind, convert(a), convert(b))
        function = getattr(lib, multiply)
        return lambda: function(x, y)

    return make


@SUITE.kind("nn", "nt", "tn")
def product(case: Case) -> Problem:
    m, n, k = case.number("m"), case.number("n"), case.number("k")
    rng = generator(case)
    a = normal(rng, k, m) if case.kind == "tn" else normal(rng, m, k)
    b = normal(rng, n, k) if case.kind == "nt" else normal(rng, k, n)

    def jax() -> Any:
        lib = module("jax.numpy")
        x, y = lib.asarray(a), lib.asarray(b)
        kind = case.kind
        run = module("jax").jit(lambda p, q: lib.matmul(*_sides(kind, p, q)))
        return lambda: run(x, y).block_until_ready()

    def reference() -> list[Any]:
        x, y = _sides(case.kind, a.astype(np.float64), b.astype(np.float64))
        return [x @ y]

    return Problem(
        makers={
            "annx": _maker("annx", "from_numpy", "matmul", a, b, case.kind),
            "torch": _maker("torch", "from_numpy", "mm", a, b, case.kind),
            "numpy": _maker("numpy", "asarray", "matmul", a, b, case.kind),
            "jax": jax,
        },
        reference=reference,
        flops=2.0 * m * n * k,
        bytes=4.0 * (m * k + k * n + m * n),
    )


@SUITE.kind("bmm")
def batch(case: Case) -> Problem:
    count = case.number("batch")
    m, n, k = case.number("m"), case.number("n"), case.number("k")
    rng = generator(case)
    a, b = normal(rng, count, m, k), normal(rng, count, k, n)

    return Problem(
        makers={
            "annx": _maker("annx", "from_numpy", "matmul", a, b),
            "torch": _maker("torch", "from_numpy", "bmm", a, b),
            "numpy": _maker("numpy", "asarray", "matmul", a, b),
        },
        reference=lambda: [a.astype(np.float64) @ b.astype(np.float64)],
        flops=2.0 * count * m * n * k,
        bytes=4.0 * count * (m * k + k * n + m * n),
    )
