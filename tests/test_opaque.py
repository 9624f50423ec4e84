"""Opaque ops in compiled programs: their callbacks in loops, threads, forked processes, and when they fail."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tgc
import tgc.numpy as tnp
from tgc.errors import BackendError, LinearAlgebraError
from tgc.ir import Builder
from tgc.ops.kinds import REGISTRY, no_gradient
from tgc.ops.opaque import Opaque
from tgc.ops.samples import reals, samples
from tgc.runtime.lowered import Lowered
from tgc.types import F64, tensor_type

X = np.random.default_rng(0).standard_normal((3, 4, 4))


def test_in_loops() -> None:
    """A body that factors: the same callback at other places at each step."""

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        q, r = tnp.linalg.qr(carry + x)
        return tnp.matmul(r, q), tnp.sort(r, 0)

    carry, rows = tgc.jit(lambda x: tgc.scan(step, tnp.eye(4), x))(X)
    want, sorted_rows = np.eye(4), []
    for x in X:
        q, r = np.linalg.qr(want + x)
        want = r @ q
        sorted_rows.append(np.sort(r, 0))
    np.testing.assert_allclose(carry, want, rtol=1e-12)
    np.testing.assert_allclose(rows, sorted_rows, rtol=1e-12)


def test_in_vmap() -> None:
    got = tgc.vmap(lambda x: tnp.linalg.svdvals(x[:3]))(X)
    np.testing.assert_allclose(got, np.linalg.svd(X[:, :3], compute_uv=False))


def test_results_that_nobody_reads() -> None:
    graph = tgc.jit(lambda x: tnp.linalg.eigh(x).eigenvalues + 0).lower(X).graph
    (got,) = Lowered(graph).compile()([X])
    np.testing.assert_allclose(got, np.linalg.eigvalsh(X))


def test_threads_fail_by_themselves() -> None:
    """Concurrent calls of one program: an error is raised in the thread of its call, and only there."""
    f = tgc.jit(lambda x: tnp.linalg.inv(x))
    good, bad = np.eye(3) * 2, np.zeros((3, 3))
    f(good)
    wrong: list[str] = []

    def work(k: int) -> None:
        for i in range(20):
            singular = (i + k) % 2 == 0
            try:
                out = f(bad if singular else good)
                if singular or not np.array_equal(out, np.eye(3) / 2):
                    wrong.append("no error, or another result")
            except LinearAlgebraError:
                if not singular:
                    wrong.append("the error of another call")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_a_forked_process() -> None:
    f = tgc.jit(lambda x: tnp.sort(x * 2))
    want = f(X)
    pid = os.fork()
    if not pid:
        os._exit(0 if np.array_equal(f(X), want) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.fixture
def broken() -> Iterator[Opaque]:
    """An op whose routine raises what its operand says."""

    def routine(x: np.ndarray) -> np.ndarray:
        if x[0] == 1:
            raise ZeroDivisionError("by one")
        if x[0] == 2:
            raise KeyboardInterrupt
        return x

    yield Opaque(
        "broken", attrs={}, type_rule=lambda op, operands: tuple(operands), domain=frozenset({F64}), reference=routine,
        grad=no_gradient, batch=lambda *a: a, samples=samples(reals()),
    )  # fmt: skip
    del REGISTRY["broken"]


def test_routines_that_raise(broken: Opaque) -> None:
    builder = Builder("main")
    x = builder.input(tensor_type(F64, (2,)))
    program = Lowered(builder.build(builder.emit(broken, [x]))).compile()
    gc.collect()
    with pytest.raises(BackendError, match=r"broken\(f64\[2\]\) raised ZeroDivisionError: by one") as e:
        program([np.ones(2)])
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    with pytest.raises(KeyboardInterrupt):
        program([np.full(2, 2.0)])
    np.testing.assert_array_equal(program([np.full(2, 3.0)])[0], [3, 3])
