"""The guide's regression network: 10-64-32-1 with batch norm and dropout, batch 32."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import Array, normal
from .base import Workload


class GuideMlp(Workload):
    name = "guide_mlp"

    def model(self, lib: Any, drop: float) -> Any:
        nn = lib.nn
        return nn.Sequential(
            nn.Linear(10, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Dropout(0.3 * drop),
            nn.Linear(64, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Dropout(0.3 * drop),
            nn.Linear(32, 1),
        )

    def data(self, rng: np.random.Generator, batch: int) -> dict[str, Array]:
        return {"x": normal(rng, batch, 10), "y": normal(rng, batch, 1)}

    def loss(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        return lib.nn.functional.mse_loss(self.forward(lib, model, batch), batch["y"])
