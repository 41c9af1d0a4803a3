"""Recurrent layers."""

from __future__ import annotations

import warnings
from math import sqrt
from typing import TYPE_CHECKING, Any

from annx import _core
from annx._core import Tensor
from annx.nn import init
from annx.nn._linear import _empty
from annx.nn._module import Module
from annx.nn.utils.rnn import PackedSequence

if TYPE_CHECKING:
    from annx.nn.parameter import Parameter

_ops = _core.ops
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _check_positive(layer: str, name: str, value: object, least: int = 1) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"[{layer}] expected {name} to be an integer >= {least} but got {value!r}")


def _check_nonlinearity(layer: str, value: str) -> None:
    if value not in ("tanh", "relu"):
        raise ValueError(f"[{layer}] expected nonlinearity 'tanh' or 'relu' but got {value!r}")


class RNNBase(Module):
    """What RNN, LSTM and GRU have in common: layers, directions and their parameters."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        if mode not in _GATES:
            raise ValueError(
                f"[{layer}] expected mode to be one of {list(_GATES)} but got {mode!r}"
            )
        _check_positive(layer, "input_size", input_size)
        _check_positive(layer, "hidden_size", hidden_size)
        _check_positive(layer, "num_layers", num_layers)
        _check_positive(layer, "proj_size", proj_size, 0)
        if proj_size >= hidden_size:
            raise ValueError(
                f"[{layer}] expected proj_size to be less than hidden_size {hidden_size} "
                f"but got {proj_size}"
            )
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"[{layer}] expected dropout between 0 and 1 but got {dropout}")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"[{layer}] dropout comes after all layers but the last: it has no effect with "
                f"num_layers=1 (dropout={dropout})",
                stacklevel=3,
            )
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        gates = _GATES[mode] * hidden_size
        directions = 2 if bidirectional else 1
        output = proj_size or hidden_size
        self._names: list[tuple[str, ...]] = []
        for number in range(num_layers):
            width = input_size if number == 0 else output * directions
            for suffix in ("", "_reverse")[:directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (gates, width),
                    "weight_hh": (gates, output),
                }
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = {name: f"{name}_l{number}{suffix}" for name in shapes}
                for name, shape in shapes.items():
                    setattr(self, names[name], _empty(shape, device, dtype))
                self._names.append(tuple(names.values()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all parameters anew from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing: weights are packed by each call. Kept for PyTorch's sake."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of every layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._names]

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        for name, default in (
            ("proj_size", 0),
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0.0),
            ("bidirectional", False),
        ):
            value = getattr(self, name)
            if value != default:
                parts.append(f"{name}={value}")
        return ", ".join(parts)

    def _run(
        self, input: Tensor, state: list[Tensor] | None, index: int, batch_sizes: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Layer and direction number ``index`` over a sequence: its output and last state."""
        weights: list[Tensor] = [getattr(self, name) for name in self._names[index]]
        projection = weights.pop() if self.proj_size else None
        biases: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.bias:
            biases = (weights[2], weights[3])
        reverse = self.bidirectional and index % 2 == 1
        first = [None, None] if state is None else [part[index] for part in state]
        if self.mode == "LSTM":
            result: tuple[Tensor, ...] = _ops.lstm_sequence(
                input,
                first[0],
                first[1],
                weights[0],
                weights[1],
                *biases,
                projection,
                batch_sizes,
                reverse,
            )
        elif self.mode == "GRU":
            result = _ops.gru_sequence(
                input, first[0], weights[0], weights[1], *biases, batch_sizes, reverse
            )
        else:
            name = "tanh" if self.mode == "RNN_TANH" else "relu"
            result = _ops.rnn_sequence(
                input, first[0], weights[0], weights[1], *biases, batch_sizes, name, reverse
            )
        return result

    def _check_state(self, state: list[Tensor], batch: int | None, dims: int) -> None:
        layer = type(self).__name__
        rows = self.num_layers * (2 if self.bidirectional else 1)
        for i, part in enumerate(state):
            width = (self.proj_size if i == 0 else 0) or self.hidden_size
            expected = (rows, width) if dims == 2 else (rows, batch, width)
            got = tuple(part.shape)
            if len(got) != dims or any(
                e is not None and e != g for e, g in zip(expected, got, strict=True)
            ):
                shape = str(expected).replace("None", "batch")
                raise ValueError(
                    f"[{layer}] expected {'c_0' if i else 'h_0'} of shape {shape} but got {got}"
                )

    def _forward(
        self, input: Tensor | PackedSequence, state: list[Tensor] | None
    ) -> tuple[Any, list[Tensor]]:
        layer = type(self).__name__
        packed = batch_sizes = None
        if isinstance(input, PackedSequence):
            packed = input
            x, batch_sizes = packed.data, packed.batch_sizes
            if state is not None:
                self._check_state(state, None, 3)
                state = [_permuted(part, packed.sorted_indices) for part in state]
        else:
            x = input
            if x.ndim not in (2, 3):
                raise ValueError(
                    f"[{layer}] expected an input of 2 or 3 dimensions but got shape "
                    f"{tuple(x.shape)}"
                )
        if x.shape[-1] != self.input_size:
            raise ValueError(
                f"[{layer}] expected an input whose last dimension is input_size "
                f"{self.input_size} but got shape {tuple(x.shape)}"
            )
        unbatched = packed is None and x.ndim == 2
        if unbatched:
            if state is not None:
                self._check_state(state, None, 2)
                state = [part.unsqueeze(1) for part in state]
            x = x.unsqueeze(1)
        elif packed is None:
            if self.batch_first:
                x = x.transpose(0, 1)
            if state is not None:
                self._check_state(state, x.shape[1], 3)

        directions = 2 if self.bidirectional else 1
        last: list[tuple[Tensor, ...]] = []
        for number in range(self.num_layers):
            if number > 0 and self.dropout > 0 and self.training:
                x = _ops.dropout(x, self.dropout, True)
            outputs = []
            for index in range(number * directions, (number + 1) * directions):
                output, *end = self._run(x, state, index, batch_sizes)
                outputs.append(output)
                last.append(tuple(end))
            x = outputs[0] if directions == 1 else _ops.concat(outputs, -1)
        ends = [_stacked(list(parts)) for parts in zip(*last, strict=True)]

        if packed is not None:
            result = PackedSequence(
                x, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
            )
            return result, [_permuted(part, packed.unsorted_indices) for part in ends]
        if unbatched:
            return x.squeeze(1), [part.squeeze(1) for part in ends]
        return (x.transpose(0, 1) if self.batch_first else x), ends


