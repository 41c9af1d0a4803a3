"""A neural network from scratch: forward and backward written out, trained on XOR.

The counterpart of the guide's "Basic Neural Network from Scratch", with annx tensors in the place
of NumPy arrays. Prints the predictions and exits with an error if XOR is not learnt.
"""

from __future__ import annotations

import annx
from annx import Tensor


class NeuralNetwork:
    """Fully connected layers: ReLU inside, sigmoid at the output."""

    def __init__(self, layer_sizes: list[int]) -> None:
        """Initializes the network.

        Args:
            layer_sizes: number of neurons in each layer.
        """
        self.layer_sizes = layer_sizes
        self.num_layers = len(layer_sizes)
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []

        # Initialize weights and biases
        for i in range(1, self.num_layers):
            # He initialization
            scale = (2.0 / layer_sizes[i - 1]) ** 0.5
            self.weights.append(annx.randn(layer_sizes[i], layer_sizes[i - 1]) * scale)
            self.biases.append(annx.zeros(layer_sizes[i], 1))

    def relu(self, x: Tensor) -> Tensor:
        """ReLU activation function."""
        return annx.clamp(x, min=0)

    def relu_derivative(self, x: Tensor) -> Tensor:
        """Derivative of ReLU."""
        return (x > 0).float()

    def sigmoid(self, x: Tensor) -> Tensor:
        """Sigmoid activation function."""
        return 1 / (1 + annx.exp(-annx.clamp(x, -80, 80)))  # Clip to avoid overflow

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Forward propagation.

        Args:
            x: input data, shape (input_size, batch_size).

        Returns:
            (activations, z_values), one of each per layer.
        """
        activation = x
        activations = [x]  # List to store activations
        z_values = []  # List to store z values

        # Compute activations for hidden layers
        for i in range(self.num_layers - 2):
            z = self.weights[i] @ activation + self.biases[i]
            z_values.append(z)
            activation = self.relu(z)
            activations.append(activation)

        # Compute activation for output layer
        z = self.weights[-1] @ activation + self.biases[-1]
        z_values.append(z)

        # Sigmoid, not softmax: over a single output softmax is always 1 and learns nothing
        activation = self.sigmoid(z)
        activations.append(activation)

        return activations, z_values

    def backward(
        self,
        x: Tensor,
        y: Tensor,
        activations: list[Tensor],
        z_values: list[Tensor],
        learning_rate: float = 0.01,
    ) -> None:
        """Backward propagation; takes one step down the gradient.

        Args:
            x: input data.
            y: target values.
            activations: what `forward` returned.
            z_values: what `forward` returned.
            learning_rate: learning rate.
        """
        batch_size = x.shape[1]

        # Compute output layer error (cross-entropy after sigmoid)
        delta = activations[-1] - y

        # Backpropagate error
        for layer in range(self.num_layers - 2, -1, -1):
            # Compute gradients
            dW = delta @ activations[layer].T / batch_size
            db = annx.sum(delta, dim=1, keepdim=True) / batch_size

            if layer > 0:
                # Compute error for previous layer, with the weights that made it
                delta = (self.weights[layer].T @ delta) * self.relu_derivative(z_values[layer - 1])

            # Update weights and biases
            self.weights[layer] -= learning_rate * dW
            self.biases[layer] -= learning_rate * db

    def train(
        self,
        X: Tensor,
        y: Tensor,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 0.01,
    ) -> list[float]:
        """Trains the network.

        Args:
            X: training data, shape (input_size, n_samples).
            y: target values, shape (output_size, n_samples).
            epochs: number of training epochs.
            batch_size: batch size.
            learning_rate: learning rate.

        Returns:
            Training loss history.
        """
        n_samples = X.shape[1]
        loss_history = []

        for epoch in range(epochs):
            # Shuffle data
            permutation = annx.randperm(n_samples)
            X_shuffled = X[:, permutation]
            y_shuffled = y[:, permutation]

            # Mini-batch gradient descent
            for i in range(0, n_samples, batch_size):
                X_batch = X_shuffled[:, i : i + batch_size]
                y_batch = y_shuffled[:, i : i + batch_size]

                # Forward pass
                activations, z_values = self.forward(X_batch)

                # Backward pass
                self.backward(X_batch, y_batch, activations, z_values, learning_rate)

            # Compute loss for monitoring
            activations, _ = self.forward(X)
            predictions = activations[-1]
            terms = y * annx.log(predictions + 1e-9) + (1 - y) * annx.log(1 - predictions + 1e-9)
            loss = -annx.sum(terms).item() / n_samples
            loss_history.append(loss)

            if epoch % 100 == 0:
                print(f"Epoch {epoch}, Loss: {loss:.4f}")

        return loss_history

    def predict(self, X: Tensor) -> Tensor:
        """Makes predictions."""
        activations, _ = self.forward(X)
        return activations[-1]


# Example usage:
if __name__ == "__main__":
    annx.manual_seed(42)

    # XOR problem
    X = annx.tensor([[0, 0, 1, 1], [0, 1, 0, 1]], dtype=annx.float32)
    y = annx.tensor([[0, 1, 1, 0]], dtype=annx.float32)

    # Create a neural network with 2 input neurons, 4 hidden neurons, and 1 output neuron
    nn = NeuralNetwork([2, 4, 1])

    # Train the network
    loss_history = nn.train(X, y, epochs=1000, learning_rate=0.5)

    # Make predictions
    predictions = nn.predict(X)
    print(f"Final loss: {loss_history[-1]:.4f}")
    print("Predictions:")
    print(predictions)

    if not bool(((predictions > 0.5).float() == y).all()):
        raise SystemExit("XOR was not learnt")
