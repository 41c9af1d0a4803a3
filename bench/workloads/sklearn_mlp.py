"""scikit-learn's part in ``e2e``: MLPClassifier or MLPRegressor, where a workload is one.

One ``partial_fit`` of a batch is one step of Adam; there is no dropout, so its step goes without.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import Array, Contender, module
from .base import CHECKED_STEPS, Workload

_ACTIVATIONS = {"ReLU": "relu", "Tanh": "tanh", "Sigmoid": "logistic"}


def layers(model: Any) -> tuple[list[str], str] | None:
    """Names of the linear layers and the activation between them; None for another network."""
    if type(model).__name__ != "Sequential":
        return None
    named = [(name, type(layer).__name__) for name, layer in model.named_children()]
    named = [(name, kind) for name, kind in named if kind not in ("Dropout", "Flatten")]
    linear = [name for name, kind in named[::2] if kind == "Linear"]
    between = {kind for _, kind in named[1::2]}
    plain = len(named) % 2 == 1 and len(linear) == len(named[::2]) > 1 and len(between) == 1
    activation = _ACTIVATIONS.get(next(iter(between), ""))
    return (linear, activation) if plain and activation else None


def contender(
    workload: Workload, weights: dict[str, Array], data: dict[str, Array]
) -> Contender | None:
    """One step a call; None where scikit-learn has no such network or loss."""
    found = layers(workload.model(module("annx"), 0.0))
    if found is None or set(data) != {"x", "y"}:
        return None
    names, activation = found
    x = data["x"].reshape(len(data["x"]), -1)
    y = data["y"].ravel() if data["y"].shape[1:] == (1,) else data["y"]
    classes = None if y.dtype.kind == "f" else np.arange(weights[f"{names[-1]}.bias"].size)

    def fresh() -> Any:
        network = module("sklearn.neural_network")
        kind = network.MLPRegressor if classes is None else network.MLPClassifier
        estimator = kind(
            [weights[f"{name}.bias"].size for name in names[:-1]],
            activation=activation, alpha=0.0, batch_size=len(x), shuffle=False,
            learning_rate_init=workload.lr,
        )  # fmt: skip
        # The first call makes the weights; ours take their place, and Adam starts again.
        estimator.partial_fit(x, y, **({} if classes is None else {"classes": classes}))
        vars(estimator).pop("_optimizer", None)
        for name, coefficients, bias in zip(
            names, estimator.coefs_, estimator.intercepts_, strict=True
        ):
            coefficients[...] = weights[f"{name}.weight"].T
            bias[...] = weights[f"{name}.bias"]
        return estimator

    def result() -> list[Array]:
        estimator = fresh()
        # Its squared loss is half of ours.
        scale = 2.0 if classes is None else 1.0
        return [np.asarray(scale * estimator.partial_fit(x, y).loss_) for _ in range(CHECKED_STEPS)]

    trained = fresh()
    return Contender(lambda: trained.partial_fit(x, y), result)
