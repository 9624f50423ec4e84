"""What a call costs beyond its kernels: a compiled function of 20 kernels too small to be shared by threads.

The function is measured from the outside in: as the user calls it, without the dispatch on its arguments' types,
without the preparation of a call (the native launch loop alone, on a frame that is ready), and each kernel by itself.
The last is a bound from above: a kernel that runs alone, between calls from Python, finds colder caches and predictors.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

import tgc
from benchmarks.timing import Summary, timed
from tgc import numpy as tnp
from tgc.backends.cpu.program import CpuProgram

KERNELS = 20


def chain(x: Any, w: Any) -> Any:
    """A kernel for each product; each needs all of the one before."""
    for _ in range(KERNELS):
        x = tnp.tanh(x @ w)
    return x


def measure(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Microseconds a call at each depth, as rows of `startup.measure`; `rounds` turns of some `seconds` each.

    Raises:
        RuntimeError: the function was not compiled to that many kernels.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 16), dtype=np.float32)
    w = rng.standard_normal((16, 16), dtype=np.float32) / 4
    jitted = tgc.jit(chain)
    program = jitted.lower(x, w).compile().executable
    assert isinstance(program, CpuProgram)
    driver = program.driver
    results = program([x, w])  # kept: the frame that this call leaves behind writes to these arrays
    frame = program._idle[-1].frame
    if len(frame.launches) != KERNELS:
        raise RuntimeError(f"{KERNELS} kernels were expected; the compiler made {len(frame.launches)}")

    depths: dict[str, Callable[[], object]] = {
        "call": lambda: jitted(x, w),
        "program": lambda: program([x, w]),
        "launches": lambda: driver.run(frame),
        "empty": lambda: driver.run(frame, 0, 0),
        **{f"kernel {k}": lambda k=k: driver.run(frame, k, k + 1) for k in range(KERNELS)},  # type: ignore[misc]
    }
    taken: dict[str, list[float]] = {name: [] for name in depths}  # the median of each round
    for _ in range(rounds):
        for name, depth in depths.items():
            share = seconds / KERNELS if name.startswith("kernel") else seconds
            taken[name].append(statistics.median(timed(depth, share)) * 1e-3)
    del results

    kernels = [sum(taken[f"kernel {k}"][r] - taken["empty"][r] for k in range(KERNELS)) for r in range(rounds)]
    found = {
        f"call of {KERNELS} small kernels": taken["call"],
        "of it without jit's dispatch": taken["program"],
        "of it the native launch loop": taken["launches"],
        "the kernels, each timed alone": kernels,
        "overhead of a call outside of the launch loop": [
            a - b for a, b in zip(taken["call"], taken["launches"], strict=True)
        ],
    }
    return [{"name": name, "unit": "us", **vars(Summary.of([[v] for v in values]))} for name, values in found.items()]
