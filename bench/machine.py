"""The machine: what it is, its peaks measured in this run, and the control."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .stats import median

# Bytes that a triad touches: in L1, in L2, in L3 of most machines, in L3 of many, in memory.
LADDER = (24 << 10, 384 << 10, 6 << 20, 24 << 20, 192 << 20)
# Floats of each array that no cache holds, where traffic is told apart.
STREAMED = 16 << 20


def facts() -> dict[str, Any]:
    """CPU, build, commit and date: what every number kept has to name."""
    import annx
    import numpy as np

    build = annx._core.build_info()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "annx": build["version"],
        "compiler": build["compiler"],
        "commit": commit(Path(annx.__file__).parent) or build.get("commit", ""),
        "build": digest(Path(annx._core.__file__)),
        "targets": list(annx._core.supported_targets()),
    }


def digest(extension: Path) -> str:
    """Tells one build from another where neither knows its commit; "" where it cannot be read."""
    try:
        return hashlib.sha256(extension.read_bytes()).hexdigest()[:12]
    except OSError:
        return ""


def cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "Processor"):
            return value.strip()
    return platform.processor() or platform.machine()


def commit(folder: Path) -> str:
    """The commit of the tree that `folder` is part of, with -dirty for changes; "" outside git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=20, check=True,
        ).stdout.strip()  # fmt: skip

    try:
        # A package installed below somebody's work tree is no part of it.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.SubprocessError):
        return ""


def _runs(task: Path) -> bool:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    except OSError:  # it has ended
        return False


def wait_for_idle_threads(most: float = 0.3, tasks: Path = Path("/proc/self/task")) -> None:
    """Returns when no other thread of this process runs, or after `most` seconds: idle threads spin
    before they sleep, OpenMP's for milliseconds, OpenBLAS' for more than a tenth of a second."""
    end = time.monotonic() + most
    mine = str(threading.get_native_id())
    while time.monotonic() < end:
        time.sleep(0.005)
        if not tasks.is_dir():
            continue
        if not any(_runs(task) for task in tasks.iterdir() if task.name != mine):
            return


def _rate(work: Callable[[int], float], seconds: float, clock: Callable[[], int]) -> float:
    """Units a nanosecond of the fastest of several samples: peaks are ceilings."""
    count, took = 1, 0
    while took < 1e6:
        count *= 2
        began = clock()
        work(count)
        took = clock() - began
    count = max(1, round(count * seconds * 1e9 / 8 / took))
    best = 0.0
    for _ in range(8):
        began = clock()
        units = work(count)
        best = max(best, units / (clock() - began))
    return best


@dataclass
class Peaks:
    """Of one target and number of threads."""

    target: str
    threads: int
    gflops: float
    bandwidth: list[tuple[int, float]]  # bytes touched, GB/s; ascending
    # GB/s in memory by traffic: "copy" reads one array and writes another, "add" reads two.
    streams: dict[str, float] = field(default_factory=dict)

    def gbps(self, nbytes: float, traffic: str = "") -> float:
        """Bandwidth of the smallest working set that holds `nbytes`; in memory that of the traffic,
        where it is known."""
        for size, rate in self.bandwidth[:-1]:
            if nbytes <= size:
                return rate
        return self.streams.get(traffic, self.bandwidth[-1][1])

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "bandwidth": [list(step) for step in self.bandwidth]}


def measure_peaks(target: str, threads: int, clock: Callable[[], int]) -> Peaks:
    """The fma peak and the bandwidth ladder, on the target and threads that are set."""
    import annx

    core = annx._core
    bandwidth: list[tuple[int, float]] = []
    # Again between the others: a neighbour that is awake for a moment must not lower it.
    fma = 0.0
    for size in LADDER:
        fma = max(fma, _rate(core.bench_fma, 0.03, clock))
        rates = []
        # Into a third array, and in place: the better is the roof.
        for count in (3, 2):
            a, b, *rest = (annx.zeros(size // (4 * count)) for _ in range(count))

            def triad(passes: int, a: Any = a, b: Any = b, out: Any = (rest or [b])[0]) -> float:
                return core.bench_triad(a, b, out, passes)

            rates.append(_rate(triad, 0.08, clock))
            del a, b, rest, triad
        bandwidth.append((size, max(rates)))
    streams = measure_streams(clock)
    fma = max(fma, _rate(core.bench_fma, 0.1, clock))
    return Peaks(target, threads, fma, bandwidth, streams)


def measure_streams(clock: Callable[[], int], rounds: int = 25) -> dict[str, float]:
    """STREAM's copy and sum into an array of their own, by ordinary stores and in three ways past
    the caches, one of them our kernels'. Of each way the median over rounds of all, as cases have
    it, where the other peaks are the fastest sample. The best way counts."""
    import annx

    core = annx._core
    a, b, out = (annx.ones(STREAMED) for _ in range(3))
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for name, second in (("copy", None), ("add", b)):
            for way in range(core.bench_stream_ways):
                began = clock()
                moved = core.bench_stream(a, second, out, way, 1)
                rates.setdefault((name, way), []).append(moved / (clock() - began))
    best: dict[str, float] = {}
    for (name, _), got in rates.items():
        best[name] = max(best.get(name, 0.0), median(got))
    return best


class Control:
    """The frozen reference product, timed between rounds: it slows down when a neighbour wakes."""

    DRIFT = 1.10  # of its quiet time; above that a case's figures are doubtful

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        import annx

        run = getattr(annx._core, "bench_reference_gemm", None)
        self._run: Callable[[int], float] | None = run
        self._clock = clock
        self._threads = 1
        self._case_began = 0
        self.samples: dict[int, list[float]] = {}

    def use_threads(self, count: int) -> None:
        """Samples of different numbers of threads are not compared."""
        self._threads = count
        self.samples.setdefault(count, [])
        if self._run is not None:
            self._run(20)

    def __call__(self) -> None:
        if self._run is None:
            return
        passes = 1 if self._threads == 1 else 4
        self._run(passes)  # its matrices are in L2 again, its threads awake
        began = self._clock()
        self._run(passes)
        self.samples[self._threads].append(float(self._clock() - began))

    def start_case(self) -> None:
        self._case_began = len(self.samples[self._threads])

    def case_median(self) -> float:
        """Of this case's samples; 0 where there are none."""
        mine = self.samples[self._threads][self._case_began :]
        return median(mine) if mine else 0.0

    def quiet(self, threads: int) -> float:
        """What it takes undisturbed: the lowest twentieth of the run."""
        ordered = sorted(self.samples[threads])
        return ordered[len(ordered) // 20] if ordered else 1.0

    def summary(self, ratios: Sequence[float]) -> dict[str, Any]:
        """For the document; `ratios` are those of its rows."""
        return {
            "quiet_ns": {str(n): self.quiet(n) for n, got in self.samples.items() if got},
            "median_ns": {str(n): median(got) for n, got in self.samples.items() if got},
            "worst_case_ratio": max(ratios, default=1.0),
        }
