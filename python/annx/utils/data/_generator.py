"""The random streams of loaders, samplers and splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annx import _creation
from annx._generator import Generator as Generator

if TYPE_CHECKING:
    from annx._core import Tensor


def as_generator(op: str, generator: Generator | int | None) -> Generator | None:
    """None stands for the global stream, an int for a new stream of that seed.

    Raises:
        TypeError: anything else.
    """
    if generator is None or isinstance(generator, Generator):
        return generator
    if isinstance(generator, int) and not isinstance(generator, bool):
        return Generator().manual_seed(generator)
    raise TypeError(
        f"[{op}] expected generator as an annx.Generator, an int seed or None but got "
        f"{type(generator).__name__}"
    )


def draw_permutation(n: int, generator: Generator | None) -> Tensor:
    """A random order of ``0 … n - 1``, int64 of shape ``(n,)``."""
    return _creation.randperm(n, generator=generator)


def draw_integers(high: int, count: int, generator: Generator | None) -> Tensor:
    """``count`` random integers in ``[0, high)``, int64."""
    return _creation.randint(0, high, (count,), generator=generator)
