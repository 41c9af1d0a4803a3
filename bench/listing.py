"""`annx bench listing`: the guide's regression listing, from the interpreter's start to its exit.

Each contender is a script of ``listings/`` in its own process; they take turns in random order.
The first turn of each is not counted: it brings the library into the file cache.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import machine, peers
from .stats import median

FOLDER = Path(__file__).resolve().parent / "listings"
# A peer's script and ours that reads the same; its own backend where a library has several.
PAIRS = {"torch": ("torch_loop", "annx_loop"), "keras": ("keras_fit", "annx_fit")}
WORST_LOSS = 0.9  # of targets with variance 1: above it nothing was learned
Say = Callable[[str], None]


def whole(script: str, threads: int) -> tuple[float, float]:
    """Seconds of wall time of one process, and the last validation loss it printed.

    Raises:
        RuntimeError: it failed, or its network learned nothing.
    """
    count = str(threads)
    environment = {
        **os.environ, "ANNX_NUM_THREADS": count, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count, "PYTHONPATH": _path(),
    }  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{script}.py")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    took = time.perf_counter() - began
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise RuntimeError(f"{script}: ended with {done.returncode}: {' '.join(last)}")
    loss = float(done.stdout.split()[-1])
    if not loss < WORST_LOSS:
        raise RuntimeError(
            f"{script}: expected a validation loss below {WORST_LOSS} but got {loss}"
        )
    return took, loss


def _path() -> str:
    """Where this annx lies, before whatever the environment says."""
    import annx

    own = str(Path(annx.__file__).resolve().parents[1])
    return os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])


def run(against: Sequence[str], rounds: int, threads: int, seed: int, say: Say) -> dict[str, Any]:
    """Times every contender `rounds` times; returns the document that --json writes.

    Raises:
        ValueError: a peer has no listing, or `rounds` is below 1.
        RuntimeError: a contender failed.
    """
    unknown = [name for name in against if name not in PAIRS]
    if unknown:
        raise ValueError(f"expected peers among {', '.join(PAIRS)} but got {unknown[0]!r}")
    if rounds < 1:
        raise ValueError(f"expected at least one round but got {rounds}")
    absent = peers.missing(against)
    for reason in absent.values():
        say(f"left out: {reason}")
    chosen = [name for name in against if name not in absent]
    scripts = sorted({"annx_fit", "annx_loop", *(PAIRS[name][0] for name in chosen)})
    times: dict[str, list[float]] = {script: [] for script in scripts}
    losses: dict[str, float] = {}
    order = random.Random(seed)
    for turn in range(rounds + 1):
        for script in order.sample(scripts, len(scripts)):
            took, losses[script] = whole(script, threads)
            if turn:
                times[script].append(took)
    say(f"{'listing':<12} {'median s':>9} {'least s':>9} {'loss':>7}")
    for script in scripts:
        taken = times[script]
        say(f"{script:<12} {median(taken):>9.3f} {min(taken):>9.3f} {losses[script]:>7.3f}")
    for name in chosen:
        theirs, ours = PAIRS[name]
        say(f"{ours} beside {theirs}: {median(times[theirs]) / median(times[ours]):.1f}x")
    rows = [{"script": s, "seconds": times[s], "loss": losses[s]} for s in scripts]
    return {"schema": 1, "machine": machine.facts(), "threads": threads, "listing": rows}
