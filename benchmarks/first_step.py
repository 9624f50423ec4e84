"""A new process up to its first training step: `python -m benchmarks.first_step BATCH NEW_BATCH`.

A CNN training step of one batch size, then one of another. Prints two lines of JSON, one as soon as the first step is
done: {"import_s", "first_step_s"}, then {"new_batch_ms", "new_kernels"}: what the first step of the other size
took beyond a later one, and how many kernels it added to the cache.
"""

from __future__ import annotations

import json
import sys
import time

IMPORTING = time.perf_counter()

from benchmarks.implementations.tgc_jit import Training  # noqa: E402  # timed
from benchmarks.workloads import cnn  # noqa: E402
from tgc.runtime.cache import KernelCache  # noqa: E402

LATER = 5  # steps of which the quickest stands for a step that compiles nothing


def seconds(training: Training) -> float:
    """Time of one step."""
    start = time.perf_counter()
    training.step()
    return time.perf_counter() - start


def main() -> None:
    """Print what is measured."""
    imported = time.perf_counter() - IMPORTING
    programs = [cnn.program(int(size), trains=True) for size in sys.argv[1:]]
    first, other = (p.inputs() for p in programs)
    training = Training(programs[0], first)
    whole = seconds(training)
    print(json.dumps({"import_s": imported, "first_step_s": whole}), flush=True)
    cache = KernelCache.default()
    before = sum(1 for _ in cache.entries())
    training.use(other)
    new = seconds(training)
    cost = (new - min(seconds(training) for _ in range(LATER))) * 1e3
    print(json.dumps({"new_batch_ms": cost, "new_kernels": sum(1 for _ in cache.entries()) - before}))


if __name__ == "__main__":
    main()
