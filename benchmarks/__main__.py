"""The command line: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks import harness, machine, report, startup
from benchmarks.implementations import IMPLEMENTATIONS, installed
from benchmarks.workloads import WORKLOADS
from tgc.backends.cpu.target import thread_count

RESULTS = Path(__file__).parent / "results"
NAMES = [*WORKLOADS, "startup"]


def run(
    names: Sequence[str],
    implementations: Sequence[str],
    threads: Sequence[int],
    *,
    quick: bool,
    console: Console,
    keep: Callable[[dict[str, Any]], object] = lambda result: None,
) -> dict[str, Any]:
    """Measure what is named; the result, which is written as JSON, is also given to `keep` after each row."""
    settings, starts = (harness.QUICK, startup.QUICK) if quick else (harness.Settings(), startup.Settings())
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {**vars(settings), "startup": vars(starts)},
        "workloads": {},
        "startup": [],
    }
    rows = [WORKLOADS[name] for name in names if name != "startup"]
    needed = [i for i in implementations if any(i in w.implementations for w in rows)]
    with Progress(console=console, transient=True) as progress:
        with harness.workers(needed, threads) as team:
            for w in rows:
                turns = settings.rounds * sum(each.implementation in w.implementations for each in team)
                task = progress.add_task(w.name, total=turns)
                found = harness.measure(w, team, settings, lambda task=task: progress.advance(task))  # type: ignore[misc]
                row = {"title": w.title, "group": w.group, "implementations": found}
                result["workloads"][w.name] = row | {"profile": harness.profile(team, found)}
                progress.remove_task(task)
                keep(result)
        if "startup" in names:
            task = progress.add_task("startup", total=startup.turns(starts))
            result["startup"] = startup.measure(starts, lambda: progress.advance(task))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the result, print its tables."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed of tgc beside others.")
    add = options.add_argument
    add("--quick", action="store_true", help="a look in some two minutes, too short for figures to be relied on")
    add("--only", nargs="+", action="extend", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    add("--implementations", nargs="+", choices=IMPLEMENTATIONS, help="columns; all that are installed by default")
    add("--threads", nargs="+", type=int, help="1 and the cores by default, the cores alone if quick")
    add("--out", type=Path, help="JSON file; results/latest.json beside this file, or quick.json, by default")
    add("--show", type=Path, metavar="FILE", help="print the tables of an earlier result and measure nothing")
    given = options.parse_args(arguments)

    out = Console()
    if given.show:
        report.show(json.loads(given.show.read_text(encoding="utf-8")), out)
        return
    log = Console(stderr=True)
    asked = given.implementations or list(IMPLEMENTATIONS)
    there = installed(asked)
    for name in asked:
        if name not in there:
            log.print(f"{name} is not installed: its column is left out")
    names = given.only or [name for name in NAMES if not given.quick or (name in WORKLOADS and WORKLOADS[name].quick)]
    names = [name for name in NAMES if name in names]
    threads = given.threads or sorted({thread_count()} if given.quick else {1, thread_count()})
    path = given.out or RESULTS / ("quick.json" if given.quick else "latest.json")
    path.parent.mkdir(parents=True, exist_ok=True)

    def keep(result: dict[str, Any]) -> None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)

    result = run(names, there, threads, quick=given.quick, console=log, keep=keep)
    keep(result)
    table = path.with_suffix(".md")
    table.write_text(report.markdown(result) + "\n", encoding="utf-8")
    report.show(result, out)
    written = [path, table]
    if find_spec("matplotlib") is None:
        log.print("matplotlib is not installed (pip install -e '.[bench]'): the plots are left out")
    else:
        from benchmarks import plots

        written += plots.save(result, path.parent, path.stem)
    log.print(f"written to {', '.join(map(str, written))}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