def _stacked(parts: list[Tensor]) -> Tensor:
    return parts[0].unsqueeze(0) if len(parts) == 1 else _ops.stack(parts)


def _permuted(state: Tensor, order: Tensor | None) -> Tensor:
    return state if order is None else _ops.index_select(state, 1, order)


class RNN(RNNBase):
    """Plain recurrent layers: ``h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)``.

    Args:
        input_size: size of each element of a sequence.
        hidden_size: size of the state ``h``.
        num_layers: layers, each of which reads the outputs of the one before.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether there are ``b_ih`` and ``b_hh``.
        batch_first: batches are ``(B, T, *)`` instead of ``(T, B, *)``; states stay as they are.
        dropout: probability of dropping elements of the output of each layer but the last.
        bidirectional: a second direction reads every sequence from its end.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: input ``(T, B, input_size)``, ``(T, input_size)`` or a PackedSequence; ``h_0``
    ``(num_layers * D, B, hidden_size)``, zeros if left out, with D = 2 if bidirectional, else 1.
    Output ``(T, B, D * hidden_size)`` and ``h_n`` like ``h_0``. Parameters are drawn from
    U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    Raises:
        ValueError: a size is not positive, ``nonlinearity`` is neither; in forward: shapes do not
            fit.

    Source: Elman, 1990; guide, "Recurrent Neural Networks (RNNs)".
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        _check_nonlinearity("RNN", nonlinearity)
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )
        self.nonlinearity = nonlinearity

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        output, (h,) = self._forward(input, None if hx is None else [hx])
        return output, h


class GRU(RNNBase):
    """Layers of gated recurrent units:
    ``h_t = (1 - z) * tanh(W_in x_t + b_in + r * (W_hn h_(t-1) + b_hn)) + z * h_(t-1)``, where the
    gates ``r`` and ``z`` are sigmoids of such sums.

    Args:
        input_size: size of each element of a sequence.
        hidden_size: size of the state ``h``.
        num_layers: layers, each of which reads the outputs of the one before.
        bias: whether there are ``b_ih`` and ``b_hh``.
        batch_first: batches are ``(B, T, *)`` instead of ``(T, B, *)``; states stay as they are.
        dropout: probability of dropping elements of the output of each layer but the last.
        bidirectional: a second direction reads every sequence from its end.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: as :class:`RNN`. Weights hold the gates r, z, n one below the other.

    Raises:
        ValueError: a size is not positive; in forward: shapes do not fit.

    Source: Cho et al., 2014.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
        )

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        output, (h,) = self._forward(input, None if hx is None else [hx])
        return output, h


class LSTM(RNNBase):
    """Layers of long short-term memory: ``c_t = f * c_(t-1) + i * g`` and ``h_t = o * tanh(c_t)``,
    where ``i``, ``f`` and ``o`` are sigmoids and ``g`` is the tanh of
    ``W_ih x_t + b_ih + W_hh h_(t-1) + b_hh``.

    Args:
        input_size: size of each element of a sequence.
        hidden_size: size of the states ``h`` and ``c``.
        num_layers: layers, each of which reads the outputs of the one before.
        bias: whether there are ``b_ih`` and ``b_hh``.
        batch_first: batches are ``(B, T, *)`` instead of ``(T, B, *)``; states stay as they are.
        dropout: probability of dropping elements of the output of each layer but the last.
        bidirectional: a second direction reads every sequence from its end.
        proj_size: if not 0, ``h`` is projected to this size by ``W_hr``.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: input ``(T, B, input_size)``, ``(T, input_size)`` or a PackedSequence; ``h_0``
    ``(num_layers * D, B, P)`` and ``c_0`` ``(num_layers * D, B, hidden_size)``, zeros if left out,
    with D = 2 if bidirectional, else 1, and P = proj_size or hidden_size. Output ``(T, B, D * P)``,
    ``h_n`` and ``c_n`` like ``h_0`` and ``c_0``. Weights hold the gates i, f, g, o one below the
    other and are drawn from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    Raises:
        ValueError: a size is not positive; in forward: shapes do not fit.

    Source: Hochreiter and Schmidhuber, 1997; guide, "Long Short-Term Memory (LSTM) Networks".
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )

    def forward(
        self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        output, (h, c) = self._forward(input, None if hx is None else list(hx))
        return output, (h, c)
