"""The rewrites of movements: each happens where it should and keeps every bit on the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fuzz import drawn
from fuzz_draft import OPS
from fuzz_draws import programs
from test_passes import TARGET, traced

import tgc.numpy as tnp
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.ops.creation import fill
from tgc.passes.layout import Layout
from tgc.passes.manager import Pass
from tgc.passes.simplify import Simplify
from tgc.passes.sink import SinkTransposes
from tgc.types import F32, I64, is_float
from tgc.verify import verify

T = OPS["transpose"]
X = "f32[2,3,4]"


def check_kept(before: Graph, after: Graph) -> None:
    """Equal numbers on small whole ones, whose sums are exact in any order."""
    verify(after)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0 if v.dtype.kind in "ub" else -9, 2, v.shape).astype(v.dtype) for v in before.inputs]
    for a, b in zip(interpret(before, *arrays), interpret(after, *arrays), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(b, a)


def rewritten(step: Pass, f: Callable[..., Any], *types: str) -> list[str]:
    """The ops that a pass leaves of a function."""
    g = traced(f, *types)
    after = step(g, TARGET)
    check_kept(g, after)
    assert isinstance(step, Layout) or step(after, TARGET) == after
    return [node.op.name for node in after.nodes]


def op(name: str, **attrs: Any) -> Callable[..., Any]:
    return lambda *xs: OPS[name](*xs, **attrs)


def pooled(name: str, rank: int = 3) -> Callable[..., Any]:
    """Windows of two along the second axis, with padding before."""
    each = [1] * rank
    size = [2 if a == 1 else 1 for a in range(rank)]
    padding = [(1, 0) if a == 1 else (0, 0) for a in range(rank)]
    return op(name, window=size, stride=size, padding=padding, dilation=each)


def pad(low: int, high: int, interior: int = 0, value: float = 0.0) -> Callable[..., Any]:
    """Around the middle one of three axes."""
    ends = {name: (0, n, 0) for name, n in (("low", low), ("high", high), ("interior", interior))}
    return op("pad", **ends, value=value)


# --------------------------------------------------------------------------------------------------------- simplify

NOTHING = [
    (op("transpose", perm=(0, 1, 2)), X),
    (lambda x: T(T(x, perm=(1, 2, 0)), perm=(2, 0, 1)), X),
    (op("reshape", shape=(2, 3, 4)), X),
    (lambda x: op("reshape", shape=(2, 3, 4))(op("reshape", shape=(24,))(x)), X),
    (op("broadcast", axes=(0, 1, 2), shape=(2, 3, 4)), X),
    (op("slice", start=(0, 0, 0), stop=(2, 3, 4), step=(1, 1, 1)), X),
    (op("pad", low=(0, 0, 0), high=(0, 0, 0), interior=(0, 0, 0), value=1), X),
    (op("reverse", axes=()), X),
    (op("concat", axis=1), X),
    (op("cast", dtype=F32), X),
    (lambda x: x.astype(np.int8).astype(np.uint8), "u8[3]"),
    (lambda x: x.astype(I64).astype(np.uint8), "u8[3]"),
    (op("window_sum", **dict.fromkeys(("window", "stride", "dilation"), (1, 1, 1)), padding=((0, 0),) * 3), X),
    (op("identity"), X),
    (op("stop_gradient"), X),
    (op("sum", axes=(), chunks=0), X),
    (op("max", axes=(), chunks=0), "i32[3]"),
    (op("any", axes=(), chunks=0), "bool[3]"),
]
SIMPLER = [
    (lambda x: T(T(x, perm=(1, 0, 2)), perm=(0, 2, 1)), ["transpose"], (X,)),
    (lambda x: x.reshape(6, 4).reshape(4, 6), ["reshape"], (X,)),
    (lambda x: tnp.broadcast_to(tnp.broadcast_to(x, (3, 4)), (2, 3, 4)), ["broadcast"], ("f32[4]",)),
    (lambda x: tnp.broadcast_to(x.reshape(3, 1), (3, 4)), ["broadcast"], ("f32[3]",)),
    (lambda x: OPS["broadcast"](x.reshape(1, 3), axes=(1, 2), shape=(2, 1, 3)), ["broadcast"], ("f32[3]",)),
    (lambda x: tnp.exp(tnp.broadcast_to(x, (9, 4))), ["exp", "broadcast"], ("f32[4]",)),
    (
        lambda x, y: x.reshape(6) - y.reshape(6) * fill((6,), F32, 2),
        ["full", "mul", "sub", "reshape"],
        ("f32[2,3]",) * 2,
    ),
    (lambda x, y: x.reshape(6) + y, ["reshape", "add"], ("f32[2,3]", "f32[6]")),
    (lambda x, y: x.reshape(6) + y.reshape(6), ["reshape", "reshape", "add"], ("f32[2,3]", "f32[3,2]")),
    (lambda x: x[1:], ["slice"], (X,)),
    (lambda x: x[:, 1:2].reshape(2, 4), ["reshape", "slice"], (X,)),
    (lambda x: x[:, :, 2:].reshape(2, 3, 2, 1), ["reshape", "slice"], (X,)),
    (lambda x: x[:, 1:].reshape(2, 2, 2, 2), ["reshape", "slice"], (X,)),
    (lambda x: x[1:].reshape(12), ["reshape", "slice"], (X,)),
    (lambda x: x[:, 1:].reshape(16), ["slice", "reshape"], (X,)),  # rows would join what is cut
    (lambda x: x[:, :, 1:].reshape(6, 3), ["reshape", "slice"], (X,)),
    (lambda x: x[:, :, 1:3].reshape(2, 3, 1, 2), ["reshape", "slice"], (X,)),
    (lambda x: x[:, ::2].reshape(2, 2, 2, 2), ["slice", "reshape"], (X,)),
    (lambda x: tnp.exp(x)[:, 1:2].reshape(2, 4), ["exp", "slice", "reshape"], (X,)),  # one row of them is computed
    (lambda x: pad(2, 1)(pad(0, 1)(x)), ["pad"], (X,)),
    (lambda x: pad(2, 1, value=-0.0)(pad(0, 1)(x)), ["pad", "pad"], (X,)),
    (lambda x: pad(2, -1)(pad(0, 1)(x)), ["pad", "pad"], (X,)),
    (lambda x: pad(2, 1)(pad(0, 1, interior=1)(x)), ["pad", "pad"], (X,)),
    (lambda x: x.astype(I64).astype(F32), ["cast", "cast"], (X,)),
    (lambda x: x.astype(np.int8).astype(I64), ["cast", "cast"], ("i64[3]",)),
    (lambda x: x.astype(np.int8).astype(np.int16), ["cast", "cast"], ("u8[3]",)),
    (op("argmax", axes=(1,), chunks=0), ["argmax"], (X,)),
    (op("sum", axes=(0,), chunks=2), ["sum"], (X,)),
]


@pytest.mark.parametrize(("f", "type"), NOTHING)
def test_nothing_is_moved(f: Callable[..., Any], type: str) -> None:
    assert rewritten(Simplify(), f, type) == []


@pytest.mark.parametrize(("f", "ops", "types"), SIMPLER)
def test_simplify(f: Callable[..., Any], ops: list[str], types: tuple[str, ...]) -> None:
    assert rewritten(Simplify(), f, *types) == ops


# ------------------------------------------------------------------------------------------------------------- sink

PERMS = [(1, 0, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)]
SUNK: list[tuple[Callable[[Any, tuple[int, ...]], Any], list[str]]] = [
    (lambda x, p: tnp.exp(T(x, perm=p)), ["exp", "transpose"]),
    (lambda x, p: T(x, perm=p) * T(x * 2, perm=p), ["mul", "mul", "transpose"]),
    (lambda x, p: T(x, perm=p) + 1, ["add", "transpose"]),
    (lambda x, p: pooled("window_max")(T(x, perm=p)), ["window_max", "transpose"]),
    (lambda x, p: pooled("window_sum")(T(x, perm=p)), ["window_sum", "transpose"]),
    (lambda x, p: T(x, perm=p)[:1, ::2], ["slice", "transpose"]),
    (lambda x, p: tnp.pad(T(x, perm=p), ((1, 0), (0, 0), (0, 2))), ["pad", "transpose"]),
    (lambda x, p: tnp.sum(T(x, perm=p), axis=(0, 1, 2)), ["sum"]),
    (lambda x, p: tnp.max(T(x, perm=p), axis=(0, 2)), ["max"]),
    (lambda x, p: tnp.exp(T(tnp.exp(T(x, perm=p)), perm=[p.index(a) for a in range(3)])), ["exp", "exp"]),
]


RESHAPED = [
    (lambda x: T(x, perm=(0, 2, 1)).reshape(1, 2, 4, 3), ["reshape", "transpose"]),
    (lambda x: T(x, perm=(2, 0, 1)).reshape(2, 2, 6), ["reshape", "transpose"]),
    (lambda x: T(x, perm=(1, 2, 0)).reshape(12, 1, 2), ["reshape", "transpose"]),
    (lambda x: T(x, perm=(1, 0, 2)).reshape(6, 4), ["transpose", "reshape"]),  # what joins was apart
    (lambda x: T(x, perm=(2, 1, 0)).reshape(8, 3), ["transpose", "reshape"]),
    (lambda x: T(T(x.reshape(6, 2, 2), perm=(0, 2, 1)).reshape(2, 3, 2, 2), perm=(0, 1, 3, 2)), ["reshape"]),
    (lambda x: T(x[:1], perm=(1, 0, 2)).reshape(3, 4), ["slice", "reshape"]),
]


@pytest.mark.parametrize(("f", "ops"), RESHAPED)
def test_transposes_sink_through_reshapes(f: Callable[..., Any], ops: list[str]) -> None:
    assert rewritten(SinkTransposes(), f, X) == ops


@pytest.mark.parametrize("perm", PERMS, ids=str)
@pytest.mark.parametrize(("f", "ops"), SUNK)
def test_transposes_sink(f: Callable[..., Any], ops: list[str], perm: tuple[int, ...]) -> None:
    found = rewritten(SinkTransposes(), lambda x: f(x, perm), X)
    assert [name for name in found if name not in ("full", "broadcast")] == ops


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("perm", PERMS, ids=str)
def test_transposes_sink_through_reductions(perm: tuple[int, ...], axis: int) -> None:
    found = rewritten(SinkTransposes(), lambda x: tnp.sum(T(x, perm=perm), axis=axis), X)
    assert found[0] == "sum"
    assert found[1:] in ([], ["transpose"])


@pytest.mark.parametrize("perm", PERMS, ids=str)
def test_gradients_of_pooling_sink(perm: tuple[int, ...]) -> None:
    """Their two operands come from transposes of the same order."""

    def f(x: Any) -> Any:
        y = T(x, perm=perm)
        at = pooled("window_argmax")(y)
        attrs = dict(at.value.node.attrs)
        grad = OPS["window_scatter"](pooled("window_max")(y), at, shape=y.shape, **attrs)
        return OPS["window_gather"](grad, at, **attrs)

    ops = rewritten(SinkTransposes(), f, X)
    assert ops.count("transpose") == 1
    assert ops[-1] == "transpose"


@pytest.mark.parametrize(
    ("f", "types"),
    [
        (lambda x, y: x.T + y, ("f32[2,3]", "f32[3,2]")),
        (lambda x: OPS["argmax"](x.T, axes=(0, 1), chunks=0), ("f32[2,3]",)),  # positions count in the order of axes
        (lambda x: OPS["sum"](x.T, axes=(0,), chunks=2), ("f32[2,3]",)),
        (lambda x: x.T.reshape(6), ("f32[2,3]",)),
        (lambda x, y: x.T + y, ("f32[2,3]", "f32[2]")),
        (lambda x, b: T(x, perm=(2, 0, 1)) + tnp.broadcast_to(b.reshape(4, 2, 1), (4, 2, 3)), (X, "f32[4,2]")),
    ],
)
def test_transposes_that_stay(f: Callable[..., Any], types: tuple[str, ...]) -> None:
    """An operand that would have to be moved itself, or an order that means something."""
    before = [node.op.name for node in traced(f, *types).nodes]
    found = rewritten(SinkTransposes(), f, *types)
    assert found.count("transpose") == before.count("transpose")


# ------------------------------------------------------------------------------------------------------------- dots


@pytest.mark.parametrize("right", [(0, 1, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0)], ids=str)
@pytest.mark.parametrize("left", [(0, 1, 2), (0, 2, 1), (2, 1, 0)], ids=str)
def test_dots_of_transposes(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """Batched, with any order of axes on both sides."""
    sizes = {"b": 2, "m": 3, "k": 4, "n": 5}
    x, y = ([sizes[names[perm.index(a)]] for a in range(3)] for names, perm in (("bmk", left), ("bkn", right)))
    ops = rewritten(Layout(), lambda x, y: T(x, perm=left) @ T(y, perm=right), f"f32{x}", f"f32{y}")
    assert ops.count("dot") == 1
    assert "transpose" not in ops


# ------------------------------------------------------------------------------------------------------ random chains

MOVES = ("transpose", "transpose", "transpose", "reshape", "broadcast", "slice", "pad", "concat", "reverse")
KINDS = (
    MOVES,
    MOVES,
    ("relu", "maximum", "neg", "select"),
    ("max", "min"),
    ("window_max", "window_scatter", "window_gather"),
)


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("step", [Simplify(), SinkTransposes(), Layout()], ids=lambda s: s.name)
def test_any_movements(step: Pass, part: int) -> None:
    for program in drawn(programs(12, KINDS), 60, part):
        after = step(program.graph, TARGET)
        verify(after)
        for a, b in zip(interpret(program.graph, *program.arrays), interpret(after, *program.arrays), strict=True):
            assert np.array_equal(a, b, equal_nan=bool(is_float(a.dtype))), f"{program}\n{after}"
