"""Whether one build is slower than another: the rule, apart from all measuring.

Within a *unit*, base and head are sampled in turns on one set of arrays each; neighbouring samples
share whatever the machine was doing, so ratios are taken round by round. Between units the arrays
lie elsewhere in memory, between *launches* (pairs of processes) the code does too; either moves the
time of one and the same build by several per cent. So units are what is averaged, and their scatter
says how sure the average is.

A case is flagged only where medians and minima both lie beyond the threshold on the same side: a
noisy neighbour moves medians, a lucky sample moves minima, a slower build moves both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .stats import median

# What must not slip through, and the threshold: as far from no change as from that.
EFFECT = math.log(1.05)
THRESHOLD = EFFECT / 2
# Standard errors from zero to call it a change, from EFFECT to call it none. The scatter of few
# launches says little about itself: for n of them both grow as Student's quantiles do.
CHANGE_ERRORS = 3.0
SAME_ERRORS = 2.5
FEW = 2.5

Unit = tuple[Sequence[float], Sequence[float]]  # base's samples, head's samples, round by round
Launch = Sequence[Unit]


@dataclass(frozen=True)
class Verdict:
    """Ratios are head over base: 1.05 is five per cent slower."""

    flag: str  # slower, faster, same, or unclear
    median: float
    minimum: float
    error: float  # standard error of the logarithm of the median ratio
    instructions: float | None = None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _standard_error(values: Sequence[float]) -> float:
    n = len(values)
    if n < 2:
        return math.inf
    middle = _mean(values)
    return math.sqrt(sum((v - middle) ** 2 for v in values) / (n - 1) / n)


def _paired(unit: Unit) -> float:
    return median(math.log(head / base) for base, head in zip(*unit, strict=True))


def _least(unit: Unit) -> float:
    return math.log(min(unit[1]) / min(unit[0]))


def decide(
    launches: Sequence[Launch],
    threshold: float = THRESHOLD,
    instructions: float | None = None,
) -> Verdict:
    """The verdict on one case. `instructions` (head over base) settles what times leave unclear."""
    per_launch = [[_paired(unit) for unit in launch] for launch in launches]
    medians = [m for launch in per_launch for m in launch]
    means = [_mean(launch) for launch in per_launch]
    middle, least = _mean(medians), _mean([_least(unit) for launch in launches for unit in launch])
    # Units of one launch are not independent; whichever scatter says less is believed.
    error = max(_standard_error(medians), _standard_error(means))
    doubt = error * (1 + FEW / (len(means) - 1)) if len(means) > 1 else math.inf
    flag = "unclear"
    for name, sign in (("slower", 1), ("faster", -1)):
        beyond = sign * middle > threshold and sign * least > threshold
        sure = sign * middle > CHANGE_ERRORS * doubt
        agree = 2 * sum(sign * m > threshold / 2 for m in means) > len(means)
        if beyond and sure and agree:
            flag = name
    within = abs(middle) <= threshold and abs(least) <= threshold
    if within and 2 * threshold - abs(middle) > SAME_ERRORS * doubt:
        flag = "same"
    if flag == "unclear" and instructions is not None:
        change = math.log(instructions)
        if abs(change) < 0.002:
            flag = "same"
        elif abs(change) > threshold:
            flag = "slower" if change > 0 else "faster"
    return Verdict(flag, math.exp(middle), math.exp(least), error, instructions)


def decide_apart(base: Sequence[float], head: Sequence[float], threshold: float) -> Verdict:
    """The verdict on samples of two runs at different times, which share nothing."""
    middle, least = math.log(median(head) / median(base)), math.log(min(head) / min(base))
    slower = middle > threshold and least > threshold
    faster = middle < -threshold and least < -threshold
    same = abs(middle) <= threshold and abs(least) <= threshold
    flag = "slower" if slower else "faster" if faster else "same" if same else "unclear"
    return Verdict(flag, math.exp(middle), math.exp(least), math.inf)
