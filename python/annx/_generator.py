"""A random stream of its own, apart from the one that ``annx.manual_seed`` restarts."""

from __future__ import annotations

from contextlib import contextmanager
from operator import index
from typing import TYPE_CHECKING, Any

from annx import _core

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFAULT_SEED = 67280421310721  # where torch.Generator starts, too
_RANGE = 2**64


class Generator:
    """A random stream: its seed and how far it was read, as ``torch.Generator``.

    Every function of random numbers takes one as ``generator=``; it then draws from this stream and
    leaves the global one alone. A stream belongs to one thread at a time.

    Args:
        device: ``"cpu"``.
    """

    def __init__(self, device: Any = "cpu") -> None:
        from annx._creation import check_device

        check_device(device, "Generator")
        self._state = (_DEFAULT_SEED, 0)

    @property
    def device(self) -> _core.device:
        """Where the stream's numbers are made."""
        return _core.device("cpu")

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of ``seed``; returns the generator itself."""
        self._state = (_as_seed(seed), 0)
        return self

    def seed(self) -> int:
        """Starts a stream of a seed that nobody knows yet, and returns that seed."""
        from secrets import randbits

        self._state = (randbits(63), 0)
        return self._state[0]

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._state[0]

    def get_state(self) -> tuple[int, int]:
        """The seed and the position in the stream."""
        return self._state

    def set_state(self, state: tuple[int, int]) -> Generator:
        """Goes to a position that :meth:`get_state` returned.

        Raises:
            ValueError: state is not such a pair.
        """
        try:
            seed, counter = (int(part) for part in state)
        except (TypeError, ValueError):
            raise ValueError(
                f"[Generator] expected a state (seed, position) but got {state!r}"
            ) from None
        if counter < 0:
            raise ValueError(f"[Generator] expected a position >= 0 but got {counter}")
        self._state = (_as_seed(seed), counter)
        return self

    def __repr__(self) -> str:
        return f"Generator(seed={self._state[0]}, position={self._state[1]})"


def _as_seed(seed: int, op: str = "Generator") -> int:
    try:
        seed = index(seed)
    except TypeError:
        raise TypeError(f"[{op}] expected a seed as an int but got {seed!r}") from None
    if not -_RANGE // 2 <= seed < _RANGE:
        raise ValueError(f"[{op}] expected a seed of 64 bits but got {seed}")
    return seed % _RANGE


def manual_seed(seed: int) -> None:
    """Restarts the global stream, from which random functions draw without a generator.

    Raises:
        ValueError: seed has more than 64 bits.
    """
    _core.manual_seed(_as_seed(seed, "manual_seed"))


@contextmanager
def drawing_from(generator: Generator | None, op: str) -> Iterator[None]:
    """Within it, random ops of this thread draw from generator (None: the global stream).

    Raises:
        TypeError: it is not a Generator.
    """
    if generator is None:
        yield
        return
    if not isinstance(generator, Generator):
        raise TypeError(
            f"[{op}] expected generator as an annx.Generator or None but got "
            f"{type(generator).__name__}"
        )
    _core.push_random_stream(generator._state)
    try:
        yield
    finally:
        generator._state = _core.pop_random_stream()
