"""Quantized models: what they compute, and that they do it with 8-bit integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_nodes import refer, run

import tgc
from tgc.backends.cpu.target import CpuTarget
from tgc.frontends.onnx import load
from tgc.interpret import interpret
from tgc.ir import Graph, Node
from tgc.ops.kinds import Contraction
from tgc.passes import parse_pipeline
from tgc.passes import run as run_passes

RNG = np.random.default_rng(0)
TARGET = CpuTarget.of("x86_64-unknown-linux-gnu", frozenset())
STEP, ZERO = 0.05, np.uint8(100)  # of activations
SIZES: dict[int, tuple[int, ...]] = {2: (3, 6), 3: (2, 3, 9), 4: (2, 3, 8, 9)}  # by rank


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Each test draws the same numbers, whichever ran before."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


class Model:
    """A graph of ONNX in the making, whose values are named by what makes them."""

    def __init__(self, *shape: int | str, opset: int = 21) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        self.opset = opset

    def constant(self, x: Any, elem: int | None = None) -> str:
        name = f"c{len(self.constants)}"
        array = np.asarray(x)
        made = helper.make_tensor(name, elem, array.shape, array) if elem else numpy_helper.from_array(array, name)
        self.constants.append(made)
        return name

    def node(self, op: str, *operands: str, outputs: int = 1, **attrs: Any) -> Any:
        names = [f"{op}{len(self.nodes)}" + "_" * k for k in range(outputs)]
        self.nodes.append(helper.make_node(op, operands, names, **attrs))
        return names[0] if outputs == 1 else names

    def quantized(self, x: str, zero: Any = ZERO, step: float = STEP) -> str:
        """x through QuantizeLinear and DequantizeLinear."""
        how = self.constant(np.float32(step)), self.constant(zero)
        return str(self.node("DequantizeLinear", self.node("QuantizeLinear", x, *how), *how))

    def weights(self, x: np.ndarray, scale: Any = 0.02, zero: Any = None, axis: int = 0) -> str:
        """Constant integers, dequantized."""
        how = [self.constant(np.asarray(scale, np.float32)), *([] if zero is None else [self.constant(zero)])]
        return str(self.node("DequantizeLinear", self.constant(x), *how, axis=axis))

    def made(self, *outputs: str) -> ModelProto:
        results = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "graph", self.inputs, results, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)


def int8(*shape: int) -> np.ndarray:
    return RNG.integers(-128, 128, shape).astype(np.int8)


def simplified(proto: ModelProto) -> Graph:
    """The graph before contractions are brought to their forms."""
    return run_passes(parse_pipeline("simplify,sink,simplify"), load(proto).graph(), TARGET).result


def contractions(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if isinstance(n.op, Contraction)]


def check(proto: ModelProto, products: int, step: float = STEP, most: int = 1) -> Graph:
    """All products, so many of them, are of 8-bit integers; results are those of ONNX's evaluator, or a step off."""
    graph = simplified(proto)
    found = contractions(graph)
    assert len(found) == products
    for node in found:
        for v in node.operands:
            assert v.dtype == np.int32
            while v.node is not None and v.node.op.name in ("transpose", "reshape", "pad", "slice"):
                v = v.node.operands[0]
            assert v.node is not None
            assert v.node.op.name == "cast"
            assert v.node.operands[0].dtype.itemsize == 1
    compare(proto, graph, step, most)
    return graph


