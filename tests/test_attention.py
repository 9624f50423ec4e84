"""Attention without the matrix of scores: its kernels beside the oracle, its layout, and what is declined.

Forward and gradient of each op, in all dtypes and with masks and windows, are tested in `test_ops.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients
from test_golden import compiled_for
from test_passes import TARGET
from traced import both, close, graph_of

import tgc.numpy as tnp
from tgc import nn
from tgc.autodiff import value_and_grad_flat
from tgc.backends.cpu.target import CpuTarget
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.ops.region import fused
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.memory import Memory, arena_bytes
from tgc.runtime.lowered import Lowered
from tgc.trace import trace
from tgc.transforms import jvp, vmap
from tgc.types import F32, F64, TensorType

RNG = np.random.default_rng(1)
PASSES = (*parse_pipeline(PIPELINE), Memory())


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


def with_gradients(f: Callable[..., Any], *others: np.ndarray) -> Callable[..., list[Any]]:
    """A function of q, k, v and cotangents that returns f's result and the gradients by q, k and v."""

    def step(q: Any, k: Any, v: Any, g: Any) -> list[Any]:
        def loss(*xs: Any) -> tuple[Any, Any]:
            y = f(*xs, *others)
            return tnp.sum(y * g), y

        _, y, grads = value_and_grad_flat(loss, [q, k, v])
        return [y, *grads]

    return step


