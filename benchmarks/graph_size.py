"""How long tgc compiles a transformer encoder: `python -m benchmarks.graph_size LAYERS`.

Prints a line of JSON: nodes of the traced graph, launches and kernels (those that differ) of the program, and seconds
of each part of its compilation. Nothing is run, so the parameters are types.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from typing import Any

import tgc
from benchmarks.implementations.tgc_jit import Ops
from benchmarks.workloads.transformer import TIME, encoder, parameters
from tgc.backends.cpu.program import CpuProgram
from tgc.runtime.cache import KernelCache
from tgc.types import F32, I32, TensorType

BATCH = 4


def main() -> None:
    """Print what is measured."""
    layers = int(sys.argv[1])
    p = {name: TensorType(F32, t.shape) for name, t in parameters(layers).items()}

    def model(p: Any, x: Any) -> Any:
        return encoder(Ops(), p, x, layers)

    times = [time.perf_counter()]
    lowered = tgc.jit(model).lower(p, TensorType(I32, (BATCH, TIME)))
    times.append(time.perf_counter())
    nodes = len(lowered.graph.nodes)
    planned = lowered.compilation.result
    times.append(time.perf_counter())
    program = lowered.compile().executable
    times.append(time.perf_counter())
    assert isinstance(program, CpuProgram)
    parts = dict(zip(("trace_s", "passes_s", "kernels_s"), (b - a for a, b in pairwise(times)), strict=True))
    kernels = sum(1 for _ in KernelCache.default().entries())
    print(json.dumps({"layers": layers, "nodes": nodes, "launches": len(planned.nodes), "kernels": kernels, **parts}))


if __name__ == "__main__":
    main()
