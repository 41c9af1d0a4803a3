"""F(4x4, 3x3), asked for by ``annx.backends.conv``: right, the same everywhere, and honoured."""

from __future__ import annotations

import threading

import annx
import numpy as np
import pytest
from annx import _core, nn
from annx.nn import functional as F

conv = annx.backends.conv

# batch, channels before and after, height and width, padding
SHAPES = [
    (1, 16, 16, 6, 6, 0),  # one tile, no border
    (2, 16, 19, 7, 8, 1),  # odd rows, a panel that is not full
    (3, 21, 48, 9, 5, 2),
    (1, 16, 64, 3, 3, 1),  # smaller than a tile
    (1, 17, 16, 3, 5, 0),  # one row of results
    (2, 33, 20, 5, 38, 1),  # more tiles in a row than are transformed at once
    (5, 40, 33, 30, 31, 1),  # several tasks
    (2, 160, 96, 8, 9, 1),
    (1, 288, 272, 6, 5, 1),  # weights transformed a panel and some channels at a time
]


def numbers(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def run(shape, form="f43", dtype=None, last=False):
    """Arrays x, w, g, and result, gradients of x and w."""
    batch, before, after, height, width, padding = shape
    rng = np.random.default_rng(list(shape))
    arrays = numbers(rng, batch, before, height, width), numbers(rng, after, before, 3, 3)
    size = (batch, after, height + 2 * padding - 2, width + 2 * padding - 2)
    arrays = (*arrays, numbers(rng, *size))
    x, w, g = (annx.from_numpy(a).to(dtype or annx.float32) for a in arrays)
    if last:
        x, w, g = (t.to(memory_format=annx.channels_last) for t in (x, w, g))
    x.requires_grad = w.requires_grad = True
    with conv.flags(winograd=form):
        y = F.conv2d(x, w, padding=padding)
    y.backward(g)
    return arrays, [t.numpy() for t in (y.detach(), x.grad, w.grad)]


def expected(x, w, g, padding):
    """Result and gradients of x and w in float64."""
    x, w, g = (a.astype(np.float64) for a in (x, w, g))
    wide = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    h, v = g.shape[2:]
    y, dx, dw = np.zeros_like(g), np.zeros_like(wide), np.zeros_like(w)
    for r, s in np.ndindex(3, 3):
        part = wide[:, :, r : r + h, s : s + v]
        y += np.einsum("nchw,kc->nkhw", part, w[:, :, r, s])
        dx[:, :, r : r + h, s : s + v] += np.einsum("nkhw,kc->nchw", g, w[:, :, r, s])
        dw[:, :, r, s] = np.einsum("nchw,nkhw->kc", part, g)
    return y, dx[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]], dw


@pytest.mark.parametrize("last", [False, True], ids=["rows", "channels_last"])
@pytest.mark.parametrize("shape", SHAPES)
def test_results_are_those_of_the_definition(shape, last) -> None:
    for dtype, bound in ((annx.float32, 2e-5), (annx.float64, 5e-14)):
        arrays, found = run(shape, dtype=dtype, last=last)
        for value, exact in zip(found, expected(*arrays, shape[-1]), strict=True):
            assert np.abs(value - exact).max() <= bound * np.sqrt((exact**2).mean())


@pytest.mark.parametrize("shape", SHAPES)
def test_targets_and_threads_give_the_same_bits(shape) -> None:
    target, threads = _core.active_target(), annx.num_threads()
    found = {}
    try:
        for name in _core.supported_targets():
            for count in (1, 3):
                _core.set_target(name)
                annx.set_num_threads(count)
                found[name, count] = b"".join(a.tobytes() for a in run(shape)[1])
    finally:
        _core.set_target(target)
        annx.set_num_threads(threads)
    assert len(set(found.values())) == 1


