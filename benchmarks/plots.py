"""Plots of a result: times beside the peers' as bars, kernels under the machine's roofline."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.report import PEERS, best, groups, same_kernels
from benchmarks.report import figure as digits
from benchmarks.workloads.base import PROGRAMS

mpl.use("Agg")

from matplotlib import pyplot as plt  # without a display
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

COLORS = dict(zip(IMPLEMENTATIONS, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
DPI, SHADES = 100, 128  # of the files, which are small with a palette
SMALLEST = 0.02  # part of its call that a kernel must take to have a bar
MOST = 6  # bars of a workload


def save(result: dict[str, Any], folder: Path, stem: str) -> list[Path]:
    """Write the plots that the result has figures for; their files."""
    made = []
    for name, plot in (("times", times), ("sweeps", sweeps), ("roofline", roofline)):
        figure = plot(result)
        if figure is not None:
            path = folder / f"{stem}-{name}.png"
            drawn = io.BytesIO()
            figure.savefig(drawn, dpi=DPI, bbox_inches="tight")
            plt.close(figure)
            Image.open(drawn).convert("RGB").quantize(SHADES, dither=Image.Dither.NONE).save(path, optimize=True)
            made.append(path)
    return made


def _programs(result: dict[str, Any]) -> list[dict[str, Any]]:
    return groups(result).get(PROGRAMS, [])


def times(result: dict[str, Any]) -> Any:
    """Bars of each peer's time, as a multiple of tgc's: to the right of it the slower ones."""
    rows = [w for w in _programs(result) if "tgc" in best(w) and len(best(w)) > 1]
    if not rows:
        return None
    sizes = [len(best(w)) - 1 for w in rows]
    figure, axes = plt.subplots(figsize=(9, 0.8 + sum(0.2 + 0.17 * max(n, 2) for n in sizes)))
    top, ticks, handles = 0.0, [], {}
    for w, size in zip(rows, sizes, strict=True):
        b = best(w)
        for k, name in enumerate(n for n in PEERS if n in b):
            ratio, y = b[name] / b["tgc"], top + 0.17 * k
            handles[name] = axes.barh(y, ratio - 1, 0.155, left=1, color=COLORS[name])
            axes.text(max(ratio, 1) * 1.03, y, f"{digits(b[name])} ms, {name}", va="center", fontsize=7)
        ticks.append(top + 0.17 * (size - 1) / 2)
        top += 0.2 + 0.17 * max(size, 2)
    axes.set_yticks(ticks, [f"{w['title']}\ntgc {digits(best(w)['tgc'])} ms" for w in rows], fontsize=8)
    axes.invert_yaxis()
    _ratios(axes, right=1.6)
    axes.margins(y=0.01)
    axes.set_xlabel("time relative to tgc's (log scale): quicker than tgc to the left of the line, slower to the right")
    names = [name for name in PEERS if name in handles]
    place: dict[str, Any] = dict(ncols=4, loc="lower center", bbox_to_anchor=(0.4, 1.0), frameon=False)
    axes.legend([handles[n] for n in names], names, **place)
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
    height = max(len(rows) for rows in panels.values())
    down = -(-len(panels) // 2)
    across = min(len(panels), 2)
    figure, grid = plt.subplots(
        down, across, squeeze=False, sharex=True, figsize=(7.5 * across, 1 + (0.2 * height + 0.6) * down),
        layout="constrained",
    )  # fmt: skip
    every = list(grid.flat)
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    handles = {}
    for axes, (title, rows) in zip(every, panels.items(), strict=False):
        for k, w in enumerate(rows):
            b = best(w)
            peers = [name for name in PEERS if name in b]
            for j, name in enumerate(peers):
                at, ratio = k + 0.8 * ((j + 0.5) / len(peers) - 0.5), b[name] / b["tgc"]
                handles[name] = axes.barh(at, ratio - 1, 0.75 / len(peers), left=1, color=COLORS[name])
                axes.text(max(ratio, 1) * 1.02, at, f"{ratio:.2f}", va="center", fontsize=6)
        axes.set_yticks(range(len(rows)), [w["title"] for w in rows], fontsize=7)
        axes.invert_yaxis()
        axes.margins(y=0.02)
        axes.set_title(title, loc="left", fontsize=10)
        axes.tick_params(labelbottom=True, labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.axvline(1, color="black", linewidth=0.8)
    _ratios(every[0], right=1.15)
    figure.supxlabel("times as quick as the peer (log scale): tgc is quicker to the right of the line", fontsize=10)
    figure.legend(handles.values(), handles.keys(), ncols=4, loc="outside upper center", frameon=False)
    return figure


def roofline(result: dict[str, Any]) -> Any:
    """Kernels of tgc under the roofline, and the share of the limit of those that take longest."""
    profiles = {w["title"]: w["profile"] for w in _programs(result) if w.get("profile")}
    if not profiles:
        return None
    roof = next(iter(profiles.values()))["roofline"]
    heavy = [(title, row) for title, profile in profiles.items() for row in _heaviest(profile)]
    size = (14, max(6, 1 + 0.17 * len(heavy)))
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
        share = 100 * row["limit"] / row["seconds"]
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
    """Kernels of a call that take most of its time, launches of the same kernel together."""
    rows = [row for row in same_kernels(profile) if row["limit"] and row["seconds"] >= SMALLEST * profile["wall_s"]]
    return rows[:MOST]


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:25]}...{name[-12:]}"
