"""The command line: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks import harness, machine, report, startup
from benchmarks.workloads import WORKLOADS
from tgc.backends.cpu.target import thread_count

RESULTS = Path(__file__).parent / "results"
NAMES = [*WORKLOADS, "startup"]


def run(
    names: Sequence[str], implementations: Sequence[str], threads: Sequence[int], *, quick: bool, console: Console
) -> dict[str, Any]:
    """Measure what is named; the result is what is written as JSON."""
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
                result["workloads"][w.name] = {"title": w.title, "implementations": found}
        if "startup" in names:
            task = progress.add_task("startup", total=startup.turns(starts))
            result["startup"] = startup.measure(starts, lambda: progress.advance(task))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the result, print its tables."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed of tgc beside others.")
    add = options.add_argument
    add("--quick", action="store_true", help="a look within two minutes, too short for figures to be relied on")
    add("--only", nargs="+", action="extend", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    add("--implementations", nargs="+", choices=harness.PACKAGES, help="columns; all that are installed by default")
    add("--threads", nargs="+", type=int, default=sorted({1, thread_count()}), help="default: 1 and the cores")
    add("--out", type=Path, help="JSON file; results/latest.json beside this file, or quick.json, by default")
    add("--show", type=Path, metavar="FILE", help="print the tables of an earlier result and measure nothing")
    given = options.parse_args(arguments)

    out = Console()
    if given.show:
        report.show(json.loads(given.show.read_text(encoding="utf-8")), out)
        return
    log = Console(stderr=True)
    asked = given.implementations or list(harness.PACKAGES)
    there = harness.installed(asked)
    for name in asked:
        if name not in there:
            log.print(f"{name} is not installed: its column is left out")
    names = [name for name in NAMES if not given.only or name in given.only]
    result = run(names, there, given.threads, quick=given.quick, console=log)
    path = given.out or RESULTS / ("quick.json" if given.quick else "latest.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    report.show(result, out)
    log.print(f"written to {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
