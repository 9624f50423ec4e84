"""`to_onnx`: every emitter, from the definition of its primitive, on ONNX's reference; functions there and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import optree
import pytest
from onnx.reference import ReferenceEvaluator
from opcases import OPS, cases, operands, references, together

import tgc
from tgc import nn
from tgc import numpy as tnp
from tgc.frontends.onnx import load, to_onnx
from tgc.frontends.onnx.emitters.emission import EMITTERS
from tgc.frontends.onnx.errors import OnnxError, UnsupportedOperatorError
from tgc.interpret import interpret
from tgc.ops.kinds import Primitive
from tgc.types import BOOL, F32, F64, I32, SHORT_NAMES, U32, DType

RNG = np.random.default_rng(0)


def real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def evaluate(model: onnx.ModelProto, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs, as ONNX's reference computes them, of a model that ONNX's checker accepts."""
    onnx.checker.check_model(model, full_check=True)
    feeds = dict(zip((v.name for v in model.graph.input), arrays, strict=True))
    with np.errstate(all="ignore"):
        found: list[np.ndarray] = ReferenceEvaluator(model).run(None, feeds)
    return [np.asarray(y) for y in found]


def applications() -> Iterator[Any]:
    for name in EMITTERS:
        for dtype in (F32, I32, U32, BOOL):
            op = OPS.get(name)
            chosen = [] if op is None else [c for c in cases(op) if operands(op, c, dtype) is not None]
            chosen = [c for c in chosen if all(0 not in s for s in c.shapes) and not c.attrs.get("chunks")]
            if chosen and (op.samples.draws or dtype == F32):  # type: ignore[union-attr]
                yield pytest.param(op, dtype, chosen, id=f"{name}-{SHORT_NAMES[dtype]}")


@pytest.mark.parametrize(("op", "dtype", "chosen"), list(applications()))
def test_emitter(op: Primitive, dtype: DType, chosen: list[Any]) -> None:
    if op.name == "cast":
        chosen = [c for c in chosen if np.dtype(c.attrs["dtype"]) in (BOOL, I32, U32, F32, F64)]
    applied = [(c, x) for c in chosen if (x := operands(op, c, dtype)) is not None]
    without = dtype.kind in "iu" and op.name in ("conv", "window_sum", "window_max")
    if without or (op.name.startswith("shift_") and dtype == I32):
        with pytest.raises(UnsupportedOperatorError, match=f"{op.name}: ONNX"):
            to_onnx(together(op, applied))
        return
    wanted = [y for c, arrays in applied for y in references(op, arrays, op.check_attrs(c.attrs))]
    got = evaluate(to_onnx(together(op, applied)), [a for _, arrays in applied for a in arrays])
    for y, want in zip(got, wanted, strict=True):
        assert (y.dtype, y.shape) == (want.dtype, want.shape)
        scale = 1.0 if op.samples.ulps <= 2 else max(1.0, np.abs(want).max())  # of what is summed
        np.testing.assert_allclose(y, want, rtol=2e-5, atol=2e-6 * scale)


PARAMETERS = {"hidden": {"w": real(5, 7), "b": real(7)}, "out": {"w": real(7, 3), "b": real(3)}}
FILTERS, BIAS, MORE = real(3, 3, 1, 4), real(4), real(3, 3, 4, 6)
NORM = {"scale": real(8), "bias": real(8)}


def perceptron(p: Any, x: Any) -> Any:
    return nn.softmax(nn.dense(nn.relu(nn.dense(x, **p["hidden"])), **p["out"]))


def convolutional(x: Any) -> Any:
    x = nn.max_pool(nn.relu(nn.conv(x, FILTERS, bias=BIAS, padding="same")), 2)
    return nn.avg_pool(nn.conv(x, MORE), 2).mean((1, 2))


