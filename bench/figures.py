"""The page's figures as SVG: rooflines, ratios by suite, lines of history."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from .problem import peer_of
from .report import NAMES, TITLES, Document, Mean, Row, own_rows, roofline_points, rows_of
from .run import duration

LEVELS = ("L1", "L2", "L3", "L3, large", "memory")


def escape(value: object) -> str:
    return html.escape(str(value), quote=True)


class Axis:
    """A logarithmic axis: value -> pixel, and ticks at powers of ten."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = math.log10(low), math.log10(high)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        return [
            10.0**e for e in range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
        ]


def _number(value: float) -> str:
    return f"{value:g}" if value >= 1 else f"{value:.3f}".rstrip("0")


def _named(row: Row) -> str:
    label = f" ({row['label']})" if row["label"] else ""
    return escape(f"{row['case']}{label}")


def _frame(x: Axis, y: Axis, width: int, bottom: int) -> list[str]:
    parts = []
    for tick in x.ticks():
        parts.append(
            f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="16" y2="{bottom}"/>'
            f'<text class="tick" x="{x(tick)}" y="{bottom + 18}" text-anchor="middle">'
            f"{_number(tick)}</text>"
        )
    for tick in y.ticks():
        parts.append(
            f'<line class="grid" x1="62" x2="{width - 18}" y1="{y(tick)}" y2="{y(tick)}"/>'
            f'<text class="tick" x="54" y="{y(tick) + 4}" text-anchor="end">{_number(tick)}</text>'
        )
    return parts


def _roofs(peaks: Document, x: Axis, y: Axis) -> list[str]:
    left, right, floor = 10**x.low, 10**x.high, 10**y.low
    peak = peaks["gflops"]
    parts = []
    for (_, rate), name in zip(peaks["bandwidth"], LEVELS, strict=False):
        knee = peak / rate
        start = max(left, floor / rate)
        if start >= knee:
            continue
        end = min(knee, right)
        parts.append(
            f'<line class="roof" x1="{x(start)}" y1="{y(start * rate)}" x2="{x(end)}" '
            f'y2="{y(end * rate)}"><title>{name}: {rate:.0f} GB/s</title></line>'
        )
    return [*parts, _peak_line(peaks, x, y)]


def _peak_line(peaks: Document, x: Axis, y: Axis) -> str:
    peak = peaks["gflops"]
    knee = max(10**x.low, peak / peaks["bandwidth"][0][1])
    return (
        f'<line class="roof peak" x1="{x(knee)}" x2="{x(10**x.high)}" y1="{y(peak)}" '
        f'y2="{y(peak)}"/>'
    )


def _roof_names(peaks: Document, x: Axis, y: Axis) -> list[str]:
    """Drawn last, where roofs stand apart: over the peak's left end, left of the fastest memory,
    right of the slowest."""
    peak = peaks["gflops"]
    left, floor = 10**x.low, 10**y.low
    knee = max(left, peak / peaks["bandwidth"][0][1])
    parts = [
        f'<text class="note" x="{x(knee) + 2}" y="{y(peak) - 9}">fma peak {peak:.0f} GFLOP/s</text>'
    ]
    for rate, name, anchor, shift in (
        (peaks["bandwidth"][0][1], LEVELS[0], "end", -8),
        (peaks["bandwidth"][-1][1], "memory", "start", 8),
    ):
        at = max(left, floor / rate) * (4 if anchor == "end" else 1.25)
        if at < peak / rate:
            parts.append(
                f'<text class="note" x="{x(at) + shift}" y="{y(at * rate) + 4}" '
                f'text-anchor="{anchor}">{name} {rate:.0f} GB/s</text>'
            )
    return parts


