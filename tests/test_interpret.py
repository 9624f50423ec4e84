from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from graphs import FUSED, PRIMITIVES, applications, block, cases_of, emit, f32, in_region, laid_out, parametrize_cases

from tgc.errors import DTypeError, OutOfRangeError, ShapeError, VerifyError
from tgc.interpret import interpret, interpret_values
from tgc.ir import Builder, Graph, Node, Op
from tgc.ops import REGISTRY
from tgc.ops.kinds import Primitive, evaluate
from tgc.ops.samples import Case
from tgc.text import parse
from tgc.types import BF16, F32, I32, tensor_type

rng = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


# --------------------------------------------------------------------------------------------------------- every op


@parametrize_cases
def test_every_op(op: Primitive, of: Case) -> None:
    for dtype, application in applications(op, of):
        graph = application.graph
        results = interpret(graph, *application.operands)
        again = interpret(parse(str(graph)), *application.operands)
        made = evaluate(op, application.operands, application.attrs)
        expected = made if isinstance(made, tuple) else (made,)
        for result, other, want, out in zip(results, again, expected, graph.outputs, strict=True):
            assert (result.dtype, result.shape) == (out.dtype, out.shape), dtype
            assert result.tobytes() == other.tobytes() == want.tobytes(), dtype
            assert result.flags.writeable
            assert not any(np.shares_memory(result, x) for x in application.operands)


