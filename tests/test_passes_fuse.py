"""Which ops become one kernel, and why others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from fuzz import drawn
from fuzz_draft import OPS
from fuzz_draws import gradients, programs
from graphs import f32
from test_passes import TARGET, applied, traced

import tgc.numpy as tnp
from tgc import nn
from tgc.autodiff import differentiate
from tgc.errors import PassError
from tgc.ir import Graph
from tgc.ops.cumulative import Cumulative
from tgc.ops.kinds import Contraction, Elementwise, Movement, Reduce, Scatter
from tgc.ops.region import fused as fused_op
from tgc.passes import parse_pipeline, run
from tgc.passes.fuse import Fuse, free
from tgc.trace import trace

CONV = {"stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1}
POOL = {"window": (1, 2, 2, 1), "stride": (1, 2, 2, 1), "padding": ((0, 0),) * 4, "dilation": (1,) * 4}
DENSE = {**POOL, "stride": (1,) * 4}


def softmax(x: Any) -> Any:
    z = tnp.exp(x - tnp.max(x, axis=-1, keepdims=True))
    return z / tnp.sum(z, axis=-1, keepdims=True)


def layer_norm(x: Any, g: Any, b: Any) -> Any:
    d = x - tnp.mean(x, axis=-1, keepdims=True)
    return d / tnp.sqrt(tnp.mean(d * d, axis=-1, keepdims=True) + 1e-5) * g + b


def attention(q: Any, k: Any, v: Any) -> Any:
    return softmax(q @ k.T * 0.125) @ v


def loss(x: Any, w: Any, y: Any) -> Any:
    z = x @ w
    shifted = z - tnp.max(z, axis=-1, keepdims=True)
    return -tnp.mean(tnp.sum(y * (shifted - tnp.log(tnp.sum(tnp.exp(shifted), axis=-1, keepdims=True))), axis=-1))


def fused(g: Graph, **options: int) -> tuple[list[str], list[str]]:
    """The kind of each region, behind a pipeline that brings the graph to the form that fusion takes, and refusals."""
    before = run(parse_pipeline("fold,simplify,sink,simplify,decompose,layout,fold,simplify"), g, TARGET).result
    after, refusals = applied(Fuse(**options), before)
    check_regions(before, after)
    return [str(node.attrs.get("kind", node.op.name)) for node in after.nodes], refusals


def check_regions(before: Graph, after: Graph) -> None:
    """Every op that costs something is in a region, of a kind that fits, only elementwise ops are in several, and
    regions are bound to no constants.
    """
    assert {node.op.name for node in after.nodes} <= {"fused", "reshape"}
    regions = [node for node in after.nodes if node.op is OPS["fused"]]
    inside = Counter(n.op.name for node in regions for n in node.body.nodes if not free(n))
    wanted = [n for n in before.nodes if not free(n) and n.op is not OPS["reshape"]]
    assert set(inside) == {n.op.name for n in wanted}
    for heavy in (True, False):
        names = Counter(n.op.name for n in wanted if isinstance(n.op, Elementwise) != heavy)
        assert all(inside[name] == n if heavy else inside[name] >= n for name, n in names.items())
    for node in regions:
        body = node.body
        assert not body.constants
        kinds = Counter(type(n.op) for n in body.nodes)
        heavy = {"contraction": Contraction, "reduce": Reduce, "scatter": Scatter, "cumulative": Cumulative}
        for kind, op in heavy.items():
            assert (kinds[op] > 0) == (node.attrs["kind"] == kind)
        assert kinds[Contraction] <= 1
        assert kinds[Scatter] <= 1
        assert set(kinds) <= {Elementwise, Movement, *heavy.values()}
        assert len(set(node.operands)) == len(node.operands)


@pytest.mark.parametrize(
    ("f", "types", "kinds"),
    [
        (lambda x, y: tnp.tanh(x * y + 1) * x, ("f32[9,9]", "f32[9,9]"), ["map"]),
        (lambda x, y: (x + y).T[::2] * 2, ("f32[9,9]", "f32[9]"), ["map"]),
        (lambda x: tnp.sum(tnp.exp(x) * x, axis=1), ("f32[9,9]",), ["reduce"]),
        (softmax, ("f32[9,9]",), ["reduce"]),
        (layer_norm, ("f32[9,40]", "f32[40]", "f32[40]"), ["reduce"]),
        (lambda x, w, b: tnp.maximum(x @ w + b, 0), ("f32[9,8]", "f32[8,40]", "f32[40]"), ["contraction"]),
        (lambda x, w, b, r: tnp.tanh(x @ w + b) + r, ("f32[9,8]", "f32[8,4]", "f32[4]", "f32[9,4]"), ["contraction"]),
        (lambda x, w: OPS["conv"](x, w, **CONV) * 2, ("f32[2,9,9,3]", "f32[3,3,3,8]"), ["contraction"]),
        (attention, ("f32[9,8]", "f32[9,8]", "f32[9,8]"), ["map", "contraction", "reduce", "contraction"]),
        (lambda x, w: OPS["relu"](x) @ w, ("f32[9,8]", "f32[8,4]"), ["map", "contraction"]),
        (lambda x, y: OPS["relu"](x).reshape(81) + y, ("f32[9,9]", "f32[81]"), ["map", "reshape", "map"]),
        (lambda x, i, y: OPS["scatter_add"](x * 2, i, y), ("f32[9]", "i32[4]", "f32[4]"), ["map", "scatter"]),
        (lambda x: OPS["window_max"](OPS["exp"](x), **DENSE), ("f32[1,4,4,1]",), ["map", "map"]),
        (lambda x: OPS["window_max"](x, **POOL) + 1, ("f32[1,4,4,1]",), ["map"]),
        (lambda x, i: OPS["take"](x, i) * 2 + 1, ("f32[9,4]", "i32[5]"), ["map"]),
    ],
    ids=lambda x: x if isinstance(x, str) else "-".join(x) if isinstance(x, list) else "",
)  # fmt: skip
def test_kinds(f: Callable[..., Any], types: tuple[str, ...], kinds: list[str]) -> None:
    assert fused(traced(f, *types))[0] == kinds


@pytest.mark.parametrize(
    ("f", "types", "reason"),
    [
        (lambda x, y: x @ y @ y, ("f32[9,9]", "f32[9,9]"), "fuse: dot into dot: two contractions"),
        (lambda x, y: tnp.exp(x) @ y, ("f32[9,9]", "f32[9,9]"), "a contraction reads its operands from memory"),
        (lambda x, i: OPS["scatter_add"](tnp.exp(x), i, x[:4]), ("f32[9]", "i32[4]"), "scatter ops stay alone"),
        (lambda x: tnp.exp(tnp.sum(x, axis=0)) + tnp.sum(tnp.exp(x), axis=1), ("f32[9,9]",), "folds of (9, 9) along"),
        (lambda x: OPS["window_max"](tnp.exp(x), **DENSE), ("f32[1,4,4,1]",), "reads each element 4 times"),
        (lambda x, y: tnp.exp(x) * tnp.sum(x @ y), ("f32[9,9]", "f32[9,9]"), "sum is not elementwise"),
        (lambda x, y: (x @ y).T + x, ("f32[9,9]", "f32[9,9]"), "transpose moves the contraction's elements"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_refusals(f: Callable[..., Any], types: tuple[str, ...], reason: str) -> None:
    refusals = fused(traced(f, *types))[1]
    assert any(reason in r for r in refusals), refusals


def test_limits() -> None:
    """Regions have at most `limit` operands and `size` ops."""
    g = traced(lambda *xs: sum((tnp.exp(x) for x in xs[1:]), tnp.exp(xs[0])), *["f32[9]"] * 6)
    assert fused(g)[0] == ["map"]
    kinds, refusals = fused(g, limit=3)
    assert len(kinds) > 1
    assert any("operands" in r for r in refusals)
    kinds, refusals = fused(g, size=4)
    assert len(kinds) > 1
    assert any("ops" in r for r in refusals)


def test_no_cycles() -> None:
    """What adds exp(x) to a product made of exp(x) runs behind the product, and exp(x) before it."""
    g = traced(lambda x, y: tnp.exp(x) @ y + tnp.exp(x), "f32[9,9]", "f32[9,9]")
    assert fused(g)[0] == ["map", "contraction"]


def test_no_cycles_by_way_of_merged_groups() -> None:
    """Two readers of w become one kernel, of an early and a late node; what it makes b wait for, b makes a wait for."""

    def f(w: Any, z: Any) -> list[Any]:
        early = tnp.exp(w)
        a = z * tnp.reshape(OPS["cumsum"](early, axis=0, reverse=False), (4, 32))
        b = z + 1
        return [a, early, w - tnp.reshape(b, (8, 16))]

    g = trace(f, [f32(8, 16), f32(4, 32)])
    after, _ = applied(Fuse(), g)
    check_regions(g, after)
    assert len([n for n in after.nodes if n.op is fused_op]) == 4  # w's readers, cumsum, a, b


def test_several_results() -> None:
    """One region yields what several readers need: intermediate values, reduced and full ones."""

    def f(x: Any) -> list[Any]:
        y = tnp.exp(x)
        return [y, tnp.sum(y, axis=1), tnp.max(y, axis=1), y * 2]

    (region,) = applied(Fuse(), trace(f, [f32(9, 9)]))[0].nodes
    assert region.attrs["kind"] == "reduce"
    assert sorted(str(r.type) for r in region.results) == ["f32[9,9]", "f32[9,9]", "f32[9]", "f32[9]"]


def test_cheap_movements_are_copied_into_each_reader() -> None:
    g = traced(lambda x, y, b: tnp.exp(x + b) @ tnp.exp(y + b).T, "f32[9,9]", "f32[5,9]", "f32[9]")
    after, _ = applied(Fuse(), g)
    assert Counter(n.op.name for node in after.nodes for n in node.body.nodes)["broadcast"] == 2


@pytest.mark.parametrize("strategy", [programs(), gradients()], ids=["forward", "gradient"])
def test_any_program(strategy: Any) -> None:
    for program in drawn(strategy, 100):
        fused(differentiate(program.graph) if program.gradient else program.graph)


def test_computed_again() -> None:
    """Where it moves fewer bytes, readers compute a value again from what is in memory or small."""

    def f(x: Any, y: Any) -> list[Any]:
        d = x - tnp.mean(x, axis=1, keepdims=True)  # two kernels need it: folds along rows and along columns
        return [tnp.sum(d * d, axis=1), tnp.sum(d * y, axis=0)]

    g = trace(f, [f32(64, 64), f32(64, 64)])

    def stores(g: Graph, **options: int) -> bool:
        """Whether a tensor of the operands' shape lies in memory between kernels."""
        after, _ = applied(Fuse(**options), g)
        return any(r.shape == (64, 64) for node in after.nodes for r in node.results)

    assert stores(g, again=0)
    assert not stores(g)
    dear = trace(
        lambda x, y: [tnp.sum(h := tnp.tanh(tnp.exp(tnp.tanh(x))), axis=1), tnp.sum(h * y, axis=0)],
        [v.type for v in g.inputs],
    )
    assert stores(dear)


