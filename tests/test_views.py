"""Views of views: reshape of permuted tensors gives what NumPy gives, whatever their strides."""

from __future__ import annotations

import itertools

import annx
import numpy as np
import pytest

SHAPES = [(2, 1, 3, 4), (1, 2, 3), (3, 1, 1, 2), (2, 3, 1), (1, 1, 4), (2, 2, 1, 3)]
TARGETS = [(-1,), (1, -1), (-1, 1), (2, -1), (-1, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_reshape_of_permuted(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for axes in itertools.permutations(range(len(shape))):
        moved = array.transpose(axes)
        view = annx.tensor(array).permute(axes)
        squeezed = tuple(s for s in moved.shape if s != 1)
        wanted = [moved.shape, squeezed, (*squeezed, 1), (1, *squeezed)]
        wanted += [t for t in TARGETS if array.size % 2 == 0 or 2 not in t]
        for target in wanted:
            got = view.reshape(target).numpy()
            np.testing.assert_array_equal(got, moved.reshape(target), err_msg=f"{axes} {target}")
