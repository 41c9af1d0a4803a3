"""The loss of a training: names and modules as one thing that knows how to weigh samples."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from annx import _core
from annx._core import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

_ops = _core.ops


class _Kind(NamedTuple):
    """What a loss wants of its target.

    Attributes:
        target: ``"same"`` (shaped as the prediction), ``"index"`` (classes) or ``"any"``.
        axis: dimension of the classes in the prediction.
        scores: ``"probability"``, ``"logit"`` or ``"any"``.
        binary: every element is a decision of its own.
        sums: a sample's loss is the sum, not the mean, of its elements.
    """

    target: str = "same"
    axis: int = -1
    scores: str = "any"
    binary: bool = False
    sums: bool = False


def _log_probabilities(prediction: Tensor) -> Tensor:
    """Keras's reading of probabilities: made to sum to 1, then kept off 0 and 1."""
    shares = prediction / prediction.sum(-1, keepdim=True)
    return _ops.log(_ops.clamp(shares, min=1e-7, max=1.0 - 1e-7))


def _sparse_categorical(prediction: Tensor, target: Tensor, reduction: str) -> Tensor:
    logs = _log_probabilities(prediction)
    shape = tuple(target.shape)
    flat = _ops.nll_loss(
        logs.reshape(-1, prediction.shape[-1]), target.reshape(-1), None, -100, reduction
    )
    result: Tensor = flat.reshape(shape) if reduction == "none" else flat
    return result


def _categorical(prediction: Tensor, target: Tensor, reduction: str) -> Tensor:
    losses: Tensor = -(target * _log_probabilities(prediction)).sum(-1)
    return losses if reduction == "none" else losses.mean()


def _kl_div(prediction: Tensor, target: Tensor, reduction: str) -> Tensor:
    from annx.nn import functional as F

    return F.kl_div(prediction, target, "batchmean" if reduction == "mean" else reduction)


def _call_functional(name: str, prediction: Tensor, target: Tensor, reduction: str) -> Tensor:
    from annx.nn import functional as F

    value: Tensor = getattr(F, name)(prediction, target, reduction=reduction)
    return value


def _functional(name: str) -> Callable[..., Tensor]:
    return partial(_call_functional, name)


_SAME = _Kind()
_INDEX = _Kind("index", axis=1)
_PROBABILITY = _Kind(scores="probability", binary=True)
_LOGIT = _Kind(scores="logit", binary=True)
_ANY = _Kind("any")

# PyTorch's names mean what they mean there, Keras's what they mean there (probabilities).
LOSSES: dict[str, tuple[Callable[..., Tensor], _Kind]] = {
    "mse": (_functional("mse_loss"), _SAME),
    "mean_squared_error": (_functional("mse_loss"), _SAME),
    "mse_loss": (_functional("mse_loss"), _SAME),
    "mae": (_functional("l1_loss"), _SAME),
    "mean_absolute_error": (_functional("l1_loss"), _SAME),
    "l1_loss": (_functional("l1_loss"), _SAME),
    "huber": (_functional("huber_loss"), _SAME),
    "huber_loss": (_functional("huber_loss"), _SAME),
    "smooth_l1": (_functional("smooth_l1_loss"), _SAME),
    "smooth_l1_loss": (_functional("smooth_l1_loss"), _SAME),
    "cross_entropy": (_functional("cross_entropy"), _INDEX),
    "nll": (_functional("nll_loss"), _INDEX),
    "nll_loss": (_functional("nll_loss"), _INDEX),
    "sparse_categorical_crossentropy": (_sparse_categorical, _Kind("index", scores="probability")),
    "categorical_crossentropy": (_categorical, _Kind(scores="probability")),
    "binary_crossentropy": (_functional("binary_cross_entropy"), _PROBABILITY),
    "binary_cross_entropy": (_functional("binary_cross_entropy"), _PROBABILITY),
    "bce": (_functional("binary_cross_entropy"), _PROBABILITY),
    "bce_with_logits": (_functional("binary_cross_entropy_with_logits"), _LOGIT),
    "binary_cross_entropy_with_logits": (_functional("binary_cross_entropy_with_logits"), _LOGIT),
    "kl_div": (_kl_div, _Kind(sums=True)),
}

_MODULES = {
    "MSELoss": _SAME,
    "L1Loss": _SAME,
    "HuberLoss": _SAME,
    "SmoothL1Loss": _SAME,
    "CrossEntropyLoss": _INDEX,
    "NLLLoss": _INDEX,
    "BCELoss": _PROBABILITY,
    "BCEWithLogitsLoss": _LOGIT,
    "KLDivLoss": _Kind(sums=True),
}


