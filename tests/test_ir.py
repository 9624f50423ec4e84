from __future__ import annotations

import dataclasses
import struct
import threading
from typing import Any

import ml_dtypes
import networkx as nx
import numpy as np
import pytest
from graphs import GRAPHS, block, emit, f32, in_region, parametrize_graphs

from tgc.errors import DTypeError, ShapeError, VerifyError
from tgc.ir import (
    Builder,
    Constant,
    Graph,
    Node,
    Op,
    Recorder,
    Value,
    attr_key,
    digest_of,
    inline,
    rebuild,
    recorder,
    recording,
    transform,
)
from tgc.ops import REGISTRY
from tgc.types import (
    ALL,
    BF16,
    BOOL,
    BY_SHORT_NAME,
    F16,
    F32,
    F64,
    FLOAT8S,
    FLOATS,
    I32,
    I64,
    SHORT_NAMES,
    U8,
    Layout,
    TensorType,
    as_dtype,
    is_float,
    tensor_type,
    type_of,
)
from tgc.verify import verify

# ------------------------------------------------------------------------------------------------------------ types


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("f32", F32), ("bf16", BF16), ("bool", BOOL), ("u8", U8), ("float32", F32), (np.float16, F16), (float, F64),
        (int, I64), (bool, BOOL), (">i4", I32), (ml_dtypes.bfloat16, BF16), (np.dtype("f8"), F64), ("bfloat16", BF16),
    ],
)  # fmt: skip
def test_as_dtype(name: object, dtype: np.dtype) -> None:
    assert as_dtype(name) == dtype
    assert as_dtype(name).isnative


@pytest.mark.parametrize("name", ["f31", "longdouble", np.void, object, "U3", 3, "M8[s]"])
def test_as_dtype_refuses(name: object) -> None:
    with pytest.raises(DTypeError):
        as_dtype(name)
    with pytest.raises(TypeError):
        as_dtype(name)


def test_short_names() -> None:
    assert SHORT_NAMES.keys() == ALL
    assert {BY_SHORT_NAME[name] for name in SHORT_NAMES.values()} == ALL
    assert {d for d in ALL if is_float(d)} == FLOATS | FLOAT8S


@pytest.mark.parametrize(
    ("type", "text", "storage"),
    [
        (f32(), "f32[]", ()),
        (f32(2, 3), "f32[2,3]", (2, 3)),
        (TensorType(BF16, (2, 3), Layout((1, 0))), "bf16[2,3]{1,0}", (3, 2)),
        (TensorType(I32, (5, 100), Layout((1, 0), ((1, 64),))), "i32[5,100]{1,0;1:64}", (2, 5, 64)),
        (TensorType(U8, (5, 7), Layout((0, 1), ((1, 4), (0, 2)))), "u8[5,7]{0,1;1:4;0:2}", (3, 2, 4, 2)),
        (TensorType(F64, (0, 7), Layout((1, 0), ((0, 4),))), "f64[0,7]{1,0;0:4}", (7, 0, 4)),
    ],
)
def test_types(type: TensorType, text: str, storage: tuple[int, ...]) -> None:
    assert str(type) == text
    assert type.storage == storage
    assert type.nbytes == np.zeros(storage, type.dtype).nbytes
    assert (type.rank, type.size) == (len(type.shape), np.prod(type.shape))


def test_with_layout_normalizes_row_major() -> None:
    t = f32(2, 3).with_layout(Layout((1, 0)))
    assert t.layout == Layout((1, 0))
    assert t.with_layout(Layout((0, 1))) == t.with_layout(None) == f32(2, 3)
    assert t.with_layout(Layout((0, 1), ((0, 2),))).layout == Layout((0, 1), ((0, 2),))


