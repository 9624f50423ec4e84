"""A new process's memory over some calls: `python -m benchmarks.peak IMPLEMENTATION WORKLOAD FOLDER CALLS`.

Prints a line of JSON of MiB (see `benchmarks.memory`). The resident set and its peak are the kernel's (VmRSS, VmHWM of
/proc/self/status), and the peak is reset before each part. A tiny program runs first, so that what a library imports
and sets up once (thread pools, allocators, compilers) is there before the resident set is first read.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.implementations import imported, variants
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Program, Tensor

MIB = 1 << 20


def _tiny(ops: Any, p: Any, x: Any) -> Any:
    return ops.dense(x, p["w"])


_ARRAYS = {"x": Tensor("plain", (4, 4))}, {"w": Tensor("matrix", (4, 8))}
TINY = {
    "calls": Program(_tiny, *_ARRAYS),
    "gradients": Program(_tiny, *_ARRAYS, cotangent=Tensor("plain", (4, 8))),
    "training": Program(_tiny, *_ARRAYS, Tensor("ids", (4,), 8)),
}


def status(name: str) -> float:
    """MiB of a line of this process's status."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in text.splitlines() if line.startswith(name)).split()[1]) / 1024


def resident() -> float:
    """MiB of the resident set, which becomes its own peak."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


def main() -> None:
    """Print what is measured."""
    name, workload, folder, calls = sys.argv[1:]
    tiny = TINY[WORKLOADS[workload].work]
    for variant in getattr(imported(name), WORKLOADS[workload].work)(tiny, tiny.inputs()).values():
        variant.call()
    empty = resident()
    made = variants(name, WORKLOADS[workload], Path(folder))
    variant = next(iter(made.values()))
    del made
    before = resident()
    variant.call()
    found = {"first": status("VmHWM") - before}
    resident()
    for _ in range(int(calls)):
        variant.call()
    found["steady"] = status("VmHWM") - empty
    if variant.arena:
        found["arena"] = variant.arena() / MIB
    print(json.dumps(found))


if __name__ == "__main__":
    main()
