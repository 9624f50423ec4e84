"""Loops and branches: what they compute, by the oracle and compiled, against plain Python; and what they refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import control_programs
import numpy as np
import optree
import pytest
from traced import graph_of

import tgc
import tgc.numpy as tnp
from tgc.errors import DTypeError, OutOfRangeError, ShapeError, TraceError
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.runtime.lowered import Lowered
from tgc.text import constants_of, parse

RNG = np.random.default_rng(0)
X, W, H = RNG.standard_normal((5, 3)), RNG.standard_normal((3, 3)) / 2, RNG.standard_normal(3)


def run(f: Callable[..., Any], *arrays: Any) -> list[np.ndarray]:
    """The leaves of `f`'s results: compiled, and the same by the oracle, and from the graph's text."""
    arrays = tuple(map(np.asarray, arrays))
    graph = graph_of(lambda *xs: optree.tree_leaves(f(*xs)), *arrays)
    again = parse(str(graph), {c.digest: c.data for c in constants_of(graph) if c.data is not None})
    assert again == graph
    assert hash(again) == hash(graph)
    want = interpret(again, *arrays)
    got = Lowered(graph).compile()(arrays)
    for a, b in zip(got, want, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=1e-12 if a.dtype == np.float64 else 1e-5, atol=1e-12)
    return got


def check(f: Callable[..., Any], *arrays: Any, want: Any) -> None:
    got, leaves = run(f, *arrays), optree.tree_leaves(want)
    for a, b in zip(got, leaves, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
        assert a.shape == np.shape(b)


def python_scan(f: Callable[..., Any], carry: Any, xs: Any, reverse: bool = False) -> Any:
    order = range(len(xs))
    rows: dict[int, Any] = {}
    for i in reversed(order) if reverse else order:
        carry, rows[i] = f(carry, xs[i])
    return carry, np.stack([rows[i] for i in order])


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_is_a_loop(reverse: bool) -> None:
    def step(c: Any, x: Any) -> Any:
        return c @ W + x, c * x

    check(lambda x, h: tgc.scan(step, h, x, reverse=reverse), X, H, want=python_scan(step, H, X, reverse))


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_last_step_leaves_out_what_nobody_reads(length: int, reverse: bool) -> None:
    """The product by which steps of a gradient hand on that of the carry, if nobody asks for that of the first one."""
    x, h, u = (np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in ((length, 4, 5), (4, 5), (5, 5)))

    def layer(x: Any, h: Any, u: Any) -> Any:
        def step(h: Any, r: Any) -> Any:
            h = tnp.tanh(r + h @ u)
            return h, h

        return tgc.scan(step, h, x, reverse=reverse)[1]

    for asked, f in (
        (1, lambda x, h, u: tgc.vjp(layer, x, h, u)),
        (0, lambda x, h, u: tgc.vjp(lambda x: layer(x, h, u), x)),
    ):
        gradient = tgc.jit(lambda x, h, u, f=f: f(x, h, u)[1](tnp.cos(x)))
        for got, want in zip(gradient(x, h, u), interpret(gradient.lower(x, h, u).graph, x, h, u), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
        handed_on = [r.launches for r in gradient.profile(x, h, u).rows if r.name.startswith("dot_contraction")]
        assert handed_on[-1:] == [length - 1 + asked][: length - 1 + asked]


def test_scan_takes_pytrees_and_lengths() -> None:
    def step(c: Any, x: Any) -> Any:
        return {"n": c["n"] + 1, "s": c["s"] + x["a"] * x["b"][0]}, {"sum": c["s"]}

    carry, ys = tgc.scan(step, {"n": 0, "s": np.zeros(3)}, {"a": X, "b": [X[:, 0]]})
    assert int(carry["n"]) == 5
    np.testing.assert_allclose(carry["s"], (X * X[:, :1]).sum(0))
    assert ys["sum"].shape == (5, 3)
    carry, none = tgc.scan(lambda c, _: (c * 2, None), np.float32(1), length=10)
    assert (float(carry), none, carry.dtype) == (1024, None, np.float32)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_carries_of_every_make(n: int) -> None:
    """Exchanged, passed through, computed in place and not, one value twice, constants, rows as carries."""

    def python(a: Any, b: Any) -> Any:
        for _ in range(n):
            a, b = b, a
        return a, b

    check(lambda a, b: tgc.fori_loop(0, n, lambda i, c: (c[1], c[0]), (a, b)), H, 2 * H, want=python(H, 2 * H))

    def several(c: Any, x: Any) -> Any:
        a, b, d, *_ = c
        s = tnp.sin(a) if not isinstance(a, np.ndarray) else np.sin(a)
        return (b + 1, a + 2, d, s, s, x), (s, x, d, 0 * x + np.arange(3.0), a)

    first = [H * k for k in range(1, 7)]
    final, ys = list(first), []
    for i in range(n):
        final, y = several(final, X[i])
        ys.append(y)
    want = [*final, *(np.stack(y) for y in zip(*ys, strict=True))] if n else [*first, *[np.zeros((0, 3))] * 5]
    check(lambda x, *c: tgc.scan(several, c, x), X[:n], *first, want=want)


def test_results_that_are_inputs_or_constants() -> None:
    check(
        lambda x, h: tgc.scan(lambda c, r: (h, (np.arange(2), r)), h * 2, x), X, H, want=[H, np.array([[0, 1]] * 5), X]
    )
    check(lambda h: tgc.scan(lambda c, _: (c, c), h, length=2), H, want=[H, np.array([H, H])])
    check(lambda h: tgc.scan(lambda c, _: (c, None), h, length=2), H, want=[H])


def test_zero_sizes() -> None:
    check(lambda x, h: tgc.scan(lambda c, r: (c + r, c), h, x), X[:0], H, want=[H, np.zeros((0, 3))])
    check(lambda x, h: tgc.scan(lambda c, r: (c + r, c), h, x), X[:, :0], H[:0], want=[H[:0], np.zeros((5, 0))])
    check(lambda h: tgc.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2), (0, h)), H[:0], want=[3, H[:0]])
    assert tgc.scan(lambda c, x: (c, x), None, np.zeros((0, 2)))[1].shape == (0, 2)


def collatz(n: Any) -> Any:
    def step(c: Any) -> Any:
        n, steps = c
        return tgc.cond(n % 2 == 0, lambda m: m // 2, lambda m: 3 * m + 1, n), steps + 1

    return tgc.while_loop(lambda c: c[0] != 1, step, (n, 0))[1]


def test_while_loops_end_by_their_data() -> None:
    check(collatz, np.int64(27), want=[111])
    check(collatz, np.int64(1), want=[0])
    newton = lambda a: tgc.while_loop(lambda x: tnp.abs(x * x - a) > 1e-12, lambda x: (x + a / x) / 2, a)  # noqa: E731
    check(newton, np.float64(2), want=[np.sqrt(2)])
    check(lambda x: tgc.while_loop(tnp.any, lambda b: b & (x > 9), x > 0), X[0], want=[np.zeros(3, bool)])


def test_fori_loops() -> None:
    check(lambda x: tgc.fori_loop(2, 6, lambda i, c: c * i, x), np.float32(1), want=[np.float32(120)])
    check(lambda x, n: tgc.fori_loop(0, n, lambda i, c: c + i, x), np.int32(0), np.int32(5), want=[np.int32(10)])
    check(lambda x, n: tgc.fori_loop(3, n, lambda i, c: c + 1, x), np.float32(0), np.int64(2), want=[np.float32(0)])
    check(lambda x: tgc.fori_loop(4, 2, lambda i, c: c + 1, x), H, want=[H])


@pytest.mark.parametrize("index", [-5, 0, 1, 2, 3, 100])
def test_switch_clamps(index: int) -> None:
    branches = [lambda a, b: (a, b), lambda a, b: (a * 2, W[0]), lambda a, b: (H, b - a), lambda a, b: (b, b)]
    want = branches[min(max(index, 0), 3)](H, H + 1)
    check(lambda i, a, b: tgc.switch(i, branches, a, b), np.int32(index), H, H + 1, want=want)


def test_cond_runs_one_branch() -> None:
    x = np.array([2.0, 0.0])
    for pred in (True, False, 3, 0.0):
        got = tgc.cond(pred, lambda a: {"a": a * 2}, lambda a: {"a": a - 1}, x)
        np.testing.assert_array_equal(got["a"], x * 2 if pred else x - 1)
    assert tgc.cond(False, lambda: x, lambda: 1.5 * x)[0] == 3


def test_nesting() -> None:
    def inner(c: Any, e: Any) -> Any:
        return c * 0.5 + e, c

    def python(c: Any, x: Any) -> Any:
        return python_scan(inner, c, x)

    check(lambda x: tgc.scan(lambda c, r: tgc.scan(inner, c, r), 0.0, x), X, want=python_scan(python, 0.0, X))

    def branch(c: Any, r: Any) -> Any:
        return tgc.cond(tnp.sum(r) > 0, lambda c: (c + r, c), lambda c: (c * 2, r), c)

    check(lambda x, h: tgc.scan(branch, h, x), X, H,
          want=python_scan(lambda c, r: (c + r, c) if r.sum() > 0 else (c * 2, r), H, X))  # fmt: skip
    check(lambda x, i: tgc.switch(i, [lambda: tgc.scan(inner, H, x)[0], lambda: H]), X, np.int64(0),
          want=[python_scan(inner, H, X)[0]])  # fmt: skip
    check(lambda n: tgc.map(collatz, n), np.arange(1, 8), want=[np.array([0, 1, 7, 2, 5, 8, 16])])
    triangle = lambda n: tgc.while_loop(  # noqa: E731
        lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + tgc.while_loop(lambda d: d < c[0], lambda d: d + 1, 0)), (0, 0)
    )
    check(triangle, np.int64(5), want=[5, 10])


def test_maps_and_associative_scans() -> None:
    def pairs(a: Any, b: Any) -> Any:
        return a[0] + b[0], a[1] + b[1]

    check(lambda x: tgc.map(lambda r: (r * 2, r[0]), x), X, want=[X * 2, X[:, 0]])
    for n in (0, 1, 2, 3, 5, 8):
        x = RNG.standard_normal((2, n, 2, 2))
        want = np.empty_like(x)
        for i in range(n):
            want[:, i] = want[:, i - 1] @ x[:, i] if i else x[:, i]
        graph = graph_of(lambda x: tgc.associative_scan(tnp.matmul, x, axis=1), x)
        np.testing.assert_allclose(interpret(graph, x)[0], want)
    check(lambda x: tgc.associative_scan(pairs, (x, -x), reverse=True, axis=-2), X,
          want=[X[::-1].cumsum(0)[::-1], -X[::-1].cumsum(0)[::-1]])  # fmt: skip
    with pytest.raises(ShapeError, match="no axis 2"):
        tgc.associative_scan(tnp.add, X, axis=2)


def test_random_keys_are_carried() -> None:
    def step(key: Any, _: None) -> Any:
        key, mine = tgc.random.split(key)
        return key, tgc.random.uniform(mine, (2,))

    key = tgc.random.key(3)
    want, carry = [], key
    for _ in range(3):
        carry, mine = tgc.random.split(carry)
        want.append(tgc.random.uniform(mine, (2,)))
    got, ys = tgc.scan(step, key, length=3)
    np.testing.assert_array_equal(got, carry)
    np.testing.assert_array_equal(ys, np.stack(want))


# ----------------------------------------------------------------------------------------------------- weak types


def test_weak_carries_take_on_what_the_body_returns() -> None:
    x = np.float32([1, 2])
    assert tgc.scan(lambda c, r: (c + r, None), 0.0, x)[0].dtype == np.float32
    assert tgc.scan(lambda c, r: (c + r, None), 0, x)[0].dtype == np.float32
    assert tgc.scan(lambda c, r: (c + 0.5, c), 0, x)[0] == 1
    assert tgc.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] * x[1]), (0, 1))[1].dtype == np.float32
    assert tgc.scan(lambda c, r: (1.0, None), np.float32(3), x)[0].dtype == np.float32
    assert tgc.cond(True, lambda: 1, lambda: np.float32(2)).dtype == np.float32
    got = tgc.jit(lambda x: tgc.fori_loop(0, 3, lambda i, c: c + i * x, x))(x)  # the counter is weak
    assert got.dtype == np.float32


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tgc.scan(lambda c, x: (c[:2], None), H, X), ShapeError, r"init is f64\[3\], .* returns f64\[2\]"),
        (lambda: tgc.scan(lambda c, x: ({"a": c["a"] > 0}, None), {"a": H}, X), DTypeError,
         r"init\['a'\] is f64\[3\], but the body returns bool\[3\] in its place; .*astype\('float64'\)"),
        (lambda: tgc.scan(lambda c, x: ((c, c), None), H, X), TraceError, "the carry has the structure"),
        (lambda: tgc.scan(lambda c, x: c, H, X), TraceError, r"f must return a pair \(carry, y\)"),
        (lambda: tgc.scan(lambda c, x: (c, None), H, {"a": X, "b": X[1:]}), ShapeError,
         r"xs\['a'\] has 5 rows, xs\['b'\] has 4 rows"),
        (lambda: tgc.scan(lambda c, x: (c, None), H, X, length=4), ShapeError, "xs has 5 rows, length=4"),
        (lambda: tgc.scan(lambda c, x: (c, None), H), ShapeError, "length must be given"),
        (lambda: tgc.scan(lambda c, x: (c, None), H, np.float32(1)), ShapeError, "needs a leading axis"),
        (lambda: tgc.scan(lambda c, x: (c, None), "abc", X), TraceError, "init is a str, no tensor"),
        (lambda: tgc.while_loop(lambda c: c > 0, lambda c: c, H), ShapeError, r"be a scalar, .*tgc.numpy.all"),
        (lambda: tgc.while_loop(lambda c: True, lambda c: c.astype("f4"), 1.0 * H), DTypeError, "body returns f32"),
        (lambda: tgc.while_loop(lambda c: (True, c), lambda c: c, H), TraceError, "cond must be a scalar"),
        (lambda: tgc.cond(H, lambda: 1, lambda: 2), ShapeError, "pred must be a scalar"),
        (lambda: tgc.cond(True, lambda: H, lambda: (H,)), TraceError, "false_fn returns the structure"),
        (lambda: tgc.cond(True, lambda: H, lambda: H[:2]), ShapeError, r"fn is f64\[2\], .* of true_fn is f64\[3\]"),
        (lambda: tgc.cond(True, lambda: H, lambda: H > 0), DTypeError, r"false_fn is bool\[3\], .*astype"),
        (lambda: tgc.switch(0, []), TraceError, "at least one branch"),
        (lambda: tgc.switch(1.0, [lambda: 1, lambda: 2]), DTypeError, "must be an integer scalar, not f64"),
        (lambda: tgc.switch(np.arange(2), [lambda: 1, lambda: 2]), ShapeError, "must be an integer scalar"),
        (lambda: tgc.associative_scan(lambda a, b: (a, b), X), TraceError, "fn returns"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_an_index_out_of_range_inside_of_a_loop() -> None:
    table = np.arange(4.0)
    f = tgc.jit(lambda i: tgc.scan(lambda c, k: (c + tnp.take(table, k), None), 0.0, i)[0])
    assert f(np.array([0, 3, 1])) == 4
    with pytest.raises(OutOfRangeError, match="index is out of range in kernel"):
        f(np.array([0, 3, 4, 1]))
    assert f(np.array([0, 3, 1])) == 4
    graph = graph_of(lambda i: tgc.scan(lambda c, k: (c + tnp.take(table, k), None), 0.0, i)[0], np.array([4]))
    with pytest.raises(OutOfRangeError, match="take"):
        interpret(graph, np.array([4]))


# -------------------------------------------------------------------------------------------------- compiled programs


def test_memory_and_code_do_not_grow_with_the_length() -> None:
    def f(h: Any, n: int) -> Any:
        return tgc.fori_loop(0, n, lambda i, c: tnp.tanh(c @ W) + i, h)

    programs = [tgc.jit(f, static="n").lower(H, n=n).compile() for n in (10, 10_000)]
    sizes = {(p.executable.plan.arena, len(p.executable.plan.rows)) for p in programs}
    assert len(sizes) == 1
    h = H
    for i in range(10):
        h = np.tanh(h @ W) + i
    np.testing.assert_allclose(programs[0](H), h)


def test_donated_carries() -> None:
    f = tgc.jit(lambda h, x: tgc.scan(lambda c, r: (c * 0.5 + r, None), h, x)[0], donate="h")
    for n in (4, 5):
        h = H.copy()
        got = f(h, X[:n])
        assert got is h or np.shares_memory(got, h)
        np.testing.assert_allclose(got, python_scan(lambda c, r: (c * 0.5 + r, c), H, X[:n])[0])
    swap = tgc.jit(lambda a, b: tgc.fori_loop(0, 3, lambda i, c: (c[1] @ W, c[0] @ W), (a, b)), donate=("a", "b"))
    a, b = H.copy(), 2 * H
    want = 2 * H @ W @ W @ W, H @ W @ W @ W
    for got, wanted in zip(swap(a, b), want, strict=True):
        np.testing.assert_allclose(got, wanted)


def test_python_threads_share_a_program() -> None:
    x = RNG.standard_normal((50, 64)).astype(np.float32)
    f = tgc.jit(lambda h, x: tgc.scan(lambda c, r: (tnp.tanh(c * r + c), tnp.sum(c)), h, x))
    hs = [RNG.standard_normal(64).astype(np.float32) for _ in range(4)]
    want = [f(h, x) for h in hs]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(50):
            got = f(hs[k], x)
            if not all(np.array_equal(a, b) for a, b in zip(got, want[k], strict=True)):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_eager_programs_are_kept() -> None:
    from tgc.eager import _program

    def call(w: np.ndarray) -> Any:
        looped = tgc.scan(lambda c, x: (c @ w + x, None), H, X)[0]
        return tgc.cond(w[0, 0] > 0, lambda a: a @ w, lambda a: a - w[0], looped)

    call(W)
    before = _program.cache_info().misses
    got = call(W / 2)  # other functions of the same graphs: the arrays that they close over are operands
    assert _program.cache_info().misses == before
    want = python_scan(lambda c, x: (c @ (W / 2) + x, c), H, X)[0]
    np.testing.assert_allclose(got, want @ (W / 2) if W[0, 0] > 0 else want - W[0] / 2)


def test_stages_and_kernels_show_bodies() -> None:
    low = tgc.jit(lambda h, x: tgc.scan(lambda c, r: (tnp.tanh(c @ W + r), None), h, x)[0]).lower(H, X)
    assert "graph @lambda" in low.text("fuse")
    assert any("tanh" in source for source in low.kernels.values())
    assert "trace: 4 nodes (1 add, 1 dot, 1 scan, 1 tanh)" in low.explain()
    assert low.graph.to_networkx().number_of_nodes() > 2


def test_a_known_branch_takes_the_place_of_a_switch() -> None:
    low = tgc.jit(lambda x: tgc.cond(True, lambda a: tgc.switch(5, [tnp.sin, tnp.cos], a), lambda a: a, x)).lower(H)
    assert [node.op.name for node in low.stages["fold"].nodes] == ["cos"]
    np.testing.assert_allclose(low.compile()(H), np.cos(H))


def test_passes_are_checked_on_loops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TGC_CHECK", "1")
    f = tgc.jit(lambda h, x: tgc.scan(lambda c, r: (tnp.tanh(c @ W + r), c), h, x))
    np.testing.assert_allclose(f(H, X)[1][1], np.tanh(H @ W + X[0]))
    assert not capsys.readouterr().err
    g = tgc.jit(lambda n: tgc.while_loop(lambda c: c < 2, lambda c: c * c, n))
    assert g(np.int64(27)) == 27  # from 0 or 1 it never ends
    assert "is not checked on @lambda, where a while loop ran 1000 steps" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(6))
def test_random_programs(seed: int) -> None:
    control_programs.check(seed, gradient=bool(seed % 2))


def test_random_programs_vary() -> None:
    """All ops of control flow occur, in bodies too."""
    found: set[tuple[str, bool]] = set()

    def visit(graph: Graph, nested: bool) -> None:
        for node in graph.nodes:
            found.add((node.op.name, nested))
            for body in node.regions:
                visit(body, True)

    for seed in range(12):
        visit(control_programs.program(seed, gradient=False)[0], False)
    assert {("scan", False), ("scan", True), ("switch", True), ("while_loop", True)} <= found
