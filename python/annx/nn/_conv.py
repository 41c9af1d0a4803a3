"""Convolution layers."""

from __future__ import annotations

from math import prod, sqrt
from typing import TYPE_CHECKING, Any

from annx._core import Tensor
from annx.nn import _functional_conv as F
from annx.nn import init
from annx.nn._linear import _check_size, _empty
from annx.nn._module import Module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annx.nn.parameter import Parameter

    Size = int | Sequence[int]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    weight: Parameter
    bias: Parameter | None
    padding: Any
    _dims = 0
    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Any,
        output_padding: Size,
        dilation: Size,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        name, dims = type(self).__name__, self._dims
        _check_size(name, "in_channels", in_channels)
        _check_size(name, "out_channels", out_channels)
        _check_size(name, "groups", groups)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"[{name}] expected groups to divide in_channels and out_channels "
                f"but got {groups}, {in_channels} and {out_channels}"
            )
        modes = ("zeros",) if self._transposed else _PADDING_MODES
        if padding_mode not in modes:
            raise ValueError(
                f"[{name}] expected padding_mode to be one of {modes} but got {padding_mode!r}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = F._per_dim(name, "kernel_size", kernel_size, dims)
        self.stride = F._per_dim(name, "stride", stride, dims)
        self.dilation = F._per_dim(name, "dilation", dilation, dims)
        self.transposed = self._transposed
        self.output_padding = F._per_dim(name, "output_padding", output_padding, dims)
        self.groups = groups
        self.padding_mode = padding_mode
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"[{name}] expected padding 'same' or 'valid' but got {padding!r}")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError(
                    f"[{name}] expected stride 1 for padding='same' but got {self.stride}"
                )
            self.padding = padding
        else:
            self.padding = F._per_dim(name, "padding", padding, dims)
        channels = (
            (in_channels, out_channels // groups)
            if self._transposed
            else (out_channels, in_channels // groups)
        )
        self.weight = _empty((*channels, *self.kernel_size), device, dtype)
        if bias:
            self.bias = _empty((out_channels,), device, dtype)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weight and bias anew from U(-1/sqrt(fan), 1/sqrt(fan))."""
        init.kaiming_uniform_(self.weight, a=sqrt(5))
        fan = prod(self.weight.shape[1:])
        if self.bias is not None and fan > 0:
            bound = 1.0 / sqrt(fan)
            init.uniform_(self.bias, -bound, bound)

    def _border(self) -> list[int]:
        """The padding as (left, right) pairs, from the last dimension backwards."""
        pairs: list[int] = []
        for i in reversed(range(self._dims)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                pairs += (total // 2, total - total // 2)
            else:
                pairs += (0, 0) if self.padding == "valid" else (self.padding[i],) * 2
        return pairs

    def extra_repr(self) -> str:
        nothing, ones = (0,) * self._dims, (1,) * self._dims
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        ]
        if self.padding != nothing:
            parts.append(f"padding={self.padding}")
        if self.dilation != ones:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != nothing:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Conv(_ConvNd):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Any = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            0,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input: Tensor) -> Tensor:
        x, padding = input, self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._border(), self.padding_mode), 0
        return F._convolve(
            type(self).__name__,
            self._dims,
            x,
            self.weight,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
        )


class Conv1d(_Conv):
    """Convolution of sequences. Arguments as in :class:`Conv2d`.

    Shapes: input ``(N, in_channels, L)`` or without N, output ``(N, out_channels, L')``, weight
    ``(out_channels, in_channels / groups, kernel_size)``, bias ``(out_channels,)``.
    """

    _dims = 1


class Conv2d(_Conv):
    """Convolution of images: each output is a weighted sum of a patch of the input.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: size of the patch; one number, or one per dimension.
        stride: steps from one output to the next.
        padding: border added to the input; numbers, ``"same"`` or ``"valid"``.
        dilation: steps from one weight to the next.
        groups: each of so many groups of channels is convolved by itself.
        bias: whether there is a bias.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: input ``(N, in_channels, H, W)`` or without N, output ``(N, out_channels, H', W')``,
    weight ``(out_channels, in_channels / groups, R, S)``, bias ``(out_channels,)``. Both are drawn
    from U(-1/sqrt(fan), 1/sqrt(fan)) with fan the number of weights of one output.

    Raises:
        ValueError: groups do not divide the channels, a size is wrong; in forward: shapes do not
            fit.

    Source: LeCun et al., 1989; guide, "Convolutional Neural Networks".
    """

    _dims = 2


class Conv3d(_Conv):
    """Convolution of volumes. Arguments as in :class:`Conv2d`.

    Shapes: input ``(N, in_channels, D, H, W)`` or without N, output ``(N, out_channels, D', H',
    W')``, weight ``(out_channels, in_channels / groups, Q, R, S)``, bias ``(out_channels,)``.
    """

    _dims = 3


class _ConvTranspose(_ConvNd):
    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _extra(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The output padding that makes an output of this size."""
        if output_size is None:
            return self.output_padding
        name, dims = type(self).__name__, self._dims
        if len(output_size) not in (dims, input.ndim):
            raise ValueError(
                f"[{name}] expected output_size of {dims} or {input.ndim} numbers "
                f"but got {tuple(output_size)}"
            )
        extra = []
        for i, wanted in enumerate(output_size[-dims:]):
            span = self.dilation[i] * (self.kernel_size[i] - 1) + 1
            least = (input.shape[i - dims] - 1) * self.stride[i] - 2 * self.padding[i] + span
            most = least + self.stride[i] - 1
            if not least <= wanted <= most:
                raise ValueError(
                    f"[{name}] expected output_size[{i}] between {least} and {most} "
                    f"but got {wanted}"
                )
            extra.append(wanted - least)
        return tuple(extra)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F._transposed(
            type(self).__name__,
            self._dims,
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self._extra(input, output_size),
            self.groups,
            self.dilation,
        )


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of sequences. Arguments as in :class:`ConvTranspose2d`.

    Shapes: input ``(N, in_channels, L)`` or without N, output ``(N, out_channels, L')``, weight
    ``(in_channels, out_channels / groups, kernel_size)``.
    """

    _dims = 1


class ConvTranspose2d(_ConvTranspose):
    """The gradient of :class:`Conv2d` in its input, as a layer that enlarges images.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: size of the patch that one input adds to.
        stride: steps from one patch to the next.
        padding: border cut off the output.
        output_padding: rows and columns added at the end of the output.
        groups: each of so many groups of channels is convolved by itself.
        bias: whether there is a bias.
        dilation: steps from one weight to the next.
        padding_mode: ``"zeros"``.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: input ``(N, in_channels, H, W)`` or without N, output ``(N, out_channels, H', W')``,
    weight ``(in_channels, out_channels / groups, R, S)``, bias ``(out_channels,)``.

    Raises:
        ValueError: groups do not divide the channels, a size is wrong; in forward: shapes or
            ``output_size`` do not fit.
    """

    _dims = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of volumes. Arguments as in :class:`ConvTranspose2d`.

    Shapes: input ``(N, in_channels, D, H, W)`` or without N, output ``(N, out_channels, D', H',
    W')``, weight ``(in_channels, out_channels / groups, Q, R, S)``.
    """

    _dims = 3
