"""Batch and instance normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx import _core, _creation
from annx.nn import init
from annx.nn._linear import _check_size, _empty
from annx.nn._module import Module

if TYPE_CHECKING:
    from annx._core import Tensor
    from annx.nn.parameter import Parameter

_ops = _core.ops
_batch_norm = _core.ops.batch_norm
_instance_norm = _core.ops.instance_norm


def _average(mean: Tensor, var: Tensor, batch: Tensor, count: Tensor) -> None:
    """Moves running statistics to the plain average over all ``count`` batches so far."""
    axes = tuple(axis for axis in range(batch.ndim) if axis != 1)
    share = 1.0 / count.to(mean.dtype)
    mean.copy_(mean + (_ops.mean(batch, axes) - mean) * share)
    var.copy_(var + (_ops.var(batch, axes) - var) * share)


class _RunningNorm(Module):
    """Weight, bias and running statistics of ``num_features`` channels."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    # Numbers of dimensions that the input may have.
    _DIMS: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: Any,
        dtype: Any,
        bias: bool,
    ) -> None:
        super().__init__()
        _check_size(type(self).__name__, "num_features", num_features)
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

    def _check_dims(self, input: Tensor) -> None:
        if input.ndim not in self._DIMS:
            dims = " or ".join(str(dim) for dim in self._DIMS)
            raise ValueError(
                f"[{type(self).__name__}] expected an input of {dims} dimensions "
                f"but got shape {tuple(input.shape)}"
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_RunningNorm):
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
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, input: Tensor) -> Tensor:
        self._check_dims(input)
        mean, var, count = self.running_mean, self.running_var, self.num_batches_tracked
        momentum = self.momentum
        training = self.training or mean is None
        tracked = self.training and self.track_running_stats
        # A plain average is taken here; when a checkpoint runs again, it has seen this batch.
        averaged = tracked and momentum is None and count is not None
        if averaged or (self.training and not tracked):
            mean = var = None
        output = _batch_norm(
            input,
            mean,
            var,
            self.weight,
            self.bias,
            training,
            0.0 if momentum is None else momentum,
            self.eps,
        )
        # A batch that was refused is not counted.
        if tracked and count is not None and not _core.recomputing():
            # Written in place, so that a captured step counts on.
            count.copy_(count + 1)
            if averaged and self.running_mean is not None and self.running_var is not None:
                _average(self.running_mean, self.running_var, input.detach(), count)
        return output


class BatchNorm1d(_BatchNorm):
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

    _DIMS = (2, 3)


class BatchNorm2d(_BatchNorm):
    """:class:`BatchNorm1d` for images. The output keeps the memory layout of the input.

    Shapes: input and output ``(N, C, H, W)``; parameters and statistics ``(C,)``.
    """

    _DIMS = (4,)


class BatchNorm3d(_BatchNorm):
    """:class:`BatchNorm1d` for volumes. The output keeps the memory layout of the input.

    Shapes: input and output ``(N, C, D, H, W)``; parameters and statistics ``(C,)``.
    """

    _DIMS = (5,)


class _InstanceNorm(_RunningNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, input: Tensor) -> Tensor:
        self._check_dims(input)
        single = input.ndim == self._DIMS[0]
        output = _instance_norm(
            input.unsqueeze(0) if single else input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return output.squeeze(0) if single else output


class InstanceNorm1d(_InstanceNorm):
    """Normalises each channel of each sample:
    ``(x - mean) / sqrt(var + eps) * weight + bias``, var the biased variance.

    Args:
        num_features: the number of channels C.
        eps: added to the variance.
        momentum: weight of the newest batch in the running statistics.
        affine: whether there are ``weight`` (ones at first) and ``bias`` (zeros).
        track_running_stats: whether there are running statistics, which then serve in evaluation.
        device: where parameters and buffers live.
        dtype: their floating-point type, float32 if left out.
        bias: whether there is a ``bias`` if ``affine``.

    Shapes: input and output ``(N, C, L)`` or ``(C, L)``; parameters and statistics ``(C,)``.

    Raises:
        ValueError: in forward: the input has another shape, or one value per channel.

    Source: Ulyanov et al., 2016.
    """

    _DIMS = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """:class:`InstanceNorm1d` for images.

    Shapes: input and output ``(N, C, H, W)`` or ``(C, H, W)``; parameters and statistics ``(C,)``.
    """

    _DIMS = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """:class:`InstanceNorm1d` for volumes.

    Shapes: input and output ``(N, C, D, H, W)`` or ``(C, D, H, W)``; parameters and statistics
    ``(C,)``.
    """

    _DIMS = (4, 5)
