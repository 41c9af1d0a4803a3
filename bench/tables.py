"""`annx bench report --tables TEXT.md`: the figures of stored runs in the tables of a text.

A comment says what the table below it shows; the table is written anew, the text stays::

    <!-- annx bench: gemm time gflops roof torch numpy -->

First a suite, then columns: ``time``, ``gflops``, ``gbps``, ``roof`` (share of whichever binds),
``ns`` (an element) or a peer (how many times as fast as it). ``k=word,-word`` keeps cases with the
one word and without the other, ``threads=2`` and ``target=avx512`` other runs than the first.
``ways PEER`` makes one row of the cases that differ in their first word alone. ``means PEER``,
``roofs`` and ``memory`` stand for the summary by suites, the machine's limits and what
``run --memory`` found.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .report import NAMES, Document, Row, groups, means, own_rows
from .run import duration
from .stats import geometric_mean

MARK = re.compile(r"<!-- annx bench: (.*?) -->")


@dataclass
class Wish:
    """What one comment asks for."""

    subject: str
    columns: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    threads: int | None = None
    target: str | None = None

    @classmethod
    def parse(cls, text: str) -> Wish:
        subject, *rest = text.split()
        wish = cls(subject)
        for word in rest:
            name, equals, value = word.partition("=")
            if not equals:
                wish.columns.append(word)
            elif name == "k":
                wish.words = value.split(",")
            elif name == "threads":
                wish.threads = int(value)
            elif name == "target":
                wish.target = value
            else:
                raise ValueError(
                    f"annx bench: {text}: expected k=, threads= or target= but got {word}"
                )
        return wish

    def wants(self, threads: int, target: str) -> bool:
        return self.threads in (None, threads) and self.target in (None, target)


def _time(nanoseconds: float) -> str:
    return duration(nanoseconds).replace("us", "µs").replace("  ", " ").strip()


def _share(row: Row) -> str:
    share = row.get("percent_of_peak" if row.get("bound") == "compute" else "percent_of_stream")
    return f"{share:.0f} %" if share is not None else ""


def _ns(row: Row) -> str:
    shape = re.search(r"shape=([\dx]+)", row["case"])
    count = math.prod(map(int, shape[1].split("x"))) if shape else 0
    return f"{row['median_ns'] / count:.2f}" if count else ""


_CELLS: dict[str, tuple[str, Callable[[Row], str]]] = {
    "time": ("annx", lambda row: _time(row["median_ns"])),
    "gflops": ("GFLOP/s", lambda row: f"{row['gflops']:.1f}" if "gflops" in row else ""),
    "gbps": ("GB/s", lambda row: f"{row['gbps']:.1f}" if "gbps" in row else ""),
    "roof": ("of the roof", _share),
    "ns": ("ns an element", _ns),
}


def _cell(column: str, row: Row) -> str:
    if column in _CELLS:
        return _CELLS[column][1](row)
    ratio = row["ratio"].get(column)
    return f"{ratio:.2f}" if ratio else ""


def _head(column: str) -> str:
    if column in _CELLS:
        return _CELLS[column][0]
    if column not in NAMES:
        raise ValueError(f"annx bench: expected a column or a peer but got {column!r}")
    return f"× {column}"


def _lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(head) - 1)
    first, *rest = ("| " + " | ".join(cells) + " |" for cells in [head, *body])
    return [first, rule, *rest]


def _name(row: Row) -> str:
    case = row["case"].split("/", 1)[1]
    return f"{case}: {row['label']}" if row["label"] else case


def _chosen(wish: Wish, documents: Sequence[Document]) -> Iterator[tuple[Document, int, str]]:
    for document in documents:
        for threads, target in groups(document):
            if wish.wants(threads, target):
                yield document, threads, target


def _matches(word: str, text: str) -> bool:
    return word[1:] not in text if word.startswith("-") else word in text


def _rows(wish: Wish, documents: Sequence[Document]) -> list[Row]:
    """Of the newest run that has any."""
    for document, threads, target in _chosen(wish, documents):
        found = [
            row
            for row in own_rows(document, threads, target)
            if row["suite"] == wish.subject
            and "median_ns" in row
            and all(_matches(word, f"{row['case']} {row['label']}") for word in wish.words)
        ]
        if found:
            return found
    return []


def _ways(rows: Sequence[Row], peer: str) -> list[str]:
    """A row for each case, a column for each first word: GFLOP/s and the ratio."""
    _head(peer)
    ways: list[str] = []
    table: dict[str, dict[str, Row]] = {}
    for row in rows:
        way, _, rest = _name(row).partition(" ")
        ways += [way] if way not in ways else []
        table.setdefault(rest, {})[way] = row

    def cell(row: Row | None) -> str:
        if row is None:
            return ""
        rate = f"{row['gflops']:.0f}" if "gflops" in row else ""
        return f"{rate} / **{row['ratio'][peer]:.2f}**" if peer in row["ratio"] else rate

    def mean(chosen: Iterable[Row]) -> str:
        ratios = [row["ratio"][peer] for row in chosen if peer in row["ratio"]]
        return f"{geometric_mean(ratios):.2f}" if ratios else ""

    body = [[name, *(cell(found.get(way)) for way in ways)] for name, found in table.items()]
    last = [mean(f[way] for f in table.values() if way in f) for way in ways]
    marked = [f"**{value}**" if value else "" for value in last]
    return _lines(["case", *ways], [*body, [f"geometric mean, all {mean(rows)}", *marked]])


def _means(wish: Wish, documents: Sequence[Document]) -> list[str]:
    if len(wish.columns) != 1:
        raise ValueError(f"annx bench: means: expected one peer but got {wish.columns}")
    (peer,) = wish.columns
    _head(peer)
    body: dict[str, list[str]] = {}
    for document, threads, target in _chosen(wish, documents):
        for mean in means(document, threads, target):
            if mean.peer == peer and mean.suite not in body:
                count = len(mean.ratios)
                ahead = f"{mean.ahead} of {count}"
                body[mean.suite] = [mean.suite, str(count), f"{mean.value:.2f}", ahead]
    head = ["suite", "cases", f"× {peer}, geometric mean", "ahead on"]
    return _lines(head, list(body.values())) if body else []


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def _roofs(wish: Wish, documents: Sequence[Document]) -> list[str]:
    for document, threads, target in _chosen(wish, documents):
        found = next(
            p for p in document["peaks"] if (p["threads"], p["target"]) == (threads, target)
        )
        ladder = found["bandwidth"]
        return _lines(
            ["fma peak", *(_size(size) for size, _ in ladder)],
            [[f"{found['gflops']:.0f} GFLOP/s", *(f"{rate:.0f} GB/s" for _, rate in ladder)]],
        )
    return []


def _memory(wish: Wish, documents: Sequence[Document]) -> list[str]:
    body = []
    for document in documents:
        taken: dict[str, dict[str, Row]] = {}
        for row in document.get("memory", []):
            if wish.wants(row["threads"], row["target"]):
                taken.setdefault(row["case"], {})[row["contender"]] = row
        for case, found in taken.items():
            if "annx" not in found:
                continue
            ours, torch = found["annx"], found.get("torch")
            body.append(
                [
                    case.split("/", 1)[1],
                    f"{ours['peak_bytes'] / 2**20:.0f}",
                    f"{torch['peak_bytes'] / 2**20:.0f}" if torch else "",
                    f"{ours['peak_bytes'] / torch['peak_bytes']:.2f}" if torch else "",
                    f"{ours['arena'] / max(1, ours['alive']):.2f}",
                    f"{ours['first_ns'] / ours['eager_ns']:.1f}",
                    _time(ours["floor_ns"]),
                    f"{ours['steady_ns'] / ours['floor_ns']:.2f}",
                ]
            )
        if body:
            break
    head = ["workload", "MiB, annx", "MiB, torch", "share", "arena / alive",
            "first call / eager step", "floor", "step / floor"]  # fmt: skip
    return _lines(head, body) if body else []


def table(text: str, documents: Sequence[Document]) -> list[str]:
    """The lines of the table that the comment asks for; none where no run has its cases.

    Raises:
        ValueError: the comment says what nobody knows.
    """
    wish = Wish.parse(text)
    special = {"means": _means, "roofs": _roofs, "memory": _memory}.get(wish.subject)
    if special:
        return special(wish, documents)
    if wish.columns[:1] == ["ways"]:
        if len(wish.columns) != 2:
            raise ValueError(f"annx bench: {text}: expected one peer after ways")
        rows = _rows(wish, documents)
        return _ways(rows, wish.columns[1]) if rows else []
    head = ["case", *(_head(column) for column in wish.columns)]
    body = [[_name(r), *(_cell(c, r) for c in wish.columns)] for r in _rows(wish, documents)]
    return _lines(head, body) if body else []


def rewritten(text: str, documents: Sequence[Document]) -> str:
    """`text` with the tables that `documents` have figures for, the newest run that has them."""
    lines = text.split("\n")
    newest = sorted(documents, key=lambda d: str(d["machine"]["date"]), reverse=True)
    done: list[str] = []
    i = 0
    while i < len(lines):
        done.append(lines[i])
        found = MARK.fullmatch(lines[i].strip())
        i += 1
        if not found:
            continue
        fresh = table(found[1], newest)
        if not fresh:
            continue
        old = i
        while old < len(lines) and not lines[old].strip():
            old += 1
        if old < len(lines) and lines[old].startswith("|"):
            i = old
            while i < len(lines) and lines[i].startswith("|"):
                i += 1
        done += ["", *fresh]
        if i < len(lines) and lines[i].strip() and not MARK.fullmatch(lines[i].strip()):
            done.append("")
    return "\n".join(done)
