"""One step of training, evaluation or prediction: captured where that is sure to mean the same.

The first step runs eagerly, with its checks. The next two are recorded: when both did the same, the
record is replayed from then on. Otherwise steps go on eagerly, and :attr:`Step.reason` says why
(``annx.debug.explain(model)`` prints it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx._jit import Jitted

if TYPE_CHECKING:
    from collections.abc import Callable

# Equal recordings before the first replay.
_TRIALS = 2


def _hooked(model: Any) -> str | None:
    for name, module in model.named_modules():
        if module._hooks is not None:
            where = f"module {name!r}" if name else "the model"
            return f"{where} has hooks, which run at every call"
    return None


class Step:
    """A function of a batch that is captured when it may be.

    Args:
        function: takes and returns trees of Tensors.
        model: whose hooks forbid a capture.
        optimizer: of a training step.
        eagerly: run every step eagerly.

    Attributes:
        reason: why steps run eagerly; None where they are captured, or will be.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        model: Any,
        optimizer: Any = None,
        eagerly: bool = False,
    ) -> None:
        self._function = function
        self._model = model
        self._optimizer = optimizer
        self.jitted = Jitted(function, lenient=True, trials=_TRIALS)
        self._fixed = "run_eagerly=True was given" if eagerly else None
        if optimizer is not None and not type(optimizer).__module__.startswith("annx.optim."):
            self._fixed = f"the optimizer {type(optimizer).__name__} is not one of annx"
        self.reason = self._fixed
        # Batches that a native call takes on at most; follows from how long they take.
        self.stretch = 256

    def begin(self) -> None:
        """Looks again, ahead of a loop over batches, whether steps may be captured."""
        self.reason = self._fixed or self.jitted.refusal or _hooked(self._model)

    def __call__(self, *batch: Any) -> Any:
        if self.reason is not None:
            return self._function(*batch)
        result = self.jitted(*batch)
        if self.jitted.refusal is not None:
            self.reason = self.jitted.refusal
        return result

    @property
    def programs(self) -> list[Any]:
        """The records in use."""
        return [] if self.reason is not None else self.jitted.programs
