from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from graphs import CONV, FUSED, applications, block, emit, f32, in_region, parametrize_cases, parametrize_graphs

from tgc.errors import VerifyError
from tgc.ir import Builder, Constant, Graph, Node, Op, Value, digest_of
from tgc.ops import REGISTRY
from tgc.ops.kinds import Primitive
from tgc.ops.samples import Case
from tgc.text import parse
from tgc.types import BF16, F32, I32, Layout, TensorType
from tgc.verify import describe, verify

NEG, ADD, FULL = (REGISTRY[name] for name in ("neg", "add", "full"))
X = Value(f32(2, 3), name="x")


def graph_of(
    nodes: Iterable[Node] = (),
    outputs: Iterable[Value] = (),
    inputs: Iterable[Value] = (X,),
    constants: Iterable[Constant] = (),
) -> Graph:
    return Graph("main", tuple(inputs), tuple(constants), tuple(nodes), tuple(outputs))


def neg(operand: Value = X, type: TensorType | None = None, attrs: dict[str, Any] | None = None) -> Node:
    return Node.make(NEG, [operand], attrs or {}, [type or operand.type], ("net.py:3",))


def constant(data: np.ndarray, type: TensorType, digest: str = "") -> Constant:
    return Constant(Value(type, name="c0"), digest or digest_of(data), data)


# ------------------------------------------------------------------------------------------------------ what passes


@parametrize_graphs
def test_graphs(graph: Graph) -> None:
    verify(graph)


@parametrize_cases
def test_every_op(op: Primitive, of: Case) -> None:
    dtypes = []
    for dtype, application in applications(op, of):
        verify(application.graph)
        dtypes.append(dtype)
    assert dtypes


@pytest.mark.parametrize("layout", [Layout((1, 0)), Layout((0, 1), ((1, 2),)), Layout((1, 0), ((0, 64), (1, 1)))])
def test_layouts_may_differ_from_the_inferred_one(layout: Layout) -> None:
    node = neg(type=f32(2, 3).with_layout(layout))
    verify(graph_of([node], node.results))


def test_constants_without_data() -> None:
    verify(graph_of(constants=[Constant(Value(f32(2)), "0123456789abcdef", None)]))


# ----------------------------------------------------------------------------------------------------- definitions


def test_undefined_operand() -> None:
    node = neg(Value(f32(2), name="stray"))
    with pytest.raises(
        VerifyError, match=r"^node 0 of @main \(%0 = neg, at net.py:3\): operand 0, <stray: f32\[2\]>, is"
    ):
        verify(graph_of([node]))


def test_use_before_definition() -> None:
    first = neg()
    second = neg(first.result)
    verify(graph_of([first, second]))
    with pytest.raises(VerifyError, match=r"^node 0 of @main .*operand 0, .* is not defined before"):
        verify(graph_of([second, first]))


def test_undefined_output() -> None:
    with pytest.raises(VerifyError, match=r"^graph @main: output 1, <neg: f32\[2,3\]>, is not defined before"):
        verify(graph_of(outputs=[X, neg().result]))


def test_double_definitions() -> None:
    node = neg()
    with pytest.raises(VerifyError, match=r"^input 1 of graph @main: <x: f32\[2,3\]> is defined twice"):
        verify(graph_of(inputs=[X, X]))
    with pytest.raises(VerifyError, match=r"^node 1 of @main \(%1 = neg, at net.py:3\): <neg: .*> is defined twice"):
        verify(graph_of([node, node]))
    data = np.zeros((2, 3), np.float32)
    with pytest.raises(VerifyError, match=r"^constant \w+ of graph @main: .* is defined twice"):
        verify(graph_of(constants=[Constant(X, digest_of(data), data)]))


def test_results_as_sources() -> None:
    with pytest.raises(VerifyError, match=r"^input 0 of graph @main: its value is a result of <node neg"):
        verify(graph_of(inputs=[neg().result]))


@pytest.mark.parametrize("index", [0, 1])
def test_results_must_refer_back(index: int) -> None:
    node = neg()
    object.__setattr__(node, "results", (Value(X.type, node if index else neg(), index),))
    with pytest.raises(VerifyError, match=rf"result 0 says that it is result {index} of <node neg"):
        verify(graph_of([node]))


# ------------------------------------------------------------------------------------------- ops, attributes, types


