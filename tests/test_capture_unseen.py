"""What a captured call looks at without an op: gradients not there, modules, requires_grad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import annx
import numpy as np
import pytest
from annx import nn, optim
from annx.nn import functional as F


def same(a: annx.Tensor, b: annx.Tensor) -> bool:
    return bool(np.array_equal(a.detach().numpy(), b.detach().numpy()))


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.Rprop])
def test_a_step_without_gradients_is_no_step_with_some(make: Any) -> None:
    weights = [nn.Parameter(annx.ones(3)), nn.Parameter(annx.ones(2))]
    optimizer = make(weights, lr=0.5)
    step = annx.jit(optimizer.step)
    step()
    assert same(weights[0], annx.ones(3))
    for weight in weights:
        weight.grad = annx.ones_like(weight)
        before = weight.detach().clone()
        step()
        assert not same(weight, before)


def test_gradients_of_frozen_parameters_are_dropped_once_they_are_there() -> None:
    weight = annx.ones(3)
    optimizer = optim.SGD([weight], lr=0.5)

    @annx.jit
    def clear(x: annx.Tensor) -> annx.Tensor:
        optimizer.zero_grad()
        return x * 2

    clear(annx.ones(2))
    weight.grad = annx.ones(3)
    clear(annx.ones(2))
    assert weight.grad is None


def test_a_gradient_that_comes_to_be_there_is_looked_at() -> None:
    weight = annx.ones(3)

    @annx.jit
    def norm() -> annx.Tensor:
        return annx.zeros(()) if weight.grad is None else weight.grad.sum()

    assert norm().item() == 0
    weight.grad = annx.ones(3)
    assert norm().item() == 3


def test_inputs_of_autograd_grad_that_no_longer_require_one() -> None:
    used, unused = nn.Parameter(annx.ones(3)), nn.Parameter(annx.ones(2))

    @annx.jit
    def gradient() -> Any:
        return annx.autograd.grad((used * used).sum(), [used, unused], allow_unused=True)

    assert gradient()[1] is None
    unused.requires_grad_(False)
    with pytest.raises(RuntimeError, match="inputs that require grad"):
        gradient()


def test_a_choice_by_requires_grad_is_made_anew() -> None:
    weight = nn.Parameter(annx.ones(3))

    @annx.jit
    def f(x: annx.Tensor) -> annx.Tensor:
        return x * (2 if weight.requires_grad else 3)

    assert f(annx.ones(1)).item() == 2
    weight.requires_grad_(False)
    assert f(annx.ones(1)).item() == 3


def test_data_of_a_parameter_that_is_only_returned_may_be_replaced() -> None:
    weight = nn.Parameter(annx.ones(3))

    @annx.jit
    def f(x: annx.Tensor) -> Any:
        return x + 1, weight

    assert same(f(annx.ones(1))[1], annx.ones(3))
    weight.data = annx.zeros(3)
    assert same(f(annx.ones(1))[1], annx.zeros(3))


def closure_of_layer() -> tuple[nn.Module, Callable[..., Any]]:
    layer = nn.Linear(2, 3)
    return layer, lambda x: F.linear(x, layer.weight, layer.bias).sum()


def penalty_of_listed_parameters() -> tuple[nn.Module, Callable[..., Any]]:
    models = [nn.Sequential(nn.Linear(2, 3), nn.ReLU())]
    return models[0][0], lambda x: x.sum() + sum(p.square().sum() for p in models[0].parameters())


def weights_of_children() -> tuple[nn.Module, Callable[..., Any]]:
    models = [nn.Sequential(nn.Linear(2, 3), nn.ReLU())]
    return models[0][0], lambda x: next(iter(models[0].children())).weight.sum() + x.sum()


@pytest.mark.parametrize(
    "make", [closure_of_layer, penalty_of_listed_parameters, weights_of_children]
)
def test_parameters_of_modules_that_are_not_called_may_be_replaced(make: Any) -> None:
    layer, function = make()
    step, x = annx.jit(function), annx.ones(4, 2)
    assert same(step(x), function(x))
    assert same(step(x), function(x))
    layer.weight = nn.Parameter(annx.ones(3, 2) * 7)
    assert same(step(x), function(x))


def test_an_array_that_is_two_arguments_is_one_memory() -> None:
    def f(x: annx.Tensor, y: annx.Tensor) -> annx.Tensor:
        x, y = annx.as_tensor(x), annx.as_tensor(y)
        before = annx.relu(x)
        y.fill_(0.5)
        return before + y

    step, array = annx.jit(f), np.zeros(4, np.float32)
    for value in (1.0, 2.0, 3.0):
        array[:] = value
        assert same(step(array, array), annx.full((4,), value + 0.5))


class NotBegun(nn.Module):
    def __init__(self) -> None:
        self.scale = 3

    def forward(self, x: annx.Tensor) -> annx.Tensor:
        return x * self.scale


@pytest.mark.parametrize(
    "use",
    [
        lambda m: annx.jit(m)(annx.ones(2)),
        lambda m: annx.prepare(m, annx.ones(2)),
        lambda m: list(m.parameters()),
        lambda m: m.state_dict(),
        lambda m: m.eval(),
        lambda m: m.predict(annx.ones(2, 2)),
        repr,
    ],
)
def test_a_module_that_was_not_begun_is_named(use: Any) -> None:
    with pytest.raises(AttributeError, match=r"\[NotBegun\] expected super\(\).__init__\(\)"):
        use(NotBegun())


def test_errors_of_properties_are_their_own() -> None:
    class Model(nn.Module):
        @property
        def size(self) -> int:
            return self.absent  # type: ignore[no-any-return]

    with pytest.raises(AttributeError, match="absent"):
        _ = Model().size
    with pytest.raises(AttributeError, match=r"'Linear' object has no attribute 'wieght'"):
        _ = nn.Linear(1, 1).wieght


def test_a_generator_inside_says_what_to_do() -> None:
    generator = annx.Generator()
    with pytest.raises(RuntimeError, match=r"\[Generator\].*leave it out, or draw outside"):
        annx.jit(lambda x: x + annx.rand(2, generator=generator))(annx.ones(2))


def test_zeros_of_either_sign_are_told_apart() -> None:
    def f(x: annx.Tensor) -> Any:
        kept = annx.bernoulli(annx.full_like(x, 1.0))  # of an argument, so that none is known
        zeros = annx.full_like(x, -0.0) / kept, annx.full_like(x, 0.0) / kept
        return *zeros, F.threshold(x, 0.1, -0.0), F.threshold(x, 0.1, 0.0)

    step, x = annx.jit(f), -annx.ones(4)
    for _ in range(3):
        signs = [bool(np.signbit(t.numpy()).all()) for t in step(x)]
        assert signs == [True, False, True, False]


def trainer(make: Any) -> tuple[Any, Any]:
    annx.manual_seed(3)
    model = nn.Linear(4, 2)
    optimizer = make(model.parameters())

    def step(x: annx.Tensor) -> annx.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return optimizer, step


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "none": lambda state: None,
    "step": lambda state: state.update(step=annx.tensor(7.0)),
    "replaced": lambda state: state.update(exp_avg=annx.ones_like(state["exp_avg"])),
    "cleared": lambda state: state.clear(),
    "written": lambda state: state["exp_avg"].fill_(0.5),
}


@pytest.mark.parametrize("edit", EDITS)
def test_state_that_was_read_is_as_it_is_left(edit: str) -> None:
    seen = []
    for captured in (False, True):
        optimizer, step = trainer(lambda p: optim.Adam(p, lr=0.1))
        run = annx.jit(step) if captured else step
        losses = [run(annx.ones(3, 4)).item() for _ in range(3)]
        for state in optimizer.state.values():
            EDITS[edit](state)
        optimizer.state_dict()  # does not undo them
        losses += [run(annx.ones(3, 4)).item() for _ in range(3)]
        steps = [s["step"].item() for s in optimizer.state_dict()["state"].values()]
        seen.append((losses, steps))
        if captured:
            assert run.captures == (1 if edit in ("none", "written") else 2)
    assert seen[0] == seen[1]
    assert seen[0][1] == {"step": [10, 10], "cleared": [3, 3]}.get(edit, [6, 6])


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.NAdam, optim.ASGD, optim.Rprop])
def test_saving_the_state_costs_no_record(make: Any) -> None:
    optimizer, step = trainer(make)
    jitted = annx.jit(step)
    for count in range(1, 5):
        jitted(annx.ones(3, 4))
        state = optimizer.state_dict()["state"]
        assert all(s["step"].item() == count for s in state.values() if "step" in s)
        assert len(optimizer.state) == len(state)
    assert jitted.captures == 1
