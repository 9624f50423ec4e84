"""Implementations in processes of their own, timed in turns.

Each worker sets up one implementation with one number of threads and then waits; the parent asks one after the other
for a round of timings, so that the machine's moods reach all of them alike and idle ones do not spin.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TOOLS = ("tgc", "numba", "llvmlite", "numpy", "torch")


@dataclass
class Worker:
    """One implementation with one number of threads, in a process that serves rounds of timings."""

    name: str
    threads: int
    process: subprocess.Popen[str]

    @staticmethod
    def start(module: str, implementation: str, threads: int, **options: Any) -> Worker:
        env = {**os.environ, "TGC_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", module, "--serve", implementation, json.dumps(options)]
        process = subprocess.Popen(command, env=env, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return Worker(implementation, threads, process)

    def ask(self, calls: int) -> list[float]:
        """Seconds of each of `calls` calls."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{calls}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker for {self.name} died with status {self.process.wait()}")
        found: list[float] = json.loads(answer)
        return found

    def stop(self) -> None:
        """Hang up, and wait until the process has ended."""
        self.process.communicate()


def serve(call: Callable[[], Any]) -> None:
    """The worker's side: time calls as asked, until the parent hangs up."""
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)


def compare(workers: Sequence[Worker], rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """implementation -> median and minimum in milliseconds at its best number of threads."""
    seconds: dict[tuple[str, int], list[float]] = {(w.name, w.threads): [] for w in workers}
    for w in workers:
        w.ask(2)
    for _ in range(rounds):
        for w in workers:
            seconds[w.name, w.threads] += w.ask(calls)
    best: dict[str, dict[str, float]] = {}
    for (name, threads), found in seconds.items():
        row = {"median": statistics.median(found) * 1e3, "minimum": min(found) * 1e3, "threads": threads}
        if name not in best or row["median"] < best[name]["median"]:
            best[name] = row
    return best


def machine() -> Mapping[str, str]:
    """What the timings were taken on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [x.partition(":")[2].strip() for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = lines[0] if lines else cpu
    found = {"cpu": cpu, "cores": str(os.cpu_count()), "python": platform.python_version()}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            found[tool] = "not installed"
    return found
