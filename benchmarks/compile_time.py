"""How long compilers take, cold and in a second process: `python -m benchmarks.compile_time`."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import report
from benchmarks.startup import answers, started
from benchmarks.study import Rows, Study
from benchmarks.workloads import WORKLOADS

ABOUT = """\
Seconds until a new process has the first result of a step, imports included and the drawing of inputs left out: *cold*,
with empty caches, and *warm*, in later processes (the caches of tgc, TorchInductor and JAX on disk), the median of
some. *Compile* is the cold first step less a later step; *import* is part of the warm start. Then tgc alone: a
transformer encoder of more and more layers, compiled cold and not run, and the loading of cached kernels."""

WARMS = 3
COLUMNS = ("tgc", "torch.compile", "jax")
SERIES, LOADING = "graph_size", "loading"
LAYERS = (10, 20, 50, 100, 200)
LOADED = "transformer_train", 20  # the workload whose kernels are loaded, and how many
STEPS = [name for name, w in WORKLOADS.items() if w.work != "calls"]
TABLES = {
    "compile": "compile, cold, seconds",
    "cold": "start to first result, cold, seconds",
    "warm": "start to first result in a second process, seconds",
    "import": "of it imports",
}


def measure(row: str, implementations: Sequence[str], quick: bool) -> dict[str, Any]:
    """The figures of a row of that name.

    Raises:
        WorkerError: a process that was measured failed.
    """
    if row == SERIES:
        found = []
        for layers in LAYERS[:2] if quick else LAYERS:
            with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder:
                found += answers("benchmarks.graph_size", str(layers), caches=folder)
        return {"implementations": {"tgc": {"series": found}}}
    if row == LOADING:
        with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder:
            for _ in range(2):  # the second process compiles nothing
                (loaded,) = answers("benchmarks.load_time", *map(str, LOADED), caches=folder)
        return {"implementations": {"tgc": loaded}}
    workload = WORKLOADS[row]
    some = [name for name in implementations if name in workload.implementations]
    return {"title": workload.title, "implementations": {name: _starts(name, row, quick) for name in some}}


def _starts(name: str, row: str, quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder:
        cold = started(name, row, folder)
        warms = [started(name, row, folder) for _ in range(1 if quick else WARMS)]
    return {
        "compile": cold["first_step_s"] - cold["step_s"],
        "cold": cold["total_s"],
        "warm": statistics.median(w["total_s"] for w in warms),
        "import": statistics.median(w["import_s"] for w in warms),
        "starts": [cold, *warms],
    }


def tables(rows: Rows) -> Iterator[tuple[str, report.Rows]]:
    """A table for each figure of the steps, one of sizes, one of loading."""
    steps = [rows[name] for name in STEPS if name in rows]
    columns = [name for name in COLUMNS if any(name in row["implementations"] for row in steps)]
    for key, caption in TABLES.items() if steps else ():
        lines: report.Rows = [("step", *columns)]
        for row in steps:
            found = row["implementations"]
            lines.append((row["title"], *(report.figure(found[n][key]) if n in found else "" for n in columns)))
        yield caption, lines
    if SERIES in rows:
        lines = [("layers", "nodes", "nodes as planned", "kernels", "trace, s", "passes, s", "kernels, s", "ms a node")]
        for each in rows[SERIES]["implementations"]["tgc"]["series"]:
            parts = [each[part] for part in ("trace_s", "passes_s", "kernels_s")]
            counts = (str(each[key]) for key in ("layers", "nodes", "launches", "kernels"))
            lines.append((*counts, *map(report.figure, parts), report.figure(1e3 * sum(parts) / each["nodes"])))
        yield "compiling a transformer encoder (tgc)", lines
    if LOADING in rows:
        each = rows[LOADING]["implementations"]["tgc"]
        times = (statistics.median(each["load_ms"]), min(each["load_ms"]), max(each["load_ms"]))
        lines = [("kernels", "KiB", "ms, median", "least", "most")]
        lines.append((str(each["kernels"]), f"{each['bytes'] / 1024:.0f}", *map(report.figure, times)))
        yield "loading cached kernels (tgc)", lines


STUDY = Study("compile_time", ABOUT, [*STEPS, SERIES, LOADING], COLUMNS, measure, tables)

if __name__ == "__main__":
    STUDY.main()
