"""Normalisation layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx import _core, _creation
from annx._core import Tensor
from annx.nn import init
from annx.nn._linear import _check_size, _empty
from annx.nn._module import Module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annx.nn.parameter import Parameter

_ops = _core.ops
_batch_norm = _core.ops.batch_norm
_layer_norm = _core.ops.layer_norm


def _average(mean: Tensor, var: Tensor, batch: Tensor, count: Tensor) -> None:
    """Moves running statistics to the plain average over all ``count`` batches so far."""
    axes = (0,) if batch.ndim == 2 else (0, 2)
    share = 1.0 / count.to(mean.dtype)
    mean.copy_(mean + (_ops.mean(batch, axes) - mean) * share)
    var.copy_(var + (_ops.var(batch, axes) - var) * share)


class BatchNorm1d(Module):
    """Normalises each channel over the batch: ``(x - mean) / sqrt(var + eps) * weight + bias``.

    In training, mean and biased variance are those of the batch, and ``running_mean`` and
    ``running_var`` (of unbiased variances) follow by ``momentum``. In evaluation the running ones
    serve.

    Args:
        num_features: the number of channels C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics; None averages all batches.
        affine: whether there are ``weight`` (ones at first) and ``bias`` (zeros).
        track_running_stats: whether there are running statistics; without, the batch always serves.
        device: where parameters and buffers live.
        dtype: their floating-point type, float32 if left out.
        bias: whether there is a ``bias`` if ``affine``.

    Shapes: input and output ``(N, C)`` or ``(N, C, L)``; parameters and statistics ``(C,)``.

    Raises:
        ValueError: in forward: the input has another shape, or one value per channel in training.

    Source: Ioffe and Szegedy, 2015; guide, "Batch Normalization".
    """

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check_size("BatchNorm1d", "num_features", num_features)
        shape = (num_features,)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        has_bias = affine and bias
        self.register_parameter("weight", _empty(shape, device, dtype) if affine else None)
        self.register_parameter("bias", _empty(shape, device, dtype) if has_bias else None)
        mean = var = count = None
        if track_running_stats:
            mean = _creation.zeros(shape, device=device, dtype=dtype)
            var = _creation.ones(shape, device=device, dtype=dtype)
            count = _creation.zeros((), device=device, dtype=_core.int64)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Sets the running statistics to mean 0, variance 1 and no batches."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1.0)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Resets the running statistics, weight and bias."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 2 and input.ndim != 3:
            raise ValueError(
                "[BatchNorm1d] expected an input of 2 or 3 dimensions "
                f"but got shape {tuple(input.shape)}"
            )
        mean, var, count = self.running_mean, self.running_var, self.num_batches_tracked
        momentum = self.momentum
        if not self.training:
            training = mean is None
        else:
            training = True
            if not self.track_running_stats:
                mean = var = None
            elif count is not None:
                # Written in place, so that a captured step counts on.
                count.copy_(count + 1)
                if momentum is None and mean is not None and var is not None:
                    _average(mean, var, input.detach(), count)
                    mean = var = None
        return _batch_norm(
            input,
            mean,
            var,
            self.weight,
            self.bias,
            training,
            0.0 if momentum is None else momentum,
            self.eps,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class LayerNorm(Module):
    """Normalises each sample over its last dimensions:
    ``(x - mean) / sqrt(var + eps) * weight + bias``, var the biased variance.

    Args:
        normalized_shape: the sizes of those dimensions; a number stands for one.
        eps: added to the variance.
        elementwise_affine: whether there are ``weight`` (ones at first) and ``bias`` (zeros).
        bias: whether there is a ``bias`` if ``elementwise_affine``.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: input and output ``(*, *normalized_shape)``; parameters ``normalized_shape``.

    Raises:
        ValueError: in forward: the last dimensions are not ``normalized_shape``.

    Source: Ba et al., 2016.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        for size in sizes:
            _check_size("LayerNorm", "normalized_shape", size)
        shape = tuple(sizes)
        has_bias = elementwise_affine and bias
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter(
            "weight", _empty(shape, device, dtype) if elementwise_affine else None
        )
        self.register_parameter("bias", _empty(shape, device, dtype) if has_bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets weight to ones and bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return _layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )
