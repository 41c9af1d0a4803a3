"""Convolution and pooling layers: against PyTorch's numbers, and what they do beside numbers."""

from __future__ import annotations

import json
from pathlib import Path

import annx
import numpy as np
import pytest
from annx import _core, nn
from annx.nn import functional as F
from test_nn import DTYPES, assert_close, tensor

GOLDENS = Path(__file__).parent / "goldens" / "conv"
CASES = {entry["case"]: entry for entry in json.loads((GOLDENS / "cases.json").read_text())}
with np.load(GOLDENS / "values.npz") as file:
    VALUES = file["values"]
RNG = np.random.default_rng(5)


def golden(entry, name):
    begin, *shape = entry["arrays"][name]
    return VALUES[begin : begin + int(np.prod(shape))].reshape(shape)


def normal(*shape, dtype="float32"):
    return annx.tensor(RNG.standard_normal(shape).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_as_pytorch(case, dtype):
    entry = CASES[case]
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["kwargs"].items()}
    module = getattr(nn, entry["module"])(**kwargs).to(DTYPES[dtype])
    module.load_state_dict({k: golden(entry, f"before.{k}") for k in entry["state"]})
    assert repr(module) == entry["repr"]
    assert list(module.state_dict()) == entry["state"]
    module.train(not entry["evaluate"])
    for b in range(entry["batches"]):
        x = tensor(golden(entry, f"{b}.in0"), DTYPES[dtype], True)
        more = [annx.tensor(golden(entry, f"{b}.in{i}").astype("int64")) for i in entry["integers"]]
        out = module(x, *more)
        assert isinstance(out, annx.Tensor)
        assert_close(out, golden(entry, f"{b}.out"), dtype, "output")
        module.zero_grad()
        out.backward(tensor(golden(entry, f"{b}.seed"), DTYPES[dtype]))
        assert_close(x.grad, golden(entry, f"{b}.grad0"), dtype, "grad of input")
        for name, parameter in module.named_parameters():
            expected = golden(entry, f"{b}.grad.{name}")
            assert_close(parameter.grad, expected, dtype, f"grad of {name}")
    for name, value in module.state_dict().items():
        assert_close(value, golden(entry, f"after.{name}"), dtype, f"{name} afterwards")


def test_weights_are_drawn_as_in_pytorch() -> None:
    annx.manual_seed(0)
    layer = nn.Conv2d(8, 200, 3)
    bound = 1 / np.sqrt(8 * 9)
    for parameter in (layer.weight, layer.bias):
        values = parameter.detach().numpy()
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.95 * bound
        assert abs(values.mean()) < 0.1 * bound
    assert nn.ConvTranspose2d(8, 6, (2, 3)).weight.shape == (8, 6, 2, 3)


def test_values_do_not_depend_on_layout() -> None:
    for layer in (
        nn.Conv2d(16, 24, 3, padding=1),
        nn.Conv2d(16, 8, 5, stride=2),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.ConvTranspose2d(16, 4, 3, stride=2),
        nn.Conv2d(16, 5, 1),
    ):
        x = normal(2, 16, 9, 8)
        runs = []
        for format in (annx.contiguous_format, annx.channels_last):
            layer.zero_grad()
            moved = x.detach().to(memory_format=format).requires_grad_()
            y = layer(moved)
            assert y.is_contiguous(memory_format=annx.channels_last)
            (y * y).sum().backward()
            runs.append([y.detach(), moved.grad, layer.weight.grad, layer.bias.grad])
        for a, b in zip(*runs, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_output_size_of_a_transposed_convolution() -> None:
    layer = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1)
    x = normal(1, 3, 5, 6)
    assert layer(x).shape == (1, 4, 9, 11)
    assert layer(x, output_size=(10, 12)).shape == (1, 4, 10, 12)
    assert layer(x, output_size=(1, 4, 10, 11)).shape == (1, 4, 10, 11)
    with pytest.raises(ValueError, match=r"output_size\[0\] between 9 and 10 but got 11"):
        layer(x, output_size=(11, 12))
    with pytest.raises(ValueError, match="output_size of 2 or 4 numbers"):
        layer(x, output_size=(10,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(4, 6, 3, groups=3), "groups to divide in_channels"),
        (lambda: nn.Conv2d(4, 6, 3, padding="full"), "padding 'same' or 'valid'"),
        (lambda: nn.Conv2d(4, 6, 3, padding="same", stride=2), "stride 1 for padding='same'"),
        (lambda: nn.Conv2d(4, 6, 3, padding_mode="ones"), "expected padding_mode"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, padding_mode="reflect"), "expected padding_mode"),
        (lambda: nn.Conv2d(4, 6, (3, 3, 3)), "kernel_size to be 1 or 2 numbers"),
        (lambda: nn.Conv2d(-4, 6, 3), "in_channels to be an integer >= 0"),
        (lambda: nn.Conv2d(4, 6, 3)(normal(4, 5)), "an input of 4 dimensions, or 3 without"),
        (lambda: nn.Conv2d(4, 6, 3)(normal(1, 3, 5, 5)), "expected an input of 4 channels"),
        (lambda: F.conv2d(normal(1, 4, 5, 5), normal(6, 4, 3, 3), padding="all"), "'same' or"),
        (lambda: F.conv2d(normal(1, 4, 5, 5), normal(6, 4, 3, 3), None, 2, "same"), "stride 1"),
    ],
)
def test_bad_arguments(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_pad_modes_as_numpy() -> None:
    x = normal(2, 3, 4, 5)
    names = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "constant": "constant"}
    for mode, numpy_mode in names.items():
        got = F.pad(x, (1, 3, 2, 0), mode=mode).numpy()
        expected = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 0), (1, 3)), mode=numpy_mode)
        np.testing.assert_array_equal(got, expected)
    assert F.pad(x, (-1, 1), value=2.5).numpy()[0, 0, 0, -1] == 2.5
    with pytest.raises(ValueError, match="at most 4 for mode 'reflect'"):
        F.pad(x, (5, 0), mode="reflect")
    with pytest.raises(ValueError, match="mode constant, reflect"):
        F.pad(x, (1, 1), mode="mirror")
    with pytest.raises(ValueError, match="pairs for at most 4"):
        F.pad(x, (1,), mode="reflect")


