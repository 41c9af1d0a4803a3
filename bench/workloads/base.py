"""What a workload says, and how its step is made.

A workload writes its model once, for a library given as ``lib`` (``annx`` or ``torch``, whose names
agree). Both start from the same weights and see the same batch; their losses are compared over the
first steps, without dropout, before anything is timed. A prediction is one forward pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..problem import Array, module

CHECKED_STEPS = 3
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _whole(workload: Workload, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
    """The workload's forward pass as one module of the batch's x."""

    class Whole(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return workload.forward(lib, self.model, {**batch, "x": x})

    return Whole()


class Workload(ABC):
    name: ClassVar[str]
    lr: ClassVar[float] = 1e-3
    images: ClassVar[tuple[str, ...]] = ()  # of the batch: what may lie channels last in memory

    @abstractmethod
    def model(self, lib: Any, drop: float) -> Any:
        """The network; `drop` scales its dropout, 0 where losses are compared."""

    def forward(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        """The prediction; `batch` maps names to tensors."""
        return model(batch["x"])

    @abstractmethod
    def loss(self, lib: Any, model: Any, batch: dict[str, Any]) -> Any:
        """One forward pass to a scalar."""

    @abstractmethod
    def data(self, rng: np.random.Generator, batch: int) -> dict[str, Array]:
        """One batch of so many samples."""

    def weights(self, rng: np.random.Generator, library: str = "annx") -> dict[str, Array]:
        """Values for every parameter by its name, uniform by fan-in: the same from any library."""
        found: dict[str, Array] = {}
        for name, p in self.model(module(library), 0.0).named_parameters():
            shape = tuple(p.shape)
            bound = 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else shape[0])
            found[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
        return found

    def _set_up(
        self,
        library: str,
        weights: dict[str, Array],
        data: dict[str, Array],
        drop: float,
        wide: bool,
        channels_last: bool,
    ) -> tuple[Any, Any, dict[str, Any]]:
        """The library, the model with these weights, and the batch."""
        lib = module(library)
        model = self.model(lib, drop)
        if wide:
            model.to(lib.float64)
        state = dict(model.state_dict())
        state.update({name: lib.from_numpy(values.copy()) for name, values in weights.items()})
        model.load_state_dict(state)
        batch = {name: lib.from_numpy(array) for name, array in data.items()}
        if channels_last:
            model.to(memory_format=lib.channels_last)
            for name in self.images:
                batch[name] = batch[name].to(memory_format=lib.channels_last)
        return lib, model, batch

    def step(
        self,
        library: str,
        weights: dict[str, Array],
        data: dict[str, Array],
        drop: float,
        wrap: Wrap = _as_it_is,
        wide: bool = False,
        channels_last: bool = False,
        **adam: Any,
    ) -> Callable[[], Any]:
        """One step of training with Adam, as a user writes it; returns the loss.

        `wrap` is what a user may put around the step (a compiler); `wide` computes in float64.
        """
        lib, model, batch = self._set_up(library, weights, data, drop, wide, channels_last)
        model.train()
        optimizer = module(f"{library}.optim").Adam(model.parameters(), lr=self.lr, **adam)

        def run(batch: dict[str, Any]) -> Any:
            optimizer.zero_grad()
            loss = self.loss(lib, model, batch)
            loss.backward()
            optimizer.step()
            return loss

        step = wrap(run)
        return lambda: step(batch)

    def predict(
        self,
        library: str,
        weights: dict[str, Array],
        data: dict[str, Array],
        wrap: Wrap = _as_it_is,
        wide: bool = False,
        channels_last: bool = False,
        prepare: Callable[..., Callable[..., Any]] | None = None,
    ) -> Callable[[], Any]:
        """One forward pass without gradients, in the mode of evaluation; returns the prediction.

        `prepare` makes a function for inference of a module.
        """
        lib, model, batch = self._set_up(library, weights, data, 1.0, wide, channels_last)
        model.eval()
        if prepare is not None:
            ready = prepare(_whole(self, lib, model, batch), batch["x"])
            return lambda: ready(batch["x"])

        def run(batch: dict[str, Any]) -> Any:
            return self.forward(lib, model, batch)

        predict = wrap(run)
        unrecorded = lib.inference_mode if hasattr(lib, "inference_mode") else lib.no_grad

        def call() -> Any:
            with unrecorded():
                return predict(batch)

        return call
