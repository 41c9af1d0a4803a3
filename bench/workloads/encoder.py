"""A transformer encoder of 4 blocks, d 128, 4 heads, ff 512, over 64 steps, that classifies."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import Array, normal
from .base import Workload

STEPS = 64


class Encoder(Workload):
    name = "encoder"

    def model(self, lib: Any, drop: float) -> Any:
        nn = lib.nn
        blocks = [
            nn.TransformerEncoderLayer(128, 4, 512, dropout=0.1 * drop, batch_first=True)
            for _ in range(4)
        ]
        return nn.Sequential(nn.Sequential(*blocks), nn.Linear(128, 10))

    def forward(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        blocks, head = model
        return head(blocks(batch["x"]).mean(1))

    def data(self, rng: np.random.Generator, batch: int) -> dict[str, Array]:
        return {"x": normal(rng, batch, STEPS, 128), "y": rng.integers(0, 10, batch)}

    def loss(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        return lib.nn.functional.cross_entropy(self.forward(lib, model, batch), batch["y"])