def compare(proto: ModelProto, graph: Graph, step: float = STEP, most: int = 1) -> None:
    """Few results are `most` steps off, if any."""
    x = (4 * RNG.standard_normal(graph.inputs[0].shape)).astype(np.float32)
    for got, want in zip(interpret(graph, x), ReferenceEvaluator(proto).run(None, {"x": x}), strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        off = np.abs(got.astype(np.float64) - want) / (step if got.dtype.kind == "f" else 1)
        assert off.max() < most + 1e-3
        assert (off > 1e-3).mean() <= 0.01


def names(graph: Graph) -> set[str]:
    return {n.op.name for n in graph.nodes}


# ---------------------------------------------------------------------------------------------------- convolutions

ZEROS = [np.uint8(0), np.uint8(100), np.uint8(255), np.int8(-128), np.int8(7)]


@pytest.mark.parametrize("zero", ZEROS, ids=repr)
@pytest.mark.parametrize("bias", ["none", "int32", "other units", "float"])
def test_convolution(zero: Any, bias: str) -> None:
    """Padded, with a scale for each filter."""
    m = Model(*SIZES[4])
    x = m.quantized("x", zero)
    scale = RNG.uniform(0.01, 0.03, 4).astype(np.float32)
    operands = [x, m.weights(int8(4, 3, 3, 3), scale, np.zeros(4, np.int8))]
    units = np.float32(STEP) * scale
    if bias == "float":
        operands.append(m.constant(RNG.standard_normal(4).astype(np.float32)))
    elif bias != "none":
        integers = RNG.integers(-3000, 3000, 4).astype(np.int32)
        operands.append(m.weights(integers, units if bias == "int32" else 2 * units, np.zeros(4, np.int32)))
    y = m.node("Conv", *operands, pads=[1, 1, 1, 1], strides=[1, 2])
    graph = check(m.made(m.quantized(y, zero, 4 * STEP)), 1, 4 * STEP)
    made = [n.op.name for n in graph.nodes if n.op.name in ("add", "fma") and n.result.dtype == np.float32]
    shifted = int(zero) + 128 * (zero.dtype == np.int8)
    added = ["add"] * (shifted > 0)  # that of x: y's is added to integers
    assert made == added + ["fma"] * (bias in ("other units", "float"))


@pytest.mark.parametrize(("type", "kernel", "zero", "attrs"), [
    (np.int8, (4, 3, 3, 3), np.int8(0), {}),
    (np.int8, (4, 3, 3, 3), np.int8(-9), {"pads": [0, 1, 2, 0]}),
    (np.uint8, (4, 3, 3, 3), np.uint8(128), {"dilations": [2, 1]}),
    (np.uint8, (4, 3, 1, 1), np.array([120, 128, 130, 0], np.uint8), {}),
    (np.uint8, (6, 1, 2, 3), np.uint8(130), {"group": 3, "auto_pad": "SAME_UPPER"}),
    (np.int8, (4, 3, 5), np.int8(3), {"pads": [2, 2]}),
    (np.int8, (2, 3, 1), np.int8(3), {"strides": [2]}),
])  # fmt: skip
@pytest.mark.parametrize("quantized", [True, False])
def test_zero_points_of_filters(type: Any, kernel: Any, zero: Any, attrs: Any, quantized: bool) -> None:
    m = Model(*SIZES[len(kernel)])
    w = int8(*kernel).view(type)
    scale = np.full(zero.shape, 0.0213)  # of 0.02 each 25th result would be halfway between two integers
    y = m.node("Conv", m.quantized("x"), m.weights(w, scale, zero), **attrs)
    proto = m.made(m.quantized(y) if quantized else y)
    if "group" in attrs:  # floats hold sums of few products
        graph = simplified(proto)
        assert [n.result.dtype for n in contractions(graph)] == [np.float32]
        return compare(proto, graph)
    shifted = np.any(np.asarray(zero) != (128 if type is np.uint8 else 0))
    assert ("window_sum" in names(check(proto, 1))) == (shifted and (max(kernel[2:]) > 1 or bool(attrs)))
    return None


@pytest.mark.parametrize("types", [(np.uint8, np.int8), (np.int8, np.int8), (np.uint8, np.uint8), (np.int8, np.uint8)])
@pytest.mark.parametrize("known", [(), (1, 2, 3), (2, 3), (1,)], ids=str)
def test_integer_operators(types: tuple[Any, Any], known: tuple[int, ...]) -> None:
    """Zero points that are arguments, or known."""
    x, w = int8(2, 3, 6, 5).view(types[0]), int8(4, 3, 3, 2).view(types[1])
    zeros = [types[0](11), np.array([3, 0, 100, 1], types[1])]
    for attrs in ({}, {"pads": [1, 0, 2, 1], "strides": [2, 1]}):
        operands = [x, w, zeros[0], zeros[1] if attrs else zeros[1][0]]
        got = run("ConvInteger", operands, 10, known, **attrs)
        padded = np.pad(x.astype(np.int32) - 11, [(0, 0), (0, 0), *([(1, 2), (0, 1)] if attrs else [(0, 0)] * 2)])
        shifted = w.astype(np.int32) - np.reshape(operands[3].astype(np.int32), (-1, 1, 1, 1))
        patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), (2, 3))[:, :, :: 2 if attrs else 1]
        np.testing.assert_array_equal(got, np.einsum("nchwij,ocij->nohw", patches, shifted))
    a, b = int8(2, 5, 7).view(types[0]), int8(7, 6).view(types[1])
    columns = RNG.integers(0, 100, 6).astype(types[1])
    for operands in ([a, b, types[0](11), types[1](5)], [a, b, types[0](0), columns], [a[0], b, a[0, :, 0], columns]):
        shifted = operands[0].astype(np.int32) - np.reshape(operands[2], (-1, 1) if operands[2].ndim else ())
        want = shifted @ (operands[1].astype(np.int32) - operands[3])
        np.testing.assert_array_equal(run("MatMulInteger", operands, 10, known), want)


