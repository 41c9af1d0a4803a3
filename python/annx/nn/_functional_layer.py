"""The functions behind layers: linear maps, dropout, normalisation, embedding, distances."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from annx import _compare, _core, _creation
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

_ops = _core.ops

# -lambda * alpha of SELU: what a dropped unit is set to by alpha_dropout.
_ALPHA_PRIME = -1.7580993408473766


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y = x W^T + b``.

    Shapes: input ``(*, in)``, weight ``(out, in)``, bias ``(out,)``, result ``(*, out)``.

    Raises:
        ValueError: the shapes do not fit.

    Source: guide, "The Artificial Neuron".
    """
    return _ops.linear(input, weight, bias)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y_o = x1^T W_o x2 + b_o``.

    Shapes: input1 ``(*, in1)``, input2 ``(*, in2)``, weight ``(out, in1, in2)``, bias ``(out,)``,
    result ``(*, out)``.

    Raises:
        ValueError: the shapes do not fit.
    """
    out, in1, in2 = weight.shape
    if input1.shape[:-1] != input2.shape[:-1]:
        raise ValueError(
            "[bilinear] expected inputs alike but for the last dimension "
            f"but got {tuple(input1.shape)} and {tuple(input2.shape)}"
        )
    if input1.shape[-1] != in1 or input2.shape[-1] != in2:
        raise ValueError(
            f"[bilinear] expected last dimensions {in1} and {in2} "
            f"but got {input1.shape[-1]} and {input2.shape[-1]}"
        )
    lead = tuple(input1.shape[:-1])
    rows = input1.reshape((-1, in1))
    mixed = _ops.linear(rows, weight.permute((0, 2, 1)).reshape((out * in2, in1)))
    columns = input2.reshape((-1, in2, 1))
    result = _ops.matmul(mixed.reshape((-1, out, in2)), columns).reshape((*lead, out))
    return result if bias is None else result + bias


def _check_probability(op: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"[{op}] expected a probability between 0 and 1 but got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Sets each element to 0 with probability ``p`` and multiplies the rest by ``1 / (1 - p)``.

    Without ``training`` the input comes back as it is.

    Raises:
        ValueError: ``p`` is not between 0 and 1.

    Source: Srivastava et al., 2014; guide, "Dropout".
    """
    _check_probability("dropout", p)
    return _ops.dropout(input, p, True) if training else input


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout that keeps mean 0 and variance 1 of inputs that have them, for use with SELU.

    Dropped elements become ``alpha'``, then all are mapped by ``a x + b``.

    Raises:
        ValueError: ``p`` is not between 0 and 1.

    Source: Klambauer et al., 2017.
    """
    _check_probability("alpha_dropout", p)
    if not training or p == 0.0:
        return input
    if p == 1.0:
        return input * 0.0
    # The kept places, from the generator that dropout uses: positive where kept.
    kept = _ops.dropout(_creation.ones_like(input), p, True) > 0.0
    a = 1.0 / sqrt((_ALPHA_PRIME * _ALPHA_PRIME * p + 1.0) * (1.0 - p))
    b = -a * p * _ALPHA_PRIME
    return _ops.where(kept, input, _ALPHA_PRIME) * a + b


def _drop_channels(op: str, dims: int, input: Tensor, p: float, training: bool) -> Tensor:
    _check_probability(op, p)
    if input.ndim != dims + 2 and input.ndim != dims + 1:
        raise ValueError(
            f"[{op}] expected an input of {dims + 2} dimensions but got {tuple(input.shape)}"
        )
    if not training or p == 0.0:
        return input
    shape = tuple(input.shape[: input.ndim - dims]) + (1,) * dims
    return input * _ops.dropout(_ops.full(shape, 1.0, dtype=input.dtype), p, True)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Sets each channel of each sample to 0 with probability ``p``, scales the rest.

    Shapes: input ``(N, C, L)`` or ``(C, L)``.

    Raises:
        ValueError: ``p`` is not between 0 and 1, or input has another shape.
    """
    return _drop_channels("dropout1d", 1, input, p, training)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Sets each channel of each image to 0 with probability ``p``, scales the rest.

    Shapes: input ``(N, C, H, W)`` or ``(C, H, W)``.

    Raises:
        ValueError: ``p`` is not between 0 and 1, or input has another shape.

    Source: Tompson et al., 2015.
    """
    return _drop_channels("dropout2d", 2, input, p, training)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Sets each channel of each volume to 0 with probability ``p``, scales the rest.

    Shapes: input ``(N, C, D, H, W)`` or ``(C, D, H, W)``.

    Raises:
        ValueError: ``p`` is not between 0 and 1, or input has another shape.
    """
    return _drop_channels("dropout3d", 3, input, p, training)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per channel (dimension 1).

    In training, mean and (biased) variance are those of the batch, and the running statistics
    move towards mean and unbiased variance by ``momentum``, in place. Otherwise the running
    statistics serve.

    Shapes: input ``(N, C)`` or ``(N, C, *)``; the others ``(C,)``.

    Raises:
        ValueError: shapes do not fit, there is only one value per channel in training, or there
            are no running statistics outside of training.

    Source: Ioffe and Szegedy, 2015; guide, "Batch Normalization".
    """
    return _ops.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last dimensions of each sample.

    Shapes: input ``(*, *normalized_shape)``; weight and bias ``normalized_shape``.

    Raises:
        ValueError: the shapes do not fit.

    Source: Ba et al., 2016.
    """
    if isinstance(normalized_shape, int):
        normalized_shape = (normalized_shape,)
    return _ops.layer_norm(input, normalized_shape, weight, bias, eps)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over groups of channels of each sample.

    Shapes: input ``(N, C, *)``; weight and bias ``(C,)``.

    Raises:
        ValueError: the shapes do not fit, or there is one value per group.

    Source: Wu and He, 2018.
    """
    return _ops.group_norm(input, num_groups, weight, bias, eps)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per channel of each sample.

    The running statistics, if given, are moved in place towards the averages over the batch;
    without ``use_input_stats`` they serve instead.

    Shapes: input ``(N, C, *)``; the other tensors ``(C,)``.

    Raises:
        ValueError: the shapes do not fit, or there is one value per channel.

    Source: Ulyanov et al., 2016.
    """
    return _ops.instance_norm(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """``x / sqrt(mean(x**2) + eps) * weight`` over the last dimensions of each sample.

    ``eps`` is the machine epsilon of the input's dtype if left out, of float32 for halves.

    Shapes: input ``(*, *normalized_shape)``; weight ``normalized_shape``.

    Raises:
        ValueError: the shapes do not fit.

    Source: Zhang and Sennrich, 2019.
    """
    if isinstance(normalized_shape, int):
        normalized_shape = (normalized_shape,)
    return _ops.rms_norm(input, normalized_shape, weight, eps)


def _renorm_rows(weight: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> None:
    """Scales the rows of ``weight`` that ``indices`` names down to ``max_norm``, in place."""
    table = weight.detach()
    flat = indices.reshape((-1,))
    hits = _creation.zeros((table.shape[0],), dtype=table.dtype)
    hits = _ops.scatter_add(hits, 0, flat, _creation.ones(tuple(flat.shape), dtype=table.dtype))
    norms = _ops.norm(table, norm_type, 1)
    too_long = _ops.logical_and(hits > 0.0, norms > max_norm)
    scale = _ops.where(too_long, max_norm / (norms + 1e-7), 1.0)
    table.copy_(table * scale.reshape((-1, 1)))


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
) -> Tensor:
    """Looks rows up in a table.

    Args:
        input: integer indices of any shape ``(*)``.
        weight: the table, ``(num, dim)``.
        padding_idx: a row that gets no gradient.
        max_norm: rows that are looked up and whose norm is larger are first scaled down to it, in
            ``weight`` itself.
        norm_type: the p of that norm.

    Returns:
        ``(*, dim)``.

    Raises:
        IndexError: an index or ``padding_idx`` is outside of the table.
    """
    if padding_idx is not None:
        rows = weight.shape[0]
        if not -rows <= padding_idx < rows:
            raise IndexError(
                f"[embedding] expected padding_idx within {rows} rows but got {padding_idx}"
            )
        padding_idx %= rows
    if max_norm is not None:
        _renorm_rows(weight, input, max_norm, norm_type)
    return _ops.embedding(weight, input, padding_idx)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """``x / max(||x||_p, eps)`` along ``dim``."""
    norm = _ops.norm(input, p, dim, True)
    return input / norm.clamp(min=eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """``x1 . x2 / (max(||x1||, eps) max(||x2||, eps))`` along ``dim``, which goes away."""
    x1, x2 = _compare.broadcast_tensors(x1, x2)
    n1 = _ops.norm(x1, 2.0, dim, True).clamp(min=eps)
    n2 = _ops.norm(x2, 2.0, dim, True).clamp(min=eps)
    return ((x1 / n1) * (x2 / n2)).sum(dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """``||x1 - x2 + eps||_p`` over the last dimension."""
    return _ops.norm(x1 - x2 + eps, p, -1, keepdim)
