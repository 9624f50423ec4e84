"""A new process that serves texts: `python -m benchmarks.serve IMPLEMENTATION WORKLOAD FOLDER REQUESTS FEW FIXED`.

The requests are of sizes that all differ. Prints a line of JSON, in which pairs are of the first FEW requests and of
the others:

    programs, kernels  pairs: how many were made for them; of kernels, those that came into tgc's cache
    first, again       pairs of milliseconds a request, when the stream comes for the first time and once more
    longest            milliseconds of the longest of the others, for the first time
    dynamic, fixed     milliseconds of each of FIXED requests, median of some calls: as in the stream, and with a
                       program that is made for its sizes alone
    memory             MiB of the resident set when the stream has come once, above those before it

and leaves the result of the first request in FOLDER/IMPLEMENTATION.npy.
"""

from __future__ import annotations

import gc
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
    """Tokens i32[texts,time] of so many sizes, the same in every process; a longer stream begins as a shorter one."""
    rng = np.random.default_rng(0)
    lengths = TIME - SHORTEST + 1
    sizes = rng.permutation(TEXTS * lengths)[:requests]
    shapes = [(1 + int(k) // lengths, SHORTEST + int(k) % lengths) for k in sizes]
    return [rng.integers(0, WORDS, shape, dtype=np.int32) for shape in shapes]


def milliseconds(call: Callable[[], Any]) -> float:
    """Of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Print what is measured."""
    name, workload, folder, *numbers = sys.argv[1:]
    requests, few, fixed = map(int, numbers)
    served = serving(name, SERVED[workload], Path(folder))
    texts = stream(requests)
    before = resident()
    first, programs, kernels = [], [served.programs()], [_kernels()]
    for x in texts:
        first.append(milliseconds(lambda x=x: served.call(x)))  # type: ignore[misc]
        programs.append(served.programs())
        kernels.append(_kernels())
    memory = resident() - before
    gc.freeze()  # else each measurement begins with a look at all that the programs consist of
    again = [milliseconds(lambda x=x: served.call(x)) for x in texts]  # type: ignore[misc]
    np.save(Path(folder, f"{name}.npy"), np.asarray(served.call(texts[0])))
    some = texts[:: max(1, requests // fixed)][:fixed]
    found = {
        "requests": requests,
        "programs": [programs[few] - programs[0], programs[-1] - programs[few]],
        "kernels": [kernels[few] - kernels[0], kernels[-1] - kernels[few]],
        "first": [statistics.mean(first[:few]), statistics.mean(first[few:])],
        "again": [statistics.mean(again[:few]), statistics.mean(again[few:])],
        "longest": max(first[few:]),
        "memory": memory,
        "dynamic": [_median(lambda x=x: served.call(x)) for x in some],  # type: ignore[misc]
        "fixed": [_median(served.fixed(x)) for x in some],
    }
    print(json.dumps(found))


def _median(call: Callable[[], Any]) -> float:
    call()
    return statistics.median(timed(call, SECONDS)) * 1e-6


def _kernels() -> int:
    """Entries of machine code; plans have no symbol."""
    heads = (path.read_bytes().split(b"\n", 3)[2] for path in KernelCache.default().entries())
    return sum("symbol" in json.loads(head) for head in heads)


if __name__ == "__main__":
    main()
