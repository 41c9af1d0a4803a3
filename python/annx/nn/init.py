"""Filling tensors with initial values, in place, without recording gradients.

``fan_in`` and ``fan_out`` of a weight ``(out, in, *kernel)`` are ``in`` and ``out`` times the size
of the kernel. Every function returns the tensor it filled. Values depend on the seed alone.

Source: PyTorch ``torch.nn.init``; guide, "The Training Process", step 1.
"""

from __future__ import annotations

from math import erf, inf, pi, prod, sqrt

import numpy as np

from annx import _core, _creation
from annx._core import Tensor
from annx.nn._orthogonal import orthonormal_rows

_ops = _core.ops

# Standard deviation of a standard normal distribution cut off at -2 and 2.
_STD_CUT_AT_2 = 0.87962566103423978


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Returns the factor by which weights make up for a nonlinearity.

    1 for linear, convolutions and sigmoid, 5/3 for tanh, sqrt(2) for relu,
    sqrt(2 / (1 + slope^2)) for leaky_relu (``param`` is the slope, 0.01 if left out), 3/4 for selu.

    Raises:
        ValueError: the nonlinearity is not one of these.
    """
    if nonlinearity == "tanh":
        return 5.0 / 3.0
    if nonlinearity == "relu":
        return sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return sqrt(2.0 / (1.0 + slope * slope))
    if nonlinearity == "selu":
        return 0.75
    linear = nonlinearity in ("linear", "sigmoid")
    if linear or (nonlinearity.startswith("conv") and nonlinearity[-2:] in ("1d", "2d", "3d")):
        return 1.0
    raise ValueError(
        "[calculate_gain] expected linear, conv*, sigmoid, tanh, relu, leaky_relu or selu "
        f"but got {nonlinearity!r}"
    )


def _fans(op: str, tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ValueError(f"[{op}] expected a tensor of at least 2 dimensions but got {tensor.ndim}")
    shape = tensor.shape
    kernel = prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _check_floating(op: str, tensor: Tensor) -> None:
    if not tensor.dtype.is_floating_point:
        raise TypeError(f"[{op}] expected a floating-point tensor but got {tensor.dtype}")


def _fill(op: str, tensor: Tensor, values: Tensor) -> Tensor:
    _check_floating(op, tensor)
    tensor.detach().copy_(values)
    return tensor


def _random_dtype(tensor: Tensor) -> _core.dtype:
    return _core.float64 if tensor.dtype == _core.float64 else _core.float32


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fills with values from U(a, b)."""
    values = _creation.rand(tuple(tensor.shape), dtype=_random_dtype(tensor))
    return _fill("uniform_", tensor, values * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fills with values from N(mean, std^2)."""
    values = _creation.randn(tuple(tensor.shape), dtype=_random_dtype(tensor))
    return _fill("normal_", tensor, values * std + mean)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fills with ``val``."""
    tensor.detach().fill_(val)
    return tensor


def ones_(tensor: Tensor) -> Tensor:
    """Fills with 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fills with 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Fills a matrix with ones on the diagonal and zeros elsewhere.

    Raises:
        ValueError: the tensor does not have 2 dimensions.
    """
    if tensor.ndim != 2:
        raise ValueError(f"[eye_] expected a tensor of 2 dimensions but got {tensor.ndim}")
    return _fill("eye_", tensor, _creation.as_tensor(np.eye(tensor.shape[0], tensor.shape[1])))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fills a convolution weight so that it passes its input channels through, per group.

    Raises:
        ValueError: the tensor has not 3 to 5 dimensions, or ``groups`` does not divide the first.
    """
    if not 3 <= tensor.ndim <= 5:
        raise ValueError(f"[dirac_] expected a tensor of 3 to 5 dimensions but got {tensor.ndim}")
    out, channels = tensor.shape[0], tensor.shape[1]
    if out % groups != 0:
        raise ValueError(f"[dirac_] expected groups to divide {out} but got {groups}")
    values = np.zeros(tuple(tensor.shape))
    middle = tuple([size // 2 for size in tensor.shape[2:]])
    for group in range(groups):
        for d in range(min(out // groups, channels)):
            values[(group * (out // groups) + d, d, *middle)] = 1.0
    return _fill("dirac_", tensor, _creation.as_tensor(values))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fills from U(-a, a), ``a = gain * sqrt(6 / (fan_in + fan_out))``.

    Raises:
        ValueError: the tensor has less than 2 dimensions.

    Source: Glorot and Bengio, 2010.
    """
    fan_in, fan_out = _fans("xavier_uniform_", tensor)
    bound = gain * sqrt(6.0 / max(1, fan_in + fan_out))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fills from N(0, std^2), ``std = gain * sqrt(2 / (fan_in + fan_out))``.

    Raises:
        ValueError: the tensor has less than 2 dimensions.

    Source: Glorot and Bengio, 2010.
    """
    fan_in, fan_out = _fans("xavier_normal_", tensor)
    return normal_(tensor, 0.0, gain * sqrt(2.0 / max(1, fan_in + fan_out)))


def _kaiming_std(op: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"[{op}] expected mode 'fan_in' or 'fan_out' but got {mode!r}")
    fan = _fans(op, tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / sqrt(max(1, fan))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Fills from U(-bound, bound), ``bound = gain * sqrt(3 / fan)``.

    Args:
        tensor: what to fill.
        a: the negative slope, for ``"leaky_relu"``.
        mode: ``"fan_in"`` keeps the variance in the forward pass, ``"fan_out"`` in the backward.
        nonlinearity: the gain is ``calculate_gain(nonlinearity, a)``.

    Raises:
        ValueError: the tensor has less than 2 dimensions, or mode or nonlinearity is unknown.

    Source: He et al., 2015.
    """
    std = _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -sqrt(3.0) * std, sqrt(3.0) * std)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Fills from N(0, std^2), ``std = gain / sqrt(fan)``. Arguments: :func:`kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))


def lecun_uniform_(tensor: Tensor) -> Tensor:
    """Fills from U(-a, a), ``a = sqrt(3 / fan_in)``.

    Raises:
        ValueError: the tensor has less than 2 dimensions.

    Source: LeCun et al., Efficient BackProp, 1998.
    """
    bound = sqrt(3.0 / max(1, _fans("lecun_uniform_", tensor)[0]))
    return uniform_(tensor, -bound, bound)


def lecun_normal_(tensor: Tensor) -> Tensor:
    """Fills from a normal distribution of variance ``1 / fan_in``, cut off at two deviations.

    The initialisation that SELU wants. As in Keras and JAX, the deviation before the cut is
    larger, so that the variance is right after it.

    Raises:
        ValueError: the tensor has less than 2 dimensions.

    Source: LeCun et al., Efficient BackProp, 1998; Klambauer et al., 2017.
    """
    std = sqrt(1.0 / max(1, _fans("lecun_normal_", tensor)[0])) / _STD_CUT_AT_2
    return trunc_normal_(tensor, 0.0, std, -2.0 * std, 2.0 * std)


def _erfinv(y: Tensor) -> Tensor:
    """The inverse of erf in float64: Winitzki's formula, 2e-3 off, then four Newton steps."""
    c = 2.0 / (pi * 0.147)
    logs = _ops.log((1.0 - y) * (1.0 + y))
    half = c + 0.5 * logs
    x = _ops.sign(y) * _ops.sqrt(_ops.sqrt(half * half - logs / 0.147) - half)
    for _ in range(4):
        x = x - (_ops.erf(x) - y) * (0.5 * sqrt(pi)) * _ops.exp(x * x)
    return x


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Fills from N(mean, std^2) with everything outside of ``[a, b]`` left out.

    Raises:
        ValueError: ``a >= b``, ``std <= 0``, or ``[a, b]`` lies more than 5 deviations off.
    """
    if not (a < b and std > 0.0):
        raise ValueError(
            f"[trunc_normal_] expected a < b and std > 0 but got a={a}, b={b}, std={std}"
        )
    if (a - mean) / std > 5.0 or (b - mean) / std < -5.0:
        raise ValueError(
            "[trunc_normal_] expected [a, b] within 5 deviations of the mean "
            f"but got a={a}, b={b}, mean={mean}, std={std}"
        )
    low, high = (erf((limit - mean) / (std * sqrt(2.0))) for limit in (a, b))
    levels = _creation.rand(tuple(tensor.shape), dtype=_core.float64) * (high - low) + low
    # erfinv(-1) and erfinv(1) are infinite: the outermost levels stand in for them.
    edge = 1.0 - 1e-13
    values = _erfinv(levels.clamp(min=-edge, max=edge)) * (std * sqrt(2.0)) + mean
    low_limit = None if a == -inf else a
    high_limit = None if b == inf else b
    if low_limit is not None or high_limit is not None:
        values = values.clamp(min=low_limit, max=high_limit)
    return _fill("trunc_normal_", tensor, values)


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fills with ``gain`` times a random matrix of orthonormal rows or, if fewer, columns.

    Dimensions after the first count as one. Matrices are uniform over all such matrices.

    Raises:
        ValueError: the tensor has less than 2 dimensions.

    Source: Saxe et al., 2013.
    """
    if tensor.ndim < 2:
        raise ValueError(
            f"[orthogonal_] expected a tensor of at least 2 dimensions but got {tensor.ndim}"
        )
    rows = tensor.shape[0]
    columns = prod(tensor.shape[1:])
    if rows == 0 or columns == 0:
        return tensor
    normal = _creation.randn((min(rows, columns), max(rows, columns)), dtype=_core.float64)
    basis = orthonormal_rows(normal)
    if rows > columns:
        basis = basis.transpose(0, 1)
    return _fill("orthogonal_", tensor, (basis * gain).reshape(tuple(tensor.shape)))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """Fills a matrix from N(0, std^2), with the fraction ``sparsity`` of each column set to 0.

    Raises:
        ValueError: the tensor does not have 2 dimensions, or ``sparsity`` is not in [0, 1].

    Source: Martens, 2010.
    """
    if tensor.ndim != 2:
        raise ValueError(f"[sparse_] expected a tensor of 2 dimensions but got {tensor.ndim}")
    if not 0.0 <= sparsity <= 1.0:
        raise ValueError(f"[sparse_] expected sparsity between 0 and 1 but got {sparsity}")
    rows, columns = tensor.shape
    zeros = -int(-(sparsity * rows) // 1)
    kept = np.ones((rows, columns), dtype=np.float32)
    for column in range(columns):
        kept[_creation.randperm(rows).numpy()[:zeros], column] = 0.0
    normal_(tensor, 0.0, std)
    return _fill("sparse_", tensor, tensor.detach() * _creation.as_tensor(kept))