# -------------------------------------------------------------------------------------------------- matrix products


@pytest.mark.parametrize("zero", ZEROS, ids=repr)
def test_matrix_products(zero: Any) -> None:
    """With a scale for each column, of weights that are transposed by a node, an attribute or not at all."""
    m = Model(*SIZES[2])
    x = m.quantized("x", zero)
    scale = RNG.uniform(0.01, 0.03, 4).astype(np.float32)
    right = m.weights(int8(6, 4), scale, np.zeros(4, np.int8), axis=1)
    turned = m.weights(int8(4, 6), scale, np.arange(4).astype(np.int8), axis=-2)
    bias = m.weights(RNG.integers(-3000, 3000, 4).astype(np.int32), np.float32(STEP) * scale)
    ys = [
        m.node("MatMul", x, right),
        m.node("MatMul", x, m.node("Transpose", turned, perm=[1, 0])),
        m.node("Gemm", x, turned, bias, transB=1),
        m.node("Gemm", x, right, m.constant(RNG.standard_normal((3, 1)).astype(np.float32)), alpha=0.5, beta=2.0),
        m.node("Gemm", m.node("Transpose", x), right, transA=1),
    ]
    graph = check(m.made(*(m.quantized(y, zero) for y in ys), ys[0]), 2)  # others are the same
    assert [n.op.name for n in graph.nodes].count("div") == 1  # of x


def test_products_of_activations() -> None:
    """Attention's: both factors are made by the model."""
    m = Model(2, 5, 4)
    q, k = m.quantized("x"), m.quantized("x", np.int8(-5))
    scores = m.quantized(m.node("MatMul", q, m.node("Transpose", k, perm=[0, 2, 1])), np.uint8(30), 0.5)
    found = load(m.made(m.node("MatMul", scores, k))).graph()
    graph = run_passes(parse_pipeline("simplify"), found, TARGET).result
    assert [n.result.dtype.name for n in contractions(graph)] == ["int32"] * 2
    compare(m.made(m.node("MatMul", scores, k)), graph, 1.0)


# ------------------------------------------------------------------------------------------- between the products


def test_residual_block() -> None:
    """What is between products stays in 8 bits, but for the sum of two scales."""
    m = Model(2, 3, 8, 9)
    x = m.quantized("x", np.int8(-128))
    weights = [m.weights(int8(3, 3, 3, 3), np.float32([0.01, 0.02, 0.015]), np.zeros(3, np.int8)) for _ in range(2)]
    a = m.quantized(m.node("Relu", m.node("Conv", x, weights[0], pads=[1] * 4)), np.int8(-128))
    b = m.quantized(m.node("Conv", a, weights[1], pads=[1] * 4), np.int8(3), 0.23)
    y = m.quantized(m.node("Relu", m.node("Add", b, x)), np.int8(-128), 0.17)
    graph = check(m.made(y), 2, 0.17, most=2)  # of a step of 0.23
    assert not {"relu", "bit_xor", "where"} & names(graph)
    assert not [n for n in graph.nodes if n.result.dtype == np.int8 and n.op.name != "transpose"]  # uint8 alone


MOVES: dict[str, Callable[[Model, str], str]] = {
    "MaxPool": lambda m, x: m.node("MaxPool", x, kernel_shape=[2, 3], pads=[1, 1, 0, 0], strides=[2, 1]),
    "Reshape": lambda m, x: m.node("Reshape", x, m.constant(np.array([0, -1]))),
    "Transpose": lambda m, x: m.node("Transpose", x, perm=[0, 2, 3, 1]),
    "Slice": lambda m, x: m.node("Slice", x, *(m.constant(np.array([n])) for n in (1, 3, 2))),
    "Concat": lambda m, x: m.node("Concat", x, m.quantized("x"), axis=1),
    "Split": lambda m, x: m.node("Split", x, outputs=2, axis=0, num_outputs=2)[1],
    "Relu": lambda m, x: m.node("Relu", x),
    "Flatten": lambda m, x: m.node("Flatten", x),
    "GlobalMaxPool": lambda m, x: m.node("GlobalMaxPool", x),
}  # fmt: skip


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("zero", [np.uint8(100), np.int8(-28)], ids=repr)
def test_codes_are_moved(move: str, zero: Any) -> None:
    """In the scale that they are in there is nothing to be computed."""
    m = Model(*SIZES[4])
    y = m.quantized(MOVES[move](m, m.quantized("x", zero)), zero)
    proto = m.made(y)
    graph = simplified(proto)
    assert [n.op.name for n in graph.nodes if n.op.name in ("round", "mul")] == ["round", "mul"]
    compare(proto, graph)


