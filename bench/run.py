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
from .problem import Contender, Maker, Problem, arrays_of, build, error_of, peer_of
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
    every: bool = False  # a line for each contender


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

    Ctrl-C ends it with what was measured until then: `stopped` is true. A case that raises is a
    wrong one, and the run goes on.

    Raises:
        ValueError: a peer or target does not exist, or a number of threads cannot be had.
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
        "stopped": False,
    }
    for line in notes:
        say(f"note: {line}")
    longest = max((len(case.id) for case in cases), default=0) + 8 * (len(targets) > 1)
    width = max(NAME_WIDTH, min(NAME_WIDTH_MOST, longest))
    control = machine.Control()
    rng = random.Random(options.seed)
    done = 0
    try:
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
                    try:
                        rows = run_case(
                            case, threads, targets, against, peaks, control, options, rng
                        )
                    except Exception as error:
                        rows = [{**_about(case, "annx", targets[0], threads), "ratio": {},
                                 "wrong": _raised(error), "control_ns": 0.0}]  # fmt: skip
                    document["rows"] += rows
                    done += 1
                    for row in rows:
                        if row["contender"] == "annx" or options.every:
                            say(_line(row, against, targets, width))
                    for row in rows:
                        if row["wrong"]:
                            say(f"  wrong: {row['contender']}: {row['wrong']}; not timed")
    except KeyboardInterrupt:
        document["stopped"] = True
        notes.append(f"stopped after {done} of {len(cases) * len(options.threads)} cases")
        say("")
        say(f"note: {notes[-1]}")
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


def _about(case: Case, contender: str, target: str, threads: int) -> dict[str, Any]:
    return {
        "case": case.id, "suite": case.suite, "label": case.label, "contender": contender,
        "target": target, "threads": threads, "error": None, "wrong": "",
    }  # fmt: skip


def _raised(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"raised {type(error).__name__}: {text}" if text else f"raised {type(error).__name__}"


def _made(maker: Maker) -> Contender | None:
    """What `maker` makes; where it raises, a contender whose calls raise that."""
    try:
        made = maker()
    except Exception as error:
        raised = error

        def call() -> None:
            raise raised

        return Contender(call)
    return Contender(made) if made is not None and not isinstance(made, Contender) else made


def contenders_of(
    problem: Problem, targets: Sequence[str], against: Sequence[str]
) -> Iterator[tuple[str, str, Contender]]:
    """(contender, target, what to call) for annx on every target, then for every peer."""
    for target in targets:
        contender = _made(problem.makers["annx"])
        if contender is not None:
            yield "annx", target, contender
    for peer in against:
        for name, maker in problem.makers.items():
            contender = _made(maker) if peer_of(name) == peer else None
            if contender is not None:
                yield name, "", contender


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

    with on_target(targets[0]):
        problem = build(case)
        count_work(problem)
    expected = problem.reference() if problem.reference else None
    ready: dict[str, Contender] = {}
    about: dict[str, dict[str, Any]] = {}
    for name, target, contender in contenders_of(problem, targets, against):
        key = f"{name} {target}".strip()
        row = _about(case, name, target, threads)
        if contender.measure is None:
            try:
                with on_target(target or targets[0]):
                    answer = contender.result if expected is not None else None
                    result = (answer or contender.call)()
                if expected is not None:
                    row["error"] = error_of(arrays_of(result), expected)
            except Exception as error:
                row["wrong"] = _raised(error)
            else:
                if expected is not None and not row["error"] <= problem.tolerance:
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


def span(low: float, high: float) -> str:
    """Two durations in the unit of the longer one."""
    for unit, size in (("s ", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0)):
        if high >= size or unit == "ns":
            break
    return f"{low / size:.3g}-{high / size:.3g} {unit}"


def _header(against: Sequence[str], width: int) -> str:
    cells = ["median".rjust(10), "minimum".rjust(10), "quartiles".rjust(15), "GF/s".rjust(7),
             "GB/s".rjust(7), "of roof".rjust(8), "error".rjust(8)]  # fmt: skip
    cells += [f"vs {name}".rjust(max(9, len(name) + 3)) for name in against]
    return f"{'case':<{width}} " + " ".join(cells)


def _line(row: dict[str, Any], against: Sequence[str], targets: Sequence[str], width: int) -> str:
    mine = row["contender"] == "annx"
    at = f" @{row['target']}" if len(targets) > 1 and mine else ""
    room = width - len(at)
    name = row["case"] if mine else f"    {row['contender']}"
    name = (name if len(name) <= room else name[: room - 1] + "…") + at
    if "median_ns" not in row:
        return f"{name:<{width}} not timed"
    roof = row.get("percent_of_peak" if row.get("bound") == "compute" else "percent_of_stream")
    cells = [
        duration(row["median_ns"]).rjust(10),
        duration(row["min_ns"]).rjust(10),
        span(row["q1_ns"], row["q3_ns"]).rjust(15),
        (f"{row['gflops']:.1f}" if "gflops" in row else "").rjust(7),
        (f"{row['gbps']:.1f}" if "gbps" in row else "").rjust(7),
        (f"{roof:.0f} %" if roof is not None else "").rjust(8),
        (f"{row['error']:.0e}" if row["error"] is not None else "").rjust(8),
    ]
    for other in against if mine else ():
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
