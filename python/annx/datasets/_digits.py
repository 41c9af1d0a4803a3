"""The UCI optical digits test set, as scikit-learn ships it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Digits(NamedTuple):
    """The digits with their names; the fields are those of scikit-learn's bunch."""

    data: Array  # (n, 64) float32 in 0..16
    target: Array  # (n,) int64
    images: Array  # (n, 8, 8) float32, a view of `data`
    target_names: Array  # (n_class,) int64


@overload
def load_digits(*, n_class: int = ..., return_X_y: Literal[False] = ...) -> Digits: ...


@overload
def load_digits(*, n_class: int = ..., return_X_y: Literal[True]) -> tuple[Array, Array]: ...


def load_digits(*, n_class: int = 10, return_X_y: bool = False) -> Digits | tuple[Array, Array]:
    """Returns 1,797 images of handwritten digits, 8x8 pixels of whole numbers 0..16.

    Args:
        n_class: keep only digits below this, 1 to 10.
        return_X_y: return (data, target) alone.

    Returns:
        float32 data (n, 64) and int64 labels (n,), as a `Digits` or as a pair. Each call returns
        new arrays.

    Raises:
        ValueError: `n_class` is out of range.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998 (CC BY 4.0).
    """
    if not 1 <= n_class <= 10:
        raise ValueError(f"[load_digits] expected n_class from 1 to 10 but got {n_class}")
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as archive:
        data = archive["images"].astype(np.float32)
        target = archive["labels"].astype(np.int64)
    if n_class < 10:
        kept = target < n_class
        data, target = data[kept], target[kept]
    if return_X_y:
        return data, target
    return Digits(data, target, data.reshape(-1, 8, 8), np.arange(n_class))
