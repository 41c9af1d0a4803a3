"""Clipping of gradients."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING

from annx import _core
from annx._core import Tensor
from annx.autograd import no_grad

if TYPE_CHECKING:
    from collections.abc import Iterable

_ops = _core.ops


def _params(op: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for param in params:
        if not isinstance(param, Tensor):
            raise TypeError(f"[{op}] expected Tensors but got {type(param).__name__}")
    return [param for param in params if param.grad is not None]


def _norm(grads: list[Tensor], norm_type: float) -> Tensor:
    if norm_type == 2.0 and all(grad.dtype is _core.float32 for grad in grads):
        total: Tensor = _ops.global_norm(grads)
        return total
    if norm_type == inf:
        largest: Tensor = _ops.stack([_ops.abs(grad).max() for grad in grads]).max()
        return largest
    powers = [(_ops.abs(grad) ** norm_type).sum() for grad in grads]
    return _ops.stack(powers).sum() ** (1.0 / norm_type)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales all gradients by one factor so that their norm is at most ``max_norm``.

    The norm is that of all gradients taken as one vector. The factor is
    ``min(1, max_norm / (norm + 1e-6))``.

    Args:
        parameters: whose ``.grad`` is replaced; those without are passed over.
        max_norm: the bound.
        norm_type: positive order of the norm, or ``inf``.
        error_if_nonfinite: raise if the norm is NaN or infinite; gradients stay untouched then.
        foreach: taken for compatibility.

    Returns:
        The norm before clipping, shape ``()``.

    Raises:
        TypeError: something is not a Tensor.
        ValueError: ``norm_type`` is not positive.
        RuntimeError: the norm is not finite and ``error_if_nonfinite``.

    Source: Pascanu et al. 2013; ``torch.nn.utils.clip_grad_norm_``.
    """
    norm_type = float(norm_type)
    if not norm_type > 0.0:
        raise ValueError(f"[clip_grad_norm_] expected norm_type > 0 but got {norm_type}")
    params = _params("clip_grad_norm_", parameters)
    with no_grad():
        if not params:
            return _ops.full((), 0.0)
        grads = [param.grad for param in params if param.grad is not None]
        total = _norm(grads, norm_type)
        if error_if_nonfinite and not isfinite(total.item()):
            raise RuntimeError(
                f"[clip_grad_norm_] expected a finite norm of the gradients but got {total.item()}"
            )
        factor = _ops.clamp(max_norm / (total + 1e-6), max=1.0)
        # A new tensor each: two parameters may have got the very same one as gradient.
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad * factor.to(grad.dtype)
        return total


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Clamps every element of the gradients to ``[-clip_value, clip_value]``.

    Args:
        parameters: whose ``.grad`` is replaced; those without are passed over.
        clip_value: the bound.
        foreach: taken for compatibility.

    Raises:
        TypeError: something is not a Tensor.
        ValueError: ``clip_value`` is negative.
    """
    bound = float(clip_value)
    if not bound >= 0.0:
        raise ValueError(f"[clip_grad_value_] expected clip_value >= 0 but got {clip_value}")
    with no_grad():
        for param in _params("clip_grad_value_", parameters):
            param.grad = _ops.clamp(param.grad, min=-bound, max=bound)
