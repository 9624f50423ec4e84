"""ONNX's operators where its own backend tests do not look: older forms, corners of dtypes, empty tensors, classical
models, errors. The reference is NumPy or `onnx.reference`; graphs are interpreted, not compiled.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from onnx_nodes import model, real, refer, run, same

import tgc
from tgc.frontends.onnx import drawing, load
from tgc.frontends.onnx.errors import OnnxError, UnsupportedOperatorError

ML = "ai.onnx.ml"
F = real(6, 4)


# ------------------------------------------------------------------------------------------------------- older forms

X = real(2, 3, 4)
OLD: dict[str, tuple[str, tuple[Any, ...], int, dict[str, Any], Any]] = {
    "softmax": ("Softmax", (X,), 11, {}, np.exp(X) / np.exp(X).sum((1, 2), keepdims=True)),
    "softmax-axis": ("Softmax", (X,), 7, {"axis": 2}, None),
    "log-softmax": ("LogSoftmax", (X,), 1, {"axis": 0}, X - np.log(np.exp(X).sum())),
    "squeeze": ("Squeeze", (X[:, :1],), 11, {"axes": [1]}, None),
    "unsqueeze": ("Unsqueeze", (X,), 11, {"axes": [0, -1]}, X[None, ..., None]),
    "split": ("Split", (X,), 11, {"axis": 2, "split": [1, 3]}, (X[..., :1], X[..., 1:])),
    "slice": ("Slice", (X,), 9, {"starts": [1, -3], "ends": [9, -1], "axes": [1, 2]}, X[:, 1:9, -3:-1]),
    "pad": ("Pad", (X,), 7, {"pads": [0, 1, 0, 0, 0, 2], "value": 2.5}, None),
    "clip": ("Clip", (X,), 7, {"min": -0.5}, np.maximum(X, np.float32(-0.5))),
    "dropout": ("Dropout", (X,), 10, {"ratio": 0.3}, (X, np.ones_like(X, bool))),
    "reduce": ("ReduceSum", (X,), 11, {"axes": [0, 2], "keepdims": 0}, X.sum((0, 2))),
    "reduce-max": ("ReduceMax", (X,), 12, {"axes": [-1]}, X.max(-1, keepdims=True)),
    "scatter": ("Scatter", (np.zeros(4), np.array([2, 0]), np.array([5.0, 6])), 10, {}, np.array([6.0, 0, 5, 0])),
    "add": ("Add", (X, X[0, :, 0]), 6, {"broadcast": 1, "axis": 1}, X + X[0, :, :1]),
    "greater": ("Greater", (X, X[0]), 1, {"broadcast": 1}, X[0] < X),
    "gemm": ("Gemm", (X[0], X[1], X[0, :, 0]), 6, {"broadcast": 1, "transB": 1}, X[0] @ X[1].T + X[0, :, 0]),
    "prelu": ("PRelu", (X, X[0, :, 0]), 6, {}, np.where(X < 0, X * X[0, :, :1], X)),
    "hardmax": ("Hardmax", (X,), 11, {"axis": 2}, (X.max(-1, keepdims=True) == X).astype(np.float32)),
}


@pytest.mark.parametrize("name", OLD)
def test_older_forms(name: str) -> None:
    op, operands, opset, attrs, want = OLD[name]
    outputs = len(want) if isinstance(want, tuple) else 1
    wanted = refer(op, operands, opset, **attrs) if want is None else want
    same(run(op, operands, opset, outputs=outputs, **attrs), wanted)


def test_infinities_are_clipped_by_the_older_form() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1], np.float32)
    largest = np.finfo(np.float32).max
    same(run("Clip", [x], 10), np.array([largest, -largest, np.nan, 1], np.float32))
    same(run("Clip", [x], 13), x)


# --------------------------------------------------------------------------------------------------- corners of dtypes

LEAST = np.array([-128, -128, 127, -7, 7], np.int8)
BY = np.array([3, 127, -7, 2, -2], np.int8)
ODD = np.array([np.nan, np.inf, -np.inf, -0.0, 0.5, 1.5, -2.5], np.float32)
EMPTY = np.zeros((0, 3), np.float32)
TIES = np.array([[3, 1, 3], [2, 2, 1]])
CORNERS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], Any]] = {
    "div": ("Div", (LEAST, BY), {}, np.array([-42, -1, -18, -3, -3], np.int8)),
    "mod": ("Mod", (LEAST, BY), {}, np.mod(LEAST, BY)),
    "fmod": ("Mod", (LEAST, BY), {"fmod": 1}, np.fmod(LEAST, BY)),
    "fmod-floats": ("Mod", (ODD, np.float32([3])), {"fmod": 1}, None),
    "pow-int": ("Pow", (np.array([2, -3], np.int32), np.array([3.0, 2.0], np.float32)), {}, np.array([8, 9], np.int32)),
    "pow-mixed": ("Pow", (real(3), np.array(2, np.int64)), {}, None),
    "pow-uint8": ("Pow", (np.array([2, 3], np.uint8), np.array([8, 2], np.uint8)), {}, np.array([0, 9], np.uint8)),
    "max": ("Max", (ODD, np.float32([1]), ODD[::-1]), {}, None),
    "min-uint64": ("Min", (np.array([2**64 - 1, 3], np.uint64), np.array([7], np.uint64)), {}, None),
    "round": ("Round", (ODD,), {}, None),
    "sign": ("Sign", (ODD,), {}, None),
    "is-inf": ("IsInf", (ODD,), {"detect_positive": 0}, None),
    "shrink-int": ("Shrink", (np.arange(-3, 4),), {"lambd": 1.5, "bias": 1.0}, np.array([-2, -1, 0, 0, 0, 1, 2])),
    "prelu-int": ("PRelu", (np.arange(-3, 3, dtype=np.int32), np.array([2], np.int32)), {}, None),
    "mean-int": ("ReduceMean", (np.array([[1, 2], [-4, 0]], np.int32),), {"keepdims": 0}, np.array(0, np.int32)),
    "l2-half": ("ReduceL2", (np.full(4, 300, np.float16),), {}, np.array([600], np.float16)),
    "sum-uint8": ("ReduceSum", (np.full(3, 100, np.uint32),), {}, np.array([300], np.uint32)),
    "max-bool": ("ReduceMax", (np.array([[True, False], [False, False]]), np.array([1])), {"keepdims": 0}, None),
    "arg-last": ("ArgMax", (TIES,), {"axis": 1, "select_last_index": 1}, np.array([[2], [1]])),
    "cumsum": ("CumSum", (TIES, np.array(1)), {"exclusive": 1, "reverse": 1}, None),
    "topk": ("TopK", (TIES, np.array([2])), {"largest": 0}, (np.array([[1, 3], [1, 2]]), np.array([[1, 0], [2, 0]]))),
    "one-hot": ("OneHot", (np.float32([[0, -1, 7]]), np.array(3.0), np.array([5, 6])), {"axis": 1}, None),
    "gather-negative": ("GatherElements", (np.arange(6).reshape(3, 2), np.array([[-1]])), {"axis": 0}, np.array([[4]])),
    "gather-nd": ("GatherND", (X, np.array([[[0], [2]], [[1], [-1]]])), {"batch_dims": 1}, None),
    "scatter-nd": ("ScatterND", (np.arange(3.0), np.array([[1], [1]]), np.array([2.0, 3])), {"reduction": "mul"}, None),
    "gemm-int": ("Gemm", (TIES, np.eye(3, dtype=np.int64)), {"alpha": 2.0}, 2 * TIES),
    "flatten-0": ("Flatten", (X,), {"axis": 0}, X.reshape(1, -1)),
    "range": ("Range", tuple(np.array(n, np.int16) for n in (5, -1, -2)), {}, np.array([5, 3, 1], np.int16)),
    "trilu": ("Trilu", (np.arange(6).reshape(2, 3), np.array(5)), {}, np.zeros((2, 3), np.int64)),
    "expand-scalar": ("Expand", (np.array(2.0), np.array([2, 1, 3])), {}, np.full((2, 1, 3), 2.0)),
    "tile-0": ("Tile", (X, np.array([0, 1, 2])), {}, np.tile(X, (0, 1, 2))),
    "pad-cut": ("Pad", (X, np.array([0, 1, -2, 0, 0, 1])), {}, np.pad(X[..., 2:], ((0, 0), (1, 0), (0, 1)))),
    "pad-traced": ("Pad", (X[0, 0], np.array([1, 1]), np.float32(9)), {}, np.pad(X[0, 0], 1, constant_values=9)),
    "reshape-0": ("Reshape", (EMPTY, np.array([0, 3])), {}, EMPTY),
    "concat-empty": ("Concat", (EMPTY, real(2, 3), EMPTY), {"axis": 0}, None),
    "sum-empty": ("ReduceSum", (EMPTY, np.array([0])), {}, np.zeros((1, 3), np.float32)),
    "min-empty": ("ReduceMin", (np.zeros((0, 2), np.int8), np.array([0])), {}, np.full((1, 2), 127, np.int8)),
    "logsumexp-empty": ("ReduceLogSumExp", (EMPTY, np.array([0])), {}, np.full((1, 3), -np.inf, np.float32)),
    "matmul-empty": ("MatMul", (real(2, 0), real(0, 3)), {}, np.zeros((2, 3), np.float32)),
    "softmax-empty": ("Softmax", (EMPTY,), {}, EMPTY),
    "noop": ("ReduceSumSquare", (X, np.zeros(0, np.int64)), {"noop_with_empty_axes": 1}, X * X),
    "einsum": ("Einsum", (real(2, 3), real(3, 2)), {"equation": "ij, jk"}, None),
    "multinomial": ("Multinomial", (np.float32([[0, -90], [-90, 0]]),), {"sample_size": 2}, np.int32([[0, 0], [1, 1]])),
}  # fmt: skip
KNOWN = {  # operands that must be known: shapes, axes, counts
    "CumSum": (1,), "Expand": (1,), "OneHot": (1,), "Pad": (1, 3), "Range": (0, 1, 2), "Reshape": (1,), "Tile": (1,),
    "TopK": (1,), "Trilu": (1,), **dict.fromkeys(("ReduceMax", "ReduceMin", "ReduceSum", "ReduceLogSumExp"), (1,)),
    "ReduceSumSquare": (1,),
}  # fmt: skip


@pytest.mark.parametrize("name", CORNERS)
def test_corners(name: str) -> None:
    op, operands, attrs, want = CORNERS[name]
    known = [k for k in KNOWN.get(op, ()) if k < len(operands)]
    outputs = len(want) if isinstance(want, tuple) else 1
    wanted = refer(op, operands, 22, known, **attrs) if want is None else want
    same(run(op, operands, 22, known, outputs=outputs, **attrs), wanted)


@pytest.mark.parametrize("op", ["Add", "Mul", "Where", "Less", "And", "Pow", "Max"])
def test_scalars_broadcast(op: str) -> None:
    x, y = (np.array([True, False]), np.array(True)) if op == "And" else (real(2, 3) ** 2, np.array(2, np.float32))
    operands = (x > 1, y, x) if op == "Where" else (x, y)
    same(run(op, operands, 20), refer(op, operands, 20))
    same(run(op, operands[::-1] if op != "Where" else (np.array(True), y, y), 20),
         refer(op, operands[::-1] if op != "Where" else (np.array(True), y, y), 20))  # fmt: skip


BOUND = st.one_of(st.integers(-7, 7), st.sampled_from([2**63 - 1, -(2**63), 2**31 - 1]))


@given(st.integers(0, 5), BOUND, BOUND, st.sampled_from([1, 2, 3, -1, -2]))
def test_slices(n: int, start: int, end: int, step: int) -> None:
    x = np.arange(2 * n).reshape(2, n)
    operands = x, *(np.array([k]) for k in (start, end, -1, step))
    got = run("Slice", operands, 13, (1, 2, 3, 4))
    # a negative end counts from the end, and one before the first element includes that; Python's slices have no such
    stop = end if end >= 0 or step > 0 or end + n >= 0 else None
    np.testing.assert_array_equal(got, x[:, start:stop:step])


@given(st.lists(st.integers(-1, 3), min_size=4, max_size=4), st.sampled_from(["constant", "edge", "reflect", "wrap"]))
def test_pads(pads: list[int], mode: str) -> None:
    x = real(4, 5)
    (a, b), (c, d) = ((max(-p, 0), n - max(-q, 0)) for p, q, n in zip(pads[:2], pads[2:], x.shape, strict=True))
    want = np.pad(x[a:b, c:d], [(max(p, 0), max(q, 0)) for p, q in zip(pads[:2], pads[2:], strict=True)], mode)  # type: ignore[call-overload]
    np.testing.assert_array_equal(run("Pad", (x, np.array(pads)), 19, (1,), mode=mode), want)


# ---------------------------------------------------------------------------------------------------- strings and casts


def test_strings_become_numbers_and_back() -> None:
    texts = np.array(["1.5", "-INF", "NaN", "+inf", "1e-5"], object)
    numbers = np.array([1.5, -np.inf, np.nan, np.inf, 1e-5], np.float32)
    np.testing.assert_array_equal(load(model("Cast", [texts], 21, to=TensorProto.FLOAT))(texts), numbers)
    whole = np.array(["9007199254740993", "-3", "2.0"], object)
    assert load(model("Cast", [whole], 21, to=TensorProto.INT64))(whole).tolist() == [9007199254740993, -3, 2]
    back = load(model("Cast", [numbers], 21, to=TensorProto.STRING))(numbers)
    assert [float(t) for t in back] == pytest.approx(numbers.tolist(), nan_ok=True)


def test_bits() -> None:
    x = np.array([True, False])
    same(run("BitCast", [x], 26, to=TensorProto.UINT8), x.view(np.uint8))
    same(run("BitCast", [x.view(np.uint8)], 26, to=TensorProto.BOOL), x)
    f = real(3, dtype=np.float64)
    same(run("BitCast", [f], 26, to=TensorProto.UINT64), f.view(np.uint64))


# ----------------------------------------------------------------------------------------------------------- randomness


def test_seeds_repeat_and_keys_differ() -> None:
    def drawn(**attrs: Any) -> np.ndarray:
        return np.asarray(run("RandomNormal", [], 22, shape=[1000], **attrs))

    one = drawn(seed=1.5, mean=3.0, scale=2.0)
    np.testing.assert_array_equal(one, drawn(seed=1.5, mean=3.0, scale=2.0))
    assert (drawn(seed=2.5) != drawn(seed=1.5)).all()
    assert (drawn() != drawn()).any()  # nodes without a seed
    assert abs(one.mean() - 3) < 0.3
    assert abs(one.std() - 2) < 0.2


def test_dropout_is_trained_with_keys() -> None:
    data, ratio = np.ones((50, 40), np.float32), np.float32(0.25)
    m = load(model("Dropout", [data, ratio, np.array(True)], 13, (1, 2), outputs=2, seed=3))

    @tgc.jit
    def dropped(key: Any) -> Any:
        with drawing(key):
            return m.apply(m.weights, data)

    (y, kept), (z, _) = dropped(tgc.random.key(1)), dropped(tgc.random.key(2))
    assert (y != z).any()
    np.testing.assert_allclose(y, np.where(kept, 1 / 0.75, 0), rtol=1e-6)
    assert 0.7 < kept.mean() < 0.8


# --------------------------------------------------------------------------------------------------------------- errors

ERRORS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "shape": ("Reshape", (X, np.array([5, 5])), {}, OnnxError, "shape (5, 5) has another number of elements"),
    "squeeze": ("Squeeze", (X, np.array([0])), {}, OnnxError, "axes [0] of (2, 3, 4) are not all of size 1"),
    "broadcast": ("Add", (X, real(5)), {}, OnnxError, 'node "it" (Add)'),
    "complex": ("Reciprocal", (np.arange(3),), {}, OnnxError, 'node "it" (Reciprocal)'),
    "attribute": ("Gather", (X, np.array([0])), {"axes": 1}, OnnxError, 'node "it" (Gather)'),
    "axis": ("Softmax", (X,), {"axis": 5}, OnnxError, "axis 5"),
    "post": ("LinearRegressor", (F,), {"coefficients": [1.0] * 4, "post_transform": "X"}, OnnxError, "'X'"),
    "labels": ("LinearClassifier", (F,), {"coefficients": [1.0] * 4}, OnnxError, "LinearClassifier needs one of"),
    "probabilities": ("SVMClassifier", (F,), {
        "coefficients": [1.0] * 6, "support_vectors": [0.0] * 12, "vectors_per_class": [1, 1, 1], "rho": [0.0] * 3,
        "prob_a": [1.0] * 3, "prob_b": [0.0] * 3, "classlabels_ints": [0, 1, 2],
    }, UnsupportedOperatorError, "probabilities of two classes only"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_node(name: str) -> None:
    op, operands, attrs, error, message = ERRORS[name]
    classical = op in ("LinearRegressor", "LinearClassifier", "SVMClassifier")
    with pytest.raises(error, match=re.escape(message)) as caught:
        run(op, operands, 1 if classical else 20, (1,) if op in ("Reshape", "Squeeze") else (),
            domain=ML if classical else "", outputs=2 if "Classifier" in op else 1, **attrs)  # fmt: skip
    assert 'node "it"' in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


def test_an_index_out_of_range_is_an_error_at_run_time() -> None:
    m = load(model("Gather", [X, np.array([0])], 13))
    np.testing.assert_array_equal(m(X, np.array([-1])), X[[-1]])
    with pytest.raises(tgc.errors.OutOfRangeError):
        m(X, np.array([2]))
