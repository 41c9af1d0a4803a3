"""One record per op: what it should compute, on which samples, and which calls it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from annx.bench.cases import Case
from annx.bench.suites import ops

Sample = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class OpInfo:
    """``ref`` takes a sample's arguments with arrays in float64 and returns what the op should."""

    name: str
    ref: Callable[..., Any] | None
    samples: Callable[[np.random.Generator], list[Sample]]
    errors: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = field(
        default_factory=list
    )
    grad: bool = True
    float32: bool = True  # samples are also run in float32, within eps-scaled bounds
    scale: float = 16.0  # allowed error in eps of the result's norm

    @property
    def bench(self) -> Case | None:
        """What `annx bench run ops` times: a line of bench/shapes/ops.txt, or a default."""
        return ops.case_of(self.name)


class Fixed(np.ndarray[Any, Any]):
    """A float array of a sample that the op has no gradient for."""


def fixed(array: np.ndarray[Any, Any]) -> Fixed:
    return array.view(Fixed)
