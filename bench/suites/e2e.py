"""Whole training steps and predictions of ``workloads/``: annx captured by ``annx.jit`` where the
build has it, PyTorch at its fastest of fused and foreach Adam, images channels last or not, or
compiled (``torch-compile``); JAX and scikit-learn where they have the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Array, Contender, Problem, Suite, arrays_of, generator, module
from ..timing import fastest
from ..workloads import jax_mlp, sklearn_mlp
from ..workloads.base import CHECKED_STEPS, Workload
from ..workloads.chargpt import CharGpt
from ..workloads.encoder import Encoder
from ..workloads.guide_cnn import GuideCnn
from ..workloads.guide_mlp import GuideMlp
from ..workloads.lstm import Lstm
from ..workloads.mnist_mlp import MnistMlp
from ..workloads.resnet20 import ResNet20
from ..workloads.vae import Vae

WORKLOADS: tuple[type[Workload], ...] = (
    GuideMlp, MnistMlp, Vae, GuideCnn, ResNet20, Lstm, Encoder, CharGpt,
)  # fmt: skip
SUITE = Suite()


def named(name: str) -> Workload:
    """The workload of that name.

    Raises:
        ValueError: there is none.
    """
    for workload in WORKLOADS:
        if workload.name == name:
            return workload()
    known = ", ".join(w.name for w in WORKLOADS)
    raise ValueError(f"expected a workload among {known} but got {name!r}")


def optimizers(workload: Workload) -> list[dict[str, Any]]:
    """The ways in which PyTorch may run a step: it takes part with its fastest."""
    layouts = layouts_of(workload)
    return [{adam: True, **layout} for layout in layouts for adam in ("fused", "foreach")]


def layouts_of(workload: Workload) -> list[dict[str, Any]]:
    return [{"channels_last": True}, {}] if workload.images else [{}]


def jit() -> dict[str, Any]:
    """What annx wraps around a step: nothing where the build has no jit."""
    found = getattr(module("annx"), "jit", None)
    return {"wrap": found} if found else {}


def serving() -> dict[str, Any]:
    """How annx predicts: prepared for inference where the build can."""
    found = getattr(module("annx"), "prepare", None)
    return {"prepare": found} if found else jit()


def _widened(arrays: dict[str, Array]) -> dict[str, Array]:
    return {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in arrays.items()}


def _first(run: Callable[[], Any]) -> list[Array]:
    return [arrays_of(run())[0].reshape(()).copy() for _ in range(CHECKED_STEPS)]


@SUITE.kind(*(workload.name for workload in WORKLOADS))
def step(case: Case) -> Problem:
    workload = named(case.kind)
    rng = generator(case)
    weights, data = workload.weights(rng), workload.data(rng, case.number("batch"))

    def make(library: str, **options: Any) -> Contender:
        return Contender(
            workload.step(library, weights, data, 1.0, **options),
            lambda: _first(workload.step(library, weights, data, 0.0, **options)),
        )

    def torch() -> Contender:
        ways = [make("torch", **options) for options in optimizers(workload)]
        return Contender(fastest([way.call for way in ways]), ways[0].result)

    def compiled() -> Contender:
        return make("torch", wrap=module("torch").compile, **optimizers(workload)[0])

    def reference() -> list[Array]:
        wide = _widened(weights), _widened(data)
        return _first(workload.step("annx", *wide, 0.0, wide=True))

    return Problem(
        makers={
            "annx": lambda: make("annx", **jit()),
            "torch": torch,
            "torch-compile": compiled,
            "jax": lambda: jax_mlp.contender(workload, weights, data),
            "sklearn": lambda: sklearn_mlp.contender(workload, weights, data),
        },
        reference=reference,
        flops=module("annx")._core.count_cost(workload.step("annx", weights, data, 1.0))[0],
        bytes=0.0,
        tolerance=1e-3,
    )


@SUITE.kind("predict")
def predict(case: Case) -> Problem:
    workload = named(case.params.get("model", ""))
    rng = generator(case)
    weights, data = workload.weights(rng), workload.data(rng, case.number("batch"))

    def make(library: str, **options: Any) -> Callable[[], Any]:
        return workload.predict(library, weights, data, **options)

    def torch() -> Callable[[], Any]:
        return fastest([make("torch", **layout) for layout in layouts_of(workload)])

    def compiled() -> Callable[[], Any]:
        return make("torch", wrap=module("torch").compile)

    def reference() -> list[Array]:
        wide = _widened(weights), _widened(data)
        return [array.copy() for array in arrays_of(workload.predict("annx", *wide, wide=True)())]

    return Problem(
        makers={
            "annx": lambda: make("annx", **serving()),
            "torch": torch,
            "torch-compile": compiled,
        },
        reference=reference,
        flops=module("annx")._core.count_cost(make("annx"))[0],
        bytes=0.0,
    )
