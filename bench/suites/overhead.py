"""What a call costs besides its arithmetic, and what importing the package costs."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from functools import partial
from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Contender, Problem, Suite, generator, module, normal

SUITE = Suite()


@SUITE.kind("add")
def add(case: Case) -> Problem:
    rng, n = generator(case), case.number("n")
    a, b = normal(rng, n), normal(rng, n)

    def make(library: str) -> Any:
        wrap = np.asarray if library == "numpy" else module(library).from_numpy
        x, y = wrap(a), wrap(b)
        return lambda: x + y

    return Problem(
        makers={name: partial(make, name) for name in ("annx", "torch", "numpy")},
        reference=lambda: [a.astype(np.float64) + b],
        flops=0,
    )


@SUITE.kind("relu", "sum", "item")
def method(case: Case) -> Problem:
    """One method call on a small tensor."""
    x = normal(generator(case), case.number("n"))
    answer = {
        "relu": lambda: [np.maximum(x, 0.0)],
        "sum": lambda: [np.asarray(x.sum(dtype=np.float64))],
        "item": lambda: [np.asarray(x[0])],
    }[case.kind]

    def make(library: str) -> Any:
        t = module(library).from_numpy(x)
        return getattr(t[0] if case.kind == "item" else t, case.kind)

    return Problem(
        makers={"annx": lambda: make("annx"), "torch": lambda: make("torch")},
        reference=answer,
        flops=0,
    )


@SUITE.kind("matmul")
def matmul(case: Case) -> Problem:
    rng = generator(case)
    a, b = (
        normal(rng, case.number("m"), case.number("k")),
        normal(rng, case.number("k"), case.number("n")),
    )

    def make(library: str) -> Any:
        wrap = np.asarray if library == "numpy" else module(library).from_numpy
        x, y = wrap(a), wrap(b)
        return lambda: x @ y

    return Problem(
        makers={name: partial(make, name) for name in ("annx", "torch", "numpy")},
        reference=lambda: [a.astype(np.float64) @ b],
        flops=0,
    )


@SUITE.kind("linear_relu")
def linear_relu(case: Case) -> Problem:
    """Linear + ReLU, a sum and the gradients of all of it."""
    rng, batch, width = generator(case), case.number("batch"), case.number("width")
    x, w, b = normal(rng, batch, width), normal(rng, width, width), normal(rng, width)

    def make(library: str) -> Any:
        lib, nn = module(library), module(f"{library}.nn")
        model = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        model.load_state_dict({"0.weight": lib.from_numpy(w), "0.bias": lib.from_numpy(b)})
        data = lib.from_numpy(x)
        weight = next(iter(model.parameters()))

        def result() -> Any:
            weight.grad = None
            model(data).sum().backward()
            return weight.grad

        return Contender(lambda: model(data).sum().backward(), result=result)

    def reference() -> list[Any]:
        on = (x.astype(np.float64) @ w.T + b > 0).astype(np.float64)
        return [on.T @ x.astype(np.float64)]

    return Problem(
        makers={"annx": lambda: make("annx"), "torch": lambda: make("torch")},
        reference=reference,
        flops=0,
    )


@SUITE.kind("split")
def split(case: Case) -> Problem:
    """Arithmetic of `us` microseconds on one thread, in two halves, `regions` times back to back.
    On two threads, twice the share of the roof is how many times as fast it is."""
    us, regions = case.number("us"), case.number("regions")
    core = module("annx")._core
    # As many rounds as half of that takes, by the fastest of several on one thread.
    threads, rounds, shortest = module("annx").num_threads(), 1 << 12, math.inf
    module("annx").set_num_threads(1)
    try:
        for _ in range(20):
            began = time.perf_counter_ns()
            core.bench_split(rounds, 8)
            shortest = min(shortest, (time.perf_counter_ns() - began) / 16)
    finally:
        module("annx").set_num_threads(threads)
    rounds = max(1, round(rounds * us * 500 / shortest))
    return Problem(
        makers={"annx": lambda: lambda: core.bench_split(rounds, regions)},
        flops=core.bench_split(rounds, regions),
    )


@SUITE.kind("import")
def import_time(case: Case) -> Problem:
    """What importing a library adds to importing NumPy, in fresh interpreters."""

    def make(library: str) -> Contender:
        code = (
            "import time, numpy; t = time.perf_counter_ns(); "
            f"import {library}; print(time.perf_counter_ns() - t)"
        )

        def measure() -> float:
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            return float(done.stdout)

        return Contender(lambda: None, measure=measure)

    return Problem(makers={"annx": lambda: make("annx"), "torch": lambda: make("torch")}, flops=0)
