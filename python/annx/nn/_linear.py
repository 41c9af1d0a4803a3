"""Linear layers."""

from __future__ import annotations

from math import sqrt
from typing import Any

from annx import _core, _creation
from annx._core import Tensor
from annx.nn import init
from annx.nn._functional_layer import bilinear
from annx.nn._module import Module
from annx.nn.parameter import Parameter

_linear = _core.ops.linear


def _check_size(layer: str, name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"[{layer}] expected {name} to be an integer >= 0 but got {value!r}")


def _empty(shape: tuple[int, ...], device: Any, dtype: Any) -> Parameter:
    return Parameter(_creation.empty(shape, device=device, dtype=dtype))


class Identity(Module):
    """Gives its input back. Takes any arguments and ignores them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Linear(Module):
    """A fully connected layer: ``y = x W^T + b``.

    Args:
        in_features: size of each input sample.
        out_features: size of each output sample.
        bias: whether there is a ``b``.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: input ``(*, in_features)``, output ``(*, out_features)``, weight
    ``(out_features, in_features)``, bias ``(out_features,)``. Both are drawn from
    U(-1/sqrt(in_features), 1/sqrt(in_features)).

    Raises:
        ValueError: a size is negative; in forward: the last dimension is not ``in_features``.

    Source: guide, "The Artificial Neuron" and "Feedforward Computation".
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_size("Linear", "in_features", in_features)
        _check_size("Linear", "out_features", out_features)
        self.in_features = in_features
        self.out_features = out_features
        self.weight = _empty((out_features, in_features), device, dtype)
        if bias:
            self.bias = _empty((out_features,), device, dtype)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weight and bias anew."""
        bound = 1.0 / sqrt(max(1, self.in_features))
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return _linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """A map linear in each of two inputs: ``y_o = x1^T W_o x2 + b_o``.

    Args:
        in1_features: size of each first input sample.
        in2_features: size of each second input sample.
        out_features: size of each output sample.
        bias: whether there is a ``b``.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: inputs ``(*, in1_features)`` and ``(*, in2_features)``, output ``(*, out_features)``,
    weight ``(out_features, in1_features, in2_features)``, bias ``(out_features,)``. Both are drawn
    from U(-1/sqrt(in1_features), 1/sqrt(in1_features)).

    Raises:
        ValueError: ``in1_features`` is 0, a size is negative; in forward: shapes do not fit.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_size("Bilinear", "in1_features", in1_features)
        _check_size("Bilinear", "in2_features", in2_features)
        _check_size("Bilinear", "out_features", out_features)
        if in1_features == 0:
            raise ValueError("[Bilinear] expected in1_features > 0 but got 0")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = _empty((out_features, in1_features, in2_features), device, dtype)
        if bias:
            self.bias = _empty((out_features,), device, dtype)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weight and bias anew."""
        bound = 1.0 / sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )
