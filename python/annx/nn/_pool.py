"""Pooling, padding and resizing layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx.nn import _functional_conv, _functional_pool
from annx.nn._module import Module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annx._core import Tensor

    Size = int | Sequence[int]


class _MaxPool(Module):
    _dims = 0

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        return _functional_pool._max(
            type(self).__name__,
            self._dims,
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest value of each window of a sequence. Arguments as in :class:`MaxPool2d`.

    Shapes: input ``(N, C, L)`` or without N.
    """

    _dims = 1


class MaxPool2d(_MaxPool):
    """The largest value of each window of an image.

    Args:
        kernel_size: size of the window.
        stride: steps from one window to the next; the kernel size if left out.
        padding: border around the input, at most half the kernel; it is never the largest.
        dilation: steps from one pixel of a window to the next.
        return_indices: whether to return also where in ``H * W`` each value came from.
        ceil_mode: whether windows may hang over the end.

    Shapes: input ``(N, C, H, W)`` or without N.

    Raises:
        ValueError: in forward: the window does not fit, or the padding is too large.

    Source: guide, "Pooling".
    """

    _dims = 2


class MaxPool3d(_MaxPool):
    """The largest value of each window of a volume. Arguments as in :class:`MaxPool2d`.

    Shapes: input ``(N, C, D, H, W)`` or without N.
    """

    _dims = 3