def test_samples_cover_float32() -> None:
    """All ops but those of booleans, integers, complex numbers and keys have samples in float32."""
    without = {op.name for op in PRIMITIVES if not any(d == F32 for c in cases_of(op) for d, _ in applications(op, c))}
    assert without == {
        "all", "any", "bit_and", "bit_not", "bit_or", "bit_xor", "conj", "fft", "gcd", "imag", "irfft", "random_bits",
        "real", "shift_left", "shift_right",
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- graphs


def convolution(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A 3x3 convolution with padding 1, in float64, by its definition."""
    n, h, v, _ = x.shape
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((n, h, v, w.shape[-1]))
    for i in range(3):
        for j in range(3):
            out += padded[:, i : i + h, j : j + v] @ w[i, j].astype(np.float64)
    return out


def test_block_against_numpy() -> None:
    x, w, b = draw(2, 8, 8, 3), draw(3, 3, 3, 4), draw(4)
    (result,) = interpret(block(), x, w, b)
    np.testing.assert_allclose(result, np.maximum(convolution(x, w) + b, 0) * 0.5, rtol=1e-5, atol=1e-5)


def test_regions_compute_what_their_bodies_do() -> None:
    args = draw(2, 8, 8, 3), draw(3, 3, 3, 4), draw(4)
    (expected,) = interpret(block(), *args)
    for graph in (in_region(block()), in_region(in_region(block()))):
        (result,) = interpret(graph, *args)
        assert result.tobytes() == expected.tobytes()


def test_layouts_do_not_change_numbers() -> None:
    x = draw(3, 100)
    plus, minus = interpret(laid_out(), x)
    np.testing.assert_array_equal(plus, x + 1)
    np.testing.assert_array_equal(minus, -x)


def test_special_values_give_no_warnings() -> None:
    b = Builder()
    x = b.input(f32(4))
    graph = b.build([emit(b, "div", x, x), emit(b, "log", x), emit(b, "cast", x, dtype="i32")])
    ratio, log, _ = interpret(graph, np.array([0, -1, np.inf, np.nan], np.float32))
    np.testing.assert_array_equal(ratio, np.array([np.nan, 1, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(log, np.array([-np.inf, np.nan, np.inf, np.nan], np.float32))


def test_results_share_no_memory() -> None:
    b = Builder()
    x = b.input(f32(6), "x")
    c = b.constant(np.zeros(6, np.float32))
    same, view = emit(b, "identity", x), emit(b, "reshape", x, shape=(2, 3))
    graph = b.build([x, x, same, view, c, emit(b, "broadcast", x, axes=(1,), shape=(2, 6))])
    arg = draw(6)
    results = interpret(graph, arg)
    arrays = [arg, graph.constants[0].data, *results]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])  # type: ignore[arg-type]
    assert all(r.flags.writeable and r.flags.c_contiguous for r in results)


def test_empty_graph_has_no_results() -> None:
    assert interpret(Graph("main", (), (), (), ())) == ()


def test_interpret_values() -> None:
    graph = block()
    args = draw(2, 8, 8, 3), draw(3, 3, 3, 4), draw(4)
    values = interpret_values(graph, *args)
    assert values.keys() == {*graph.inputs, graph.constants[0].value, *(n.result for n in graph.nodes)}
    np.testing.assert_array_equal(values[graph.outputs[0]], interpret(graph, *args)[0])
    np.testing.assert_array_equal(values[graph.nodes[3].result], np.maximum(values[graph.nodes[2].result], 0))


def test_dead_nodes_and_late_uses() -> None:
    b = Builder()
    x = b.input(f32(3), "x")
    y = emit(b, "neg", x)
    emit(b, "exp", y)  # dead
    z = emit(b, "mul", y, y)
    graph = b.build([emit(b, "add", z, x), y], prune=False)
    arg = draw(3)
    first, second = interpret(graph, arg)
    np.testing.assert_array_equal(first, arg * arg + arg)
    np.testing.assert_array_equal(second, -arg)


# -------------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((), ShapeError, r"graph @main takes 2 arguments \(x: f32\[2\], n: i32\[\]\), got 0"),
        ((draw(2), np.int32(1), 1), ShapeError, "takes 2 arguments .* got 3"),
        ((draw(3), np.int32(1)), ShapeError, r"input x of graph @main is f32\[2\], got float32\[3\]"),
        ((draw(2), np.zeros(1, np.int32)), ShapeError, r"input n of graph @main is i32\[\], got int32\[1\]"),
        ((np.zeros(2), np.int32(1)), DTypeError, r"input x of graph @main is f32\[2\], got float64\[2\]"),
        ((np.zeros(2, ">f4"), np.int32(1)), DTypeError, r"input x of graph @main is f32\[2\], got >f4\[2\]"),
        ((draw(2), np.int64(1)), DTypeError, r"input n of graph @main is i32\[\], got int64\[\]"),
    ],
)
def test_arguments_must_fit(args: tuple[Any, ...], error: type[Exception], message: str) -> None:
    b = Builder()
    x, n = b.input(f32(2), "x"), b.input(tensor_type(I32, ()), "n")
    with pytest.raises(error, match=message):
        interpret(b.build([x, n]), *args)


def test_strided_and_scalar_arguments() -> None:
    b = Builder()
    x, y = b.input(f32(3, 2), "x"), b.input(tensor_type(BF16, ()), "y")
    arg = draw(2, 3).T
    result, scalar = interpret(b.build([x, emit(b, "neg", y)]), arg, ml_dtypes.bfloat16(1))
    np.testing.assert_array_equal(result, arg)
    assert scalar.shape == ()
    assert scalar == -1


def test_constants_without_data() -> None:
    text = "graph @main() {\n  const %c: f32[2] = 0123456789abcdef\n  return %c\n}"
    with pytest.raises(VerifyError, match=r"constant 0123456789abcdef \(f32\[2\]\) of graph @main has no data"):
        interpret(parse(text))
    body = parse(text)
    b = Builder("outer")
    graph = b.build(b.emit(FUSED, [], {"kind": "map", "body": body, "places": ()}))
    with pytest.raises(VerifyError, match=r"constant 0123456789abcdef .* of graph @main has no data"):
        interpret(graph)


# ------------------------------------------------------------------------------------------------- wrong references


def test_indices_out_of_range() -> None:
    b = Builder()
    x, i = b.input(f32(4, 2), "x"), b.input(tensor_type(I32, (3,)), "i")
    graph = b.build([emit(b, "take", x, i, loc="net.py:5")])
    with pytest.raises(OutOfRangeError, match=r"node 0 of @main \(%0 = take, at net.py:5\): index 4 is out of bounds"):
        interpret(graph, draw(4, 2), np.array([0, -4, 4], np.int32))
    with pytest.raises(IndexError):
        interpret(in_region(graph), draw(4, 2), np.array([0, -5, 0], np.int32))


def negation(reference: Callable[[np.ndarray], object]) -> Graph:
    """A graph of one `neg` node, whose op has this reference."""
    op = copy.copy(REGISTRY["neg"])
    object.__setattr__(op, "reference", reference)  # definitions are frozen
    b = Builder()
    return b.build(b.emit(op, [b.input(f32(2), "x")], {}, ("net.py:5",)))


@pytest.mark.parametrize(
    ("reference", "returned"),
    [
        (lambda x: x.astype(np.float64), r"float64\[2\]"),
        (lambda x: x[:1], r"float32\[1\]"),
        (lambda x: (x, x), r"float32\[2\], float32\[2\]"),
    ],
)
def test_references_must_keep_the_type_rule(reference: Callable[[np.ndarray], object], returned: str) -> None:
    with pytest.raises(VerifyError, match=rf"at net.py:5\): reference of neg returned {returned}, not f32\[2\]"):
        interpret(negation(reference), draw(2))


def test_references_cannot_write_to_arguments() -> None:
    arg = draw(2)
    before = arg.copy()
    with pytest.raises(ValueError, match="read-only"):
        interpret(negation(lambda x: np.negative(x, out=x)), arg)
    np.testing.assert_array_equal(arg, before)
    assert arg.flags.writeable


def test_ops_without_reference() -> None:
    class Foreign(Op):
        name = "foreign"

    node = Node.make(Foreign(), [], {}, [f32()])
    with pytest.raises(VerifyError, match=r"node 0 of @main \(%0 = foreign\): <op foreign> has no reference"):
        interpret(Graph("main", (), (), (node,), node.results))
