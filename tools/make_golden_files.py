"""Makes the safetensors files that tests/test_io.py reads; needs safetensors and torch.

`reference.safetensors` is written by the reference implementation, `golden.safetensors` by annx's
first release: later releases keep it as it is, to show that they still read it. Run from the
repository root:

    python tools/make_golden_files.py
"""

from __future__ import annotations

import math
import pathlib

import annx
import torch
from safetensors.torch import save_file

DATA = pathlib.Path(__file__).parents[1] / "tests" / "data"


def make_reference() -> None:
    """One tensor of each dtype."""
    tensors = {
        "bf16": torch.tensor([1, -2.5, 3.140625], dtype=torch.bfloat16),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 4),
        "f16": torch.tensor([[1, 2], [3, 4]], dtype=torch.float16),
        "f32": torch.arange(6, dtype=torch.float32).reshape(2, 3) / 2,
        "f64": torch.tensor(0.1, dtype=torch.float64),
        "i32": torch.tensor([1, -2, 3, -4], dtype=torch.int32),
        "i64": torch.tensor([-(2**62), 2**62]),
        "u8": torch.tensor([0, 128, 255], dtype=torch.uint8),
    }
    save_file(tensors, DATA / "reference.safetensors", metadata={"made": "by safetensors"})


def make_golden() -> None:
    """A checkpoint as a training loop would save it."""
    values = annx.tensor([[0, 1, 0], [1, 1, 0]])
    names = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool"]
    annx.save(
        {
            "model": {name: values.to(name) for name in names},
            "optimizer": {"step": 7, "betas": (0.9, 0.999), "names": ["w", "b"]},
            "epoch": 3,
            "best": -math.inf,
        },
        DATA / "golden.safetensors",
    )


if __name__ == "__main__":
    make_reference()
    make_golden()
