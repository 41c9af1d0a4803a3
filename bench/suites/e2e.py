"""Whole training steps of ``workloads/``: annx captured by ``annx.jit`` where the build has it,
PyTorch at its faster of fused and foreach Adam, or compiled (``torch-compile``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Array, Contender, Problem, Suite, arrays_of, generator, module
from ..timing import fastest
from ..workloads.base import CHECKED_STEPS, Workload
from ..workloads.guide_mlp import GuideMlp
from ..workloads.mnist_mlp import MnistMlp
from ..workloads.vae import Vae

WORKLOADS: tuple[type[Workload], ...] = (GuideMlp, MnistMlp, Vae)
SUITE = Suite()
_TORCH: Sequence[dict[str, Any]] = ({"fused": True}, {"foreach": True})


def _first(run: Callable[[], Any]) -> list[Array]:
    return [arrays_of(run())[0].reshape(()).copy() for _ in range(CHECKED_STEPS)]


@SUITE.kind(*(workload.name for workload in WORKLOADS))
def step(case: Case) -> Problem:
    workload = next(w for w in WORKLOADS if w.name == case.kind)()
    rng = generator(case)
    weights, data = workload.weights(rng), workload.data(rng)

    def make(library: str, **options: Any) -> Contender:
        return Contender(
            workload.step(library, weights, data, 1.0, **options),
            lambda: _first(workload.step(library, weights, data, 0.0, **options)),
        )

    def annx() -> Contender:
        jit = getattr(module("annx"), "jit", None)
        return make("annx", **({"wrap": jit} if jit else {}))

    def torch() -> Contender:
        ways = [make("torch", **options) for options in _TORCH]
        return Contender(fastest([way.call for way in ways]), ways[0].result)

    def compiled() -> Contender:
        return make("torch", wrap=module("torch").compile, **_TORCH[0])

    def reference() -> list[Array]:
        wide = {k: v.astype(np.float64) for k, v in weights.items()}
        batch = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in data.items()}
        return _first(workload.step("annx", wide, batch, 0.0, wide=True))

    return Problem(
        makers={"annx": annx, "torch": torch, "torch-compile": compiled},
        reference=reference,
        flops=module("annx")._core.count_cost(workload.step("annx", weights, data, 1.0))[0],
        bytes=0.0,
        tolerance=1e-3,
    )
