"""Convolutions, padding, and the patches convolutions see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx import _core
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    Size = int | Sequence[int]

_ops = _core.ops


def _per_dim(op: str, name: str, value: Any, dims: int) -> tuple[int, ...]:
    """One number per spatial dimension."""
    if isinstance(value, int):
        return (value,) * dims
    values = tuple(value)
    if len(values) == 1:
        return values * dims
    if len(values) != dims:
        raise ValueError(f"[{op}] expected {name} to be 1 or {dims} numbers but got {values}")
    return values


def _batched(op: str, input: Tensor, dims: int) -> bool:
    if input.ndim not in (dims + 1, dims + 2):
        raise ValueError(
            f"[{op}] expected an input of {dims + 2} dimensions, or {dims + 1} without a batch, "
            f"but got shape {tuple(input.shape)}"
        )
    return input.ndim == dims + 2


def _convolve(
    op: str,
    dims: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Any,
    dilation: Size,
    groups: int,
) -> Tensor:
    batched = _batched(op, input, dims)
    x = input if batched else _ops.unsqueeze(input, 0)
    if isinstance(padding, str):
        x, padding = _named_padding(op, dims, x, weight, stride, padding, dilation)
    y = _ops.convolution(x, weight, bias, stride, padding, dilation, False, 0, groups)
    return y if batched else _ops.squeeze(y, 0)


def _named_padding(
    op: str, dims: int, x: Tensor, weight: Tensor, stride: Size, padding: str, dilation: Size
) -> tuple[Tensor, Any]:
    if padding == "valid":
        return x, 0
    if padding != "same":
        raise ValueError(f"[{op}] expected padding 'same' or 'valid' but got {padding!r}")
    if any(s != 1 for s in _per_dim(op, "stride", stride, dims)):
        raise ValueError(f"[{op}] expected stride 1 for padding='same' but got {stride}")
    spread = _per_dim(op, "dilation", dilation, dims)
    total = [d * (k - 1) for d, k in zip(spread, weight.shape[2:], strict=True)]
    # Where the padding cannot be shared out evenly, the right end gets one more.
    if any(t % 2 for t in total):
        x = _ops.pad(x, [n for t in reversed(total) for n in (0, t % 2)])
    return x, tuple([t // 2 for t in total])


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Any = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of sequences. See :func:`conv2d`.

    Shapes: input ``(N, C, L)`` or ``(C, L)``, weight ``(K, C / groups, R)``, bias ``(K,)``.

    Raises:
        ValueError: the shapes do not fit.
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Any = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of images.

    Args:
        input: ``(N, C, H, W)`` or ``(C, H, W)``.
        weight: ``(K, C / groups, R, S)``.
        bias: ``(K,)``.
        stride: steps from one output to the next.
        padding: zeros around the input; a number, one per dimension, ``"same"`` or ``"valid"``.
        dilation: steps from one weight to the next.
        groups: each of so many groups of channels is convolved by itself.

    Shapes: result ``(N, K, (H + 2 padding - dilation (R - 1) - 1) / stride + 1, ...)``; in memory
    it is channels last.

    Raises:
        ValueError: the shapes do not fit.
    """
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Any = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of volumes. See :func:`conv2d`.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``, weight ``(K, C / groups, Q, R, S)``,
    bias ``(K,)``.

    Raises:
        ValueError: the shapes do not fit.
    """
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def _transposed(
    op: str,
    dims: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> Tensor:
    batched = _batched(op, input, dims)
    x = input if batched else _ops.unsqueeze(input, 0)
    y = _ops.convolution(x, weight, bias, stride, padding, dilation, True, output_padding, groups)
    return y if batched else _ops.squeeze(y, 0)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The gradient of :func:`conv1d` in its input, as a layer. See :func:`conv_transpose2d`.

    Shapes: input ``(N, C, L)`` or ``(C, L)``, weight ``(C, K / groups, R)``, bias ``(K,)``.

    Raises:
        ValueError: the shapes do not fit.
    """
    return _transposed(
        "conv_transpose1d",
        1,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The gradient of :func:`conv2d` in its input, as a layer.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``, weight ``(C, K / groups, R, S)``, bias
    ``(K,)``, result ``(N, K, (H - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1,
    ...)``.

    Raises:
        ValueError: the shapes do not fit, or ``output_padding`` is not smaller than stride or
            dilation.
    """
    return _transposed(
        "conv_transpose2d",
        2,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """The gradient of :func:`conv3d` in its input, as a layer. See :func:`conv_transpose2d`.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``, weight ``(C, K / groups, Q, R, S)``,
    bias ``(K,)``.

    Raises:
        ValueError: the shapes do not fit.
    """
    return _transposed(
        "conv_transpose3d",
        3,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """input with more elements at the ends of its last dimensions.

    Args:
        input: a tensor of any shape.
        pad: (left, right) pairs, from the last dimension backwards; negative numbers crop.
        mode: ``"constant"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        value: what ``"constant"`` fills with; 0 if left out.

    Raises:
        ValueError: the mode is unknown, or its padding is longer than the dimension allows.
    """
    return _ops.pad(input, pad, 0.0 if value is None else value, mode)


def unfold(
    input: Tensor, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Tensor:
    """The patches a convolution would see, as columns.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``, result ``(N, C R S, L)``, L the number of
    patches.

    Raises:
        ValueError: the kernel does not fit the input.
    """
    batched = _batched("unfold", input, 2)
    x = input if batched else _ops.unsqueeze(input, 0)
    kernel = _per_dim("unfold", "kernel_size", kernel_size, 2)
    spread = _per_dim("unfold", "dilation", dilation, 2)
    step = _per_dim("unfold", "stride", stride, 2)
    (top, left) = _per_dim("unfold", "padding", padding, 2)
    if top or left:
        x = _ops.pad(x, (left, left, top, top))
    rows, cols = _patches("unfold", x.shape[2:], kernel, spread, step)
    taps = []
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            first = (r * spread[0], s * spread[1])
            tap = _ops.slice(x, 2, first[0], first[0] + (rows - 1) * step[0] + 1, step[0])
            taps.append(_ops.slice(tap, 3, first[1], first[1] + (cols - 1) * step[1] + 1, step[1]))
    n, c = x.shape[:2]
    y = _ops.reshape(_ops.stack(taps, 2), (n, c * len(taps), rows * cols))
    return y if batched else _ops.squeeze(y, 0)


def _patches(
    op: str,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    dilation: tuple[int, ...],
    stride: tuple[int, ...],
) -> tuple[int, int]:
    count = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, d, s in zip(size, kernel, dilation, stride, strict=True)
    ]
    if min(count) < 1:
        raise ValueError(f"[{op}] expected a kernel that fits {size} but got {kernel}")
    return count[0], count[1]


def fold(
    input: Tensor,
    output_size: Size,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Size = 0,
    stride: Size = 1,
) -> Tensor:
    """Adds patches, as :func:`unfold` makes them, up to an image.

    Shapes: input ``(N, C R S, L)`` or ``(C R S, L)``, result ``(N, C, *output_size)``.

    Raises:
        ValueError: the sizes do not fit.
    """
    batched = _batched("fold", input, 1)
    x = input if batched else _ops.unsqueeze(input, 0)
    size = _per_dim("fold", "output_size", output_size, 2)
    kernel = _per_dim("fold", "kernel_size", kernel_size, 2)
    spread = _per_dim("fold", "dilation", dilation, 2)
    step = _per_dim("fold", "stride", stride, 2)
    (top, left) = _per_dim("fold", "padding", padding, 2)
    whole = (size[0] + 2 * top, size[1] + 2 * left)
    rows, cols = _patches("fold", whole, kernel, spread, step)
    taps = kernel[0] * kernel[1]
    n = x.shape[0]
    if x.shape[1] % taps or x.shape[2] != rows * cols:
        raise ValueError(
            f"[fold] expected an input of shape (N, C * {taps}, {rows * cols}) "
            f"but got {tuple(input.shape)}"
        )
    c = x.shape[1] // taps
    # One channel per (c, tap), each put back to its place by a weight of 1.
    place = _ops.reshape(_ops.eye(taps, None, dtype=x.dtype), (taps, 1, *kernel))
    weight = _ops.repeat(place, (c, 1, 1, 1))
    extra = tuple(
        [
            w - (m - 1) * s - d * (k - 1) - 1
            for w, m, s, d, k in zip(whole, (rows, cols), step, spread, kernel, strict=True)
        ]
    )
    patches = _ops.reshape(x, (n, c * taps, rows, cols))
    y = _ops.convolution(patches, weight, None, step, (top, left), spread, True, extra, c)
    return y if batched else _ops.squeeze(y, 0)