def test_foreign_ops() -> None:
    class Foreign(Op):
        name = "neg"

    node = Node.make(Foreign(), [X], {}, [X.type])
    with pytest.raises(VerifyError, match=r"<op neg> is not the op that is registered"):
        verify(graph_of([node]))


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({}, "full takes the attributes"),
        ({"shape": (), "dtype": F32, "value": 1.0, "axis": 0}, "full takes the attributes"),
        ({"shape": [2], "dtype": F32, "value": 1.0}, r"attribute shape is \[2\], in canonical form it is \(2,\)"),
        ({"shape": (np.int64(2),), "dtype": F32, "value": 1.0}, "attribute shape is .* in canonical form"),
        ({"shape": (2,), "dtype": "f32", "value": 1.0}, "attribute dtype is 'f32', in canonical form"),
        ({"shape": (2,), "dtype": F32, "value": np.float32(1)}, "attribute value is .* in canonical form"),
        ({"shape": 2, "dtype": F32, "value": 1.0}, "not iterable"),
        ({"shape": (2.5,), "dtype": F32, "value": 1.0}, "expected an integer, got 2.5"),
        ({"shape": (-2,), "dtype": F32, "value": 1.0}, "no negative sizes"),
    ],
)
def test_attributes(attrs: dict[str, Any], message: str) -> None:
    node = Node.make(FULL, [], attrs, [f32(2)])
    with pytest.raises(VerifyError, match=rf"^node 0 of @main \(%0 = full\): .*{message}"):
        verify(graph_of([node]))


def test_attributes_that_trip_the_type_rule() -> None:
    attrs = {"window": (1, 2), "stride": (1, 1), "padding": ((0,), (0, 0)), "dilation": (1, 1)}
    node = Node.make(REGISTRY["window_sum"], [X], attrs, [X.type])
    with pytest.raises(VerifyError, match=r"^node 0 of @main \(%0 = window_sum\)"):
        verify(graph_of([node]))


@pytest.mark.parametrize("types", [[], [f32(3, 2)], [TensorType(I32, (2, 3))], [f32(2, 3)] * 2])
def test_results_must_be_those_of_the_type_rule(types: list[TensorType]) -> None:
    node = Node.make(NEG, [X], {}, types)
    with pytest.raises(VerifyError, match=r"its results are \(.*\), its operands make them \(f32\[2,3\]\)"):
        verify(graph_of([node]))


def test_operands_that_do_not_fit() -> None:
    node = Node.make(ADD, [X, Value(f32(2), name="y")], {}, [X.type])
    with pytest.raises(VerifyError, match=r"add\(f32\[2,3\], f32\[2\]\): operand shapes differ"):
        verify(graph_of([node], inputs=[X, node.operands[1]]))


@pytest.mark.parametrize(
    "layout",
    [
        Layout((0, 1)),  # row-major is None
        Layout((0,)),
        Layout((0, 0)),
        Layout((1, 2)),
        Layout((1, 0), ((2, 4),)),
        Layout((1, 0), ((0, 0),)),
        Layout((1, 0), ((0, 4), (0, 2))),
    ],
)
def test_layouts_that_are_none(layout: Layout) -> None:
    t = TensorType(F32, (2, 3), layout)
    with pytest.raises(VerifyError, match="is no layout of shape"):
        verify(graph_of(inputs=[Value(t)]))
    with pytest.raises(VerifyError, match=r"^node 0 of @main .*is no layout of shape"):
        verify(graph_of([neg(type=t)]))


@pytest.mark.parametrize(
    ("type", "message"),
    [
        (TensorType(np.dtype("m8"), (2,)), "dtype timedelta64 is not supported"),
        (TensorType(np.dtype(">f4"), (2,)), "dtype >f4 is not supported"),
        (TensorType(F32, (2, -1)), r"\(2, -1\) is no shape"),
        (TensorType(F32, (np.int64(2),)), "is no shape"),
        (TensorType(F32, [2]), r"\[2\] is no shape"),  # type: ignore[arg-type]
    ],
)
def test_types_of_inputs(type: TensorType, message: str) -> None:
    with pytest.raises(VerifyError, match=rf"^input 1 of graph @main: .*{message}"):
        verify(graph_of(inputs=[X, Value(type, name="y")]))


# -------------------------------------------------------------------------------------------------------- constants


@pytest.mark.parametrize(
    ("type", "digest", "message"),
    [
        (f32(2), "", r"its type is f32\[2\], its data float32\[3\]"),
        (TensorType(I32, (3,)), "", r"its type is i32\[3\], its data float32\[3\]"),
        (f32(3), "0123456789abcdef", r"its data has digest \w{16}"),
        (f32(3), "0123", "a digest has 16 hexadecimal digits"),
    ],
)
def test_constants(type: TensorType, digest: str, message: str) -> None:
    with pytest.raises(VerifyError, match=rf"^constant \w+ of graph @main: {message}"):
        verify(graph_of(constants=[constant(np.zeros(3, np.float32), type, digest)]))


