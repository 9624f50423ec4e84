"""What compilation costs: cold, in a second process, for a new batch size; and what every call costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import overhead
from benchmarks.harness import ROOT, WorkerError
from benchmarks.timing import Summary

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
    for _ in range(settings.colds):
        with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder:
            for starts, count in ((cold, 1), (warm, settings.warms)):
                for _ in range(count):
                    starts.append(_start(folder))
                    turn()
    rows = [
        _row("cold start to the end of the first training step", "s", cold, "total_s"),
        _row("warm start to the end of the first training step", "s", warm, "total_s"),
        _row("of it imports", "s", warm, "import_s"),
        _row("of it trace, passes, loading and the step", "s", warm, "first_step_s"),
        _row("first step of a new batch size", "ms", cold, "new_batch_ms"),
        _row("kernels compiled for it", "", cold, "new_kernels"),
        *overhead.measure(settings.rounds, settings.seconds),
    ]
    turn()
    return rows


def turns(settings: Settings) -> int:
    """How often `measure` calls its `turn`."""
    return settings.colds * (1 + settings.warms) + 1


def _row(name: str, unit: str, starts: list[dict[str, float]], figure: str) -> dict[str, Any]:
    return {"name": name, "unit": unit, **vars(Summary.of([[s[figure]] for s in starts]))}


def _start(cache: str) -> dict[str, float]:
    """What a process measured whose kernel cache is that folder, and `total_s`, from its creation on."""
    environment = {**os.environ, "TGC_CACHE": "1", "TGC_CACHE_DIR": cache}
    command = [sys.executable, "-m", "benchmarks.first_step", str(BATCH), str(NEW_BATCH)]
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        total = time.perf_counter() - start
        second = process.stdout.read()
    if process.returncode:
        raise WorkerError(f"benchmarks.first_step failed (exit status {process.returncode}; see above)")
    return {"total_s": total, **json.loads(first), **json.loads(second)}