def test_folds_of_one_tensor() -> None:
    """They share a kernel if they fold the same axes."""
    both = trace(lambda x, y: [tnp.sum(x, axis=0), tnp.max(x * y, axis=0)], [f32(9, 9), f32(9, 9)])
    assert fused(both)[0] == ["reduce"]


def test_fills_join_nothing() -> None:
    """Kernels that have no more in common than a number stay apart, and so alike."""
    g = trace(lambda x, y: [(x.sum(0) + 1) * 2, (y.sum(0) + 1) * 2], [f32(40, 300), f32(40, 300)])
    assert fused(g)[0] == ["reduce", "reduce"]


def test_alike_regions_are_equal() -> None:
    """Wherever the graph has their nodes: here `b - c` comes first, there what it is added to."""

    def f(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
        shifted, scaled = b - c, d * d
        return [a * a + shifted, scaled + (e - f)]

    one, other = applied(Fuse(), trace(f, [f32(40, 300)] * 6))[0].nodes
    assert one.body == other.body


def test_transposed_results() -> None:
    """A contraction stores transposes of what its epilogue computes; the value itself too, if somebody reads it."""
    g = trace(lambda x, y: [(h := OPS["relu"](x @ y)).T, h], [f32(9, 8), f32(8, 40)])
    kinds, _ = fused(g)
    assert kinds == ["contraction"]


def test_composites_must_be_inlined() -> None:
    g = trace(nn.softmax, [f32(9, 9)])
    with pytest.raises(PassError, match=r"composite .* `inline` must come before"):
        applied(Fuse(), g)


def test_training_step() -> None:
    """Softmax, loss and their backward pass share one region between the products."""
    kinds, _ = fused(differentiate(traced(loss, "f32[9,8]", "f32[8,4]", "f32[9,4]")))
    assert Counter(kinds)["contraction"] == 3
    assert len(kinds) <= 7
