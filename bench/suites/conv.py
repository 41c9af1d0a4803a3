"""Convolutions of networks, a direction at a time: forward with bias, backward-data, and
backward-weight with the bias' gradient.

annx works on channels-last operands, as its own layers hand them on. PyTorch takes part twice, in
both memory formats, and the ratio is to the better.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Array, Maker, Problem, Suite, generator, gradient, module, normal

SUITE = Suite()


class Geometry:
    """Sizes of a case: ``n c k size kernel``, ``stride padding groups`` where they differ.

    ``winograd=f43`` asks annx for F(4x4, 3x3).
    """

    def __init__(self, case: Case) -> None:
        self.n, self.c, self.k = (case.number(key) for key in ("n", "c", "k"))
        self.groups = case.number("groups", 1)
        self.stride, self.padding = case.number("stride", 1), case.number("padding", 0)
        self.size, self.kernel = case.sizes("size"), case.sizes("kernel")
        self.dims = len(self.size)
        if len(self.kernel) == 1:
            self.kernel *= self.dims
        self.out = tuple(
            (s + 2 * self.padding - k) // self.stride + 1
            for s, k in zip(self.size, self.kernel, strict=True)
        )

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Of input, weight and result."""
        weight = (self.k, self.c // self.groups, *self.kernel)
        return (self.n, self.c, *self.size), weight, (self.n, self.k, *self.out)

    def taps(self) -> Iterator[tuple[Any, Any]]:
        """Indices of every tap in a weight, and of what it meets in the padded input."""
        for tap in product(*(range(k) for k in self.kernel)):
            where = (
                slice(t, t + self.stride * o, self.stride)
                for t, o in zip(tap, self.out, strict=True)
            )
            yield (..., *tap), (..., *where)

    def grouped(self, array: Array) -> Array:
        """(batch, groups, channels of a group, pixels)."""
        batch, channels, *pixels = array.shape
        return array.reshape(batch, self.groups, channels // self.groups, int(np.prod(pixels)))


def _reference(kind: str, at: Geometry, x: Array, w: Array, b: Array, g: Array) -> list[Array]:
    """A product for every tap, in float64."""
    wide = [(0, 0), (0, 0), *[(at.padding, at.padding)] * at.dims]
    padded = np.pad(x.astype(np.float64), wide)
    weight = w.astype(np.float64).reshape(at.groups, at.k // at.groups, *w.shape[1:])
    out = np.zeros((at.n, at.groups, at.k // at.groups, int(np.prod(at.out))))
    by_input, by_weight = np.zeros_like(padded), np.zeros(weight.shape)
    grad = at.grouped(g.astype(np.float64))
    for tap, where in at.taps():
        picked, w_tap = padded[where], weight[tap]
        if kind == "forward":
            out += w_tap @ at.grouped(picked)
        elif kind == "backward_data":
            by_input[where] += (w_tap.swapaxes(-1, -2) @ grad).reshape(picked.shape)
        else:
            by_weight[tap] = (grad @ at.grouped(picked).swapaxes(-1, -2)).sum(0)
    if kind == "forward":
        return [out.reshape(g.shape) + b.reshape(-1, *[1] * at.dims)]
    if kind == "backward_data":
        inside: Any = (..., *(slice(at.padding, at.padding + s) for s in at.size))
        return [by_input[inside]]
    return [by_weight.reshape(w.shape), g.sum((0, *range(2, g.ndim)), dtype=np.float64)]


@SUITE.kind("forward", "backward_data", "backward_weight")
def convolution(case: Case) -> Problem:
    at = Geometry(case)
    rng = generator(case)
    x_shape, w_shape, y_shape = at.shapes()
    x, w, g = normal(rng, *x_shape), normal(rng, *w_shape), normal(rng, *y_shape)
    b = normal(rng, at.k)

    def make(library: str, last: bool, weight_too: bool) -> Maker:
        def bind() -> Any:
            lib = module(library)
            convolve = getattr(module(f"{library}.nn.functional"), f"conv{at.dims}d")
            formats = {1: None, 2: "channels_last", 3: "channels_last_3d"}
            name = formats[at.dims] if last else None

            def wrap(array: Array) -> Any:
                t = lib.from_numpy(array)
                return t.to(memory_format=getattr(lib, name)) if name else t

            tx, tg, bias = wrap(x), wrap(g), lib.from_numpy(b)
            tw = wrap(w) if weight_too else lib.from_numpy(w)

            def forward() -> Any:
                return convolve(tx, tw, bias, at.stride, at.padding, 1, at.groups)

            if library == "annx" and "winograd" in case.params:
                forward = lib.backends.conv.flags(winograd=case.params["winograd"])(forward)
            if case.kind == "forward":
                return forward
            leaves = [tx] if case.kind == "backward_data" else [tw, bias]
            for leaf in leaves:
                leaf.requires_grad_()
            return gradient(library, forward(), leaves, tg)

        return bind

    makers = {
        "annx": make("annx", last=True, weight_too=False),
        "torch": make("torch", last=False, weight_too=False),
    }
    if at.dims > 1:
        makers["torch:channels_last"] = make("torch", last=True, weight_too=True)
    pixels = at.n * int(np.prod(at.out))
    return Problem(
        makers=makers,
        reference=lambda: _reference(case.kind, at, x, w, b, g),
        flops=2.0 * pixels * w.size,
        bytes=4.0 * (x.size + w.size + g.size),
    )