def test_unfold_and_fold() -> None:
    x = normal(2, 3, 6, 7)
    w = normal(4, 3, 2, 3)
    kw = {"dilation": (2, 1), "padding": 1, "stride": (1, 2)}
    columns = F.unfold(x, (2, 3), **kw)
    y = (w.reshape(4, -1) @ columns).reshape(2, 4, 6, 4)
    np.testing.assert_allclose(
        y.numpy(), F.conv2d(x, w, None, (1, 2), 1, (2, 1)).numpy(), atol=1e-5
    )
    # fold is the transposition of unfold.
    u = normal(*columns.shape)
    folded = F.fold(u, (6, 7), (2, 3), **kw)
    left, right = (columns * u).sum().item(), (x * folded).sum().item()
    assert left == pytest.approx(right, rel=1e-4)
    np.testing.assert_array_equal(F.unfold(x[0], 2).numpy(), F.unfold(x, 2)[0].numpy())
    assert F.fold(F.unfold(x[0], 2, stride=2), (6, 6), 2, stride=2).shape == (3, 6, 6)
    with pytest.raises(ValueError, match="a kernel that fits"):
        F.unfold(x, 9)
    with pytest.raises(ValueError, match=r"\[fold\] expected an input of shape"):
        F.fold(u, (6, 6), (2, 3), **kw)


