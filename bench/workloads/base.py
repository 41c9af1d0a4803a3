"""What a workload says, and how its step is made.

A workload writes its model once, for a library given as ``lib`` (``annx`` or ``torch``, whose names
agree). Both start from the same weights and see the same batch; their losses are compared over the
first steps, without dropout, before anything is timed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..problem import Array, module

CHECKED_STEPS = 3


class Workload(ABC):
    name: ClassVar[str]
    lr: ClassVar[float] = 1e-3

    @abstractmethod
    def model(self, lib: Any, drop: float) -> Any:
        """The network; `drop` scales its dropout, 0 where losses are compared."""

    @abstractmethod
    def loss(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        """One forward pass to a scalar; `batch` maps names to tensors."""

    @abstractmethod
    def data(self, rng: np.random.Generator) -> dict[str, Array]:
        """One batch."""

    def weights(self, rng: np.random.Generator) -> dict[str, Array]:
        """Values for every parameter by its name, uniform by fan-in."""
        found: dict[str, Array] = {}
        for name, p in self.model(module("annx"), 0.0).named_parameters():
            shape = tuple(p.shape)
            bound = 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else shape[0])
            found[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
        return found

    def step(
        self,
        library: str,
        weights: dict[str, Array],
        data: dict[str, Array],
        drop: float,
        wrap: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function,
        wide: bool = False,
        **adam: Any,
    ) -> Callable[[], Any]:
        """One step of training with Adam, as a user writes it; returns the loss.

        `wrap` is what a user may put around the step (a compiler); `wide` computes in float64.
        """
        lib = module(library)
        model = self.model(lib, drop)
        if wide:
            model.to(lib.float64)
        state = dict(model.state_dict())
        state.update({name: lib.from_numpy(values.copy()) for name, values in weights.items()})
        model.load_state_dict(state)
        model.train()
        batch = {name: lib.from_numpy(array) for name, array in data.items()}
        optimizer = module(f"{library}.optim").Adam(model.parameters(), lr=self.lr, **adam)

        def run(batch: dict[str, Any]) -> Any:
            optimizer.zero_grad()
            loss = self.loss(lib, model, batch)
            loss.backward()
            optimizer.step()
            return loss

        step = wrap(run)
        return lambda: step(batch)
