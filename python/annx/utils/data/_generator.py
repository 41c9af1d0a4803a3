"""A random stream of its own, apart from the one that ``annx.manual_seed`` restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annx import _core, _creation

if TYPE_CHECKING:
    from annx._core import Tensor


class Generator:
    """A random stream: its seed and how far it was read, as ``torch.Generator``.

    Args:
        seed: where the stream starts.
    """

    def __init__(self, seed: int = 0) -> None:
        self._state = (int(seed), 0)

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of ``seed``; returns the generator itself."""
        self._state = (int(seed), 0)
        return self

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._state[0]

    def get_state(self) -> tuple[int, int]:
        """The seed and the position in the stream."""
        return self._state

    def set_state(self, state: tuple[int, int]) -> None:
        """Goes to a position that :meth:`get_state` returned."""
        seed, counter = state
        self._state = (int(seed), int(counter))

    def _enter(self) -> tuple[int, int]:
        outer = _core.get_rng_state()
        _core.set_rng_state(self._state)
        return outer

    def _leave(self, outer: tuple[int, int]) -> None:
        self._state = _core.get_rng_state()
        _core.set_rng_state(outer)

    def __repr__(self) -> str:
        return f"Generator(seed={self._state[0]}, position={self._state[1]})"


def as_generator(op: str, generator: Generator | int | None) -> Generator | None:
    """None stands for the global stream, an int for a new stream of that seed.

    Raises:
        TypeError: anything else.
    """
    if generator is None or isinstance(generator, Generator):
        return generator
    if isinstance(generator, int) and not isinstance(generator, bool):
        return Generator(generator)
    raise TypeError(
        f"[{op}] expected generator as an annx.utils.data.Generator, an int seed or None but got "
        f"{type(generator).__name__}"
    )


def draw_permutation(n: int, generator: Generator | None) -> Tensor:
    """A random order of ``0 … n - 1``, int64 of shape ``(n,)``."""
    if generator is None:
        return _creation.randperm(n)
    outer = generator._enter()
    try:
        return _creation.randperm(n)
    finally:
        generator._leave(outer)


def draw_integers(high: int, count: int, generator: Generator | None) -> Tensor:
    """``count`` random integers in ``[0, high)``, int64."""
    if generator is None:
        return _creation.randint(0, high, (count,))
    outer = generator._enter()
    try:
        return _creation.randint(0, high, (count,))
    finally:
        generator._leave(outer)
