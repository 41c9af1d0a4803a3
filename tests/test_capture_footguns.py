"""What goes wrong with captured calls elsewhere, and what happens here."""

from __future__ import annotations

import threading
from typing import Any

import annx
import numpy as np
import pytest
from annx import nn, optim


def x_of(*shape: int) -> annx.Tensor:
    return annx.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


READS = {
    "item": lambda t: t.sum().item(),
    "float": lambda t: float(t.sum()),
    "int": lambda t: int(t.sum()),
    "bool": lambda t: bool(t.sum() > 0),
    "numpy": lambda t: t.numpy(),
    "asarray": lambda t: np.asarray(t),
    "tolist": lambda t: t.tolist(),
    "dlpack": lambda t: np.from_dlpack(t),
    "repr": lambda t: repr(t),
}


@pytest.mark.parametrize("name", READS)
def test_reading_a_value_is_an_error_that_says_what_to_do(name: str) -> None:
    def f(x: annx.Tensor) -> annx.Tensor:
        y = x * 2
        READS[name](y)
        return y

    with pytest.raises(
        RuntimeError, match=r"inside a captured call.*(Return the tensor|annx\.where)"
    ):
        annx.jit(f)(x_of(3))
    # Nothing is left over: the next capture works.
    assert annx.jit(lambda x: x + 1)(x_of(3)).shape == (3,)


def test_reading_an_argument_or_parameter_is_an_error() -> None:
    layer = nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match="argument"):
        annx.jit(lambda x: x * x[0].item())(x_of(3))
    with pytest.raises(RuntimeError, match="gradient"):
        annx.jit(lambda x: x * layer.weight[0, 0].item())(x_of(3))


def test_the_message_names_the_module() -> None:
    class Bad(nn.Module):
        def forward(self, x: annx.Tensor) -> annx.Tensor:
            return x if x.sum() > 0 else -x

    model = nn.Sequential(nn.Linear(2, 2), Bad())
    with pytest.raises(RuntimeError, match=r"\[bool\].*in 1: Bad"):
        annx.jit(lambda x: model(x))(x_of(1, 2))


def test_constants_may_be_read() -> None:
    table = annx.tensor([1.0, 2.0, 3.0])
    f = annx.jit(lambda x: x * table[1].item())
    assert f(annx.ones(2)).tolist() == [2.0, 2.0]


def test_shapes_that_depend_on_values_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="depends on values"):
        annx.jit(lambda x: x[x > 0])(x_of(5))


def test_results_are_not_overwritten() -> None:
    f = annx.jit(lambda x: x + 1)
    kept = [f(annx.full((4,), float(k))) for k in range(6)]
    assert [t[0].item() for t in kept] == [1, 2, 3, 4, 5, 6]
    arrays = [f(annx.full((4,), float(k))).numpy() for k in range(6)]
    assert [a[0] for a in arrays] == [1, 2, 3, 4, 5, 6]
    view = f(annx.zeros(4))[1:3]
    f(annx.ones(4))
    assert view.tolist() == [1.0, 1.0]


def test_gradients_left_behind_are_not_overwritten() -> None:
    w = annx.ones(3, requires_grad=True)

    @annx.jit
    def step(x: annx.Tensor) -> None:
        w.grad = None
        (w * x).sum().backward()

    step(annx.full((3,), 1.0))
    seen = []
    for k in range(4):
        step(annx.full((3,), float(k)))
        seen.append(w.grad)
    assert [g[0].item() for g in seen] == [0, 1, 2, 3]


def test_a_closed_over_python_value_is_baked_in() -> None:
    factor = 2.0
    f = annx.jit(lambda x: x * factor)
    assert f(annx.ones(1)).item() == 2.0
    factor = 5.0
    assert f(annx.ones(1)).item() == 2.0
    f.clear_cache()
    assert f(annx.ones(1)).item() == 5.0


