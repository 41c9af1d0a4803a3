"""Writes the trajectories of PyTorch's optimizers and schedules that the tests compare with.

Run with PyTorch installed: ``python tests/goldens/optim/make.py``. Gradients are given numbers, so
that the files hold the arithmetic of the optimizers and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.optim import lr_scheduler as schedules

HERE = Path(__file__).parent
SHAPES = {"w": (3, 4), "b": (5,)}
STEPS = 8

OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd_momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "sgd_dampening": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05}),
    "sgd_nesterov": ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    "sgd_maximize": ("SGD", {"lr": 0.1, "momentum": 0.5, "maximize": True}),
    "adam": ("Adam", {"lr": 0.01}),
    "adam_decay": ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    "adam_amsgrad": ("Adam", {"lr": 0.02, "amsgrad": True, "weight_decay": 0.1}),
    "adam_maximize": ("Adam", {"lr": 0.02, "maximize": True}),
    "adamw": ("AdamW", {"lr": 0.02, "weight_decay": 0.2}),
    "adamw_amsgrad": ("AdamW", {"lr": 0.02, "amsgrad": True}),
    "rmsprop": ("RMSprop", {"lr": 0.02}),
    "rmsprop_momentum": (
        "RMSprop",
        {"lr": 0.02, "alpha": 0.9, "momentum": 0.8, "weight_decay": 0.1},
    ),
    "rmsprop_centered": ("RMSprop", {"lr": 0.02, "alpha": 0.95, "centered": True, "eps": 1e-06}),
    "rmsprop_full": ("RMSprop", {"lr": 0.02, "centered": True, "momentum": 0.5, "maximize": True}),
    "adagrad": ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}),
    "adagrad_initial": ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 0.001}),
    "adadelta": ("Adadelta", {"lr": 0.8, "weight_decay": 0.05}),
    "adamax": ("Adamax", {"lr": 0.02, "weight_decay": 0.1}),
    "nadam": ("NAdam", {"lr": 0.02, "weight_decay": 0.1}),
    "nadam_decoupled": (
        "NAdam",
        {"lr": 0.02, "momentum_decay": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "radam": ("RAdam", {"lr": 0.02, "weight_decay": 0.1}),
    "radam_decoupled": (
        "RAdam",
        {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "asgd": ("ASGD", {"lr": 0.1, "lambd": 0.1, "t0": 3, "weight_decay": 0.05}),
    "rprop": ("Rprop", {"lr": 0.05, "step_sizes": (0.03, 0.08)}),
}

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
        {"max_lr": [0.4, 0.2], "epochs": 2, "steps_per_epoch": 10, "anneal_strategy": "linear",
         "three_phase": True, "pct_start": 0.4, "div_factor": 10.0, "final_div_factor": 100.0},
    ),
}  # fmt: skip

PLATEAUS = {
    "plateau": {"factor": 0.5, "patience": 2},
    "plateau_abs": {"mode": "max", "factor": 0.3, "patience": 0, "threshold": 0.05,
                    "threshold_mode": "abs", "cooldown": 2, "min_lr": 0.02},
}  # fmt: skip


def numbers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    out = {f"start_{name}": rng.normal(size=shape) for name, shape in SHAPES.items()}
    for name, shape in SHAPES.items():
        scale = 10.0 ** rng.uniform(-3, 1, size=(STEPS, *shape))
        out[f"grad_{name}"] = rng.normal(size=(STEPS, *shape)) * scale
    return out


def trajectories(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    out = dict(given)
    for key, (kind, options) in OPTIMIZERS.items():
        params = {n: torch.nn.Parameter(torch.tensor(given[f"start_{n}"])) for n in SHAPES}
        optimizer = getattr(torch.optim, kind)(list(params.values()), **options)
        rows: dict[str, list[np.ndarray]] = {name: [] for name in SHAPES}
        for step in range(STEPS):
            for name, param in params.items():
                # The second parameter misses some gradients, so that step counts differ.
                missing = name == "b" and step in (0, 3)
                param.grad = None if missing else torch.tensor(given[f"grad_{name}"][step])
            optimizer.step()
            for name, param in params.items():
                rows[name].append(param.detach().numpy().copy())
        for name, values in rows.items():
            out[f"{key}_{name}"] = np.stack(values)
    return out


def rates() -> dict[str, np.ndarray]:
    out = {}
    for key, (kind, options) in SCHEDULES.items():
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.3)]
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        schedule = getattr(schedules, kind)(optimizer, **options)
        rows = []
        for epoch in range(20):
            rows.append([[g["lr"], g["momentum"]] for g in optimizer.param_groups])
            optimizer.step()
            if epoch < 19:
                schedule.step()
        out[key] = np.array(rows)
    values = np.random.default_rng(3).normal(size=25).cumsum() * 0.1 + 1.0
    out["plateau_values"] = values
    for key, options in PLATEAUS.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        schedule = schedules.ReduceLROnPlateau(optimizer, **options)
        rows = []
        for value in values:
            schedule.step(value)
            rows.append(optimizer.param_groups[0]["lr"])
        out[key] = np.array(rows)
    return out


def clipping() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    grads = [rng.normal(size=(4, 3)), rng.normal(size=(2,)) * 5]
    out = {"clip_grad_0": grads[0], "clip_grad_1": grads[1]}
    for norm in (1.0, 2.0, float("inf")):
        params = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in grads]
        for param, grad in zip(params, grads, strict=True):
            param.grad = torch.tensor(grad)
        total = torch.nn.utils.clip_grad_norm_(params, 0.7, norm)
        out[f"clip_{norm}_total"] = total.numpy()
        for index, param in enumerate(params):
            out[f"clip_{norm}_{index}"] = param.grad.numpy()
    return out


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    np.savez_compressed(HERE / "trajectories.npz", **trajectories(numbers()))
    np.savez_compressed(HERE / "rates.npz", **rates())
    np.savez_compressed(HERE / "clipping.npz", **clipping())
