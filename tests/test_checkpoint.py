"""checkpoint: the same values and gradients in less memory, and its compositions."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree
import pytest
from traced import close, graph_of

import tgc
from tgc import checkpoint, grad, hessian, jit, jvp, vjp, vmap
from tgc import numpy as tnp
from tgc.interpret import interpret
from tgc.passes.memory import arena_bytes
from tgc.text import parse, print_graph
from tgc.verify import verify

RNG = np.random.default_rng(0)
X, V = RNG.standard_normal((4, 3)), RNG.standard_normal((4, 3))


def run(f: Any, *arrays: Any) -> Any:
    found = interpret(graph_of(f, *arrays), *arrays)
    return found[0] if len(found) == 1 else found


def deep(kept: bool) -> Any:
    """A chain of layers, each of several steps."""

    def layer(x: Any, w: Any) -> Any:
        for _ in range(3):
            x = tnp.tanh(x @ w) + tnp.sin(x)
        return x

    def f(ws: Any, x: Any) -> Any:
        for w in ws:
            x = (layer if kept else checkpoint(layer))(x, w)
        return tnp.sum(x * x)

    return f


def test_a_deep_chain_needs_less_memory() -> None:
    """The arena shrinks to less than a third; values and gradients are the same, bit for bit."""
    ws = [RNG.standard_normal((16, 16)).astype(np.float32) / 8 for _ in range(8)]
    x = RNG.standard_normal((64, 16)).astype(np.float32)
    programs = [jit(tgc.value_and_grad(deep(kept))) for kept in (True, False)]
    plain, checked = (arena_bytes(p.lower(ws, x).compilation.result) for p in programs)
    assert checked < plain / 3
    found = [optree.tree_leaves(p(ws, x)) for p in programs]
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_backward_pass_computes_again() -> None:
    def f(x: Any) -> Any:
        return tnp.sum(tnp.sin(checkpoint(lambda x: tnp.exp(tnp.exp(x)))(x)))

    stages = jit(grad(f)).lower(X).compilation.stages
    assert [n.op.name for n in stages["inline"].nodes].count("exp") == 4
    assert [n.op.name for n in stages["simplify"].nodes].count("exp") == 4  # no pass merges or removes them
    assert not any(n.op.name in ("checkpoint", "barrier") for n in stages["fuse"].nodes)
    forward = jit(f).lower(X).compilation.stages
    assert [n.op.name for n in forward["inline"].nodes].count("exp") == 2


def test_compositions() -> None:
    """In every transform, and in another checkpoint, a checkpoint changes no value."""
    scale = np.float64(3)

    def f(x: Any, y: Any = scale) -> Any:
        return tnp.sum(tnp.sin(x) * x[..., ::-1] * y)

    def whole(f: Any) -> Any:
        return lambda x, v: [
            f(x),
            grad(f)(x),
            jvp(f, (x,), (v,))[1],
            jvp(grad(f), (x,), (v,))[1],
            grad(lambda x: jvp(f, (x,), (v,))[1])(x),
            vmap(grad(f))(x),
            hessian(f)(x[0]),
            vmap(lambda x, v: jvp(f, (x,), (v,))[1])(x, v),
        ]

    wanted = run(whole(f), X, V)
    for other in (checkpoint(f), checkpoint(lambda x: checkpoint(f)(x) * 1.0), jit(checkpoint(f))):
        for got, want in zip(run(whole(other), X, V), wanted, strict=True):
            close(got, want)


def test_what_it_closes_over_is_differentiated() -> None:
    def g(x: Any, y: Any) -> Any:
        return vjp(lambda x, y: tnp.sum(checkpoint(lambda a: {"s": tnp.sin(a) * y, "n": y})(x)["s"]), x, y)[1](1.0)

    gx, gy = run(g, X, V)
    close(gx, np.cos(X) * V)
    close(gy, np.sin(X))


def test_arguments_that_are_no_tensors() -> None:
    @checkpoint
    def f(x: Any, name: str, *, n: int) -> Any:
        assert name == "sum"
        return {"y": tnp.sum(x) * n, "i": tnp.argmax(x)}

    assert f(X, "sum", n=2)["y"] == pytest.approx(2 * X.sum())
    close(run(grad(lambda x: f(x, "sum", n=2)["y"]), X), np.full_like(X, 2))
    assert run(lambda x: f(x.astype("f32"), "sum", n=2)["y"], X).dtype == np.float32


def test_text() -> None:
    graph = graph_of(lambda x: checkpoint(tnp.sin)(x), X)
    verify(graph)
    assert [n.op.name for n in graph.nodes] == ["checkpoint"]
    assert parse(print_graph(graph)) == graph
