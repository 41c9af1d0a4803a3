"""A problem: arrays, the right answer in float64, and one call per contender."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cases import Case

Array = NDArray[Any]


@dataclass
class Contender:
    """``call`` is timed. ``result`` gives what is checked: by default what the call returns."""

    call: Callable[[], Any]
    result: Callable[[], Any] | None = None
    # Instead of timing calls: one measurement in nanoseconds, for what a loop cannot repeat.
    measure: Callable[[], float] | None = None


Maker = Callable[[], Contender | Callable[[], Any] | None]


@dataclass
class Problem:
    """``makers``: contender -> maker, called when the contender takes part. A peer that has several
    ways takes part with each, ``torch`` and ``torch:channels_last``.

    ``flops`` and ``bytes`` are what the arithmetic needs at least; None: as the ops count, 0: not
    worth a rate. ``touched``: bytes of distinct memory, where the traffic passes it repeatedly.
    ``traffic``: "copy" or "add" for one or two arrays read and another one written, once.
    """

    makers: dict[str, Maker]
    reference: Callable[[], Sequence[Array]] | None = None
    flops: float | None = None
    bytes: float | None = None
    touched: float | None = None
    traffic: str = ""
    tolerance: float = 1e-4


def peer_of(contender: str) -> str:
    """The peer whose way a contender is."""
    return contender.partition(":")[0]


@dataclass
class Suite:
    """Builders by the kind of a case; ``default`` builds any other kind."""

    builders: dict[str, Callable[[Case], Problem]] = field(default_factory=dict)
    default: Callable[[Case], Problem] | None = None

    def kind(self, *names: str) -> Callable[[Callable[[Case], Problem]], Callable[[Case], Problem]]:
        def register(build: Callable[[Case], Problem]) -> Callable[[Case], Problem]:
            for name in names:
                self.builders[name] = build
            return build

        return register


def build(case: Case) -> Problem:
    """The problem of a case.

    Raises:
        ValueError: the suite has no such kind, or a value of the case is wrong.
    """
    suite: Suite = import_module(f".suites.{case.suite}", __package__).SUITE
    builder = suite.builders.get(case.kind, suite.default)
    if builder is None:
        known = ", ".join(suite.builders)
        raise ValueError(f"{case.id}: expected one of {known} but got {case.kind!r}")
    return builder(case)


def module(name: str) -> Any:
    """A library, imported when a contender needs it."""
    return import_module(name)


def generator(case: Case) -> np.random.Generator:
    """The same numbers for a case in every process."""
    return np.random.default_rng(list(case.id.encode()))


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Begins on a cache line, as what a library allocates for itself does and NumPy's does not."""
    size = math.prod(shape)
    memory = np.empty(4 * size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    out = memory[start : start + 4 * size].view(np.float32).reshape(shape)
    rng.standard_normal(dtype=np.float32, out=out)
    return out


def gradient(library: str, result: Any, leaves: Sequence[Any], out: Any) -> Callable[[], Any]:
    """Gradients of a recorded `result` by `leaves`, as often as called."""
    grad = module(f"{library}.autograd").grad
    return lambda: grad(result, leaves, out, retain_graph=True)


def arrays_of(result: Any) -> list[Array]:
    """What a contender returned as arrays, whatever library it comes from."""
    if result is None:
        return []
    if isinstance(result, (tuple, list)):
        return [a for part in result for a in arrays_of(part)]
    if isinstance(result, np.ndarray):
        return [result]
    if hasattr(result, "detach"):
        result = result.detach()
        return [np.asarray(result.cpu().numpy() if hasattr(result, "cpu") else result.numpy())]
    return [np.asarray(result)]


def error_of(got: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest error as a share of the reference's root mean square; inf for other shapes."""
    if len(got) != len(expected):
        return float("inf")
    worst = 0.0
    for g, e in zip(got, expected, strict=True):
        if g.shape != e.shape:
            return float("inf")
        if e.size == 0:
            continue
        e64 = np.asarray(e, np.float64)
        size = float(np.sqrt(np.mean(np.square(e64)))) or 1.0
        error = float(np.max(np.abs(np.asarray(g, np.float64) - e64))) / size
        worst = max(worst, error) if error == error else float("inf")
    return worst
