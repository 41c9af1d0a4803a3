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


LARGEST = 2**63 - 1
STEPS = [1, 2, 3, 4, 5, LARGEST, -1, -2, -4, -5, -LARGEST, -LARGEST - 1]


@pytest.mark.parametrize("step", STEPS)
def test_steps_of_any_size_take_what_numpy_takes(step: int) -> None:
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    for start, stop in itertools.product((None, 0, 1, 3, -1, 9), repeat=2):
        x = annx.tensor(array, requires_grad=True)
        view = x[start:stop:step]
        np.testing.assert_array_equal(view.detach().numpy(), array[start:stop:step])
        view.sum().backward()
        wanted = np.zeros_like(array)
        wanted[start:stop:step] = 1
        assert x.grad is not None
        np.testing.assert_array_equal(x.grad.numpy(), wanted)
