"""Softmax, and cross-entropy with its gradient as a training step calls it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Array, Problem, Suite, generator, module, normal

SUITE = Suite()


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


@SUITE.kind("softmax", "log_softmax")
def softmax(case: Case) -> Problem:
    rows, n = case.sizes("shape")
    x = normal(generator(case), rows, n)

    def annx() -> Any:
        t, function = module("annx").from_numpy(x), getattr(module("annx"), case.kind)
        return lambda: function(t, -1)

    def torch() -> Any:
        t, function = module("torch").from_numpy(x), getattr(module("torch"), case.kind)
        return lambda: function(t, -1)

    def scipy() -> Any:
        function = getattr(module("scipy.special"), case.kind)
        return lambda: function(x, axis=-1)

    def reference() -> list[Array]:
        y = _softmax(x.astype(np.float64))
        return [np.log(y) if case.kind == "log_softmax" else y]

    return Problem(
        makers={"annx": annx, "torch": torch, "scipy": scipy},
        reference=reference,
        flops=4.0 * x.size,
        bytes=8.0 * x.size,
    )


@SUITE.kind("cross_entropy")
def cross_entropy(case: Case) -> Problem:
    """The mean loss and its gradient by the logits."""
    rows, n = case.sizes("shape")
    rng = generator(case)
    x = normal(rng, rows, n)
    target = rng.integers(0, n, rows)

    def make(library: str) -> Any:
        lib = module(library)
        loss_of = module(f"{library}.nn.functional").cross_entropy
        logits = lib.from_numpy(x).requires_grad_()
        classes = lib.from_numpy(target)
        grad = lib._core.grad if library == "annx" else lib.autograd.grad

        def call() -> Any:
            loss = loss_of(logits, classes)
            return loss, grad(loss, [logits])[0]

        return call

    def jax() -> Any:
        jax, jnp = module("jax"), module("jax.numpy")
        logits, classes = jnp.asarray(x), jnp.asarray(target)

        def loss(z: Any) -> Any:
            rows = jnp.take_along_axis(jax.nn.log_softmax(z), classes[:, None], 1)
            return -rows.mean()

        step = jax.jit(jax.value_and_grad(loss))

        def call() -> Any:
            value, grad = step(logits)
            return value, grad.block_until_ready()

        return call

    def reference() -> list[Array]:
        p = _softmax(x.astype(np.float64))
        picked = (np.arange(rows), target)
        loss = -np.log(p[picked]).mean()
        p[picked] -= 1
        return [np.asarray(loss), p / rows]

    return Problem(
        makers={"annx": lambda: make("annx"), "torch": lambda: make("torch"), "jax": jax},
        reference=reference,
        flops=6.0 * x.size,
        bytes=8.0 * x.size + 8.0 * rows,
    )