@pytest.mark.parametrize("form", ["f23", "f43"])
@pytest.mark.parametrize("shape", [(9, 200, 256, 13, 13), (1, 288, 256, 9, 9), (1, 48, 40, 9, 9)])
def test_many_and_few_weights_and_tiles(shape, form) -> None:
    """Weights for all tiles at once, a panel at a time, or per task; made in the call or ahead."""
    batch, before, after, *size = shape
    rng = np.random.default_rng(0)
    layer = nn.Conv2d(before, after, 3, padding=1, bias=False)
    x = annx.from_numpy(numbers(rng, batch, before, *size))
    w = layer.weight.detach().numpy()
    found = set()
    target, threads = _core.active_target(), annx.num_threads()
    with conv.flags(winograd=form), annx.no_grad():
        y = layer(x).numpy()
        assert np.array_equal(annx.prepare(layer, x)(x).numpy(), y)
        try:
            for name in _core.supported_targets():
                for count in (1, 3):
                    _core.set_target(name)
                    annx.set_num_threads(count)
                    found.add(layer(x).numpy().tobytes())
        finally:
            _core.set_target(target)
            annx.set_num_threads(threads)
    assert found == {y.tobytes()}
    exact = expected(x.numpy(), w, np.zeros((batch, after, *size)), 1)[0]
    assert np.abs(y - exact).max() <= 2e-5 * np.sqrt((exact**2).mean())


@pytest.mark.parametrize("channels", [16, 64, 256])
def test_its_error_is_at_most_three_times_that_of_the_direct_sum(channels) -> None:
    shape = (2, channels, 64, 20, 20, 1)
    (x, w, g), f43 = run(shape)
    f23 = run(shape, "f23")[1]
    # Two groups that hold the same are not computed by Winograd.
    twice, both = np.concatenate([x, x], 1), np.concatenate([w, w])
    direct = F.conv2d(annx.from_numpy(twice), annx.from_numpy(both), padding=1, groups=2)
    exact = expected(x, w, g, 1)
    scale = np.sqrt((exact[0] ** 2).mean())
    rms = [
        np.sqrt(((y - exact[0]) ** 2).mean()) / scale
        for y in (f43[0], f23[0], direct.numpy()[:, :64])
    ]
    assert rms[1] < rms[2] < rms[0] <= 3 * rms[2], rms
    assert rms[0] < 2e-7 * np.sqrt(channels)
    assert not np.array_equal(f43[1], f23[1])
    # The weight's gradient is that of F(2x2, 3x3) either way.
    assert np.array_equal(f43[2], f23[2])


def test_tiles_that_would_be_mostly_border_are_left_to_f23() -> None:
    for size in ((4, 4), (7, 7)):
        f43, f23 = (run((1, 16, 16, *size, 0), form)[1] for form in ("f43", "f23"))
        assert np.array_equal(f43[0], f23[0])


def test_an_image_alone_has_the_bits_that_it_has_in_a_batch() -> None:
    rng = np.random.default_rng(0)
    x, w = annx.from_numpy(numbers(rng, 5, 24, 13, 13)), annx.from_numpy(numbers(rng, 40, 24, 3, 3))
    with conv.flags(winograd="f43"):
        batch = F.conv2d(x, w, padding=1).numpy()
        alone = np.concatenate([F.conv2d(x[i : i + 1], w, padding=1).numpy() for i in range(5)])
    assert np.array_equal(batch, alone)


def test_half_types_and_transposed_layers_take_part() -> None:
    rng = np.random.default_rng(0)
    x, w = annx.from_numpy(numbers(rng, 1, 16, 9, 9)), annx.from_numpy(numbers(rng, 16, 16, 3, 3))
    for call in (lambda x: F.conv2d(x, w.to(x.dtype)), lambda x: F.conv_transpose2d(x, w)):
        outs = []
        for form in ("f23", "f43"):
            with conv.flags(winograd=form):
                outs.append(call(x).numpy())
        assert not np.array_equal(*outs)
        np.testing.assert_allclose(*outs, rtol=1e-4, atol=1e-4)
    with conv.flags(winograd="f43"):
        y = F.conv2d(x.to(annx.bfloat16), w.to(annx.bfloat16))
        exact = F.conv2d(x.to(annx.bfloat16).float(), w.to(annx.bfloat16).float())
    assert np.array_equal(y.float().numpy(), exact.to(annx.bfloat16).float().numpy())


def test_gradients_of_gradients_keep_the_choice() -> None:
    rng = np.random.default_rng(3)
    x = annx.from_numpy(numbers(rng, 1, 16, 8, 8)).double().requires_grad_()
    w = annx.from_numpy(numbers(rng, 16, 16, 3, 3)).double().requires_grad_()

    def second(form):
        with conv.flags(winograd=form):
            y = F.conv2d(x, w, padding=1)
        (dx,) = annx.autograd.grad([(y * y).sum()], [x], create_graph=True)
        return [t.numpy() for t in annx.autograd.grad([(dx * dx).sum()], [x, w])]

    f43, f23 = second("f43"), second("f23")
    for a, b in zip(f43, f23, strict=True):
        assert not np.array_equal(a, b)
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