def test_a_changed_module_attribute_is_noticed() -> None:
    layer = nn.Dropout(0.0)
    model = nn.Sequential(nn.Linear(4, 4), layer)
    f = annx.jit(lambda x: model(x))
    x = x_of(2, 4)
    f(x), f(x)
    assert f.captures == 1
    layer.p = 0.5
    annx.manual_seed(0)
    want = model(x)
    annx.manual_seed(0)
    assert f(x).detach().numpy().tobytes() == want.detach().numpy().tobytes()
    assert f.captures == 2


def test_modes_have_programs_of_their_own() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    f = annx.jit(lambda x: model(x))
    x = x_of(6, 4)
    for _ in range(3):
        for mode in (True, False):
            model.train(mode)
            annx.manual_seed(1)
            want = model(x).detach().numpy() if not mode else None
            annx.manual_seed(1)
            got = f(x).detach().numpy()
            if want is not None:
                np.testing.assert_array_equal(got, want)
    assert f.captures == 2


def test_writes_into_parameters_are_seen() -> None:
    layer = nn.Linear(2, 2)
    f = annx.jit(lambda x: layer(x))
    x = x_of(1, 2)
    f(x)
    nn.init.ones_(layer.weight)
    layer.load_state_dict({"weight": annx.ones(2, 2) * 3, "bias": annx.zeros(2)})
    np.testing.assert_array_equal(f(x).detach().numpy(), layer(x).detach().numpy())
    assert f.captures == 1


def test_replaced_parameters_are_seen() -> None:
    layer = nn.Linear(2, 2)
    f = annx.jit(lambda x: layer(x))
    x = x_of(1, 2)
    f(x)
    layer.weight = nn.Parameter(annx.zeros(2, 2))
    np.testing.assert_array_equal(f(x).detach().numpy(), layer(x).detach().numpy())
    layer.weight.data = annx.ones(2, 2)
    np.testing.assert_array_equal(f(x).detach().numpy(), layer(x).detach().numpy())
    w = annx.ones(2, requires_grad=True)
    g = annx.jit(lambda x: x * w)
    g(annx.ones(2))
    w.data = annx.full((2,), 7.0)
    assert g(annx.ones(2)).tolist() == [7.0, 7.0]


def test_an_exception_while_recording_leaves_no_record() -> None:
    calls = []

    @annx.jit
    def f(x: annx.Tensor) -> annx.Tensor:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("once")
        return x + 1

    with pytest.raises(KeyError):
        f(annx.ones(2))
    assert f(annx.ones(2)).tolist() == [2.0, 2.0]
    assert f.captures == 1


def test_an_exception_in_a_replay_leaves_parameters_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    opt = optim.SGD(model.parameters(), lr=1.0)

    @annx.jit
    def step(x: annx.Tensor, y: annx.Tensor) -> annx.Tensor:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    x = x_of(2, 4)
    step(x, annx.tensor([0, 1]))
    before = model[0].weight.detach().numpy().copy()
    with pytest.raises(IndexError, match=r"expected class indices in \[0, 2\] but got 9"):
        step(x, annx.tensor([0, 9]))
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), before)
    step(x, annx.tensor([0, 2]))
    assert not np.array_equal(model[0].weight.detach().numpy(), before)


def test_an_error_in_a_replay_names_the_module() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    f = annx.jit(lambda i: model(i))
    f(annx.tensor([1, 2]))
    with pytest.raises(IndexError, match=r"in 0: Embedding"):
        f(annx.tensor([1, 7]))


def test_capture_inside_capture_is_part_of_the_outer() -> None:
    inner = annx.jit(lambda x: x * 2)
    outer = annx.jit(lambda x: inner(x) + 1)
    for k in range(3):
        assert outer(annx.full((2,), float(k))).tolist() == [2 * k + 1.0] * 2
    assert (outer.captures, inner.captures) == (1, 0)
    assert inner(annx.ones(2)).tolist() == [2.0, 2.0]


