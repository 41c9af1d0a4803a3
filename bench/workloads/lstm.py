"""An LSTM of 128 units over 64 steps of 32 numbers; its last state predicts a number."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import Array, normal
from .base import Workload

STEPS = 64


class Lstm(Workload):
    name = "lstm"

    def model(self, lib: Any, drop: float) -> Any:
        return lib.nn.ModuleList([lib.nn.LSTM(32, 128, batch_first=True), lib.nn.Linear(128, 1)])

    def forward(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        recurrent, head = model
        return head(recurrent(batch["x"])[0][:, -1])

    def data(self, rng: np.random.Generator, batch: int) -> dict[str, Array]:
        return {"x": normal(rng, batch, STEPS, 32), "y": normal(rng, batch, 1)}

    def loss(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        return lib.nn.functional.mse_loss(self.forward(lib, model, batch), batch["y"])