def attending(x: Any) -> Any:
    q = nn.layer_norm(x, **NORM).reshape(x.shape[0], 6, 2, 4).transpose(0, 2, 1, 3)
    return x + nn.dot_product_attention(q, q, q, is_causal=True).transpose(0, 2, 1, 3).reshape(x.shape)


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "perceptron": (perceptron, (PARAMETERS, real(4, 5))),
    "convolutional": (convolutional, (real(2, 12, 12, 1),)),
    "attending": (attending, (real(2, 6, 8),)),
    "gradient": (tgc.grad(lambda w, x: tnp.sum(tnp.tanh(x @ w) ** 2)), (real(5, 3), real(4, 5))),
    "scan": (lambda x: tgc.scan(lambda c, r: (c * 0.5 + r, tnp.tanh(c)), x[0], x), (real(4, 5),)),
    "backwards": (lambda x: tgc.scan(lambda c, r: (c * 0.5 + r, c), x[0], x, reverse=True), (real(4, 5),)),
    "counted": (lambda x: tgc.fori_loop(0, 5, lambda i, c: c * x + i, x), (real(5),)),
    "while": (lambda x: tgc.while_loop(lambda c: tnp.sum(c) < 100, lambda c: c * 1.5 + 1, x), (abs(real(5)),)),
    "switch": (
        lambda k, x: tgc.switch(k, [lambda x: x * 2, lambda x: x + BIAS[0], tnp.sin], x),
        (np.int32(1), real(5)),
    ),
    "checkpoint": (lambda x: tgc.checkpoint(lambda y: tnp.exp(y) + 1)(x) * 2, (real(5),)),
    "slices": (lambda x: (x[::-1, 1::2], x[1:3], tnp.pad(x, ((1, 2), (0, 3)), constant_values=2)), (real(4, 5),)),
    "scatter": (lambda x: x.at[np.array([0, 2, 0])].add(1.0), (real(4, 5),)),
    "products": (lambda x: (tnp.einsum("ij,kj->ik", x, x), tnp.einsum("ij,ij->i", x, x)), (real(4, 5),)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_there_and_back(name: str) -> None:
    function, args = FUNCTIONS[name]
    lowered = tgc.jit(function).lower(*args)
    arrays = [np.asarray(x) for x in optree.tree_leaves(args)]
    wanted = interpret(lowered.graph, *arrays)
    model = to_onnx(function, *args)
    assert [v.name for v in model.graph.input] == [v.name for v in lowered.graph.inputs]
    back = load(model)
    found = back(*arrays)
    for outputs in (evaluate(model, arrays), found if isinstance(found, tuple) else (found,)):
        for y, want in zip(outputs, wanted, strict=True):
            assert (y.dtype, y.shape) == (want.dtype, want.shape)
            np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)


def test_a_body_has_as_many_outputs_as_results() -> None:
    """Runtimes give outputs of one name one buffer."""
    model = to_onnx(lambda x: tgc.scan(lambda c, r: ((c[0] + r,) * 2, c[0] + r), (x[0], x[0]), x), real(4, 5))
    (body,) = [a.g for n in model.graph.node if n.op_type == "Scan" for a in n.attribute if a.name == "body"]
    assert len({v.name for v in body.output}) == len(body.output) == 3


