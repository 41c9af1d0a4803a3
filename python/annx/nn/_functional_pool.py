"""Pooling and resizing."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from annx import _core
from annx._core import Tensor
from annx.nn._functional_conv import _batched, _per_dim

if TYPE_CHECKING:
    from collections.abc import Sequence

    Size = int | Sequence[int]

_ops = _core.ops


def _apply(op: str, dims: int, input: Tensor, function: Any, *args: Any) -> Any:
    """function of input as a batch; what it returns loses the batch again if there was none."""
    if _batched(op, input, dims):
        return function(input, *args)
    out = function(_ops.unsqueeze(input, 0), *args)
    if isinstance(out, tuple):
        return tuple([_ops.squeeze(t, 0) for t in out])
    return _ops.squeeze(out, 0)


def _max(
    op: str,
    dims: int,
    input: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    function = _ops.max_pool_with_indices if return_indices else _ops.max_pool
    step = () if stride is None else stride
    return _apply(op, dims, input, function, kernel_size, step, padding, dilation, ceil_mode)


def max_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window of a sequence. See :func:`max_pool2d`.

    Shapes: input ``(N, C, L)`` or ``(C, L)``.
    """
    return _max(
        "max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window of an image.

    Args:
        input: ``(N, C, H, W)`` or ``(C, H, W)``.
        kernel_size: size of the window.
        stride: steps from one window to the next; the kernel size if left out.
        padding: border around the input, at most half the kernel; it is never the largest.
        dilation: steps from one pixel of a window to the next.
        ceil_mode: whether windows may hang over the end.
        return_indices: whether to return also where in ``H * W`` each value came from (int64).

    Raises:
        ValueError: the window does not fit, or the padding is too large.
    """
    return _max(
        "max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool3d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window of a volume. See :func:`max_pool2d`.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
    """
    return _max(
        "max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def _unpool(
    op: str,
    dims: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    output_size: Sequence[int] | None,
) -> Tensor:
    kernel = _per_dim(op, "kernel_size", kernel_size, dims)
    step = kernel if stride is None else _per_dim(op, "stride", stride, dims)
    border = _per_dim(op, "padding", padding, dims)
    batched = _batched(op, input, dims)
    usual = [
        (n - 1) * s - 2 * p + k
        for n, s, p, k in zip(input.shape[-dims:], step, border, kernel, strict=True)
    ]
    if output_size is None:
        size = usual
    else:
        size = [int(n) for n in output_size]
        if len(size) == dims + 2:
            size = size[2:]
        if len(size) != dims:
            raise ValueError(
                f"[{op}] expected output_size of {dims} or {dims + 2} numbers but got {output_size}"
            )
        for i, (n, m, s) in enumerate(zip(size, usual, step, strict=True)):
            if not m - s < n < m + s:
                raise ValueError(
                    f"[{op}] expected output_size[{i}] between {m - s + 1} and {m + s - 1} "
                    f"but got {n}"
                )
    if batched:
        return _ops.max_unpool(input, indices, size)
    out = _ops.max_unpool(_ops.unsqueeze(input, 0), _ops.unsqueeze(indices, 0), size)
    return _ops.squeeze(out, 0)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """What :func:`max_pool1d` took, back in its place. See :func:`max_unpool2d`.

    Shapes: input and indices ``(N, C, L)`` or ``(C, L)``.
    """
    return _unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """What :func:`max_pool2d` took, back in its place; zeros elsewhere.

    Args:
        input: ``(N, C, H, W)`` or ``(C, H, W)``.
        indices: where each value goes, as ``max_pool2d(..., return_indices=True)`` returns it; of
            several values for one place the last stays.
        kernel_size: size of the pooling's window.
        stride: the pooling's; the kernel size if left out.
        padding: the pooling's.
        output_size: size of the pooling's input, with or without ``(N, C)``, where windows left
            some of it over; ``(H - 1) * stride - 2 * padding + kernel_size`` if left out.

    Raises:
        ValueError: output_size is not that of an input which pools to this one.
        IndexError: an index lies outside of the output.
    """
    return _unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """What :func:`max_pool3d` took, back in its place. See :func:`max_unpool2d`.

    Shapes: input and indices ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
    """
    return _unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The average of each window of a sequence. See :func:`avg_pool2d`.

    Shapes: input ``(N, C, L)`` or ``(C, L)``.
    """
    args = (kernel_size, () if stride is None else stride, padding, ceil_mode, count_include_pad)
    out: Tensor = _apply("avg_pool1d", 1, input, _ops.avg_pool, *args)
    return out


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The average of each window of an image.

    Args:
        input: ``(N, C, H, W)`` or ``(C, H, W)``.
        kernel_size: size of the window.
        stride: steps from one window to the next; the kernel size if left out.
        padding: zeros around the input, at most half the kernel.
        ceil_mode: whether windows may hang over the end.
        count_include_pad: whether zeros of the padding count.
        divisor_override: what to divide the sums by instead of the number of pixels.

    Raises:
        ValueError: the window does not fit, or the padding is too large.
    """
    step = () if stride is None else stride
    args = (kernel_size, step, padding, ceil_mode, count_include_pad, divisor_override)
    out: Tensor = _apply("avg_pool2d", 2, input, _ops.avg_pool, *args)
    return out


def avg_pool3d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The average of each window of a volume. See :func:`avg_pool2d`.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
    """
    step = () if stride is None else stride
    args = (kernel_size, step, padding, ceil_mode, count_include_pad, divisor_override)
    out: Tensor = _apply("avg_pool3d", 3, input, _ops.avg_pool, *args)
    return out


def _wanted(op: str, dims: int, input: Tensor, output_size: Any) -> tuple[int, ...]:
    """The output size, None standing for the input's."""
    if output_size is None or isinstance(output_size, int):
        output_size = (output_size,) * dims
    sizes = tuple(output_size)
    if len(sizes) != dims:
        raise ValueError(f"[{op}] expected output_size of {dims} numbers but got {sizes}")
    found = input.shape[-dims:]
    return tuple([f if s is None else s for s, f in zip(sizes, found, strict=True)])


def _adaptive(op: str, dims: int, input: Tensor, output_size: Any, function: Any) -> Any:
    _batched(op, input, dims)
    return _apply(op, dims, input, function, _wanted(op, dims, input, output_size))


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The averages of ``output_size`` windows that share out a sequence.

    Shapes: input ``(N, C, L)`` or ``(C, L)``.
    """
    out: Tensor = _adaptive("adaptive_avg_pool1d", 1, input, output_size, _ops.adaptive_avg_pool)
    return out


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The averages of ``output_size`` windows that share out an image; None keeps a size.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``.
    """
    out: Tensor = _adaptive("adaptive_avg_pool2d", 2, input, output_size, _ops.adaptive_avg_pool)
    return out


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """The averages of ``output_size`` windows that share out a volume; None keeps a size.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
    """
    out: Tensor = _adaptive("adaptive_avg_pool3d", 3, input, output_size, _ops.adaptive_avg_pool)
    return out


def _adaptive_max(op: str, dims: int, input: Tensor, output_size: Any, indices: bool) -> Any:
    function = _ops.adaptive_max_pool_with_indices if indices else _ops.adaptive_max_pool
    return _adaptive(op, dims, input, output_size, function)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest values of ``output_size`` windows that share out a sequence.

    Shapes: input ``(N, C, L)`` or ``(C, L)``.
    """
    return _adaptive_max("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest values of ``output_size`` windows that share out an image; None keeps a size.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``.
    """
    return _adaptive_max("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest values of ``output_size`` windows that share out a volume; None keeps a size.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``.
    """
    return _adaptive_max("adaptive_max_pool3d", 3, input, output_size, return_indices)


def _lp(
    dims: int, input: Tensor, p: float, kernel_size: Size, stride: Size | None, ceil: bool
) -> Tensor:
    average = (avg_pool1d, avg_pool2d)[dims - 1]
    pixels = 1
    for k in _per_dim(f"lp_pool{dims}d", "kernel_size", kernel_size, dims):
        pixels *= k
    mean = average(_ops.pow(input, p), kernel_size, stride, 0, ceil)
    return _ops.pow(_ops.relu(mean) * pixels, 1.0 / p)


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Size,
    stride: Size | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``(sum x^p)^(1/p)`` of each window of a sequence, p being ``norm_type``.

    Shapes: input ``(N, C, L)`` or ``(C, L)``.
    """
    return _lp(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Size,
    stride: Size | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``(sum x^p)^(1/p)`` of each window of an image, p being ``norm_type``.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``.
    """
    return _lp(2, input, norm_type, kernel_size, stride, ceil_mode)


_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """input in another spatial size.

    Args:
        input: ``(N, C, ...)`` with 1 to 3 spatial dimensions.
        size: the new size; one number, or one per dimension.
        scale_factor: or how many times the old one.
        mode: ``"nearest"``, ``"nearest-exact"``, ``"linear"`` (1 dimension), ``"bilinear"`` (2) or
            ``"trilinear"`` (3).
        align_corners: for linear modes, whether the corner pixels of both sizes coincide.

    Raises:
        ValueError: not exactly one of size and scale_factor, or the mode does not fit.
    """
    dims = input.ndim - 2
    if not 1 <= dims <= 3:
        raise ValueError(
            f"[interpolate] expected an input of 3 to 5 dimensions but got {tuple(input.shape)}"
        )
    linear = mode in _LINEAR
    if not linear and mode not in ("nearest", "nearest-exact"):
        raise ValueError(
            "[interpolate] expected mode nearest, nearest-exact, linear, bilinear or trilinear "
            f"but got {mode!r}"
        )
    if linear and _LINEAR[mode] != dims:
        raise ValueError(
            f"[interpolate] expected {_LINEAR[mode]} spatial dimensions for mode {mode!r} "
            f"but got shape {tuple(input.shape)}"
        )
    if not linear and align_corners is not None:
        raise ValueError("[interpolate] expected align_corners with linear modes only")
    if (size is None) == (scale_factor is None):
        raise ValueError("[interpolate] expected either size or scale_factor")
    old = input.shape[2:]
    if size is not None:
        new = _per_dim("interpolate", "size", size, dims)
        steps = [o / n if n else 0.0 for o, n in zip(old, new, strict=True)]
    else:
        factors = (
            (scale_factor,) * dims
            if isinstance(scale_factor, (int, float))
            else tuple(scale_factor)
        )
        if len(factors) != dims:
            raise ValueError(
                f"[interpolate] expected 1 or {dims} numbers for scale_factor but got {factors}"
            )
        if not all(0 < factor < 2**40 for factor in factors):
            raise ValueError(
                f"[interpolate] expected scale_factor > 0 and below 2**40 but got {factors}"
            )
        new = tuple([int(o * f) for o, f in zip(old, factors, strict=True)])
        steps = [1.0 / f for f in factors]
    if min(new) < 1:
        raise ValueError(f"[interpolate] expected a size of at least 1 but got {new}")
    if prod([*input.shape[:2], *new]) >= 2**40:
        raise ValueError(f"[interpolate] expected an output below 2**40 elements but got {new}")
    return _ops.resize(input, new, "linear" if linear else mode, bool(align_corners), *steps)
