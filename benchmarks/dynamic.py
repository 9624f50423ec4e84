"""Serving texts whose number and length change from request to request: `python -m benchmarks.dynamic`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.harness import compare
from benchmarks.startup import answers
from benchmarks.study import Rows, Study
from benchmarks.workloads import SERVED

ABOUT = """\
A stream of requests whose sizes all differ, served by one function, in a new process with empty caches. *Programs* are
those that a compiler makes for some of the sizes (tgc, JAX: traces; torch.compile: graphs), *kernels* what tgc compiles
to machine code. *First*: the mean time of the requests after the first few; *again*: of the same when the stream comes
once more. *Dynamic to fixed*: the time of some requests over that with a program made for each of them alone. *Memory*:
by how much the resident set has grown when the stream has come once."""

FEW = 10  # requests after which nothing should be compiled any more
REQUESTS = {"tgc": 200, "torch": 200, "torch.compile": 200, "jax": 60, "onnxruntime": 200}  # JAX compiles for each
FIXED = {"torch.compile": 4}  # requests with a program of their own, which takes this one ten seconds each
USUAL = 10


def measure(row: str, implementations: Sequence[str], quick: bool) -> dict[str, Any]:
    """What `benchmarks.serve` tells of each implementation.

    Raises:
        DisagreementError: two implementations have different results.
        WorkerError: a process that was measured failed.
    """
    workload, found = SERVED[row], {}
    reference: list[np.ndarray] = []
    for name in implementations:
        if name not in workload.implementations:
            continue
        requests, fixed = (FEW + 2, 2) if quick else (REQUESTS[name], FIXED.get(name, USUAL))
        with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder:
            (found[name],) = answers(
                "benchmarks.serve", name, row, folder, *map(str, (requests, FEW, fixed)), caches=folder
            )
            first = np.load(Path(folder, f"{name}.npy"))  # the first request, which all have
        if reference:
            compare(workload, [first], reference, name, next(iter(found)))
        reference = reference or [first]
    return {"title": workload.title, "implementations": found}


def tables(rows: Rows) -> Iterator[tuple[str, report.Rows]]:
    """A table for each stream."""
    heading = (
        "implementation", "requests",
        f"programs of the first {FEW}", "of the others", f"kernels of the first {FEW}", "of the others",
        "first, ms a request", "longest", "again", "first to again", "dynamic to fixed", "memory, MiB",
    )  # fmt: skip
    for row in rows.values():
        lines: report.Rows = [heading]
        for name, each in row["implementations"].items():
            made = [*each["programs"], *(each["kernels"] if name == "tgc" else ("", ""))]
            first, again = each["first"][1], each["again"][1]
            ratios = first / again, sum(each["dynamic"]) / sum(each["fixed"])
            figures = [*map(report.figure, (first, each["longest"], again)), *(f"{r:.2f}" for r in ratios)]
            lines.append((name, *map(str, [each["requests"], *made]), *figures, report.figure(each["memory"])))
        yield row["title"], lines


STUDY = Study("dynamic", ABOUT, list(SERVED), list(REQUESTS), measure, tables)

if __name__ == "__main__":
    STUDY.main()
