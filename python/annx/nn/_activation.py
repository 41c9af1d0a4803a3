"""Activation layers. Formulas and sources stand with the functions of ``annx.nn.functional``.

All keep the shape (GLU halves one dimension). ``inplace`` is taken for PyTorch's sake: results are
the same, and no Tensor is overwritten.
"""

from __future__ import annotations

from typing import Any

from annx import _core
from annx._core import Tensor
from annx.nn import _functional_activation as F
from annx.nn import init
from annx.nn._linear import _check_size, _empty
from annx.nn._module import Module
from annx.nn.parameter import Parameter

# Bound once: a hot layer costs one global look-up and one call.
_sigmoid = _core.ops.sigmoid
_tanh = _core.ops.tanh
_relu = _core.ops.relu
_relu6 = _core.ops.relu6
_leaky_relu = _core.ops.leaky_relu
_prelu = _core.ops.prelu
_elu = _core.ops.elu
_selu = _core.ops.selu
_celu = _core.ops.celu
_silu = _core.ops.silu
_gelu = _core.ops.gelu
_softplus = _core.ops.softplus
_mish = _core.ops.mish
_hardswish = _core.ops.hardswish
_hardsigmoid = _core.ops.hardsigmoid
_hardtanh = _core.ops.hardtanh
_log_sigmoid = _core.ops.log_sigmoid
_softsign = _core.ops.softsign


class _InPlace(Module):
    """Keeps ``inplace``, which ``repr`` shows only when it is set."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def _settings(self) -> str:
        return ""

    def extra_repr(self) -> str:
        parts = [self._settings(), "inplace=True" if self.inplace else ""]
        return ", ".join([part for part in parts if part])


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``. Source: guide, "Sigmoid"."""

    def forward(self, input: Tensor) -> Tensor:
        return _sigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent. Source: guide, "Tanh (Hyperbolic Tangent)"."""

    def forward(self, input: Tensor) -> Tensor:
        return _tanh(input)


class ReLU(_InPlace):
    """``max(0, x)``. Source: guide, "ReLU"."""

    def forward(self, input: Tensor) -> Tensor:
        return _relu(input)


class ReLU6(_InPlace):
    """``min(max(0, x), 6)``."""

    def forward(self, input: Tensor) -> Tensor:
        return _relu6(input)


class LeakyReLU(_InPlace):
    """``x`` where ``x > 0``, else ``negative_slope * x``. Source: guide, "Leaky ReLU"."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return _leaky_relu(input, self.negative_slope)

    def _settings(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """``x`` where ``x > 0``, else ``weight * x`` with a learned weight.

    Args:
        num_parameters: 1, or the number of channels (dimension 1 of the input).
        init: the first value of the weight.
        device: where the weight lives.
        dtype: its floating-point type, float32 if left out.

    Raises:
        ValueError: in forward: the number of channels is another.

    Source: He et al., 2015; guide, "PReLU".
    """

    weight: Parameter

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        _check_size("PReLU", "num_parameters", num_parameters)
        self.num_parameters = num_parameters
        self.init = init
        self.weight = _empty((num_parameters,), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the weight to its first value."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return _prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(_InPlace):
    """``x`` where ``x > 0``, else ``alpha * (exp(x) - 1)``. Source: guide, "ELU"."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return _elu(input, self.alpha)

    def _settings(self) -> str:
        return f"alpha={self.alpha}"


class CELU(_InPlace):
    """``max(0, x) + min(0, alpha * (exp(x / alpha) - 1))``."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        return _celu(input, self.alpha)

    def _settings(self) -> str:
        return f"alpha={self.alpha}"


class SELU(_InPlace):
    """ELU with self-normalising constants; goes with ``init.lecun_normal_`` and AlphaDropout.

    Source: guide, "SELU".
    """

    def forward(self, input: Tensor) -> Tensor:
        return _selu(input)


class SiLU(_InPlace):
    """``x * sigmoid(x)``. Source: guide, "Swish"."""

    def forward(self, input: Tensor) -> Tensor:
        return _silu(input)


Swish = SiLU


class GELU(Module):
    """``x * Phi(x)``; ``approximate="tanh"`` for its approximation."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(
                f"[GELU] expected approximate 'none' or 'tanh' but got {approximate!r}"
            )
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return _gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """``log(1 + exp(beta * x)) / beta``; linear where ``beta * x > threshold``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        return _softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Mish(_InPlace):
    """``x * tanh(softplus(x))``."""

    def forward(self, input: Tensor) -> Tensor:
        return _mish(input)


class Hardswish(_InPlace):
    """``x * relu6(x + 3) / 6``."""

    def forward(self, input: Tensor) -> Tensor:
        return _hardswish(input)

    def extra_repr(self) -> str:
        return ""  # as PyTorch prints it


class Hardsigmoid(_InPlace):
    """``relu6(x + 3) / 6``."""

    def forward(self, input: Tensor) -> Tensor:
        return _hardsigmoid(input)

    def extra_repr(self) -> str:
        return ""  # as PyTorch prints it


class Hardtanh(_InPlace):
    """``x`` limited to ``[min_val, max_val]``.

    Raises:
        ValueError: ``min_val >= max_val``.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        if not min_val < max_val:
            raise ValueError(f"[Hardtanh] expected min_val < max_val but got {min_val}, {max_val}")
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, input: Tensor) -> Tensor:
        return _hardtanh(input, self.min_val, self.max_val)

    def _settings(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class LogSigmoid(Module):
    """``log(sigmoid(x))``."""

    def forward(self, input: Tensor) -> Tensor:
        return _log_sigmoid(input)


class Softsign(Module):
    """``x / (1 + |x|)``."""

    def forward(self, input: Tensor) -> Tensor:
        return _softsign(input)


class Tanhshrink(Module):
    """``x - tanh(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class _Shrink(Module):
    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(_Shrink):
    """``x`` where ``|x| > lambd``, else 0."""

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)


class Softshrink(_Shrink):
    """``x`` moved towards 0 by ``lambd``, and 0 where ``|x| <= lambd``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)


class RReLU(_InPlace):
    """``x`` where ``x >= 0``, else ``a * x``: a drawn from ``[lower, upper]`` for each element in
    training, their mean otherwise. Source: Xu et al., 2015.

    Raises:
        ValueError: ``lower > upper``.
    """

    def __init__(
        self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False
    ) -> None:
        super().__init__(inplace)
        if lower > upper:
            raise ValueError(f"[RReLU] expected lower <= upper but got {lower} > {upper}")
        self.lower = lower
        self.upper = upper

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training)

    def _settings(self) -> str:
        return f"lower={self.lower}, upper={self.upper}"


class Threshold(_InPlace):
    """``x`` where ``x > threshold``, else ``value``."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold = threshold
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value)

    def _settings(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class GLU(Module):
    """``a * sigmoid(b)`` of the halves of the input along ``dim``, whose size must be even."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class _AlongDim(Module):
    """``dim`` may be left out for inputs of at most two dimensions: it is the last one."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """``exp(x_i) / sum_j exp(x_j)`` along ``dim``. Source: guide, "Softmax"."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)


class LogSoftmax(_AlongDim):
    """``log(softmax(x))`` along ``dim``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)


class Softmin(_AlongDim):
    """``softmax(-x)`` along ``dim``."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim)
