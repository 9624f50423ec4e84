"""Scans in lanes: the pass, and programs whose threads take parts of the rows through all steps by themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from machine import HOST
from test_golden import compiled_for
from test_passes import TARGET
from traced import graph_of

import tgc
import tgc.numpy as tnp
from tgc import nn
from tgc.backends.cpu.driver import COPY, FORK, LANE
from tgc.interpret import interpret
from tgc.ir import Graph, Node
from tgc.ops.scan import scan
from tgc.passes import PIPELINE, lanes, parse_pipeline, run
from tgc.passes.memory import planned

RNG = np.random.default_rng(0)
STEPS, ROWS, UNITS = 7, 32, 32


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


X, H, C, W, U = real(STEPS, ROWS, 5), real(ROWS, UNITS), real(ROWS, UNITS), real(5, 4 * UNITS), real(UNITS, 4 * UNITS)


def in_lanes(f: Callable[..., Any], *arrays: np.ndarray, threads: int = 2) -> tuple[Graph, list[Node], list[str]]:
    """The graph of `f` after the pass, which computes the same; its scans; why others have no lanes."""
    graph = graph_of(f, *arrays)
    target = dataclasses.replace(TARGET, threads=threads)
    made = run(parse_pipeline("inline,fold,simplify,hoist,lanes,hoist,fold,simplify"), graph, target)
    for a, b in zip(interpret(made.result, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))
    reasons = [refusal.reason for refusal in made.refusals if refusal.by == "lanes"]
    return made.result, [node for node in made.result.nodes if node.op is scan], reasons


def lstm(x: Any, h: Any, c: Any, w: Any, u: Any, **attrs: Any) -> Any:
    y, (h, c) = nn.lstm(x, w, u, None, (h, c), time_major=True, **attrs)
    return y, h, c


def gru(x: Any, h: Any, c: Any, w: Any, u: Any) -> Any:
    y, h = nn.gru(x, w[:, : 3 * UNITS], u[:, : 3 * UNITS], real(2, 3 * UNITS), h, time_major=True)
    return y, h, c


def masked(x: Any, h: Any, c: Any, w: Any, u: Any) -> Any:
    return lstm(x, h, c, w, u, mask=x[..., 0] > 0, reverse=True)


def attending(x: Any, h: Any, c: Any, w: Any, u: Any) -> Any:
    """A cell that reads a const by rows, as decoders do what they attend to."""
    memory, z, u = tnp.reshape(tnp.concatenate([c, h], 1), (ROWS, 2, UNITS)) * 2, x @ w[:, :UNITS], u[:, :UNITS]

    def step(h: Any, r: Any) -> Any:
        scores = nn.softmax((memory * h[:, None]).sum(-1))
        h = tnp.tanh((memory * scores[..., None]).sum(1) + r + h @ u)
        return h, h

    h, y = tgc.scan(step, h, z)
    return y, h, c


def with_gradients(f: Callable[..., Any]) -> Callable[..., Any]:
    def both(*xs: Any) -> Any:
        out, pull = tgc.vjp(f, *xs)
        return [*out, *pull(tuple(tnp.cos(y) for y in out))]

    return both


CELLS = {"lstm": lstm, "gru": gru, "masked and backwards": masked, "attending": attending}


@pytest.mark.parametrize("name", CELLS)
def test_recurrences_and_their_gradients_run_in_lanes(name: str) -> None:
    _, scans, reasons = in_lanes(with_gradients(CELLS[name]), X, H, C, W, U)
    assert [node.attrs["lanes"] for node in scans] == [2, 2], reasons
    for node in scans:
        assert {v.shape[0] for v in node.body.outputs} == {ROWS // 2}


@pytest.mark.parametrize("name", CELLS)
def test_lanes_make_no_difference(name: str) -> None:
    """Nor does it matter how many threads run them."""
    graph = graph_of(with_gradients(CELLS[name]), X, H, C, W, U)
    found = []
    for number, threads in ((1, 1), (2, 1), (2, 2), (4, 2), (2, 3)):
        made = run(parse_pipeline(PIPELINE), graph, dataclasses.replace(HOST, threads=number)).result
        program = compiled_for(dataclasses.replace(HOST, threads=threads)).compile(planned(made, {}), ())
        found.append(program([X, H, C, W, U]))
        found.append(program([X, H, C, W, U]))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("f", "threads", "reason"),
    [
        (lambda x, h, u: tgc.scan(lambda h, r: (h @ u[:, :UNITS], None), h, x)[0], 1, "one thread"),
        (lambda x, h, u: tgc.scan(lambda h, r: (h - h.mean(0), None), h, x)[0], 2, "combines rows"),
        (lambda x, h, u: tgc.scan(lambda h, r: (h[::-1] @ u[:, :UNITS], None), h, x)[0], 2, "combines rows"),
        (lambda x, h, u: tgc.scan(lambda h, r: (u[:, :UNITS] @ h, None), h, x)[0], 2, "combines rows"),
        (lambda x, h, u: tgc.scan(lambda h, r: (h @ h, None), h, x)[0], 2, "combines rows"),
        (lambda x, h, u: tgc.scan(lambda h, r: (h + h.T, None), h, x)[0], 2, "two axes"),
        (lambda x, h, u: tgc.scan(lambda h, r: (h + tnp.sin(h) @ u[:, :UNITS], None), h[:15], x)[0], 2, "15 rows"),
        (lambda x, h, u: tgc.scan(lambda h, r: (h @ u[:, :UNITS], None), h, x)[0], 9, "for 9 threads"),
        (lambda x, h, u: tgc.scan(lambda h, r: (tgc.scan(lambda h, _: (h * 2, 0), h, x)[0], 0), h, x)[0], 2, "scan in"),
        (lambda x, h, u: tgc.scan(lambda h, r: (h + 1, None), h, x)[0], 2, "too little"),
        (lambda x, h, u: tgc.scan(lambda c, r: ((c[0] @ u[:, :UNITS], c[1] + 1), c[1]), (h, 0), x)[0], 2, "a number"),
    ],
)  # fmt: skip
def test_what_has_no_lanes(f: Callable[..., Any], threads: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason != "too little":
        monkeypatch.setattr(lanes, "LEAST", 0)
    _, scans, reasons = in_lanes(f, X, H, U, threads=threads)
    assert len(scans) == 1
    assert "lanes" not in scans[0].attrs
    assert any(reason in said for said in reasons), reasons


def test_matrices_beyond_the_caches_are_read_by_all_threads_together() -> None:
    h, u = real(ROWS, 512), real(512, 512)
    _, (node,), (reason,) = in_lanes(lambda x, h, u: tgc.scan(lambda h, r: (h @ u, None), h, x)[0], X, h, u)
    assert "by itself" in reason
    assert "lanes" not in node.attrs


def rows_of(f: Callable[..., Any], *arrays: np.ndarray, threads: int = 2) -> np.ndarray:
    """The rows of the program of `f` for so many threads."""
    target = dataclasses.replace(HOST, threads=threads)
    made = run(parse_pipeline(PIPELINE), graph_of(f, *arrays), target).result
    rows: np.ndarray = compiled_for(target).compile(planned(made, {}), ()).plan.rows
    return rows


def test_lanes_lie_one_behind_the_other() -> None:
    rows = rows_of(with_gradients(lstm), X, H, C, W, U)
    forks = np.flatnonzero(rows[:, 0] == FORK)
    assert rows[forks, 1].tolist() == [2, 2]
    for k in forks:
        (first, second) = rows[k + 1 : k + 3]
        assert first[0] == second[0] == LANE
        assert (first[1], first[2]) == (k + 3, second[1])
    assert not (rows_of(with_gradients(lstm), X, H, C, W, U, threads=1)[:, 0] == FORK).any()


def test_carries_that_gradients_read_are_not_copied_at_each_step() -> None:
    """A step finds them in their row of the stack that is kept of them, and leaves them in the next one."""
    rows = rows_of(with_gradients(lstm), X, H, C, W, U)
    (first, *_) = np.flatnonzero(rows[:, 0] == FORK)
    (_, begin, end, *_) = rows[first + 1]
    copies = np.flatnonzero(rows[begin:end, 0] == COPY)
    launches = np.flatnonzero(rows[begin:end, 0] > LANE)
    assert len(launches)
    assert not ((copies > launches[0]) & (copies < launches[-1])).any()
    assert len(copies) == 2  # the first ones


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_stacks_of_carries_before_and_after_steps(length: int, reverse: bool) -> None:
    """The second is made of the first, behind the loop."""

    def f(x: Any, h: Any) -> Any:
        (a, b), ys = tgc.scan(lambda c, r: ((c[1], c[0] * r), (c[0], c[1], c[0] * r)), (h, h + 1), x, None, reverse)
        return [a, b, *ys]

    x, h = real(length, 3), real(3)
    want = interpret(graph_of(f, x, h), x, h)
    for a, b in zip(tgc.jit(f)(x, h), want, strict=True):
        np.testing.assert_array_equal(a, b)
    graph = run(parse_pipeline("fold,simplify,hoist"), graph_of(f, x, h), TARGET).result
    (node,) = (node for node in graph.nodes if node.op is scan)
    assert len(node.body.outputs) == 4  # two carries, and what they were before


def test_gates_lie_where_what_they_are_computed_from_lay() -> None:
    """What the steps read, the gates that are kept and their cotangents: one after the other in the same memory."""
    made = run(
        parse_pipeline(PIPELINE), graph_of(with_gradients(lstm), X, H, C, W, U), dataclasses.replace(HOST, threads=2)
    )
    graph = planned(made.result, {})
    place = {r: p for node in graph.nodes for r, p in zip(node.results, node.attrs.get("places", ()), strict=False)}
    first, second = (node for node in graph.nodes if node.op is scan)
    shape = (STEPS, ROWS, 4 * UNITS)
    (x,) = (v for v in first.operands if v.shape == shape)
    (gates,) = (v for v in first.results if v.shape == shape)
    (made_of_gates,) = (v for v in second.results if v.shape == shape)
    assert gates in second.operands
    assert place[x] == place[gates] == place[made_of_gates]


@pytest.mark.parametrize("threads", [1, 2])
def test_products_of_lanes_are_one_unit_of_work(threads: int) -> None:
    """Nobody shares them; without lanes there are several."""
    target = dataclasses.replace(HOST, threads=threads)
    graph = graph_of(
        with_gradients(lstm), real(STEPS, 32, 64), real(32, 128), real(32, 128), real(64, 512), real(128, 512)
    )
    made = planned(run(parse_pipeline(PIPELINE), graph, target).result, {})
    launches = compiled_for(target).launches(made)
    inner = {node for outer in made.nodes if outer.op is scan for node in outer.body.nodes}
    tiles = [x.kernel.tiles for x in launches if x.node in inner and x.node.attrs["kind"] == "contraction"]
    assert len(tiles) == 2
    assert [n == 1 for n in tiles] == [threads == 2] * 2


def test_gates_that_the_cell_returns_are_kept_once() -> None:
    def f(x: Any, h: Any) -> Any:
        def step(h: Any, r: Any) -> Any:
            a, b = tnp.split(h * r, 2, -1)
            a, b = tnp.tanh(a), tnp.sin(b)
            return tnp.concatenate([a * b, a + b], -1), a

        return tgc.scan(step, h, x)

    x, h = real(5, 2, 8), real(2, 8)
    want = interpret(graph_of(with_gradients(f), x, h), x, h)
    for a, b in zip(tgc.jit(with_gradients(f))(x, h), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("reverse", [False, True])
def test_ys_lie_where_xs_lay(length: int, reverse: bool) -> None:
    """If each row has been read when it is written, and nothing else reads the xs."""

    def read(x: Any, h: Any) -> Any:
        return tgc.scan(lambda h, r: (h + r, tnp.sin(r) * h), h, tnp.cos(x), None, reverse)

    def late(x: Any, h: Any) -> Any:  # the row is read again behind a kernel that could write over it
        def step(h: Any, r: Any) -> Any:
            y = r / tnp.sqrt((r * r).sum(-1, keepdims=True) + 1)
            return h @ tnp.outer(y, y) + r, y

        return tgc.scan(step, h, tnp.cos(x), None, reverse)

    def twice(x: Any, h: Any) -> Any:  # the rows are read again behind the loop
        x = tnp.cos(x)
        last, ys = tgc.scan(lambda h, r: (h + r, tnp.sin(r) * h), h, x, None, reverse)
        return last, ys, (x * last).sum(0)

    x, h = real(length, 6), real(6)
    for f, same in ((read, True), (late, False), (twice, False)):
        want = interpret(graph_of(f, x, h), x, h)
        for a, b in zip(tgc.jit(f)(x, h), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
        doubled = lambda x, h, f=f: [2 * y for y in f(x, h)]  # noqa: E731  # results have places of their own
        graph = graph_of(doubled, x, h)
        graph = planned(run(parse_pipeline("fold,simplify,fuse"), graph, TARGET).result, {})
        (node,) = (node for node in graph.nodes if node.op is scan)
        place = {r: p for n in graph.nodes for r, p in zip(n.results, n.attrs.get("places", ()), strict=False)}
        assert (place[node.operands[1]] == place[node.results[1]]) == same


@pytest.mark.parametrize("rows", [1, 3])
def test_pieces_are_read_before_any_is_stored(rows: int) -> None:
    def f(x: Any, y: Any) -> Any:
        a, b, c = tnp.split(x, 3, -1)
        return tnp.concatenate([b + y, c * 2, a - c], -1), a * b

    x, y = real(rows, 3 * 20), real(rows, 20)
    want = [x.copy() for x in interpret(graph_of(f, x, y), x, y)]
    given = x.copy()
    got = tgc.jit(f, donate=("x",))(given, y)
    assert np.shares_memory(got[0], given)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
    (plan,) = (tgc.jit(f, donate=("x",)).lower(x, y).compilation.result.nodes,)
    assert [node.attrs["places"][0] for node in plan if node.attrs["kind"] == "map"] == ["in:0"]
