"""The page of ``annx bench report``: plain HTML, its style and script inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from .figures import escape, roofline, spark, strips
from .problem import peer_of
from .report import (
    DOUBT,
    NAMES,
    PEERS,
    TITLES,
    Document,
    Mean,
    Row,
    group_name,
    groups,
    history,
    main_peer,
    means,
    own_rows,
    rows_of,
    suites,
)
from .run import duration
from .stats import geometric_mean

_PARTS = Path(__file__).parent / "page"


def _sentence(document: Document, found: Sequence[Mean]) -> str:
    timed = len({r["case"] for r in document["rows"] if "median_ns" in r})
    if not found:
        return f"<b>{timed}</b> cases were timed."
    peer = main_peer(found)
    ratios = [ratio for mean in found if mean.peer == peer for ratio in mean.ratios]
    mean, ahead = geometric_mean(ratios), sum(r >= 1 for r in ratios)
    return (
        f"<b>{mean:.2f}×</b> the speed of {NAMES[peer]} in the geometric mean of {len(ratios)} "
        f"cases, ahead on <b>{ahead}</b> of them."
    )


def _cards(found: Sequence[Mean]) -> str:
    """A card a suite: the first peer large, the others below."""
    parts = ['<div class="cards">']
    for suite in dict.fromkeys(mean.suite for mean in found):
        first, *others = [mean for mean in found if mean.suite == suite]
        more = "".join(
            f"<br><b>{mean.value:.2f}×</b> {NAMES[mean.peer]}, ahead on {mean.ahead}&nbsp;of&nbsp;"
            f"{len(mean.ratios)}"
            for mean in others
        )
        parts.append(
            f'<a class="card" href="#{suite}"><div class="small">{escape(TITLES[suite])}</div>'
            f'<div class="big {"good" if first.value >= 1 else "bad"}">{first.value:.2f}×</div>'
            f'<div class="small">{NAMES[first.peer]}, ahead on {first.ahead}&nbsp;of&nbsp;'
            f"{len(first.ratios)}{more}</div></a>"
        )
    return "".join([*parts, "</div>"])


def chip(ratio: float) -> str:
    """A ratio on green, the stronger the farther ahead, or on red; four times is the strongest."""
    share = min(1.0, abs(math.log(ratio, 4)))
    side = "good" if ratio >= 1 else "bad"
    tint = f"color-mix(in srgb,var(--{side}-bar) {8 + 47 * share:.0f}%,transparent)"
    return f'<span class="chip" style="background:{tint}">{ratio:.2f}×</span>'


def _cells(row: Row, many: bool, peers: Sequence[str]) -> list[tuple[str, str]]:
    """(what to sort by, what to show)."""
    name = row["case"].split("/", 1)[1]
    shown = f"{escape(row['label'])}<code>{escape(name)}</code>" if row["label"] else escape(name)
    cells = [("", shown)]
    if many:
        cells.append(("", escape(group_name(row["threads"], row["target"]))))
    if "median_ns" not in row:
        wrong = escape(row["wrong"] or "not timed")
        return [*cells, ("1e99", f'<em class="bad">{wrong}</em>')]
    roof = row.get("percent_of_peak" if row.get("bound") == "compute" else "percent_of_stream")
    spread = (row["q3_ns"] - row["q1_ns"]) / row["median_ns"]
    doubt = '<span title="the control was slow">⚠</span> ' if row["control"] > DOUBT else ""
    cells.append((str(row["median_ns"]), doubt + duration(row["median_ns"])))
    cells.append((str(row["min_ns"]), duration(row["min_ns"])))
    quartiles = f"{duration(row['q1_ns'])} to {duration(row['q3_ns'])}"
    cells.append((str(spread), f'<span title="{quartiles}">{100 * spread:.0f} %</span>'))
    for key in ("gflops", "gbps"):
        value = row.get(key)
        cells.append((str(value or 0), f"{value:.1f}" if value else ""))
    bar = f'<span class="roofed"><i style="width:{min(100, roof or 0):.0f}%"></i></span>'
    cells.append((str(roof or 0), f"{bar}{roof:.0f} %" if roof else ""))
    for peer in peers:
        ratio = row["ratio"].get(peer)
        cells.append((str(ratio or 0), chip(ratio) if ratio else ""))
    error = row["error"]
    cells.append((str(error or 0), f"{error:.0e}" if error is not None else ""))
    return cells


def table(document: Document, suite: str) -> str:
    """A line a case, target and number of threads; a click on a heading sorts."""
    every = groups(document)
    rows = [r for threads, target in every for r in own_rows(document, threads, target)]
    rows = [row for row in rows if row["suite"] == suite]
    peers = [peer for peer in PEERS if any(peer in row.get("ratio", {}) for row in rows)]
    heads = ["case", *(["where"] if len(every) > 1 else []), "median", "minimum", "middle half"]
    heads += ["GFLOP/s", "GB/s", "of the roof", *(f"× {NAMES[peer]}" for peer in peers), "error"]
    parts = ['<table class="sortable"><thead><tr>']
    parts += [f"<th>{escape(head)}</th>" for head in heads]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        cells = _cells(row, len(every) > 1, peers)
        cells += [("", "")] * (len(heads) - len(cells))
        parts.append("<tr>")
        parts += [f'<td data-v="{escape(value)}">{shown}</td>' for value, shown in cells]
        parts.append("</tr>")
    parts.append("</tbody></table>")
    return "".join(parts)


def _ratios(document: Document) -> list[str]:
    """Cards and strips of every target and number of threads."""
    parts = []
    for threads, target in groups(document):
        found = means(document, threads, target)
        if not found:
            continue
        peer = main_peer(found)
        parts.append(
            f"<h2>Against {NAMES[peer]}: {escape(group_name(threads, target))}</h2>"
            '<p class="lead">A dot is a case, a bar the geometric mean of its suite. Point at a '
            "dot to read it.</p>"
            f'<div class="panel">{strips(document, threads, target, found, peer)}</div><br>'
        )
        parts.append(_cards(found))
    return parts


def _rooflines(document: Document) -> list[str]:
    parts = []
    for threads, target in groups(document):
        drawn = roofline(document, threads, target)
        if not drawn:
            continue
        who = dict.fromkeys(peer_of(r["contender"]) for r in rows_of(document, threads, target))
        legend = "".join(
            f'<button data-who="{escape(w)}"><i class="who-{escape(w)}"></i>'
            f"{NAMES.get(w, w)}</button>"
            for w in who
        )
        parts.append(
            f'<h2 id="roofline-{threads}-{escape(target)}">Roofline: '
            f"{escape(group_name(threads, target))}</h2>"
            '<p class="lead">How fast a case computes against how much it computes a byte. '
            "Dashed: what L1, L2, L3 and memory can deliver; solid: what arithmetic can. All roofs "
            "were measured in the same run. Winograd may pass the peak: work is counted as if each "
            "product were formed.</p>"
            f'<div class="panel"><div class="legend">{legend}</div>{drawn}</div>'
        )
    return parts


def _history(documents: Sequence[Document]) -> list[str]:
    lines = history(documents)
    if not lines:
        return []
    parts = [
        f'<h2 id="history">History</h2><p class="lead">{len(documents)} runs, oldest left; times '
        "relative to the first, the geometric mean of the cases that all of them have. Lower is "
        'faster.</p><div class="cards">'
    ]
    for suite, line in lines:
        names = " → ".join(escape(name[:12]) for name in (line[0][0], line[-1][0]))
        change = line[-1][1] - 1
        side = "good" if change < -0.02 else "bad" if change > 0.02 else ""
        parts.append(
            f'<div class="card"><div class="small">{escape(TITLES[suite])}</div>{spark(line)}'
            f'<div class="small">{names}: <b class="{side}">{change:+.1%} time</b></div></div>'
        )
    parts.append("</div>")
    return parts


def _machine(document: Document) -> list[str]:
    about = document["machine"]
    facts = {k: v for k, v in about.items() if v}
    facts |= {NAMES.get(k, k): v for k, v in document["peers"].items()}
    parts = ['<h2 id="machine">The machine</h2><div class="panel"><dl>']
    for name, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        parts.append(f"<dt>{escape(name)}</dt><dd>{escape(shown)}</dd>")
    if document.get("peers_capped"):
        parts.append("<dt>peers</dt><dd>kept to AVX2, as annx was</dd>")
    for peaks in document["peaks"]:
        ladder = ", ".join(f"{size >> 10} KiB {rate:.0f}" for size, rate in peaks["bandwidth"])
        parts.append(
            f"<dt>{escape(group_name(peaks['threads'], peaks['target']))}</dt><dd>"
            f"{peaks['gflops']:.1f} GFLOP/s of fused multiply-adds; triad GB/s by bytes touched: "
            f"{ladder}</dd>"
        )
    parts.append("</dl></div>")
    parts += [f'<p class="warn">{escape(note)}</p>' for note in document.get("notes", [])]
    return parts


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def page(documents: Sequence[Document]) -> str:
    """The page of the newest run, with the history of all."""
    document = documents[-1]
    about = document["machine"]
    commit = f" · commit {escape(about['commit'])}" if about.get("commit") else ""
    first = groups(document)[0]
    shown = suites(document)
    style, script = ((_PARTS / n).read_text("utf-8") for n in ("style.css", "script.js"))
    jumps = {suite: TITLES[suite] for suite in shown} | {"machine": "The machine"}
    if len(documents) > 1:
        jumps["history"] = "History"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>annx bench, {escape(about['date'][:10])}</title><style>{style}</style></head>",
        "<body><main><h1><span>annx</span> bench</h1>",
        f'<p class="lead">{escape(about["cpu"])}, {_counted(about["cores"], "core")} · '
        f"{escape(about['date'][:10])}{commit} · {escape(group_name(*first))}</p>",
        f'<p class="say">{_sentence(document, means(document, *first))}</p><nav>',
        *(f'<a href="#{name}">{escape(title)}</a>' for name, title in jumps.items()),
        '<button id="theme" title="light or dark">◐</button></nav>',
    ]
    doubtful = {r["case"] for r in document["rows"] if r.get("control", 1) > DOUBT}
    if doubtful:
        parts.append(
            '<p class="warn">The control, a product that never changes, ran over 10 % slower '
            f"during {_counted(len(doubtful), 'case')}, marked ⚠: a neighbour was awake, such "
            "figures are doubtful.</p>"
        )
    parts += _ratios(document) + _rooflines(document)
    for suite in shown:
        parts.append(f'<h2 id="{suite}">{escape(TITLES[suite])}</h2>')
        parts.append(f'<div class="panel">{table(document, suite)}</div>')
    parts += _history(documents) + _machine(document)
    parts.append(
        "<footer>One process, contenders shuffled sample by sample on the same arrays, medians; a "
        "contender whose result is wrong against float64 is not timed. A peer that has several "
        "ways counts by its fastest. Ratios above one: annx is faster. Middle half: the distance "
        "of the quartiles over the median. Times from different runs are not compared, but for the "
        f"history.</footer></main><script>{script}</script></body></html>"
    )
    return "\n".join(parts)
