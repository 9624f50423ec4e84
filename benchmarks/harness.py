"""Measures workloads x implementations x threads, each in a process of its own, in turns.

The processes live as long as the run and wait on a pipe between their turns, so one implementation's threads never
share a pool, its settings or the cores with another's. A round gives each process a turn; a change in the machine's
speed meets all of them alike. Nothing is timed before the results of all have been compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Summary
from benchmarks.workloads.base import Arrays, Workload
from tgc.backends.cpu.target import thread_count

ROOT = Path(__file__).parents[1]

# the variables that set the number of threads, for whichever library a worker runs
THREADS = ("TGC_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

SETTLE = 0.15  # seconds before a turn, in which the threads of the last one stop spinning: OpenBLAS's take the longest


class WorkerError(RuntimeError):
    """A worker ended before it answered."""


class DisagreementError(RuntimeError):
    """Two implementations of a workload computed different results."""


@dataclass(frozen=True)
class Settings:
    """How long to measure a workload.

    Attributes:
        rounds: turns of each worker per workload.
        seconds: of a turn.
        choice: seconds for each variant of an implementation that has several.
    """

    rounds: int
    seconds: float
    choice: float


def environment(caches: str, threads: int | None = None) -> dict[str, str]:
    """Of a process whose caches of compiled code are in that folder, with so many threads (None: one a core)."""
    own = {
        "TGC_CACHE": "1",
        "TGC_CACHE_DIR": f"{caches}/tgc",
        "TORCHINDUCTOR_CACHE_DIR": f"{caches}/torch",
        "JAX_COMPILATION_CACHE_DIR": f"{caches}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    # a checkout that may not keep its bytecode would be compiled at every start, as no installed package is
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **dict.fromkeys(THREADS, str(threads or thread_count())), **own}


class Worker:
    """A process of `benchmarks.worker`, with more in its environment where that is given."""

    def __init__(self, implementation: str, threads: int, more: Mapping[str, str] | None = None) -> None:
        self.implementation, self.threads = implementation, threads
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", implementation],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(THREADS, str(threads)), **(more or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __str__(self) -> str:
        return f"{self.implementation} with {self.threads} thread{'s' * (self.threads > 1)}"

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            WorkerError: the process ended instead.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self} failed at {do} {request} (exit status {self._process.wait()}; see above)")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@contextmanager
def workers(implementations: Sequence[str], threads: Sequence[int]) -> Iterator[list[Worker]]:
    """A worker for each implementation and number of threads."""
    with ExitStack() as stack:
        made = []
        for name in implementations:
            for n in threads:
                worker = Worker(name, n)
                stack.callback(worker.close)
                made.append(worker)
        yield made


def able(workload: Workload, team: Sequence[Worker]) -> list[Worker]:
    """The workers whose implementation has the workload."""
    return [w for w in team if w.implementation in workload.implementations]


def measure(
    workload: Workload, team: Sequence[Worker], settings: Settings, turn: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Compare the workers' results, then time them in turns.

    Args:
        workload: the work; workers whose implementation it lacks stay idle.
        team: the workers.
        settings: how long.
        turn: called after each turn.

    Returns:
        For each implementation its best number of threads, and for each number of threads the variant that was chosen
        the time of a call in milliseconds (median and least, the median of each round, how many calls), and seconds
        until all variants were ready and had been run once.

    Raises:
        DisagreementError: results differ by more than the workload's tolerance.
        WorkerError: a worker failed.
    """
    at_work = able(workload, team)
    ready = check(workload, at_work)
    chosen: dict[Worker, str] = {}
    taken: dict[Worker, list[list[int]]] = {}
    for w in at_work:
        time.sleep(SETTLE)
        chosen[w] = w.ask("choose", seconds=settings.choice)["variant"]
        taken[w] = []
    for r in range(settings.rounds):
        for k in range(len(at_work)):
            w = at_work[(r + k) % len(at_work)]  # each round begins with another one
            time.sleep(SETTLE)
            taken[w].append(w.ask("time", seconds=settings.seconds)["ns"])
            turn()
    found: dict[str, Any] = {}
    for w in at_work:
        s = Summary.of(taken[w], 1e-6)
        row = dict(median_ms=s.median, min_ms=s.least, rounds_ms=s.rounds, calls=s.samples, variant=chosen[w])
        row["setup_s"] = round(ready[w], 3)
        found.setdefault(w.implementation, {"threads": {}})["threads"][str(w.threads)] = row
    for each in found.values():
        each["best"] = min(each["threads"], key=lambda n: each["threads"][n]["median_ms"])
    return found


def profile(team: Sequence[Worker], found: dict[str, Any]) -> dict[str, Any] | None:
    """tgc's profile of the workload that was just measured, with its best number of threads; None without tgc."""
    best = found.get("tgc", {}).get("best")
    for w in team:
        if w.implementation == "tgc" and str(w.threads) == best:
            time.sleep(SETTLE)
            return w.ask("profile")
    return None


def check(workload: Workload, team: Sequence[Worker]) -> dict[Worker, float]:
    """Set the workload up in all workers and compare what their variants compute with what the first one does.

    Returns:
        Seconds that each took.

    Raises:
        DisagreementError: results differ by more than the workload's tolerance.
    """
    reference: Arrays = []
    first = ""
    taken = {}
    with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder:
        for w in team:
            start = time.perf_counter()
            counts: dict[str, int] = w.ask("setup", workload=workload.name, folder=folder)["results"]
            taken[w] = time.perf_counter() - start
            for label, count in counts.items():
                arrays = [np.load(Path(folder, f"{label}.{k}.npy")) for k in range(count)]
                if not first:
                    reference, first = arrays, f"{w} ({label})"
                compare(workload, arrays, reference, f"{w} ({label})", first)
    return taken


def compare(workload: Workload, a: Arrays, b: Arrays, a_name: str, b_name: str) -> None:
    """Require that results agree.

    Raises:
        DisagreementError: they differ in number, in shape or by more than the workload's tolerance.
    """
    where = f"{workload.name}: {a_name} and {b_name} differ"
    if [x.shape for x in a] != [y.shape for y in b]:
        raise DisagreementError(f"{where} in shapes: {[x.shape for x in a]} and {[y.shape for y in b]}")
    for k, (x, y) in enumerate(zip(a, b, strict=True)):
        distance, size = (np.linalg.norm(v.ravel(), workload.norm) for v in (x.astype(np.float64) - y, y))
        error = distance / max(size, np.finfo(np.float32).tiny)
        if not error <= workload.tolerance:  # NaN is no agreement
            raise DisagreementError(f"{where} in result {k} by {error:.2g} of its norm of order {workload.norm}")