def roofline(document: Document, threads: int, target: str) -> str:
    """The roofs of the memory levels and of the arithmetic, and every case; "" without cases."""
    points = roofline_points(rows_of(document, threads, target))
    if not points:
        return ""
    peaks = next(p for p in document["peaks"] if (p["threads"], p["target"]) == (threads, target))
    width, height = 1060, 520
    x = Axis(
        min(0.05, *(p[0] for p in points)) / 1.3, max(p[0] for p in points) * 2, 62, width - 18
    )
    top = max(peaks["gflops"], *(p[1] for p in points)) * 1.7
    y = Axis(max(0.02, min(p[1] for p in points) / 1.6), top, height - 46, 16)
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Roofline">']
    parts += _frame(x, y, width, height - 46) + _roofs(peaks, x, y)
    for intensity, rate, row in sorted(points, key=lambda p: p[2]["contender"] == "annx"):
        who = peer_of(row["contender"])
        parts.append(
            f'<circle class="dot who-{escape(who)}" data-who="{escape(who)}" cx="{x(intensity)}" '
            f'cy="{y(rate)}" r="{5.5 if who == "annx" else 4}"><title>'
            f"{escape(row['contender'])}: {_named(row)}\n{duration(row['median_ns'])}, "
            f"{rate:.3g} GFLOP/s, {row['gbps']:.3g} GB/s</title></circle>"
        )
    parts += _roof_names(peaks, x, y)
    parts.append(
        f'<text class="axis" x="{(62 + width) / 2}" y="{height - 6}" text-anchor="middle">'
        "operations a byte</text>"
        f'<text class="axis" transform="translate(14 {height / 2}) rotate(-90)" '
        'text-anchor="middle">GFLOP/s</text></svg>'
    )
    return "".join(parts)


def strips(document: Document, threads: int, target: str, found: Sequence[Mean], peer: str) -> str:
    """A line a suite, a dot a case: how many times as fast as `peer`."""
    mine = [mean for mean in found if mean.peer == peer]
    if not mine:
        return ""
    rows = own_rows(document, threads, target)
    ratios = [ratio for mean in mine for ratio in mean.ratios]
    width, line, left = 1060, 38, 190
    height = line * len(mine) + 62
    x = Axis(min(0.5, *ratios) / 1.15, max(2.5, *ratios) * 1.15, left, width - 90)
    bottom = height - 40
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Ratios by suite">']
    for tick in (0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64):
        if not 10**x.low <= tick <= 10**x.high:
            continue
        parts.append(
            f'<line class="{"one" if tick == 1 else "grid"}" x1="{x(tick)}" x2="{x(tick)}" y1="6" '
            f'y2="{bottom}"/><text class="tick" x="{x(tick)}" y="{bottom + 18}" '
            f'text-anchor="middle">{tick:g}×</text>'
        )
    for i, mean in enumerate(mine):
        y = 6 + line * (i + 0.5)
        side = "good" if mean.value >= 1 else "bad"
        parts.append(f'<text class="name" x="0" y="{y + 5}">{escape(TITLES[mean.suite])}</text>')
        for k, row in enumerate(r for r in rows if r["suite"] == mean.suite):
            ratio = row.get("ratio", {}).get(peer)
            if ratio:
                parts.append(
                    f'<circle class="dot {"good" if ratio >= 1 else "bad"}" cx="{x(ratio)}" '
                    f'cy="{y + (k * 7 % 5 - 2) * 3.4:.1f}" r="4.5">'
                    f"<title>{_named(row)}: {ratio:.2f}×</title></circle>"
                )
        parts.append(
            f'<line class="mean" x1="{x(mean.value)}" x2="{x(mean.value)}" y1="{y - 14}" '
            f'y2="{y + 14}"/><text class="value {side}" x="{width}" y="{y + 5}" '
            f'text-anchor="end">{mean.value:.2f}×</text>'
        )
    parts.append(
        f'<text class="axis" x="{x(1) - 12}" y="{height - 4}" text-anchor="end">'
        f"← {NAMES[peer]} is faster</text>"
        f'<text class="axis" x="{x(1) + 12}" y="{height - 4}">annx is faster →</text></svg>'
    )
    return "".join(parts)


def spark(line: Sequence[tuple[str, float]]) -> str:
    """A line through the runs, oldest left; lower is faster."""
    values = [value for _, value in line]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = 220 / (len(values) - 1)
    points = [(i * step + 5, 35 - 30 * (v - low) / span) for i, v in enumerate(values)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(name)}: {value:.3f}</title>'
        "</circle>"
        for (x, y), (name, value) in zip(points, line, strict=True)
    )
    return f'<svg class="spark" viewBox="0 0 230 40"><polyline points="{path}"/>{dots}</svg>'
