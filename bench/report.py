"""`annx bench report`: stored runs as one page that needs nothing else, and as a picture."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .run import duration
from .stats import geometric_mean

# Contender -> colour; the same on the page and in the picture.
COLOURS = {
    "annx": "#c2410c", "torch": "#2563eb", "torch-compile": "#0891b2", "numpy": "#7c3aed",
    "scipy": "#059669", "jax": "#b45309", "sklearn": "#be185d",
}  # fmt: skip
_TITLES = {
    "gemm": "Matrix products", "conv": "Convolutions", "elementwise": "Elementwise functions",
    "reduce": "Reductions", "norm": "Normalisation", "softmax_xent": "Softmax and cross-entropy",
    "optim": "Optimizer steps", "rnn": "Recurrent cells", "attention": "Attention",
    "overhead": "Overhead of a call", "e2e": "Whole training steps", "ops": "Every op",
}  # fmt: skip

Row = dict[str, Any]
Document = dict[str, Any]


def _escape(value: object) -> str:
    return html.escape(str(value), quote=True)


def groups(document: Document) -> list[tuple[int, str]]:
    """(threads, target) of the run, in its order."""
    return list(dict.fromkeys((p["threads"], p["target"]) for p in document["peaks"]))


def rows_of(document: Document, threads: int, target: str) -> list[Row]:
    """annx on that target, and the peers beside it."""
    return [
        row
        for row in document["rows"]
        if row["threads"] == threads and row["target"] in ("", target) and "median_ns" in row
    ]


def headline(document: Document) -> list[dict[str, Any]]:
    """Geometric means of the ratios by suite and peer."""
    found: dict[tuple[str, str, int, str], list[float]] = {}
    for row in document["rows"]:
        for peer, ratio in row.get("ratio", {}).items():
            found.setdefault((row["suite"], peer, row["threads"], row["target"]), []).append(ratio)
    return [
        {
            "suite": suite, "peer": peer, "threads": threads, "target": target,
            "mean": geometric_mean(r), "ahead": sum(x >= 1 for x in r), "of": len(r),
        }
        for (suite, peer, threads, target), r in found.items()
    ]  # fmt: skip


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


def roofline_points(rows: Iterable[Row]) -> list[tuple[float, float, Row]]:
    """(flops a byte, GFLOP/s, row) of what has both counts."""
    return [
        (row["flops"] / row["bytes"], row["gflops"], row)
        for row in rows
        if row.get("flops") and row.get("bytes")
    ]


def roofline(document: Document, threads: int, target: str) -> str:
    """An SVG: the roofs of the memory levels and of the arithmetic, and every case below them."""
    points = roofline_points(rows_of(document, threads, target))
    peaks = next(p for p in document["peaks"] if (p["threads"], p["target"]) == (threads, target))
    if not points:
        return ""
    width, height = 880, 440
    x = Axis(
        min(0.05, *(p[0] for p in points)) / 1.3, max(p[0] for p in points) * 2, 62, width - 18
    )
    top = peaks["gflops"] * 1.9
    y = Axis(max(0.02, min(p[1] for p in points) / 1.6), top, height - 46, 16)
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Roofline">']
    for tick in x.ticks():
        parts.append(
            f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="16" y2="{height - 46}"/>'
        )
        parts.append(
            f'<text class="tick" x="{x(tick)}" y="{height - 28}" text-anchor="middle">'
            f"{_number(tick)}</text>"
        )
    for tick in y.ticks():
        parts.append(
            f'<line class="grid" x1="62" x2="{width - 18}" y1="{y(tick)}" y2="{y(tick)}"/>'
        )
        parts.append(
            f'<text class="tick" x="54" y="{y(tick) + 4}" text-anchor="end">{_number(tick)}</text>'
        )
    left, right = 10**x.low, 10**x.high
    names = ("L1", "L2", "L3", "L3, large", "memory")
    for (_, rate), name in zip(peaks["bandwidth"], names, strict=False):
        knee = peaks["gflops"] / rate
        start = max(left, 10**y.low / rate)
        if start >= knee:
            continue
        parts.append(
            f'<line class="roof" x1="{x(start)}" y1="{y(start * rate)}" x2="{x(min(knee, right))}" '
            f'y2="{y(min(knee, right) * rate)}"><title>{name}: {rate:.0f} GB/s</title></line>'
        )
    knee = peaks["gflops"] / peaks["bandwidth"][0][1]
    parts.append(
        f'<line class="roof peak" x1="{x(max(left, knee))}" x2="{x(right)}" '
        f'y1="{y(peaks["gflops"])}" y2="{y(peaks["gflops"])}"/>'
        f'<text class="note" x="{width - 22}" y="{y(peaks["gflops"]) - 8}" text-anchor="end">'
        f"fma peak {peaks['gflops']:.0f} GFLOP/s</text>"
    )
    for intensity, rate, row in sorted(points, key=lambda p: p[2]["contender"] == "annx"):
        who = row["contender"]
        size = 5 if who == "annx" else 4
        speed = f"{rate:.3g} GFLOP/s, {row['gbps']:.3g} GB/s"
        parts.append(
            f'<circle class="dot" cx="{x(intensity)}" cy="{y(rate)}" r="{size}" '
            f'fill="{COLOURS.get(who, "#666")}" data-who="{_escape(who)}">'
            f"<title>{_escape(who)}: {_escape(row['case'])}"
            f"{_escape(' (' + row['label'] + ')' if row['label'] else '')}\n"
            f"{duration(row['median_ns'])}, {speed}</title></circle>"
        )
    parts.append(
        f'<text class="axis" x="{(62 + width) / 2}" y="{height - 6}" text-anchor="middle">'
        "operations a byte</text>"
        f'<text class="axis" transform="translate(14 {height / 2}) rotate(-90)" '
        'text-anchor="middle">GFLOP/s</text></svg>'
    )
    return "".join(parts)


def ratio_bar(ratio: float) -> str:
    """Left of the middle: behind the peer; right: ahead. Four times either way is the end."""
    share = max(-1.0, min(1.0, math.log(ratio, 4))) * 50
    side = "ahead" if ratio >= 1 else "behind"
    offset = 50 if share >= 0 else 50 + share
    return (
        f'<span class="ratio"><i class="{side}" style="left:{offset:.1f}%;width:{abs(share):.1f}%">'
        f"</i></span><b>{ratio:.2f}×</b>"
    )


def table(document: Document, suite: str) -> str:
    """One sortable table of a suite: a line a case, target and number of threads."""
    rows = [r for r in document["rows"] if r["suite"] == suite and r["contender"] == "annx"]
    peers = sorted({peer for row in rows for peer in row.get("ratio", {})}, key=list(COLOURS).index)
    heads = [
        "case",
        "layer",
        "threads",
        "target",
        "median",
        "quartiles",
        "GFLOP/s",
        "GB/s",
        "of roof",
    ]
    heads += [f"against {peer}" for peer in peers] + ["error"]
    parts = ['<table class="sortable"><thead><tr>']
    parts += [f"<th>{_escape(h)}</th>" for h in heads]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        name = row["case"].split("/", 1)[1]
        cells = [("", f"<code>{_escape(name)}</code>"), ("", _escape(row["label"]))]
        cells += [(str(row["threads"]), str(row["threads"])), ("", _escape(row["target"]))]
        if "median_ns" not in row:
            cells.append(("1e99", f'<em class="bad">{_escape(row["wrong"] or "not timed")}</em>'))
            cells += [("", "")] * (len(heads) - len(cells))
        else:
            roof = row.get(
                "percent_of_peak" if row.get("bound") == "compute" else "percent_of_stream"
            )
            spread = f"{duration(row['q1_ns'])} – {duration(row['q3_ns'])}"
            doubt = ' <span title="the control was slow">⚠</span>' if row["control"] > 1.1 else ""
            cells.append((str(row["median_ns"]), duration(row["median_ns"]) + doubt))
            cells.append((str(row["q3_ns"] - row["q1_ns"]), spread))
            for key in ("gflops", "gbps"):
                value = row.get(key)
                cells.append((str(value or 0), f"{value:.1f}" if value else ""))
            cells.append((str(roof or 0), f"{roof:.0f} %" if roof else ""))
            for peer in peers:
                ratio = row["ratio"].get(peer)
                cells.append((str(ratio or 0), ratio_bar(ratio) if ratio else ""))
            error = row["error"]
            cells.append((str(error or 0), f"{error:.0e}" if error is not None else ""))
        parts.append("<tr>")
        parts += [f'<td data-v="{_escape(v)}">{shown}</td>' for v, shown in cells]
        parts.append("</tr>")
    parts.append("</tbody></table>")
    return "".join(parts)


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
    for suite in sorted({key[0] for key in common}, key=list(_TITLES).index):
        keys = [key for key in common if key[0] == suite]
        line = []
        for document, found in zip(documents, all_times, strict=True):
            about = document["machine"]
            name = about.get("commit") or about["date"]
            line.append((name, geometric_mean([found[k] / all_times[0][k] for k in keys])))
        lines.append((suite, line))
    return lines


def _spark(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = 220 / (len(values) - 1)
    points = [f"{i * step + 5:.1f},{35 - 30 * (v - low) / span:.1f}" for i, v in enumerate(values)]
    ends = [point.split(",") for point in points]
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3"/>' for x, y in ends)
    line = f'<polyline points="{" ".join(points)}"/>'
    return f'<svg class="spark" viewBox="0 0 230 40">{line}{dots}</svg>'


_STYLE = """
:root{--ink:#1c1917;--soft:#78716c;--line:#e7e5e4;--paper:#fafaf9;--card:#fff;--annx:#c2410c}
@media(prefers-color-scheme:dark){:root{--ink:#f5f5f4;--soft:#a8a29e;--line:#44403c;--paper:#1c1917;
--card:#292524;--annx:#fb923c}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,sans-serif}main{max-width:1160px;margin:0 auto;padding:40px 24px 80px}
h1{font-size:34px;margin:0;letter-spacing:-.02em}h1 span{color:var(--annx)}
h2{margin:52px 0 6px;font-size:22px;letter-spacing:-.01em}
p.lead{color:var(--soft);margin:4px 0 24px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:14px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px}
.card .big{font-size:30px;font-weight:650;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.card .small{color:var(--soft);font-size:13px}.card.behind .big{color:#b91c1c}
.card.ahead .big{color:#15803d}
.panel{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px;
overflow-x:auto;margin-top:12px}
svg{width:100%;height:auto;display:block}.grid{stroke:var(--line)}
.tick,.axis,.note{font-size:12px;fill:var(--soft)}.roof{stroke:var(--soft);stroke-width:1.3;
stroke-dasharray:5 4}.roof.peak{stroke-dasharray:none;stroke-width:2}
.dot{fill-opacity:.72;stroke:var(--card);stroke-width:.8}.dot:hover{fill-opacity:1;stroke:var(--ink)}
.legend{display:flex;gap:18px;font-size:13px;margin:2px 0 8px;flex-wrap:wrap}
.legend i{display:inline-block;width:10px;height:10px;border-radius:50%;margin-right:6px}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th{text-align:left;color:var(--soft);font-weight:500;cursor:pointer;white-space:nowrap;
border-bottom:1px solid var(--line);padding:6px 10px 6px 0;user-select:none}
th[data-d]::after{content:" ▾";color:var(--annx)}th[data-d="-1"]::after{content:" ▴"}
td{border-bottom:1px solid var(--line);padding:5px 10px 5px 0;white-space:nowrap}
tbody tr:hover{background:var(--paper)}code{font-size:12px}
td:nth-child(2){color:var(--soft);white-space:normal;min-width:120px}
.ratio{display:inline-block;position:relative;width:76px;height:9px;margin-right:8px;
background:linear-gradient(var(--soft),var(--soft)) center/1px 100% no-repeat,var(--line);
border-radius:2px}.ratio i{position:absolute;top:0;bottom:0;border-radius:2px}
.ahead{background:#16a34a}.behind{background:#dc2626}.card.ahead,.card.behind{background:var(--card)}
.bad{color:#dc2626}.spark{width:230px}.spark polyline{fill:none;stroke:var(--annx);stroke-width:2}
.spark circle{fill:var(--annx)}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;
font-size:13px;margin:0}dt{color:var(--soft)}dd{margin:0}footer{color:var(--soft);font-size:13px;
margin-top:56px;max-width:720px}.warn{border-left:4px solid #d97706;padding:8px 14px;margin:16px 0;
background:var(--card);font-size:14px}
"""
_SCRIPT = """
for(const th of document.querySelectorAll('.sortable th'))th.onclick=()=>{
const t=th.closest('table'),b=t.tBodies[0],k=th.cellIndex,d=th.dataset.d==='1'?-1:1;
t.querySelectorAll('th').forEach(h=>delete h.dataset.d);th.dataset.d=d;
const v=r=>{const c=r.cells[k];return c.dataset.v===''?c.textContent:+c.dataset.v};
[...b.rows].sort((p,q)=>{const x=v(p),y=v(q);return(x<y?1:x>y?-1:0)*d*(typeof x==='string'?-1:1)})
.forEach(r=>b.append(r))}
"""


def page(documents: Sequence[Document]) -> str:
    """The page of the newest run, with the history of all."""
    document = documents[-1]
    about = document["machine"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>annx bench, {_escape(about['date'][:10])}</title><style>{_STYLE}</style></head>",
        "<body><main><h1><span>annx</span> bench</h1>",
        f'<p class="lead">{_escape(about["cpu"])}, {about["cores"]} cores · '
        f"{_escape(about['date'][:10])}"
        f"{' · commit ' + _escape(about['commit']) if about.get('commit') else ''}</p>",
    ]
    doubtful = sorted({r["case"] for r in document["rows"] if r.get("control", 1) > 1.1})
    cards = headline(document)
    if cards:
        parts.append('<div class="cards">')
        for card in cards:
            side = "ahead" if card["mean"] >= 1 else "behind"
            plural = "s" if card["threads"] > 1 else ""
            title = _escape(_TITLES[card["suite"]])
            parts.append(
                f'<div class="card {side}"><div class="small">{title}</div>'
                f'<div class="big">{card["mean"]:.2f}×</div><div class="small">the speed of '
                f"{_escape(card['peer'])}, ahead on {card['ahead']} of {card['of']}<br>"
                f"{_escape(card['target'])}, {card['threads']} thread{plural}</div></div>"
            )
        parts.append("</div>")
    if doubtful:
        parts.append(
            '<p class="warn">The control, a product that never changes, ran over 10 % slower '
            f"during {len(doubtful)} cases, marked ⚠: a neighbour was awake, their figures are "
            "doubtful.</p>"
        )
    for threads, target in groups(document):
        drawn = roofline(document, threads, target)
        if not drawn:
            continue
        who = dict.fromkeys(r["contender"] for r in rows_of(document, threads, target))
        legend = "".join(
            f'<span><i style="background:{COLOURS.get(w, "#666")}"></i>{_escape(w)}</span>'
            for w in who
        )
        plural = "s" if threads > 1 else ""
        parts.append(
            f"<h2>Roofline: {_escape(target)}, {threads} thread{plural}</h2>"
            '<p class="lead">Each dot is a case: how fast it computes against how much it computes '
            "a byte. Dashed: what L1, L2, L3 and memory can deliver; solid: what arithmetic can. "
            "All roofs were measured in the same run. Point at a dot to read it.</p>"
            f'<div class="panel"><div class="legend">{legend}</div>{drawn}</div>'
        )
    for suite in dict.fromkeys(row["suite"] for row in document["rows"]):
        parts.append(f"<h2>{_escape(_TITLES[suite])}</h2>")
        parts.append(f'<div class="panel">{table(document, suite)}</div>')
    lines = history(documents)
    if lines:
        parts.append(
            f"<h2>History</h2><p class='lead'>{len(documents)} runs, oldest left; times relative "
            "to the first, the geometric mean of the cases all of them have.</p><div class='cards'>"
        )
        for suite, line in lines:
            names = " → ".join(_escape(n[:12]) for n in (line[0][0], line[-1][0]))
            parts.append(
                f'<div class="card"><div class="small">{_escape(_TITLES[suite])}</div>'
                f"{_spark([v for _, v in line])}<div class='small'>{names}: "
                f"{line[-1][1] - 1:+.1%} time</div></div>"
            )
        parts.append("</div>")
    parts.append("<h2>The machine</h2><div class='panel'><dl>")
    facts = {
        **{k: v for k, v in about.items() if v},
        **{f"peer {k}": v for k, v in document["peers"].items()},
    }
    for name, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        parts.append(f"<dt>{_escape(name)}</dt><dd>{_escape(shown)}</dd>")
    if document.get("peers_capped"):
        parts.append("<dt>peers</dt><dd>kept to AVX2, as annx was</dd>")
    parts.append("</dl></div>")
    for note in document.get("notes", []):
        parts.append(f'<p class="warn">{_escape(note)}</p>')
    parts.append(
        "<footer>One process, contenders shuffled sample by sample on the same arrays, medians; a "
        "contender whose result is wrong against float64 is not timed. Ratios above one: annx is "
        "faster. Times from different runs are not compared, but for the history.</footer>"
        f"</main><script>{_SCRIPT}</script></body></html>"
    )
    return "\n".join(parts)


def picture(document: Document, path: Path) -> None:
    """Roofline and ratios as a PNG.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("a picture needs matplotlib (pip install matplotlib)") from None
    threads, target = groups(document)[0]
    points = roofline_points(rows_of(document, threads, target))
    peaks = document["peaks"][0]
    figure = Figure(figsize=(13, 6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for who in dict.fromkeys(p[2]["contender"] for p in points):
        mine = [(x, y) for x, y, row in points if row["contender"] == who]
        colour, order = COLOURS.get(who, "#666666"), 4 if who == "annx" else 3
        xs, ys = zip(*mine, strict=True)
        left.scatter(xs, ys, s=26, alpha=0.75, label=who, color=colour, zorder=order)
    if points:
        low, high = min(p[0] for p in points) / 2, max(p[0] for p in points) * 2
        for _, rate in peaks["bandwidth"]:
            roof = [min(peaks["gflops"], x * rate) for x in (low, peaks["gflops"] / rate, high)]
            left.plot((low, peaks["gflops"] / rate, high), roof, color="#a8a29e", lw=1, zorder=1)
        left.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="GFLOP/s")
        left.set(xlim=(low, high), ylim=(min(p[1] for p in points) / 2, peaks["gflops"] * 1.6))
        left.set_title(
            f"{target}, {threads} thread(s), fma peak {peaks['gflops']:.0f} GFLOP/s", loc="left"
        )
        left.legend(frameon=False)
    cards = [c for c in headline(document) if (c["threads"], c["target"]) == (threads, target)][
        ::-1
    ]
    names = [f"{_TITLES[c['suite']]} / {c['peer']}" for c in cards]
    colours = ["#16a34a" if c["mean"] >= 1 else "#dc2626" for c in cards]
    right.barh(names, [c["mean"] - 1 for c in cards], left=1, color=colours, height=0.62)
    for i, card in enumerate(cards):
        right.text(card["mean"] * 1.04, i, f"{card['mean']:.2f}×", va="center", fontsize=9)
    right.axvline(1, color="#44403c", lw=1)
    right.set(xscale="log", xlim=(0.4, max([2.0, *(c["mean"] for c in cards)]) * 1.6))
    right.set_xticks([0.5, 1, 2, 5, 10], ["0.5×", "1×", "2×", "5×", "10×"])
    right.minorticks_off()
    right.set_title("speed of annx over its peers, geometric mean", loc="left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    about = document["machine"]
    figure.suptitle(
        f"annx bench · {about['cpu']} · {about['date'][:10]} {about.get('commit', '')}", fontsize=11
    )
    figure.savefig(path)


def report(documents: Sequence[Document], out: Path, png: Path | None) -> None:
    """Writes the page, and the picture where a path for it is given."""
    ordered = sorted(documents, key=lambda d: str(d["machine"]["date"]))
    out.write_text(page(ordered), encoding="utf-8")
    if png is not None:
        picture(ordered[-1], png)