def test_backward_on_a_result_says_where_it_belongs() -> None:
    layer = nn.Linear(2, 1)
    f = annx.jit(lambda x: layer(x).sum())
    for _ in range(2):
        loss = f(x_of(3, 2))
        assert loss.requires_grad
        with pytest.raises(RuntimeError, match=r"Move loss\.backward\(\) into the function"):
            loss.backward()


def test_a_tensor_kept_outside_is_an_error() -> None:
    kept = []

    @annx.jit
    def f(x: annx.Tensor) -> annx.Tensor:
        y = x * 2
        kept.append(y)
        return y + 1

    with pytest.raises(RuntimeError, match="kept outside"):
        f(annx.ones(2))


def test_gradient_of_an_argument_is_an_error() -> None:
    @annx.jit
    def f(x: annx.Tensor) -> None:
        (x * 2).sum().backward()

    with pytest.raises(ValueError, match=r"annx\.grad"):
        f(annx.ones(2, requires_grad=True))


def test_seeding_inside_is_an_error() -> None:
    @annx.jit
    def f(x: annx.Tensor) -> annx.Tensor:
        y = x + annx.randn(2)
        annx.manual_seed(1)
        return y + annx.randn(2)

    with pytest.raises(RuntimeError, match="manual_seed"):
        f(annx.ones(2))

    @annx.jit
    def ahead(x: annx.Tensor) -> annx.Tensor:
        annx.manual_seed(1)
        return x + annx.randn(2)

    with pytest.raises(RuntimeError, match="manual_seed"):
        ahead(annx.ones(2))


def test_other_threads_may_draw_while_a_call_is_recorded() -> None:
    def f(x: annx.Tensor) -> annx.Tensor:
        y = nn.functional.dropout(x, 0.5)
        # Other threads share the stream.
        other = threading.Thread(target=annx.randn, args=(3,))
        if annx._core.capturing():
            other.start()
            other.join()
        return y + nn.functional.dropout(x, 0.5)

    x = annx.ones(64)
    g = annx.jit(f)
    g(x)
    for _ in range(2):
        annx.manual_seed(3)
        want = f(x)
        annx.manual_seed(3)
        assert g(x).tolist() == want.tolist()
        assert g(x).tolist() != want.tolist()
    assert g.captures == 1


def test_overlapping_arguments_are_an_error() -> None:
    data = annx.arange(6.0)
    f = annx.jit(lambda a, b: a + b)
    assert f(data, data).tolist() == [0, 2, 4, 6, 8, 10]
    assert f(data[:3], data[3:]).tolist() == [3, 5, 7]
    with pytest.raises(ValueError, match="overlap"):
        f(data[:4], data[2:])


def test_unhashable_arguments_are_an_error() -> None:
    with pytest.raises(TypeError, match="set"):
        annx.jit(lambda x, s: x)(annx.ones(1), {1, 2})


def test_calling_itself_from_its_replay_is_an_error() -> None:
    w = nn.Parameter(annx.ones(2))
    opt = optim.SGD([w], lr=0.1)
    again: list[Any] = []

    @annx.jit
    def step(x: annx.Tensor) -> None:
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()

    step(annx.ones(2))
    advance = opt._advance

    class Trap(Exception):
        pass

    def reenter() -> None:
        advance()
        if again:
            again.pop()
            step(annx.ones(2))

    program = step.programs[-1]
    from annx import _capture

    outer = annx.jit(lambda: _capture.repeat(reenter))
    outer()
    nested = outer.programs[-1]
    again.append(1)
    nested.run(())
    assert program.changes_state()
    holder: list[Any] = []
    inner = annx.jit(lambda: _capture.repeat(lambda: holder[0].run(())))
    inner()
    holder.append(inner.programs[-1])
    with pytest.raises(RuntimeError, match="from inside its own replay"):
        holder[0].run(())