def test_types_are_immutable_and_hashable() -> None:
    assert len({f32(2), f32(2), f32(2).with_layout(Layout((0,), ((0, 4),)))}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        f32(2).shape = (3,)  # type: ignore[misc]


@pytest.mark.parametrize("shape", [(2.0,), (True,), (-1,), ("2",), (None,)])
def test_tensor_type_refuses(shape: tuple[Any, ...]) -> None:
    with pytest.raises(ShapeError):
        tensor_type(F32, shape)


def test_type_of() -> None:
    assert type_of(np.zeros((2, 0), ">f4")) == f32(2, 0)
    t = tensor_type("f32", (np.int64(2), 3))
    assert t == f32(2, 3)
    assert all(type(n) is int for n in t.shape)


# ---------------------------------------------------------------------------------------------------------- builder


def test_equal_applications_are_one_node() -> None:
    b = Builder()
    x, y = b.input(f32(2), "x"), b.input(f32(2), "y")
    first = emit(b, "add", x, y, loc="a.py:1")
    assert emit(b, "add", x, y, loc="a.py:2") is first
    assert emit(b, "add", y, x) is not first
    assert emit(b, "sub", x, y) is not first
    assert [n.loc for n in b.nodes] == [("a.py:1",), (), ()]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"dtype": "f32", "value": 0.0}, {"dtype": "f32", "value": -0.0}),
        ({"dtype": "f32", "value": 1.0}, {"dtype": "f64", "value": 1.0}),
        ({"dtype": "i32", "value": 1}, {"dtype": "bool", "value": True}),
        ({"dtype": "f32", "value": np.nan}, {"dtype": "f32", "value": np.inf}),
    ],
)
def test_different_attributes_are_different_nodes(a: dict[str, Any], b: dict[str, Any]) -> None:
    builder = Builder()
    first, second = emit(builder, "full", shape=(), **a), emit(builder, "full", shape=(), **b)
    assert first is not second
    assert emit(builder, "full", shape=(), **a) is first
    assert emit(builder, "full", shape=(), **b) is second


def test_attr_keys_tell_types_apart() -> None:
    attrs = [1, 1.0, True, "1", (1,), (1.0,), ((1,),), None, 0.0, -0.0, F32, "f32", block(), (), ""]
    assert len({attr_key(a) for a in attrs}) == len(attrs)
    (odd,) = struct.unpack("<d", b"\1" * 6 + b"\xf8\x7f")  # a NaN with other bits
    assert attr_key(np.nan) == attr_key(float("nan")) == attr_key(-np.nan) == attr_key(odd)
    assert attr_key((1, (2.0, "x"))) == attr_key((1, (2.0, "x")))
    assert attr_key(block()) == attr_key(block())


def test_types_override_layouts_and_count_for_numbering() -> None:
    b = Builder()
    x = b.input(f32(2, 3))
    packed = f32(2, 3).with_layout(Layout((1, 0)))
    (plain,), (laid,) = b.emit(REGISTRY["neg"], [x]), b.emit(REGISTRY["neg"], [x], types=[packed])
    assert plain.type == f32(2, 3)
    assert laid.type == packed
    assert b.emit(REGISTRY["neg"], [x], types=[packed]) == (laid,)


def test_unique_nodes_are_not_merged() -> None:
    b = Builder()
    x = b.input(f32(2))
    (first,), (second,) = (b.emit(REGISTRY["neg"], [x], unique=True) for _ in range(2))
    shared = emit(b, "neg", x)
    assert len({first, second, shared}) == len(b.nodes) == 3
    assert emit(b, "neg", x) is shared


def test_results_refer_back() -> None:
    (node,) = in_region(block()).nodes
    assert node.result.node is node
    assert node.result.index == 0
    assert node.body == block()
    pair = Node.make(REGISTRY["neg"], (), {}, [f32(), f32(1)])
    assert [(r.node, r.index, r.shape) for r in pair.results] == [(pair, 0, ()), (pair, 1, (1,))]
    with pytest.raises(ValueError, match="too many values"):
        _ = pair.result


def test_emit_refuses_what_the_type_rule_refuses() -> None:
    b = Builder()
    with pytest.raises(ShapeError, match="operand shapes differ"):
        b.emit(REGISTRY["add"], [b.input(f32(2)), b.input(f32(3))])
    assert b.nodes == ()
    with pytest.raises(NotImplementedError, match="no type rule"):
        b.emit(Op(), [])


def test_constants_are_copied_frozen_and_shared() -> None:
    b = Builder()
    data = np.zeros(3, np.float32)
    first = b.constant(data)
    assert b.constant(np.zeros(3, np.float32)) is first
    assert b.constant(np.zeros(3, np.int32)) is not first
    assert b.constant(np.zeros((3, 1), np.float32)) is not first
    assert b.constant(data, f32(3).with_layout(Layout((0,), ((0, 4),)))) is not first
    data[:] = 1
    assert b.constant(data) is not first
    constant = b.build([first]).constants[0]
    assert constant.data is not None
    np.testing.assert_array_equal(constant.data, 0)
    with pytest.raises(ValueError, match="read-only"):
        constant.data[0] = 1


@pytest.mark.parametrize("dtype", [">f4", ">i8", ">f2", "?", ml_dtypes.bfloat16])
def test_constants_have_native_byte_order(dtype: Any) -> None:
    b = Builder()
    data = np.arange(3).astype(dtype)
    (constant,) = b.build([b.constant(data)]).constants
    assert constant.data is not None
    assert constant.data.dtype == constant.value.dtype == as_dtype(dtype)
    assert constant.data.dtype.isnative
    np.testing.assert_array_equal(constant.data, data)
    verify(b.build([constant.value]))


