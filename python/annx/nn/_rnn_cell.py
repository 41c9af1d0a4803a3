"""Single steps of recurrent layers."""

from __future__ import annotations

from math import sqrt
from typing import Any

from annx import _core
from annx._core import Tensor
from annx.nn import init
from annx.nn._linear import _empty
from annx.nn._module import Module
from annx.nn._rnn import _check_nonlinearity, _check_positive
from annx.nn.parameter import Parameter

_ops = _core.ops


class RNNCellBase(Module):
    """What the cells have in common: their parameters and the shapes they take."""

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        _check_positive(layer, "input_size", input_size)
        _check_positive(layer, "hidden_size", hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = num_chunks * hidden_size
        self.weight_ih = _empty((gates, input_size), device, dtype)
        self.weight_hh = _empty((gates, hidden_size), device, dtype)
        self.register_parameter("bias_ih", _empty((gates,), device, dtype) if bias else None)
        self.register_parameter("bias_hh", _empty((gates,), device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all parameters anew from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else f"{text}, bias={self.bias}"

    def _weights(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def _prepared(self, input: Tensor, state: list[Tensor] | None) -> tuple[Any, ...]:
        """A sequence of one step with a batch, and its state."""
        layer = type(self).__name__
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"[{layer}] expected an input of shape (batch, {self.input_size}) or "
                f"({self.input_size},) but got {tuple(input.shape)}"
            )
        expected = (*input.shape[:-1], self.hidden_size)
        for part in state or []:
            if tuple(part.shape) != expected:
                raise ValueError(
                    f"[{layer}] expected a state of shape {expected} but got {tuple(part.shape)}"
                )
        if input.ndim == 1:
            input = input.unsqueeze(0)
            state = state and [part.unsqueeze(0) for part in state]
        return (input.unsqueeze(0), *state) if state else (input.unsqueeze(0), None, None)


class RNNCell(RNNCellBase):
    """One step of an :class:`RNN`: ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``.

    Args:
        input_size: size of the input.
        hidden_size: size of the state.
        bias: whether there are ``b_ih`` and ``b_hh``.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: input ``(B, input_size)`` or ``(input_size,)``, state and result ``(B, hidden_size)`` or
    ``(hidden_size,)``; the state is zeros if left out.

    Raises:
        ValueError: a size is not positive, ``nonlinearity`` is neither; in forward: shapes do not
            fit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _check_nonlinearity("RNNCell", nonlinearity)
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h, *_ = self._prepared(input, None if hx is None else [hx])
        result: Tensor = _ops.rnn_sequence(x, h, *self._weights(), nonlinearity=self.nonlinearity)[
            1
        ]
        return result.squeeze(0) if input.ndim == 1 else result

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else f"{text}, nonlinearity={self.nonlinearity}"


class LSTMCell(RNNCellBase):
    """One step of an :class:`LSTM`.

    Args:
        input_size: size of the input.
        hidden_size: size of the states ``h`` and ``c``.
        bias: whether there are ``b_ih`` and ``b_hh``.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: input ``(B, input_size)`` or ``(input_size,)``; states ``(h, c)``, zeros if left out,
    and results ``(h', c')``: ``(B, hidden_size)`` or ``(hidden_size,)`` each.

    Raises:
        ValueError: a size is not positive; in forward: shapes do not fit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        x, h, c = self._prepared(input, None if hx is None else list(hx))
        _, h, c = _ops.lstm_sequence(x, h, c, *self._weights())
        return (h.squeeze(0), c.squeeze(0)) if input.ndim == 1 else (h, c)


class GRUCell(RNNCellBase):
    """One step of a :class:`GRU`.

    Args:
        input_size: size of the input.
        hidden_size: size of the state.
        bias: whether there are ``b_ih`` and ``b_hh``.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: as :class:`RNNCell`.

    Raises:
        ValueError: a size is not positive; in forward: shapes do not fit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h, *_ = self._prepared(input, None if hx is None else [hx])
        result: Tensor = _ops.gru_sequence(x, h, *self._weights())[1]
        return result.squeeze(0) if input.ndim == 1 else result
