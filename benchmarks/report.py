"""The tables of a result, as Markdown or for the terminal, and the README's section about the committed one."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.machine import summary
from benchmarks.workloads.base import PROGRAMS

RESULTS = Path(__file__).parent / "results"
COMMITTED = RESULTS / "cpu.json"  # what the README shows
NOTES = RESULTS / "notes.toml"  # by a workload's name: what was tried where tgc is behind
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- written by python -m benchmarks: begin -->", "<!-- end -->"
SUMMED = ("launches", "seconds", "flops", "bytes", "limit")
MOST = 12  # kernels of a program's table
PEERS = [name for name in IMPLEMENTATIONS if name != "tgc"]

Row = dict[str, Any]
Rows = list[tuple[str, ...]]


def groups(result: Row) -> dict[str, list[Row]]:
    """The workloads of each group, programs first."""
    found: dict[str, list[Row]] = {}
    for w in result["workloads"].values():
        found.setdefault(w.get("group", PROGRAMS), []).append(w)
    return found


def best(workload: Row) -> dict[str, float]:
    """Milliseconds of each implementation with its best number of threads."""
    return {name: each["threads"][each["best"]]["median_ms"] for name, each in workload["implementations"].items()}


def lead(workload: Row, peers: Sequence[str] = PEERS) -> float | None:
    """How many times as quick as the best of those peers tgc is; None where one side is not measured."""
    times = best(workload)
    others = [times[name] for name in peers if name in times]
    return min(others) / times["tgc"] if others and "tgc" in times else None


def geometric_mean(workloads: Sequence[Row], peers: Sequence[str] = PEERS) -> float | None:
    """Of `lead` over the workloads that have one; None if there are none."""
    logs = [math.log(x) for w in workloads if (x := lead(w, peers)) is not None]
    return math.exp(sum(logs) / len(logs)) if logs else None


def likenesses(result: Row) -> list[tuple[str, str, dict[str, float]]]:
    """Titles of workloads and of those that they are `like`, and for each implementation of both the ratio of times."""
    found, every = [], result["workloads"]
    for w in every.values():
        if (other := every.get(w.get("like"))) is not None:
            ours, theirs = best(w), best(other)
            ratios = {name: ours[name] / theirs[name] for name in ours if name in theirs}
            found.append((w["title"], other["title"], ratios))
    return found


def tables(result: Row, *, sweeps: bool = True) -> Iterator[tuple[str, Rows]]:
    """Caption and rows (the first one a heading) of each table of a result, those of sweeps only if asked for."""
    found = groups(result)
    for group, workloads in found.items():
        if group == PROGRAMS or sweeps:
            columns = [name for name in IMPLEMENTATIONS if any(name in w["implementations"] for w in workloads)]
            rows: Rows = [("workload", *columns, "tgc to the best peer")]
            rows += [(w["title"], *_times(w, columns), _times_as_quick(lead(w))) for w in workloads]
            yield (
                f"{group}, milliseconds: median (least), threads; the best variant and number of threads of each",
                rows,
            )
    peers = [name for name in PEERS if any(name in w["implementations"] for ws in found.values() for w in ws)]
    if peers:
        rows = [("rows", "number", "the best peer", *peers)]
        for group, workloads in found.items():
            means = (geometric_mean(workloads, some) for some in (PEERS, *([name] for name in peers)))
            rows.append((group, str(len(workloads)), *map(_times_as_quick, means)))
        yield "how many times as quick as a peer tgc is, geometric mean over the rows that the peer has", rows
    if alike := likenesses(result):
        columns = [name for name in IMPLEMENTATIONS if any(name in ratios for _, _, ratios in alike)]
        rows = [("workload", "built in", *columns)]
        rows += [(a, b, *(f"{figure(of[n])}x" if n in of else "" for n in columns)) for a, b, of in alike]
        yield "times of what users write by hand, over those of the same built in", rows
    if result["startup"]:
        rows = [("figure", "median", "least", "unit")]
        rows += [(s["name"], figure(s["median"]), figure(s["least"]), s["unit"]) for s in result["startup"]]
        yield "compiling and calling (tgc)", rows


def behind(result: Row) -> dict[str, Row]:
    """The programs of which some peer is quicker than tgc."""
    programs = {name: w for name, w in result["workloads"].items() if w.get("group", PROGRAMS) == PROGRAMS}
    return {name: w for name, w in programs.items() if (lead(w) or 1) < 1}


def notes() -> dict[str, str]:
    """What was tried for workloads, by their names."""
    return tomllib.loads(NOTES.read_text(encoding="utf-8"))


def same_kernels(profile: Row) -> list[Row]:
    """The sums over the launches of each kernel of a call, the longest first."""
    sums: dict[str, Row] = {}
    for row in profile["kernels"]:
        same = sums.setdefault(row["name"], {"name": row["name"], **dict.fromkeys(SUMMED, 0)})
        for key in SUMMED:
            same[key] += row[key]
    return sorted(sums.values(), key=lambda row: -row["seconds"])


def kernels(profile: Row) -> Rows:
    """A heading and a row for each kernel of a call, with the rest of them in one."""
    rows: Rows = [("kernel", "launches", "ms", "% of the call", "GFLOP/s", "GB/s", "% of the limit")]
    every = same_kernels(profile)
    for s in every[:MOST]:
        t = max(s["seconds"], 1e-9)
        rates = (figure(s[key] / t / 1e9) if s[key] else "" for key in ("flops", "bytes"))
        share = f"{100 * s['limit'] / t:.0f}" if s["limit"] else ""
        rows.append((f"`{s['name']}`", str(s["launches"]), *_part(t, profile), *rates, share))
    if rest := every[MOST:]:
        launches, t = sum(s["launches"] for s in rest), sum(s["seconds"] for s in rest)
        rows.append((f"{len(rest)} others", str(launches), *_part(t, profile), "", "", ""))
    return rows


def _part(seconds: float, profile: Row) -> tuple[str, str]:
    return figure(1e3 * seconds), f"{100 * seconds / profile['wall_s']:.1f}"


def figure(x: float) -> str:
    """Three digits."""
    return f"{x:.0f}" if x == 0 or abs(x) >= 100 else f"{x:#.3g}"


def markdown(result: Row) -> str:
    """The machine, the tables, and where the time goes of programs of which some peer is quicker."""
    parts = [f"{summary(result['machine'])}{_origin(result)}"]
    parts += [captioned(*table) for table in tables(result)]
    tried = notes()
    for name, w in behind(result).items():
        if not w.get("profile"):
            continue
        roof = w["profile"]["roofline"]
        limit = f"{roof['flops'] / 1e9:.0f} GFLOP/s and {roof['bandwidth'] / 1e9:.0f} GB/s"
        quickest = min((n for n in best(w) if n != "tgc"), key=best(w).__getitem__)
        heading = f"{w['title']}, {_times_as_quick(lead(w))} of {quickest}: kernel by kernel, beside a limit of {limit}"
        parts.append(captioned(heading, kernels(w["profile"])))
        parts += [f"Tried: {tried[name]}"] if name in tried else []
    return "\n\n".join(parts)


def readme(text: str, result: Row) -> str:
    """The README with its section about a result written anew.

    Raises:
        ValueError: the text lacks the marks of the section.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README has no section between {BEGIN} and {END}")
    return "".join([before, BEGIN, "\n", section(result), "\n", END, after])


