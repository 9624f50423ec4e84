"""A new process up to the first result of a saved program: `python -m benchmarks.saved IMPLEMENTATION FILE INPUTS`.

Prints two lines of JSON of seconds: as soon as there is a result {"read_s", "import_s", "load_s", "first_s", "sum"},
for reading the inputs (an `npz` file), importing the implementation, loading the file and the first call, and the sum
of the result's magnitudes; then {"call_s"}, the quickest of some later calls.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

LATER = 5
OPTIMIZED = "onnxruntime, optimized"  # a model that ONNX Runtime has optimized, and saved, before


def _tgc(file: str) -> Callable[..., Any]:
    import tgc

    imported()
    loaded = tgc.load(file)
    return lambda data: loaded(*data.values())


def _onnxruntime(file: str, optimized: bool = False) -> Callable[..., Any]:
    import onnxruntime

    imported()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_DISABLE_ALL if optimized else levels.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda data: session.run(None, data)[0]


LOADERS: dict[str, Callable[[str], Callable[..., Any]]] = {
    "tgc": _tgc,
    "onnxruntime": _onnxruntime,
    OPTIMIZED: lambda file: _onnxruntime(file, optimized=True),
}
times = [time.perf_counter()]


def imported() -> None:
    """An implementation has been imported."""
    times.append(time.perf_counter())


def main() -> None:
    """Print what is measured."""
    name, file, inputs = sys.argv[1:]
    with np.load(inputs) as arrays:
        data = dict(arrays)
    times.append(time.perf_counter())
    call = LOADERS[name](file)
    times.append(time.perf_counter())
    result = call(data)
    times.append(time.perf_counter())
    taken = [b - a for a, b in pairwise(times)]
    found = dict(zip(("read_s", "import_s", "load_s", "first_s"), taken, strict=True))
    print(json.dumps({**found, "sum": float(np.abs(result).sum())}), flush=True)
    later = [time.perf_counter()]
    for _ in range(LATER):
        call(data)
        later.append(time.perf_counter())
    print(json.dumps({"call_s": min(b - a for a, b in pairwise(later))}))


if __name__ == "__main__":
    main()
