"""Regression with compile and fit, callbacks and history plots.

The counterpart of the guide's Keras listing. Runs in seconds; draws the plots into
`02_regression_fit.png` when matplotlib is installed.
"""

from __future__ import annotations

import importlib.util
import itertools

import annx
import numpy as np
import numpy.typing as npt
from annx import nn
from annx.callbacks import EarlyStopping, ReduceLROnPlateau
from annx.optim import Adam

Array = npt.NDArray[np.float32]

annx.manual_seed(42)
rng = np.random.default_rng(42)


# Prepare example data
def generate_data(n_samples: int = 1000) -> tuple[Array, Array]:
    X = rng.standard_normal((n_samples, 10))  # 10 features
    # Create a non-linear target
    y = 0.2 * X[:, 0] ** 2 + 0.3 * X[:, 1] * X[:, 2] - 0.5 * X[:, 3] + 0.1 * X[:, 4] * X[:, 5] ** 2
    # Add noise
    y += 0.2 * rng.standard_normal(n_samples)
    # Normalize target
    y = (y - y.mean()) / y.std()
    return X.astype(np.float32), y.reshape(-1, 1).astype(np.float32)


# Generate data
X_train, y_train = generate_data(1000)
X_val, y_val = generate_data(200)
X_test, y_test = generate_data(200)


# Build model
def build_model(
    input_dim: int = 10,
    hidden_units: tuple[int, ...] = (64, 32),
    dropout_rate: float = 0.2,
    learning_rate: float = 0.001,
) -> nn.Sequential:
    model = nn.Sequential()

    # Input layer
    model.append(nn.Linear(input_dim, hidden_units[0]))
    model.append(nn.ReLU())
    model.append(nn.BatchNorm1d(hidden_units[0]))
    model.append(nn.Dropout(dropout_rate))

    # Hidden layers
    for previous, units in itertools.pairwise(hidden_units):
        model.append(nn.Linear(previous, units))
        model.append(nn.ReLU())
        model.append(nn.BatchNorm1d(units))
        model.append(nn.Dropout(dropout_rate))

    # Output layer
    model.append(nn.Linear(hidden_units[-1], 1))  # Linear activation for regression

    # Compile model
    optimizer = Adam(model.parameters(), lr=learning_rate)
    model.compile(loss="mse", optimizer=optimizer, metrics=["mae"])

    return model


# Create model
model = build_model()
model.summary()

# Set up callbacks
early_stopping = EarlyStopping(
    monitor="val_loss",
    patience=20,
    verbose=1,
    restore_best_weights=True,
)

reduce_lr = ReduceLROnPlateau(
    monitor="val_loss",
    factor=0.2,
    patience=5,
    min_lr=1e-6,
    verbose=1,
)

# Train model
history = model.fit(
    X_train,
    y_train,
    epochs=100,
    batch_size=32,
    validation_data=(X_val, y_val),
    callbacks=[early_stopping, reduce_lr],
    verbose=2,
)

# Evaluate model
test_loss, test_mae = model.evaluate(X_test, y_test, verbose=0)
print(f"Test Loss: {test_loss:.4f}")
print(f"Test MAE: {test_mae:.4f}")

# Make predictions
y_pred = model.predict(X_test, verbose=0)

if importlib.util.find_spec("matplotlib") is None:
    print("No plots: matplotlib is not installed")
else:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # Plot training history
    plt.figure(figsize=(18, 5))

    plt.subplot(1, 3, 1)
    plt.plot(history.history["loss"], label="Train Loss")
    plt.plot(history.history["val_loss"], label="Validation Loss")
    plt.title("Loss Over Epochs")
    plt.xlabel("Epoch")
    plt.ylabel("Loss")
    plt.legend()

    plt.subplot(1, 3, 2)
    plt.plot(history.history["mae"], label="Train MAE")
    plt.plot(history.history["val_mae"], label="Validation MAE")
    plt.title("Mean Absolute Error Over Epochs")
    plt.xlabel("Epoch")
    plt.ylabel("MAE")
    plt.legend()

    # Plot predictions vs actual
    plt.subplot(1, 3, 3)
    plt.scatter(y_test, y_pred, alpha=0.5)
    plt.plot([y_test.min(), y_test.max()], [y_test.min(), y_test.max()], "r--")
    plt.xlabel("Actual")
    plt.ylabel("Predicted")
    plt.title("Predictions vs Actual")
    plt.grid(True, alpha=0.3)

    plt.tight_layout()
    plt.savefig("02_regression_fit.png")
    print("Plots in 02_regression_fit.png")
