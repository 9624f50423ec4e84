"""Graphs that several tests share, and every op applied to its samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from tgc.errors import DTypeError
from tgc.ir import Builder, Graph, Node, Value
from tgc.ops import REGISTRY
from tgc.ops.attention import Attention
from tgc.ops.kinds import Control, Elementwise, Primitive, Region
from tgc.ops.samples import Case, case
from tgc.types import BF16, BOOL, F32, I32, I64, SHORT_NAMES, DType, Layout, TensorType, tensor_type, type_of

FUSED = REGISTRY["fused"]
CONV = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}


def f32(*shape: int) -> TensorType:
    """A row-major float32 type."""
    return tensor_type(F32, shape)


def emit(builder: Builder, op: str, *operands: Value, loc: str = "", **attrs: Any) -> Value:
    """Emit the op of this name, which has one result."""
    primitive = REGISTRY[op]
    assert isinstance(primitive, Primitive)
    (result,) = builder.emit(primitive, operands, primitive.check_attrs(attrs), (loc,) if loc else ())
    return result


def block(batch: int = 2) -> Graph:
    """Convolution, bias and relu, scaled by a constant."""
    b = Builder("block")
    x, w, bias = (b.input(f32(*s), n) for n, s in (("x", (batch, 8, 8, 3)), ("w", (3, 3, 3, 4)), ("b", (4,))))
    y = emit(b, "conv", x, w, loc="net.py:12", **CONV)
    y = emit(b, "add", y, emit(b, "broadcast", bias, axes=(3,), shape=y.shape, loc="net.py:12"), loc="net.py:12")
    y = emit(b, "relu", y, loc="net.py:13")
    scale = b.constant(np.float32(0.5))
    return b.build([emit(b, "mul", y, emit(b, "broadcast", scale, axes=(), shape=y.shape))])


def in_region(body: Graph, kind: str = "map") -> Graph:
    """A graph that is nothing but one fused node with this body."""
    b = Builder("main")
    inputs = [b.input(v.type, v.name) for v in body.inputs]
    results = b.emit(FUSED, inputs, {"kind": kind, "body": body, "places": ()}, ("net.py:12", "net.py:13"))
    return b.build(results, prune=False)


def two_results() -> Graph:
    """A body with two results of different types."""
    b = Builder("pair")
    x, y = b.input(f32(8), "x"), b.input(f32(8), "y")
    return b.build([emit(b, "add", x, y), emit(b, "cast", y, dtype="i32")])


def laid_out() -> Graph:
    """Layouts on an input, a constant and results, one of which its type rule would not infer."""
    b = Builder("layouts")
    packed = f32(3, 100).with_layout(Layout((1, 0), ((1, 64),)))
    x = b.input(f32(3, 100).with_layout(Layout((1, 0))), "x")
    c = b.constant(np.ones((3, 100), np.float32), packed)
    y = emit(b, "relayout", x, order=(1, 0), tiles=((1, 64),))
    (z,) = b.emit(REGISTRY["add"], [y, c], types=[f32(3, 100)])
    return b.build([z, emit(b, "neg", y)])


def odd_graphs() -> dict[str, Graph]:
    """Graphs at the edges of the form."""
    graphs = {"empty": Graph("main", (), (), (), ())}
    b = Builder("identity")
    x = b.input(f32(2, 0), "x")
    c = b.constant(np.arange(3))
    graphs["returns its sources"] = b.build([x, c, x])
    b = Builder('<lambda> of "a/b"')
    x, y, z = b.input(f32(2), "x"), b.input(f32(2), "x"), b.input(f32(2), "a/b c")
    one = b.constant(np.array([True, False]))
    value = emit(b, "select", one, x, emit(b, "add", y, z, loc='a, "b" #c.py:1'))
    graphs["odd names"] = b.build([value, value])
    b = Builder("attributes")
    numbers = (0.0, -0.0, 1.0, 1e300, -1e-5, 0.1, np.inf, -np.inf, np.nan, -np.nan)
    values = [(d, v) for d in (F32, BF16) for v in numbers] + [(I64, 0), (I64, -7), (BOOL, True), (BOOL, False)]
    outputs = [emit(b, "full", shape=(), dtype=d, value=v) for d, v in values]
    graphs["numbers"] = b.build([*outputs, emit(b, "cast", outputs[0], dtype=BOOL)])
    b = Builder("dead")
    x = b.input(tensor_type(I64, (3,)), "x")
    emit(b, "neg", x)
    graphs["dead node"] = b.build([x], prune=False)
    first, second = (Node.make(REGISTRY["neg"], (x,), {}, [x.type]) for _ in range(2))
    graphs["equal nodes"] = Graph("main", (x,), (), (first, second), (first.result, second.result))
    b = Builder("none")
    b.input(tensor_type(I32, ()), "x")
    graphs["region without results"] = in_region(b.build([]))
    graphs["two results"] = in_region(two_results())
    graphs["region"] = in_region(block(), "contraction")
    graphs["nested regions"] = in_region(in_region(in_region(block())))
    graphs["layouts"] = laid_out()
    return graphs


GRAPHS = MappingProxyType({"block": block(), **odd_graphs()})
parametrize_graphs = pytest.mark.parametrize("graph", [pytest.param(g, id=name) for name, g in GRAPHS.items()])


# ------------------------------------------------------------------------------------------------------ every op


@dataclass(frozen=True)
class Application:
    """An op applied to sample operands."""

    op: Primitive
    operands: tuple[np.ndarray, ...]
    attrs: dict[str, Any]

    @property
    def graph(self) -> Graph:
        """A graph of this one node."""
        b = Builder(self.op.name)
        inputs = [b.input(type_of(x)) for x in self.operands]
        return b.build(b.emit(self.op, inputs, self.attrs, ("ops.py:1",)))


def cases_of(op: Primitive) -> tuple[Case, ...]:
    """The cases of an op's samples, or one case for an elementwise op that has none."""
    if op.samples.cases or not isinstance(op, Elementwise):
        return op.samples.cases
    targets: list[dict[str, Any]] = [{"dtype": d} for d in SHORT_NAMES] if op.name == "cast" else [{}]
    return tuple(case(*[(3, 4)] * op.arity, **attrs) for attrs in targets)


def applications(op: Primitive, of: Case) -> Iterator[tuple[DType, Application]]:
    """The case in every dtype that the op takes; once, as float32, if it has no operands."""
    attrs = op.check_attrs(of.attrs)
    for dtype in SHORT_NAMES if of.shapes else (F32,):
        rng = np.random.default_rng(len(SHORT_NAMES[dtype]))
        mixed = op.mixed if isinstance(op, Elementwise) and op.mixed else ({dtype},) * len(of.shapes)
        if isinstance(op, Attention):  # behind the floats there may be a mask
            mixed = tuple({dtype if k < op.arity else BOOL} for k in range(len(of.shapes)))
        dtypes = [dtype if dtype in domain else min(domain, key=str) for domain in mixed]
        draws = zip(op.samples.draws, dtypes, of.shapes, strict=False)  # concat takes any number of operands
        operands = tuple(draw(rng, d, shape) for draw, d, shape in draws)
        try:
            op.infer([type_of(x) for x in operands], attrs)
        except DTypeError:
            continue
        yield dtype, Application(op, operands, attrs)


PRIMITIVES = tuple(op for op in REGISTRY.values() if isinstance(op, Primitive) and not isinstance(op, Region | Control))
CASES = [pytest.param(op, c, id=f"{op.name}-{i}") for op in PRIMITIVES for i, c in enumerate(cases_of(op))]
parametrize_cases = pytest.mark.parametrize(("op", "of"), CASES)
