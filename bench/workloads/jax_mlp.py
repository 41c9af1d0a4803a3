"""JAX's part in ``e2e``: stacks of linear layers, batch norms, ReLUs and dropouts.

The whole step, with Adam and the batch norms' running statistics, is one ``jax.jit`` that is given
its own state's memory back. A call waits for its result, as a loop that reads the loss does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import Array, Contender, module
from .base import CHECKED_STEPS, Workload

_KINDS = ("Linear", "BatchNorm1d", "ReLU", "Dropout")
_BETAS, _EPS = (0.9, 0.999), 1e-8
State = dict[str, Any]


def layers(model: Any) -> list[tuple[str, str, Any]] | None:
    """Name, kind and module of each layer; None for another network."""
    if type(model).__name__ != "Sequential":
        return None
    found = [(name, type(layer).__name__, layer) for name, layer in model.named_children()]
    return found if all(kind in _KINDS for _, kind, _ in found) else None


def _start(stack: list[tuple[str, str, Any]], weights: dict[str, Array]) -> State:
    jax, jnp = module("jax"), module("jax.numpy")
    parameters = {name: jnp.array(values) for name, values in weights.items()}
    norms = [name for name, kind, _ in stack if kind == "BatchNorm1d"]
    return {
        "p": parameters,
        "m": {name: jnp.zeros_like(p) for name, p in parameters.items()},
        "v": {name: jnp.zeros_like(p) for name, p in parameters.items()},
        "mean": {name: jnp.zeros_like(parameters[f"{name}.weight"]) for name in norms},
        "var": {name: jnp.ones_like(parameters[f"{name}.weight"]) for name in norms},
        "t": jnp.zeros((), jnp.float32),
        "key": jax.random.key(0),
    }


def _step(workload: Workload, stack: list[tuple[str, str, Any]], classes: bool) -> Any:
    jax, jnp = module("jax"), module("jax.numpy")

    def loss(p: State, key: Any, x: Any, y: Any) -> tuple[Any, State]:
        statistics: State = {}
        for name, kind, layer in stack:
            if kind == "Linear":
                x = x @ p[f"{name}.weight"].T + p[f"{name}.bias"]
            elif kind == "ReLU":
                x = jax.nn.relu(x)
            elif kind == "BatchNorm1d":
                mean, var = x.mean(0), x.var(0)
                scaled = (x - mean) * jax.lax.rsqrt(var + layer.eps)
                x = scaled * p[f"{name}.weight"] + p[f"{name}.bias"]
                statistics[name] = (mean, var * len(x) / (len(x) - 1), layer.momentum)
            elif layer.p > 0:
                key, now = jax.random.split(key)
                kept = jax.random.bernoulli(now, 1 - layer.p, x.shape)
                x = jnp.where(kept, x / (1 - layer.p), 0)
        if classes:
            return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1).mean(), statistics
        return jnp.square(x - y).mean(), statistics

    def step(state: State, x: Any, y: Any) -> tuple[State, Any]:
        key, now = jax.random.split(state["key"])
        (value, statistics), g = jax.value_and_grad(loss, has_aux=True)(state["p"], now, x, y)
        t = state["t"] + 1
        (b1, b2), lr = _BETAS, workload.lr
        m = {n: b1 * state["m"][n] + (1 - b1) * g[n] for n in g}
        v = {n: b2 * state["v"][n] + (1 - b2) * jnp.square(g[n]) for n in g}
        p = {
            n: state["p"][n]
            - lr * (m[n] / (1 - b1**t)) / (jnp.sqrt(v[n] / (1 - b2**t)) + _EPS)
            for n in g
        }  # fmt: skip
        running: dict[str, State] = {"mean": {}, "var": {}}
        for name, (mean, var, momentum) in statistics.items():
            running["mean"][name] = (1 - momentum) * state["mean"][name] + momentum * mean
            running["var"][name] = (1 - momentum) * state["var"][name] + momentum * var
        return {"p": p, "m": m, "v": v, "t": t, "key": key, **running}, value

    return jax.jit(step, donate_argnums=0)


def contender(
    workload: Workload, weights: dict[str, Array], data: dict[str, Array]
) -> Contender | None:
    """One step a call; None for a network of other layers."""
    stack = layers(workload.model(module("annx"), 1.0))
    if stack is None or set(data) != {"x", "y"}:
        return None
    dry = layers(workload.model(module("annx"), 0.0)) or []
    classes = data["y"].dtype.kind != "f"
    x, y = (module("jax.numpy").array(data[name]) for name in ("x", "y"))

    def result() -> list[Array]:
        step, state, losses = _step(workload, dry, classes), _start(dry, weights), []
        for _ in range(CHECKED_STEPS):
            state, value = step(state, x, y)
            losses.append(np.asarray(value))
        return losses

    held = [_start(stack, weights)]
    step = _step(workload, stack, classes)

    def call() -> Any:
        held[0], value = step(held[0], x, y)
        return value.block_until_ready()

    return Contender(call, result)
