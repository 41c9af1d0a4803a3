"""annx.prepare: inference by many threads, with the bits of eager calls."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import annx
import numpy as np
import pytest
from annx import _core, nn, optim


def x_of(*shape: int, seed: int = 0) -> annx.Tensor:
    data = np.random.default_rng(seed).standard_normal(shape)
    return annx.tensor(data.astype(np.float32))


def eager(module: nn.Module, *inputs: Any) -> list[bytes]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    with annx.no_grad():
        out = bits(module(*inputs))
    for part, training in modes:
        part.training = training
    return out


def bits(tree: Any) -> list[bytes]:
    return [t.detach().numpy().tobytes() for t in annx.pytree.leaves(tree)]


class Positions(nn.Module):
    """Adds what depends on weights alone, in another dtype and layout."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(annx.rand(8, 5).to(annx.bfloat16))

    def forward(self, x: annx.Tensor) -> annx.Tensor:
        mask = annx.exp(annx.arange(5).to(annx.float32) * 0.1)
        return x + (self.table.to(annx.float32).T.contiguous() * 0.5).T[: x.shape[0]] * mask


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (
        lambda: nn.Sequential(
            nn.Linear(10, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(64, 32),
            nn.BatchNorm1d(32, affine=False),
            nn.GELU(),
            nn.Linear(32, 1),
        ),
        (4, 10),
    ),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 16, 3),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, groups=2),
            nn.Conv2d(32, 8, 1, bias=False),
            nn.ConvTranspose2d(8, 8, 3, stride=2),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.Flatten(),
            nn.LazyLinear(3) if hasattr(nn, "LazyLinear") else nn.Linear(392, 3),
        ),
        (2, 1, 20, 20),
    ),
    "transformer": (
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False
        ),
        (2, 7, 16),
    ),
    "recurrent": (lambda: nn.LSTM(6, 5, 2, bidirectional=True), (4, 3, 6)),
    "recurrent, projected": (lambda: nn.LSTM(6, 20, proj_size=3, bias=False), (4, 3, 6)),
    # Few rows of a wide input: multiplied for all steps at once.
    "recurrent, wide": (lambda: nn.GRU(400, 40), (5, 2, 400)),
    "recurrent, groups": (lambda: nn.RNN(30, 40, nonlinearity="relu"), (40, 70, 30)),
    "folded": (Positions, (8, 5)),
    "double": (lambda: nn.Sequential(nn.Linear(6, 40), nn.BatchNorm1d(40)).double(), (4, 6)),
    "half": (lambda: nn.Sequential(nn.Linear(6, 40), nn.BatchNorm1d(40)).bfloat16(), (4, 6)),
}


def build(name: str) -> tuple[nn.Module, Callable[[int], annx.Tensor]]:
    annx.manual_seed(0)
    make, shape = NETWORKS[name]
    module = make()
    dtype = next(module.parameters()).dtype
    if name == "folded":
        dtype = annx.float32
    inputs = lambda seed: x_of(*shape, seed=seed).to(dtype)  # noqa: E731
    module(inputs(99))  # running statistics
    return module, inputs


def write_all(module: nn.Module) -> None:
    with annx.no_grad():
        for p in [*module.parameters(), *module.buffers()]:
            if p.dtype.is_floating_point:
                p.copy_(p * 1.25 + 0.01)


@pytest.mark.parametrize("name", NETWORKS)
def test_bits_of_eager_calls_also_after_weights_change(name: str) -> None:
    module, inputs = build(name)
    serve = annx.prepare(module, inputs(0))
    for _ in range(2):
        for seed in range(3):
            x = inputs(seed)
            assert bits(serve(x)) == eager(module, x)
        write_all(module)
    state = {k: v.detach().clone() for k, v in module.state_dict().items()}
    write_all(module)
    serve(inputs(1))
    module.load_state_dict(state)
    assert bits(serve(inputs(1))) == eager(module, inputs(1))
    assert len(serve.programs) == 1
    assert all(part.training for part in module.modules())


@pytest.mark.parametrize("name", ["mlp", "cnn", "folded", "recurrent, wide"])
def test_eight_threads(name: str) -> None:
    module, inputs = build(name)
    serve = annx.prepare(module)
    xs = [inputs(seed) for seed in range(8)]
    want = [eager(module, x) for x in xs]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(60):
            if bits(serve(xs[k])) != want[k]:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert len(serve.programs) == 1


