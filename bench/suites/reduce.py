"""Reductions as steps need them: gradients of biases, means, norms, the best class."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Array, Problem, Suite, generator, module, normal

SUITE = Suite()


def _logsumexp(x: Array, axis: int | None) -> Array:
    top = x.max(axis=axis, keepdims=True)
    total = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return np.asarray(np.squeeze(total, axis))


_ANSWERS: dict[str, Any] = {
    "sum": lambda x, axis: x.sum(axis=axis),
    "mean": lambda x, axis: x.mean(axis=axis),
    "var": lambda x, axis: x.var(axis=axis, ddof=1),
    "amax": lambda x, axis: x.max(axis=axis),
    "argmax": lambda x, axis: x.argmax(axis=axis),
    "cumsum": lambda x, axis: x.cumsum(axis=axis),
    "logsumexp": _logsumexp,
}
_NUMPY = {"sum": "sum", "mean": "mean", "amax": "amax", "argmax": "argmax", "cumsum": "cumsum"}


@SUITE.kind(*_ANSWERS)
def reduction(case: Case) -> Problem:
    """Over `dim`, or over everything."""
    x = normal(generator(case), *case.sizes("shape"))
    dim = int(case.params["dim"]) if "dim" in case.params else None

    def make(library: str) -> Any:
        function = getattr(module(library), case.kind)
        t = module(library).from_numpy(x)
        return (lambda: function(t)) if dim is None else (lambda: function(t, dim))

    makers: dict[str, Any] = {"annx": lambda: make("annx"), "torch": lambda: make("torch")}
    if case.kind in _NUMPY:
        function = getattr(np, _NUMPY[case.kind])
        makers["numpy"] = lambda: lambda: function(x, axis=dim)
    return Problem(
        makers=makers,
        reference=lambda: [np.asarray(_ANSWERS[case.kind](x.astype(np.float64), dim))],
        tolerance=1e-3,
    )


@SUITE.kind("global_norm")
def global_norm(case: Case) -> Problem:
    """The norm of all gradients of a model, as clipping wants it; `tensors` are their shapes."""
    rng = generator(case)
    shapes = [tuple(map(int, s.split("x"))) for s in case.params["tensors"].split(",")]
    arrays = [normal(rng, *shape) for shape in shapes]

    def annx() -> Any:
        lib = module("annx")
        tensors, norm = [lib.from_numpy(a) for a in arrays], lib._core.ops.global_norm
        return lambda: norm(tensors)

    def torch() -> Any:
        lib = module("torch")
        tensors = [lib.from_numpy(a) for a in arrays]
        norm = lib.nn.utils.get_total_norm
        return lambda: norm(tensors)

    def reference() -> list[Array]:
        return [np.sqrt(np.asarray(sum(np.square(a, dtype=np.float64).sum() for a in arrays)))]

    return Problem(makers={"annx": annx, "torch": torch}, reference=reference)
