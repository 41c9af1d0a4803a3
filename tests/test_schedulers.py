"""Learning-rate schedules against PyTorch's rates."""

from __future__ import annotations

from pathlib import Path

import annx
import numpy as np
import pytest
from annx import nn, optim
from annx.optim import lr_scheduler as schedules

GOLDENS = Path(__file__).parent / "goldens" / "optim"
EPOCHS = 20

SCHEDULES = {
    "lambda": ("LambdaLR", {"lr_lambda": lambda epoch: 0.9**epoch}),
    "step": ("StepLR", {"step_size": 3, "gamma": 0.5}),
    "multi_step": ("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.3}),
    "exponential": ("ExponentialLR", {"gamma": 0.8}),
    "linear": ("LinearLR", {"start_factor": 0.25, "end_factor": 0.75, "total_iters": 6}),
    "cosine": ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    "restarts": ("CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 2, "eta_min": 0.02}),
    "restarts_equal": ("CosineAnnealingWarmRestarts", {"T_0": 4}),
    "one_cycle": ("OneCycleLR", {"max_lr": 0.4, "total_steps": 20}),
    "one_cycle_linear": (
        "OneCycleLR",
        {
            "max_lr": [0.4, 0.2],
            "epochs": 2,
            "steps_per_epoch": 10,
            "anneal_strategy": "linear",
            "three_phase": True,
            "pct_start": 0.4,
            "div_factor": 10.0,
            "final_div_factor": 100.0,
        },
    ),
}

PLATEAUS = {
    "plateau": {"factor": 0.5, "patience": 2},
    "plateau_abs": {
        "mode": "max",
        "factor": 0.3,
        "patience": 0,
        "threshold": 0.05,
        "threshold_mode": "abs",
        "cooldown": 2,
        "min_lr": 0.02,
    },
}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "rates.npz") as file:
        return dict(file)


def make_optimizer():
    groups = [{"params": [nn.Parameter(annx.zeros(1))], "lr": lr} for lr in (0.1, 0.3)]
    return optim.SGD(groups, momentum=0.9)


def make(key, optimizer):
    kind, options = SCHEDULES[key]
    return getattr(schedules, kind)(optimizer, **options)


@pytest.mark.parametrize("key", SCHEDULES)
def test_rates(key, golden):
    optimizer = make_optimizer()
    schedule = make(key, optimizer)
    for epoch in range(EPOCHS):
        rows = [[group["lr"], group["momentum"]] for group in optimizer.param_groups]
        np.testing.assert_allclose(rows, golden[key][epoch], rtol=1e-12, atol=1e-15)
        assert schedule.get_last_lr() == [row[0] for row in rows]
        optimizer.step()
        if epoch < EPOCHS - 1:
            schedule.step()


@pytest.mark.parametrize("key", SCHEDULES)
def test_state_dict_goes_on_where_it_was_saved(key, golden):
    optimizer = make_optimizer()
    schedule = make(key, optimizer)
    for epoch in range(EPOCHS - 1):
        if epoch == 7:
            saved, groups = schedule.state_dict(), optimizer.state_dict()
            assert "optimizer" not in saved
            optimizer = make_optimizer()
            schedule = make(key, optimizer)
            optimizer.load_state_dict(groups)
            schedule.load_state_dict(saved)
        optimizer.step()
        schedule.step()
        rates = [group["lr"] for group in optimizer.param_groups]
        np.testing.assert_allclose(rates, golden[key][epoch + 1, :, 0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("key", PLATEAUS)
def test_plateau(key, golden):
    optimizer = optim.SGD([nn.Parameter(annx.zeros(1))], lr=0.5)
    schedule = schedules.ReduceLROnPlateau(optimizer, **PLATEAUS[key])
    for index, value in enumerate(golden["plateau_values"]):
        if index == 12:
            saved = schedule.state_dict()
            schedule = schedules.ReduceLROnPlateau(optimizer, **PLATEAUS[key])
            schedule.load_state_dict(saved)
        schedule.step(annx.tensor(value) if index % 2 else value)
        assert schedule.get_last_lr() == [optimizer.param_groups[0]["lr"]]
        np.testing.assert_allclose(optimizer.param_groups[0]["lr"], golden[key][index], rtol=1e-12)


def test_plateau_says_so(capsys):
    optimizer = optim.SGD([nn.Parameter(annx.zeros(1))], lr=0.5)
    schedule = schedules.ReduceLROnPlateau(optimizer, patience=0, verbose=True)
    schedule.step(1.0)
    assert capsys.readouterr().out == ""
    schedule.step(2.0)
    assert "reducing learning rate of group 0 to 5.0000e-02" in capsys.readouterr().out


def test_schedules_act_together():
    optimizer = optim.SGD([nn.Parameter(annx.zeros(1))], lr=1.0)
    one = schedules.ExponentialLR(optimizer, 0.5)
    two = schedules.StepLR(optimizer, 2, 0.1)
    for _ in range(2):
        optimizer.step()
        one.step()
        two.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.025)


def test_one_cycle_moves_the_first_beta():
    optimizer = optim.Adam([nn.Parameter(annx.zeros(1))])
    schedule = schedules.OneCycleLR(optimizer, 0.1, total_steps=10, pct_start=0.5)
    betas = []
    for _ in range(9):
        betas.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        schedule.step()
    assert betas[0] == pytest.approx(0.95)
    assert betas[4] == pytest.approx(0.85)
    assert optimizer.param_groups[0]["betas"][1] == 0.999


def test_warm_restarts_take_fractions_of_epochs():
    optimizer = optim.SGD([nn.Parameter(annx.zeros(1))], lr=1.0)
    schedule = schedules.CosineAnnealingWarmRestarts(optimizer, T_0=4, T_mult=2)
    schedule.step(6.0)  # 2 epochs into the second period, of 8
    assert schedule.get_last_lr() == [pytest.approx((1 + np.cos(np.pi * 2 / 8)) / 2)]
    schedule.step(12.0)  # the third period starts
    assert schedule.get_last_lr() == [pytest.approx(1.0)]


def test_going_on_needs_the_initial_rate():
    optimizer = optim.SGD([nn.Parameter(annx.zeros(1))], lr=1.0)
    with pytest.raises(KeyError, match="initial_lr"):
        schedules.StepLR(optimizer, 2, last_epoch=3)


def test_warns_when_the_optimizer_never_stepped():
    optimizer = optim.SGD([nn.Parameter(annx.zeros(1))], lr=1.0)
    schedule = schedules.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match=r"expected optimizer\.step\(\) before it"):
        schedule.step()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("StepLR", {"step_size": 0}, "step_size >= 1"),
        ("LinearLR", {"start_factor": 0.0}, r"start_factor in \(0, 1\]"),
        ("LinearLR", {"end_factor": 1.5}, r"end_factor in \[0, 1\]"),
        ("CosineAnnealingLR", {"T_max": 0}, "T_max >= 1"),
        ("CosineAnnealingWarmRestarts", {"T_0": 0}, "T_0 as an int >= 1"),
        ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 1.5}, "T_mult as an int"),
        ("LambdaLR", {"lr_lambda": [lambda epoch: 1.0]}, "one per parameter group"),
        ("OneCycleLR", {"max_lr": 0.1}, "expected total_steps"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 5, "pct_start": 2}, "pct_start"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 5, "anneal_strategy": "x"}, "'cos' or"),
        ("ReduceLROnPlateau", {"factor": 1.0}, "factor < 1"),
        ("ReduceLROnPlateau", {"mode": "up"}, "'min' or 'max'"),
        ("ReduceLROnPlateau", {"threshold_mode": "x"}, "'rel' or 'abs'"),
    ],
)
def test_errors(kind, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(schedules, kind)(make_optimizer(), **options)


@pytest.mark.parametrize("key", SCHEDULES)
def test_schedules_want_an_optimizer(key):
    with pytest.raises(TypeError, match="expected an Optimizer but got str"):
        make(key, "adam")
    with pytest.raises(TypeError, match="expected an Optimizer but got str"):
        schedules.ReduceLROnPlateau("adam")


def test_one_cycle_ends():
    optimizer = make_optimizer()
    schedule = schedules.OneCycleLR(optimizer, 0.1, total_steps=3)
    optimizer.step()
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="at most 3 steps"):
        schedule.step()