def operators(model: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def test_layers_are_the_operators_that_one_expects() -> None:
    assert operators(to_onnx(perceptron, real(4, 5), weights=PARAMETERS)) == [
        "MatMul", "Add", "Relu", "MatMul", "Add", "Softmax", "Identity",
    ]  # fmt: skip
    model = to_onnx(convolutional, real(2, 12, 12, 1))
    assert operators(model) == [  # broadcasts are left to the operators, and transposes meet
        "Transpose", "Conv", "Relu", "MaxPool", "Conv", "AveragePool", "Transpose", "ReduceMean", "Identity",
    ]  # fmt: skip
    assert model.graph.node[1].doc_string.startswith("test_onnx_export.py:")


def test_open_sizes() -> None:
    model = to_onnx(convolutional, real(2, 12, 12, 1), sizes={"x": {0: "batch", 1: "height", 2: "width"}})
    sizes = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", "height", "width", 1]
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for shape in ((5, 14, 16, 1), (3, 10, 8, 1)):
        x = real(*shape)
        (want,) = interpret(tgc.jit(convolutional).lower(x).graph, x)
        np.testing.assert_allclose(evaluate(model, [x])[0], want, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(load(model)(x), want, rtol=1e-4, atol=1e-5)


def test_computed_sizes() -> None:
    def f(x: Any) -> Any:
        n = x.shape[0]
        return tnp.broadcast_to(x.reshape(n * 3), (2, n * 3)), tnp.arange(n * 3 + 1) * 2, tnp.sum(x) / n

    model = to_onnx(f, real(4, 3), sizes={"x": {0: "n"}})
    x = real(7, 3)
    for y, want in zip(evaluate(model, [x]), (np.tile(x.ravel(), (2, 1)), np.arange(22) * 2, x.sum() / 7), strict=True):
        np.testing.assert_allclose(y, want, rtol=1e-5)


def test_names() -> None:
    model = to_onnx(perceptron, real(4, 5), weights=PARAMETERS, inputs=["features"], outputs=["probabilities"])
    initializers = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert initializers.keys() == {"hidden.w", "hidden.b", "out.w", "out.b"}
    np.testing.assert_array_equal(initializers["out.w"], PARAMETERS["out"]["w"])
    assert [v.name for v in model.graph.input] == ["features"]
    assert [v.name for v in model.graph.output] == ["probabilities"]
    with pytest.raises(OnnxError, match="outputs: a, b are not 1 different names"):
        to_onnx(lambda x: x, real(3), outputs=["a", "b"])
    with pytest.raises(OnnxError, match="outputs: x: an input has this name"):
        to_onnx(lambda x: x, real(3), outputs=["x"])
    named = to_onnx(lambda x: (x + 1, x + 2), real(3), outputs=["Add_1", "Add"])
    assert [y.tolist() for y in evaluate(named, [np.zeros(3, np.float32)])] == [[1, 1, 1], [2, 2, 2]]
    same = to_onnx(lambda x: (x, x, 1.5), real(3))
    assert [y.tolist() for y in evaluate(same, [np.ones(3, np.float32)])] == [[1, 1, 1], [1, 1, 1], 1.5]


def test_a_loaded_model_goes_back_with_its_names() -> None:
    """A convolution's filters lie otherwise in ONNX than in tgc: they come back as they were."""

    def net(p: Any, x: Any) -> Any:
        return nn.relu(nn.conv(x, p["filters"], bias=p["bias"]))

    x = real(2, 6, 6, 1)
    first = load(to_onnx(net, x, weights={"filters": FILTERS, "bias": BIAS}))
    weights = {name: w * 2 for name, w in first.weights.items()}
    second = load(to_onnx(first.apply, x, weights=weights, inputs=["x"]))
    assert second.weights.keys() == first.weights.keys()
    for name, w in second.weights.items():
        np.testing.assert_array_equal(w, weights[name])


def test_errors_name_the_primitive_and_its_line() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"qr at test_onnx_export.py:\d+: ONNX has no operator for it"):
        to_onnx(lambda x: tnp.linalg.qr(x)[0], real(4, 4))
    with pytest.raises(UnsupportedOperatorError, match=r"export.py:\d+: ONNX has no operators for complex64"):
        to_onnx(lambda x: tnp.abs(x * 1j), real(4))
    with pytest.raises(UnsupportedOperatorError, match=r"random_bits at test_onnx_export.py:\d+"):
        to_onnx(lambda k: tgc.random.normal(k, (3,)), tgc.random.key(0))
    with pytest.raises(OnnxError, match=r"n cannot be open: a plain number was made of it at"):
        to_onnx(lambda x: x * float(x.shape[0]), real(4), sizes={"x": {0: "n"}})
    with pytest.raises(OnnxError, match=r"sizes: axis 2 of x"):
        to_onnx(lambda x: x, real(4), sizes={"x": {2: "n"}})
    with pytest.raises(OnnxError, match=r"sizes: y: the inputs are x"):
        to_onnx(lambda x: x, real(4), sizes={"y": {0: "n"}})
