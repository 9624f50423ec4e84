"""The pass `hoist`: scans do less at each step, and compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_passes import TARGET
from traced import graph_of

import tgc
import tgc.numpy as tnp
from tgc.interpret import interpret
from tgc.ir import Graph, Node
from tgc.ops.scan import scan
from tgc.passes import parse_pipeline, run
from tgc.runtime.lowered import Lowered

RNG = np.random.default_rng(0)
X, W, H = RNG.standard_normal((4, 2, 3)), RNG.standard_normal((3, 3)), RNG.standard_normal((2, 3))


def hoisted(f: Callable[..., Any], *arrays: np.ndarray, pipeline: str = "fold,simplify,hoist,simplify") -> Graph:
    """The graph of `f` after the pass, which computes the same."""
    graph = graph_of(f, *arrays)
    after = run(parse_pipeline(pipeline), graph, TARGET).result
    for a, b in zip(interpret(after, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    return after


def loop(graph: Graph) -> Node:
    (node,) = (node for node in graph.nodes if node.op is scan)
    return node


def names(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def test_what_nobody_reads_is_dropped() -> None:
    def step(c: Any, r: Any) -> Any:
        a, b, n, fixed = c
        return (a + r, b * a, n + 1, fixed), (a, tnp.sin(b), r)

    got = loop(hoisted(lambda x, h: tgc.scan(step, (h, h, 0, h), x)[0][0], X, H))
    assert (got.attrs["carries"], got.attrs["xs"], len(got.results)) == (1, 1, 1)
    assert names(got.body) == ["add"]
    every = hoisted(lambda x, h: [*tgc.scan(step, (h, h, 0, h), x)[0][2:], h], X, H)
    assert loop(every).attrs["carries"] == 1  # the counter


def test_carries_that_need_each_other_are_kept_together() -> None:
    got = loop(hoisted(lambda x, h: tgc.scan(lambda c, r: ((c[1], c[2], c[0] + r), None), (h, h, h), x)[0][0], X, H))
    assert got.attrs["carries"] == 3


def test_what_depends_on_consts_alone_is_computed_once() -> None:
    got = hoisted(lambda x, w, h: tgc.scan(lambda c, r: (tnp.tanh(c @ tnp.exp(w)) + r, w * 2), h, x)[0], X, W, H)
    assert "exp" in names(got)
    assert names(loop(got).body) == ["dot", "tanh", "add"]
    got = hoisted(lambda x, h: tgc.scan(lambda c, r: (c * r, tnp.sin(h)), h, x)[1], X, H)
    assert names(got) == ["sin", "broadcast"]  # no loop is left


def test_fills_and_constants_become_the_bodys_own() -> None:
    def f(x: Any, h: Any) -> Any:
        ones, table = tnp.ones_like(h), tnp.add(tnp.zeros_like(h), X[0])
        return tgc.scan(lambda c, r: (c * ones + r * table, None), h, x)[0]

    got = loop(hoisted(f, X, H))
    assert len(got.operands) == 2
    assert len(got.body.constants) == 1
    assert names(got.body) == ["mul", "add"]


@pytest.mark.parametrize("left", [True, False])
def test_products_of_rows_move_in_front(left: bool) -> None:
    """As one product of all rows."""
    v = RNG.standard_normal((3, 2))

    def step(c: Any, r: Any) -> Any:
        return (tnp.tanh(c @ W + r @ W) if left else tnp.tanh(c + v @ r)), None

    first = H if left else W
    got = hoisted(lambda x, h: tgc.scan(step, h, x)[0], X, first)
    (product,) = (node for node in got.nodes if node.op.name == "dot")
    assert X.shape in [x.shape for x in product.operands]
    assert names(loop(got).body).count("dot") == int(left)


def test_products_that_only_the_ys_hold_move_behind() -> None:
    got = hoisted(lambda x, w, h: tgc.scan(lambda c, r: (tnp.tanh(c + r), tnp.sin(c) @ w), h, x, reverse=True), X, W, H)
    assert names(got)[-1] == "dot"
    assert "dot" not in names(loop(got).body)


def test_sums_over_the_steps_move_behind() -> None:
    """The gradients by the weights of a recurrent network are one product each, whatever its length."""

    def loss(w: Any, b: Any, x: Any, h: Any) -> Any:
        return tnp.sum(tgc.scan(lambda c, r: (tnp.tanh(c @ w + r + b), c), h, x)[1])

    got = hoisted(tgc.grad(loss, argnums=(0, 1)), W, H[0], X, H)
    backward = [node for node in got.nodes if node.op is scan][-1]
    assert backward.attrs["carries"] == 1
    assert names(got).count("dot") == 1
    assert names(backward.body).count("dot") == 1
    assert ("sum" in names(got), "sum" in names(backward.body)) == (True, False)


def test_sums_that_are_read_on_the_way_stay() -> None:
    got = loop(hoisted(lambda x, h: tgc.scan(lambda c, r: (c + r @ r.T, c), h, x), X[:, :, :2], H[:, :2]))
    assert got.attrs["carries"] == 1
    got = loop(
        hoisted(lambda x, h: tgc.scan(lambda c, r: (c + r.T @ tnp.sin(c), None), h, x)[0], X[:, :, :2], H[:, :2])
    )
    assert "dot" in names(got.body)


def test_loops_in_loops() -> None:
    def inner(x: Any, w: Any, c: Any) -> Any:
        return tgc.scan(lambda d, r: (d * 0.5 + r @ tnp.sin(w), None), c, x)[0]

    got = hoisted(lambda x, w, h: tgc.scan(lambda c, _: (inner(x, w, c), None), h, length=3)[0], X, W, H)
    assert names(got)[:2] == ["sin", "dot"]  # out of both


def test_while_loops_keep_what_may_fail() -> None:
    table = np.arange(3.0)

    def f(x: Any, w: Any, i: Any) -> Any:
        def body(c: Any) -> Any:
            n, y, _, fixed = c
            return n + 1, tnp.tanh(y @ tnp.exp(w)) + tnp.take(table, i) + fixed, y, fixed

        return tgc.while_loop(lambda c: c[0] < 4 + tnp.sum(w * 2), body, (0, x, x, H[0]))[1]

    got = hoisted(f, H, W / 9, np.int64(2))
    (node,) = (node for node in got.nodes if node.op.name == "while_loop")
    assert node.attrs["carries"] == 2
    assert {"exp", "sum"} <= set(names(got))
    assert not {"exp", "sum"} & set(names(node.body) + names(node.attrs["cond"]))
    assert "take" in names(node.body)
    low = Lowered(graph_of(f, H, W / 9, np.int64(2)))
    np.testing.assert_allclose(low.compile()([H, W / 9, np.int64(2)])[0], interpret(got, H, W / 9, np.int64(2))[0])
    never = hoisted(lambda x: tgc.while_loop(lambda c: c[1], lambda c: c, (x, False))[0], H)
    assert "while_loop" in names(never)
