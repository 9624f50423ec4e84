"""New processes up to the first result of a saved program: `python -m benchmarks.artifact`."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.harness import WorkerError
from benchmarks.saved import OPTIMIZED
from benchmarks.startup import answers
from benchmarks.study import Rows, Study
from benchmarks.workloads import WORKLOADS

ABOUT = """\
Milliseconds in new processes, medians over some that took turns. tgc loads a file that `Compiled.save` wrote, with an
empty cache; ONNX Runtime a model of the same program that torch exported, and one that ONNX Runtime has optimized and
saved before. *In all* is from the creation of the process to the result, reading the inputs left out."""

ROUNDS, QUICK_ROUNDS = 9, 1
PARTS = ("import_s", "load_s", "first_s", "total_s", "call_s")
HEADINGS = ("implementation", "file, MB", "import", "load", "first result", "in all", "later call")


def measure(row: str, implementations: Sequence[str], quick: bool) -> dict[str, Any]:
    """The times of each implementation.

    Raises:
        WorkerError: a process that was measured failed, or results differ.
    """
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder:
        files: dict[str, list[str]] = {}
        for name in implementations:
            (made,) = answers("benchmarks.save", name, row, folder, caches=folder)
            files |= made["files"]
        samples: dict[str, list[dict[str, float]]] = {name: [] for name in files}
        for _ in range(QUICK_ROUNDS if quick else ROUNDS):
            for name, (file, inputs) in files.items():
                at: list[float] = []
                first, later = answers("benchmarks.saved", name, file, inputs, caches=f"{folder}/none", at=at)
                samples[name].append({**first, **later, "total_s": at[0] - first["read_s"]})
        for name, (file, _) in files.items():
            rounds = {part: [s[part] for s in samples[name]] for part in (*PARTS, "sum")}
            medians = {part: statistics.median(rounds[part]) for part in PARTS}
            found[name] = {**medians, "bytes": Path(file).stat().st_size, "rounds": rounds}
    sums = [s for each in found.values() for s in each["rounds"]["sum"]]
    if max(sums) - min(sums) > WORKLOADS[row].tolerance * max(sums):
        raise WorkerError(f"results of {row} differ: {sums}")
    if OPTIMIZED in found:
        found["onnxruntime"]["optimized"] = found.pop(OPTIMIZED)
    return {"title": WORKLOADS[row].title, "implementations": found}


def tables(rows: Rows) -> Iterator[tuple[str, report.Rows]]:
    """A table for each program."""
    for row in rows.values():
        lines: report.Rows = [HEADINGS]
        found = dict(row["implementations"])
        if "onnxruntime" in found:
            found[OPTIMIZED] = found["onnxruntime"]["optimized"]
        for name, each in found.items():
            times = (report.figure(each[part] * 1e3) for part in PARTS)
            lines.append((name, report.figure(each["bytes"] / 1e6), *times))
        yield row["title"], lines


STUDY = Study("artifact", ABOUT, ["resnet18_inference", "lstm_layer"], ["tgc", "onnxruntime"], measure, tables)

if __name__ == "__main__":
    STUDY.main()
