"""Plots of a result: times beside the peers' as bars, kernels under the machine's roofline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.report import best, groups
from benchmarks.report import figure as digits
from benchmarks.workloads.base import PROGRAMS

mpl.use("Agg")

from matplotlib import pyplot as plt  # without a display
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

COLORS = dict(zip(IMPLEMENTATIONS, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
SMALLEST = 0.02  # part of its call that a kernel must take to have a bar
MOST = 6  # bars of a workload


def save(result: dict[str, Any], folder: Path, stem: str) -> list[Path]:
    """Write the plots that the result has figures for; their files."""
    made = []
    for name, plot in (("times", times), ("sweeps", sweeps), ("roofline", roofline)):
        figure = plot(result)
        if figure is not None:
            path = folder / f"{stem}-{name}.png"
            figure.savefig(path, dpi=110, bbox_inches="tight")
            plt.close(figure)
            made.append(path)
    return made


def _programs(result: dict[str, Any]) -> list[dict[str, Any]]:
    return groups(result).get(PROGRAMS, [])


def times(result: dict[str, Any]) -> Any:
    """Bars of each implementation's time, as a multiple of tgc's: to the right of it the slower ones."""
    rows = [w for w in _programs(result) if "tgc" in w["implementations"]]
    if not rows:
        return None
    bests = [best(w) for w in rows]
    names = [name for name in IMPLEMENTATIONS if any(name in b for b in bests)]
    figure, axes = plt.subplots(figsize=(9, 1 + sum(0.25 + 0.16 * len(b) for b in bests)))
    y, ticks, seen = 0.0, [], set()
    for b in bests:
        top = y
        for name in (n for n in names if n in b):
            ratio = b[name] / b["tgc"]
            axes.barh(y, ratio - 1, 0.15, left=1, color=COLORS[name], label=None if name in seen else name)
            axes.text(max(ratio, 1) * 1.03, y, f"{digits(b[name])} ms, {name}", va="center", fontsize=6)
            seen.add(name)
            y += 0.16
        ticks.append((top + y - 0.16) / 2)
        y += 0.25
    axes.set_yticks(ticks, [w["title"] for w in rows])
    axes.invert_yaxis()
    _ratios(axes, right=1.6)
    axes.margins(y=0.01)
    axes.set_xlabel("time relative to tgc's (log scale): quicker than tgc to the left of the line, slower to the right")
    handles = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    axes.legend(
        [handles[n] for n in names], names, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _ratios(axes: Any, *, right: float) -> None:
    """Make x a scale of ratios around 1, with room for labels."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.9), max(high, 1.1) * right)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1, color="black", linewidth=0.8)


