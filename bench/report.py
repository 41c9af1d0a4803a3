"""`annx bench report`: stored runs as one page that needs nothing else, and as a picture.

Here: what the figures show. ``figures.py`` draws them, ``page.py`` puts them on a page,
``picture.py`` into a PNG.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .stats import geometric_mean

TITLES = {
    "e2e": "Whole training steps", "gemm": "Matrix products", "conv": "Convolutions",
    "rnn": "Recurrent layers", "attention": "Attention", "softmax_xent": "Softmax, cross-entropy",
    "norm": "Normalisation", "elementwise": "Elementwise functions", "reduce": "Reductions",
    "optim": "Optimizer steps", "overhead": "Overhead of a call", "ops": "Every op",
}  # fmt: skip
# In the order in which a page speaks of them.
NAMES = {
    "torch": "PyTorch", "torch-compile": "torch.compile", "numpy": "NumPy", "scipy": "SciPy",
    "jax": "JAX", "sklearn": "scikit-learn",
}  # fmt: skip
PEERS = tuple(NAMES)
DOUBT = 1.1  # the control over its quiet time: from here on a figure is doubtful

Row = dict[str, Any]
Document = dict[str, Any]


@dataclass(frozen=True)
class Mean:
    """The geometric mean of the ratios of one suite against one peer."""

    suite: str
    peer: str
    ratios: tuple[float, ...]

    @property
    def value(self) -> float:
        return geometric_mean(self.ratios)

    @property
    def ahead(self) -> int:
        return sum(ratio >= 1 for ratio in self.ratios)


def groups(document: Document) -> list[tuple[int, str]]:
    """(threads, target) of the run, in its order."""
    return list(dict.fromkeys((p["threads"], p["target"]) for p in document["peaks"]))


def group_name(threads: int, target: str) -> str:
    return f"{target}, {threads} thread{'s' if threads > 1 else ''}"


def suites(document: Document) -> list[str]:
    found = {row["suite"] for row in document["rows"]}
    return [suite for suite in TITLES if suite in found]


def rows_of(document: Document, threads: int, target: str) -> list[Row]:
    """What was timed: annx on that target, and the peers beside it."""
    return [
        row
        for row in document["rows"]
        if row["threads"] == threads and row["target"] in ("", target) and "median_ns" in row
    ]


def own_rows(document: Document, threads: int, target: str) -> list[Row]:
    """annx's rows on that target, whether timed or not."""
    return [
        row
        for row in document["rows"]
        if (row["contender"], row["threads"], row["target"]) == ("annx", threads, target)
    ]


def means(document: Document, threads: int, target: str) -> list[Mean]:
    """By suite, then peer."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in own_rows(document, threads, target):
        for peer, ratio in row.get("ratio", {}).items():
            found.setdefault((row["suite"], peer), []).append(ratio)
    return [
        Mean(suite, peer, tuple(found[suite, peer]))
        for suite in TITLES
        for peer in PEERS
        if (suite, peer) in found
    ]


def main_peer(found: Sequence[Mean]) -> str:
    """The peer that most cases have."""
    count = {peer: sum(len(m.ratios) for m in found if m.peer == peer) for peer in PEERS}
    return max(PEERS, key=count.__getitem__)


def roofline_points(rows: Iterable[Row]) -> list[tuple[float, float, Row]]:
    """(flops a byte, GFLOP/s, row) of what has both counts."""
    return [
        (row["flops"] / row["bytes"], row["gflops"], row)
        for row in rows
        if row.get("flops") and row.get("bytes")
    ]


def history(documents: Sequence[Document]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Suite -> (commit or date, geometric mean of times over the first run's) on common cases."""
    if len(documents) < 2:
        return []

    def times(document: Document) -> dict[tuple[Any, ...], float]:
        return {
            (r["suite"], r["case"], r["target"], r["threads"]): r["median_ns"]
            for r in document["rows"]
            if r["contender"] == "annx" and "median_ns" in r
        }

    all_times = [times(d) for d in documents]
    common = set(all_times[0]).intersection(*all_times[1:])
    lines = []
    for suite in [s for s in TITLES if any(key[0] == s for key in common)]:
        keys = [key for key in common if key[0] == suite]
        line = []
        for document, found in zip(documents, all_times, strict=True):
            about = document["machine"]
            name = about.get("commit") or about["date"]
            line.append((name, geometric_mean([found[k] / all_times[0][k] for k in keys])))
        lines.append((suite, line))
    return lines


def _placed(document: Document) -> list[Row]:
    """The rows; peers that were kept to AVX2 belong to that target."""
    capped = {"target": "avx2"} if document.get("peers_capped") else {}
    return [{**row, **capped} if row["target"] == "" else row for row in document["rows"]]


def _same_build(one: Document, other: Document) -> bool:
    def equal(name: str) -> bool:
        return one.get(name) == other.get(name) not in (None, "")

    return equal("cpu") and equal("compiler") and (equal("commit") or equal("build"))


def joined(documents: Sequence[Document]) -> list[Document]:
    """Oldest first; runs of one commit or build that share no case become one, with the first's
    peaks."""

    def cases(document: Document) -> set[tuple[Any, ...]]:
        own = [row for row in document["rows"] if row["contender"] == "annx"]
        return {(row["case"], row["threads"], row["target"]) for row in own}

    found: list[Document] = []
    for document in sorted(documents, key=lambda d: str(d["machine"]["date"])):
        before = found[-1] if found else None
        alike = before is not None and _same_build(before["machine"], document["machine"])
        if before is None or not alike or cases(before) & cases(document):
            found.append(document)
            continue
        known = groups(before)
        peaks = [p for p in document["peaks"] if (p["threads"], p["target"]) not in known]
        notes = [note for note in document.get("notes", []) if note not in before.get("notes", [])]
        found[-1] = {
            **before,
            "rows": _placed(before) + _placed(document),
            "peaks": before["peaks"] + peaks,
            "peers": {**before["peers"], **document["peers"]},
            "peers_capped": before.get("peers_capped") and document.get("peers_capped"),
            "notes": before.get("notes", []) + notes,
        }
    return found


def report(documents: Sequence[Document], out: Path, png: Path | None) -> None:
    """Writes the page, and the picture where a path for it is given.

    Raises:
        ValueError: the newest run is empty, or a picture is wanted and matplotlib is not installed.
    """
    from .page import page

    ordered = joined(documents)
    if not ordered[-1]["peaks"] or not ordered[-1]["rows"]:
        raise ValueError("expected a run that timed something but the newest one has no rows")
    out.write_text(page(ordered), encoding="utf-8")
    if png is not None:
        from .picture import picture

        picture(ordered[-1], png)
