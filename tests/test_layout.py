"""Values never depend on memory layout; elementwise work keeps a dense one."""

from __future__ import annotations

import pickle

import annx
import numpy as np
import pytest
from annx import nn

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 3, 4)).astype(np.float32)


def last(array, requires_grad=False):
    t = annx.tensor(array).to(memory_format=annx.channels_last)
    t.requires_grad = requires_grad
    return t


def test_memory_formats_as_in_torch() -> None:
    row_major = annx.tensor(X)
    x = row_major.to(memory_format=annx.channels_last)
    assert x.shape == (2, 5, 3, 4)
    assert x.stride() == (60, 1, 20, 5)
    assert x.is_contiguous(memory_format=annx.channels_last)
    assert not x.is_contiguous()
    assert row_major.is_contiguous()
    assert not row_major.is_contiguous(annx.channels_last)
    assert x.contiguous(memory_format=annx.channels_last) is x
    assert x.contiguous(memory_format=annx.preserve_format) is x
    assert x.contiguous().stride() == row_major.stride()
    np.testing.assert_array_equal(x.numpy(), X)
    np.testing.assert_array_equal(x.contiguous().numpy(), X)
    assert x.numpy().strides == (240, 4, 80, 20)
    volume = annx.zeros(1, 2, 3, 4, 5).contiguous(memory_format=annx.channels_last_3d)
    assert volume.stride() == (120, 1, 40, 10, 2)
    assert pickle.loads(pickle.dumps(annx.channels_last)) is annx.channels_last
    assert repr(annx.channels_last) == "annx.channels_last"


def test_wrong_formats_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[contiguous\] expected 4 dimensions"):
        annx.zeros(2, 3).contiguous(memory_format=annx.channels_last)
    with pytest.raises(TypeError, match=r"\[is_contiguous\] expected a memory format"):
        annx.zeros(2, 3).is_contiguous("rows")
    with pytest.raises(TypeError, match=r"\[Module.to\] expected a memory format"):
        nn.Linear(2, 2).to(memory_format="rows")
    assert nn.Linear(2, 2).to(memory_format=annx.channels_last).weight.is_contiguous()


@pytest.mark.parametrize(
    "f",
    [
        annx.relu,
        lambda x: x * x + 1,
        lambda x: x + annx.tensor(X),
        lambda x: annx.tensor(X) - x,
        lambda x: x * annx.tensor(X[:1, :, :1, :1]),
        lambda x: annx.where(x > 0, x, 0.5 * x),
        lambda x: x.double(),
        lambda x: x.half(),
        annx.clone,
        nn.functional.gelu,
        lambda x: nn.functional.dropout(x, 0.4, True),
    ],
)
def test_elementwise_results_keep_the_layout(f) -> None:
    annx.manual_seed(3)
    y = f(last(X))
    annx.manual_seed(3)
    expected = f(annx.tensor(X))
    assert y.is_contiguous(memory_format=annx.channels_last)
    assert expected.is_contiguous()
    np.testing.assert_array_equal(y.numpy(), expected.numpy())


def test_other_dense_layouts_and_broadcasts() -> None:
    x = annx.tensor(RNG.standard_normal((7, 9)).astype(np.float32)).T
    y = annx.exp(x)
    assert y.stride() == x.stride()
    np.testing.assert_array_equal(y.numpy(), annx.exp(x.contiguous()).numpy())
    gaps = annx.tensor(X)[:, :, ::2]
    assert annx.exp(gaps).is_contiguous()
    stretched = annx.tensor(X[:, :, :1, :1]).expand(2, 5, 3, 4)
    assert (stretched + 1).is_contiguous()


