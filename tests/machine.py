"""What tests of the CPU backend's machine code share: a cache and loader of their own, a driver, frames, processes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tgc.backends.cpu.driver import Driver, Frame
from tgc.backends.cpu.loader import Loader, load_kernels
from tgc.backends.cpu.target import CpuTarget
from tgc.runtime.cache import KernelCache

HOST = CpuTarget.host()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> KernelCache:
    return KernelCache(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def loader() -> Loader:
    return Loader()


@pytest.fixture(scope="module")
def load(cache: KernelCache, loader: Loader) -> Callable[[str], int]:
    """The address of the one kernel, named `kernel`, of a source."""
    return lambda source: load_kernels([(textwrap.dedent(source), "kernel")], HOST, cache, loader)[0]


@pytest.fixture(scope="module")
def driver(cache: KernelCache, loader: Loader) -> Driver:
    """A driver of three threads, however many the machine has."""
    return Driver(dataclasses.replace(HOST, threads=3), cache, loader)


ALIVE: list[object] = []


def frame_of(driver: Driver, launches: list[tuple[int, int, int]], *arguments: object) -> Frame:
    """A frame of launches (kernel, tiles, parts) that all get the same arguments: arrays, kept alive, or numbers."""
    buffers = [a for a in arguments if isinstance(a, np.ndarray)]
    ALIVE.extend(buffers)
    bases = np.array([0, *(a.ctypes.data for a in buffers)], np.int64)
    pairs, number = [], 0
    for argument in arguments:
        number += isinstance(argument, np.ndarray)
        pairs.append((number, 0) if isinstance(argument, np.ndarray) else (0, argument))
    table = np.array(pairs, np.int64).reshape(-1, 2)
    rows = [(address, 0, tiles, parts, len(pairs)) for address, tiles, parts in launches]
    return driver.frame(np.array(rows, np.int64).reshape(-1, 5), table, bases)


def run_script(body: str) -> None:
    """Run Python code in a process of its own, with the usual imports and those of this module."""
    prelude = f"""
        import dataclasses, os, sys, threading, time
        from pathlib import Path
        import numpy as np
        from tgc.backends.cpu.driver import Driver
        from tgc.backends.cpu.loader import Loader, load_kernels
        from tgc.runtime.cache import KernelCache
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from machine import HOST, frame_of
        """
    script = textwrap.dedent(prelude) + textwrap.dedent(body)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr
