"""Every op of the registry as a function of annx, and the aliases PyTorch users expect."""

from __future__ import annotations

from typing import Any

from annx import _core

_ops = _core.ops

ALIASES = {
    "cat": "concat",
    "concatenate": "concat",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "subtract": "sub",
    "negative": "neg",
    "absolute": "abs",
    "clip": "clamp",
    "swapaxes": "transpose",
    "moveaxis": "movedim",
    "ger": "outer",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
}

# Layer-level ops live in annx.nn.functional, optimizer steps in annx.optim.
_ELSEWHERE = {
    "linear",
    "convolution",
    "max_pool",
    "max_pool_with_indices",
    "max_unpool",
    "avg_pool",
    "adaptive_max_pool",
    "adaptive_max_pool_with_indices",
    "adaptive_avg_pool",
    "embedding",
    "batch_norm",
    "layer_norm",
    "dropout",
    "prelu",
    "cross_entropy",
    "nll_loss",
    "mse_loss",
    "l1_loss",
    "huber_loss",
    "smooth_l1_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "kl_div",
    "contiguous",
    "channels_last",
    "full",
    "arange",
    "linspace",
    "resize",
    "eye",
    "rand",
    "randn",
    "randint",
    "randperm",
    "bernoulli",
    "slice",
    "einsum",
    "meshgrid",
    "hardshrink",
    "softshrink",
}


def public_ops() -> dict[str, Any]:
    """Name -> op for everything annx re-exports."""
    found = {
        row["name"]: getattr(_ops, row["name"])
        for row in _core.op_table()
        if not row["internal"] and not row["name"].endswith("_") and row["name"] not in _ELSEWHERE
    }
    found.update({alias: getattr(_ops, name) for alias, name in ALIASES.items()})
    return found


globals().update(public_ops())
__all__ = sorted(public_ops())
