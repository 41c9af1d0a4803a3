"""The process that runs one build for ``compare``: a JSON request a line in, an answer a line out.

Started with the tool's own folder, whatever the build: see ``BOOT``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any

from .cases import parse_case
from .instructions import absence, counter
from .problem import Contender, build, module
from .timing import warm

# Loads this package under a name of its own, so that the build under test is `annx`.
BOOT = """
import importlib.util, sys
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "annx_bench_tool", folder + "/__init__.py", submodule_search_locations=[folder])
package = importlib.util.module_from_spec(spec)
sys.modules["annx_bench_tool"] = package
spec.loader.exec_module(package)
importlib.import_module("annx_bench_tool.worker").main()
"""


class Worker:
    def __init__(self) -> None:
        self.contender = Contender(lambda: None)
        self.before = self.contender
        self.instructions = counter()

    def start(self, threads: int, target: str, cpu: int | None) -> dict[str, Any]:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        import annx

        annx.set_num_threads(threads)
        if target:
            annx._core.set_target(target)
        return {
            "version": annx.__version__,
            "compiler": annx._core.build_info()["compiler"],
            "commit": annx._core.build_info().get("commit", ""),
            "target": annx._core.active_target(),
            "threads": threads,
            "uncounted": absence(),
        }

    def prepare(self, suite: str, line: str, warm_ns: float) -> dict[str, Any]:
        case = parse_case(line, suite)
        if case is None:
            raise ValueError(f"expected a case but got {line!r}")
        # The arrays of the unit before are let go only now, so that these lie elsewhere.
        self.before = self.contender
        annx = module("annx")
        getattr(annx._core, "empty_cache", lambda: None)()
        problem = build(case)
        made = problem.makers["annx"]() if "annx" in problem.makers else None
        if made is None:
            raise ValueError(f"{case.id}: nothing to time")
        self.contender = made if isinstance(made, Contender) else Contender(made)
        if self.contender.measure is not None:
            raise ValueError(f"{case.id}: is measured, not called")
        gc.collect()
        return {"ns": warm(self.contender.call, warm_ns)}

    def sample(self, calls: int, warm_ns: float, slow: float) -> dict[str, Any]:
        """`slow` stretches the timed stretch itself: how ``--self-check`` injects a slowdown."""
        call = self.contender.call
        warm(call, warm_ns)
        began = time.perf_counter_ns()
        for _ in range(calls):
            call()
        if slow:
            end = began + (time.perf_counter_ns() - began) * (1 + slow)
            while time.perf_counter_ns() < end:
                pass
        return {"ns": (time.perf_counter_ns() - began) / calls}

    def count(self) -> dict[str, Any]:
        if self.instructions is None:
            return {"instructions": None}
        call = self.contender.call
        return {"instructions": min(self.instructions.count(call) for _ in range(5))}


def main() -> None:
    """Answers requests until the parent closes the pipe."""
    worker = Worker()
    gc.disable()
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no reply
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # the parent decides what a failure means
            reply = {"error": f"{type(error).__name__}: {error}"}
        try:
            replies.write(json.dumps(reply) + "\n")
            replies.flush()
        except BrokenPipeError:  # the parent was stopped; nobody reads what an exit would flush
            os._exit(1)
