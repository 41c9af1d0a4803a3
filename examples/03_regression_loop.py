"""Regression with a training loop of one's own: DataLoader, scheduler, best-model checkpoint.

The counterpart of the guide's PyTorch listing. Runs in seconds; keeps the best model in
`best_model.safetensors` and draws the plots into `03_regression_loop.png` when matplotlib is
installed.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import annx
import numpy as np
import numpy.typing as npt
from annx import Tensor, nn, optim
from annx.data import DataLoader, TensorDataset

Array = npt.NDArray[np.float64]

# Set random seed for reproducibility
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
    return X, y.reshape(-1, 1)


# Generate data
X_train, y_train = generate_data(1000)
X_val, y_val = generate_data(200)
X_test, y_test = generate_data(200)

# Convert to annx tensors
X_train_tensor = annx.tensor(X_train, dtype=annx.float32)
y_train_tensor = annx.tensor(y_train, dtype=annx.float32)
X_val_tensor = annx.tensor(X_val, dtype=annx.float32)
y_val_tensor = annx.tensor(y_val, dtype=annx.float32)
X_test_tensor = annx.tensor(X_test, dtype=annx.float32)
y_test_tensor = annx.tensor(y_test, dtype=annx.float32)

# Create datasets and dataloaders
train_dataset = TensorDataset(X_train_tensor, y_train_tensor)
val_dataset = TensorDataset(X_val_tensor, y_val_tensor)
test_dataset = TensorDataset(X_test_tensor, y_test_tensor)

train_loader: DataLoader[Any] = DataLoader(train_dataset, batch_size=32, shuffle=True)
val_loader: DataLoader[Any] = DataLoader(val_dataset, batch_size=32)
test_loader: DataLoader[Any] = DataLoader(test_dataset, batch_size=32)


# Define neural network
class NeuralNetwork(nn.Module):
    def __init__(
        self,
        input_dim: int = 10,
        hidden_dims: tuple[int, ...] = (64, 32),
        dropout_rate: float = 0.2,
    ) -> None:
        super().__init__()

        layers: list[nn.Module] = []

        # Input layer
        layers.append(nn.Linear(input_dim, hidden_dims[0]))
        layers.append(nn.ReLU())
        layers.append(nn.BatchNorm1d(hidden_dims[0]))
        layers.append(nn.Dropout(dropout_rate))

        # Hidden layers
        for i in range(len(hidden_dims) - 1):
            layers.append(nn.Linear(hidden_dims[i], hidden_dims[i + 1]))
            layers.append(nn.ReLU())
            layers.append(nn.BatchNorm1d(hidden_dims[i + 1]))
            layers.append(nn.Dropout(dropout_rate))

        # Output layer
        layers.append(nn.Linear(hidden_dims[-1], 1))

        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        prediction: Tensor = self.model(x)
        return prediction


# Initialize model
model = NeuralNetwork()
print(model)

# Define loss function and optimizer
criterion = nn.MSELoss()
optimizer = optim.Adam(model.parameters(), lr=0.001)
scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.2, patience=5)


# Training function
def train_epoch(
    model: nn.Module,
    train_loader: DataLoader[Any],
    criterion: nn.Module,
    optimizer: optim.Optimizer,
) -> float:
    model.train()
    running_loss = 0.0

    for inputs, targets in train_loader:
        # Zero the parameter gradients
        optimizer.zero_grad()

        # Forward pass
        outputs = model(inputs)
        loss = criterion(outputs, targets)

        # Backward pass and optimize
        loss.backward()
        optimizer.step()

        running_loss += loss.item() * inputs.size(0)

    epoch_loss = running_loss / len(train_loader.dataset)
    return epoch_loss


# Validation function
def validate(model: nn.Module, val_loader: DataLoader[Any], criterion: nn.Module) -> float:
    model.eval()
    running_loss = 0.0

    with annx.no_grad():
        for inputs, targets in val_loader:
            outputs = model(inputs)
            loss = criterion(outputs, targets)
            running_loss += loss.item() * inputs.size(0)

    val_loss = running_loss / len(val_loader.dataset)
    return val_loss


# Training loop
n_epochs = 100
train_losses = []
val_losses = []
best_val_loss = float("inf")
patience = 20
counter = 0

for epoch in range(n_epochs):
    train_loss = train_epoch(model, train_loader, criterion, optimizer)
    val_loss = validate(model, val_loader, criterion)

    train_losses.append(train_loss)
    val_losses.append(val_loss)

    # Print progress
    print(f"Epoch {epoch + 1}/{n_epochs}, Train Loss: {train_loss:.4f}, Val Loss: {val_loss:.4f}")

    # Update learning rate
    scheduler.step(val_loss)

    # Early stopping
    if val_loss < best_val_loss:
        best_val_loss = val_loss
        counter = 0
        # Save best model
        annx.save(model.state_dict(), "best_model.safetensors")
    else:
        counter += 1
        if counter >= patience:
            print(f"Early stopping triggered after {epoch + 1} epochs")
            break

# Load best model
model.load_state_dict(annx.load("best_model.safetensors"))

# Evaluate model
model.eval()
test_loss = 0.0
test_mae = 0.0

with annx.no_grad():
    for inputs, targets in test_loader:
        outputs = model(inputs)
        test_loss += criterion(outputs, targets).item() * inputs.size(0)
        test_mae += annx.sum(annx.abs(outputs - targets)).item()

test_loss /= len(test_loader.dataset)
test_mae /= len(test_loader.dataset)

print(f"Test Loss: {test_loss:.4f}")
print(f"Test MAE: {test_mae:.4f}")

# Make predictions
model.eval()
with annx.no_grad():
    y_pred = model(X_test_tensor).numpy()

if importlib.util.find_spec("matplotlib") is None:
    print("No plots: matplotlib is not installed")
else:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # Plot training history
    plt.figure(figsize=(14, 5))
    plt.subplot(1, 2, 1)
    plt.plot(train_losses, label="Train Loss")
    plt.plot(val_losses, label="Validation Loss")
    plt.title("Loss Over Epochs")
    plt.xlabel("Epoch")
    plt.ylabel("Loss")
    plt.legend()
    plt.grid(True, alpha=0.3)

    # Plot predictions vs actual
    plt.subplot(1, 2, 2)
    plt.scatter(y_test, y_pred, alpha=0.5)
    plt.plot([y_test.min(), y_test.max()], [y_test.min(), y_test.max()], "r--")
    plt.xlabel("Actual")
    plt.ylabel("Predicted")
    plt.title("Predictions vs Actual")
    plt.grid(True, alpha=0.3)

    plt.tight_layout()
    plt.savefig("03_regression_loop.png")
    print("Plots in 03_regression_loop.png")