def test_another_scale_is_computed_at_once() -> None:
    m = Model(*SIZES[4])
    y = m.node("Clip", m.quantized("x"), m.constant(np.float32(-1)), m.constant(np.float32(2)))
    proto = m.made(m.quantized(y, np.uint8(40), 0.07))
    graph = simplified(proto)
    assert [n.op.name for n in graph.nodes].count("maximum") == 2  # the limits of both roundings
    compare(proto, graph, 0.07)
    m = Model(*SIZES[4])
    joined = m.node("Concat", m.quantized("x"), m.quantized("x", step=0.1), axis=1)  # not of one scale
    proto = m.made(m.quantized(joined))
    compare(proto, simplified(proto))


def test_results_beyond_all_integers() -> None:
    """In units so small that int32 does not hold them before they are limited."""
    m = Model(*SIZES[2])
    w = int8(6, 4)
    proto = m.made(m.quantized(m.node("MatMul", m.quantized("x"), m.weights(w)), ZERO, 1e-9))
    x = RNG.choice(np.float32([-1, 2]), SIZES[2])
    (given,) = interpret(simplified(proto), x)
    np.testing.assert_array_equal(np.rint(given / 1e-9), np.where(x @ w.astype(np.float32) > 0, 155, -100))


# --------------------------------------------------------------------------------------------------- what is not


def test_floats_where_integers_do_not_serve() -> None:
    """Scales along other axes, integers of 16 bits, sums beyond int32, blocks."""
    m = Model(*SIZES[2])
    each = m.constant(RNG.uniform(0.04, 0.06, 6).astype(np.float32)), m.constant(np.full(6, 3, np.int8))
    x = m.node("DequantizeLinear", m.node("QuantizeLinear", "x", *each), *each)
    y = m.node("MatMul", x, m.weights(int8(6, 4), np.float32(0.02)))
    w16 = m.weights(RNG.integers(-999, 999, (6, 4)).astype(np.int16), np.float32(0.001))
    rows = m.weights(int8(6, 4), RNG.uniform(0.01, 0.03, 6), axis=0)
    blocks = m.node("DequantizeLinear", m.constant(int8(6, 4)), m.constant(np.full((3, 4), 0.02, np.float32)),
                    axis=0, block_size=2)  # fmt: skip
    others = [m.node("MatMul", m.quantized("x"), w) for w in (w16, rows, blocks)]
    proto = m.made(y, *others)
    graph = simplified(proto)
    assert {n.result.dtype.name for n in contractions(graph)} == {"float32"}
    compare(proto, graph)


def test_long_sums() -> None:
    """int32 holds sums of 70,000 products of small weights, not of large ones."""
    for most, dtype in ((1, "int32"), (127, "float32")):
        m = Model(1, 70_000)
        w = np.full((70_000, 2), most, np.int8)
        proto = m.made(m.node("MatMul", m.quantized("x"), m.weights(w, np.float32(0.001))))
        (found,) = contractions(load(proto).graph())
        assert found.result.dtype == dtype


def test_weights_in_four_bits() -> None:
    m = Model(*SIZES[2])
    w = m.constant(RNG.integers(-8, 8, (6, 4)), TensorProto.INT4)
    y = m.node("MatMul", m.quantized("x"), m.node("DequantizeLinear", w, m.constant(np.float32(0.3))))
    check(m.made(y), 1)


@pytest.mark.parametrize("known", [(), (1,), (0, 1), (1, 2), (0, 1, 2)], ids=str)
def test_zero_points_in_four_bits(known: tuple[int, ...]) -> None:
    """Which of codes, scale and zero point are known changes nothing."""
    codes, scale, zero = RNG.integers(-8, 8, 5), np.float32(0.3), np.array(3)
    operands = ("x", TensorProto.INT4, codes), ("s", TensorProto.FLOAT, scale), ("z", TensorProto.INT4, zero)
    tensors = [helper.make_tensor(name, elem, x.shape, x) for name, elem, x in operands]
    held, open_ = ([t for k, t in enumerate(tensors) if (k in known) is which] for which in (True, False))
    infos = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in open_]
    node = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"])
    graph = helper.make_graph([node], "graph", infos, [helper.make_empty_tensor_value_info("y")], held)
    given = {t.name: numpy_helper.to_array(t) for t in open_}
    net = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    np.testing.assert_array_equal(net(**given), (codes - 3).astype(np.float32) * scale)


