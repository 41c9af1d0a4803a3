"""The listing's data: the same for every library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def generate(rng: np.random.Generator, n_samples: int) -> tuple[Array, Array]:
    X = rng.standard_normal((n_samples, 10))
    y = 0.2 * X[:, 0] ** 2 + 0.3 * X[:, 1] * X[:, 2] - 0.5 * X[:, 3] + 0.1 * X[:, 4] * X[:, 5] ** 2
    y += 0.2 * rng.standard_normal(n_samples)
    y = (y - y.mean()) / y.std()
    return X.astype(np.float32), y.reshape(-1, 1).astype(np.float32)


rng = np.random.default_rng(42)
X_train, y_train = generate(rng, 1000)
X_val, y_val = generate(rng, 200)
EPOCHS = 100
