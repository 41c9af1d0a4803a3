"""fit captures its steps by itself where that cannot be noticed, and says where it does not."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import re
from pathlib import Path
from typing import Any

import annx
import numpy as np
import pytest
from annx import nn, optim


def data(n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 6)).astype(np.float32)
    return x, (x.sum(1) > 0).astype(np.int64)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 2)
    )


def fitted(model: nn.Module, eagerly: bool, **options: Any) -> list[Any]:
    annx.manual_seed(4)
    x, y = data()
    model.compile("adam", "cross_entropy", ["accuracy"], run_eagerly=eagerly)
    history = model.fit(
        x, y, epochs=4, batch_size=32, validation_split=0.2, verbose=0, **options
    ).history
    return [history, {k: v.numpy().tobytes() for k, v in model.state_dict().items()}]


@pytest.mark.parametrize(
    "options", [{}, {"clip_grad_norm": 0.3}, {"class_weight": {0: 1.0, 1: 3.0}}]
)
def test_fit_gives_the_same_bits_captured_and_eagerly(options: dict[str, Any]) -> None:
    annx.manual_seed(1)
    eager, captured = network(), network()
    captured.load_state_dict(eager.state_dict())
    assert fitted(eager, True, **options) == fitted(captured, False, **options)
    train = next(s for k, s in captured._compiled.steps.items() if k != "test")
    assert train.reason is None
    assert train.programs
    # The whole batches and the shorter last one.
    assert len(train.programs) == 2


def test_fit_goes_on_where_it_stopped() -> None:
    annx.manual_seed(1)
    once, twice = network(), network()
    twice.load_state_dict(once.state_dict())
    x, y = data(128)
    weights = []
    for model, parts in ((once, [4]), (twice, [2, 2])):
        annx.manual_seed(3)
        model.compile("sgd", "cross_entropy")
        for epochs in parts:
            model.fit(x, y, epochs=epochs, verbose=0)
        weights.append({k: v.numpy().tobytes() for k, v in model.state_dict().items()})
    assert weights[0] == weights[1]


class Reader(nn.Module):
    def forward(self, x: annx.Tensor) -> annx.Tensor:
        return x if x.sum().item() > -1e9 else -x


class Chance(nn.Module):
    def forward(self, x: annx.Tensor) -> annx.Tensor:
        return x * random.random()


class Keeper(nn.Module):
    def forward(self, x: annx.Tensor) -> annx.Tensor:
        self.last = x * 2
        return self.last


@pytest.mark.parametrize(
    ("layer", "why"),
    [(Reader, "tensor's value"), (Chance, "two recordings"), (Keeper, "kept outside")],
)
def test_what_cannot_be_captured_runs_eagerly_and_is_told(
    layer: type[nn.Module], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results = []
    for eagerly in (True, False):
        annx.manual_seed(0)
        random.seed(0)
        model = nn.Sequential(nn.Linear(6, 2), layer())
        results.append(fitted(model, eagerly))
    assert results[0] == results[1]
    text = annx.debug.explain(model)
    assert "runs eagerly" in text
    assert why in text
    assert text in capsys.readouterr().out


def test_hooks_and_foreign_optimizers_run_eagerly() -> None:
    class Own(optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {})
            self.calls = 0

        def step(self, closure: Any = None) -> None:
            self.calls += 1

    model = network()
    model.compile(Own(model.parameters()), "cross_entropy")
    x, y = data(96)
    model.fit(x, y, epochs=2, verbose=0)
    assert model.optimizer.calls == 6
    assert "Own is not one of annx" in annx.debug.explain(model)

    hooked, calls = network(), []
    hooked[0].register_forward_hook(lambda *_: calls.append(1))
    hooked.compile("sgd", "cross_entropy")
    hooked.fit(x, y, epochs=2, verbose=0)
    assert len(calls) == 6
    assert "module '0' has hooks" in annx.debug.explain(hooked)


def test_frozen_layers_and_a_new_rate_are_noticed_between_fits() -> None:
    x, y = data(128)
    weights = []
    for eagerly in (True, False):
        annx.manual_seed(2)
        model = network()
        model.compile(lambda p: optim.SGD(p, lr=0.1), "cross_entropy", run_eagerly=eagerly)
        model.fit(x, y, epochs=2, verbose=0)
        model.optimizer.param_groups[0]["lr"] = 0.01
        model.fit(x, y, epochs=2, verbose=0)
        model[0].requires_grad_(False)
        model.fit(x, y, epochs=2, verbose=0)
        weights.append({k: v.numpy().tobytes() for k, v in model.state_dict().items()})
    assert weights[0] == weights[1]


def test_captured_models_can_be_copied_and_pickled() -> None:
    x, y = data(128)
    model = network()
    model.compile("adam", "cross_entropy")
    model.fit(x, y, epochs=2, verbose=0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
        other.fit(x, y, epochs=1, verbose=0)
        assert not np.array_equal(other.predict(x), model.predict(x))


def test_explain_and_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer = nn.Linear(3, 4)
    f = annx.jit(lambda x: annx.exp(nn.functional.relu(layer(x)) * 0.5) + 1.0)
    assert "nothing is captured" in annx.debug.explain(f)
    with pytest.raises(RuntimeError, match="call the function first"):
        annx.debug.trace(f, tmp_path / "t.json", annx.ones(2, 3))
    f(annx.ones(2, 3))
    text = annx.debug.explain(f)
    assert "arena" in text
    assert "'relu'" in text
    assert "fused[mul exp add]" in text
    assert "not fused" not in text
    grads = annx.jit(lambda x: list(annx.autograd.grad(layer(x).sum(), [*layer.parameters()])))
    grads(annx.ones(2, 3))
    assert re.search(r"res\d+\(4, 3\), res\d+\(4,\) = linear_back", annx.debug.explain(grads))
    capsys.readouterr()
    annx.debug.trace(f, tmp_path / "t.json", annx.ones(2, 3))
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert [e["name"] for e in events] == ["linear", "fused"]
    assert all(e["dur"] >= 0 for e in events)
    with pytest.raises(TypeError, match="annx.jit"):
        annx.debug.explain(3)
    with pytest.raises(TypeError, match="annx.jit"):
        annx.debug.trace(len, tmp_path / "t.json")


def test_explain_says_why_ops_stand_alone() -> None:
    layer = nn.Linear(3, 4)

    def reason(f: Any, *args: annx.Tensor) -> str:
        step = annx.jit(f)
        step(*args)
        return " ".join(re.findall(r"not fused: (.*)", annx.debug.explain(step, io.StringIO())))

    x = annx.ones(2, 3)
    assert reason(lambda x: x.exp(), x) == "arg0 is not computed here; its result is handed out"
    assert reason(lambda x: x.sum() + 1, x) == "it computes one number"
    assert re.fullmatch(
        r"amax, which makes t\d+, does not compute relu too; "
        "sum, which reads it, is no elementwise op",
        reason(lambda x: nn.functional.relu(x.amax(1)).sum(), x),
    )

    def read_again(x: annx.Tensor) -> annx.Tensor:
        y = layer(x)
        return (nn.functional.relu(y).sum() + y.amax()).detach()

    assert re.search(r"t\d+ is read again by amax; sum, which", reason(read_again, x))
    assert "log beside it has another shape" in reason(lambda x: x.exp().reshape(3, 2).log(), x)
    assert "something has to run between it and mul; cumsum, which reads it" in reason(
        lambda x: x.exp().cumsum(0) * x.exp(), x
    )