def test_values_that_others_read() -> None:
    """Results of the model, of a function and a branch; codes that are a result, too."""
    m = Model(*SIZES[4])
    how = m.constant(np.float32(STEP)), m.constant(np.int8(5))
    codes = m.node("QuantizeLinear", "x", *how)
    x = m.node("DequantizeLinear", codes, *how)
    w = m.weights(int8(4, 3, 1, 1))
    y = m.node("Conv", x, w)
    inner = helper.make_graph(
        [helper.make_node("Neg", [y], ["n"])], "then", [], [helper.make_empty_tensor_value_info("n")]
    )
    other = helper.make_graph(
        [helper.make_node("Identity", [y], ["i"])], "else", [], [helper.make_empty_tensor_value_info("i")]
    )
    total = m.node("ReduceSum", "x", keepdims=0)
    positive = m.node("Greater", total, m.constant(np.float32(0)))
    chosen = m.node("If", positive, then_branch=inner, else_branch=other)
    proto = m.made(codes, x, y, w, m.node("HardSwish", y), chosen)
    compare(proto, load(proto).graph())


def test_weights_that_are_arguments() -> None:
    """Scales of a model that is trained are no constants: floats, which have gradients."""
    m = Model("n", 6)
    scale = np.float32([0.02, 0.01, 0.03, 0.02])
    net = load(m.made(m.node("MatMul", m.quantized("x"), m.weights(int8(6, 4), scale, axis=1))))
    x = RNG.standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_allclose(net.apply(net.weights, x), net(x), 1e-5, 1e-5)
    (name,) = [n for n, v in net.weights.items() if v.shape == (4,)]
    gradient = tgc.grad(lambda weights: tgc.numpy.sum(net.apply(weights, x)))(net.weights)[name]
    np.testing.assert_allclose(gradient, net(x).sum(0) / scale, 1e-4, 1e-3)


def test_compiled() -> None:
    """For two sizes of the batch."""
    m = Model("n", 3, 8, 9)
    x = m.quantized("x", np.int8(-128))
    w = m.weights(int8(8, 3, 3, 3), RNG.uniform(0.01, 0.03, 8), np.zeros(8, np.int8))
    y = m.quantized(m.node("Conv", x, w, pads=[1] * 4), np.int8(-128), 4 * STEP)
    w = m.weights(int8(5, 8, 3, 3), RNG.uniform(0.01, 0.03, 5), np.zeros(5, np.int8))
    y = m.quantized(m.node("Conv", m.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]), w), np.uint8(9), 8 * STEP)
    proto = m.made(m.node("ReduceMean", y, m.constant(np.array([2, 3])), keepdims=0))
    net = load(proto)
    for batch in (2, 3, 5):
        given = (4 * RNG.standard_normal((batch, 3, 8, 9))).astype(np.float32)
        (want,) = ReferenceEvaluator(proto).run(None, {"x": given})
        np.testing.assert_allclose(net(given), want, 0, 8 * STEP / 4)


@pytest.mark.parametrize("op", ["QLinearConv", "QLinearMatMul"])
def test_integers_with_scales(op: str) -> None:
    """Scales that are known become one number; the results are those of arguments."""
    if op == "QLinearConv":
        bias = RNG.integers(-99, 99, 3).astype(np.int32)
        operands = [int8(1, 2, 5, 5), np.float32(0.1), np.int8(4), int8(3, 2, 3, 3), np.float32([0.02, 0.03, 0.01]),
                    np.zeros(3, np.int8), np.float32(0.9), np.int8(-7), bias]  # fmt: skip
        attrs: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    else:
        operands = [int8(4, 6).view(np.uint8), np.float32(0.1), np.uint8(4), int8(6, 3), np.float32([0.02, 0.03, 0.01]),
                    np.zeros(3, np.int8), np.float32(0.9), np.uint8(90)]  # fmt: skip
        attrs = {}
    got = run(op, operands, 10, range(1, len(operands)), **attrs)
    np.testing.assert_array_equal(got, run(op, operands, 10, **attrs))
    want = refer(op, operands, 10, **attrs)
    assert np.abs(got.astype(int) - want).max() <= 1
    assert (got != want).mean() < 0.05
