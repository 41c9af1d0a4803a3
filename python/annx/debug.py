"""Looking inside: what annx runs on, and what captured calls do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx._info import config_lines
from annx._jit import Jitted
from annx._prepare import Prepared

if TYPE_CHECKING:
    import os

__all__ = ["explain", "show_config", "trace"]


def show_config() -> None:
    """Prints version, SIMD targets, threads and why, memory, compiler, NumPy and CUDA."""
    print("\n".join(config_lines()))


def _sections(what: Any) -> list[tuple[str, str | None, list[Any]]]:
    """Title, reason for running eagerly, programs."""
    if isinstance(what, Jitted):
        return [(repr(what), what.refusal, what.programs)]
    if isinstance(what, Prepared):
        return [(repr(what), None, what.programs)]
    compiled = getattr(what, "_compiled", None)
    if compiled is None:
        raise TypeError(
            "[explain] expected a function made by annx.jit or annx.prepare or a compiled model "
            f"but got {type(what).__name__}"
        )
    return [
        (f"{key if isinstance(key, str) else key[0]} step", step.reason, step.programs)
        for key, step in compiled.steps.items()
    ]


def explain(what: Any, file: Any = None) -> str:
    """Describes the captured calls of a function or a compiled model, and prints that.

    For each record: the ops in order with their shapes, what the passes fused and why an
    elementwise op stands alone, bytes of the arena, FLOPs and bytes moved. Names: ``arg`` an
    argument, ``ext`` memory outside of the call (parameters, state, constants), ``grad`` a gradient
    found at the start, ``res`` a result and ``t`` a temporary in the arena. For steps that run
    eagerly: why.

    Args:
        what: a function made by ``annx.jit`` or ``annx.prepare``, or a model that has been compiled
            and fitted.
        file: where to print; standard output if left out.

    Returns:
        The text.

    Raises:
        TypeError: ``what`` is none of these.
    """
    parts = []
    for title, reason, programs in _sections(what):
        parts.append(f"# {title}\n")
        if reason is not None:
            parts.append(f"runs eagerly: {reason}\n")
        elif not programs:
            parts.append("nothing is captured yet: the first call records\n")
        parts += [program.explain() for program in programs]
    text = "\n".join(parts) if parts else "no step has run yet\n"
    print(text, file=file)
    return text


def trace(what: Any, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
    """Replays a captured call once and writes when each instruction ran, for Perfetto or Chrome.

    Open the file at https://ui.perfetto.dev or in chrome://tracing.

    Args:
        what: a function made by ``annx.jit`` that has been called with such arguments.
        path: the JSON file to write.
        args: arguments of the call. It is a real call: a training step trains.
        kwargs: its keyword arguments.

    Raises:
        TypeError: ``what`` is not made by ``annx.jit``.
        RuntimeError: no record fits the arguments.
    """
    import json

    if not isinstance(what, Jitted):
        raise TypeError(
            f"[trace] expected a function made by annx.jit but got {type(what).__name__}"
        )
    program, tensors = what._find(args, kwargs)
    # Opened first: a step that trained for a file that cannot be written would be lost.
    with open(path, "w", encoding="utf-8") as file:
        times = program.trace(tensors)
        start = times[0][0] if times else 0
        events = [
            {
                "name": name,
                "ph": "X",
                "ts": (begin - start) / 1000,
                "dur": (end - begin) / 1000,
                "pid": 0,
                "tid": 0,
                "args": {"instruction": text, "flops": flops, "bytes": moved},
            }
            for (name, text, flops, moved), (begin, end) in zip(
                program.instructions(), times, strict=True
            )
        ]
        json.dump({"traceEvents": events, "displayTimeUnit": "ns"}, file)
