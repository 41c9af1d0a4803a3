"""A variational autoencoder, 784-512-256-2-256-512-784, batch 128 (Kingma and Welling, 2014).

The noise of the reparametrisation comes with the batch, so that both libraries see the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import Array, normal
from .base import Workload


class Vae(Workload):
    name = "vae"

    def model(self, lib: Any, drop: float) -> Any:
        nn = lib.nn
        encoder = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
        decoder = nn.Sequential(
            nn.Linear(2, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 784)
        )
        return nn.Sequential(encoder, nn.Linear(256, 2), nn.Linear(256, 2), decoder)

    def data(self, rng: np.random.Generator, batch: int) -> dict[str, Array]:
        return {"x": rng.random((batch, 784), dtype=np.float32), "noise": normal(rng, batch, 2)}

    def forward(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        """The reconstruction from the mean code."""
        encoder, to_mean, _, decoder = model
        return decoder(to_mean(encoder(batch["x"])))

    def loss(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        encoder, to_mean, to_log_variance, decoder = model
        hidden = encoder(batch["x"])
        mean, log_variance = to_mean(hidden), to_log_variance(hidden)
        code = mean + batch["noise"] * (0.5 * log_variance).exp()
        fit = lib.nn.functional.binary_cross_entropy_with_logits(
            decoder(code), batch["x"], reduction="sum"
        )
        divergence = -0.5 * (1 + log_variance - mean * mean - log_variance.exp()).sum()
        return (fit + divergence) / len(batch["x"])