def split_heads(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` of [batch, heads, time, dim], for tensors [batch, time, heads, dim]."""

    def outer(*xs: Any) -> Any:
        return tnp.transpose(f(*(tnp.transpose(x, (0, 2, 1, 3)) for x in xs)), (0, 2, 1, 3))

    return outer


def causal(*xs: Any) -> Any:
    return nn.dot_product_attention(*xs, is_causal=True)


def step(batch: int, time: int, dtype: Any = F32, heads: int = 2, dim: int = 32) -> Graph:
    """Causal attention and its gradients by tensors [batch, time, heads, dim]."""
    types = [TensorType(dtype, (batch, time, heads, dim))] * 4
    return trace(with_gradients(split_heads(causal)), types, name="step")


def test_rows_that_see_nothing() -> None:
    """They attend evenly to all sources, whatever is passed over for other rows; special numbers stay in their rows."""
    q, k, v, g = (real(2, n, 6).astype(np.float32) for n in (70, 150, 150, 70))
    mask = RNG.random((2, 70, 150)) < 0.5
    mask[0, [0, 9, 69]] = False
    q[0, 20], q[0, 30], q[0, 40] = np.nan, np.inf, 1e30
    # The last place of a score of 100 is 1e-5 of its weight, and k 1e2 of the errors of dq: so the scores are exact, in
    # whatever order and by whatever instructions they are summed, and it is the queries that are large.
    q[1], k[1] = np.round(q[1] * 100), np.round(k[1] * 8) / 8
    f = lambda q, k, v, m: nn.dot_product_attention(q, k, v, m, window=(3, 60), scale=0.5)  # noqa: E731
    graph = graph_of(with_gradients(f, mask), q, k, v, g)
    low = Lowered(graph)
    assert [n.attrs["kind"] for n in low.compilation.result.nodes].count("attention") == 2
    y, dq, dk, dv = low.compile()([q, k, v, g])
    for found, wanted in zip((y, dq), interpret(graph, q, k, v, g), strict=False):
        rows = np.isfinite(wanted).all(-1)
        assert rows.sum() >= 137
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        np.testing.assert_allclose(found[rows], wanted[rows], atol=1e-6)
    close(y[0, [0, 9, 69]], np.broadcast_to(v[0].mean(0), (3, 6)), 1e-6)
    assert not dq[0, [0, 9, 69]].any()
    for found, wanted in zip((dk, dv), interpret(graph, q, k, v, g)[2:], strict=True):
        np.testing.assert_allclose(found[1], wanted[1], atol=5e-5)


def exported(x: Any, w: Any) -> Any:
    """Attention as torch exports it: the parts of one projection, keys turned as matrices of all heads."""
    batch, time, _ = x.shape
    parts = tnp.transpose((x @ w).reshape(batch, time, 3, 2, 16), (2, 0, 3, 1, 4))
    q, k, v = (parts[i : i + 1].reshape(batch, 2, time, 16) for i in range(3))
    turned = tnp.transpose(k.reshape(batch * 2, time, 16), (0, 2, 1)).reshape(batch, 2, 16, time)
    y = nn.dot_product_attention(q, tnp.transpose(turned, (0, 1, 3, 2)), v)
    return tnp.transpose(y, (0, 2, 1, 3)).reshape(batch, time, 32)


def in_thirds(x: Any, w: Any) -> Any:
    """Attention to itself of thirds of the channels."""
    q, k, v = (t.reshape(*t.shape[:2], 2, 16) for t in tnp.split(x @ w, 3, -1))
    return split_heads(nn.dot_product_attention)(q, k, v).reshape(*x.shape)


@pytest.mark.parametrize("f", [exported, in_thirds])
@pytest.mark.parametrize("batch", [1, 3])
def test_parts_of_a_projection_are_read_in_place(f: Callable[..., Any], batch: int) -> None:
    x, w = (real(*shape).astype(np.float32) for shape in ((batch, 37, 32), (32, 96)))
    graph = trace(lambda x, w: [f(x, w)], [TensorType(F32, a.shape) for a in (x, w)], name="f")
    low = Lowered(graph)
    kinds = [n.attrs["kind"] for n in low.compilation.result.nodes if n.op is fused]
    assert kinds == ["contraction", "attention"]
    np.testing.assert_allclose(low.compile()([x, w])[0], interpret(graph, x, w)[0], atol=1e-5)


def test_scores_take_no_memory() -> None:
    """Nor does anything move but operands and results: transposes are read and written in place."""
    graph = run(PASSES, step(1, 2048), TARGET).result
    kernels = [n for n in graph.nodes if n.op is fused]
    kinds = [n.attrs["kind"] for n in kernels]
    assert sorted(kinds) == ["attention", "attention", "reduce"]
    assert not any(inner.op.name == "transpose" for n in kernels for inner in n.body.nodes)
    assert arena_bytes(graph) < 2 * 2048 * 64 * 4


@pytest.mark.parametrize("seed", range(8))
def test_any_transposes(seed: int) -> None:
    """Whatever the orders of axes around an attention, and whoever else reads its results, they stay what they are."""
    rng = np.random.default_rng(seed)
    perms = [rng.permutation(4) if rng.random() < 0.7 else np.array([0, 2, 1, 3]) for _ in range(4)]
    shapes = (2, 3, 20, 4), (2, 3, 24, 4), (2, 3, 24, 5), (2, 3, 20, 5)
    arrays = [
        rng.standard_normal([shape[a] for a in perm]).astype(np.float32)
        for shape, perm in zip(shapes, perms, strict=True)
    ]
    more = rng.random() < 0.5

    def f(q: Any, k: Any, v: Any) -> Any:
        heads = (tnp.transpose(x, np.argsort(perm)) for x, perm in zip((q, k, v), perms, strict=False))
        y = nn.dot_product_attention(*heads, window=(9, 2))
        z = tnp.transpose(y, perms[3])
        return z + tnp.sum(y) if more else z

    graph = graph_of(with_gradients(f), *arrays)
    after = run(PASSES, graph, TARGET).result
    for a, b in zip(interpret(after, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_sizes_are_no_part_of_the_code() -> None:
    """Another batch, sequence, or number of heads compiles nothing."""
    texts = [compiled_for(TARGET).sources(run(PASSES, step(*sizes), TARGET).result) for sizes in ((2, 40), (5, 301))]
    assert texts[0] == texts[1]
    assert texts[0] == compiled_for(TARGET).sources(run(PASSES, step(2, 40, heads=3), TARGET).result)


def test_threads_make_no_difference() -> None:
    arrays = [real(3, 100, 2, 8).astype(np.float32) for _ in range(4)]
    graph = run(PASSES, step(3, 100, dim=8), CpuTarget.host()).result
    results = []
    for threads in (1, 3):
        program = compiled_for(dataclasses.replace(CpuTarget.host(), threads=threads)).compile(graph, ())
        results += [program(arrays), program(arrays)]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(results[0], interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((2, 20, 129), "rows of heads have more than 512 bytes"),
        ((2, 3, 8), "3 queries fill no vector register"),
        ((0, 2, 20, 8), "a tensor is empty"),
        ((2, 20, 0), "a tensor is empty"),
    ],
)
def test_declined(shape: tuple[int, ...], reason: str) -> None:
    """What no kernel takes is made of other ops, early enough for the other passes to see."""
    arrays = [real(*shape).astype(np.float32) for _ in range(4)]
    graph = graph_of(with_gradients(lambda *xs: nn.dot_product_attention(*xs, is_causal=True, scale=0.2)), *arrays)
    made = run(PASSES, graph, TARGET)
    assert any(r.by == "attention" and reason in r.reason for r in made.refusals)
    assert "attention" not in [n.attrs.get("kind") for n in made.result.nodes]
    for a, b in zip(interpret(made.result, *arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 5), (3, 0)])
def test_short(shape: tuple[int, int]) -> None:
    """One row, one source, no features of v."""
    time, source = shape[0], max(shape[1], 1)
    q, k, v = real(2, time, 4), real(2, source, 4), real(2, source, 3 * (shape[1] > 0))
    (y,) = both(lambda *xs: nn.dot_product_attention(*xs), q, k, v)
    scores = np.exp(q @ k.swapaxes(-1, -2) / 2)
    close(y, scores / scores.sum(-1, keepdims=True) @ v)


def test_half_precision_is_computed_in_float32() -> None:
    q, k, v = (real(2, 6, 4).astype(np.float16) for _ in range(3))
    (y,) = both(causal, q, k, v)
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, causal(*(x.astype(np.float32) for x in (q, k, v))).astype(np.float16))


def test_transforms() -> None:
    """Mapped, pushed forward, and differentiated twice, like the ops that it stands for."""
    q, k, v, mask = real(3, 5, 4), real(3, 6, 4), real(3, 6, 2), RNG.random((3, 5, 6)) < 0.7
    mask[..., 0] = True

    def f(q: Any, k: Any, v: Any, mask: Any) -> Any:
        return nn.dot_product_attention(q, k, v, mask, window=(2, 3))

    def parts(q: Any, k: Any, v: Any, mask: Any) -> Any:
        return nn.dot_product_attention(q, k, v, mask, window=(2, 3), return_weights=True)[0]

    for axes in ((0, 0, 0, 0), (None, 0, None, None), (0, None, None, None), (None, None, 0, None)):
        args = [x if a == 0 else x[0] for x, a in zip((q, k, v, mask), axes, strict=True)]
        mapped, one_by_one = (
            interpret(graph_of(lambda *xs: vmap(g, axes)(*xs), *args), *args)[0]  # noqa: B023
            for g in (f, parts)
        )
        close(mapped, one_by_one)
    tangents = [real(*x.shape) for x in (q, k, v)]

    def pushed(g: Callable[..., Any]) -> list[np.ndarray]:
        return interpret(
            graph_of(lambda *xs: jvp(lambda *ys: g(*ys, mask), xs[:3], xs[3:]), q, k, v, *tangents), q, k, v, *tangents
        )

    for a, b in zip(pushed(f), pushed(parts), strict=True):
        close(a, b)
    by_q = lambda *xs: value_and_grad_flat(lambda *ys: (tnp.sum(tnp.sin(f(*ys, mask))), None), [*xs])[2]  # noqa: E731
    check_gradients(by_q, q, k, v)


def test_kernels_in_float64() -> None:
    """To rounding of float64, with several blocks of sources and of queries, the last ones short."""
    arrays = [real(1, 75, 1, 3) for _ in range(4)]
    graph = step(1, 75, F64, heads=1, dim=3)
    for a, b in zip(Lowered(graph).compile()(arrays), interpret(graph, *arrays), strict=True):
        close(a, b, 1e-13)
