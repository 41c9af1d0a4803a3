"""Turns scores and targets of any usual shape into labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from annx._core import Tensor

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def as_array(values: Any) -> Array:
    """An array over a Tensor or anything NumPy takes."""
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def paired(op: str, prediction: Any, target: Any) -> tuple[Array, Array]:
    """Both in float64 and one shape; a last dimension of 1 may be missing on one side.

    Raises:
        ValueError: the shapes do not fit.
    """
    p = np.asarray(as_array(prediction), np.float64)
    t = np.asarray(as_array(target), np.float64)
    if p.shape != t.shape:
        if p.ndim == t.ndim + 1 and p.shape == (*t.shape, 1):
            t = t[..., None]
        elif t.ndim == p.ndim + 1 and t.shape == (*p.shape, 1):
            p = p[..., None]
        else:
            raise ValueError(
                f"[{op}] expected prediction and target of one shape but got {p.shape} and "
                f"{t.shape}"
            )
    return p, t


def labels(
    op: str, prediction: Any, target: Any, threshold: float | None = None, axis: int = -1
) -> tuple[Array, Array, int]:
    """Predicted and true labels, int64 and flat, and how many classes the scores tell (or 0).

    Args:
        op: name for messages.
        prediction: scores with a dimension ``axis`` of classes; or one score per target for a
            binary decision; or integer labels.
        target: integer labels; or one-hot, shaped as ``prediction``.
        threshold: given, every element is a binary decision ``prediction > threshold``. Otherwise
            the class of the largest score counts, or 0.5 decides where there is one score only.
        axis: dimension of the classes in ``prediction``.

    Raises:
        ValueError: the shapes do not fit.
    """
    p, t = as_array(prediction), as_array(target)
    found = _labels(p, t, threshold, axis)
    if found is None:
        raise ValueError(
            f"[{op}] expected target as class indices or of the prediction's shape but got "
            f"prediction {p.shape} and target {t.shape}"
        )
    known = p.shape[axis] if p.ndim >= 2 and found[0].ndim < p.ndim else 0
    flat = (part.reshape(-1).astype(np.int64) for part in found)
    return next(flat), next(flat), max(known, 2) if known == 1 else known


def _labels(p: Array, t: Array, threshold: float | None, axis: int) -> tuple[Array, Array] | None:
    if p.ndim == t.ndim + 1 and p.shape == (*t.shape, 1):
        p = p[..., 0]
    elif t.ndim == p.ndim + 1 and t.shape == (*p.shape, 1):
        t = t[..., 0]
    if p.shape == t.shape:
        if threshold is not None:
            return p > threshold, t > 0.5
        if p.dtype.kind in "iub" and t.dtype.kind in "iub":
            return p, t
        if p.ndim < 2 or p.shape[axis] == 1:
            return p > 0.5, t > 0.5
        return p.argmax(axis), t.argmax(axis)
    if p.ndim >= 2:
        if t.ndim == p.ndim and t.shape[axis] == 1:
            t = t.squeeze(axis)
        classes = p.argmax(axis)
        if classes.shape == t.shape:
            return classes, t
    return None


def check_labels(op: str, prediction: Array, target: Array, classes: int) -> int:
    """The number of classes: ``classes``, or what the labels need where that is 0.

    Raises:
        ValueError: a label is negative or not below ``classes``.
    """
    low = min(prediction.min(initial=0), target.min(initial=0))
    high = int(max(prediction.max(initial=-1), target.max(initial=-1)))
    if low < 0 or (classes and high >= classes):
        bound = f" and < {classes}" if classes else ""
        raise ValueError(
            f"[{op}] expected labels >= 0{bound} but got {int(low) if low < 0 else high}"
        )
    return classes or high + 1


def count(op: str, prediction: Array, target: Array, classes: int = 0) -> Array:
    """The confusion matrix of flat labels: rows are true classes, columns predicted ones."""
    size = check_labels(op, prediction, target, classes)
    cells = np.bincount(target * size + prediction, minlength=size * size)
    return cells.reshape(size, size)


def scores(matrix: Array, average: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of a confusion matrix; 0 where a quotient is 0 / 0.

    ``"binary"`` counts class 1, ``"macro"`` is the mean over the classes that occur,
    ``"micro"`` counts all decisions together; ``"auto"`` is binary up to two classes, else macro.
    """
    if average == "auto":
        average = "binary" if len(matrix) <= 2 else "macro"
    hits = np.diag(matrix).astype(np.float64)
    predicted = matrix.sum(axis=0).astype(np.float64)
    true = matrix.sum(axis=1).astype(np.float64)
    if average == "micro":
        hits, predicted, true = (
            hits.sum(keepdims=True),
            predicted.sum(keepdims=True),
            true.sum(keepdims=True),
        )
    elif average == "binary":
        if len(matrix) > 2:
            raise ValueError(
                f"[metrics] expected two classes for average 'binary' but got {len(matrix)}; use "
                "'macro' or 'micro'"
            )
        if len(matrix) < 2:
            return 0.0, 0.0, 0.0
        hits, predicted, true = hits[1:], predicted[1:], true[1:]
    elif average == "macro":
        occurs = (predicted + true) > 0
        hits, predicted, true = hits[occurs], predicted[occurs], true[occurs]
    else:
        raise ValueError(
            f"[metrics] expected average 'auto', 'binary', 'macro' or 'micro' but got {average!r}"
        )
    if not len(hits):
        return 0.0, 0.0, 0.0
    precision = hits / np.maximum(predicted, 1.0)
    recall = hits / np.maximum(true, 1.0)
    f1 = 2.0 * hits / np.maximum(predicted + true, 1.0)
    return float(precision.mean()), float(recall.mean()), float(f1.mean())
