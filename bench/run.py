"""`annx bench run`: every case, every contender, one table and one JSON."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from . import machine, peers
from .cases import Case
from .problem import Contender, Problem, arrays_of, build, error_of, peer_of
from .stats import geometric_mean, quantile
from .timing import Effort, time_contenders

SCHEMA = 1
NAME_WIDTH = 48  # of the longest case at least, within reason
NAME_WIDTH_MOST = 88
Say = Callable[[str], None]


@dataclass
class Options:
    against: Sequence[str] = ()
    threads: Sequence[int] = (1,)
    targets: Sequence[str] = ()
    effort: Effort = field(default_factory=Effort)
    seed: int = 0


@contextmanager
def on_target(name: str) -> Iterator[None]:
    import annx

    before = annx._core.active_target()
    annx._core.set_target(name)
    try:
        yield
    finally:
        annx._core.set_target(before)


def check_targets(names: Sequence[str]) -> None:
    """Raises ValueError for a target that this machine does not have."""
    import annx

    known = annx._core.supported_targets()
    for name in names:
        if name not in known:
            raise ValueError(f"expected a target among {', '.join(known)} but got {name!r}")


def run(cases: Sequence[Case], options: Options, say: Say = lambda line: None) -> dict[str, Any]:
    """Runs `cases` and returns the document that --json writes.

    Raises:
        ValueError: a case, peer or target does not exist.
    """
    import annx

    targets = list(options.targets) or [annx._core.active_target()]
    check_targets(targets)
    absent = peers.check(options.against)
    notes = [f"{name} takes no part: {why}" for name, why in absent.items()]
    against = [name for name in options.against if name not in absent]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "machine": machine.facts(),
        "peers": peers.versions(against),
        "peers_capped": targets == ["avx2"] and peers.capped("avx2"),
        "peaks": [],
        "rows": [],
        "notes": notes,
    }
    for line in notes:
        say(f"note: {line}")
    longest = max((len(case.id) for case in cases), default=0) + 8 * (len(targets) > 1)
    width = max(NAME_WIDTH, min(NAME_WIDTH_MOST, longest))
    control = machine.Control()
    rng = random.Random(options.seed)
    for threads in options.threads:
        with peers.threads(threads, against) as thread_notes:
            for line in thread_notes:
                notes.append(line)
                say(f"note: {line}")
            control.use_threads(threads)
            peaks = {}
            for target in targets:
                with on_target(target):
                    peaks[target] = machine.measure_peaks(target, threads, time.perf_counter_ns)
                document["peaks"].append(peaks[target].as_dict())
                say(_peaks_line(peaks[target]))
            say("")
            say(_header(against, width))
            for case in cases:
                rows = run_case(case, threads, targets, against, peaks, control, options, rng)
                document["rows"] += rows
                for row in rows:
                    if row["contender"] == "annx":
                        say(_line(row, against, targets, width))
                for row in rows:
                    if row["wrong"]:
                        say(f"  wrong: {row['contender']}: {row['wrong']}; not timed")
    settle_controls(document["rows"], control)
    document["control"] = control.summary([row["control"] for row in document["rows"]])
    for line in summary(document):
        say(line)
    return document


def settle_controls(rows: list[dict[str, Any]], control: machine.Control) -> None:
    """Ratios are to the quiet time of the whole run, which is known at its end only."""
    for row in rows:
        own = row.pop("control_ns")
        row["control"] = own / control.quiet(row["threads"]) if own else 1.0


def contenders_of(
    problem: Problem, targets: Sequence[str], against: Sequence[str]
) -> Iterator[tuple[str, str, Contender]]:
    """(contender, target, what to call) for annx on every target, then for every peer."""
    for target in targets:
        made = problem.makers["annx"]()
        if made is None:
            continue
        contender = made if isinstance(made, Contender) else Contender(made)
        yield "annx", target, contender
    for peer in against:
        for name, maker in problem.makers.items():
            made = maker() if peer_of(name) == peer else None
            if made is not None:
                yield name, "", made if isinstance(made, Contender) else Contender(made)


def run_case(
    case: Case,
    threads: int,
    targets: Sequence[str],
    against: Sequence[str],
    peaks: dict[str, machine.Peaks],
    control: machine.Control,
    options: Options,
    rng: random.Random,
) -> list[dict[str, Any]]:
    """The rows of one case: annx on every target, then the peers."""
    import annx

    problem = build(case)
    with on_target(targets[0]):
        count_work(problem)
    expected = problem.reference() if problem.reference else None
    ready: dict[str, Contender] = {}
    about: dict[str, dict[str, Any]] = {}
    for name, target, contender in contenders_of(problem, targets, against):
        key = f"{name} {target}".strip()
        row: dict[str, Any] = {
            "case": case.id, "suite": case.suite, "label": case.label, "contender": name,
            "target": target, "threads": threads, "error": None, "wrong": "",
        }  # fmt: skip
        if expected is not None:
            with on_target(target or targets[0]):
                result = contender.result() if contender.result else contender.call()
            row["error"] = error_of(arrays_of(result), expected)
            if not row["error"] <= problem.tolerance:
                row["wrong"] = f"error {row['error']:.1e} is above {problem.tolerance:.0e}"
        about[key] = row
        if not row["wrong"]:
            ready[key] = contender

    def settle(key: str) -> Callable[[], None]:
        target = about[key]["target"]

        def turn() -> None:
            if target:
                annx._core.set_target(target)
            if threads > 1:
                machine.wait_for_idle_threads()

        return turn

    turns = {key: settle(key) for key in ready}
    effort = options.effort
    if threads > 1:
        effort = replace(effort, sample_ns=max(effort.sample_ns, 2e6), turn_ns=4e6, most=15)
    control.start_case()
    before = annx._core.active_target()
    try:
        samples = time_contenders(ready, effort, rng, turns, control)
    finally:
        annx._core.set_target(before)
    for key, row in about.items():
        row["control_ns"] = control.case_median()
        if key in samples:
            _fill(row, samples[key], problem, peaks[row["target"] or targets[0]])
    rows = list(about.values())
    for row in rows:
        row["ratio"] = ratios(row, rows)
    return rows


def ratios(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Peer -> the median of its fastest way over that of `row`, which is annx's."""
    if row["contender"] != "annx" or "median_ns" not in row:
        return {}
    best: dict[str, float] = {}
    for other in rows:
        peer = peer_of(other["contender"])
        if peer != "annx" and "median_ns" in other:
            best[peer] = min(best.get(peer, math.inf), other["median_ns"])
    return {peer: median_ns / row["median_ns"] for peer, median_ns in best.items()}