def section(result: Row) -> str:
    """What the README says about the result that is committed: without the sweeps' rows, with the plot of the times."""
    parts = [f"{summary(result['machine'])}{_origin(result)}"]
    parts += [captioned(*table) for table in tables(result, sweeps=False)]
    root = README.parent
    plot = COMMITTED.with_name(f"{COMMITTED.stem}-times.png").relative_to(root).as_posix()
    if (root / plot).exists():
        parts.insert(1, f"![Times of the peers relative to tgc's]({plot})")
    return "\n\n".join(parts)


def show(result: Row, console: Console) -> None:
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


def _origin(result: Row) -> str:
    return measured([*result["workloads"].values(), *result["startup"]])


def measured(rows: Sequence[Row]) -> str:
    """At which commits rows were measured, and when."""
    commits = list(dict.fromkeys(row["commit"] for row in rows if row.get("commit")))
    days = sorted({row["date"][:10] for row in rows if "date" in row})
    return f"; measured at {', '.join(commits)} on {', '.join(days)}" if commits and days else ""


def captioned(caption: str, rows: Rows) -> str:
    """A table as Markdown."""
    heading, *others = rows
    lines = [heading, ("---", *["---:"] * (len(heading) - 1)), *others]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{caption[0].upper()}{caption[1:]}:\n\n{table}"


def _times_as_quick(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}x"


def _times(workload: Row, columns: Sequence[str]) -> list[str]:
    """A cell for each implementation, the quickest in bold."""
    times, found = best(workload), workload["implementations"]
    winner = min(times, key=times.__getitem__)
    cells = []
    for name in columns:
        if name not in found:
            cells.append("")
            continue
        n = found[name]["best"]
        text = figure(times[name])
        text = f"**{text}**" if name == winner and len(times) > 1 else text
        cells.append(f"{text} ({figure(found[name]['threads'][n]['min_ms'])}), {n}")
    return cells
