"""Plots of a result: times beside the peers' as bars, kernels under the machine's roofline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.implementations import IMPLEMENTATIONS

mpl.use("Agg")

from matplotlib import pyplot as plt  # without a display

COLORS = dict(zip(IMPLEMENTATIONS, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
MOST_KERNELS = 30  # bars of the roofline's right half


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


def _best(found: dict[str, Any]) -> dict[str, float]:
    return {name: each["threads"][each["best"]]["median_ms"] for name, each in found.items()}


def times(result: dict[str, Any]) -> Any:
    """Bars of each implementation's time, as a multiple of tgc's."""
    rows = [w for w in result["workloads"].values() if w.get("group", "programs") == "programs"]
    rows = [w for w in rows if "tgc" in w["implementations"]]
    if not rows:
        return None
    bests = [_best(w["implementations"]) for w in rows]
    names = [name for name in IMPLEMENTATIONS if any(name in b for b in bests)]
    figure, axes = plt.subplots(figsize=(9, 1 + sum(0.25 + 0.16 * len(b) for b in bests)))
    y, ticks, seen = 0.0, [], set()
    for b in bests:
        top = y
        for name in (n for n in names if n in b):
            ratio = b[name] / b["tgc"]
            axes.barh(y, ratio, 0.15, color=COLORS[name], label=None if name in seen else name)
            axes.text(ratio * 1.02, y, f"{b[name]:#.3g} ms", va="center", fontsize=6)
            seen.add(name)
            y += 0.16
        ticks.append((top + y - 0.16) / 2)
        y += 0.25
    axes.set_yticks(ticks, [w["title"] for w in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.01)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time relative to tgc (log scale; longer bars are slower)")
    handles = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    axes.legend(
        [handles[n] for n in names], names, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def sweeps(result: dict[str, Any]) -> Any:
    """How much quicker than each peer tgc is, a panel for each sweep."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for w in result["workloads"].values():
        if w.get("group", "programs") != "programs" and len(w["implementations"]) > 1:
            groups.setdefault(w["group"], []).append(w)
    if not groups:
        return None
    sizes = [len(rows) for rows in groups.values()]
    figure, all_axes = plt.subplots(
        len(groups), 1, squeeze=False, figsize=(9, 1.2 * len(groups) + 0.3 * sum(sizes)), layout="constrained",
        height_ratios=[n + 2 for n in sizes],
    )  # fmt: skip
    for axes, (title, rows) in zip(all_axes[:, 0], groups.items(), strict=True):
        for k, w in enumerate(rows):
            b = _best(w["implementations"])
            peers = [name for name in IMPLEMENTATIONS if name in b and name != "tgc"]
            for j, name in enumerate(peers):
                at = k + 0.8 * ((j + 0.5) / len(peers) - 0.5)
                axes.barh(at, b[name] / b["tgc"], 0.75 / len(peers), color=COLORS[name], label=name)
        axes.set_yticks(range(len(rows)), [w["title"] for w in rows], fontsize=7)
        axes.invert_yaxis()
        axes.margins(y=0.02)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("times as quick as the peer", fontsize=8)
        handles, names = axes.get_legend_handles_labels()
        unique = dict(zip(names, handles, strict=True))
        axes.legend(unique.values(), unique.keys(), fontsize=7, frameon=False, loc="lower right")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def roofline(result: dict[str, Any]) -> Any:
    """Kernels of tgc under the roofline, and the share of the limit of those that take longest."""
    profiles = {
        w["title"]: w["profile"]
        for w in result["workloads"].values()
        if w.get("profile") and w.get("group", "programs") == "programs"
    }
    if not profiles:
        return None
    roof = next(iter(profiles.values()))["roofline"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 8), width_ratios=[1.2, 1], layout="constrained")
    colors = dict(zip(profiles, plt.get_cmap("tab20").colors, strict=False))  # type: ignore[attr-defined]
    heavy = []
    intensities = [1.0]
    for title, profile in profiles.items():
        rows = [row for row in profile["kernels"] if row["flops"] and row["seconds"] > 0]
        x = [row["flops"] / row["bytes"] for row in rows]
        y = [row["flops"] / row["seconds"] / 1e9 for row in rows]
        area = [12 + 250 * row["seconds"] / profile["wall_s"] for row in rows]
        left.scatter(x, y, area, color=colors[title], alpha=0.7, edgecolors="black", linewidths=0.3, label=title)
        intensities += x
        heavy += [(row["seconds"] / profile["wall_s"], title, row) for row in profile["kernels"] if row["limit"]]
    x = np.geomspace(min(intensities) / 2, max(*intensities, 2 * roof["flops"] / roof["bandwidth"]), 200)
    left.plot(x, np.minimum(roof["flops"], x * roof["bandwidth"]) / 1e9, color="black")
    left.set(xscale="log", yscale="log", xlabel="FLOPs per byte", ylabel="GFLOP/s")
    left.set_title(
        f"limit {roof['flops'] / 1e9:.0f} GFLOP/s, {roof['bandwidth'] / 1e9:.0f} GB/s; area: part of the call's time",
        fontsize=9,
    )
    legend = left.legend(fontsize=7, loc="lower right")
    for handle in legend.legend_handles:
        handle.set_sizes([30])
    left.grid(alpha=0.3)
    shown = sorted(heavy, key=lambda item: -item[0])[:MOST_KERNELS]
    for k, (part, title, row) in enumerate(shown):
        right.barh(k, 100 * row["share"], color=colors[title])
        right.text(100 * row["share"], k, f" {100 * row['share']:.0f}", va="center", fontsize=6)
        right.text(1, k, f"{_short(row['name'])}, {100 * part:.0f} % of the call", va="center", fontsize=6)
    right.set_yticks(range(len(shown)), [title for _, title, _ in shown], fontsize=6)
    right.invert_yaxis()
    right.margins(y=0.01)
    right.axvline(100, color="black", linewidth=0.8)
    right.set_xlabel("% of the limit (above 100: from caches)")
    right.set_title("kernels that take most of their call", fontsize=9)
    right.spines[["top", "right"]].set_visible(False)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:25]}...{name[-12:]}"
