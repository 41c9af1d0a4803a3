"""The gradient of 3x3 taps by Winograd: against float64, and the same bits everywhere."""

from __future__ import annotations

import annx
import numpy as np
import pytest
from annx import _core
from annx.nn import functional as F

# batch, channels before and after, height and width, padding
SHAPES = [
    (1, 16, 16, 6, 6, 0),  # one tile more than pixels need
    (2, 16, 19, 7, 8, 1),  # odd rows, a panel that is not full
    (3, 21, 48, 9, 5, 2),
    (5, 40, 33, 30, 31, 1),  # several pieces
    (1, 16, 64, 3, 3, 1),
    (2, 100, 96, 8, 8, 1),  # more sums than stay in cache
]


def gradients(shape, dtype=None):
    """Of weight and bias."""
    batch, before, after, height, width, padding = shape
    rng = np.random.default_rng(list(shape))
    x, w, b = (
        annx.from_numpy(rng.standard_normal(size).astype(np.float32)).to(dtype or annx.float32)
        for size in ((batch, before, height, width), (after, before, 3, 3), (after,))
    )
    w.requires_grad = b.requires_grad = True
    y = F.conv2d(x, w, b, padding=padding)
    g = annx.from_numpy(rng.standard_normal(y.shape).astype(np.float32)).to(y.dtype)
    y.backward(g)
    return x.numpy(), g.numpy(), w.grad.numpy(), b.grad.numpy()


def expected(x, g, padding):
    p = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    h, v = g.shape[2:]
    taps = [
        np.einsum("nchw,nkhw->kc", p[:, :, r : r + h, s : s + v], g.astype(np.float64))
        for r in range(3)
        for s in range(3)
    ]
    return np.stack(taps, -1).reshape(g.shape[1], x.shape[1], 3, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_definition(shape) -> None:
    for dtype, bound in ((annx.float32, 1e-5), (annx.float64, 1e-14)):
        x, g, dw, db = gradients(shape, dtype)
        exact = expected(x, g, shape[-1])
        assert np.abs(dw - exact).max() <= bound * np.sqrt((exact**2).mean())
        sums = g.astype(np.float64).sum((0, 2, 3))
        assert np.abs(db - sums).max() <= bound * np.abs(g).sum((0, 2, 3)).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_targets_and_threads_give_the_same_bits(shape) -> None:
    target, threads = _core.active_target(), annx.num_threads()
    found = {}
    try:
        for name in _core.supported_targets():
            for count in (1, 3):
                _core.set_target(name)
                annx.set_num_threads(count)
                found[name, count] = b"".join(a.tobytes() for a in gradients(shape)[2:])
    finally:
        _core.set_target(target)
        annx.set_num_threads(threads)
    assert len(set(found.values())) == 1


def test_the_gradient_is_as_accurate_as_the_direct_sum() -> None:
    """Its error stays below twice that of the plain chain over pixels."""
    x, g, dw, _ = gradients((8, 64, 64, 32, 32, 1))
    exact = expected(x, g, 1)
    # Two groups that hold the same are not computed by Winograd.
    w = annx.zeros(128, 64, 3, 3, requires_grad=True)
    twice = annx.from_numpy(np.concatenate([x, x], 1))
    F.conv2d(twice, w, padding=1, groups=2).backward(annx.from_numpy(np.concatenate([g, g], 1)))
    direct = w.grad.numpy()[:64]
    scale = np.sqrt((exact**2).mean())
    errors = [np.abs(a - exact).max() / scale for a in (dw, direct)]
    assert not np.array_equal(dw, direct)
    assert errors[0] <= 2 * errors[1], errors
    assert errors[0] < 1e-5
