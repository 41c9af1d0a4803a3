"""Optimizers against PyTorch's trajectories, and their groups, state and errors."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import annx
import numpy as np
import pytest
from annx import nn, optim
from annx.nn.utils import clip_grad_norm_, clip_grad_value_

GOLDENS = Path(__file__).parent / "goldens" / "optim"
STEPS = 8

OPTIMIZERS = {
    "sgd": (optim.SGD, {"lr": 0.1}),
    "sgd_momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "sgd_dampening": (
        optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05},
    ),
    "sgd_nesterov": (
        optim.SGD,
        {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    ),
    "sgd_maximize": (optim.SGD, {"lr": 0.1, "momentum": 0.5, "maximize": True}),
    "adam": (optim.Adam, {"lr": 0.01}),
    "adam_decay": (
        optim.Adam,
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    ),
    "adam_amsgrad": (optim.Adam, {"lr": 0.02, "amsgrad": True, "weight_decay": 0.1}),
    "adam_maximize": (optim.Adam, {"lr": 0.02, "maximize": True}),
    "adamw": (optim.AdamW, {"lr": 0.02, "weight_decay": 0.2}),
    "adamw_amsgrad": (optim.AdamW, {"lr": 0.02, "amsgrad": True}),
    "rmsprop": (optim.RMSprop, {"lr": 0.02}),
    "rmsprop_momentum": (
        optim.RMSprop,
        {"lr": 0.02, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.1},
    ),
    "rmsprop_centered": (
        optim.RMSprop,
        {"lr": 0.02, "alpha": 0.95, "centered": True, "eps": 1e-06},
    ),
    "rmsprop_full": (
        optim.RMSprop,
        {"lr": 0.02, "centered": True, "momentum": 0.5, "maximize": True},
    ),
    "adagrad": (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}),
    "adagrad_initial": (optim.Adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 0.001}),
    "adadelta": (optim.Adadelta, {"lr": 0.8, "weight_decay": 0.05}),
    "adamax": (optim.Adamax, {"lr": 0.02, "weight_decay": 0.1}),
    "nadam": (optim.NAdam, {"lr": 0.02, "weight_decay": 0.1}),
    "nadam_decoupled": (
        optim.NAdam,
        {"lr": 0.02, "momentum_decay": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "radam": (optim.RAdam, {"lr": 0.02, "weight_decay": 0.1}),
    "radam_decoupled": (
        optim.RAdam,
        {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "asgd": (optim.ASGD, {"lr": 0.1, "lambd": 0.1, "t0": 3, "weight_decay": 0.05}),
    "rprop": (optim.Rprop, {"lr": 0.05, "step_sizes": (0.03, 0.08)}),
}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "trajectories.npz") as file:
        return dict(file)


def make(golden, dtype="float64"):
    start = {name: annx.tensor(golden[f"start_{name}"], dtype=dtype) for name in ("w", "b")}
    return {name: nn.Parameter(value) for name, value in start.items()}


def set_grads(params, golden, step):
    for name, param in params.items():
        missing = name == "b" and step in (0, 3)
        grad = annx.tensor(golden[f"grad_{name}"][step], dtype=param.dtype)
        param.grad = None if missing else grad


def values(tensor):
    return tensor.detach().numpy()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("key", OPTIMIZERS)
def test_trajectory(key, dtype, golden):
    kind, options = OPTIMIZERS[key]
    params = make(golden, dtype)
    optimizer = kind(list(params.values()), **options)
    tolerance = 1e-12 if dtype == "float64" else 3e-6
    for step in range(STEPS):
        set_grads(params, golden, step)
        optimizer.step()
        for name, param in params.items():
            expected = golden[f"{key}_{name}"][step]
            np.testing.assert_allclose(values(param), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("key", OPTIMIZERS)
def test_state_dict_goes_on_where_it_was_saved(key, golden):
    kind, options = OPTIMIZERS[key]
    params = make(golden)
    optimizer = kind(list(params.values()), **options)
    for step in range(STEPS):
        if step == 5:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = kind(list(params.values()), lr=99.0)
            optimizer.load_state_dict(saved)
        set_grads(params, golden, step)
        optimizer.step()
    for name, param in params.items():
        np.testing.assert_allclose(values(param), golden[f"{key}_{name}"][-1], rtol=1e-12)


def test_state_dict_has_the_structure_of_pytorch(golden):
    params = make(golden)
    optimizer = optim.Adam([{"params": params["w"]}, {"params": params["b"], "lr": 0.5}])
    for step in range(3):
        set_grads(params, golden, step)
        optimizer.step()
    saved = optimizer.state_dict()
    assert [group["params"] for group in saved["param_groups"]] == [[0], [1]]
    assert [group["lr"] for group in saved["param_groups"]] == [1e-3, 0.5]
    assert set(saved["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert saved["state"][0]["step"].item() == 3.0
    assert saved["state"][1]["step"].item() == 2.0  # its first gradient was missing
    assert tuple(saved["state"][1]["exp_avg"].shape) == (5,)


def test_state_can_be_read_and_changed_between_steps(golden):
    params = make(golden)
    optimizer = optim.SGD(list(params.values()), lr=0.1, momentum=0.9)
    set_grads(params, golden, 1)
    optimizer.step()
    optimizer.state[params["w"]]["momentum_buffer"] = annx.zeros(3, 4, dtype="float64")
    before = values(params["w"]).copy()
    set_grads(params, golden, 2)
    optimizer.step()
    np.testing.assert_allclose(values(params["w"]), before - 0.1 * golden["grad_w"][2], rtol=1e-12)


def test_a_step_plans_once_while_nothing_changes(golden, monkeypatch):
    params = make(golden)
    optimizer = optim.Adam([{"params": params["w"]}, {"params": params["b"]}])
    set_grads(params, golden, 1)
    optimizer.step()
    monkeypatch.setattr(optimizer, "_make_plan", lambda *args: pytest.fail("planned again"))
    for step in (1, 2):
        set_grads(params, golden, step)
        optimizer.step()


def test_learning_rate_of_a_group_takes_effect(golden):
    params = make(golden)
    optimizer = optim.SGD(list(params.values()), lr=0.1)
    optimizer.param_groups[0]["lr"] = 0.5
    set_grads(params, golden, 1)
    optimizer.step()
    expected = golden["start_w"] - 0.5 * golden["grad_w"][1]
    np.testing.assert_allclose(values(params["w"]), expected, rtol=1e-12)


def test_advance_and_native_call_make_a_step(golden):
    """What a replay does: the numbers of the next step are written, then the call is repeated."""
    plain, replayed = make(golden), make(golden)
    one, two = optim.Adam(list(plain.values())), optim.Adam(list(replayed.values()))
    for params, optimizer in ((plain, one), (replayed, two)):
        set_grads(params, golden, 1)
        optimizer.step()
    one.step()
    (bucket,) = two._plans[0].buckets
    two._advance()
    grads = [param.grad for param in bucket.params]
    annx._core.ops.adam_step_(
        bucket.params, grads, bucket.slots["exp_avg"], bucket.slots["exp_avg_sq"], bucket.hyper
    )
    for name in plain:
        np.testing.assert_array_equal(values(plain[name]), values(replayed[name]))
    assert two.state_dict()["state"][0]["step"].item() == 2.0


def test_add_param_group_and_zero_grad(golden):
    params = make(golden)
    optimizer = optim.SGD([params["w"]], lr=0.1)
    set_grads(params, golden, 1)
    optimizer.step()
    optimizer.add_param_group({"params": params["b"], "lr": 1.0})
    optimizer.step()
    expected = golden["start_b"] - golden["grad_b"][1]
    np.testing.assert_allclose(values(params["b"]), expected, rtol=1e-12)
    optimizer.zero_grad(set_to_none=False)
    assert values(params["b"].grad).tolist() == [0.0] * 5
    optimizer.zero_grad()
    assert params["b"].grad is None


def test_named_parameters_closure_and_repr():
    layer = nn.Linear(2, 1)
    optimizer = optim.SGD(layer.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    x = annx.ones(4, 2)

    def closure():
        optimizer.zero_grad()
        loss = (layer(x) ** 2).mean()
        loss.backward()
        return loss

    first = optimizer.step(closure).item()
    assert optimizer.step(closure).item() < first
    text = repr(optimizer)
    assert text.startswith("SGD (\nParameter Group 0\n")
    assert "    lr: 0.1\n" in text


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_go_on_alike(copied, golden):
    params = make(golden)
    optimizer = optim.Adam(list(params.values()), lr=0.01)
    for step in range(3):
        set_grads(params, golden, step)
        optimizer.step()
    twin = copied(optimizer)
    others = dict(zip(params, twin.param_groups[0]["params"], strict=True))
    assert others["w"] is not params["w"]
    for step in range(3, STEPS):
        for group in (params, others):
            set_grads(group, golden, step)
        optimizer.step()
        twin.step()
    for name in params:
        np.testing.assert_array_equal(values(params[name]), values(others[name]))


def test_gradients_that_are_not_contiguous():
    param = nn.Parameter(annx.zeros(2, 3))
    optimizer = optim.SGD([param], lr=1.0)
    grad = annx.tensor(np.arange(6.0, dtype=np.float32).reshape(3, 2))
    param.grad = grad.T
    optimizer.step()
    np.testing.assert_array_equal(values(param), -np.arange(6.0).reshape(3, 2).T)


@pytest.mark.parametrize(
    ("make_optimizer", "error", "message"),
    [
        (lambda p: optim.SGD(p), TypeError, "expected an iterable of Tensors"),
        (lambda p: optim.SGD([]), ValueError, "at least one parameter"),
        (lambda p: optim.SGD([1.0]), TypeError, "expected Tensors as parameters but got float"),
        (lambda p: optim.SGD([p * 2]), ValueError, "expected leaf Tensors"),
        (lambda p: optim.SGD([p, p]), ValueError, "every parameter once"),
        (lambda p: optim.SGD({p}), TypeError, "got a set"),
        (lambda p: optim.SGD([p], lr=-1.0), ValueError, r"\[SGD\] expected lr >= 0 but got -1"),
        (lambda p: optim.SGD([p], lr=float("nan")), ValueError, "expected lr >= 0 but got nan"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "momentum > 0"),
        (lambda p: optim.SGD([p], learning_rate=1.0), TypeError, "learning_rate"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), ValueError, "betas in"),
        (lambda p: optim.Adam([p], eps=-1e-8), ValueError, r"\[Adam\] expected eps"),
        (lambda p: optim.AdamW([p], weight_decay=-1), ValueError, r"\[AdamW\] expected weight"),
        (lambda p: optim.Adam([p], differentiable=True), ValueError, "differentiable=False"),
        (
            lambda p: optim.SGD([{"params": [p], "weight_deacy": 0.1}]),
            ValueError,
            "did you mean 'weight_decay'",
        ),
        (lambda p: optim.SGD([{"parameters": [p]}]), TypeError, "dict with 'params'"),
    ],
)
def test_errors(make_optimizer, error, message):
    param = nn.Parameter(annx.ones(2))
    with pytest.raises(error, match=message):
        make_optimizer(param)


def test_load_state_dict_errors_change_nothing(golden):
    params = make(golden)
    optimizer = optim.SGD(list(params.values()), lr=0.1, momentum=0.9)
    set_grads(params, golden, 1)
    optimizer.step()
    before = optimizer.state_dict()
    foreign = optim.Adam(list(params.values()))
    foreign.step()
    with pytest.raises(ValueError, match="was it saved by another optimizer"):
        optimizer.load_state_dict(foreign.state_dict())
    with pytest.raises(KeyError, match="param_groups"):
        optimizer.load_state_dict({"state": {}})
    short = optim.SGD([params["w"]], lr=0.1)
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters"):
        optimizer.load_state_dict(short.state_dict())
    wrong = copy.deepcopy(before)
    wrong["state"][0]["momentum_buffer"] = annx.zeros(2)
    with pytest.raises(ValueError, match=r"shape \(3, 4\) but got \(2,\)"):
        optimizer.load_state_dict(wrong)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"][0]["momentum_buffer"] is before["state"][0]["momentum_buffer"]


@pytest.mark.parametrize("norm", [1.0, 2.0, float("inf")])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_clip_grad_norm(norm, dtype):
    with np.load(GOLDENS / "clipping.npz") as file:
        golden = dict(file)
    params = [nn.Parameter(annx.zeros(*shape, dtype=dtype)) for shape in ((4, 3), (2,))]
    for index, param in enumerate(params):
        param.grad = annx.tensor(golden[f"clip_grad_{index}"], dtype=dtype)
    total = clip_grad_norm_(params, 0.7, norm)
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(total.item(), golden[f"clip_{norm}_total"], rtol=tolerance)
    for index, param in enumerate(params):
        expected = golden[f"clip_{norm}_{index}"]
        np.testing.assert_allclose(values(param.grad), expected, rtol=tolerance)
    assert clip_grad_norm_(params, 100.0, norm).item() == pytest.approx(0.7, rel=1e-4)
    kept = values(params[0].grad).copy()
    clip_grad_norm_(params, 100.0, norm)
    np.testing.assert_array_equal(values(params[0].grad), kept)


def test_clip_grad_norm_errors_and_shared_gradients():
    params = [nn.Parameter(annx.zeros(2)) for _ in range(2)]
    params[0].grad = params[1].grad = annx.tensor([3.0, 4.0])
    clip_grad_norm_(params, 1.0)
    expected = np.array([3.0, 4.0]) / np.sqrt(50.0)
    for param in params:
        np.testing.assert_allclose(values(param.grad), expected, rtol=1e-5)
    params[0].grad = annx.tensor([float("nan"), 1.0])
    with pytest.raises(RuntimeError, match="finite norm"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    with pytest.raises(ValueError, match="norm_type > 0"):
        clip_grad_norm_(params, 1.0, norm_type=0)
    assert clip_grad_norm_([nn.Parameter(annx.zeros(2))], 1.0).item() == 0.0


def test_clip_grad_value():
    param = nn.Parameter(annx.zeros(4))
    param.grad = annx.tensor([-3.0, -0.5, 0.5, 3.0])
    clip_grad_value_(param, 1.0)
    assert values(param.grad).tolist() == [-1.0, -0.5, 0.5, 1.0]
    with pytest.raises(ValueError, match="clip_value >= 0"):
        clip_grad_value_(param, -1.0)


def test_lion_follows_its_formula(golden):
    params = make(golden)
    optimizer = optim.Lion(list(params.values()), lr=0.01, betas=(0.8, 0.9), weight_decay=0.1)
    theta, m = golden["start_w"].copy(), np.zeros_like(golden["start_w"])
    for step in range(STEPS):
        set_grads(params, golden, step)
        optimizer.step()
        g = golden["grad_w"][step]
        theta = theta * (1 - 0.01 * 0.1) - 0.01 * np.sign(0.8 * m + 0.2 * g)
        m = 0.9 * m + 0.1 * g
        np.testing.assert_allclose(values(params["w"]), theta, rtol=1e-12)


@pytest.mark.parametrize("key", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_parameters_round_once_per_step(key, dtype):
    kind, options = OPTIMIZERS[key]
    if key == "rprop":  # its rate is a state at first, which has to be a bfloat16
        options = {**options, "lr": 0.0625}
    rng = np.random.default_rng(5)
    start = annx.tensor(rng.normal(size=2500).astype(np.float32)).to(dtype)
    half = nn.Parameter(start)
    optimizer = kind([half], **options)
    for _ in range(3):
        grad = annx.tensor(rng.normal(size=2500).astype(np.float32)).to(dtype)
        # The same step in float32 from the same numbers, then rounded.
        wide = nn.Parameter(half.detach().to("float32"))
        twin = kind([wide], **options)
        if optimizer.state[half]:
            twin.state[wide].update(
                {
                    name: value.to("float32") if value.shape else value
                    for name, value in optimizer.state[half].items()
                }
            )
        half.grad, wide.grad = grad, grad.to("float32")
        optimizer.step()
        twin.step()
        expected = wide.detach().to(dtype)
        np.testing.assert_array_equal(
            half.detach().to("float32").numpy(), expected.to("float32").numpy()
        )
        assert all(
            value.dtype == half.dtype for value in optimizer.state[half].values() if value.shape
        )


@pytest.mark.parametrize("key", ["sgd", "adam", "adam_amsgrad", "rmsprop_full", "adagrad"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bound", [0.5, 1e9])
def test_clipping_folded_into_the_step(key, dtype, bound, golden):
    kind, options = OPTIMIZERS[key]
    folded, apart = make(golden, dtype), make(golden, dtype)
    one, other = kind(list(folded.values()), **options), kind(list(apart.values()), **options)
    for step in range(4):
        set_grads(folded, golden, step)
        set_grads(apart, golden, step)
        kept = folded["w"].grad
        one._step_clipped(bound)
        nn.utils.clip_grad_norm_(list(apart.values()), bound)
        other.step()
        for name in folded:
            np.testing.assert_allclose(values(folded[name]), values(apart[name]), rtol=3e-6)
        assert dtype == "float64" or folded["w"].grad is kept


def test_a_gradient_that_is_nan_shows_when_clipped():
    param = nn.Parameter(annx.ones(3))
    param.grad = annx.tensor([1.0, np.nan, 1.0])
    optim.SGD([param], lr=0.1)._step_clipped(1.0)
    assert np.isnan(values(param)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: optim.RMSprop(p, alpha=-1), r"\[RMSprop\] expected alpha >= 0"),
        (lambda p: optim.Adagrad(p, lr_decay=-1), r"\[Adagrad\] expected lr_decay >= 0"),
        (lambda p: optim.Adadelta(p, rho=2), r"\[Adadelta\] expected rho in \[0, 1\]"),
        (lambda p: optim.Adamax(p, betas=(0.9, 1.0)), r"\[Adamax\] expected betas in \[0, 1\)"),
        (lambda p: optim.NAdam(p, momentum_decay=-1), r"\[NAdam\] expected momentum_decay >= 0"),
        (lambda p: optim.RAdam(p, eps=-1), r"\[RAdam\] expected eps >= 0"),
        (lambda p: optim.ASGD(p, lr=-1), r"\[ASGD\] expected lr >= 0"),
        (lambda p: optim.Rprop(p, etas=(1.5, 1.2)), r"\[Rprop\] expected etas around 1"),
        (lambda p: optim.Lion(p, betas=(-1, 0.9)), r"\[Lion\] expected betas in \[0, 1\)"),
        (lambda p: optim.RMSprop(p, differentiable=True), r"\[RMSprop\] expected differentiable"),
    ],
)
def test_hyperparameters_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call([nn.Parameter(annx.ones(2))])


@pytest.mark.parametrize("name", ["rmsprop", "adagrad", "nadam", "radam", "lion", "adam", "sgd"])
def test_replayed_steps_with_folded_clipping_have_eager_bits(name):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 8)).astype(np.float32), rng.integers(0, 4, 64)
    results = []
    for eager in (True, False):
        annx.manual_seed(1)
        model = nn.Sequential(nn.Linear(8, 16), nn.RMSNorm(16), nn.Dropout(0.2), nn.Linear(16, 4))
        model.compile(optimizer=name, loss="cross_entropy", run_eagerly=eager)
        model.fit(x, y, epochs=2, batch_size=16, verbose=0, clip_grad_norm=0.3)
        results.append([values(param).copy() for param in model.parameters()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_parameters_of_a_group_may_be_a_tuple_and_a_failed_step_leaves_no_state():
    first, second = (nn.Parameter(annx.ones(3)) for _ in range(2))
    optimizer = optim.Adam([first, second])
    optimizer.param_groups[0]["params"] = tuple(optimizer.param_groups[0]["params"])
    for parameter in (first, second):
        parameter.grad = annx.ones(3)
    optimizer.state[second]["step"] = "a word"
    with pytest.raises((AttributeError, TypeError)):
        optimizer.step()
    assert not optimizer.state[first]
    del optimizer.state[second]["step"]
    optimizer.step()
    assert float(optimizer.state[first]["step"]) == 1
