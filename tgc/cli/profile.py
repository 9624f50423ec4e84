"""`tgc profile`: where the time of a call goes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgc.cli.command import command
from tgc.cli.models import Spec, model_options
from tgc.cli.run import input_options

if TYPE_CHECKING:
    from tgc.runtime.profile import Profile, Roofline, Row

PLOT = (72, 16)  # columns and lines
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@command("profile")
@model_options
@input_options
@click.option("--top", default=20, show_default=True, metavar="N", help="Show the N kernels that take longest; 0: all.")
@click.option("--trace", metavar="FILE", help="Write a trace for Perfetto (ui.perfetto.dev) or chrome://tracing.")
@click.option("--roofline", is_flag=True, help="Plot the kernels under the machine's roofline.")
def profile(
    model: str, shapes: Sequence[tuple[str, Spec]], backend: str, passes: str | None, files: Sequence[str],
    random: bool, seed: int, top: int, trace: str | None, roofline: bool, as_json: bool,
) -> None:  # fmt: skip
    """Show where the time of a call goes.

    A row is a kernel, beside what the machine allows. The limit is the roofline's: the time that the kernel's FLOPs or
    its bytes take at least, whichever is longer, as measured on this machine. More than 100 % is possible where data
    come from caches. Inputs are random by default.
    """
    from tgc.cli.arrays import inputs_from
    from tgc.cli.opened import open_model
    from tgc.cli.output import count, print_json, print_table, seconds

    opened = open_model(model, shapes, backend, passes)
    inputs = inputs_from(files, opened.inputs, random=True, seed=seed)
    found = opened.program().profile(list(inputs.values()))
    if trace is not None:
        Path(trace).write_text(json.dumps(chrome_trace(opened.name, found), indent=1))
    if as_json:
        limits = {"flops": found.roofline.flops, "bandwidth": found.roofline.bandwidth}
        print_json({"wall": found.wall, "explained": found.explained, "roofline": limits, "rows": found.as_dicts()})
        return
    rows = sorted(found.rows, key=lambda row: -row.seconds)
    shown = rows[:top] if top else rows
    letters = dict(zip(_plotted(shown), LETTERS, strict=False)) if roofline else {}
    columns = ["kernel", "kind", ">time", ">of call", ">runs", ">FLOP/s", ">B/s", ">of limit", "lines"]
    cells = [[r.name, r.kind, *_figures(r, found.wall), _lines(r)] for r in shown]
    if roofline:
        columns, cells = ["", *columns], [[letters.get(r, ""), *row] for r, row in zip(shown, cells, strict=True)]
    print_table(columns, cells)
    if rest := rows[len(shown) :]:
        click.echo(f"and {len(rest)} more, {seconds(sum(r.seconds for r in rest))} in all: --top 0")
    click.echo(
        f"\na call takes {seconds(found.wall)}, of which the rows explain {100 * found.explained:.0f} %; the machine "
        f"does {count(found.roofline.flops, 'FLOP/s')} (float32) and {count(found.roofline.bandwidth, 'B/s')}"
    )
    if roofline:
        click.echo("\n" + "\n".join(plot(found.roofline, letters)))
    if trace is not None:
        click.echo(f"\n{trace}: open it at ui.perfetto.dev")


def _figures(row: Row, wall: float) -> list[object]:
    """The numbers of a row of the table."""
    from tgc.cli.output import count, seconds

    rates = [count(n / row.seconds) if n and row.seconds else "" for n in (row.flops, row.bytes)]
    share = f"{100 * row.share:.0f} %" if row.limit and row.seconds else ""
    return [seconds(row.seconds), f"{100 * row.seconds / wall:.1f} %", row.launches, *rates, share]


def _lines(row: Row) -> str:
    """Where in the user's code it comes from: the first two lines."""
    (first, *others), more = row.loc[:2] or ("",), ", ..." * (len(row.loc) > 2)
    file = first.rpartition(":")[0] + ":"
    return ", ".join([first, *(other.removeprefix(file) for other in others)]) + more


def chrome_trace(name: str, profile: Profile) -> dict[str, Any]:
    """A profile in the Trace Event Format of Chrome and Perfetto: the kernels one behind the other, at their medians.

    A kernel that runs several times in a call, as in a loop, is one event.
    """
    events: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": f"tgc @{name}"}}]
    at = 0.0
    for row in profile.rows:
        data = {"launches": row.launches, "flops": row.flops, "bytes": row.bytes, "lines": ", ".join(row.loc)}
        share = {"roofline_share": row.share} if row.limit and row.seconds else {}
        events.append({
            "name": row.name, "cat": row.kind, "ph": "X", "pid": 1, "tid": 1, "ts": at, "dur": row.seconds * 1e6,
            "args": data | share,
        })  # fmt: skip
        at += row.seconds * 1e6
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _plotted(rows: Sequence[Row]) -> list[Row]:
    return [r for r in rows if r.flops and r.bytes and r.seconds]


def plot(roofline: Roofline, letters: dict[Row, str]) -> list[str]:
    """Kernels by FLOPs a byte and FLOP/s, both logarithmic, under the line of what the machine can do."""
    width, height = PLOT
    ridge = roofline.flops / roofline.bandwidth
    intensities = [r.flops / r.bytes for r in letters] or [ridge]
    low, high = math.log10(min(*intensities, ridge / 10)), math.log10(max(*intensities, ridge * 10))
    top = math.log10(roofline.flops) + 0.2
    bottom = min([math.log10(r.flops / r.seconds) for r in letters] + [top - 3]) - 0.1
    grid = [[" "] * width for _ in range(height)]

    def line(rate: float) -> int:
        at = round((top - math.log10(rate)) / (top - bottom) * (height - 1))
        return min(max(at, 0), height - 1)

    for x in range(width):
        intensity = 10 ** (low + (high - low) * x / (width - 1))
        rate = min(roofline.flops, roofline.bandwidth * intensity)
        if math.log10(rate) >= bottom:
            grid[line(rate)][x] = "─" if rate == roofline.flops else "/"
    for row, letter in reversed(letters.items()):
        x = round((math.log10(row.flops / row.bytes) - low) / (high - low) * (width - 1))
        grid[line(row.flops / row.seconds)][x] = letter
    decades = range(max(3, math.ceil(bottom)), min(14, int(top)) + 1)
    marks = {line(10**e): f"{10 ** (e % 3)} {'kMGT'[e // 3 - 1]}FLOP/s" for e in decades}
    axis = [f"{marks.get(y, ''):>11} │{''.join(cells).rstrip()}" for y, cells in enumerate(grid)]
    ticks = [" "] * (width + 8)
    for e in range(math.ceil(low), math.floor(high) + 1):
        x = round((e - low) / (high - low) * (width - 1))
        ticks[x : x + len(f"{10.0**e:g}")] = f"{10.0**e:g}"
    return [*axis, " " * 11 + " └" + "─" * width, " " * 13 + "".join(ticks).rstrip() + "  FLOP a byte"]


__all__ = ["chrome_trace", "plot", "profile"]
