"""What tests of the CPU backend's machine code share: cache and loader of their own, a driver, frames, assembly."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

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


def loops_of(emit: Callable[[ir.Module], ir.Function], cpu: str) -> list[list[str]]:
    """The assembly of each loop, inner ones among them, of the function that `emit` defines, for an x86-64 CPU."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = "x86_64-unknown-linux-gnu"
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    module = ir.Module()
    module.triple = triple
    emit(module).linkage = ""  # external: kept although nothing calls it
    parsed = llvm.parse_assembly(str(module))
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(3))
    passes.getModulePassManager().run(parsed, passes)
    lines = machine.emit_assembly(parsed).splitlines()
    labels = {line.rstrip(":"): i for i, line in enumerate(lines) if line.startswith(".LBB")}
    jumps = ((re.match(r"\tj\w+\t(\.LBB\S+)", line), i) for i, line in enumerate(lines))
    return [lines[labels[jump[1]] : i] for jump, i in jumps if jump and labels[jump[1]] < i]