def test_indices_of_the_maximum() -> None:
    x = normal(2, 3, 6, 7)
    y, index = F.max_pool2d(x, 2, return_indices=True)
    assert index.dtype is annx.int64
    flat = x.numpy().reshape(2, 3, -1)
    picked = np.take_along_axis(flat, index.numpy().reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(picked.reshape(y.shape), y.numpy())
    y, index = nn.AdaptiveMaxPool1d(2, return_indices=True)(x[0, 0])
    np.testing.assert_array_equal(index.numpy()[0, 0], np.argmax(x.numpy()[0, 0, 0, :4]))
    assert nn.MaxPool2d(2, return_indices=True)(x[0])[1].shape == (3, 3, 3)


@pytest.mark.parametrize(
    ("dims", "kernel", "stride", "padding", "names"),
    [
        (1, 3, 2, 1, "kernel_size=(3,), stride=(2,), padding=(1,)"),
        (2, (3, 2), 2, 0, "kernel_size=(3, 2), stride=(2, 2), padding=(0, 0)"),
        (3, 2, None, 0, "kernel_size=(2, 2, 2), stride=(2, 2, 2), padding=(0, 0, 0)"),
    ],
)
def test_unpooling_puts_the_maxima_back(dims, kernel, stride, padding, names) -> None:
    pool = getattr(nn, f"MaxPool{dims}d")(kernel, stride, padding, return_indices=True)
    unpool = getattr(nn, f"MaxUnpool{dims}d")(kernel, stride, padding)
    assert repr(unpool) == f"MaxUnpool{dims}d({names})"
    x = normal(2, 3, *(9, 7, 8)[:dims])
    values, index = pool(x)
    back = unpool(values, index, x.shape)
    flat, places = x.numpy().reshape(2, 3, -1), index.numpy().reshape(2, 3, -1)
    expected = np.zeros_like(flat)
    np.put_along_axis(expected, places, np.take_along_axis(flat, places, 2), 2)
    np.testing.assert_array_equal(back.numpy(), expected.reshape(x.shape))
    np.testing.assert_array_equal(unpool(values[1], index[1], x.shape[2:]).numpy(), back[1].numpy())
    # Left out, the size is that of an input whose windows leave nothing over.
    spans = (
        numbers if isinstance(numbers, tuple) else (numbers,) * dims
        for numbers in (kernel, stride or kernel)
    )
    fitting = [
        (n - 1) * s - 2 * padding + k
        for n, (k, s) in zip(values.shape[2:], zip(*spans, strict=True), strict=True)
    ]
    inside = annx.zeros(*values.shape, dtype=annx.int64)
    assert unpool(values, inside).shape == (2, 3, *fitting)
    # Each value passes on the gradient of its place.
    if dims == 3:  # windows apart: all places differ
        leaf, weight = values.detach().requires_grad_(), normal(*x.shape)
        (unpool(leaf, index, x.shape) * weight).sum().backward()
        taken = np.take_along_axis(weight.numpy().reshape(2, 3, -1), places, 2)
        np.testing.assert_array_equal(leaf.grad.numpy(), taken.reshape(values.shape))


def test_bad_arguments_of_unpooling() -> None:
    y, index = F.max_pool2d(normal(1, 2, 4, 4), 2, return_indices=True)
    assert F.max_unpool2d(y, index, 2, output_size=(5, 4)).shape == (1, 2, 5, 4)
    with pytest.raises(ValueError, match=r"output_size\[0\] between 3 and 5 but got 6"):
        F.max_unpool2d(y, index, 2, output_size=(6, 5))
    with pytest.raises(ValueError, match="output_size of 2 or 4 numbers"):
        F.max_unpool2d(y, index, 2, output_size=(4,))
    with pytest.raises(ValueError, match="an input of 4 dimensions, or 3 without"):
        F.max_unpool2d(y[0, 0], index[0, 0], 2)
    with pytest.raises(ValueError, match="expected indices of shape"):
        F.max_unpool2d(y, index[:, :1], 2)
    for offset in (16, -16):
        with pytest.raises(IndexError, match=r"at least 0 and below 16 but got"):
            F.max_unpool2d(y, index + offset, 2)


def test_maximum_of_nan_and_minus_infinity() -> None:
    x = np.full((1, 1, 2, 4), -np.inf, np.float32)
    x[0, 0, 1, 2] = np.nan
    y = F.max_pool2d(annx.tensor(x), 2).numpy().ravel()
    assert y[0] == -np.inf
    assert np.isnan(y[1])


def test_pooling_keeps_channels_last_and_values() -> None:
    x = normal(2, 20, 9, 8)
    for f in (
        lambda t: F.max_pool2d(t, 3, 2, 1),
        lambda t: F.avg_pool2d(t, 2),
        lambda t: F.adaptive_avg_pool2d(t, (4, 3)),
        lambda t: F.interpolate(t, scale_factor=2),
        lambda t: F.dropout2d(t, 0.5),
    ):
        results = []
        for format in (annx.contiguous_format, annx.channels_last):
            annx.manual_seed(2)
            moved = x.detach().to(memory_format=format).requires_grad_()
            y = f(moved)
            (y * y).sum().backward()
            results.append((y.detach().numpy(), moved.grad.numpy()))
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(a, b)
    assert F.max_pool2d(x, 2).is_contiguous(memory_format=annx.channels_last)


@pytest.mark.parametrize(
    ("size", "options", "at", "source"),
    [
        # Whole numbers that products of rounded steps fall short of; PyTorch gives the same.
        (18, {"size": 66}, 55, 15),
        (2, {"size": 82}, 41, 1),
        (2, {"size": 49, "mode": "nearest-exact"}, 24, 1),
        (31, {"scale_factor": 1.3}, 39, 30),
        (16, {"scale_factor": 1.3, "mode": "nearest-exact"}, 19, 15),
    ],
)
def test_nearest_places_that_fall_on_a_boundary(size, options, at, source) -> None:
    x = annx.arange(size).reshape(1, 1, size)
    assert F.interpolate(x, **options)[0, 0, at].item() == source
    y = x.to(annx.float32).requires_grad_()
    F.interpolate(y, **options)[0, 0, at].backward()
    assert y.grad[0, 0].argmax().item() == source


def test_lp_pool_is_a_norm_of_windows() -> None:
    x = annx.tensor(RNG.random((1, 2, 4, 6)).astype(np.float32))
    got = F.lp_pool2d(x, 3.0, 2).numpy()
    cubes = x.numpy().reshape(1, 2, 2, 2, 3, 2) ** 3
    np.testing.assert_allclose(got, cubes.sum((3, 5)) ** (1 / 3), rtol=1e-5)
    assert F.lp_pool1d(x[0], 2.0, 3, stride=1).shape == (2, 4, 4)


@pytest.mark.parametrize(
    ("dims", "layer"), [(1, nn.Dropout1d), (2, nn.Dropout2d), (3, nn.Dropout3d)]
)
def test_dropout_of_whole_channels(dims, layer) -> None:
    annx.manual_seed(4)
    module = layer(0.25)
    x = annx.ones(40, 50, *(3,) * dims)
    y = module(x).numpy().reshape(40, 50, -1)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (y == y[:, :, :1]).all()
    assert abs((y == 0).mean() - 0.25) < 0.03
    assert module.eval()(x) is x
    assert module(x[0]).shape == x[0].shape
    assert repr(module) == f"Dropout{dims}d(p=0.25, inplace=False)"
    with pytest.raises(ValueError, match=rf"\[dropout{dims}d\] expected an input of"):
        module.train()(annx.ones(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.max_pool2d(x[0, 0], 2), "an input of 4 dimensions, or 3 without"),
        (lambda x: F.adaptive_avg_pool2d(x, (1, 2, 3)), "output_size of 2 numbers"),
        (lambda x: F.interpolate(x), "either size or scale_factor"),
        (lambda x: F.interpolate(x, size=3, scale_factor=2), "either size or scale_factor"),
        (lambda x: F.interpolate(x, size=3, mode="cubic"), "expected mode nearest"),
        (lambda x: F.interpolate(x, size=3, mode="linear"), "1 spatial dimensions for mode"),
        (lambda x: F.interpolate(x, size=3, align_corners=True), "with linear modes only"),
        (lambda x: F.interpolate(x, scale_factor=0.01), "a size of at least 1"),
        (lambda x: F.interpolate(x, scale_factor=0), "scale_factor > 0 and below"),
        (lambda x: F.interpolate(x, scale_factor=float("inf")), "scale_factor > 0 and below"),
        (lambda x: F.max_pool2d(x, 3, padding=2**62), r"of at least 0 and below 2\*\*31"),
        (lambda x: F.interpolate(x, scale_factor=(2, 2, 2)), "1 or 2 numbers for scale_factor"),
        (lambda x: F.interpolate(x[0, 0], size=3), "an input of 3 to 5 dimensions"),
        (lambda x: nn.ZeroPad2d((1, 2)), "padding to be 1 or 4 numbers"),
    ],
)
def test_bad_arguments_of_pooling(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call(normal(1, 2, 5, 5))


def reference(x, w):
    """3x3, padding 1, in float64."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    h, v = x.shape[2:]
    return sum(
        np.einsum("nchw,kc->nkhw", padded[:, :, r : r + h, s : s + v], w[:, :, r, s])
        for r in range(3)
        for s in range(3)
    )


def test_winograd_is_as_accurate_as_the_direct_sum() -> None:
    """F(2x2, 3x3) adds fewer terms; its error stays below twice that of the plain chain."""
    x, w = normal(2, 64, 16, 16), normal(64, 64, 3, 3)
    exact = reference(x.numpy(), w.numpy().astype(np.float64))
    scale = np.sqrt((exact**2).mean())
    winograd = F.conv2d(x, w, padding=1).numpy()
    # Two groups that hold the same are not computed by Winograd.
    twice, both = annx.cat([x, x], 1), annx.cat([w, w], 0)
    direct = F.conv2d(twice, both, padding=1, groups=2)[:, :64].numpy()
    errors = [np.abs(y - exact).max() / scale for y in (winograd, direct)]
    assert not np.array_equal(winograd, direct)
    assert errors[0] <= 2 * errors[1]
    assert errors[0] < 1e-5


def test_a_small_network_learns_digits() -> None:
    annx.manual_seed(1)
    digits = annx.datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x = np.asarray(digits.data, np.float32).reshape(-1, 1, 8, 8)[order] / 16
    y = np.asarray(digits.target)[order]
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    model.compile(optimizer="adam", loss="cross_entropy", metrics=["accuracy"])
    model.fit(x[:1400], y[:1400], epochs=8, batch_size=32, verbose=0)
    assert model.evaluate(x[1400:], y[1400:], verbose=0)[1] > 0.95


def test_half_inputs_and_no_gradient_of_unused() -> None:
    layer = nn.Conv2d(3, 4, 3).half()
    y = layer(normal(1, 3, 5, 5).half())
    assert y.dtype is _core.float16
    y.sum().backward()
    assert layer.weight.grad.dtype is _core.float16
