"""A new process that runs a workload as usual and autotuned, in turns: `python -m benchmarks.tuned WORKLOAD ROUNDS S`.

Prints a line of JSON:

    usual, tuned      milliseconds of a call, summaries of ROUNDS rounds of S seconds each
    seconds           that tuning took, the compilation of what it tried included
    regions, changed  how many different ones were looked at, and how many of them have another schedule than the usual
    tried             schedules that were measured for them
"""

from __future__ import annotations

import gc
import json
import sys
import time
from dataclasses import asdict

from benchmarks.implementations import tgc_jit
from benchmarks.timing import Summary, timed
from benchmarks.workloads import WORKLOADS
from tgc.backends.cpu.backend import CpuBackend
from tgc.runtime.registry import get_backend


def main() -> None:
    """Print what is measured."""
    name, rounds, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    row = WORKLOADS[name]
    inputs, make = row.program.inputs(), getattr(tgc_jit, row.work)
    (usual,) = make(row.program, inputs).values()
    usual.call()
    start = time.perf_counter()
    (tuned,) = make(row.program, inputs, autotune=True).values()
    tuned.call()
    spent = time.perf_counter() - start
    gc.freeze()  # else each round begins with a look at all that the programs consist of
    taken: dict[str, list[list[int]]] = {"usual": [], "tuned": []}
    for k in range(rounds):
        for label, variant in [("usual", usual), ("tuned", tuned)][:: -1 if k % 2 else 1]:
            taken[label].append(timed(variant.call, seconds))
    backend = get_backend("cpu")
    assert isinstance(backend, CpuBackend)
    known = backend.tuner.known.values()
    found = {label: asdict(Summary.of(times, 1e-6)) for label, times in taken.items()}
    changed, tried = sum(bool(t.schedule) for t in known), sum(t.tried for t in known)
    print(json.dumps({**found, "seconds": spent, "regions": len(known), "changed": changed, "tried": tried}))


if __name__ == "__main__":
    main()
