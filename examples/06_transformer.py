"""A transformer that classifies sequences: guide, "Transformers".

Two steps of each sequence are marked; the class says whether their values have the same sign. No
step alone tells, so the steps have to look at one another.
"""

from __future__ import annotations

import annx
import numpy as np
from annx import nn

STEPS = 16


def make_data(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    values = rng.standard_normal((count, STEPS))
    marks = np.zeros((count, STEPS))
    for row in marks:
        row[rng.choice(STEPS, 2, replace=False)] = 1
    products = np.prod(np.where(marks == 1, values, 1), 1)
    return np.stack([values, marks], -1).astype(np.float32), (products > 0).astype(np.int64)


def transformer_encoder(size: int, num_heads: int, ff_dim: int, dropout: float) -> nn.Module:
    """Transformer encoder block: what goes into attention and network is normalised first."""
    return nn.TransformerEncoderLayer(
        size, num_heads, ff_dim, dropout, layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )


class TransformerModel(nn.Module):
    """A transformer-based model: (batch, steps, features) to scores of classes."""

    def __init__(
        self,
        features: int,
        head_size: int,
        num_heads: int,
        ff_dim: int,
        num_transformer_blocks: int,
        mlp_units: tuple[int, ...],
        dropout: float = 0.0,
        mlp_dropout: float = 0.0,
        num_classes: int = 2,
    ) -> None:
        super().__init__()
        size = head_size * num_heads
        self.projection = nn.Linear(features, size)
        self.positions = nn.PositionalEncoding(size, dropout, STEPS, batch_first=True)
        # Create multiple transformer blocks
        self.blocks = nn.Sequential(
            *[
                transformer_encoder(size, num_heads, ff_dim, dropout)
                for _ in range(num_transformer_blocks)
            ]
        )
        # Create a classification head
        self.head = nn.Sequential()
        for units in mlp_units:
            self.head.append(nn.Linear(size, units))
            self.head.append(nn.ReLU())
            self.head.append(nn.Dropout(mlp_dropout))
            size = units
        # Final classification layer: scores, of which cross_entropy takes the softmax
        self.head.append(nn.Linear(size, num_classes))

    def forward(self, x: annx.Tensor) -> annx.Tensor:
        x = self.blocks(self.positions(self.projection(x)))
        return self.head(x.mean(1))


annx.manual_seed(0)
rng = np.random.default_rng(0)
x_train, y_train = make_data(2048, rng)
x_test, y_test = make_data(512, rng)

model = TransformerModel(
    features=2,
    head_size=8,
    num_heads=4,
    ff_dim=64,
    num_transformer_blocks=2,
    mlp_units=(32,),
    mlp_dropout=0.1,
)
model.compile(
    optimizer=annx.optim.Adam(model.parameters(), lr=2e-3),
    loss="cross_entropy",
    metrics=["accuracy"],
)
model.fit(x_train, y_train, epochs=14, batch_size=64, validation_data=(x_test, y_test), verbose=2)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"Test Loss: {loss:.4f}")
print(f"Test Accuracy: {accuracy:.4f}")
