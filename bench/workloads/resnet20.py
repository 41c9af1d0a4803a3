"""ResNet-20 for 32x32 images (He et al., 2015): 16, 32 and 64 channels, three blocks each.

Where channels double, the shortcut is a convolution of one tap, as in the guide's residual block.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ..problem import Array, normal
from .base import Workload


class ResNet20(Workload):
    name = "resnet20"
    images = ("x",)

    def model(self, lib: Any, drop: float) -> Any:
        nn = lib.nn

        def convolution(before: int, after: int, taps: int, stride: int) -> list[Any]:
            return [
                nn.Conv2d(before, after, taps, stride, taps // 2, bias=False),
                nn.BatchNorm2d(after),
            ]

        def block(before: int, after: int) -> Any:
            stride = after // before
            body = nn.Sequential(
                *convolution(before, after, 3, stride), nn.ReLU(), *convolution(after, after, 3, 1)
            )
            shortcut = convolution(before, after, 1, stride) if stride > 1 else []
            return nn.Sequential(body, nn.Sequential(*shortcut))

        widths = (16, 16, 16, 16, 32, 32, 32, 64, 64, 64)
        return nn.Sequential(
            nn.Sequential(*convolution(3, 16, 3, 1), nn.ReLU()),
            nn.Sequential(*[block(a, b) for a, b in pairwise(widths)]),
            nn.Linear(64, 10),
        )

    def forward(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        stem, blocks, head = model
        x = stem(batch["x"])
        for body, shortcut in blocks:
            x = lib.nn.functional.relu(body(x) + shortcut(x))
        return head(x.mean((2, 3)))

    def data(self, rng: np.random.Generator, batch: int) -> dict[str, Array]:
        return {"x": normal(rng, batch, 3, 32, 32), "y": rng.integers(0, 10, batch)}

    def loss(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        return lib.nn.functional.cross_entropy(self.forward(lib, model, batch), batch["y"])
