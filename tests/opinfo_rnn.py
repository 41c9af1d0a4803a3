"""Records of the recurrent layers: plain loops over steps and sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from opinfo import OpInfo, Sample

Cell = Callable[[Any, Any, Any], tuple[Any, Any]]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def walk(x: Any, batch_sizes: Any, reverse: bool, first: Any, cell: Cell) -> tuple[Any, Any]:
    """Runs every sequence by itself; first(b) is its state, cell gives (output, next state)."""
    if batch_sizes is None:
        steps = [[t * x.shape[1] + b for t in range(x.shape[0])] for b in range(x.shape[1])]
    else:
        starts = np.cumsum([0, *batch_sizes[:-1]])
        steps = [
            [start + b for start, size in zip(starts, batch_sizes, strict=True) if b < size]
            for b in range(batch_sizes[0])
        ]
    rows = x.reshape(-1, x.shape[-1])
    outputs: dict[int, Any] = {}
    last = []
    for b, indices in enumerate(steps):
        state = first(b)
        for row in reversed(indices) if reverse else indices:
            outputs[row], state = cell(rows[row], state, b)
        last.append(state)
    stacked = np.stack([outputs[row] for row in range(len(rows))])
    return stacked.reshape(*x.shape[:-1], -1), last


def lstm(
    x: Any,
    hx: Any,
    cx: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    weight_hr: Any = None,
    batch_sizes: Any = None,
    reverse: bool = False,
) -> Any:
    hidden, out = w_hh.shape[0] // 4, w_hh.shape[1]

    def first(b: int) -> Any:
        return (np.zeros(out) if hx is None else hx[b], np.zeros(hidden) if cx is None else cx[b])

    def cell(row: Any, state: Any, b: int) -> Any:
        h, c = state
        z = w_ih @ row + w_hh @ h + (0 if b_ih is None else b_ih) + (0 if b_hh is None else b_hh)
        i, f, g, o = np.split(z, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        if weight_hr is not None:
            h = weight_hr @ h
        return h, (h, c)

    y, last = walk(x, batch_sizes, reverse, first, cell)
    return y, np.stack([h for h, _ in last]), np.stack([c for _, c in last])


def gru(
    x: Any,
    hx: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    batch_sizes: Any = None,
    reverse: bool = False,
) -> Any:
    hidden = w_hh.shape[1]

    def cell(row: Any, h: Any, b: int) -> Any:
        from_x = np.split(w_ih @ row + (0 if b_ih is None else b_ih), 3)
        from_h = np.split(w_hh @ h + (0 if b_hh is None else b_hh), 3)
        r, z = sigmoid(from_x[0] + from_h[0]), sigmoid(from_x[1] + from_h[1])
        n = np.tanh(from_x[2] + r * from_h[2])
        h = (1 - z) * n + z * h
        return h, h

    y, last = walk(
        x, batch_sizes, reverse, lambda b: np.zeros(hidden) if hx is None else hx[b], cell
    )
    return y, np.stack(last)


def rnn(
    x: Any,
    hx: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    batch_sizes: Any = None,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> Any:
    hidden = w_hh.shape[1]

    def cell(row: Any, h: Any, b: int) -> Any:
        z = w_ih @ row + w_hh @ h + (0 if b_ih is None else b_ih) + (0 if b_hh is None else b_hh)
        h = np.tanh(z) if nonlinearity == "tanh" else np.maximum(z, 0)
        return h, h

    y, last = walk(
        x, batch_sizes, reverse, lambda b: np.zeros(hidden) if hx is None else hx[b], cell
    )
    return y, np.stack(last)


# steps, batch, input, hidden; batch sizes of packed samples; then what is given.
SHAPES: list[tuple[Any, ...]] = [
    (3, 2, 3, 4, None, "hx bias"),
    (3, 2, 3, 4, None, "hx bias reverse"),
    (1, 1, 1, 1, None, ""),
    (4, 3, 2, 5, None, "bias"),
    (3, 1, 5, 17, None, "hx"),
    (2, 7, 3, 33, None, "hx bias reverse"),
    (0, 3, 2, 3, [3, 2, 2, 1], "hx bias"),
    (0, 3, 2, 3, [3, 2, 2, 1], "hx bias reverse"),
    (0, 4, 3, 4, [4, 1], "bias reverse"),
    (0, 2, 3, 2, [2, 2, 2], "hx"),
]
# Large enough for each way to share out the work, and for x to be multiplied at once.
LARGE: list[tuple[Any, ...]] = [
    (5, 33, 9, 30, None, "hx bias"),
    (3, 5, 40, 130, None, "hx bias reverse"),
    (2, 3, 300, 40, None, "bias"),
    (0, 36, 7, 40, [36, 35, 18, 17, 5], "hx bias reverse"),
    (0, 9, 60, 90, [9, 9, 4, 1], "hx bias"),
]


def samples(rng: np.random.Generator, gates: int, shapes: Any, proj: bool = False) -> list[Sample]:
    out: list[Sample] = []
    for steps, batch, inputs, hidden, sizes, given in shapes:
        output = max(1, hidden // 2) if proj else hidden
        scale = 1 / np.sqrt(hidden)

        def normal(*shape: int, scale: float = 1.0) -> Any:
            return rng.standard_normal(shape) * scale

        x = normal(steps, batch, inputs) if sizes is None else normal(sum(sizes), inputs)
        state = [normal(batch, output) if "hx" in given else None]
        if gates == 4:
            state.append(normal(batch, hidden) if "hx" in given else None)
        weights = [
            normal(gates * hidden, inputs, scale=scale),
            normal(gates * hidden, output, scale=scale),
        ]
        kwargs: dict[str, Any] = {"reverse": True} if "reverse" in given else {}
        if "bias" in given:
            weights += [normal(gates * hidden), normal(gates * hidden)]
        if sizes is not None:
            kwargs["batch_sizes"] = np.array(sizes, np.int64)
        if proj:
            kwargs["weight_hr"] = normal(output, hidden, scale=scale)
        out.append(((x, *state, *weights), kwargs))
    return out


def lstm_samples(rng: np.random.Generator) -> list[Sample]:
    projected = [*SHAPES[:4], *SHAPES[6:8], *LARGE[:2]]
    return samples(rng, 4, SHAPES + LARGE) + samples(rng, 4, projected, proj=True)


def gru_samples(rng: np.random.Generator) -> list[Sample]:
    return samples(rng, 3, SHAPES + LARGE)


def rnn_samples(rng: np.random.Generator) -> list[Sample]:
    relu = samples(rng, 1, SHAPES[3:8])
    for _, kwargs in relu:
        kwargs["nonlinearity"] = "relu"
    return samples(rng, 1, SHAPES + LARGE) + relu


def errors(op: str, gates: int) -> list[Any]:
    x, hx = np.ones((3, 2, 5)), np.ones((2, 4))
    state = (hx, hx) if gates == 4 else (hx,)
    none = (None,) * len(state)
    w_ih, w_hh = np.ones((gates * 4, 5)), np.ones((gates * 4, 4))
    sizes = np.array([2, 1], np.int64)
    name = rf"\[{op}\]"
    return [
        ((x[0], *none, w_ih, w_hh), {}, ValueError, rf"{name} expected input of shape \(time, ba"),
        ((x[:0], *none, w_ih, w_hh), {}, ValueError, rf"{name} expected a sequence of at least o"),
        ((x.astype(np.int64), *none, w_ih, w_hh), {}, TypeError, rf"{name} expected a floating-p"),
        ((x, *none, w_ih[:, :4], w_hh), {}, ValueError, rf"{name} expected weight_ih of shape"),
        ((x, *none, w_ih, w_hh[:, :3]), {}, ValueError, rf"{name} expected weight_hh of shape"),
        ((x, *none, w_ih, hx[0]), {}, ValueError, rf"{name} expected weight_hh of shape"),
        ((x, hx[:1], *none[1:], w_ih, w_hh), {}, ValueError, r"expected hx of shape \(2, 4\)"),
        ((x, *state, w_ih, w_hh, hx), {}, ValueError, rf"bias_ih of shape \({gates * 4},\)"),
        ((x, *none, w_ih, w_hh, None, hx), {}, ValueError, rf"bias_hh of shape \({gates * 4},\)"),
        (
            (x[0], *none, w_ih, w_hh),
            {"batch_sizes": sizes},
            ValueError,
            rf"{name} expected batch_sizes that add up to the 2 rows of the input but got 3",
        ),
        (
            (x[0], *none, w_ih, w_hh),
            {"batch_sizes": sizes[::-1].copy()},
            ValueError,
            "positive and do not grow but got 2 in step 1",
        ),
        (
            (x[0], *none, w_ih, w_hh),
            {"batch_sizes": np.ones(2)},
            TypeError,
            "expected batch_sizes of dtype int64",
        ),
        (
            (x, *none, w_ih, w_hh),
            {"batch_sizes": sizes},
            ValueError,
            r"expected packed input of shape \(rows, input_size\)",
        ),
        (
            (x[0], *none, w_ih, w_hh),
            {"batch_sizes": sizes[:0]},
            ValueError,
            "expected a sequence of at least one step",
        ),
    ]


ONES = np.ones((2, 2, 1))

RECORDS = [
    OpInfo(
        "lstm_sequence",
        lstm,
        lstm_samples,
        [
            *errors("lstm_sequence", 4),
            (
                (ONES, None, ONES[0], np.ones((8, 1)), np.ones((8, 2))),
                {},
                ValueError,
                r"expected cx of shape \(2, 2\) but got \(2, 1\)",
            ),
            (
                (ONES, None, None, np.ones((8, 1)), np.ones((8, 1))),
                {"weight_hr": np.ones((1, 3))},
                ValueError,
                r"expected weight_hr of shape \(1, 2\)",
            ),
        ],
        scale=64,
    ),
    OpInfo("gru_sequence", gru, gru_samples, errors("gru_sequence", 3), scale=64),
    OpInfo(
        "rnn_sequence",
        rnn,
        rnn_samples,
        [
            *errors("rnn_sequence", 1),
            (
                (ONES, None, np.ones((2, 1)), np.ones((2, 2))),
                {"nonlinearity": "gelu"},
                ValueError,
                "expected nonlinearity tanh or relu but got 'gelu'",
            ),
        ],
        scale=64,
    ),
]
