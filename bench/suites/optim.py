"""Optimizer steps over the parameters of whole models. PyTorch takes part at its faster of fused
and foreach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Array, Contender, Problem, Suite, generator, module, normal
from ..timing import fastest

SUITE = Suite()
_LR = 1e-3


def _shapes(case: Case) -> list[tuple[int, ...]]:
    """``784x128,128,8*1024x1024``: sizes, with a count in front where they repeat."""
    shapes: list[tuple[int, ...]] = []
    for part in case.params["tensors"].split(","):
        count, star, sizes = part.rpartition("*")
        shape = tuple(int(n) for n in sizes.split("x"))
        shapes += [shape] * (int(count) if star else 1)
    return shapes


def _adam(p: Array, g: Array, decay: float) -> Array:
    # First step: both averages are corrected to the gradient itself.
    return np.asarray(p * (1 - _LR * decay) - _LR * g / (np.abs(g) + 1e-8))


def _sgd(p: Array, g: Array, decay: float) -> Array:
    return np.asarray(p - _LR * g)


_KINDS: dict[str, tuple[str, dict[str, float], Any, float]] = {
    "adam": ("Adam", {}, _adam, 0.0),
    "adamw": ("AdamW", {"weight_decay": 0.01}, _adam, 0.01),
    "sgd_momentum": ("SGD", {"momentum": 0.9}, _sgd, 0.0),
}


@SUITE.kind(*_KINDS)
def step(case: Case) -> Problem:
    name, options, answer, decay = _KINDS[case.kind]
    rng = generator(case)
    values = [normal(rng, *shape) for shape in _shapes(case)]
    grads = [normal(rng, *shape) for shape in _shapes(case)]

    def stepper(library: str, **extra: Any) -> tuple[Any, Sequence[Any]]:
        lib = module(library)
        params = [lib.from_numpy(v.copy()).requires_grad_() for v in values]
        for p, g in zip(params, grads, strict=True):
            p.grad = lib.from_numpy(g)
        optimizer = getattr(module(f"{library}.optim"), name)(params, lr=_LR, **options, **extra)
        return optimizer.step, params

    def contender(library: str, extras: Sequence[dict[str, Any]]) -> Contender:
        steppers = [stepper(library, **extra) for extra in extras]
        call = fastest([run for run, _ in steppers])

        def result() -> list[Any]:
            run, params = stepper(library, **extras[0])
            run()
            return list(params)

        return Contender(call, result=result)

    def reference() -> list[Array]:
        return [
            answer(v.astype(np.float64), g.astype(np.float64), decay)
            for v, g in zip(values, grads, strict=True)
        ]

    count = float(sum(v.size for v in values))
    adam = name != "SGD"
    return Problem(
        makers={
            "annx": lambda: contender("annx", [{}]),
            "torch": lambda: contender("torch", [{"fused": True}, {"foreach": True}]),
        },
        reference=reference,
        flops=count * (12 if adam else 4),
        bytes=count * (28 if adam else 20),
        touched=count * (16 if adam else 12),
    )
