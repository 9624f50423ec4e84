"""Peak memory of the programs: `python -m benchmarks.memory`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import report
from benchmarks.peak import MIB
from benchmarks.startup import answers
from benchmarks.study import Rows, Study
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import PROGRAMS, Program

ABOUT = """\
Peak memory in MiB, each figure in a process of its own with kernels (of tgc and JAX) in a cache that an earlier one
filled. *Steady*: the peak of the resident set over calls after the first, above the resident set before the program's
arrays were made, so parameters, optimizer state and data count. *First*: the peak over the first call above the
resident set before it; *cold*: the same with empty caches, in which all is compiled. Of torch the first variant, with
Adam's default form."""

CALLS = "4"
COLUMNS = ("tgc", "torch", "jax")


def state_bytes(program: Program) -> int:
    """Bytes of all arrays that a program is given; in training, with the moments of Adam."""
    sizes = {name: array.nbytes for name, array in program.inputs().items()}
    moments = sum(sizes[name] for name in program.trained) if program.labels is not None else 0
    return sum(sizes.values()) + 2 * moments


def measure(row: str, implementations: Sequence[str], quick: bool) -> dict[str, Any]:
    """MiB of each implementation that has the workload.

    Raises:
        WorkerError: a process that was measured failed.
    """
    workload, found = WORKLOADS[row], {}
    for name in implementations:
        if name not in workload.implementations:
            continue
        with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder:
            command = ("benchmarks.peak", name, row, folder)
            (cold,) = answers(*command, "1", caches=folder)
            (warm,) = [cold] if quick else answers(*command, CALLS, caches=folder)
        found[name] = {**warm, "cold": cold["first"]}
    return {"title": workload.title, "state": state_bytes(workload.program) / MIB, "implementations": found}


def tables(rows: Rows) -> Iterator[tuple[str, report.Rows]]:
    """The steady peaks, beside what the arrays take; then those of the first calls."""
    columns = [name for name in COLUMNS if any(name in row["implementations"] for row in rows.values())]
    lines: report.Rows = [("workload", "arrays", *columns, "tgc's arena", "tgc to torch")]
    for row in rows.values():
        found = row["implementations"]
        steady = {name: each["steady"] for name, each in found.items()}
        arena = report.figure(found["tgc"]["arena"]) if "tgc" in found else ""
        ratio = f"{steady['tgc'] / steady['torch']:.2f}" if {"tgc", "torch"} <= steady.keys() else ""
        lines.append((row["title"], report.figure(row["state"]), *_cells(steady, columns), arena, ratio))
    yield "steady peak, MiB", lines
    for key in ("first", "cold"):
        lines = [("workload", *columns)]
        for row in rows.values():
            lines.append((row["title"], *_cells({n: e[key] for n, e in row["implementations"].items()}, columns)))
        yield f"{key} call's peak, MiB", lines


def _cells(figures: dict[str, float], columns: Sequence[str]) -> list[str]:
    return [report.figure(figures[name]) if name in figures else "" for name in columns]


STUDY = Study("memory", ABOUT, [name for name, w in WORKLOADS.items() if w.group == PROGRAMS], COLUMNS, measure, tables)

if __name__ == "__main__":
    STUDY.main()