def count_work(problem: Problem) -> None:
    """Fills in flops and bytes by the ops' own counts where the problem states none."""
    import annx

    count = getattr(annx._core, "count_cost", None)
    if problem.flops is not None or count is None or "annx" not in problem.makers:
        return
    made = problem.makers["annx"]()
    if made is not None:
        problem.flops, problem.bytes = count(made.call if isinstance(made, Contender) else made)


def _fill(
    row: dict[str, Any], samples: list[float], problem: Problem, peaks: machine.Peaks
) -> None:
    ordered = sorted(samples)
    middle = quantile(ordered, 0.5)
    row.update(
        median_ns=middle, min_ns=ordered[0], q1_ns=quantile(ordered, 0.25),
        q3_ns=quantile(ordered, 0.75), samples=[round(s, 1) for s in samples],
    )  # fmt: skip
    if problem.flops:
        row["flops"] = problem.flops
        row["gflops"] = problem.flops / middle
        row["percent_of_peak"] = 100 * row["gflops"] / peaks.gflops
    stream = peaks.gbps(problem.touched or problem.bytes or 0.0, problem.traffic)
    if problem.bytes:
        row["bytes"] = problem.bytes
        row["gbps"] = problem.bytes / middle
        row["percent_of_stream"] = 100 * row["gbps"] / stream
    if problem.flops and not problem.bytes:
        row["bound"] = "compute"
    elif problem.flops and problem.bytes:
        compute = problem.flops / peaks.gflops
        memory = problem.bytes / stream
        row["bound"] = "compute" if compute >= memory else "memory"


def duration(nanoseconds: float) -> str:
    for unit, size in (("s ", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def _peaks_line(peaks: machine.Peaks) -> str:
    ladder = ", ".join(f"{size >> 10} KiB {rate:.0f}" for size, rate in peaks.bandwidth)
    plural = "s" if peaks.threads > 1 else ""
    return (
        f"{peaks.target}, {peaks.threads} thread{plural}: fma peak {peaks.gflops:.1f} GFLOP/s; "
        f"triad GB/s by bytes touched: {ladder}"
        + "".join(f"; {name} {rate:.0f}" for name, rate in peaks.streams.items())
    )


def _header(against: Sequence[str], width: int) -> str:
    cells = ["annx".rjust(10), "GF/s".rjust(7), "GB/s".rjust(7), "of roof".rjust(8)]
    cells += [f"vs {name}".rjust(max(9, len(name) + 3)) for name in against]
    return f"{'case':<{width}} " + " ".join(cells)


def _line(row: dict[str, Any], against: Sequence[str], targets: Sequence[str], width: int) -> str:
    at = f" @{row['target']}" if len(targets) > 1 else ""
    room = width - len(at)
    name = (row["case"] if len(row["case"]) <= room else row["case"][: room - 1] + "…") + at
    if "median_ns" not in row:
        return f"{name:<{width}} not timed"
    roof = row.get("percent_of_peak" if row.get("bound") == "compute" else "percent_of_stream")
    cells = [
        duration(row["median_ns"]).rjust(10),
        (f"{row['gflops']:.1f}" if "gflops" in row else "").rjust(7),
        (f"{row['gbps']:.1f}" if "gbps" in row else "").rjust(7),
        (f"{roof:.0f} %" if roof is not None else "").rjust(8),
    ]
    for other in against:
        ratio = row["ratio"].get(other)
        cells.append((f"{ratio:.2f}x" if ratio else "-").rjust(max(9, len(other) + 3)))
    return f"{name:<{width}} " + " ".join(cells)


def summary(document: dict[str, Any]) -> list[str]:
    """Geometric means of the ratios by suite, threads and peer, and what makes them doubtful."""
    groups: dict[tuple[str, int, str, str], list[float]] = {}
    for row in document["rows"]:
        for peer, ratio in row.get("ratio", {}).items():
            groups.setdefault((row["suite"], row["threads"], row["target"], peer), []).append(ratio)
    lines = [""] if groups else []
    for (suite, threads, target, peer), ratios in groups.items():
        ahead = sum(r >= 1 for r in ratios)
        lines.append(
            f"{suite}, {target}, {threads} thread{'s' if threads > 1 else ''}: "
            f"{geometric_mean(ratios):.2f}x {peer} in the geometric mean, "
            f"ahead on {ahead} of {len(ratios)}"
        )
    doubtful = sorted({r["case"] for r in document["rows"] if r["control"] > machine.Control.DRIFT})
    if doubtful:
        plural = "s" if len(doubtful) > 1 else ""
        lines.append(
            f"warning: the control ran more than {machine.Control.DRIFT - 1:.0%} slower than in "
            f"quiet times during {len(doubtful)} case{plural}: {', '.join(doubtful[:6])}"
            f"{' …' if len(doubtful) > 6 else ''}"
        )
    return lines
