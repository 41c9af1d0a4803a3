"""The arena of a captured step is close to the least: the largest sum of tensors alive at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import annx
import numpy as np
import pytest
from annx import _core, nn
from annx.bench.suites.e2e import WORKLOADS
from annx.nn import functional as F

# The project's bound; planning by size usually meets the sum itself.
BOUND = 1.3


def check(function: Any) -> None:
    (program,) = function.programs
    sizes = program.sizes()
    assert 0 < sizes["live_bytes"] <= sizes["arena_bytes"] <= BOUND * sizes["live_bytes"]
    found = re.search(r"arena (\d+) bytes, most alive at once (\d+) bytes", program.explain())
    assert found
    assert (int(found[1]), int(found[2])) == (sizes["arena_bytes"], sizes["live_bytes"])


@pytest.mark.parametrize("kind", WORKLOADS, ids=lambda kind: kind.name)
def test_workloads(kind: Any) -> None:
    workload, rng = kind(), np.random.default_rng(0)
    jitted: list[Any] = []

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        jitted.append(annx.jit(function))
        found: Callable[..., Any] = jitted[0]
        return found

    weights = workload.weights(rng, "annx")
    workload.step("annx", weights, workload.data(rng, 8), 1.0, wrap)()
    check(jitted[0])


def dense(x: annx.Tensor, layers: nn.ModuleList) -> annx.Tensor:
    """Each layer reads all before it: tensors of many sizes live for long."""
    features = [x]
    for layer in layers:
        features.append(F.relu(layer(annx.cat(features, 1))))
    return annx.cat(features, 1)


def pyramid(x: annx.Tensor, layers: nn.ModuleList) -> annx.Tensor:
    """Down and up again with connections across, as a U-Net."""
    kept = []
    for layer in layers[:3]:
        x = F.gelu(layer(x))
        kept.append(x)
        x = F.max_pool2d(x, 2)
    for layer, skip in zip(layers[3:], reversed(kept), strict=True):
        x = annx.cat([F.interpolate(x, scale_factor=2), skip], 1)
        x = annx.tanh(layer(x))
    return x


NETWORKS: dict[str, tuple[Callable[..., annx.Tensor], list[tuple[int, int]], int]] = {
    "dense": (dense, [(3 + 5 * k, 5) for k in range(8)], 12),
    "pyramid": (pyramid, [(3, 8), (8, 16), (16, 32), (64, 16), (32, 8), (16, 4)], 16),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("checkpointed", [False, True])
def test_networks(name: str, checkpointed: bool) -> None:
    forward, channels, size = NETWORKS[name]
    layers = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in channels])

    @annx.jit
    def step(x: annx.Tensor) -> annx.Tensor:
        layers.zero_grad()
        out = annx.checkpoint(forward, x, layers) if checkpointed else forward(x, layers)
        loss = out.square().mean()
        loss.backward()
        return loss

    step(annx.rand(4, 3, size, size))
    check(step)


def test_random_lifetimes() -> None:
    """Chains that meet again, of random sizes."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        picks = [(int(rng.integers(0, k + 1)), int(rng.integers(1, 60))) for k in range(40)]

        @annx.jit
        def f(x: annx.Tensor, picks: Any = tuple(picks)) -> annx.Tensor:
            made, total = [x], x.sum()
            for source, rows in picks:
                y = annx.cumsum(made[source % len(made)].sum(0, keepdim=True).expand(rows, 16), 0)
                total = total + y.mean()
                made.append(y)
                if len(made) > 6:
                    made.pop(int(rows) % 5)
            return total

        f(annx.rand(4, 16))
        check(f)


def test_the_arena_takes_over_from_the_blocks_of_the_recorded_call() -> None:
    weight = annx.randn(256, 256, requires_grad=True)

    @annx.jit
    def step(x: annx.Tensor) -> annx.Tensor:
        weight.grad = None
        y = x
        for _ in range(8):
            y = annx.tanh(y @ weight)
        loss = y.sum()
        loss.backward()
        return loss

    x = annx.randn(1024, 256)
    _core.empty_cache()
    step(x)
    kept = _core.allocator_stats()["cached_bytes"]
    step(x)
    (program,) = step.programs
    stats = _core.allocator_stats()
    arena = program.sizes()["arena_bytes"]
    assert kept > arena >= 1 << 20
    assert stats["cached_bytes"] <= kept - arena + (2 << 20)