def test_threads_while_weights_are_exchanged() -> None:
    """Each result is that of weights which were there at some time, not of a mixture."""
    layer = nn.Linear(1, 1, bias=False).to(annx.bfloat16)
    serve = annx.prepare(layer, annx.ones(1, 1).to(annx.bfloat16))
    stop = threading.Event()
    seen: set[float] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(serve(annx.ones(1, 1).to(annx.bfloat16)).item())

    threads = [threading.Thread(target=read) for _ in range(4)]
    nn.init.constant_(layer.weight, 0.0)
    for t in threads:
        t.start()
    for k in range(200):
        nn.init.constant_(layer.weight, float(k))
    stop.set()
    for t in threads:
        t.join()
    assert all(value == int(value) and 0 <= value < 200 for value in seen)
    assert serve(annx.ones(1, 1).to(annx.bfloat16)).item() == 199.0


@pytest.mark.parametrize("name", ["cnn", "recurrent, projected", "recurrent, wide"])
def test_another_simd_target(name: str) -> None:
    """What was packed for one target is not read by the kernels of another."""
    module, inputs = build(name)
    before = _core.active_target()
    want = eager(module, inputs(0))
    try:
        for first in _core.supported_targets():
            _core.set_target(first)
            serve = annx.prepare(module, inputs(0))
            for other in _core.supported_targets():
                _core.set_target(other)
                assert bits(serve(inputs(0))) == want
    finally:
        _core.set_target(before)


def test_batch_sizes_and_arrays() -> None:
    module, _ = build("mlp")
    serve = annx.prepare(module, np.zeros((1, 10), np.float32))
    data = x_of(37, 10).numpy()
    with annx.no_grad():
        want = module.eval()(annx.tensor(data)).numpy()
    for size in (1, 5, 37, 64, None):
        np.testing.assert_array_equal(serve.predict(data, batch_size=size), want)
    assert {p.sizes()["instructions"] for p in serve.programs}
    np.testing.assert_array_equal(module.predict(data, batch_size=5), want)
    lstm, inputs = build("recurrent")
    out, (h, c) = annx.prepare(lstm).predict(inputs(0))
    assert [type(a) for a in (out, h, c)] == [np.ndarray] * 3
    with pytest.raises(ValueError, match=r"one number of samples but got shapes \(37, 10\), \(3,"):
        serve.predict(data, data[:3], batch_size=2)
    with pytest.raises(ValueError, match="batch_size >= 1 but got 0"):
        serve.predict(data, batch_size=0)


def test_the_cache_is_bounded() -> None:
    serve = annx.prepare(nn.Linear(4, 2), cache_size=3)
    for n in range(1, 9):
        serve(x_of(n, 4))
    assert len(serve.programs) == 3
    with pytest.raises(ValueError, match="cache_size >= 1"):
        annx.prepare(nn.Linear(4, 2), cache_size=0)


def test_replaced_parameters_and_attributes_are_seen() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.1))
    serve, x = annx.prepare(module), x_of(3, 4)
    serve(x)
    module[0].weight = nn.Parameter(annx.ones(4, 4))
    assert bits(serve(x)) == eager(module, x)
    module[0].weight.data = annx.full((4, 4), -2.0)
    assert bits(serve(x)) == eager(module, x)
    module[1].negative_slope = 0.5
    assert bits(serve(x)) == eager(module, x)
    nn.Linear(2, 2)  # elsewhere
    before = serve.programs
    assert bits(serve(x)) == eager(module, x)
    assert serve.programs == before


def test_training_goes_on_beside_it() -> None:
    module, inputs = build("mlp")
    serve = annx.prepare(module, inputs(0))
    opt = optim.Adam(module.parameters(), lr=0.01)

    @annx.jit
    def step(x: annx.Tensor) -> annx.Tensor:
        opt.zero_grad()
        loss = module(x).square().mean()
        loss.backward()
        opt.step()
        return loss

    for k in range(5):
        step(inputs(k))
        assert bits(serve(inputs(0))) == eager(module, inputs(0))
        assert module.training


def test_writes_through_shared_memory_need_refresh() -> None:
    norm, means = nn.BatchNorm1d(3), np.zeros(3, np.float32)
    norm.running_mean = annx.from_numpy(means)
    serve, x = annx.prepare(norm), x_of(2, 3)
    serve(x)
    means[:] = 2.0
    serve.refresh()
    assert bits(serve(x)) == eager(norm, x)


