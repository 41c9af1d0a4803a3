"""The schedule that watches a value."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from annx import _capture
from annx.optim.lr_scheduler._base import check_optimizer, per_group

if TYPE_CHECKING:
    from collections.abc import Mapping

    from annx.optim._optimizer import Optimizer


class ReduceLROnPlateau:
    """Multiplies the rates by ``factor`` when a value has stopped improving.

    Args:
        optimizer: whose rates are set.
        mode: ``"min"`` if the value should fall, ``"max"`` if it should rise.
        factor: what the rates are multiplied by, below 1.
        patience: epochs without improvement that are borne.
        threshold: how much better counts as an improvement.
        threshold_mode: ``"rel"``: that share of the best value; ``"abs"``: that much.
        cooldown: epochs after a reduction in which nothing is counted.
        min_lr: lower bound of the rates, one or one per parameter group.
        eps: a rate that would change by less stays.
        verbose: print a line for each reduction.

    Raises:
        TypeError: ``optimizer`` is not one.
        ValueError: ``factor`` is not below 1, or a mode is unknown.

    Source: ``torch.optim.lr_scheduler.ReduceLROnPlateau``; guide, "Implementation with PyTorch".
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0,
        eps: float = 1e-8,
        verbose: bool = False,
    ) -> None:
        check_optimizer("ReduceLROnPlateau", optimizer)
        if factor >= 1.0:
            raise ValueError(f"[ReduceLROnPlateau] expected factor < 1 but got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"[ReduceLROnPlateau] expected mode 'min' or 'max' but got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                "[ReduceLROnPlateau] expected threshold_mode 'rel' or 'abs' but got "
                f"{threshold_mode!r}"
            )
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs: list[float] = per_group("ReduceLROnPlateau", "min_lr", min_lr, optimizer)
        self.eps = eps
        self.verbose = verbose
        self.last_epoch = 0
        self.best = inf if mode == "min" else -inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self._last_lr = [float(group["lr"]) for group in optimizer.param_groups]

    def step(self, metrics: Any, epoch: int | None = None) -> None:
        """Takes in the value of one more epoch: a number or a Tensor of one element.

        Raises:
            RuntimeError: it is called inside a captured call.
        """
        _capture.refuse(
            "expected no step of ReduceLROnPlateau inside a captured call: it looks at a value. "
            "Return the metric and step outside"
        )
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self.is_better(current, self.best):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = [float(group["lr"]) for group in self.optimizer.param_groups]

    def _reduce(self) -> None:
        for index, group in enumerate(self.optimizer.param_groups):
            old = float(group["lr"])
            new = max(old * self.factor, self.min_lrs[index])
            if old - new > self.eps:
                group["lr"] = new
                if self.verbose:
                    print(
                        f"Epoch {self.last_epoch:5d}: reducing learning rate of group {index} "
                        f"to {new:.4e}."
                    )

    @property
    def in_cooldown(self) -> bool:
        """Whether epochs are not counted now."""
        return self.cooldown_counter > 0

    def is_better(self, a: float, best: float) -> bool:
        """Whether ``a`` improves on ``best`` by more than the threshold."""
        margin = self.threshold * best if self.threshold_mode == "rel" else self.threshold
        if self.mode == "min":
            return a < best - margin if best != inf else a < best
        return a > best + margin if best != -inf else a > best

    def get_last_lr(self) -> list[float]:
        """The rate of each group after the last step."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer."""
        return {key: value for key, value in vars(self).items() if key != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state_dict` returned."""
        vars(self).update(state_dict)
