"""`fit` of Keras on tgc and on its other backends: `python -m benchmarks.keras_fit`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import report
from benchmarks.harness import ROOT, WorkerError
from benchmarks.keras_models import MODELS
from benchmarks.study import Rows, Study

ABOUT = """\
Milliseconds of a step in `fit` with the guide's models in Keras, at batch 32, with Adam and an accuracy: the median of
some rounds (and the least), an epoch each, in which the backends take turns, each in a process of its own with two
threads. *First epoch*: seconds, with compilation. *Beyond the step*: what `fit` takes on tgc for each step beyond the
compiled program."""

BACKENDS = ("tgc", "tensorflow", "jax", "torch")
TITLES = {"cnn": "CNN", "lstm": "LSTM language model", "self_attention": "self-attention"}
STEPS = {"cnn": 300, "lstm": 20, "self_attention": 40}
ROUNDS, QUICK = 7, 2
PROGRAMS = 3  # epochs in which calls of programs are timed


class _Worker:
    """A process of `benchmarks.keras_worker`."""

    def __init__(self, backend: str, model: str) -> None:
        self.backend = backend
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.keras_worker", backend, model, str(STEPS[model])],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: str) -> float:
        """Seconds.

        Raises:
            WorkerError: the process ended instead.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"Keras on {self.backend} failed (exit status {self._process.wait()}; see above)")
        return float(json.loads(line))

    def close(self) -> None:
        self._process.communicate()


def measure(row: str, implementations: Sequence[str], quick: bool) -> dict[str, Any]:
    """Of each backend the times of epochs, and of tgc that of its program alone.

    Raises:
        WorkerError: a process that was measured failed.
    """
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        team = [_Worker(backend, row) for backend in implementations]
        for worker in team:
            stack.callback(worker.close)
        for worker in team:
            found[worker.backend] = {"first_s": worker.ask("epoch"), "ms": []}
        for _ in range(QUICK if quick else ROUNDS):
            for worker in team:
                found[worker.backend]["ms"].append(1e3 * worker.ask("epoch") / STEPS[row])
        for worker in team:
            if worker.backend == "tgc":
                found["tgc"]["program_ms"] = statistics.median(1e3 * worker.ask("program") for _ in range(PROGRAMS))
    return {"title": TITLES[row], "steps": STEPS[row], "implementations": found}


def tables(rows: Rows) -> Iterator[tuple[str, report.Rows]]:
    """The times of steps; what else there is of tgc."""
    names = [name for name in BACKENDS if any(name in row["implementations"] for row in rows.values())]
    lines: report.Rows = [("model", *names, "tgc to the best of the others")]
    first: report.Rows = [("model", *names)]
    beyond: report.Rows = [("model", "step in `fit`, ms", "program, ms", "beyond the step, ms")]
    for row in rows.values():
        each = row["implementations"]
        median = {name: statistics.median(each[name]["ms"]) for name in names if name in each}
        others = [ms for name, ms in median.items() if name != "tgc"]
        ratio = f"{min(others) / median['tgc']:.2f}x" if others and "tgc" in median else ""
        cells = [
            f"{report.figure(median[name])} ({report.figure(min(each[name]['ms']))})" if name in median else ""
            for name in names
        ]
        lines.append((row["title"], *cells, ratio))
        first.append((row["title"], *(report.figure(each[n]["first_s"]) if n in each else "" for n in names)))
        if "tgc" in each:
            program, step = each["tgc"]["program_ms"], median["tgc"]
            beyond.append((row["title"], *map(report.figure, (step, program, step - program))))
    yield "A step in `fit`, milliseconds", lines
    yield "First epoch, seconds", first
    if len(beyond) > 1:
        yield "Beyond the step", beyond


STUDY = Study("keras_fit", ABOUT, list(MODELS), BACKENDS, measure, tables)

if __name__ == "__main__":
    STUDY.main()
