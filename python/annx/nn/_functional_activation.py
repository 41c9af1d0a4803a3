"""Activation functions. All act elementwise and keep the shape unless they say otherwise.

``inplace`` is taken for PyTorch's sake: results are the same, and no Tensor is overwritten.
"""

from __future__ import annotations

from annx import _core
from annx._core import Tensor

_ops = _core.ops


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(0, x)``; the gradient at 0 is 0. Source: guide, "ReLU"."""
    return _ops.relu(input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(0, x), 6)``. Source: Howard et al., MobileNets, 2017."""
    return _ops.relu6(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``x`` where ``x > 0``, else ``negative_slope * x``. Source: guide, "Leaky ReLU"."""
    return _ops.leaky_relu(input, negative_slope)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``x`` where ``x > 0``, else ``weight * x``.

    ``weight`` has one element, or one per channel (dimension 1 of ``input``).

    Raises:
        ValueError: ``weight`` has another shape.

    Source: He et al., 2015; guide, "PReLU".
    """
    return _ops.prelu(input, weight)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` where ``x > 0``, else ``alpha * (exp(x) - 1)``. Source: guide, "ELU"."""
    return _ops.elu(input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """``scale * elu(x, alpha)`` with the self-normalising constants.

    Source: Klambauer et al., 2017; guide, "SELU".
    """
    return _ops.selu(input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``max(0, x) + min(0, alpha * (exp(x / alpha) - 1))``. Source: Barron, 2017."""
    return _ops.celu(input, alpha)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * sigmoid(x)``, also called swish. Source: guide, "Swish"."""
    return _ops.silu(input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``x * Phi(x)`` with the normal distribution function Phi.

    ``approximate="tanh"`` takes ``0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`` instead.

    Raises:
        ValueError: ``approximate`` is neither ``"none"`` nor ``"tanh"``.

    Source: Hendrycks and Gimpel, 2016.
    """
    return _ops.gelu(input, approximate)


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``. Source: guide, "Sigmoid"."""
    return _ops.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent. Source: guide, "Tanh (Hyperbolic Tangent)"."""
    return _ops.tanh(input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * x)) / beta``; linear where ``beta * x > threshold``."""
    return _ops.softplus(input, beta, threshold)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * tanh(softplus(x))``. Source: Misra, 2019."""
    return _ops.mish(input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * relu6(x + 3) / 6``. Source: Howard et al., MobileNetV3, 2019."""
    return _ops.hardswish(input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``relu6(x + 3) / 6``. Source: Howard et al., MobileNetV3, 2019."""
    return _ops.hardsigmoid(input)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """``x`` limited to ``[min_val, max_val]``.

    Raises:
        ValueError: ``min_val > max_val``.
    """
    if min_val > max_val:
        raise ValueError(f"[hardtanh] expected min_val <= max_val but got {min_val} > {max_val}")
    return _ops.hardtanh(input, min_val, max_val)


def logsigmoid(input: Tensor) -> Tensor:
    """``log(sigmoid(x))`` without overflow."""
    return _ops.log_sigmoid(input)


def softsign(input: Tensor) -> Tensor:
    """``x / (1 + |x|)``."""
    return _ops.softsign(input)


def tanhshrink(input: Tensor) -> Tensor:
    """``x - tanh(x)``."""
    return input - _ops.tanh(input)


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """``x`` where ``x >= 0``, else ``a * x``: ``a`` is drawn from ``[lower, upper]`` for each
    element in training, and their mean otherwise.

    Raises:
        ValueError: ``lower > upper``.

    Source: Xu et al., 2015.
    """
    if lower > upper:
        raise ValueError(f"[rrelu] expected lower <= upper but got {lower} > {upper}")
    if not training:
        return _ops.leaky_relu(input, (lower + upper) / 2)
    slope = _ops.rand(input.shape, dtype=input.dtype) * (upper - lower) + lower
    return _ops.where(input >= 0, input, input * slope)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``x`` where ``|x| > lambd``, else 0."""
    return _ops.hardshrink(input, lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``x`` moved towards 0 by ``lambd``, and 0 where ``|x| <= lambd``.

    Raises:
        ValueError: ``lambd`` is negative.
    """
    if not lambd >= 0.0:
        raise ValueError(f"[softshrink] expected lambd >= 0 but got {lambd}")
    return _ops.softshrink(input, lambd)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``x`` where ``x > threshold``, else ``value``."""
    return _ops.where(input > threshold, input, value)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """``a * sigmoid(b)`` where ``a`` and ``b`` are the halves of ``input`` along ``dim``.

    Raises:
        ValueError: the size along ``dim`` is odd.

    Source: Dauphin et al., 2017.
    """
    size = input.shape[dim]
    if size % 2 != 0:
        raise ValueError(f"[glu] expected an even size along dimension {dim} but got {size}")
    a, b = _ops.chunk(input, 2, dim)
    return a * _ops.sigmoid(b)


def _axis(op: str, input: Tensor, dim: int | None) -> int:
    # Without dim, only one and two dimensions leave no doubt which axis is meant.
    if dim is not None:
        return dim
    if input.ndim > 2:
        raise ValueError(
            f"[{op}] expected dim for an input of {input.ndim} dimensions but got None"
        )
    return -1


def softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """``exp(x_i) / sum_j exp(x_j)`` along ``dim``, without overflow.

    ``dim`` may be left out for inputs of at most two dimensions: it is the last one.

    Raises:
        ValueError: ``dim`` is missing for an input of more dimensions.
        IndexError: there is no such dimension.

    Source: guide, "Softmax".
    """
    return _ops.softmax(input, _axis("softmax", input, dim))


def log_softmax(input: Tensor, dim: int | None = None) -> Tensor:
    """``log(softmax(x))`` along ``dim``, without loss of digits. ``dim`` as for :func:`softmax`."""
    return _ops.log_softmax(input, _axis("log_softmax", input, dim))


def softmin(input: Tensor, dim: int | None = None) -> Tensor:
    """``softmax(-x)`` along ``dim``. ``dim`` as for :func:`softmax`."""
    return _ops.softmax(-input, _axis("softmin", input, dim))
