"""`annx bench run e2e --memory`: each contender of a training step in a process of its own.

What is taken there: the peak of the resident memory over a few steps; the very first step, which
pages the library in; for annx the first call of further captured steps, which records (the median,
so that pages new from the system count where they belong, in the very first step), and a steady
eager step; and the replayed instructions beside their floor: each takes at least its operations
over the fma peak and its bytes over the bandwidth.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import machine, peers
from .cases import Case, parse_case
from .problem import generator, module
from .stats import median
from .suites.e2e import WORKLOADS, named, optimizers
from .worker import BOOT

TOOL = Path(__file__).resolve().parent
STEPS = 12
CAPTURES = 7
CONTENDERS = ("annx", "torch")
Say = Callable[[str], None]


def peak_bytes() -> int:
    """The most resident memory this process has had.

    Linux' own count is of this program alone; getrusage also counts the one that started it.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _steady(call: Callable[[], Any]) -> float:
    """The median of a few calls in nanoseconds, after a first one."""
    call()
    times = []
    for _ in range(STEPS):
        began = time.perf_counter_ns()
        call()
        times.append(float(time.perf_counter_ns() - began))
    return median(times)


def _arena(explained: str) -> dict[str, int]:
    found = re.search(r"arena (\d+) bytes, most alive at once (\d+) bytes", explained)
    return {"arena": int(found[1]), "alive": int(found[2])} if found else {}


def measure(line: str, contender: str, threads: int, target: str) -> dict[str, Any]:
    """Everything about one contender of the case in `line`, in this process."""
    case = parse_case(line, "e2e")
    if case is None:
        raise ValueError(f"expected a case but got {line!r}")
    lib = module(contender)
    lib.set_num_threads(threads)
    if contender == "annx" and target:
        lib._core.set_target(target)
    workload, rng = named(case.kind), generator(case)
    weights = workload.weights(rng, contender)
    data = workload.data(rng, case.number("batch"))
    jitted: list[Any] = []

    def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
        found: Callable[..., Any] = lib.jit(function)
        jitted.append(found)
        return found

    options = {"wrap": recorded} if contender == "annx" else optimizers(workload)[0]
    step = workload.step(contender, weights, data, 1.0, **options)
    gc.disable()
    began = time.perf_counter_ns()
    step()
    taken: dict[str, Any] = {"cold_ns": time.perf_counter_ns() - began}
    taken.update(steady_ns=_steady(step), peak_bytes=peak_bytes())
    if jitted:
        program = jitted[0].programs[0]
        taken.update(_arena(program.explain()))
        taken["instructions"] = [
            [name, flops, moved] for name, _, flops, moved in program.instructions()
        ]
        firsts = []
        for _ in range(CAPTURES):
            again = workload.step(contender, weights, data, 1.0, wrap=lib.jit)
            began = time.perf_counter_ns()
            again()
            firsts.append(float(time.perf_counter_ns() - began))
        taken["first_ns"] = median(firsts)
        taken["eager_ns"] = _steady(workload.step(contender, weights, data, 1.0))
    return taken


def main() -> None:
    """The process that measures: writes one line of JSON."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no reply
    _, line, contender, threads, target = sys.argv[1:]
    replies.write(json.dumps(measure(line, contender, int(threads), target)) + "\n")
    replies.close()


def apart(case: Case, contender: str, threads: int, target: str) -> dict[str, Any]:
    """`measure` in a process that loads nothing but the contender.

    Raises:
        RuntimeError: the process failed.
    """
    boot = BOOT.replace(".worker", ".footprint")
    done = subprocess.run(
        [sys.executable, "-c", boot, str(TOOL), case.name, contender, str(threads), target],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{case.id}: the process of {contender} ended with {done.returncode}")
    taken: dict[str, Any] = json.loads(done.stdout)
    return taken


def floor_ns(instructions: Sequence[Sequence[Any]], peaks: machine.Peaks) -> dict[str, float]:
    """Operations at the fma peak, bytes at the bandwidth, and the larger of both added up."""
    compute = [flops / peaks.gflops for _, flops, _ in instructions]
    memory = [moved / peaks.gbps(moved) for _, _, moved in instructions]
    return {
        "compute_ns": sum(compute),
        "memory_ns": sum(memory),
        "floor_ns": sum(max(pair) for pair in zip(compute, memory, strict=True)),
    }


def _mib(taken: dict[str, Any] | None) -> str:
    return f"{taken['peak_bytes'] / (1 << 20):.0f}" if taken else "-"


def _ms(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e6:.3g}"


_COLUMNS = (
    ("case", 24), ("annx MiB", 9), ("torch MiB", 10), ("share", 6), ("arena/alive", 12),
    ("cold ms", 9), ("first ms", 9), ("eager ms", 9), ("ratio", 6), ("step ms", 8), ("flops ms", 9),
    ("bytes ms", 9), ("above floor", 12),
)  # fmt: skip


def _row(cells: Sequence[str]) -> str:
    widths = [width for _, width in _COLUMNS]
    first, *rest = zip(cells, widths, strict=True)
    return " ".join([f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in rest)])


def run(
    cases: Sequence[Case], against: Sequence[str], threads: Sequence[int], target: str, say: Say
) -> dict[str, Any]:
    """Every training step among `cases`; returns the document that --json writes.

    Raises:
        ValueError: there is none, or a target or peer does not exist.
    """
    import annx

    steps = [case for case in cases if case.kind in {w.name for w in WORKLOADS}]
    if not steps:
        raise ValueError("expected training steps of the suite e2e beside --memory")
    target = target or annx._core.active_target()
    absent = peers.check(against)
    beside = [name for name in CONTENDERS if name == "annx" or name in against]
    beside = [name for name in beside if name not in absent]
    document: dict[str, Any] = {
        "schema": 1, "machine": machine.facts(), "peers": {}, "peaks": [], "rows": [], "memory": []
    }  # fmt: skip
    for count in threads:
        with peers.threads(count, []):
            annx._core.set_target(target)
            peaks = machine.measure_peaks(target, count, time.perf_counter_ns)
        document["peaks"].append(peaks.as_dict())
        say(f"{target}, {count} thread{'s' if count > 1 else ''}: {peaks.gflops:.1f} GFLOP/s")
        say(_row([name for name, _ in _COLUMNS]))
        for case in steps:
            taken = {name: apart(case, name, count, target) for name in beside}
            ours, theirs = taken["annx"], taken.get("torch")
            ours.update(floor_ns(ours.pop("instructions"), peaks))
            share = ours["peak_bytes"] / theirs["peak_bytes"] if theirs else 0
            say(
                _row(
                    [
                        case.name, _mib(ours), _mib(theirs), f"{share:.2f}" if share else "-",
                        f"{ours['arena'] / max(1, ours['alive']):.2f}", _ms(ours["cold_ns"]),
                        _ms(ours["first_ns"]), _ms(ours["eager_ns"]),
                        f"{ours['first_ns'] / ours['eager_ns']:.1f}",
                        _ms(ours["steady_ns"]), _ms(ours["compute_ns"]), _ms(ours["memory_ns"]),
                        f"{ours['steady_ns'] / ours['floor_ns']:.2f}x",
                    ]
                )
            )  # fmt: skip
            document["memory"] += [
                {"case": case.id, "contender": name, "threads": count, "target": target, **found}
                for name, found in taken.items()
            ]
    return document
