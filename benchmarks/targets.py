"""The programs with fewer instructions than the machine has: `python -m benchmarks.targets`.

Beside peers that are restricted alike, and with the thread counts from one to all, so that the table shows how the
programs scale too.

A row takes a minute and a half at three levels, two thirds of it timed calls and pauses between them; what the first
worker of an implementation compiles, the second one loads. `--only ROW --merge` measures one row after the other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import harness, report
from benchmarks.harness import Settings, Worker
from benchmarks.study import Rows, Study
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import PROGRAMS
from tgc.backends.cpu.target import X86_LEVELS, CpuTarget, thread_count

# what holds each implementation to a level; the peers' own names of instruction sets
LEVELS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "avx512": {"tgc": {"TGC_TARGET": "avx512"}, "torch": {}, "jax": {}},
    "avx2": {
        "tgc": {"TGC_TARGET": "avx2"},
        "torch": {
            "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        },
        "jax": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
    },
    "baseline": {
        "tgc": {"TGC_TARGET": "baseline"},
        "torch": {
            "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        },
        "jax": {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"},
    },
}  # fmt: skip
NEEDS = {"avx512": "x86-64-v4", "avx2": "x86-64-v3", "baseline": "x86-64"}

ABOUT = """\
Milliseconds of a call with no instructions beyond a level: AVX-512 (x86-64-v4), AVX2 (x86-64-v3) or SSE2 (the least
that x86-64 has). Peers are told the same by their own variables, the lowest of which is SSE4; libraries in them may not
obey (MKL on AMD's processors, some of XLA's code), which shows in times that stay as they are. The workers of a table
run in turns. *Scaling*: the time with one thread over that with all."""

COLUMNS = ("tgc", "torch", "jax")
FULL, QUICK = Settings(rounds=4, seconds=0.5, choice=0.3), Settings(rounds=1, seconds=0.1, choice=0.05)


def levels() -> list[str]:
    """Those that this machine has."""
    host, found = CpuTarget.host(), []
    names = list(X86_LEVELS)
    for level, least in NEEDS.items():
        needed: frozenset[str] = frozenset().union(*(X86_LEVELS[name] for name in names[names.index(least) :]))
        if host.triple.startswith("x86_64") and needed <= host.features:
            found.append(level)
    return found


def measure(row: str, implementations: Sequence[str], quick: bool) -> dict[str, Any]:
    """The times of each implementation at each level of the machine.

    Raises:
        DisagreementError: two results differ.
        WorkerError: a process that was measured failed.
    """
    workload, found = WORKLOADS[row], {}
    threads = sorted({1, thread_count()})
    for level in levels():
        with tempfile.TemporaryDirectory(prefix="tgc-benchmark-") as folder, ExitStack() as stack:
            team = []
            for name in implementations:
                for n in threads if name in workload.implementations else ():
                    worker = Worker(name, n, {**harness.environment(folder, n), **LEVELS[level][name]})
                    stack.callback(worker.close)
                    team.append(worker)
            for name, times in harness.measure(workload, team, QUICK if quick else FULL).items():
                found.setdefault(name, {})[level] = times
    return {"title": workload.title, "implementations": found}


def tables(rows: Rows) -> Iterator[tuple[str, report.Rows]]:
    """A table for each level."""
    for level in LEVELS:
        lines: report.Rows = [("workload", *COLUMNS, "scaling of tgc", *(f"{peer} to tgc" for peer in COLUMNS[1:]))]
        for row in rows.values():
            found = {name: each[level] for name, each in row["implementations"].items() if level in each}
            if "tgc" not in found:
                continue
            best = {name: each["threads"][each["best"]]["median_ms"] for name, each in found.items()}
            threads = found["tgc"]["threads"]
            alone, together = (threads[n]["median_ms"] for n in (min(threads, key=int), max(threads, key=int)))
            cells = [report.figure(best[name]) if name in best else "" for name in COLUMNS]
            ratios = [f"{best[peer] / best['tgc']:.2f}x" if peer in best else "" for peer in COLUMNS[1:]]
            lines.append((row["title"], *cells, f"{alone / together:.2f}", *ratios))
        if len(lines) > 1:
            yield f"{level}, ms a call", lines


STUDY = Study(
    "targets", ABOUT, [name for name, w in WORKLOADS.items() if w.group == PROGRAMS], COLUMNS, measure, tables
)

if __name__ == "__main__":
    STUDY.main()
