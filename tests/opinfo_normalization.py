"""Records of the normalisations."""

from __future__ import annotations

from typing import Any

import annx
import numpy as np
from opinfo import OpInfo, Sample


def layer_norm(
    x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    channel = (-1,) + (1,) * (x.ndim - 2)
    if training:
        axes = (0, *range(2, x.ndim))
        mean, var = x.mean(axes), x.var(axes)
    else:
        mean, var = (np.asarray(t.numpy(), np.float64) for t in (running_mean, running_var))
    y = (x - mean.reshape(channel)) / np.sqrt(var.reshape(channel) + eps)
    y = y * (1 if weight is None else weight.reshape(channel))
    return y + (0 if bias is None else bias.reshape(channel))


def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    size = int(np.prod(x.shape[1:])) // num_groups
    grouped = x.reshape(x.shape[0], num_groups, size)
    mean, var = grouped.mean(2, keepdims=True), grouped.var(2, keepdims=True)
    y = ((grouped - mean) / np.sqrt(var + eps)).reshape(x.shape)
    channel = (-1,) + (1,) * (x.ndim - 2)
    y = y * (1 if weight is None else weight.reshape(channel))
    return y + (0 if bias is None else bias.reshape(channel))


def instance_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if use_input_stats:
        return group_norm(x, x.shape[1], weight, bias, eps)
    return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)


def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float = 0.0) -> Any:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    mean = np.square(x).mean(axes, keepdims=True)
    y = x / np.sqrt(mean + eps)
    return y * (1 if weight is None else weight)


def layer_samples(rng: np.random.Generator) -> list[Sample]:
    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape)

    out: list[Sample] = [
        ((normal(4, 10), 10, normal(10), normal(10)), {}),
        ((normal(3, 16) + 50, (16,)), {}),
        ((normal(2, 3, 4), (3, 4), normal(3, 4), normal(3, 4)), {"eps": 1e-3}),
        ((normal(2, 3, 4), (2, 3, 4), normal(2, 3, 4)), {}),
        ((normal(5, 33), 33), {"bias": normal(33)}),
        ((normal(300, 5), 5, normal(5), normal(5)), {}),
        ((normal(2, 5000), 5000, normal(5000), normal(5000)), {}),
        ((normal(0, 4), 4, normal(4), normal(4)), {}),
    ]
    return out


def running(rng: np.random.Generator, channels: int) -> tuple[annx.Tensor, annx.Tensor]:
    """As tensors: constants, which the gradient sweep leaves alone."""
    mean = rng.standard_normal(channels).astype(np.float32)
    return annx.tensor(mean), annx.tensor(rng.random(channels).astype(np.float32) + 0.5)


def batch_samples(rng: np.random.Generator) -> list[Sample]:
    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape)

    train = {"training": True}
    out: list[Sample] = [
        ((normal(6, 5), np.zeros(5), np.ones(5), normal(5), normal(5)), train),
        ((normal(6, 5) + 20, None, None), train),
        ((normal(6, 5), np.zeros(5), np.ones(5)), {**train, "momentum": 0.5, "eps": 1e-3}),
        ((normal(2, 3, 4), np.zeros(3), np.ones(3), normal(3), normal(3)), train),
        ((normal(2, 3, 4, 5), None, None, normal(3)), train),
        ((normal(1, 3, 7), None, None, normal(3), normal(3)), train),
        ((normal(4, 1, 7), None, None, normal(1), normal(1)), train),
        ((normal(600, 40), None, None, normal(40), normal(40)), train),
        ((normal(5, 2, 1, 1), None, None, normal(2), normal(2)), train),
        ((normal(4, 5), *running(rng, 5), normal(5), normal(5)), {}),
        ((normal(2, 3, 4), *running(rng, 3)), {}),
        ((normal(0, 3), *running(rng, 3), normal(3), normal(3)), {}),
    ]
    return out


def group_samples(rng: np.random.Generator) -> list[Sample]:
    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape)

    out: list[Sample] = [
        ((normal(2, 6, 5), 3, normal(6), normal(6)), {}),
        ((normal(2, 6, 4, 3), 6, normal(6)), {"eps": 1e-3}),
        ((normal(3, 4, 2, 2, 3) + 20, 1), {}),
        ((normal(4, 8), 2, normal(8), normal(8)), {}),
        ((normal(2, 33, 37), 11, normal(33), normal(33)), {}),
        ((normal(1, 2, 5000), 1), {"bias": normal(2)}),
        ((normal(0, 4, 3), 2, normal(4), normal(4)), {}),
    ]
    return out


