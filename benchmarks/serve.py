"""A new process that serves texts: `python -m benchmarks.serve IMPLEMENTATION WORKLOAD FOLDER REQUESTS FIXED`.

The requests are of sizes that all differ. Prints a line of JSON:

    first, again       milliseconds of each request, when the stream comes for the first time and once more
    programs, kernels  how many had been made before each request and at the end; of kernels, those in tgc's cache
    dynamic, fixed     milliseconds of FIXED of the requests, median of some calls: as in the stream, and with a program
                       for each that is made for its sizes alone
    memory             MiB of the resident set when the stream has come once, above those before it

and leaves the results of the FIXED requests in FOLDER/IMPLEMENTATION.K.npy.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.implementations import serving
from benchmarks.peak import resident
from benchmarks.timing import timed
from benchmarks.workloads import SERVED
from benchmarks.workloads.transformer import TIME, WORDS
from tgc.runtime.cache import KernelCache

TEXTS, SHORTEST = 8, 8  # a request has 1 to TEXTS texts of SHORTEST to TIME tokens
SECONDS = 0.2  # of a measurement of one request


def stream(requests: int) -> list[np.ndarray]:
    """Tokens i32[texts,time] of so many sizes, the same in every process."""
    rng = np.random.default_rng(0)
    lengths = TIME - SHORTEST + 1
    sizes = rng.choice(TEXTS * lengths, requests, replace=False)
    shapes = [(1 + int(k) // lengths, SHORTEST + int(k) % lengths) for k in sizes]
    return [rng.integers(0, WORDS, shape, dtype=np.int32) for shape in shapes]


def milliseconds(call: Callable[[], Any]) -> float:
    """Of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Print what is measured."""
    name, workload, folder, requests, fixed = sys.argv[1:]
    served = serving(name, SERVED[workload], Path(folder))
    texts = stream(int(requests))
    before = resident()
    first, programs, kernels = [], [served.programs()], [_kernels()]
    for x in texts:
        first.append(milliseconds(lambda x=x: served.call(x)))  # type: ignore[misc]
        programs.append(served.programs())
        kernels.append(_kernels())
    memory = resident() - before
    again = [milliseconds(lambda x=x: served.call(x)) for x in texts]  # type: ignore[misc]
    some = texts[:: max(1, len(texts) // int(fixed))][: int(fixed)]
    for k, x in enumerate(some):
        np.save(Path(folder, f"{name}.{k}.npy"), np.asarray(served.call(x)))
    found = {
        "first": first,
        "again": again,
        "programs": programs,
        "kernels": kernels,
        "memory": memory,
        "dynamic": [_median(lambda x=x: served.call(x)) for x in some],  # type: ignore[misc]
        "fixed": [_median(served.fixed(x)) for x in some],
    }
    print(json.dumps(found))


def _median(call: Callable[[], Any]) -> float:
    call()
    return statistics.median(timed(call, SECONDS)) * 1e-6


def _kernels() -> int:
    return sum(1 for _ in KernelCache.default().entries())


if __name__ == "__main__":
    main()
