"""Models of ONNX as functions: what users call, what is compiled once, and what is planned around static operands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.parser import parse_model

import tgc
from tgc import numpy as tnp
from tgc.frontends.onnx import Model, load
from tgc.frontends.onnx.backend import Backend
from tgc.frontends.onnx.errors import InvalidModelError, OnnxError, UnsupportedOperatorError, UntraceableError
from tgc.frontends.onnx.registry import RULES

RNG = np.random.default_rng(0)
HEAD = '<ir_version: 8, opset_import: ["": 17, "local": 1]> '


def model(text: str, functions: str = "") -> Model:
    return load(proto(text, functions))


def proto(text: str, functions: str = "") -> ModelProto:
    return parse_model(f"{HEAD} {text} {functions}")


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


MLP = """
mlp (float[n, 3] x) => (float[n, 2] y)
<int64[2] shape = {-1, 2}> {
    h = MatMul(x, w) hb = Add(h, b) a = Relu(hb) z = MatMul(a, v) y = Reshape(z, shape)
}"""


def mlp() -> ModelProto:
    made, rng = proto(MLP), np.random.default_rng(1)
    for name, shape in (("w", (3, 4)), ("b", (4,)), ("v", (4, 2))):
        made.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape, np.float32), name))
    return made


def expected(w: Any, x: Any) -> Any:
    return tnp.matmul(tnp.maximum(tnp.matmul(x, w["w"]) + w["b"], 0), w["v"])


# -------------------------------------------------------------------------------------------------------- calls


def test_what_a_model_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "mlp.onnx"
    onnx.save(mlp(), path)
    found = load(path)
    assert repr(found) == "<mlp: (x: float32[n, 3]) -> (y: float32[n, 2])>"
    assert [v.name for v in found.inputs] == ["x"]
    assert found.inputs[0].shape == ("n", 3)
    assert {name: w.shape for name, w in found.weights.items()} == {"w": (3, 4), "b": (4,), "v": (4, 2)}


def test_calls_by_position_and_name() -> None:
    found, x = load(mlp()), floats(5, 3)
    want = expected(found.weights, x)
    np.testing.assert_allclose(found(x), want, rtol=1e-5)
    np.testing.assert_array_equal(found(x=x), found(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(), "inputs are missing: x"),
        (lambda m: m(np.ones((1, 3))), "x: float32.* got float64"),
        (lambda m: m(np.ones((1, 3), np.float32), 2), "2 arguments given"),
        (lambda m: m(z=3), "z given to a model with the inputs x"),
        (lambda m: m(np.ones((1, 4), np.float32)), r'node "h" \(MatMul\)'),
        (lambda m: m.apply({}, np.ones((1, 3), np.float32)), "b, v, w"),
        (lambda m: m.graph(), "is open: give `shapes`"),
    ],
)
def test_arguments_that_do_not_fit(call: Callable[[Model], Any], message: str) -> None:
    with pytest.raises(OnnxError, match=message):
        call(load(mlp()))


def test_several_outputs_and_defaults_of_inputs() -> None:
    found = model(
        "g (float[n] x, float[1] k) => (float[n] a, float[n] b) <float[1] k = {2}> { a = Add(x, k) b = Mul(x, k) }"
    )
    assert [v.name for v in found.inputs] == ["x"]
    a, b = found(np.float32([1, 5]))
    np.testing.assert_array_equal(a, [3, 7])
    np.testing.assert_array_equal(b, [2, 10])


def test_one_program_serves_many_sizes() -> None:
    found = model("""
        g (float[b, t, 6] x) => (float[b, t, 6] y, int64[3] s) {
            s = Shape(x) zero = Constant<value_ints = [0]>() one = Constant<value_ints = [1]>()
            b = Gather(s, zero) t = Slice(s, one, two) two = Constant<value_ints = [2]>()
            rows = Mul(b, t) six = Constant<value_ints = [6]>() flat = Concat<axis = 0>(rows, six)
            x2 = Reshape(x, flat) x3 = Exp(x2) back = Concat<axis = 0>(b, t, six) y = Reshape(x3, back)
        }""")
    for b, t in ((2, 3), (2, 4), (5, 4), (7, 9), (3, 8)):
        x = floats(b, t, 6)
        y, s = found(x)
        np.testing.assert_allclose(y, np.exp(x), rtol=1e-6)
        np.testing.assert_array_equal(s, (b, t, 6))
    (family,) = found._program.planned.direct._families.values()  # type: ignore[union-attr]
    assert len(family.programs) <= 2


def test_shapes_that_rules_have_no_arithmetic_for_are_tensors() -> None:
    """A size as a number that scales: it is cast, so it becomes part of the program."""
    found = model("g (float[n] x) => (float[n] y) { s = Size(x) f = Cast<to = 1>(s) r = Sqrt(f) y = Div(x, r) }")
    for n in (4, 9, 16, 25):
        np.testing.assert_allclose(found(np.ones(n, np.float32)), np.full(n, n**-0.5), rtol=1e-6)


# ------------------------------------------------------------------------------------------------ training, graphs


def test_apply_is_differentiable_and_compiles() -> None:
    found, x = load(mlp()), floats(5, 3)
    loss = tgc.value_and_grad(lambda w, f: tnp.mean(f(w, x) ** 2))
    want, slopes = tgc.jit(lambda w: loss(w, expected))(found.weights)
    got, gradients = tgc.jit(lambda w: loss(w, found.apply))(found.weights)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    for name in found.weights:
        np.testing.assert_allclose(gradients[name], slopes[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.apply(found.weights, x), found(x), rtol=1e-6)
    doubled = {name: 2 * w for name, w in found.weights.items()}
    np.testing.assert_allclose(found.apply(doubled, x), expected(doubled, x), rtol=1e-5)


def test_models_called_in_a_trace_are_part_of_it() -> None:
    found = model("g (float[n] x, int64[k] s) => (float[a, b] y, int64[1] n) { y = Reshape(x, s) n = Shape(x) }")
    f = tgc.jit(lambda x: found(tnp.exp(x), np.array([2, -1])))
    for n in (4, 6, 8):
        y, size = f(floats(n))
        assert (y.shape, size.tolist()) == ((2, n // 2), [n])
    with pytest.raises(UntraceableError, match='its operand "s" must be known'):
        tgc.jit(found)(floats(4), np.array([2, 2]))


def test_graph() -> None:
    for shapes in ({"n": 7}, {"x": (7, 3)}):
        graph = load(mlp()).graph(shapes=shapes)
        assert [str(v.type) for v in (*graph.inputs, *graph.outputs)] == ["f32[7,3]", "f32[7,2]"]
        assert graph.inputs[0].name == "x"
    x = floats(7, 3)
    np.testing.assert_allclose(tgc.interpret(graph, x)[0], load(mlp())(x), rtol=1e-5)


def test_what_cannot_be_traced_is_named() -> None:
    found = model("g (float[n] x) => (int64[1, k] y) { z = Relu(x) y = NonZero(z) }")
    np.testing.assert_array_equal(found(np.float32([0, 2, 3])), [[1, 2]])
    with pytest.raises(UntraceableError, match=r'node "y" \(NonZero\)'):
        tgc.jit(lambda x: found.apply({}, x))(np.float32([0, 2, 3]))
    shaped = model("g (float[n] x, int64[k] s) => (float[a, b] y) { y = Reshape(x, s) }")
    with pytest.raises(UntraceableError, match=r'node "y" \(Reshape\): its operand "s"'):
        shaped.graph(shapes={"n": 6, "k": 2})
    assert tgc.jit(lambda x: shaped.apply({}, x, np.array([2, 3])))(floats(6)).shape == (2, 3)
    graph = shaped.graph(shapes={"n": 6}, values={"s": [2, 3]})
    assert str(graph.outputs[0].type) == "f32[2,3]"


# ---------------------------------------------------------------------------------------------------------- stages


def test_static_inputs_and_computed_static_operands() -> None:
    found = model("""
        g (float[n] x, int64[k] s) => (float[a, b] y) {
            two = Constant<value_ints = [2]>() t = Mul(s, two) u = Reshape(x, t) y = Neg(u)
        }""")
    x = floats(24)
    for shape in ((1, 6), (3, 2), (1, 6)):
        np.testing.assert_array_equal(found(x, np.array(shape)), -x.reshape(2 * shape[0], 2 * shape[1]))
    assert [stage.compiled for stage in found._program.planned.stages] == [True, True]


def test_host_stages_between_compiled_ones() -> None:
    found = model("""
        g (float[n] x) => (float[k] y) {
            a = Abs(x) i = NonZero(a) axis = Constant<value_ints = [0]>() j = Squeeze(i, axis)
            v = Gather(x, j) y = Exp(v)
        }""")
    assert [stage.compiled for stage in found._program.planned.stages] == [True, False, True]
    for n in (5, 8):
        x = np.where(np.arange(n) % 3 == 0, 0, floats(n)).astype(np.float32)
        np.testing.assert_allclose(found(x), np.exp(x[x != 0]), rtol=1e-6)


def test_constants_alone_and_unused_nodes() -> None:
    found = model(
        "g (float[n] x) => (float[2] y, float[n] z) { c = Constant<value_floats = [1.0, 2.0]>() y = Neg(c)"
        "z = Relu(x) u = NonZero(x) }"
    )
    y, z = found(np.float32([-1, 1]))
    np.testing.assert_array_equal(y, [-1, -2])
    np.testing.assert_array_equal(z, [0, 1])
    assert len(found._program.planned.stages) == 1


def test_strings_among_operators_of_numbers() -> None:
    found = model("""
        g (string[n] a, string[n] b, float[n] x) => (bool[n] e, string[n] c, float[n] y) {
            e = Equal(a, b) i = Constant<value_ints = [1, 0]>() c = Gather(a, i) y = Neg(x)
        }""")
    e, c, y = found(np.array(["p", "q"], object), np.array(["p", "r"], object), np.float32([1, 2]))
    assert e.tolist() == [True, False]
    assert c.tolist() == ["q", "p"]
    assert y.tolist() == [-1, -2]


def test_sequences_and_optionals_in_and_out() -> None:
    found = model("""
        g (seq(float[n]) s, optional(float[n]) o) => (seq(float[n]) t, bool h, float[n] f) {
            i = Constant<value_int = 0>() f = SequenceAt(s, i) r = Neg(f) t = SequenceInsert(s, r)
            h = OptionalHasElement(o)
        }""")
    t, h, f = found([np.float32([1]), np.float32([2])], None)
    assert [x.tolist() for x in t] == [[1], [2], [-1]]
    assert not h
    assert f.tolist() == [1]
    assert found([np.float32([1])], np.float32([3]))[1]


# ------------------------------------------------------------------------------------------------------- functions


def test_functions_with_references_to_attributes() -> None:
    found = model(
        "g (float[n] x) => (float[n] y, float[n] z) { y = local.leaky<slope = 0.5>(x) z = local.leaky(x) }",
        """<domain: "local", opset_import: ["": 17]> leaky<slope: float = 0.25>(x) => (y) {
            y = LeakyRelu<alpha: float = @slope>(x) }""",
    )
    y, z = found(np.float32([-4, 4]))
    assert (y.tolist(), z.tolist()) == ([-2, 4], [-1, 4])


def test_operators_without_a_rule_are_expanded_as_the_standard_defines_them(monkeypatch: pytest.MonkeyPatch) -> None:
    x = floats(6)
    text = "g (float[n] x) => (float[n] y) {{ y = {}(x) }}"
    for op in ("Celu<alpha = 0.7>", "Softsign"):
        want = model(text.format(op).replace("Softsign", "Softsign"))(x)
        monkeypatch.delitem(RULES, ("", op.split("<")[0]))
        made = load(parse_model(HEAD.replace("17", "18") + text.format(op)))
        np.testing.assert_allclose(made(x), want, rtol=1e-6)


def test_what_is_not_supported_is_named() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r'node "y" \(Foo\): operator Foo is not supported'):
        model("g (float[n] x) => (float[n] y) { y = Foo(x) }")
    with pytest.raises(InvalidModelError, match=r'node "y" \(Relu\).*unexpected keyword argument .alpha'):
        model("g (float[n] x) => (float[n] y) { y = Relu<alpha = 1.0>(x) }")
    with pytest.raises(InvalidModelError, match=r'node "y" \(Gather\).*missing a required argument'):
        model("g (float[n] x) => (float[n] y) { y = Gather(x) }")


def test_the_interface_of_backends() -> None:
    node = helper.make_node("Clip", ["x", "", "high"], ["y"])
    (found,) = Backend.run_node(node, [np.float32([1, 5]), np.float32(3)])
    assert found.tolist() == [1, 3]
    (found,) = Backend.run_model(mlp(), [floats(2, 3)])
    assert found.shape == (2, 2)
    assert Backend.supports_device("CPU")
    assert not Backend.supports_device("CUDA:1")


def test_element_types_of_inputs_that_tgc_has_no_dtype_for() -> None:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)], "g",
        [helper.make_tensor_value_info("x", TensorProto.INT4, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )  # fmt: skip
    found = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    x = np.array([-8, 3, 7]).astype(found.inputs[0].dtype)
    assert found(x).tolist() == [-8, 3, 7]
