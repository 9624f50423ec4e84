"""Memory of calls: made present ahead by what an earlier process needed, and kept for what is moved at the end."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgc
import tgc.numpy as tnp
from tgc.backends.cpu import present
from tgc.backends.cpu.backend import CpuBackend
from tgc.backends.cpu.present import LEAST, Present
from tgc.runtime.cache import KernelCache

X = np.random.default_rng(0).standard_normal((2400, 2400)).astype(np.float32)
jit_module = importlib.import_module("tgc.jit")


def new(folder: Path, monkeypatch: pytest.MonkeyPatch, threads: int = 2) -> CpuBackend:
    """A backend as another process would have it, which `jit` uses from now on."""
    backend = CpuBackend()
    backend.target = replace(backend.target, threads=threads)
    backend.__dict__["cache"] = KernelCache(folder)
    for module in (jit_module, importlib.import_module("tgc.runtime.lowered")):
        monkeypatch.setattr(module, "get_backend", lambda name: backend)
    return backend


def two(x: Any) -> Any:
    y = tnp.cumsum(x, axis=0)
    return (y @ y).sum(), y


def arena(f: Any, *args: Any) -> Any:
    """The memory between arguments and results of the program that was called last."""
    return f.compiled(*args).executable._idle[0].arena


def test_memory_that_an_earlier_process_needed_is_made_present(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Present] = []

    class Recorded(Present):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            made.append(self)

    monkeypatch.setattr(present, "Present", Recorded)
    results, launched = [], CpuBackend._launched
    compiling: list[int] = []  # how much was present when kernels were about to be made

    def noted(backend: CpuBackend, *args: Any) -> Any:
        compiling.append(len(made))
        return launched(backend, *args)

    monkeypatch.setattr(CpuBackend, "_launched", noted)
    for process in range(3):
        new(tmp_path, monkeypatch)
        f = tgc.jit(two)
        results.append(f(X))
        assert len(made) == process + 1
        assert compiling == [1]  # the first process knows as soon as memory is planned
        assert arena(f, X) is made[-1]._memory
        assert arena(f, X).nbytes >= LEAST
    for result in results[1:]:
        for a, b in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(a, b)
    [entry] = (e for e in KernelCache(tmp_path).listing() if e.kind == "arena")
    assert entry.name == "two"

    tgc.jit(two)(X[:50, :50])  # other types: there is no guess
    assert len(made) == 3
    new(tmp_path, monkeypatch, threads=1)
    tgc.jit(two)(X)
    assert len(made) == 3


def test_a_wrong_guess_is_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function of that name has changed: it needs more, or less."""
    for scale in (1, 3, 1):
        new(tmp_path, monkeypatch)

        def f(x: Any, scale: int = scale) -> Any:
            return [(tnp.cumsum(x * k, axis=0) @ x).sum() for k in range(1, scale + 1)]

        found = tgc.jit(f)(X)
        for k, total in enumerate(found, 1):
            np.testing.assert_allclose(total, (np.cumsum(np.float64(X) * k, axis=0) @ X).sum(), rtol=1e-2)


def test_what_is_present_is_handed_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(present, "CHUNK", 1 << 12)
    memory = Present(1 << 22)
    taken = memory.take(1 << 21)
    assert taken.nbytes == 1 << 22
    assert Present(100).take(200).nbytes == 200


def test_results_that_are_moved_take_no_new_memory() -> None:
    """The new values of two donated arguments that change places are computed elsewhere, always in the same place."""
    f = tgc.jit(lambda p, q: (tnp.sin(q).T, tnp.cos(p).T), donate=("p", "q"))
    p, q = X[:64, :64].copy(), X[:64, 64:128].copy()
    program = f.compiled(p, q).executable
    assert program.plan.moved
    for _ in range(3):
        want = np.sin(q).T.copy(), np.cos(p).T.copy()
        at = p.ctypes.data, q.ctypes.data
        p, q = f(p, q)
        assert (p.ctypes.data, q.ctypes.data) == at
        np.testing.assert_allclose(p, want[0], rtol=1e-5)
        np.testing.assert_allclose(q, want[1], rtol=1e-5)
    assert not program._fresh
    assert program.arena >= program.plan.arena + sum(program.plan.results[k].nbytes for k in program.plan.moved)