def test_digests() -> None:
    arrays = [
        np.zeros(2, np.float32), np.zeros(2, np.int32), np.zeros((2, 1), np.float32), np.zeros((1, 2), np.float32),
        np.array([0, -0.0], np.float32), np.zeros(2, ml_dtypes.bfloat16), np.zeros(4, np.uint8), np.zeros(()),
    ]  # fmt: skip
    assert len({digest_of(a) for a in arrays}) == len(arrays)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert digest_of(np.asfortranarray(x)) == digest_of(x)
    assert digest_of(np.float32(0.5)) == "fc3a62e960c07bca"  # files depend on it


def test_build_prunes_what_no_output_needs() -> None:
    b = Builder()
    x, y = b.input(f32(2), "x"), b.input(f32(2), "y")
    used, unused = b.constant(np.ones(2, np.float32)), b.constant(np.zeros(2, np.float32))
    out = emit(b, "mul", emit(b, "neg", x), used)
    emit(b, "add", out, unused)
    graph = b.build([out])
    assert [n.op.name for n in graph.nodes] == ["neg", "mul"]
    assert [c.value for c in graph.constants] == [used]
    assert graph.inputs == (x, y)
    whole = b.build([out], prune=False)
    assert len(whole.nodes) == 3
    assert len(whole.constants) == 2


def test_inputs_get_names() -> None:
    b = Builder()
    assert [b.input(f32(), name).name for name in ("", "x", "")] == ["a0", "x", "a2"]


# --------------------------------------------------------------------------------------------------------- equality


@parametrize_graphs
def test_equality_with_a_copy(graph: Graph) -> None:
    b = Builder(graph.name)

    def again(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...]:
        types = [r.type for r in node.results]
        return b.emit(node.op, operands, node.attrs, ("elsewhere.py:1",), types=types, unique=True)

    inputs = [b.input(v.type, f"renamed_{v.name}") for v in graph.inputs]
    copy = b.build(rebuild(graph, b, inputs, again), prune=False)
    assert copy == graph
    assert hash(copy) == hash(graph)


def test_graphs_differ_in_what_counts() -> None:
    def graph(
        name: str = "main", op: str = "add", shape: int = 2, swap: bool = False, loc: str = "", x: str = "x"
    ) -> Graph:
        b = Builder(name)
        p, q = b.input(f32(shape), x), b.input(f32(shape), "y")
        r = emit(b, op, p, q, loc=loc)
        return b.build([q, r] if swap else [r, q])

    base = graph()
    assert base == graph(loc="a.py:1", x="z")
    others = [graph(name="other"), graph(op="sub"), graph(shape=3), graph(swap=True)]
    assert len({base, *others}) == 1 + len(others)
    assert base != "graph"


def test_constants_count_by_digest() -> None:
    def graph(value: float, data: bool = True) -> Graph:
        array = np.float32(value)
        v = Value(f32())
        return Graph("main", (), (Constant(v, digest_of(array), array if data else None),), (), (v,))

    assert graph(1) == graph(1, data=False)
    assert graph(1) != graph(2)


def test_bodies_count() -> None:
    assert in_region(block(2)) == in_region(block(2))
    assert in_region(block(2)) != in_region(block(3))
    assert in_region(block(2), "map") != in_region(block(2), "contraction")


# ------------------------------------------------------------------------------------------------- uses and rewrites


def test_uses_and_data() -> None:
    b = Builder()
    x = b.input(f32(2))
    c = b.constant(np.ones(2, np.float32))
    square = emit(b, "mul", x, x)
    graph = b.build([emit(b, "add", square, c)])
    mul, add = graph.nodes
    assert graph.uses == {x: (mul, mul), square: (add,), c: (add,)}
    assert graph.data.keys() == {c}


def test_inline_and_rebuild() -> None:
    b = Builder("twice")
    x = b.input(f32(2), "x")
    inner = Builder("inner")
    a = inner.input(f32(2))
    body = inner.build([emit(inner, "mul", a, inner.constant(np.full(2, 3, np.float32)))])
    (once,) = inline(body, b, [x])
    graph = b.build(inline(body, b, [once]))
    assert [n.op.name for n in graph.nodes] == ["mul", "mul"]
    assert len(graph.constants) == 1
    with pytest.raises(VerifyError, match="graph @inner has 1 inputs, got 2"):
        rebuild(body, b, [x, x])