def test_the_gradient_keeps_to_the_choice_of_the_forward_call() -> None:
    shape = SHAPES[1]
    (_, w, g), (_, inside, _) = run(shape)  # run() leaves the block before backward
    dx = _core.ops.convolution(
        annx.from_numpy(g), annx.from_numpy(w), None, 1, 1, 1, True, 0, 1, "none", "f43"
    )
    assert np.array_equal(inside, dx.numpy())


def test_a_checkpoint_runs_again_by_the_choice_of_its_first_run() -> None:
    rng = np.random.default_rng(5)
    w = [annx.from_numpy(numbers(rng, 16, 16, 3, 3)).requires_grad_() for _ in range(2)]
    x = annx.from_numpy(numbers(rng, 1, 16, 9, 9))

    def block(x):
        return F.conv2d(F.relu(F.conv2d(x, w[0], padding=1)), w[1], padding=1)

    found = []
    for keep in (True, False):
        w[0].grad = w[1].grad = None
        with conv.flags(winograd="f43"):
            y = block(x) if keep else annx.checkpoint(block, x)
        y.sum().backward()
        found.append([v.grad.numpy() for v in w])
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_the_switch() -> None:
    assert conv.winograd == "f23"
    seen = {}

    def look(name):
        seen[name] = conv.winograd

    def elsewhere(name):
        thread = threading.Thread(target=look, args=(name,))
        thread.start()
        thread.join()

    try:
        with conv.flags(winograd="f43"):
            assert conv.winograd == "f43"
            elsewhere("during a block")
            with conv.flags(winograd="f23"):
                assert conv.winograd == "f23"
                conv.winograd = "f43"  # for this block alone
                assert conv.winograd == "f43"
            assert conv.winograd == "f43"
        assert conv.winograd == "f23"
        conv.winograd = "f43"
        elsewhere("after setting it")
        chosen = conv.flags(winograd="f23")(lambda: conv.winograd)
        assert chosen() == "f23"
        assert conv.winograd == "f43"
    finally:
        conv.winograd = "f23"
    assert seen == {"during a block": "f23", "after setting it": "f43"}


@pytest.mark.parametrize("bad", ["f63", "", None, 4])
def test_unknown_forms_are_refused(bad) -> None:
    with pytest.raises(ValueError, match=r"\[backends.conv\] expected winograd 'f23' or 'f43'"):
        conv.winograd = bad
    with pytest.raises(ValueError, match="expected winograd 'f23' or 'f43' but got"):
        conv.flags(winograd=bad)
    assert conv.winograd == "f23"


def network():
    annx.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.Flatten(),
        nn.Linear(16 * 64, 10),
    )


def test_captured_and_prepared_calls_are_told_apart_by_it() -> None:
    model = network()
    x = annx.from_numpy(numbers(np.random.default_rng(1), 2, 1, 8, 8))
    eager = {}
    for form in ("f23", "f43"):
        with conv.flags(winograd=form):
            eager[form] = model(x).detach().numpy()
    assert not np.array_equal(eager["f23"], eager["f43"])
    step, serve = annx.jit(lambda x: model(x)), annx.prepare(model, x)
    for form in ("f23", "f43", "f23", "f43"):
        with conv.flags(winograd=form):
            assert np.array_equal(step(x).detach().numpy(), eager[form])
            assert np.array_equal(serve(x).numpy(), eager[form])
    assert step.captures == 2
    assert len(serve.programs) == 2


@pytest.mark.parametrize("at", [0, 3])
def test_fit_honours_a_choice_made_between_epochs(at) -> None:
    """Captured and native epochs end with the weights of eager ones."""
    rng = np.random.default_rng(2)
    x, y = numbers(rng, 48, 1, 8, 8), rng.integers(0, 10, 48)

    class Switch(annx.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            conv.winograd = "f43" if epoch >= at else "f23"

    def weights(eagerly, callbacks):
        model = network()
        model.compile("sgd", "cross_entropy", run_eagerly=eagerly)
        try:
            model.fit(x, y, epochs=6, batch_size=8, verbose=0, callbacks=callbacks)
        finally:
            conv.winograd = "f23"
        return b"".join(p.detach().numpy().tobytes() for p in model.parameters())

    captured, eager = weights(False, [Switch()]), weights(True, [Switch()])
    assert captured == eager
    assert captured != weights(False, [])
