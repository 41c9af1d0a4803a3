"""The picture of ``annx bench report``: roofline and ratios as a PNG."""

from __future__ import annotations

from pathlib import Path

from .problem import peer_of
from .report import NAMES, TITLES, Document, group_name, groups, means, roofline_points, rows_of

COLOURS = {
    "annx": "#c2410c", "torch": "#2563eb", "torch-compile": "#0891b2", "numpy": "#7c3aed",
    "scipy": "#059669", "jax": "#a16207", "sklearn": "#be185d",
}  # fmt: skip


def picture(document: Document, path: Path) -> None:
    """Of the first target and number of threads.

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
    peak = peaks["gflops"]
    figure = Figure(figsize=(13, 6.4), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for who in dict.fromkeys(peer_of(p[2]["contender"]) for p in points):
        mine = [(x, y) for x, y, row in points if peer_of(row["contender"]) == who]
        xs, ys = zip(*mine, strict=True)
        order = 4 if who == "annx" else 3
        left.scatter(
            xs,
            ys,
            s=26,
            alpha=0.75,
            label=NAMES.get(who, who),
            color=COLOURS[who],
            lw=0,
            zorder=order,
        )
    if points:
        low, high = min(p[0] for p in points) / 2, max(p[0] for p in points) * 2
        for _, rate in peaks["bandwidth"]:
            roof = [min(peak, x * rate) for x in (low, peak / rate, high)]
            left.plot((low, peak / rate, high), roof, color="#a8a29e", lw=1, zorder=1)
        top = max(peak, *(p[1] for p in points)) * 1.6
        left.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="GFLOP/s")
        left.set(xlim=(low, high), ylim=(min(p[1] for p in points) / 2, top))
        left.legend(frameon=False)
    left.set_title(f"{group_name(threads, target)}, fma peak {peak:.0f} GFLOP/s", loc="left")
    bars = means(document, threads, target)[::-1]
    names = [f"{TITLES[m.suite]} / {NAMES[m.peer]}" for m in bars]
    colours = ["#16a34a" if m.value >= 1 else "#dc2626" for m in bars]
    right.barh(names, [m.value - 1 for m in bars], left=1, color=colours, height=0.62)
    for i, mean in enumerate(bars):
        right.text(max(1, mean.value) * 1.04, i, f"{mean.value:.2f}×", va="center", fontsize=9)
    right.axvline(1, color="#44403c", lw=1)
    right.set(xscale="log", xlim=(0.4, max([2.0, *(m.value for m in bars)]) * 1.6))
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