def test_pickling() -> None:
    module, inputs = build("cnn")
    serve = annx.prepare(module, inputs(0))
    again = pickle.loads(pickle.dumps(serve))
    assert not again.programs
    assert bits(again(inputs(1))) == bits(serve(inputs(1)))


def test_what_cannot_be_prepared() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", annx.zeros(1))

        def forward(self, x: annx.Tensor) -> annx.Tensor:
            self.count.copy_(self.count + 1)
            return x * 2

    class Looks(nn.Module):
        def forward(self, x: annx.Tensor) -> annx.Tensor:
            return x if x.sum() > 0 else -x

    x = annx.ones(2)
    with pytest.raises(RuntimeError, match="writes no state in evaluation mode but Counts does"):
        annx.prepare(Counts(), x)
    with pytest.raises(RuntimeError, match="inside a captured call"):
        annx.prepare(Looks(), x)
    with pytest.raises(TypeError, match="expected a Module but got function"):
        annx.prepare(lambda x: x, x)  # type: ignore[arg-type]
    hooked = nn.Sequential(nn.Identity())
    hooked[0].register_forward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="without hooks but 0 has some"):
        annx.prepare(hooked, x)


def test_results_stay_and_need_no_gradient() -> None:
    module, inputs = build("mlp")
    serve = annx.prepare(module)
    kept = [serve(inputs(seed)) for seed in range(4)]
    assert [bits(t) for t in kept] == [eager(module, inputs(seed)) for seed in range(4)]
    assert not any(t.requires_grad for t in kept)


def test_explain_says_what_is_made_once() -> None:
    module, inputs = build("folded")
    serve = annx.prepare(module, inputs(0))
    text = annx.debug.explain(serve)
    assert "constant folding:" in text
    assert text.count("once  ") >= 3
    assert serve.programs[0].sizes()["instructions"] == 1
    for name in ("mlp", "cnn", "recurrent, wide"):
        module, inputs = build(name)
        serve = annx.prepare(module, inputs(0))
        assert "weights kept ready" in annx.debug.explain(serve)
        replayed = annx.jit(module.eval())
        replayed(inputs(0))
        assert "weights kept ready" not in annx.debug.explain(replayed)


def test_inputs_may_be_trees() -> None:
    lstm = nn.LSTM(4, 3).eval()
    x, state = x_of(1, 2, 4), (x_of(1, 2, 3, seed=1), x_of(1, 2, 3, seed=2))
    serve = annx.prepare(lstm)
    assert bits(serve(x, state)) == eager(lstm, x, state)
    state = serve(x, state)[1]
    assert bits(serve(x, state)) == eager(lstm, x, state)
    assert bits(serve(x.numpy(), tuple(t.numpy() for t in state))) == eager(lstm, x, state)
    assert len(serve.programs) == 1
    assert bits(serve(x)) == eager(lstm, x)
    assert bits(serve([[[1.0, 2.0, 3.0, 4.0]]])) == eager(
        lstm, annx.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    )

    class Named(nn.Module):
        def forward(self, parts: Any) -> Any:
            return parts["a"] * 2 + parts["b"][0]

    serve = annx.prepare(Named())
    for order in (("a", "b"), ("b", "a")):
        parts = {"a": x, "b": [x]}
        assert bits(serve({name: parts[name] for name in order})) == bits(x * 3)
    packed = nn.utils.rnn.pack_sequence([annx.rand(5, 4), annx.rand(3, 4)])
    with pytest.raises(RuntimeError, match="whose result has a fixed shape"):
        annx.prepare(lstm)(packed)
    with pytest.raises(TypeError, match=r"\[prepare\] expected Tensors, arrays.* but got object"):
        annx.prepare(lstm)(x, object())


def test_predict_in_batches_joins_what_has_rows() -> None:
    class Parts(nn.Module):
        def forward(self, x: annx.Tensor) -> Any:
            return {"rows": x * 2, "other": (None, 3, "name")}

    found = annx.prepare(Parts()).predict(np.ones((5, 2), np.float32), batch_size=2)
    assert found["rows"].shape == (5, 2)
    assert found["other"] == (None, 3, "name")

    class Single(nn.Module):
        def forward(self, x: annx.Tensor) -> annx.Tensor:
            return x.sum()

    with pytest.raises(ValueError, match="outputs with a row per sample"):
        annx.prepare(Single()).predict(np.ones((5, 2), np.float32), batch_size=2)
