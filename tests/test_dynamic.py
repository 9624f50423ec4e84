"""Programs for many sizes: what they compute beside programs for one, and what they share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from dynamic_programs import PINNED, PROGRAMS, encoder, executable, leaves, programs, requests

import tgc
from tgc.backends.cpu.backend import CpuBackend
from tgc.interpret import interpret
from tgc.passes import lanes
from tgc.runtime.lowered import Lowered, same

jitting: Any = import_module("tgc.jit")  # in the package, a function has its name


@pytest.mark.parametrize("name", PROGRAMS)
def test_other_sizes_beside_programs_of_their_own(name: str) -> None:
    """Results are those of programs for one size, and the oracle's."""
    program = PROGRAMS[name]
    f = program.function
    rng = np.random.default_rng(len(name))
    dynamic = tgc.jit(f)
    for k in range(5):
        args = program.draw(rng)
        found = leaves(dynamic(*args))
        alone = tgc.jit(f)
        expected = leaves(alone(*args))
        oracle = interpret(alone.lower(*args).graph, *args)
        for a, b, c in zip(found, expected, oracle, strict=True):
            assert same(a, b), f"{name}, call {k}"
            assert same(a, c), f"{name}, call {k}"
    if name not in PINNED:
        assert 1 <= programs(dynamic) <= 3


SAME = ("mlp", "block", "cnn", "winograd", "depthwise", "elementwise", "lstm", "scan", "loops", "causal")


@pytest.mark.parametrize("name", SAME)
def test_tables_at_the_hints(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the sizes that it was traced with, a program's plan is the one that is compiled for them alone.

    They are such that tiles for any number of columns are no wider than tiles for these.
    """
    monkeypatch.setattr(lanes, "LEAST", 1 << 60)  # symbols, which have no divisors, make none
    program = PROGRAMS[name]
    f = program.function
    rng = np.random.default_rng(1)
    dynamic = tgc.jit(f)
    dynamic(*program.draw(rng))
    args = program.draw(rng, 50, 64)
    found, expected = (executable(g, *args) for g in (dynamic, tgc.jit(f)))
    a, b = found.told(), expected.told()
    for table in ("rows", "arguments", "owners"):
        assert np.array_equal(getattr(a, table), getattr(b, table)), table
    for fact in ("kernels", "facts", "words", "arena", "inputs", "results", "donations", "moved", "largest"):
        assert getattr(a, fact) == getattr(b, fact), fact
    assert all(np.array_equal(a.constants[k], b.constants[k]) for k in a.constants.keys() | b.constants.keys())
    assert programs(dynamic) == 1


# ----------------------------------------------------------------------------------------------------- streams of sizes


class Counter:
    """Counts what is made: traces, runs of the passes, lowerings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.traces = self.passes = self.lowerings = 0
        trace, run, launches = jitting.Jit._trace, Lowered.compilation.func, CpuBackend.launches

        def traced(*args: Any) -> Any:
            self.traces += 1
            return trace(*args)

        def passed(lowered: Any) -> Any:
            self.passes += 1
            return run(lowered)

        def lowered(*args: Any) -> Any:
            self.lowerings += 1
            return launches(*args)

        monkeypatch.setattr(jitting.Jit, "_trace", traced)
        monkeypatch.setattr(Lowered.compilation, "func", passed)
        monkeypatch.setattr(CpuBackend, "launches", lowered)

    @property
    def all(self) -> tuple[int, int, int]:
        return self.traces, self.passes, self.lowerings


def test_a_stream_of_sizes_compiles_nothing_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trace, no pass, no lowering for 190 of 200 sizes of an encoder; the results of some are checked."""
    f, counted, few = tgc.jit(encoder), Counter(monkeypatch), 10
    stream = requests(200)
    found = [f(x) for x in stream[:few]]
    before = counted.all
    found += [f(x) for x in stream[few:]]
    assert counted.all == before
    assert programs(f) <= 3
    for x, y in list(zip(stream, found, strict=True))[::40]:
        assert np.array_equal(y, tgc.jit(encoder)(x))


def test_instances_share_memory_and_constants() -> None:
    f = tgc.jit(encoder)
    stream = requests(30)
    for x in stream:
        f(x)
    made = [executable(f, x) for x in stream if x.shape[0] > 1][1:]
    assert len(made) > 10
    shared = {id(a) for a in made[0].plan.constants.values()}
    assert all({id(a) for a in p.plan.constants.values()} == shared for p in made)
    (arenas,) = {p._arenas for p in made}
    assert arenas is not None
    assert len(arenas._free) == 1
    assert arenas._free[0].nbytes >= max(p.plan.arena for p in made)


def test_instances_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jitting, "INSTANCES", 4)
    f = tgc.jit(lambda x: x * 2 + 1)
    for _ in range(2):
        for n in range(1, 40):
            x = np.arange(n)
            assert np.array_equal(f(x), x * 2 + 1)
            assert max(len(f._instances), len(f._older)) <= 4
            assert len(f._entries) <= 4 + 4  # those of the first size, of one element, and instances
    assert programs(f) == 1


def test_threads_share_a_program() -> None:
    """Calls of many sizes at once, the first ones among them."""
    f = tgc.jit(encoder)
    stream = requests(40, seed=3)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(f, [*stream, *stream[::-1]]))
    own = tgc.jit(encoder)
    expected = [own(x) for x in stream]
    assert all(np.array_equal(a, b) for a, b in zip(found, [*expected, *expected[::-1]], strict=True))
    assert programs(f) <= 3
