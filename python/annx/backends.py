"""How results are computed where there is a choice that changes their bits. As ``torch.backends``.

What is chosen here becomes part of each call: its gradient keeps to the choice of the forward call,
and captured steps (``annx.jit``, ``fit``, ``annx.prepare``) are told apart by it, so that a changed
choice is honoured at the next call. Whatever the choice, bits are the same for every SIMD target
and any number of threads.
"""

from __future__ import annotations

from functools import wraps
from threading import local
from typing import TYPE_CHECKING, Any, TypeVar

from annx import _core

if TYPE_CHECKING:
    from collections.abc import Callable

    _Function = TypeVar("_Function", bound="Callable[..., Any]")


class _Flags:
    """A choice that holds inside a ``with`` block or a function, for the thread that runs it."""

    def __init__(self, winograd: str) -> None:
        self._winograd = winograd
        self._previous = local()

    def __enter__(self) -> None:
        outer = _core.exchange_own_winograd(self._winograd)
        self._previous.__dict__.setdefault("stack", []).append(outer)

    def __exit__(self, *error: object) -> None:
        _core.exchange_own_winograd(self._previous.stack.pop())

    def __call__(self, function: _Function) -> _Function:
        @wraps(function)
        def chosen(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return chosen  # type: ignore[return-value]


class _Conv:
    """Convolution: which form of Winograd computes 3x3 taps."""

    __slots__ = ()

    @property
    def winograd(self) -> str:
        """The form that computes 3x3 taps at stride 1 with 16 channels or more on both sides.

        ``"f23"``, the default: F(2x2, 3x3), 4 products a pixel and pair of channels instead of 9,
        as accurate as the plain sum. ``"f43"``: F(4x4, 3x3) forward and for the input's gradient,
        wherever its tiles need fewer products; 2.25 products a pixel, and about three times the
        error of F(2x2, 3x3). The weight's gradient is computed by F(2x2, 3x3) either way.

        Assigning sets it for all threads; inside a :meth:`flags` block for that block alone.

        Raises:
            ValueError: another name is assigned.

        Source: Lavin and Gray, 2016.
        """
        return _core.winograd()

    @winograd.setter
    def winograd(self, form: str) -> None:
        _core.set_winograd(_checked(form))

    def flags(self, *, winograd: str) -> _Flags:
        """A ``with`` block or decorator in which a form holds, for this thread alone.

        Args:
            winograd: as the attribute of that name.

        Raises:
            ValueError: there is no such form.

        Example::

            with annx.backends.conv.flags(winograd="f43"):
                y = model(x)
        """
        return _Flags(_checked(winograd))


def _checked(form: str) -> str:
    if form not in ("f23", "f43"):
        raise ValueError(f"[backends.conv] expected winograd 'f23' or 'f43' but got {form!r}")
    return form


conv = _Conv()