def sweeps(result: dict[str, Any]) -> Any:
    """How much quicker than each peer tgc is, a panel for each sweep."""
    panels = {title: [w for w in rows if "tgc" in w["implementations"]] for title, rows in groups(result).items()}
    panels = {
        title: rows for title, rows in panels.items() if title != PROGRAMS and any(len(best(w)) > 1 for w in rows)
    }
    if not panels:
        return None
    sizes = [len(rows) + 3 for rows in panels.values()]
    figure, all_axes = plt.subplots(
        len(panels), 1, squeeze=False, sharex=True, figsize=(9, 1 + 0.22 * sum(sizes)), layout="constrained",
        height_ratios=sizes,
    )  # fmt: skip
    handles = {}
    for axes, (title, rows) in zip(all_axes[:, 0], panels.items(), strict=True):
        for k, w in enumerate(rows):
            b = best(w)
            peers = [name for name in IMPLEMENTATIONS if name in b and name != "tgc"]
            for j, name in enumerate(peers):
                at, ratio = k + 0.8 * ((j + 0.5) / len(peers) - 0.5), b[name] / b["tgc"]
                handles[name] = axes.barh(at, ratio - 1, 0.75 / len(peers), left=1, color=COLORS[name])
                axes.text(max(ratio, 1) * 1.02, at, f"{ratio:.2f}", va="center", fontsize=5)
        axes.set_yticks(range(len(rows)), [w["title"] for w in rows], fontsize=7)
        axes.invert_yaxis()
        axes.margins(y=0.02)
        axes.set_title(title, loc="left", fontsize=10)
        axes.tick_params(labelbottom=True, labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in all_axes[:, 0]:
        axes.axvline(1, color="black", linewidth=0.8)
    _ratios(all_axes[0, 0], right=1.15)
    all_axes[-1, 0].set_xlabel("times as quick as the peer (log scale): tgc is quicker to the right of the line")
    figure.legend(handles.values(), handles.keys(), ncols=4, loc="outside upper center", frameon=False)
    return figure


def roofline(result: dict[str, Any]) -> Any:
    """Kernels of tgc under the roofline, and the share of the limit of those that take longest."""
    profiles = {w["title"]: w["profile"] for w in _programs(result) if w.get("profile")}
    if not profiles:
        return None
    roof = next(iter(profiles.values()))["roofline"]
    heavy = [(title, row) for title, profile in profiles.items() for row in _heaviest(profile)]
    size = (15, max(6, 1 + 0.17 * len(heavy)))
    figure, (left, right) = plt.subplots(1, 2, figsize=size, width_ratios=[1.1, 1], layout="constrained")
    colors = dict(zip(profiles, plt.get_cmap("tab20").colors, strict=False))  # type: ignore[attr-defined]
    intensities = [1.0]
    for title, profile in profiles.items():
        rows = [row for row in profile["kernels"] if row["flops"] and row["seconds"] > 0.005 * profile["wall_s"]]
        x = [row["flops"] / row["bytes"] for row in rows]
        y = [row["flops"] / row["seconds"] / 1e9 for row in rows]
        area = [12 + 250 * row["seconds"] / profile["wall_s"] for row in rows]
        left.scatter(x, y, area, color=colors[title], alpha=0.7, edgecolors="black", linewidths=0.3, label=title)
        intensities += x
    line = np.geomspace(min(intensities) / 2, max(*intensities, 2 * roof["flops"] / roof["bandwidth"]), 200)
    left.plot(line, np.minimum(roof["flops"], line * roof["bandwidth"]) / 1e9, color="black")
    left.set(xscale="log", yscale="log", xlabel="FLOPs per byte", ylabel="GFLOP/s")
    left.set_title(
        f"limit {roof['flops'] / 1e9:.0f} GFLOP/s, {roof['bandwidth'] / 1e9:.0f} GB/s; area: part of the call's time",
        fontsize=9,
    )
    legend = left.legend(fontsize=7, loc="lower right")
    for handle in legend.legend_handles:
        handle.set_sizes([30])
    left.grid(alpha=0.3)
    labels = []
    for k, (title, row) in enumerate(heavy):
        share = 100 * row["share"]
        right.barh(k, min(share, 150), color=colors[title])
        right.text(min(share, 150) + 1, k, f"{share:.0f}", va="center", fontsize=6)
        labels.append(f"{_short(row['name'])}, {100 * row['seconds'] / profiles[title]['wall_s']:.0f} %")
    right.set_yticks(range(len(heavy)), labels, fontsize=6)
    right.set_xlim(0, 165)
    right.invert_yaxis()
    right.margins(y=0.01)
    right.axvline(100, color="black", linewidth=0.8)
    right.set_xlabel("% of the limit (above 100: data come from caches)")
    right.set_title("kernels that take most of their call, and the part of it", fontsize=9)
    right.spines[["top", "right"]].set_visible(False)
    return figure


def _heaviest(profile: dict[str, Any]) -> list[dict[str, Any]]:
    """Kernels of a call that take most of its time."""
    rows = [row for row in profile["kernels"] if row["limit"] and row["seconds"] >= SMALLEST * profile["wall_s"]]
    return sorted(rows, key=lambda row: -row["seconds"])[:MOST]


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:25]}...{name[-12:]}"
