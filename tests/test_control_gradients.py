"""Gradients of loops and branches: by finite differences, compiled against the oracle, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest
from gradients import _total, check_gradients
from traced import graph_of

import tgc
import tgc.numpy as tnp
from tgc.autodiff import differentiate
from tgc.errors import GradientError
from tgc.interpret import interpret
from tgc.ir import Graph, Node
from tgc.ops.scan import scan
from tgc.runtime.lowered import Lowered

RNG = np.random.default_rng(0)
X, W, H = RNG.standard_normal((4, 3)), RNG.standard_normal((3, 3)) / 2, RNG.standard_normal(3)
I0 = np.int32(1)


def cell(w: Any, c: Any, r: Any) -> Any:
    return tnp.tanh(c @ w + r)


def loss(w: Any, x: Any, h: Any) -> Any:
    return tnp.sum(tgc.scan(lambda c, r: (cell(w, c, r), None), h, x)[0] ** 2)


def grid(w: Any, x: Any) -> Any:
    """A scan in a scan, whose body closes over a tensor of the outermost trace."""
    return tgc.scan(lambda c, r: tgc.scan(lambda d, e: (tnp.tanh(d * w[0, 0] + e), d * e), c, r), 0.0, x)[1]


def branches(x: Any, h: Any) -> Any:
    def step(c: Any, r: Any) -> Any:
        return tgc.cond(tnp.sum(r) > 0, lambda a: (a * r, a), lambda a: (tnp.sin(a), a + r), c)

    return tgc.scan(step, h, x)[0]


def long_way(x: Any, w: Any, h: Any) -> Any:
    return tgc.cond(
        tnp.sum(x) > 100, lambda a: a @ w, lambda a: tgc.scan(lambda c, r: (cell(w, c, r), None), a, x)[0], h
    )


def select(x: Any, i: Any, h: Any) -> Any:
    return tgc.switch(i, [lambda a: a, lambda a: a * h, lambda a: 0.0 * a + 5, lambda a: x[0] * h], x[1])


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "rows": (lambda x, w, h: tgc.scan(lambda c, r: (cell(w, c, r), tnp.sin(c)), h, x), (X, W, H)),
    "backwards": (lambda x, w, h: tgc.scan(lambda c, r: (cell(w, c, r), None), h, x, reverse=True)[0], (X, W, H)),
    "carry among ys": (lambda x, w, h: tgc.scan(lambda c, r: (cell(w, c, r), c), h, x), (X, W, H)),
    "result among ys": (lambda x, w, h: tgc.scan(lambda c, r: (y := cell(w, c, r), y), h, x)[1], (X, W, H)),
    "exchange": (lambda a, b: tgc.fori_loop(0, 3, lambda i, c: (c[1] * (i + 1), c[0]), (a, b)), (H, 2 * H)),
    "counter": (lambda x, h: tgc.scan(lambda c, r: ((c[0] + 1, c[1] * r), c[1]), (0, h), x)[0][1], (X, H)),
    "constant carry": (lambda x, h: tgc.scan(lambda c, r: (c, r * c), h, x)[1], (X, H)),
    "no steps": (lambda x, h: tgc.scan(lambda c, r: (c * r, c), h, x)[0], (X[:0], H)),
    "map": (lambda x: tgc.map(lambda r: tnp.exp(r) * 2, x), (X,)),
    "scan in scan": (grid, (W, X)),
    "cond in scan": (branches, (X, H)),
    "scan in cond": (long_way, (X, W, H)),
    "switch": (select, (X, np.int32(1), H)),
    "clamped": (select, (X, np.int32(9), H)),
    "associative": (lambda x: tgc.associative_scan(tnp.multiply, x), (X,)),
    "twice": (lambda w, x, h: tgc.grad(loss)(w, x, h), (W, X, H)),
    "twice, nested": (lambda w, x: tgc.grad(lambda w: tnp.sum(grid(w, x)))(w), (W, X)),
    "thrice": (lambda w: tgc.grad(lambda w: tnp.sum(tnp.sin(tgc.grad(loss)(w, X[:2], H))))(w), (W,)),
    "dropped": (lambda x, w: tgc.scan(lambda c, r: ((cell(w, c[0], r), c[1] + c[0]), 0), (H, H), x)[0][0], (X, W)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    """By finite differences; and every stage of the compiler computes the same."""
    f, arrays = CASES[name]
    check_gradients(lambda *xs: optree.tree_leaves(f(*xs)), *arrays)
    graph = differentiate(graph_of(lambda *xs: _total(lambda *ys: optree.tree_leaves(f(*ys)), xs, 0), *arrays))
    want = interpret(graph, *arrays)
    for stage, made in Lowered(graph).stages.items():
        for a, b in zip(interpret(made, *arrays), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=stage)


@pytest.mark.parametrize("name", ["rows", "exchange", "counter", "scan in scan", "cond in scan", "twice, nested"])
def test_compiled_gradients(name: str) -> None:
    f, arrays = CASES[name]
    graph = differentiate(graph_of(lambda *xs: _total(lambda *ys: optree.tree_leaves(f(*ys)), xs, 0), *arrays))
    for a, b in zip(Lowered(graph).compile()(arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_while_loops_have_no_gradient() -> None:
    f = lambda x: tgc.while_loop(lambda c: c < 10, lambda c: c * 2, x)  # noqa: E731
    with pytest.raises(GradientError, match=r"while_loop has no gradient.* use tgc\.scan"):
        tgc.grad(f)(1.5)
    assert tgc.grad(lambda x: x * tgc.stop_gradient(f(x)))(3.0) == 12  # none is needed


def scans(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op is scan]


def test_what_is_kept() -> None:
    """One stack, of the carry; none of rows, consts, what consts make and what ys hold. Two gradients share it."""

    def f(x: Any, w: Any, h: Any) -> Any:
        return tnp.sum(tgc.scan(lambda c, r: (y := tnp.tanh(c @ (w * 2) + r), y), h, x)[1])

    (forward, backward) = scans(graph_of(tgc.grad(f, argnums=(0, 1)), X, W, H))
    assert len(forward.results) == 3  # the last carry, the ys, the first carry of each step
    assert backward.attrs["xs"] == 3  # the ys, the carries and the cotangents of the ys

    def both(x: Any, w: Any, h: Any) -> Any:
        ys = tgc.scan(lambda c, r: (y := tnp.tanh(c @ w + r), y), h, x)[1]
        return ys[0]

    def twice(x: Any, w: Any, h: Any) -> list[Any]:
        from tgc.autodiff import backward, mark

        marked = mark(w)
        ys = both(x, marked, h)
        return [g for weight in (1.0, 2.0) for g in backward([ys], [tnp.full_like(ys, weight)], [marked])]

    assert len(scans(graph_of(twice, X, W, H))[0].results) == 3


def lstm(x: Any, wi: Any, wh: Any, b: Any) -> Any:
    n = wh.shape[0]

    def step(state: Any, row: Any) -> Any:
        h, c = state
        z = row @ wi + h @ wh + b
        i, f, g, o = (z[:, k * n : (k + 1) * n] for k in range(4))
        c = tgc.nn.sigmoid(f) * c + tgc.nn.sigmoid(i) * tnp.tanh(g)
        h = tgc.nn.sigmoid(o) * tnp.tanh(c)
        return (h, c), h

    zero = np.zeros((x.shape[1], n), np.float32)
    (_, c), ys = tgc.scan(step, (zero, zero), x)
    return tnp.sum(ys * ys) + tnp.sum(c)


def test_an_lstm_over_many_thousand_steps() -> None:
    """One program whose size does not depend on the length; memory does only by what each step keeps."""
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal(s).astype(np.float32) / 3 for s in ((3, 16), (4, 16), (16,))]
    step = tgc.jit(tgc.value_and_grad(lstm, argnums=(0, 1, 2, 3)))
    programs = {}
    for n in (8, 16, 100_000, 120_000):
        x = rng.standard_normal((n, 2, 3)).astype(np.float32)
        lowered = step.lower(x, *weights)
        programs[n] = lowered.compile()
        got = optree.tree_leaves(programs[n](x, *weights))
        assert all(np.isfinite(y).all() for y in got)
        if n == 8:
            want = interpret(lowered.graph, x, *weights)
            for a, b in zip(got, want, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    sizes = {n: p.executable.plan.arena for n, p in programs.items()}
    per_step = (sizes[16] - sizes[8]) / 8
    assert sizes[120_000] < sizes[8] + 1.1 * per_step * 120_000
    assert per_step < 4 * 2 * (16 * 3 + 4 * 8)
    launches = {n: len(p.executable.plan.rows) for n, p in programs.items()}
    assert launches[8] == launches[16]
    assert launches[100_000] == launches[120_000]  # more than of short ones: long sums are cut in chunks
