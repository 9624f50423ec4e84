"""The command line: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks import files, harness, machine, modes, report, startup
from benchmarks.implementations import IMPLEMENTATIONS, installed
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import PROGRAMS
from tgc.backends.cpu.target import thread_count

STARTUP = "startup"
NAMES = [*WORKLOADS, STARTUP]
Result = dict[str, Any]


def chosen(patterns: Sequence[str]) -> list[str]:
    """The rows whose name or group one of the patterns matches, in the order of the tables.

    Raises:
        ValueError: a pattern matches none.
    """
    found: set[str] = set()
    for pattern in patterns:
        hits = [name for name in NAMES if fnmatchcase(name, pattern)]
        hits += [name for name, w in WORKLOADS.items() if fnmatchcase(w.group, pattern)]
        if not hits:
            raise ValueError(f"no row is named {pattern!r}; there are {', '.join(NAMES)}")
        found.update(hits)
    return [name for name in NAMES if name in found]


def empty() -> Result:
    """The result of this machine without any rows; it is what is written as JSON."""
    return {"machine": machine.describe(), "workloads": {}, "startup": []}


def merged(result: Result, rows: dict[str, Any]) -> dict[str, Any]:
    """The workloads of a result with some new rows, in the order of the tables."""
    every = {**result["workloads"], **rows}
    return {name: every[name] for name in [*NAMES, *every] if name in every}


def run(
    names: Sequence[str],
    implementations: Sequence[str],
    threads: Sequence[int],
    mode: modes.Mode,
    *,
    console: Console,
    result: Result,
    keep: Callable[[Result], object] = lambda result: None,
) -> None:
    """Measure what is named into `result`, over earlier rows of the same names; `keep` gets it after each row."""
    rows = [WORKLOADS[name] for name in names if name != STARTUP]
    needed = [i for i in implementations if any(i in w.implementations for w in rows)]
    seconds = modes.estimate(rows, needed, len(threads), mode, starts=STARTUP in names)
    programs = sum(w.group == PROGRAMS for w in rows)
    console.print(f"{programs} programs and {len(rows) - programs} rows of sweeps: about {seconds / 60:.0f} minutes")
    with Progress(console=console, transient=True) as progress:
        with harness.workers(needed, threads) as team:
            for w in rows:
                settings = mode.of(w)
                task = progress.add_task(w.name, total=settings.rounds * len(harness.able(w, team)))
                found = harness.measure(w, team, settings, lambda task=task: progress.advance(task))  # type: ignore[misc]
                row = {"title": w.title, "group": w.group, **machine.moment(), "settings": vars(settings)}
                row |= {"implementations": found, "profile": harness.profile(team, found)}
                row |= {"like": w.like} if w.like else {}
                result["workloads"] = merged(result, {w.name: row})
                progress.remove_task(task)
                keep(result)
        if STARTUP in names:
            task = progress.add_task(STARTUP, total=startup.turns(mode.startup))
            result["startup"] = [
                row | machine.moment() for row in startup.measure(mode.startup, lambda: progress.advance(task))
            ]
            keep(result)


def write(result: Result, path: Path) -> list[Path]:
    """Write the tables and plots of a result beside its file; where it is the one committed, also into the README."""
    made = [path.with_suffix(".md")]
    made[0].write_text(report.markdown(result) + "\n", encoding="utf-8")
    if find_spec("matplotlib") is not None:
        from benchmarks import plots

        made += plots.save(result, path.parent, path.stem)
    if path.resolve() == report.COMMITTED:
        text = report.README.read_text(encoding="utf-8")
        report.README.write_text(report.readme(text, result), encoding="utf-8")
        made.append(report.README)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the result, print its tables."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed of tgc beside others.")
    add = options.add_argument
    add("--quick", action="store_true", help="a look in some two minutes, too short for figures to be relied on")
    add("--only", nargs="+", action="extend", metavar="ROW", help="names or groups of rows, or patterns: 'conv_*'")
    add("--implementations", nargs="+", choices=IMPLEMENTATIONS, help="columns; all that are installed by default")
    add("--threads", nargs="+", type=int, help="1 and the cores by default, the cores alone if quick")
    add("--out", type=Path, help="JSON file; results/latest.json beside this file, or quick.json, by default")
    add("--merge", action="store_true", help="add to the rows in that file, replacing those of the same names")
    add("--show", type=Path, metavar="FILE", help="print the tables of an earlier result and measure nothing")
    add("--write", type=Path, metavar="FILE", help="write tables and plots of an earlier result and measure nothing")
    given = options.parse_args(arguments)
    out, log = Console(), Console(stderr=True)
    if given.show or given.write:
        result = json.loads((given.show or given.write).read_text(encoding="utf-8"))
        report.show(result, out)
        if given.write:
            written = write(result, given.write)
            log.print(f"written to {', '.join(map(str, written))}", highlight=False, soft_wrap=True)
        return
    asked = given.implementations or list(IMPLEMENTATIONS)
    there = installed(asked)
    for name in asked:
        if name not in there:
            log.print(f"{name} is not installed: its column is left out")
    if find_spec("matplotlib") is None:
        log.print("matplotlib is not installed (pip install -e '.[bench]'): the plots are left out")
    path: Path = given.out or report.RESULTS / ("quick.json" if given.quick else "latest.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        usual = [name for name in NAMES if not given.quick or (name in WORKLOADS and WORKLOADS[name].quick)]
        names = chosen(given.only) if given.only else usual
        result = files.earlier(path) if given.merge and path.exists() else empty()
    except ValueError as e:
        options.error(str(e))
    threads = given.threads or sorted({thread_count()} if given.quick else {1, thread_count()})

    mode = modes.QUICK if given.quick else modes.FULL
    run(names, there, threads, mode, console=log, result=result, keep=lambda result: files.keep(result, path))
    written = [path, *write(result, path)]
    report.show(result, out)
    log.print(f"written to {', '.join(map(str, written))}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
