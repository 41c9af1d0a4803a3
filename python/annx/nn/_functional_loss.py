"""Loss functions.

``reduction`` is ``"mean"`` (over all elements unless a function says otherwise), ``"sum"`` or
``"none"`` (one loss per element or sample). Any other is a ValueError, and so are shapes that do
not fit.
"""

from __future__ import annotations

from math import pi

from annx import _core
from annx._core import Tensor
from annx.nn._functional_layer import pairwise_distance

_ops = _core.ops


def _reduce(op: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"[{op}] expected reduction 'none', 'mean' or 'sum' but got {reduction!r}")


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """``(x - y)^2``. Source: guide, "Loss Functions"."""
    return _ops.mse_loss(input, target, reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """``|x - y|``."""
    return _ops.l1_loss(input, target, reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """``0.5 d^2`` where ``d = |x - y| <= delta``, else ``delta (d - 0.5 delta)``.

    Source: Huber, 1964.
    """
    return _ops.huber_loss(input, target, reduction, delta)


def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """``0.5 d^2 / beta`` where ``d = |x - y| < beta``, else ``d - 0.5 beta``.

    Source: Girshick, Fast R-CNN, 2015.
    """
    return _ops.smooth_l1_loss(input, target, reduction, beta)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """``-log softmax(x)[y]``: takes logits, not probabilities.

    Shapes: input ``(C,)``, ``(N, C)`` or ``(N, C, *)``; target class indices ``()``, ``(N,)`` or
    ``(N, *)``, or class probabilities of the input's shape; weight ``(C,)``.

    ``"mean"`` divides by the summed weights of the targets that are not ``ignore_index``.

    Raises:
        IndexError: a target is outside of ``[0, C)`` and not ``ignore_index``.

    Source: guide, "Loss Functions" and "Label Smoothing".
    """
    return _ops.cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """``-x[y]``: takes log-probabilities. Shapes and mean as for :func:`cross_entropy`."""
    return _ops.nll_loss(input, target, weight, ignore_index, reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """``-(y log x + (1 - y) log(1 - x))``: takes probabilities; logarithms end at -100.

    Source: guide, "Loss Functions".
    """
    return _ops.binary_cross_entropy(input, target, weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """``-(pos_weight y log s(x) + (1 - y) log(1 - s(x)))``, s the sigmoid, without overflow."""
    return _ops.binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction)


def kl_div(
    input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """``y (log y - x)``: takes log-probabilities, and as target probabilities or, with
    ``log_target``, their logarithms.

    ``"batchmean"`` divides the sum by the batch size: the divergence as it is defined.
    """
    return _ops.kl_div(input, target, reduction, log_target)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """``exp(x) - y x``, or ``x - y log(x + eps)`` without ``log_input``.

    ``full`` adds Stirling's ``y log y - y + 0.5 log(2 pi y)`` where ``y > 1``.
    """
    rate, log_rate = (_ops.exp(input), input) if log_input else (input, _ops.log(input + eps))
    loss = rate - target * log_rate
    if full:
        large = target > 1
        safe = _ops.where(large, target, 1)
        stirling = safe * _ops.log(safe) - safe + 0.5 * _ops.log(2.0 * pi * safe)
        loss = loss + _ops.where(large, stirling, 0.0)
    return _reduce("poisson_nll_loss", loss, reduction)


def _clamp_min(input: Tensor) -> Tensor:
    return input.clamp(min=0.0)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """``1 - cos(x1, x2)`` where ``y = 1``, ``max(0, cos(x1, x2) - margin)`` where ``y = -1``.

    Shapes: inputs ``(N, D)`` or ``(D,)``, target ``(N,)`` or ``()``.
    """
    if input1.shape != input2.shape or tuple(target.shape) != tuple(input1.shape[:-1]):
        raise ValueError(
            "[cosine_embedding_loss] expected inputs of one shape (N, D) and target (N,) but got "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    tiny = 1e-12
    squares1 = (input1 * input1).sum(-1) + tiny
    squares2 = (input2 * input2).sum(-1) + tiny
    cosine = (input1 * input2).sum(-1) / _ops.sqrt(squares1 * squares2)
    other = _ops.where(target == -1, _clamp_min(cosine - margin), 0.0)
    return _reduce("cosine_embedding_loss", _ops.where(target == 1, 1.0 - cosine, other), reduction)


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """``x`` where ``y = 1``, ``max(0, margin - x)`` where ``y = -1``."""
    unlike = _ops.where(target != 1, _clamp_min(margin - input), 0.0)
    like = _ops.where(target != -1, input, 0.0)
    return _reduce("hinge_embedding_loss", unlike + like, reduction)


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, -y (x1 - x2) + margin)``: ``y = 1`` wants ``x1`` larger, ``y = -1`` smaller."""
    return _reduce(
        "margin_ranking_loss", _clamp_min(margin - target * (input1 - input2)), reduction
    )


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(a, p) - d(a, n) + margin)`` with the p-norm distance d over the last dimension.

    ``swap`` takes ``d(p, n)`` where it is smaller than ``d(a, n)``.

    Source: Balntas et al., 2016.
    """
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = _ops.minimum(far, pairwise_distance(positive, negative, p, eps))
    return _reduce("triplet_margin_loss", _clamp_min(near - far + margin), reduction)