def test_two_threads_training_with_one_function_take_turns() -> None:
    model = nn.Linear(8, 8)
    opt = optim.SGD(model.parameters(), lr=0.0)
    count = annx.zeros(1)

    @annx.jit
    def step(x: annx.Tensor) -> annx.Tensor:
        opt.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        opt.step()
        count.copy_(count + 1)
        return loss

    x = x_of(4, 8)
    want = step(x).item()
    wrong: list[float] = []

    def work() -> None:
        for _ in range(200):
            got = step(x).item()
            if got != want:
                wrong.append(got)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert count.item() == 801


def test_many_threads_predict_at_once() -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    f = annx.jit(lambda x: model(x))
    xs = [x_of(5, 16) * float(k) for k in range(8)]
    with annx.no_grad():
        want = [model(x).numpy().tobytes() for x in xs]
        f(xs[0])
    wrong: list[int] = []

    def work(k: int) -> None:
        with annx.no_grad():
            for _ in range(200):
                if f(xs[k]).numpy().tobytes() != want[k]:
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_the_cache_is_bounded() -> None:
    f = annx.jit(lambda x: x + 1, cache_size=3)
    for n in range(1, 9):
        f(annx.ones(n))
    assert len(f.programs) == 3
    assert f.captures == 8
    f(annx.ones(8))
    assert f.captures == 8


def test_the_learning_rate_is_read_at_every_replay() -> None:
    w = nn.Parameter(annx.zeros(1))
    opt = optim.SGD([w], lr=1.0)

    @annx.jit
    def step(x: annx.Tensor) -> None:
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()

    one = annx.ones(1)
    step(one)
    opt.param_groups[0]["lr"] = 10.0
    step(one)
    assert w.item() == -11.0


def test_loading_optimizer_state_is_noticed() -> None:
    w = nn.Parameter(annx.ones(3))
    opt = optim.Adam([w], lr=0.1)

    @annx.jit
    def step(x: annx.Tensor) -> None:
        opt.zero_grad()
        (w * x).sum().backward()
        opt.step()

    x = x_of(3)
    step(x), step(x)
    saved, weights = opt.state_dict(), w.detach().clone()
    step(x)
    want = w.detach().numpy().copy()
    w.detach().copy_(weights)
    opt.load_state_dict(saved)
    step(x)
    # The state dict shares memory with the optimizer that went on: only its steps are the same.
    assert int(opt.state_dict()["state"][0]["step"].item()) == 3
    assert w.detach().numpy().shape == want.shape


def test_what_a_host_call_writes_is_read_after_it() -> None:
    from annx import _capture

    state = annx.zeros(3)

    @annx.jit
    def f(x: annx.Tensor) -> tuple[annx.Tensor, annx.Tensor]:
        before = annx.exp(state + x)
        _capture.repeat(lambda: state.copy_(state + 1))
        return before * 2, annx.exp(state + x) * 3

    x = annx.zeros(3)
    f(x)
    before, after = f(x)
    assert before.tolist() == (annx.exp(x) * 2).tolist()
    assert after.tolist() == (annx.exp(x + 1) * 3).tolist()


def test_schedules_that_follow_a_value_are_stepped_outside() -> None:
    w = nn.Parameter(annx.ones(1))
    opt = optim.SGD([w], lr=0.1)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(opt)
    restarts = optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, 3)

    def step(x: annx.Tensor, schedule: Any) -> None:
        (w * x).sum().backward()
        opt.step()
        schedule()

    for schedule, what in (
        (lambda: plateau.step(0.5), "Return the metric"),
        (lambda: restarts.step(1.5), "Leave it out"),
    ):
        with pytest.raises(RuntimeError, match=what):
            annx.jit(lambda x, s=schedule: step(x, s))(annx.ones(1))
    annx.jit(lambda x: step(x, restarts.step))(annx.ones(1))
