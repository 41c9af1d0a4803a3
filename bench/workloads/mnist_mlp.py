"""784-128-64-10 with dropout and cross-entropy, batch 128."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import Array, normal
from .base import Workload


class MnistMlp(Workload):
    name = "mnist_mlp"

    def model(self, lib: Any, drop: float) -> Any:
        nn = lib.nn
        return nn.Sequential(
            nn.Linear(784, 128),
            nn.ReLU(),
            nn.Dropout(0.2 * drop),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Dropout(0.2 * drop),
            nn.Linear(64, 10),
        )

    def data(self, rng: np.random.Generator, batch: int) -> dict[str, Array]:
        return {"x": normal(rng, batch, 784), "y": rng.integers(0, 10, batch)}

    def loss(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        return lib.nn.functional.cross_entropy(self.forward(lib, model, batch), batch["y"])
