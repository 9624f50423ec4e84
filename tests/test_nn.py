"""`tgc.nn` against formulas in NumPy, eager and traced; gradients against finite differences."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients, gradients
from traced import both, close, graph_of, ops_of

import tgc
import tgc.numpy as tnp
import tgc.random as rnd
from tgc import nn
from tgc.errors import AttributeSpecError, AxisError, DTypeError, ShapeError

RNG = np.random.default_rng(1)
X = RNG.uniform(-4, 4, (3, 8))
KEY = rnd.key(3)


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


def softmax(x: np.ndarray, axis: Any = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def test_softmax_is_few_primitives() -> None:
    assert ops_of(graph_of(nn.softmax, X)) == ["max", "stop_gradient", "sub", "exp", "sum", "div", "mul"]
    assert ops_of(graph_of(nn.log_softmax, X)) == ["max", "stop_gradient", "sub", "exp", "sum", "log", "sub"]


# -------------------------------------------------------------------------------------------- dense, embedding, one-hot


def test_dense_and_embedding() -> None:
    x, w, b, ids = real(2, 3, 4), real(4, 5), real(5), RNG.integers(0, 4, (2, 3)).astype(np.int32)
    close(*both(nn.dense, x, w, b), x @ w + b)
    close(*both(nn.linear, x, w), x @ w)
    close(*both(nn.embedding, w, ids), w[ids])
    check_gradients(nn.dense, x, w, b)
    check_gradients(nn.embedding, w, ids)


@pytest.mark.parametrize("padding", [1, -3])
def test_padding_has_no_gradient(padding: int) -> None:
    w, ids = real(4, 5), np.array([[0, 1, 1], [-3, 3, -4]])
    close(*both(lambda w: nn.embedding(w, ids, padding), w), w[ids])
    grad = tgc.grad(lambda w: tnp.sum(nn.embedding(w, ids, padding)))(w)
    close(grad, np.array([2.0, 0, 0, 1])[:, None] * np.ones(5))
    with pytest.raises(AxisError, match="axis 4 is out of bounds"):
        nn.embedding(w, ids, 4)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    for labels in (np.array([[0, 2, 7], [-1, 1, 2]], np.int32), np.array([[0, 2], [255, 1]], np.uint8)):
        (got,) = both(lambda x: nn.one_hot(x, 3, axis=axis), labels)
        want = np.moveaxis(labels[..., None].astype(np.int64) == np.arange(3), -1, axis)
        assert got.dtype == np.float32
        close(got, want)


# ------------------------------------------------------------------------------------------------------- normalization


def standardized(x: np.ndarray, axes: Any, epsilon: float) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def test_layer_instance_group_and_rms_norm() -> None:
    x, s, b = real(2, 3, 5, 4) * 3 + 1, real(4), real(4)
    cases: list[tuple[Callable[..., Any], tuple[np.ndarray, ...], np.ndarray]] = [
        (nn.layer_norm, (x, s, b), standardized(x, -1, 1e-5) * s + b),
        (nn.layer_norm, (x,), standardized(x, -1, 1e-5)),
        (lambda *v: nn.layer_norm(*v, axis=(1, -1), epsilon=0.1), (x, real(3, 4)), np.empty(0)),
        (nn.instance_norm, (x, s, b), standardized(x, (1, 2), 1e-5) * s + b),
        (nn.rms_norm, (x, s), x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * s),
        (
            lambda x, s, b: nn.group_norm(x, 2, s, b),
            (x, s, b),
            standardized(x.reshape(2, 3, 5, 2, 2), (1, 2, 4), 1e-5).reshape(x.shape) * s + b,
        ),
        (lambda x: nn.group_norm(x, 3, axis=1), (x,), standardized(x[:, :, None], (2, 3, 4), 1e-5)[:, :, 0]),
        (
            lambda x: nn.instance_norm(x, axis=1),
            (x,),
            standardized(x, (2, 3), 1e-5),
        ),
    ]
    for f, xs, want in cases:
        if not want.size:
            want = standardized(x, (1, 3), 0.1) * xs[1][:, None]
        close(*both(f, *xs), want)
        check_gradients(f, *xs)
        (half,) = both(f, *(v.astype(np.float16) for v in xs))
        assert half.dtype == np.float16
        close(half, want, 2e-2)
        assert all(np.isfinite(g).all() for g in gradients(f, *(np.ones_like(v) for v in xs)))  # zero variance


def test_batch_norm() -> None:
    x, m, v, s, b = real(4, 3, 3, 2) * 2 + 1, real(2), real(2) ** 2, real(2), real(2)
    inference = lambda *xs: nn.batch_norm(*xs, epsilon=1e-3)  # noqa: E731
    y, mean, var = both(inference, x, m, v, s, b)
    close(y, (x - m) / np.sqrt(v + 1e-3) * s + b)
    close(mean, m)
    close(var, v)
    check_gradients(lambda *xs: inference(*xs)[0], x, m, v, s, b)
    for unbiased, seen in ((False, x.var((0, 1, 2))), (True, x.var((0, 1, 2), ddof=1))):
        train = functools.partial(nn.batch_norm, training=True, momentum=0.9, unbiased=unbiased)
        y, mean, var = both(train, x, m, v, s, b)
        close(y, standardized(x, (0, 1, 2), 1e-5) * s + b)
        close(mean, 0.9 * m + 0.1 * x.mean((0, 1, 2)))
        close(var, 0.9 * v + 0.1 * seen)
    check_gradients(lambda *xs: nn.batch_norm(*xs, training=True), x, m, v, s, b, rtol=1e-5)
    first = nn.batch_norm(np.moveaxis(x, -1, 1), m, v, s, b, training=True, axis=1)[0]
    close(first, np.moveaxis(y, -1, 1))
    dtypes = (np.float16, np.float32, np.float32)
    halves = both(train, *(a.astype(t) for a, t in zip((x, m, v), dtypes, strict=True)))
    assert [a.dtype for a in halves] == list(dtypes)


# -------------------------------------------------------------------------------------------------------------- errors

IMAGE, FILTER = real(1, 5, 5, 2), real(3, 3, 2, 4)
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.conv(IMAGE, FILTER[0]), ShapeError, r"conv\(f64\[1,5,5,2\], f64\[3,2,4\]\)"),
    (lambda: nn.conv(IMAGE, FILTER, padding="full"), AttributeSpecError, "padding='full' is neither"),
    (lambda: nn.conv(IMAGE, FILTER, padding=(1, 2, 3)), AttributeSpecError, "each of 2 axes"),
    (lambda: nn.conv(IMAGE, FILTER, stride=(1, 1, 1)), AttributeSpecError, r"stride=\(1, 1, 1\)"),
    (lambda: nn.conv(IMAGE, FILTER, groups=3), ShapeError, "groups"),
    (lambda: nn.conv(IMAGE, FILTER, data_format="NWHC"), AttributeSpecError, "'NHWC' or 'NCHW'"),
    (lambda: nn.conv(IMAGE, FILTER, real(3)), ShapeError, r"the bias must have the shape \(4,\)"),
    (lambda: nn.conv(IMAGE > 0, FILTER > 0), DTypeError, "not defined for booleans"),
    (lambda: nn.conv_transpose(IMAGE, FILTER), ShapeError, "2 input channels do not fit"),
    (lambda: nn.max_pool(IMAGE, 7), ShapeError, "larger than the padded operand"),
    (lambda: nn.max_pool(IMAGE[0, 0], 2), ShapeError, "at least one spatial axis"),
    (lambda: nn.avg_pool(IMAGE, (2, 2, 2)), AttributeSpecError, r"avg_pool: window=\(2, 2, 2\)"),
    (lambda: nn.dense(X, real(3, 4)), ShapeError, r"dense\(f64\[3,8\], f64\[3,4\]\)"),
    (lambda: nn.dense(X, real(8, 4), real(3)), ShapeError, r"shape \(4,\)"),
    (lambda: nn.embedding(X, X), DTypeError, "indices must be integers"),
    (lambda: nn.one_hot(X, 3), DTypeError, "one_hot: indices must be integers"),
    (lambda: nn.glu(X[:, :3]), ShapeError, "odd size"),
    (lambda: nn.softmax(X, 2), ShapeError, r"softmax\(f64\[3,8\]\): axis 2"),
    (lambda: nn.softmax(X[:0], 0), ShapeError, "size zero"),
    (
        lambda: nn.layer_norm(X, real(3)),
        ShapeError,
        r"layer_norm\(f64\[3,8\], f64\[3\]\): scale must have the shape \(8,\)",
    ),
    (lambda: nn.group_norm(X, 3), ShapeError, "8 channels cannot be divided into 3 groups"),
    (lambda: nn.batch_norm(X, real(8), real(1)), ShapeError, r"var must have the shape \(8,\)"),
    (lambda: nn.cross_entropy(X, np.zeros(4, np.int32)), ShapeError, r"cross_entropy\(f64\[3,8\], i32\[4\]\)"),
    (lambda: nn.cross_entropy(X, X > 0), DTypeError, "integers or probabilities"),
    (lambda: nn.cross_entropy(X, X, reduction="max"), AttributeSpecError, "'mean', 'sum' or 'none'"),
    (lambda: nn.mean_squared_error(X, X[:, :1]), ShapeError, "shapes differ"),
    (lambda: nn.dropout(X, 1.5, KEY), AttributeSpecError, "no probability"),
    (lambda: nn.dropout(X, 0.5), AttributeSpecError, "needs a key"),
    (lambda: nn.dot_product_attention(X, X[:, :5], X), ShapeError, "q and k must agree"),
    (lambda: nn.dot_product_attention(X, X, X[:2]), ShapeError, "k and v must agree"),
    (lambda: nn.dot_product_attention(X, X, X, np.ones((2, 3, 3))), ShapeError, "mask does not broadcast"),
    (lambda: nn.multi_head_attention(X[None], X[None], *[real(8, 9)] * 4, heads=2), ShapeError, "2 heads"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_every_public_function_has_a_docstring() -> None:
    spaces = (nn, nn.image, nn.initializers, rnd)
    functions = [f for space in spaces for f in vars(space).values() if inspect.isfunction(f)]
    assert len(functions) > 150
    assert not [f.__name__ for f in functions if not f.__doc__ and not f.__name__.startswith("_")]
