"""Writes what PyTorch's normalisation modules compute, for tests/test_normalization.py.

Run with PyTorch installed: ``python tests/goldens/normalization/make.py``. Everything is float64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent

# Name, module, arguments, input shape, and whether the second batch is one of evaluation.
CASES: list[tuple[str, str, dict[str, Any], tuple[int, ...], bool]] = [
    ("group", "GroupNorm", {"num_groups": 2, "num_channels": 6}, (3, 6, 4, 5), False),
    ("group_plain", "GroupNorm", {"num_groups": 3, "num_channels": 6, "affine": False}, (2, 6),
     False),
    ("group_no_bias", "GroupNorm", {"num_groups": 1, "num_channels": 4, "eps": 1e-2, "bias": False},
     (2, 4, 7), False),
    ("instance1d", "InstanceNorm1d", {"num_features": 3}, (2, 3, 5), True),
    ("instance1d_single", "InstanceNorm1d", {"num_features": 3, "affine": True}, (3, 5), False),
    ("instance2d", "InstanceNorm2d", {"num_features": 3, "affine": True}, (2, 3, 4, 5), True),
    ("instance2d_running", "InstanceNorm2d",
     {"num_features": 3, "affine": True, "track_running_stats": True, "momentum": 0.3},
     (2, 3, 4, 5), True),
    ("instance3d_running", "InstanceNorm3d", {"num_features": 2, "track_running_stats": True},
     (2, 2, 2, 3, 4), True),
    ("rms", "RMSNorm", {"normalized_shape": 6}, (3, 6), False),
    ("rms_eps", "RMSNorm", {"normalized_shape": [2, 3], "eps": 1e-2}, (4, 2, 3), False),
    ("rms_plain", "RMSNorm", {"normalized_shape": 5, "elementwise_affine": False}, (3, 5), False),
    ("batch2d", "BatchNorm2d", {"num_features": 3}, (4, 3, 2, 5), True),
    ("batch2d_average", "BatchNorm2d", {"num_features": 3, "momentum": None}, (4, 3, 2, 5), True),
    ("batch3d", "BatchNorm3d", {"num_features": 2, "affine": False}, (3, 2, 2, 3, 2), True),
]  # fmt: skip


def main() -> None:
    torch.set_default_dtype(torch.float64)
    rng = np.random.default_rng(42)
    arrays: dict[str, np.ndarray] = {}
    meta = []
    for name, kind, kwargs, shape, evaluates in CASES:
        module = getattr(torch.nn, kind)(**kwargs)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.tensor(rng.normal(size=tuple(parameter.shape))))
        for key, value in module.state_dict().items():
            arrays[f"{name}/before/{key}"] = value.numpy().copy()
        meta.append(
            {"name": name, "kind": kind, "kwargs": kwargs, "evaluates": evaluates,
             "state": list(module.state_dict()), "repr": repr(module)}
        )  # fmt: skip
        for batch in range(2):
            module.train(not (evaluates and batch == 1))
            x = torch.tensor(rng.normal(size=shape) * 2 + 1, requires_grad=True)
            seed = torch.tensor(rng.normal(size=shape))
            out = module(x)
            module.zero_grad()
            out.backward(seed)
            arrays[f"{name}/{batch}/x"] = x.detach().numpy()
            arrays[f"{name}/{batch}/seed"] = seed.numpy()
            arrays[f"{name}/{batch}/out"] = out.detach().numpy()
            arrays[f"{name}/{batch}/grad"] = x.grad.numpy()
            for key, parameter in module.named_parameters():
                arrays[f"{name}/{batch}/grad.{key}"] = parameter.grad.numpy().copy()
        for key, value in module.state_dict().items():
            arrays[f"{name}/after/{key}"] = value.numpy().copy()
    np.savez_compressed(HERE / "values.npz", **arrays)
    (HERE / "cases.json").write_text(json.dumps(meta, indent=1) + "\n")


if __name__ == "__main__":
    main()
