"""tgc's first CNN training step of another batch size: `python -m benchmarks.new_batch BATCH NEW_BATCH`.

Prints a line of JSON, {"new_batch_ms", "new_kernels"}: what the first step of the other size took beyond a later one,
and how many kernels it added to the cache.
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks.implementations.tgc_jit import Training
from benchmarks.workloads import cnn
from tgc.runtime.cache import KernelCache

LATER = 5  # steps of which the quickest stands for a step that compiles nothing


def milliseconds(training: Training) -> float:
    """Time of one step."""
    start = time.perf_counter()
    training.step()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Print what is measured."""
    programs = [cnn.program(int(size), trains=True) for size in sys.argv[1:]]
    training = Training(programs[0], programs[0].inputs())
    training.step()
    cache = KernelCache.default()
    before = sum(1 for _ in cache.entries())
    training.use(programs[1].inputs())
    new = milliseconds(training)
    cost = new - min(milliseconds(training) for _ in range(LATER))
    print(json.dumps({"new_batch_ms": cost, "new_kernels": sum(1 for _ in cache.entries()) - before}))


if __name__ == "__main__":
    main()
