"""What compilation costs tgc: cold, in a second process, for a new batch size; and what every call costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import overhead
from benchmarks.harness import ROOT, WorkerError, environment
from benchmarks.timing import Summary

FIRST = "cnn_train_32"
BATCH, NEW_BATCH = 32, 48


@dataclass(frozen=True)
class Settings:
    """How often to measure.

    Attributes:
        colds: cold starts, each with a new cache folder.
        warms: starts after each of them.
        rounds, seconds: as of `overhead.measure`.
    """

    colds: int
    warms: int
    rounds: int
    seconds: float


def measure(settings: Settings, turn: Callable[[], object] = lambda: None) -> list[dict[str, Any]]:
    """Rows of a name, a unit, the median and least of some samples, the samples (`rounds`) and their number.

    Raises:
        WorkerError: a process that was measured failed.
    """
    cold: list[dict[str, float]] = []
    warm: list[dict[str, float]] = []
    new: list[dict[str, float]] = []
    for _ in range(settings.colds):
        with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder:
            for starts, count in ((cold, 1), (warm, settings.warms)):
                for _ in range(count):
                    starts.append(started("tgc", FIRST, folder))
                    turn()
            (other,) = answers("benchmarks.new_batch", str(BATCH), str(NEW_BATCH), caches=folder)
            new.append(other)
            turn()
    rows = [
        _row("cold start to the end of the first training step", "s", cold, "total_s"),
        _row("warm start to the end of the first training step", "s", warm, "total_s"),
        _row("of it imports", "s", warm, "import_s"),
        _row("of it trace, passes, loading and the step", "s", warm, "first_step_s"),
        _row("first step of a new batch size", "ms", new, "new_batch_ms"),
        _row("kernels compiled for it", "", new, "new_kernels"),
        *overhead.measure(settings.rounds, settings.seconds),
    ]
    turn()
    return rows


def turns(settings: Settings) -> int:
    """How often `measure` calls its `turn`."""
    return settings.colds * (2 + settings.warms) + 1


def _row(name: str, unit: str, starts: list[dict[str, float]], figure: str) -> dict[str, Any]:
    return {"name": name, "unit": unit, **vars(Summary.of([[s[figure]] for s in starts]))}


def started(implementation: str, workload: str, caches: str) -> dict[str, float]:
    """What `benchmarks.first_step` tells, and `total_s`, from a process's creation to its first result.

    The time in which inputs are drawn is no part of that.

    Raises:
        WorkerError: the process failed.
    """
    at: list[float] = []
    first, second = answers("benchmarks.first_step", implementation, workload, caches=caches, at=at)
    return {**first, **second, "total_s": at[0] - first["draw_s"]}


def answers(module: str, *arguments: str, caches: str, at: list[float] | None = None) -> list[dict[str, Any]]:
    """The lines of JSON of a new process whose caches are in that folder.

    Args:
        module, arguments: as after `python -m`.
        caches: the folder.
        at: gets the seconds from the process's creation to each line.

    Raises:
        WorkerError: the process failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    start, found = time.perf_counter(), []
    with subprocess.Popen(command, cwd=ROOT, env=environment(caches), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if at is not None:
                at.append(time.perf_counter() - start)
            found.append(json.loads(line))
    if process.returncode:
        raise WorkerError(f"{' '.join(command[1:])} failed (exit status {process.returncode}; see above)")
    return found
