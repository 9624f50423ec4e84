"""How long kernels take to load that lie in the cache: `python -m benchmarks.load_time WORKLOAD KERNELS`.

Prints a line of JSON, {"kernels", "bytes", "load_ms"}: how many there were, of how many bytes, and the time of each of
some loads, each by a loader of its own. Those that the cache lacks are compiled before.
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks.implementations.tgc_jit import Training
from benchmarks.workloads import WORKLOADS
from tgc.backends.cpu.loader import Loader, kernel_key, load_kernels
from tgc.backends.cpu.target import CpuTarget
from tgc.runtime.cache import KernelCache

LOADS = 7


def main() -> None:
    """Print what is measured."""
    program = WORKLOADS[sys.argv[1]].program
    sources = Training(program, program.inputs()).lower().kernels
    kernels = [(source, name) for name, source in sources.items()][: int(sys.argv[2])]
    target, cache = CpuTarget.host(), KernelCache.default()
    load_kernels(kernels, target, cache, Loader())
    taken = []
    for _ in range(LOADS):
        loader = Loader()
        start = time.perf_counter()
        load_kernels(kernels, target, cache, loader)
        taken.append((time.perf_counter() - start) * 1e3)
    size = sum(len(cache.get(kernel_key(*kernel, target)) or b"") for kernel in kernels)
    print(json.dumps({"kernels": len(kernels), "bytes": size, "load_ms": taken}))


if __name__ == "__main__":
    main()
