"""JSON of ``annx bench run``: read back, and checked before anything relies on it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _error(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and value >= 0)


def _samples(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_positive, value))


def _ratios(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_positive, value.values()))


def _ladder(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(s, list) and len(s) == 2 and all(map(_positive, s)) for s in value)
    )


_WHOLE: Mapping[str, Check] = {
    "machine": lambda v: isinstance(v, dict),
    "peaks": lambda v: isinstance(v, list),
    "peers": lambda v: isinstance(v, dict),
    "rows": lambda v: isinstance(v, list),
}
_MACHINE: Mapping[str, Check] = {"date": _text, "cpu": _text, "cores": _count}
_PEAKS: Mapping[str, Check] = {
    "target": _text, "threads": _count, "gflops": _positive, "bandwidth": _ladder,
}  # fmt: skip
_ROW: Mapping[str, Check] = {
    "case": lambda v: _text(v) and "/" in v,
    "suite": _text, "label": _text, "contender": _text, "target": _text, "wrong": _text,
    "threads": _count, "error": _error, "ratio": _ratios, "control": _positive,
}  # fmt: skip
# What a row that was timed has besides.
_TIMED: Mapping[str, Check] = {
    "median_ns": _positive, "min_ns": _positive, "q1_ns": _positive, "q3_ns": _positive,
    "samples": _samples,
}  # fmt: skip
# What it has where it means something.
_RATES = ("flops", "bytes", "gflops", "gbps", "percent_of_peak", "percent_of_stream")


def _wrong(part: Any, checks: Mapping[str, Check]) -> str:
    """What is wrong with `part`; "" for nothing."""
    if not isinstance(part, dict):
        return f"is no object but {part!r:.40}"
    for key, right in checks.items():
        if key not in part:
            return f"lacks {key!r}"
        if not right(part[key]):
            return f"has {key!r} of {part[key]!r:.40}"
    return ""


def _wrong_row(row: Any) -> str:
    found = _wrong(row, _ROW)
    if found or "median_ns" not in row:
        return found
    return _wrong(row, _TIMED) or _wrong(row, {k: _positive for k in _RATES if k in row})


def read_document(path: str) -> dict[str, Any]:
    """What `annx bench run --json` wrote.

    Raises:
        OSError: there is no such file.
        ValueError: it is no such file; what is wrong with it is named.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON of annx bench run but got {error}") from None
    if not isinstance(document, dict) or document.get("schema") != 1 or "rows" not in document:
        raise ValueError(f"{path}: expected JSON of annx bench run, schema 1")
    found = [("it", _wrong(document, _WHOLE))]
    if not found[0][1]:
        found.append(("machine", _wrong(document["machine"], _MACHINE)))
        found += [(f"peaks {i}", _wrong(p, _PEAKS)) for i, p in enumerate(document["peaks"])]
        found += [(f"row {i}", _wrong_row(row)) for i, row in enumerate(document["rows"])]
    for name, what in found:
        if what:
            raise ValueError(f"{path}: expected JSON of annx bench run but {name} {what}")
    return document
