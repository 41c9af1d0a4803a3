"""Dropout layers."""

from __future__ import annotations

from annx import _core
from annx._core import Tensor
from annx.nn._functional_layer import alpha_dropout, dropout1d, dropout2d, dropout3d
from annx.nn._module import Module

_dropout = _core.ops.dropout


class _DropoutBase(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(
                f"[{type(self).__name__}] expected a probability between 0 and 1 but got {p}"
            )
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutBase):
    """In training, sets each element to 0 with probability ``p`` and scales the rest by
    ``1 / (1 - p)``; in evaluation, gives its input back.

    Args:
        p: the probability of dropping.
        inplace: taken for PyTorch's sake; no Tensor is overwritten.

    Raises:
        ValueError: ``p`` is not between 0 and 1.

    Source: Srivastava et al., 2014; guide, "Dropout".
    """

    def forward(self, input: Tensor) -> Tensor:
        return _dropout(input, self.p, True) if self.training else input


class Dropout1d(_DropoutBase):
    """In training, sets each channel of a sequence to 0 with probability ``p`` and scales the rest.

    Arguments as in :class:`Dropout`. Shapes: input ``(N, C, L)`` or without N.
    """

    def forward(self, input: Tensor) -> Tensor:
        return dropout1d(input, self.p, self.training)


class Dropout2d(_DropoutBase):
    """In training, sets each channel of an image to 0 with probability ``p`` and scales the rest.

    Arguments as in :class:`Dropout`. Shapes: input ``(N, C, H, W)`` or without N.

    Source: Tompson et al., 2015.
    """

    def forward(self, input: Tensor) -> Tensor:
        return dropout2d(input, self.p, self.training)


class Dropout3d(_DropoutBase):
    """In training, sets each channel of a volume to 0 with probability ``p`` and scales the rest.

    Arguments as in :class:`Dropout`. Shapes: input ``(N, C, D, H, W)`` or without N.
    """

    def forward(self, input: Tensor) -> Tensor:
        return dropout3d(input, self.p, self.training)


class AlphaDropout(_DropoutBase):
    """Dropout for SELU: keeps mean 0 and variance 1 of inputs that have them.

    Args:
        p: the probability of dropping.
        inplace: taken for PyTorch's sake; no Tensor is overwritten.

    Raises:
        ValueError: ``p`` is not between 0 and 1.

    Source: Klambauer et al., 2017.
    """

    def forward(self, input: Tensor) -> Tensor:
        return alpha_dropout(input, self.p, self.training)