def test_constants_of_another_byte_order() -> None:
    with pytest.raises(VerifyError, match="its data >f4"):
        verify(graph_of(constants=[constant(np.zeros(3, ">f4"), f32(3))]))


def test_bfloat16_constants() -> None:
    data = np.ones(3, ml_dtypes.bfloat16)
    verify(graph_of(constants=[constant(data, TensorType(BF16, (3,)))]))


def test_writes_to_a_constant_are_noticed() -> None:
    data = np.zeros(3, np.float32)
    graph = graph_of(constants=[constant(data, f32(3))])
    verify(graph)
    data[0] = 1
    with pytest.raises(VerifyError, match="its data has digest"):
        verify(graph)


def test_a_frozen_array_is_hashed_once_for_each_digest() -> None:
    data = np.zeros(3, np.float32)
    data.setflags(write=False)
    verify(graph_of(constants=[constant(data, f32(3))]))
    with pytest.raises(VerifyError, match="its data has digest"):
        verify(graph_of(constants=[constant(data, f32(3), "0123456789abcdef")]))


# ---------------------------------------------------------------------------------------------------------- regions


def fused(body: Graph, operands: Iterable[Value], types: Iterable[TensorType]) -> Node:
    return Node.make(FUSED, operands, {"kind": "map", "body": body, "places": ()}, types, ("net.py:7",))


def negation() -> Graph:
    b = Builder("negation")
    return b.build([emit(b, "neg", b.input(X.type, "x"))])


def test_region() -> None:
    node = fused(negation(), [X], [X.type])
    verify(graph_of([node], node.results))


@pytest.mark.parametrize("operand", [f32(2), TensorType(I32, (2, 3)), f32(2, 3).with_layout(Layout((1, 0)))])
def test_regions_take_their_operands(operand: TensorType) -> None:
    x = Value(operand, name="x")
    with pytest.raises(
        VerifyError, match=r"^node 0 of @main \(%0 = fused, at net.py:7\): .* @negation takes \(f32\[2,3\]\)"
    ):
        verify(graph_of([fused(negation(), [x], [X.type])], inputs=[x]))


@pytest.mark.parametrize("types", [[f32(2)], [], [f32(2, 3).with_layout(Layout((1, 0)))]])
def test_regions_return_their_results(types: list[TensorType]) -> None:
    with pytest.raises(VerifyError, match=r"its results are \(.*\), its operands make them \(f32\[2,3\]\)"):
        verify(graph_of([fused(negation(), [X], types)]))


def test_errors_inside_nested_regions_name_the_path() -> None:
    inner = Graph("inner", (X,), (), (neg(type=f32(7)),), (X,))
    outer = Graph("outer", (X,), (), (fused(inner, [X], [X.type]),), (X,))
    before = neg()
    with pytest.raises(VerifyError) as caught:
        verify(graph_of([before, fused(outer, [X], [X.type])]))
    assert str(caught.value) == (
        "node 1 of @main (%1 = fused, at net.py:7): node 0 of @outer (%0 = fused, at net.py:7): "
        "node 0 of @inner (%0 = neg, at net.py:3): "
        "its results are (f32[7]), its operands make them (f32[2,3])"
    )


def test_regions_do_not_see_values_around_them() -> None:
    body = Graph("body", (), (), (neg(),), ())
    with pytest.raises(VerifyError, match=r"node 0 of @body \(.*\): operand 0, .* is not defined before"):
        verify(graph_of([fused(body, [], [])]))


# --------------------------------------------------------------------------------------------------------- the rest


def test_describe() -> None:
    graph = in_region(block())
    assert describe(graph, 0) == "node 0 of @main (%0 = fused, at net.py:12, net.py:13)"
    pair = parse("graph @g(%x: f32[2]) {\n%a: f32[2], %b: f32[2] = neg %x\nneg\n%c: f32[2] = neg %a\nreturn\n}")
    assert [describe(pair, i) for i in range(3)] == [
        "node 0 of @g (%0, %1 = neg)",
        "node 1 of @g (neg)",
        "node 2 of @g (%2 = neg)",
    ]


def test_convolution_of_misfitting_channels() -> None:
    x, w = Value(f32(1, 8, 8, 3), name="x"), Value(f32(3, 3, 4, 8), name="w")
    node = Node.make(REGISTRY["conv"], [x, w], CONV, [f32(1, 8, 8, 8)], ("net.py:9",))
    with pytest.raises(VerifyError, match=r"at net.py:9\): conv\(.*3 input channels do not fit"):
        verify(graph_of([node], inputs=[x, w]))
