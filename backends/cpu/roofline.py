"""The limits of the machine, measured with the threads and the launch loop that programs have."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from tgc.backends.cpu.driver import Driver
from tgc.backends.cpu.loader import Loader, load_kernels
from tgc.backends.cpu.target import CpuTarget
from tgc.runtime.cache import KernelCache
from tgc.runtime.profile import Roofline
from tgc.types import F32

CHAINS, BLOCK = 12, 1 << 16  # as in peak.py, which is not imported here: it needs Numba
TURNS = 100_000
ELEMENTS = 1 << 25  # of each of two float32 arrays
ROUNDS = 7


def measure(target: CpuTarget, driver: Driver, cache: KernelCache, loader: Loader) -> Roofline:
    """The limits for float32; takes some 0.3 s and for that time 256 MiB."""
    source = Path(__file__).with_name("peak.py").read_text(encoding="utf-8")
    kernels = load_kernels([(source, "arithmetic"), (source, "memory")], target, cache, loader)
    tiles = 4 * driver.threads
    out, x, y = np.zeros(tiles, F32), np.ones(ELEMENTS, F32), np.ones(ELEMENTS, F32)
    bases = np.array([0, *(a.ctypes.data for a in (out, x, y))], np.int64)
    arguments = np.array([[1, 0], [0, TURNS], [2, 0], [3, 0]], np.int64)
    launches = np.array([[kernels[0], 0, tiles, tiles, 2], [kernels[1], 2, ELEMENTS // BLOCK, tiles, 2]], np.int64)
    frame = driver.frame(launches, arguments, bases)
    seconds = []
    for k in range(2):
        taken = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            driver.run(frame, k, k + 1)
            taken.append(time.perf_counter() - start)
        seconds.append(min(taken))
    return Roofline(2 * CHAINS * target.lanes(F32) * TURNS * tiles / seconds[0], (x.nbytes + y.nbytes) / seconds[1])