def instance_samples(rng: np.random.Generator) -> list[Sample]:
    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape)

    out: list[Sample] = [
        ((normal(2, 3, 5),), {}),
        ((normal(2, 3, 4, 5), None, None, normal(3), normal(3)), {"eps": 1e-3}),
        ((normal(2, 3, 17), np.zeros(3), np.ones(3), normal(3), normal(3)), {"momentum": 0.5}),
        ((normal(2, 3, 4), *running(rng, 3), normal(3), normal(3)), {"use_input_stats": False}),
    ]
    return out


def rms_samples(rng: np.random.Generator) -> list[Sample]:
    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape)

    out: list[Sample] = [
        ((normal(4, 10), 10, normal(10)), {"eps": 1e-6}),
        ((normal(3, 16), (16,)), {"eps": 1e-2}),
        ((normal(2, 3, 4), (3, 4), normal(3, 4)), {"eps": 0.5}),
        ((normal(300, 5), 5, normal(5)), {"eps": 1e-5}),
        ((normal(2, 5000), 5000, normal(5000)), {"eps": 0.0}),
        ((normal(0, 4), 4, normal(4)), {"eps": 1e-6}),
    ]
    return out


X = np.ones((4, 3))

RECORDS = [
    OpInfo(
        "layer_norm",
        layer_norm,
        layer_samples,
        [
            (
                (X, 4),
                {},
                ValueError,
                r"\[layer_norm\] expected an input whose shape ends in \(4,\)",
            ),
            ((X, ()), {}, ValueError, r"\[layer_norm\] expected at least one dimension"),
            ((X, 3, np.ones(2)), {}, ValueError, r"expected weight of shape \(3,\) but got \(2,\)"),
            ((X, 3, np.arange(3)), {}, TypeError, r"expected weight of dtype float32"),
        ],
        scale=128,
    ),
    OpInfo(
        "batch_norm",
        batch_norm,
        batch_samples,
        [
            (
                (np.ones((1, 3)), None, None),
                {"training": True},
                ValueError,
                r"\[batch_norm\] expected more than 1 value per channel when training",
            ),
            ((X, None, None), {}, ValueError, r"expected running_mean and running_var"),
            ((np.ones(3), None, None), {"training": True}, ValueError, r"shape \(N, C, ...\)"),
            (
                (X, np.ones(2), np.ones(3)),
                {},
                ValueError,
                r"expected running_mean of shape \(3,\) but got \(2,\)",
            ),
        ],
        scale=256,
    ),
    OpInfo(
        "group_norm",
        group_norm,
        group_samples,
        [
            (
                (X, 2),
                {},
                ValueError,
                r"\[group_norm\] expected channels divisible by num_groups but got 3 and 2",
            ),
            ((np.ones(3), 1), {}, ValueError, r"\[group_norm\] expected an input of shape \(N, C"),
            ((X, 3, np.ones(2)), {}, ValueError, r"expected weight of shape \(3,\) but got \(2,\)"),
            (
                (np.ones((1, 3)), 3),
                {},
                ValueError,
                r"\[group_norm\] expected more than 1 value per group",
            ),
        ],
        scale=256,
    ),
    OpInfo(
        "instance_norm",
        instance_norm,
        instance_samples,
        [
            (
                (X,),
                {},
                ValueError,
                r"\[instance_norm\] expected more than 1 spatial element",
            ),
            (
                (np.ones((2, 3, 4)), np.ones(3)),
                {},
                ValueError,
                r"expected running_mean and running_var, or neither",
            ),
        ],
        scale=256,
    ),
    OpInfo(
        "rms_norm",
        rms_norm,
        rms_samples,
        [
            (
                (X, 4),
                {},
                ValueError,
                r"\[rms_norm\] expected an input whose shape ends in \(4,\)",
            ),
            ((X, 3, np.ones(2)), {}, ValueError, r"expected weight of shape \(3,\) but got \(2,\)"),
        ],
        scale=128,
    ),
]