class _MaxUnpool(Module):
    _dims = 0

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = _functional_conv._per_dim(name, "kernel_size", kernel_size, self._dims)
        self.stride = _functional_conv._per_dim(
            name, "stride", kernel_size if stride is None else stride, self._dims
        )
        self.padding = _functional_conv._per_dim(name, "padding", padding, self._dims)

    def forward(
        self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        return _functional_pool._unpool(
            type(self).__name__,
            self._dims,
            input,
            indices,
            self.kernel_size,
            self.stride,
            self.padding,
            output_size,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """What :class:`MaxPool1d` took, back in its place. Arguments as in :class:`MaxUnpool2d`.

    Shapes: input and indices ``(N, C, L)`` or without N.
    """

    _dims = 1


class MaxUnpool2d(_MaxUnpool):
    """What :class:`MaxPool2d` took, back in its place; zeros elsewhere.

    Args:
        kernel_size: size of the pooling's window.
        stride: the pooling's; the kernel size if left out.
        padding: the pooling's.

    Called with the pooling's two results and, where windows left some of its input over, the size
    of that input, with or without ``(N, C)``.

    Shapes: input and indices ``(N, C, H, W)`` or without N, output
    ``(N, C, *((H, W) - 1) * stride - 2 * padding + kernel_size)``.

    Raises:
        ValueError: in forward: output_size is not that of an input which pools to this one.
        IndexError: in forward: an index lies outside of the output.
    """

    _dims = 2


class MaxUnpool3d(_MaxUnpool):
    """What :class:`MaxPool3d` took, back in its place. Arguments as in :class:`MaxUnpool2d`.

    Shapes: input and indices ``(N, C, D, H, W)`` or without N.
    """

    _dims = 3


class AvgPool1d(Module):
    """The average of each window of a sequence. Arguments as in :class:`AvgPool2d`.

    Shapes: input ``(N, C, L)`` or without N.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        per_dim = _functional_conv._per_dim
        self.kernel_size = per_dim("AvgPool1d", "kernel_size", kernel_size, 1)
        step = kernel_size if stride is None else stride
        self.stride = per_dim("AvgPool1d", "stride", step, 1)
        self.padding = per_dim("AvgPool1d", "padding", padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return _functional_pool.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    _function: Any = None

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = type(self)._function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )
        return out

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The average of each window of an image.

    Args:
        kernel_size: size of the window.
        stride: steps from one window to the next; the kernel size if left out.
        padding: zeros around the input, at most half the kernel.
        ceil_mode: whether windows may hang over the end.
        count_include_pad: whether zeros of the padding count.
        divisor_override: what to divide the sums by instead of the number of pixels.

    Shapes: input ``(N, C, H, W)`` or without N.

    Raises:
        ValueError: in forward: the window does not fit, or the padding is too large.
    """

    _function = _functional_pool.avg_pool2d


class AvgPool3d(_AvgPool):
    """The average of each window of a volume. Arguments as in :class:`AvgPool2d`.

    Shapes: input ``(N, C, D, H, W)`` or without N.
    """

    _function = _functional_pool.avg_pool3d


class _Adaptive(Module):
    _function: Any = None

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Any:
        return type(self)._function(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveMax(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return type(self)._function(input, self.output_size, self.return_indices)


class AdaptiveAvgPool1d(_Adaptive):
    """The averages of ``output_size`` windows that share out a sequence.

    Shapes: input ``(N, C, L)`` or without N, output ``(N, C, output_size)``.
    """

    _function = _functional_pool.adaptive_avg_pool1d


class AdaptiveAvgPool2d(_Adaptive):
    """The averages of ``output_size`` windows that share out an image.

    Args:
        output_size: one number or two; None keeps the input's size.

    Shapes: input ``(N, C, H, W)`` or without N, output ``(N, C, *output_size)``.
    """

    _function = _functional_pool.adaptive_avg_pool2d


class AdaptiveAvgPool3d(_Adaptive):
    """The averages of ``output_size`` windows that share out a volume.

    Shapes: input ``(N, C, D, H, W)`` or without N, output ``(N, C, *output_size)``.
    """

    _function = _functional_pool.adaptive_avg_pool3d


class AdaptiveMaxPool1d(_AdaptiveMax):
    """The largest values of ``output_size`` windows that share out a sequence.

    Shapes: input ``(N, C, L)`` or without N, output ``(N, C, output_size)``.
    """

    _function = _functional_pool.adaptive_max_pool1d


class AdaptiveMaxPool2d(_AdaptiveMax):
    """The largest values of ``output_size`` windows that share out an image.

    Args:
        output_size: one number or two; None keeps the input's size.
        return_indices: whether to return also where in ``H * W`` each value came from.

    Shapes: input ``(N, C, H, W)`` or without N, output ``(N, C, *output_size)``.
    """

    _function = _functional_pool.adaptive_max_pool2d


class AdaptiveMaxPool3d(_AdaptiveMax):
    """The largest values of ``output_size`` windows that share out a volume.

    Shapes: input ``(N, C, D, H, W)`` or without N, output ``(N, C, *output_size)``.
    """

    _function = _functional_pool.adaptive_max_pool3d


class ZeroPad2d(Module):
    """Zeros around an image.

    Args:
        padding: one number for all sides, or (left, right, top, bottom).

    Shapes: input ``(*, H, W)``.
    """

    def __init__(self, padding: Size) -> None:
        super().__init__()
        self.padding = _functional_conv._per_dim("ZeroPad2d", "padding", padding, 4)

    def forward(self, input: Tensor) -> Tensor:
        return _functional_conv.pad(input, self.padding)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class Upsample(Module):
    """Its input in another spatial size.

    Args:
        size: the new size; one number, or one per dimension.
        scale_factor: or how many times the old one.
        mode: as of :func:`annx.nn.functional.interpolate`.
        align_corners: for linear modes, whether the corner pixels of both sizes coincide.

    Shapes: input ``(N, C, ...)``.
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        if isinstance(scale_factor, (list, tuple)):
            scale_factor = tuple([float(f) for f in scale_factor])
        self.scale_factor = float(scale_factor) if isinstance(scale_factor, int) else scale_factor
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, input: Tensor) -> Tensor:
        return _functional_pool.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners
        )

    def extra_repr(self) -> str:
        size = (
            f"size={self.size}"
            if self.scale_factor is None
            else f"scale_factor={self.scale_factor}"
        )
        return f"{size}, mode={self.mode!r}"