class Objective:
    """A loss with what is known about it.

    Args:
        loss: a name of ``LOSSES``, a loss module, or a callable (prediction, target) -> loss: a
            scalar, or one loss per sample, of which the mean is taken.

    Raises:
        ValueError: the name is unknown.
        TypeError: ``loss`` is neither.
    """

    def __init__(self, loss: Any) -> None:
        self.kind = _ANY
        self.ignore_index: int | None = None
        self._named = False
        if isinstance(loss, str):
            self.name = loss
            if loss not in LOSSES:
                from annx.train._names import unknown_name

                raise unknown_name("loss", loss, LOSSES)
            self._function, self.kind = LOSSES[loss]
            self._named = True
            if self.kind.target == "index":
                self.ignore_index = -100
        elif callable(loss) and not isinstance(loss, type):
            self._function = loss
            self.name = getattr(loss, "__name__", type(loss).__name__)
            if type(loss).__module__.startswith("annx.nn"):
                self.kind = _MODULES.get(type(loss).__name__, _ANY)
                self.ignore_index = getattr(loss, "ignore_index", None)
        else:
            given = f"the class {loss.__name__}" if isinstance(loss, type) else repr(loss)
            raise TypeError(
                "[compile] expected loss as a name, a loss module or a callable (prediction, "
                f"target) -> scalar but got {given}"
            )
        self.axis = self.kind.axis

    @property
    def threshold(self) -> float | None:
        """Above which a score means yes, where every element is a decision."""
        if not self.kind.binary:
            return None
        return 0.0 if self.kind.scores == "logit" else 0.5

    def __call__(self, prediction: Any, target: Any, weight: Tensor | None = None) -> Tensor:
        """The loss of a batch, a scalar: its mean, or ``sum(weight * loss) / samples``.

        Args:
            prediction: output of the model.
            target: as :meth:`fit_target` gives it.
            weight: a weight per sample, ``(N,)``.
        """
        if weight is None:
            if self._named:
                return self._function(prediction, target, "mean")
            loss: Tensor = self._function(prediction, target)
            self._check(loss)
            return loss if loss.ndim == 0 else loss.mean()
        losses = self._losses(prediction, target)
        if losses.ndim == 0 or losses.shape[0] != weight.shape[0]:
            raise ValueError(
                f"[fit] expected loss {self.name!r} to give one loss per sample, shape "
                f"({weight.shape[0]}, …), to weigh samples or classes but got shape "
                f"{tuple(losses.shape)}"
            )
        if losses.ndim > 1:
            flat = losses.reshape(losses.shape[0], -1)
            losses = flat.sum(1) if self.kind.sums else flat.mean(1)
        weighted: Tensor = (losses * weight).mean()
        return weighted

    def _check(self, loss: Any) -> None:
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"[fit] expected loss {self.name!r} to return a Tensor but got "
                f"{type(loss).__name__}"
            )

    def _losses(self, prediction: Any, target: Any) -> Tensor:
        if self._named:
            return self._function(prediction, target, "none")
        function: Any = self._function
        if hasattr(function, "reduction"):
            function = copy.copy(function)
            function.reduction = "none"
        losses: Tensor = function(prediction, target)
        self._check(losses)
        return losses

    def fit_target(self, prediction: Any, target: Any) -> Any:
        """The target in the shape the loss wants: a dimension of 1 is added or dropped.

        Raises:
            ValueError: it does not fit the prediction.
        """
        kind = self.kind.target
        if kind == "any" or not isinstance(prediction, Tensor) or not isinstance(target, Tensor):
            return target
        p, t = tuple(prediction.shape), tuple(target.shape)
        if kind == "same":
            if p == t:
                return target
            if p == (*t, 1):
                return target.unsqueeze(-1)
            if t == (*p, 1):
                return target.squeeze(-1)
            raise ValueError(
                f"[fit] expected y shaped as the model's output for loss {self.name!r}, (N, "
                f"{', '.join(map(str, p[1:]))}), but got (N, {', '.join(map(str, t[1:]))})"
            )
        if len(p) >= 2:
            if p == t:
                # One-hot or probabilities, which these losses take as floats.
                if self.name == "sparse_categorical_crossentropy":
                    raise ValueError(
                        f"[fit] expected y as class indices for loss {self.name!r} but got shape "
                        f"{t}; one-hot targets go with 'categorical_crossentropy'"
                    )
                return target.to(prediction.dtype)
            axis = self.axis % len(p)
            if len(t) == len(p) and t[axis] == 1:
                target, t = target.squeeze(axis), t[:axis] + t[axis + 1 :]
            if t == p[:axis] + p[axis + 1 :] and not target.dtype.is_floating_point:
                return target.long()
        raise ValueError(
            f"[fit] expected y as integer class indices for loss {self.name!r} and outputs of "
            f"shape {p} but got {target.dtype} of shape {t}"
        )

    def check_scores(self, prediction: Any) -> None:
        """Raises ValueError where the loss takes probabilities and the model gives others."""
        if self.kind.scores != "probability" or not isinstance(prediction, Tensor):
            return
        scores = prediction.detach()
        low, high = scores.min().item(), scores.max().item()
        if low < -1e-4 or high > 1.0 + 1e-4:
            logits = "bce_with_logits" if self.kind.binary else "cross_entropy"
            raise ValueError(
                f"[fit] expected probabilities from the model for loss {self.name!r} but got "
                f"outputs between {low:.4g} and {high:.4g}; end it with nn."
                f"{'Sigmoid()' if self.kind.binary else 'Softmax(dim=-1)'} or use loss={logits!r}, "
                "which takes logits"
            )

    def check_classes(self, prediction: Any, bounds: tuple[int, int] | None) -> None:
        """Raises ValueError where a class index has no output.

        Args:
            prediction: output of the model for some batch.
            bounds: lowest and highest class index of all targets.
        """
        if bounds is None or self.kind.target != "index" or not isinstance(prediction, Tensor):
            return
        classes = prediction.shape[self.axis]
        low, high = bounds
        if low < 0 or high >= classes:
            raise ValueError(
                f"[fit] expected class indices in [0, {classes}) for the model's {classes} outputs "
                f"but y holds {low if low < 0 else high}"
            )