def test_gradients_through_layouts() -> None:
    def run(x):
        x.requires_grad = True
        y = annx.relu(x * annx.tensor(X[:, :, :1])) + x
        (y.flatten(1) * annx.arange(60, dtype="float32")).sum().backward()
        return x.grad

    a, b = run(last(X)), run(annx.tensor(X))
    np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("shape", [(1, 70, 9, 11), (3, 16, 8, 8), (2, 3, 65), (2, 4, 3, 5, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "float16", "bool"])
def test_copies_between_layouts(shape, dtype) -> None:
    array = RNG.integers(0, 2 if dtype == "bool" else 1000, shape).astype(dtype)
    t = annx.tensor(array)
    moved = annx._core.ops.channels_last(t)
    np.testing.assert_array_equal(moved.numpy(), array)
    np.testing.assert_array_equal(annx._core.ops.contiguous(moved).numpy(), array)
    sliced = moved[:, 1:]
    np.testing.assert_array_equal(annx._core.ops.contiguous(sliced).numpy(), array[:, 1:])


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_keeps_the_layout(mode) -> None:
    weights = annx.tensor(RNG.standard_normal((2, 5, 4, 9)).astype(np.float32))
    grads = []
    for x in (annx.tensor(X, requires_grad=True), last(X, requires_grad=True)):
        y = nn.functional.pad(x, (2, 3, -1, 2), mode=mode)
        assert y.is_contiguous(annx.channels_last) != y.is_contiguous()
        assert y.is_contiguous() == x.is_contiguous()
        (y * weights).sum().backward()
        grads.append((y.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*grads, strict=True):
        np.testing.assert_array_equal(a, b)


PAD_MODES: dict = {"constant": "constant", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", PAD_MODES)
def test_padding_of_dimensions_of_one_element_whose_strides_say_nothing(mode) -> None:
    array = RNG.standard_normal((2, 5)).astype(np.float32)
    x = annx.tensor(array, requires_grad=True)
    column = x.unsqueeze(1).transpose(1, 2)
    assert column.is_contiguous()
    assert column.stride()[2] > column.stride()[1]
    y = nn.functional.pad(column, (1, 0, 2, 1), mode=mode)
    expected = np.pad(array[..., None], ((0, 0), (2, 1), (1, 0)), PAD_MODES[mode])
    np.testing.assert_array_equal(y.detach().numpy(), expected)
    # A gradient that lies so too, of an image that is cropped to one column.
    image = annx.tensor(array, requires_grad=True)
    g = annx.tensor(array[:, :4].reshape(1, 8)[:, :4]).transpose(0, 1)
    nn.functional.pad(image, (-2, -2, 1, 1), mode="replicate").backward(g)
    sums = np.zeros((2, 5), np.float32)
    sums[:, 2] = g.numpy()[:2].sum(), g.numpy()[2:].sum()
    np.testing.assert_array_equal(image.grad.numpy(), sums)


@pytest.mark.parametrize("channels", [3, 16, 37])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear"])
@pytest.mark.parametrize("size", [(6, 9), (3, 9), (70, 61), (2, 2)])
def test_other_sizes_keep_layout_and_values(channels, mode, size) -> None:
    image = RNG.standard_normal((2, channels, 6, 5)).astype(np.float32)
    weights = annx.tensor(RNG.standard_normal((2, channels, *size)).astype(np.float32))
    results = []
    for x in (annx.tensor(image, requires_grad=True), last(image, requires_grad=True)):
        y = nn.functional.interpolate(x, size, mode=mode)
        assert y.is_contiguous() == x.is_contiguous()
        (y * weights).sum().backward()
        results.append((y.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_large_images_are_resized_in_bands() -> None:
    image = RNG.standard_normal((1, 2, 90, 400))
    shares = []  # of each row of the result in the rows of the image, and of the columns
    for old, new in ((90, 150), (400, 333)):
        at = np.maximum((np.arange(new) + 0.5) * old / new - 0.5, 0)
        low = np.minimum(at.astype(int), old - 1)
        matrix = np.zeros((new, old))
        matrix[np.arange(new), low] = 1 - (at - low)
        matrix[np.arange(new), np.minimum(low + 1, old - 1)] += at - low
        shares.append(matrix)
    wanted = shares[0] @ image @ shares[1].T
    for x in (annx.tensor(image, requires_grad=True), last(image, requires_grad=True)):
        y = nn.functional.interpolate(x, (150, 333), mode="bilinear")
        np.testing.assert_allclose(y.detach().numpy(), wanted, atol=1e-12)
        y.backward(annx.tensor(wanted))
        np.testing.assert_allclose(x.grad.numpy(), shares[0].T @ wanted @ shares[1], atol=1e-12)
    rows = RNG.standard_normal((60, 50, 40)).astype(np.float32)
    y = nn.functional.interpolate(annx.tensor(rows), 80)
    np.testing.assert_array_equal(y.numpy(), rows.repeat(2, 2))
