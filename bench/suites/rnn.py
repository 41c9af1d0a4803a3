"""Recurrent layers over whole sequences: forward, and forward with all gradients (``_train``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Array, Contender, Problem, Suite, generator, module, normal

SUITE = Suite()
_MODULES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}

# One step in float64: (products of input and state with both weights, state, cell) -> what the
# next step needs, and a function from the gradients of state and cell to those of the products,
# of the state besides them, and of the cell.
_Back = Callable[[Array, Array], tuple[Array, Array, Array, Array]]
_Cell = Callable[[Array, Array, Array, Array], tuple[Array, Array, _Back]]


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _lstm(zx: Array, zh: Array, h: Array, c: Array) -> tuple[Array, Array, _Back]:
    i, f, g, o = np.split(zx + zh, 4, -1)
    i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
    after = f * c + i * g
    out = np.tanh(after)

    def back(dh: Array, dc: Array) -> tuple[Array, Array, Array, Array]:
        dc = dc + dh * o * (1 - out * out)
        gates = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g)]
        dz = np.concatenate([*gates, dh * out * o * (1 - o)], -1)
        return dz, dz, np.zeros_like(dh), dc * f

    return o * out, after, back


def _gru(zx: Array, zh: Array, h: Array, c: Array) -> tuple[Array, Array, _Back]:
    (xr, xz, xn), (hr, hz, hn) = np.split(zx, 3, -1), np.split(zh, 3, -1)
    r, z = _sigmoid(xr + hr), _sigmoid(xz + hz)
    n = np.tanh(xn + r * hn)

    def back(dh: Array, dc: Array) -> tuple[Array, Array, Array, Array]:
        dn = dh * (1 - z) * (1 - n * n)
        both = [dn * hn * r * (1 - r), dh * (h - n) * z * (1 - z)]
        return np.concatenate([*both, dn], -1), np.concatenate([*both, dn * r], -1), dh * z, dc

    return (1 - z) * n + z * h, c, back


def _rnn(zx: Array, zh: Array, h: Array, c: Array) -> tuple[Array, Array, _Back]:
    out = np.tanh(zx + zh)

    def back(dh: Array, dc: Array) -> tuple[Array, Array, Array, Array]:
        dz = dh * (1 - out * out)
        return dz, dz, np.zeros_like(dh), dc

    return out, c, back


_CELLS: dict[str, _Cell] = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}


def _reference(
    kind: str, x: Array, weights: dict[str, Array], g: Array, train: bool
) -> list[Array]:
    """The outputs, or the gradients of input and weights, step by step in float64."""
    w_ih, w_hh, b_ih, b_hh = (w.astype(np.float64) for w in weights.values())
    h = c = np.zeros((x.shape[1], w_hh.shape[1]))
    states, outputs, backs = [], [], []
    for step in x.astype(np.float64):
        states.append(h)
        h, c, back = _CELLS[kind](step @ w_ih.T + b_ih, h @ w_hh.T + b_hh, h, c)
        outputs.append(h)
        backs.append(back)
    if not train:
        return [np.stack(outputs)]
    dx = np.zeros(x.shape)
    grads = [np.zeros_like(w) for w in (w_ih, w_hh, b_ih, b_hh)]
    dh = dc = np.zeros_like(h)
    for t in reversed(range(len(x))):
        dzx, dzh, beside, dc = backs[t](dh + g[t], dc)
        dh = beside + dzh @ w_hh
        dx[t] = dzx @ w_ih
        for total, part in zip(
            grads, (dzx.T @ x[t], dzh.T @ states[t], dzx.sum(0), dzh.sum(0)), strict=True
        ):
            total += part
    return [dx, *grads]


@SUITE.kind(*(f"{kind}{way}" for kind in _MODULES for way in ("", "_train")))
def sequence(case: Case) -> Problem:
    kind, train = case.kind.removesuffix("_train"), case.kind.endswith("_train")
    batch, steps = case.number("batch"), case.number("steps")
    inputs, hidden = case.number("inputs"), case.number("hidden")
    rng, gates = generator(case), _GATES[kind]
    x, g = normal(rng, steps, batch, inputs), normal(rng, steps, batch, hidden)
    sizes = {
        "weight_ih_l0": (gates * hidden, inputs), "weight_hh_l0": (gates * hidden, hidden),
        "bias_ih_l0": (gates * hidden,), "bias_hh_l0": (gates * hidden,),
    }  # fmt: skip
    bound = hidden**-0.5
    weights = {
        name: rng.uniform(-bound, bound, size).astype(np.float32) for name, size in sizes.items()
    }

    def make(library: str) -> Contender:
        lib = module(library)
        layer = getattr(module(f"{library}.nn"), _MODULES[kind])(inputs, hidden)
        layer.load_state_dict({name: lib.from_numpy(w) for name, w in weights.items()})
        data, out = lib.from_numpy(x), lib.from_numpy(g)
        if not train:
            no_grad = lib.no_grad

            def forward() -> Any:
                with no_grad():
                    return layer(data)[0]

            return Contender(forward)
        leaves = [data.requires_grad_(), *(getattr(layer, name) for name in sizes)]
        grad = module(f"{library}.autograd").grad
        return Contender(lambda: grad(layer(data)[0], leaves, out))

    multiplied = batch * steps * gates * hidden * (inputs + hidden)
    states = batch * steps * (inputs + hidden) + sum(w.size for w in weights.values())
    return Problem(
        makers={name: partial(make, name) for name in ("annx", "torch")},
        reference=lambda: _reference(kind, x, weights, g, train),
        flops=2.0 * multiplied * (3 if train else 1),
        bytes=4.0 * states * (3 if train else 1),
    )