def test_transform_replaces_nodes() -> None:
    def rewrite(b: Builder, node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        return (emit(b, "maximum", operands[0], operands[0]),) if node.op.name == "relu" else None

    graph = transform(block(), rewrite)
    names = [n.op.name for n in graph.nodes]
    assert names == [{"relu": "maximum"}.get(n.op.name, n.op.name) for n in block().nodes]
    assert [v.name for v in graph.inputs] == ["x", "w", "b"]
    assert transform(block(), lambda b, node, operands: None) == block()


def test_rebuild_infers_types_anew_where_operands_changed() -> None:
    small, b = block(2), Builder("block")
    inputs = [b.input(f32(5, *v.shape[1:]) if v.name == "x" else v.type, v.name) for v in small.inputs]

    def grow(node: Node, operands: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if node.op.name != "broadcast":
            return None
        return b.emit(node.op, operands, {**node.attrs, "shape": (5, 8, 8, 4)}, node.loc)

    assert b.build(rebuild(small, b, inputs, grow)) == block(5)


# ------------------------------------------------------------------------------------------------ views and recorders


@parametrize_graphs
def test_networkx_has_every_edge(graph: Graph) -> None:
    view = graph.to_networkx()
    assert view.graph["name"] == graph.name
    assert nx.is_directed_acyclic_graph(view)
    assert view.number_of_edges() == sum(len(n.operands) for n in graph.nodes) + len(graph.outputs)
    found = sorted(attrs["op"] for _, attrs in view.nodes(data=True))
    expected = ["input"] * len(graph.inputs) + ["constant"] * len(graph.constants) + ["output"] * len(graph.outputs)
    assert found == sorted([*expected, *(n.op.name for n in graph.nodes)])


def test_networkx_labels() -> None:
    view = block().to_networkx()
    assert view.nodes["0:conv"] == {"op": "conv", "loc": ("net.py:12",), "type": "f32[2,8,8,4]"}
    assert view.nodes["input:x"] == {"op": "input", "type": "f32[2,8,8,3]"}
    assert list(view.in_edges("0:conv", data=True)) == [
        ("input:x", "0:conv", {"operand": 0, "type": "f32[2,8,8,3]"}),
        ("input:w", "0:conv", {"operand": 1, "type": "f32[3,3,3,4]"}),
    ]
    assert list(view.successors("5:mul")) == ["output:0"]


def test_networkx_keeps_apart_what_has_one_name() -> None:
    b = Builder()
    x, y = (b.input(f32(3), "x") for _ in range(2))
    data = np.ones(3, np.float32)
    c, packed = b.constant(data), b.constant(data, f32(3).with_layout(Layout((0,), ((0, 4),))))
    view = b.build([x, y, c, packed]).to_networkx()
    digest = digest_of(data)
    assert {f"output:{i}": list(view.predecessors(f"output:{i}")) for i in range(4)} == {
        "output:0": ["input:x"],
        "output:1": ["input:x#1"],
        "output:2": [f"constant:{digest}"],
        "output:3": [f"constant:{digest}#1"],
    }
    assert view.nodes[f"constant:{digest}#1"]["type"] == "f32[3]{0;0:4}"


def test_reprs_are_short() -> None:
    graph = GRAPHS["two results"]
    (node,) = graph.nodes
    assert repr(node) == "<node fused -> f32[8], i32[8]>"
    assert repr(node.results[1]) == "<fused: i32[8]>"
    assert repr(graph.inputs[0]) == "<x: f32[8]>"
    assert repr(Value(f32())) == "<value: f32[]>"
    assert repr(node.op) == "<op fused>"


def test_recorders_nest_and_belong_to_a_thread() -> None:
    outer, inner = (Recorder(lambda op, operands, attrs: None) for _ in range(2))
    assert recorder() is None
    with recording(outer):
        with recording(inner):
            assert recorder() is inner
        with recording(None):
            assert recorder() is None
        seen: list[object] = []
        thread = threading.Thread(target=lambda: seen.append(recorder()))
        thread.start()
        thread.join()
        assert seen == [None]
        with pytest.raises(KeyError), recording(inner):
            raise KeyError
        assert recorder() is outer
    assert recorder() is None


def test_bytes_that_nobody_can_write_to_are_not_copied() -> None:
    data = np.arange(6, dtype=np.float32).tobytes()
    builder = Builder("f")
    for array, shared in (
        (np.frombuffer(data, np.float32).reshape(2, 3), True),
        (np.frombuffer(data, np.float32).reshape(2, 3).T, False),
        (np.frombuffer(bytearray(data), np.float32), False),
        (np.arange(6, dtype=np.float32), False),
    ):
        builder.constant(array)
        found = builder._constants[next(reversed(builder._constants))].data
        assert found is not None
        assert np.shares_memory(found, array) == shared
        assert not found.flags.writeable
        np.testing.assert_array_equal(found, array)
