"""What changes between the calls of a captured training step, and is noticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annx
import numpy as np
import pytest
from annx import nn, optim

Change = Callable[[int, nn.Sequential, Any], object]


def x_of(*shape: int) -> annx.Tensor:
    return annx.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def bits(*tensors: annx.Tensor) -> list[bytes]:
    return [t.detach().numpy().tobytes() for t in tensors]


def train(change: Change, optimizer: Callable[[Any], Any], jit: bool) -> tuple[list[Any], int]:
    """Losses and weights of ten steps with ``change`` ahead of each, and how many were recorded."""
    annx.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )
    opt = optimizer(list(model.parameters()))
    rng = np.random.default_rng(1)

    def step(x: annx.Tensor, y: annx.Tensor) -> annx.Tensor:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    run: Any = annx.jit(step) if jit else step
    seen = []
    for k in range(10):
        change(k, model, opt)
        x = annx.tensor(rng.standard_normal((8, 4)).astype(np.float32))
        seen += bits(run(x, annx.tensor(rng.integers(0, 3, 8))))
    seen += bits(*model.parameters(), *model.buffers())
    return seen, run.captures if jit else 0


def adam(params: Any) -> optim.Adam:
    return optim.Adam(params, lr=0.05)


def halves(params: Any) -> optim.Adam:
    return optim.Adam([{"params": params[:2]}, {"params": params[2:], "lr": 0.01}], lr=0.05)


def first_half(params: Any) -> optim.Adam:
    opt = optim.Adam(params[:2], lr=0.05)
    opt.defaults["rest"] = params[2:]
    return opt


def at(when: int, change: Callable[[nn.Sequential, Any], object]) -> Change:
    return lambda k, model, opt: change(model, opt) if k == when else None


def replace_head(model: Any, opt: Any) -> None:
    model[4] = nn.Linear(8, 3)
    opt.add_param_group({"params": model[4].parameters()})


CHANGES: dict[str, tuple[Change, Callable[[Any], Any], int]] = {
    "freeze": (lambda k, m, o: m[0].requires_grad_(k < 4), adam, 2),
    "unfreeze": (lambda k, m, o: m[0].requires_grad_(k >= 4), adam, 2),
    "amsgrad": (lambda k, m, o: o.param_groups[0].update(amsgrad=k > 5), adam, 2),
    "momentum": (
        lambda k, m, o: o.param_groups[0].update(momentum=0.1 * max(0, k - 4)),
        lambda params: optim.SGD(params, lr=0.1),
        2,
    ),
    # The gradients of the rest are added up until they are trained.
    "add a group": (
        at(5, lambda m, o: o.add_param_group({"params": o.defaults.pop("rest")})),
        first_half,
        3,
    ),
    "remove a group": (at(5, lambda m, o: o.param_groups.pop()), halves, 2),
    "remove a parameter": (at(5, lambda m, o: o.param_groups[0]["params"].pop()), adam, 2),
    "replace a layer": (at(5, replace_head), adam, 3),
    "module hook": (
        at(5, lambda m, o: m[0].register_forward_hook(lambda mod, args, out: out * 2)),
        adam,
        2,
    ),
    "tensor hook": (at(5, lambda m, o: m[0].weight.register_hook(lambda g: g * 2)), adam, 2),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_between_calls_is_noticed(name: str) -> None:
    change, optimizer, most = CHANGES[name]
    want, _ = train(change, optimizer, jit=False)
    got, captures = train(change, optimizer, jit=True)
    assert got == want
    assert 2 <= captures <= most


def test_a_removed_hook_is_noticed() -> None:
    layer = nn.Linear(2, 2)
    f = annx.jit(lambda x: layer(x))
    handle = layer.register_forward_hook(lambda module, args, out: out * 2)
    f(x_of(1, 2))
    handle.remove()
    assert bits(f(x_of(1, 2))) == bits(layer(x_of(1, 2)))


def test_state_can_be_read_when_a_group_is_gone() -> None:
    params = [nn.Parameter(annx.ones(2)) for _ in range(2)]
    opt = optim.Adam([{"params": [p]} for p in params])
    for p in params:
        p.grad = annx.ones(2)
    opt.step()
    opt.param_groups.pop()
    assert [s["step"].item() for s in opt.state_dict()["state"].values()] == [1.0]
    opt.step()
    assert opt.state_dict()["state"][0]["step"].item() == 2.0


def test_a_learning_rate_may_be_a_tensor() -> None:
    w = nn.Parameter(annx.ones(2))
    w.grad = annx.ones(2)
    optim.SGD([w], lr=annx.tensor(0.5)).step()  # type: ignore[arg-type]
    assert w.tolist() == [0.5, 0.5]
    opt = optim.SGD([w], lr=0.1)

    @annx.jit
    def step(lr: float) -> None:
        opt.param_groups[0]["lr"] = lr
        opt.step()

    with pytest.raises(RuntimeError, match="a number given as an argument"):
        step(0.5)


@pytest.mark.parametrize("grad", [False, True])
def test_data_of_closed_over_tensors_may_be_replaced(grad: bool) -> None:
    w = annx.ones(2, 2, requires_grad=grad)
    for f in (annx.jit(lambda x: x @ w), annx.jit(lambda x: x @ w.T)):
        w.data = annx.ones(2, 2)
        f(annx.ones(2))
        w.data = annx.tensor([[1.0, 2.0], [3.0, 4.0]])
        for _ in range(2):
            assert bits(f(annx.ones(2))) == bits(f.__wrapped__(annx.ones(2)))
        w.data = w.data.T
        assert bits(f(annx.ones(2))) == bits(f.__wrapped__(annx.ones(2)))


def test_freezing_within_a_step_is_replayed() -> None:
    def losses(jit: bool) -> tuple[list[Any], int]:
        annx.manual_seed(0)
        maker, judge = nn.Linear(3, 4), nn.Linear(4, 1)
        makers, judges = optim.Adam(maker.parameters()), optim.Adam(judge.parameters())

        def step(z: annx.Tensor, x: annx.Tensor) -> tuple[annx.Tensor, annx.Tensor]:
            judges.zero_grad()
            first = (judge(maker(z).detach()) - judge(x)).mean()
            first.backward()
            judges.step()
            judge.requires_grad_(False)
            makers.zero_grad()
            second = -judge(maker(z)).mean()
            second.backward()
            makers.step()
            judge.requires_grad_(True)
            return first, second

        run: Any = annx.jit(step) if jit else step
        z, x = x_of(5, 3), x_of(5, 4)
        return [bits(*run(z, x)) for _ in range(6)], run.captures if jit else 0

    want, _ = losses(False)
    assert losses(True) == (want, 1)


def test_a_hook_of_the_step_itself_is_no_change() -> None:
    w = nn.Parameter(annx.ones(3))

    @annx.jit
    def step(x: annx.Tensor) -> annx.Tensor:
        handle = w.register_hook(lambda grad: grad * 2)
        w.grad = None
        (w * x).sum().backward()
        handle.remove()
        assert w.grad is not None
        return w.grad

    assert [step(annx.full((3,), float(k))).tolist()[0] for k in range(4)] == [0, 2, 4, 6]
    assert step.captures == 1


def test_leaves_made_by_the_step_are_no_state() -> None:
    layer = nn.Linear(4, 1)
    opt = optim.SGD(layer.parameters(), lr=0.1)

    @annx.jit
    def step(x: annx.Tensor) -> annx.Tensor:
        opt.zero_grad()
        leaf = x.detach().requires_grad_()
        (grad,) = annx.autograd.grad(layer(leaf).square().sum(), [leaf], create_graph=True)
        penalty = (grad.square().sum() - 1).square()
        penalty.backward()  # also to the grad of leaf
        opt.step()
        return penalty

    for _ in range(4):
        step(x_of(3, 4))
    assert step.captures == 1


def test_leaves_computed_by_the_step_are_no_state() -> None:
    def weights(captured: bool) -> tuple[list[Any], list[Any]]:
        annx.manual_seed(0)
        layer = nn.Linear(4, 1)
        opt = optim.SGD(layer.parameters(), lr=0.1)

        def step(x: annx.Tensor) -> annx.Tensor:
            opt.zero_grad()
            # A penalty on the gradient at a place between samples.
            leaf = (x * 0.25 + 1).detach().requires_grad_()
            (grad,) = annx.autograd.grad(layer(leaf).square().sum(), [leaf], create_graph=True)
            scale = annx.ones(4, requires_grad=True)
            (grad * scale).square().sum().backward()
            opt.step()
            assert leaf.grad is not None
            assert scale.grad is not None
            return leaf.grad + scale.grad

        replayed = annx.jit(step)
        grads = [(replayed if captured else step)(x_of(3, 4) * k).tolist() for k in range(1, 5)]
        assert replayed.captures == int(captured)
        return grads, layer.weight.tolist()

    assert weights(True) == weights(False)


def test_a_leaf_of_the_step_that_is_kept_is_an_error() -> None:
    kept = []

    @annx.jit
    def step(x: annx.Tensor) -> None:
        leaf = (x * 2).detach().requires_grad_()
        leaf.square().sum().backward()
        kept.append(leaf)

    with pytest.raises(RuntimeError, match="kept outside"):
        step(x_of(3, 4))


def test_a_turn_may_change_what_the_next_one_finds() -> None:
    w = nn.Parameter(annx.ones(1))

    @annx.jit
    def step(x: annx.Tensor) -> None:
        (w * x).sum().backward()

    one = annx.ones(1)
    step(one)
    step(one)
    waiting = threading.Thread(target=step, args=(one,))
    with step._lock:  # as another call that is at work
        waiting.start()
        time.sleep(0.1)
        w.grad = None
    waiting.join()
    grad: Any = w.grad
    assert grad.item() == 1.0


def test_fit_notices_a_frozen_layer() -> None:
    def weights(eagerly: bool) -> list[bytes]:
        annx.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

        class Freeze(annx.callbacks.Callback):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                model[0].requires_grad_(epoch < 3)

        model.compile("adam", "cross_entropy", run_eagerly=eagerly)
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((40, 4)).astype(np.float32), rng.integers(0, 3, 40)
        model.fit(x, y, epochs=6, batch_size=8, verbose=0, callbacks=[Freeze()])
        return bits(*model.parameters())

    assert weights(False) == weights(True)


def test_fit_notices_a_hook_that_a_batch_adds() -> None:
    calls: list[int] = []

    class Add(annx.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 5 and not calls:
                self.model[0].register_forward_hook(lambda *given: calls.append(1))

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    model.compile("adam", "cross_entropy")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((96, 4)).astype(np.float32), rng.integers(0, 3, 96)
    model.fit(x, y, epochs=1, batch_size=8, verbose=0, callbacks=[Add()])
    assert len(calls) == 6
    assert "hooks" in annx.debug.explain(model)


def test_a_trace_that_cannot_be_written_does_not_train(tmp_path: Path) -> None:
    w = nn.Parameter(annx.ones(1))
    opt = optim.SGD([w], lr=0.5)

    @annx.jit
    def step(x: annx.Tensor) -> None:
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()

    step(annx.ones(1))
    with pytest.raises(OSError):
        annx.debug.trace(step, tmp_path / "nowhere" / "t.json", annx.ones(1))
    assert w.item() == 0.5
    step(x=annx.ones(1))
    annx.debug.trace(step, tmp_path / "t.json", x=annx.ones(1))
    assert w.item() == -0.5


def test_a_view_of_what_an_argument_is_a_part_of() -> None:
    base = annx.tensor(np.arange(12, dtype=np.float32).reshape(6, 2))
    step = annx.jit(lambda x: base.reshape(12)[:6].reshape(3, 2) * x)
    for _ in range(3):
        np.testing.assert_array_equal(step(base[:3]).numpy(), base[:3].numpy() ** 2)
