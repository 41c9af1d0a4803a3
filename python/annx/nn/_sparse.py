"""Lookup tables."""

from __future__ import annotations

from typing import Any

from annx import _core
from annx._core import Tensor
from annx.nn import init
from annx.nn._functional_layer import embedding
from annx.nn._linear import _check_size, _empty
from annx.nn._module import Module
from annx.nn.parameter import Parameter

_embedding = _core.ops.embedding


class Embedding(Module):
    """A table of vectors, looked up by index.

    Args:
        num_embeddings: the number of rows.
        embedding_dim: the size of each.
        padding_idx: a row that starts as zeros and gets no gradient; negative counts from the end.
        max_norm: rows that are looked up are first scaled down to this norm where theirs is larger.
        norm_type: the p of that norm.
        device: where the table lives.
        dtype: its floating-point type, float32 if left out.

    Shapes: input integers ``(*)``, output ``(*, embedding_dim)``, weight
    ``(num_embeddings, embedding_dim)``, drawn from N(0, 1).

    Raises:
        ValueError: a size is negative or ``padding_idx`` is outside of the table.
        IndexError: in forward: an index is outside of the table.
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_size("Embedding", "num_embeddings", num_embeddings)
        _check_size("Embedding", "embedding_dim", embedding_dim)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(
                    f"[Embedding] expected padding_idx within {num_embeddings} rows "
                    f"but got {padding_idx}"
                )
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.weight = _empty((num_embeddings, embedding_dim), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the table anew; the row ``padding_idx`` becomes zeros."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.detach()[self.padding_idx].zero_()

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
    ) -> Embedding:
        """Makes a table of given vectors, sharing their memory.

        Args:
            embeddings: ``(num_embeddings, embedding_dim)``.
            freeze: whether the table is kept from training.
            padding_idx: as for the class, but the row keeps its values.
            max_norm: as for the class.
            norm_type: as for the class.

        Raises:
            ValueError: ``embeddings`` does not have 2 dimensions.
        """
        if embeddings.ndim != 2:
            raise ValueError(
                "[Embedding.from_pretrained] expected embeddings of 2 dimensions "
                f"but got shape {tuple(embeddings.shape)}"
            )
        table = cls(0, 0, None, max_norm, norm_type)
        rows, size = embeddings.shape
        if padding_idx is not None and not -rows <= padding_idx < rows:
            raise ValueError(
                f"[Embedding] expected padding_idx within {rows} rows but got {padding_idx}"
            )
        table.num_embeddings = rows
        table.embedding_dim = size
        table.padding_idx = None if padding_idx is None else padding_idx % rows
        table.weight = Parameter(embeddings, requires_grad=not freeze)
        return table

    def forward(self, input: Tensor) -> Tensor:
        if self.max_norm is None:
            return _embedding(self.weight, input, self.padding_idx)
        return embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type)

    def extra_repr(self) -> str:
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        if self.padding_idx is not None:
            parts.append(f"padding_idx={self.padding_idx}")
        if self.max_norm is not None:
            parts.append(f"max_norm={self.max_norm}")
        if self.norm_type != 2:
            parts.append(f"norm_type={self.norm_type}")
        return ", ".join(parts)
