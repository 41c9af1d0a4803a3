"""The guide's convolutional network for 28x28 images: three convolutions, two pools, 64-10."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import Array, normal
from .base import Workload


class GuideCnn(Workload):
    name = "guide_cnn"
    images = ("x",)

    def model(self, lib: Any, drop: float) -> Any:
        nn = lib.nn
        return nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(576, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def data(self, rng: np.random.Generator, batch: int) -> dict[str, Array]:
        return {"x": normal(rng, batch, 1, 28, 28), "y": rng.integers(0, 10, batch)}

    def loss(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        return lib.nn.functional.cross_entropy(self.forward(lib, model, batch), batch["y"])
