"""The figures of the foundation: eager overhead, import time, installed size.

    python bench/foundation.py

Contenders run in one process, shuffled, and medians are compared; PyTorch takes part where it is
installed. Only ratios from one run mean anything on a shared machine.
"""

from __future__ import annotations

import importlib.util
import pathlib
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import annx


def contenders() -> dict[str, dict[str, Callable[[], object]]]:
    """Case -> library -> one call."""
    annx.set_num_threads(1)
    a, b = annx.rand(8), annx.rand(8)
    model = annx.nn.Sequential(annx.nn.Linear(16, 16), annx.nn.ReLU())
    x = annx.rand(8, 16)
    cases: dict[str, dict[str, Callable[[], object]]] = {
        "x + y on 8 elements": {"annx": lambda: a + b},
        "Linear(16,16)+ReLU forward and backward, batch 8": {
            "annx": lambda: model(x).sum().backward()
        },
    }
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        ta, tb = torch.rand(8), torch.rand(8)
        reference = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU())
        tx = torch.rand(8, 16)
        for case, run in zip(
            cases.values(), (lambda: ta + tb, lambda: reference(tx).sum().backward()), strict=True
        ):
            case["torch"] = run
    return cases


def medians(runs: dict[str, Callable[[], object]], rounds: int = 60) -> dict[str, float]:
    """Nanoseconds of one call, the median over shuffled rounds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    calls = 500
    for _ in range(rounds):
        order = list(runs)
        random.shuffle(order)
        for name in order:
            run = runs[name]
            began = time.perf_counter_ns()
            for _ in range(calls):
                run()
            times[name].append((time.perf_counter_ns() - began) / calls)
    return {name: statistics.median(t[5:]) for name, t in times.items()}


def import_milliseconds(rounds: int = 15) -> float:
    """What importing annx adds to importing numpy, the median of fresh interpreters."""
    code = (
        "import time, numpy; t = time.perf_counter(); import annx; print(time.perf_counter() - t)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(rounds)
    ]
    return statistics.median(runs) * 1e3


def main() -> None:
    for case, runs in contenders().items():
        result = medians(runs)
        text = ", ".join(f"{name} {ns:,.0f} ns" for name, ns in result.items())
        if "torch" in result:
            text += f", {result['torch'] / result['annx']:.1f}x faster"
        print(f"{case}: {text}")
    print(f"import annx over import numpy: {import_milliseconds():.1f} ms")
    folder = pathlib.Path(annx.__file__).parent
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    print(f"package on disk: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
