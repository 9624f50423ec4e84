"""The tables of a result, as Markdown or for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.machine import summary

Rows = list[tuple[str, ...]]


def tables(result: dict[str, Any]) -> Iterator[tuple[str, Rows]]:
    """Caption and rows (the first one a heading) of each table of a result."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for w in result["workloads"].values():
        groups.setdefault(w.get("group", "programs"), []).append(w)
    for group, workloads in groups.items():
        columns = [name for name in IMPLEMENTATIONS if any(name in w["implementations"] for w in workloads)]
        rows = [("workload", *columns, "tgc to the best peer")]
        rows += [(w["title"], *_times(w["implementations"], columns)) for w in workloads]
        yield f"{group}, milliseconds: median (least), threads; the best variant and number of threads of each", rows
    group_means = [(g, mean) for g, w in groups.items() if (mean := geometric_mean(w)) is not None]
    if len(group_means) > 1:
        rows = [("geometric mean over rows with peers", "tgc to the best peer")]
        yield "all rows", rows + [(g, f"{mean:.2f}x") for g, mean in group_means]
    if result["startup"]:
        rows = [("figure", "median", "least", "unit")]
        rows += [(s["name"], figure(s["median"]), figure(s["least"]), s["unit"]) for s in result["startup"]]
        yield "compiling and calling (tgc)", rows


def geometric_mean(workloads: Sequence[dict[str, Any]]) -> float | None:
    """Of how much quicker than the best peer tgc is, over the workloads that both have; None if there are none."""
    logs = []
    for w in workloads:
        best = {name: each["threads"][each["best"]]["median_ms"] for name, each in w["implementations"].items()}
        own = best.pop("tgc", None)
        if own and best:
            logs.append(math.log(min(best.values()) / own))
    return math.exp(sum(logs) / len(logs)) if logs else None


def figure(x: float) -> str:
    """Three digits."""
    return f"{x:.0f}" if x == 0 or abs(x) >= 100 else f"{x:#.3g}"


def markdown(result: dict[str, Any]) -> str:
    """The machine and the tables as Markdown."""
    parts = [summary(result["machine"])]
    for caption, (heading, *rows) in tables(result):
        lines = [heading, ("---", *["---:"] * (len(heading) - 1)), *rows]
        parts.append("\n".join([f"{caption}:\n", *(f"| {' | '.join(line)} |" for line in lines)]))
    return "\n\n".join(parts)


def show(result: dict[str, Any], console: Console) -> None:
    """Print the tables: as Markdown unless the console is a terminal."""
    if not console.is_terminal:
        console.file.write(markdown(result) + "\n")
        return
    console.print(summary(result["machine"]), highlight=False)
    for caption, (heading, *rows) in tables(result):
        table = Table(title=caption, title_justify="left")
        for k, name in enumerate(heading):
            table.add_column(name, justify="right" if k else "left")
        for row in rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        console.print(table)


def _times(found: dict[str, Any], columns: Sequence[str]) -> list[str]:
    """A cell for each implementation, the quickest in bold, and by how much tgc is quicker than the best other one."""
    best = {name: each["threads"][each["best"]] | {"n": each["best"]} for name, each in found.items()}
    winner = min(best, key=lambda name: best[name]["median_ms"])
    cells = []
    for name in columns:
        if name not in best:
            cells.append("")
            continue
        row = best[name]
        text = figure(row["median_ms"])
        text = f"**{text}**" if name == winner and len(best) > 1 else text
        cells.append(f"{text} ({figure(row['min_ms'])}), {row['n']}")
    others = [row["median_ms"] for name, row in best.items() if name != "tgc"]
    if others and "tgc" in best:
        cells.append(f"{min(others) / best['tgc']['median_ms']:.2f}x")
    else:
        cells.append("")
    return cells
