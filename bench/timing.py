"""Times contenders of one problem: in one process, shuffled, each sample many calls long."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from .problem import Contender

Clock = Callable[[], int]


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    seconds: float = 0.3  # of samples, each contender and case
    sample_ns: float = 200e3  # a sample is this long, or one call
    warm_ns: float = 20e6  # untimed, before the first sample
    turn_ns: float = 0.0  # untimed, before each sample: at least one call
    least: int = 7  # samples, however slow a call
    most: int = 51


def nothing() -> None:
    """What runs before a turn by default."""


def sample(call: Callable[[], Any], calls: int, clock: Clock = time.perf_counter_ns) -> float:
    """Nanoseconds a call, over `calls` of them."""
    loop = repeat(None, calls)
    began = clock()
    for _ in loop:
        call()
    return (clock() - began) / calls


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def warm(call: Callable[[], Any], nanoseconds: float, clock: Clock = time.perf_counter_ns) -> float:
    """Calls until `nanoseconds` have gone by; returns the shortest call of them."""
    shortest = float("inf")
    end = clock() + nanoseconds
    while True:
        began = clock()
        call()
        now = clock()
        shortest = min(shortest, now - began)
        if now >= end:
            return max(shortest, 1.0)


def time_contenders(
    contenders: Mapping[str, Contender],
    effort: Effort,
    rng: random.Random,
    turns: Mapping[str, Callable[[], None]] | None = None,
    between: Callable[[], None] = nothing,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, list[float]]:
    """Samples in nanoseconds a call for each contender.

    Each round times every contender once, in a new order. ``turns`` of a contender runs before
    each of its samples, untimed; ``between`` after each round (the control).
    """
    turns = turns or {}
    calls: dict[str, int] = {}
    longest = 0.0
    with no_garbage_collection():
        for name, contender in contenders.items():
            if contender.measure is not None:
                calls[name] = 1
                longest = max(longest, contender.measure())
                continue
            turns.get(name, nothing)()
            once = warm(contender.call, effort.warm_ns, clock)
            calls[name] = max(1, round(effort.sample_ns / once))
            longest = max(longest, once * calls[name])
        rounds = int(min(effort.most, max(effort.least, effort.seconds * 1e9 / longest)))
        samples: dict[str, list[float]] = {name: [] for name in contenders}
        order = list(contenders)
        for _ in range(rounds):
            rng.shuffle(order)
            for name in order:
                contender = contenders[name]
                if contender.measure is not None:
                    samples[name].append(contender.measure())
                    continue
                turns.get(name, nothing)()
                # Caches and clocks are the contender's own again.
                warm(contender.call, effort.turn_ns, clock)
                samples[name].append(sample(contender.call, calls[name], clock))
            between()
    return samples


def fastest(calls: Sequence[Callable[[], Any]], nanoseconds: float = 3e7) -> Callable[[], Any]:
    """The call whose shortest run is shortest: a peer that has several ways takes part with its
    best."""
    if len(calls) == 1:
        return calls[0]
    times = [warm(call, nanoseconds) for call in calls]
    return calls[times.index(min(times))]
