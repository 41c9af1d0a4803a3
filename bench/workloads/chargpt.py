"""A small GPT over characters: 4 blocks, d 128, 4 heads, 64 steps, 65 characters, causal.

Blocks normalise first, and the fused attention is called directly (Radford et al., 2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import Array
from .base import Workload

STEPS, WIDTH, HEADS, CHARACTERS = 64, 128, 4, 65


class CharGpt(Workload):
    name = "chargpt"

    def model(self, lib: Any, drop: float) -> Any:
        nn = lib.nn

        def block() -> Any:
            attention = nn.ModuleList(
                [nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)]
            )
            network = nn.Sequential(
                nn.LayerNorm(WIDTH),
                nn.Linear(WIDTH, 4 * WIDTH),
                nn.GELU(),
                nn.Linear(4 * WIDTH, WIDTH),
            )
            return nn.ModuleList([attention, network])

        return nn.ModuleList(
            [
                nn.Embedding(CHARACTERS, WIDTH),
                nn.Embedding(STEPS, WIDTH),
                nn.ModuleList([block() for _ in range(4)]),
                nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CHARACTERS)),
            ]
        )

    def forward(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        characters, places, blocks, head = model
        x = characters(batch["x"]) + places.weight
        shape = (x.shape[0], STEPS, HEADS, WIDTH // HEADS)
        for (norm, project, out), network in blocks:
            q, k, v = (t.reshape(shape).transpose(1, 2) for t in project(norm(x)).chunk(3, -1))
            y = lib.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + out(y.transpose(1, 2).reshape(x.shape))
            x = x + network(x)
        return head(x)

    def data(self, rng: np.random.Generator, batch: int) -> dict[str, Array]:
        text = rng.integers(0, CHARACTERS, (batch, STEPS + 1))
        return {"x": text[:, :-1].copy(), "y": text[:, 1:].copy()}

    def loss(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        scores = self.forward(lib, model, batch).reshape(-1, CHARACTERS)
        return lib.nn.functional.cross_entropy(scores, batch["y"].reshape(-1))
