"""Normalisation of each sample by itself: layers, groups of channels, root mean squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx import _core
from annx.nn import init
from annx.nn._linear import _check_size, _empty
from annx.nn._module import Module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annx._core import Tensor
    from annx.nn.parameter import Parameter

_layer_norm = _core.ops.layer_norm
_group_norm = _core.ops.group_norm
_rms_norm = _core.ops.rms_norm


def _sizes(name: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    sizes = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    for size in sizes:
        _check_size(name, "normalized_shape", size)
    return sizes


class LayerNorm(Module):
    """Normalises each sample over its last dimensions:
    ``(x - mean) / sqrt(var + eps) * weight + bias``, var the biased variance.

    Args:
        normalized_shape: the sizes of those dimensions; a number stands for one.
        eps: added to the variance.
        elementwise_affine: whether there are ``weight`` (ones at first) and ``bias`` (zeros).
        bias: whether there is a ``bias`` if ``elementwise_affine``.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: input and output ``(*, *normalized_shape)``; parameters ``normalized_shape``.

    Raises:
        ValueError: in forward: the last dimensions are not ``normalized_shape``.

    Source: Ba et al., 2016.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = _sizes("LayerNorm", normalized_shape)
        has_bias = elementwise_affine and bias
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter(
            "weight", _empty(shape, device, dtype) if elementwise_affine else None
        )
        self.register_parameter("bias", _empty(shape, device, dtype) if has_bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets weight to ones and bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return _layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """Normalises each sample over groups of its channels:
    ``(x - mean) / sqrt(var + eps) * weight + bias``, var the biased variance.

    Args:
        num_groups: how many groups; it divides ``num_channels``.
        num_channels: the number of channels C.
        eps: added to the variance.
        affine: whether there are ``weight`` (ones at first) and ``bias`` (zeros), per channel.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.
        bias: whether there is a ``bias`` if ``affine``.

    Shapes: input and output ``(N, C, *)``, in the memory layout of the input; parameters ``(C,)``.

    Raises:
        ValueError: ``num_channels`` is not divisible by ``num_groups``, or in forward: the input
            has other channels, or one value per group.

    Source: Wu and He, 2018.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check_size("GroupNorm", "num_groups", num_groups)
        _check_size("GroupNorm", "num_channels", num_channels)
        if num_groups == 0 or num_channels % num_groups != 0:
            raise ValueError(
                "[GroupNorm] expected num_channels divisible by num_groups but got "
                f"{num_channels} and {num_groups}"
            )
        shape = (num_channels,)
        has_bias = affine and bias
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self.register_parameter("weight", _empty(shape, device, dtype) if affine else None)
        self.register_parameter("bias", _empty(shape, device, dtype) if has_bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets weight to ones and bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return _group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Divides each sample by the root mean square of its last dimensions:
    ``x / sqrt(mean(x**2) + eps) * weight``.

    Args:
        normalized_shape: the sizes of those dimensions; a number stands for one.
        eps: added to the mean; if left out the machine epsilon of the input's dtype (of float32
            for float16 and bfloat16).
        elementwise_affine: whether there is a ``weight`` (ones at first).
        device: where the parameter lives.
        dtype: its floating-point type, float32 if left out.

    Shapes: input and output ``(*, *normalized_shape)``; weight ``normalized_shape``.

    Raises:
        ValueError: in forward: the last dimensions are not ``normalized_shape``.

    Source: Zhang and Sennrich, 2019.
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        shape = _sizes("RMSNorm", normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter(
            "weight", _empty(shape, device, dtype) if elementwise_affine else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets weight to ones."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return _rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )
