"""Activation functions against formulas in NumPy, at extremes, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients, gradients
from traced import both, close

from tgc import nn
from tgc.errors import ShapeError
from tgc.types import BF16

RNG = np.random.default_rng(1)
X = RNG.uniform(-4, 4, (3, 8))
ERF = np.vectorize(math.erf)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray, axis: Any = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def sparsemax(x: np.ndarray) -> np.ndarray:
    """By bisection of the level at which what lies above it sums to one."""
    low, high = x.max(-1, keepdims=True) - 1, x.max(-1, keepdims=True)
    for _ in range(60):
        mid = (low + high) / 2
        large = np.maximum(x - mid, 0).sum(-1, keepdims=True) > 1
        low, high = np.where(large, mid, low), np.where(large, high, mid)
    return np.maximum(x - low, 0)


def gate(f: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: f(x[:, :4]) * x[:, 4:]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + ERF(x / np.sqrt(2))) / 2


SELU = 1.0507009873554805, 1.6732632423543772
NONE = (math.nan, math.nan)
# name -> attributes, formula, limits of the value at -inf and +inf, limits of the gradient there (NaN: none)
Row = tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray], tuple[float, float], tuple[float, float]]
POINTWISE: dict[str, Row] = {
    "relu": ({}, lambda x: np.maximum(x, 0), (0, math.inf), (0, 1)),
    "relu6": ({}, lambda x: np.clip(x, 0, 6), (0, 6), (0, 0)),
    "leaky_relu": ({"negative_slope": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x), (-math.inf, math.inf), (0.2, 1)),
    "prelu": ({"slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x), (-math.inf, math.inf), (0.3, 1)),
    "elu": ({"alpha": 1.5}, lambda x: np.where(x > 0, x, 1.5 * np.expm1(x)), (-1.5, math.inf), (0, 1)),
    "celu": ({"alpha": 2.0}, lambda x: np.where(x > 0, x, 2 * np.expm1(x / 2)), (-2, math.inf), (0, 1)),
    "selu": (
        {},
        lambda x: SELU[0] * np.where(x > 0, x, SELU[1] * np.expm1(x)),
        (-SELU[0] * SELU[1], math.inf),
        (0, SELU[0]),
    ),
    "gelu": ({}, gelu, (0, math.inf), (0, 1)),
    "gelu tanh": (
        {"approximate": True},
        lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
        (0, math.inf),
        (0, 1),
    ),
    "quick_gelu": ({}, lambda x: x * sigmoid(1.702 * x), (0, math.inf), (0, 1)),
    "silu": ({}, lambda x: x * sigmoid(x), (0, math.inf), (0, 1)),
    "sigmoid": ({}, sigmoid, (0, 1), (0, 0)),
    "log_sigmoid": ({}, lambda x: np.log(sigmoid(x)), (-math.inf, 0), (1, 0)),
    "softplus": ({}, lambda x: np.log1p(np.exp(x)), (0, math.inf), (0, 1)),
    "squareplus": ({}, lambda x: (x + np.sqrt(x * x + 4)) / 2, (0, math.inf), (0, 1)),
    "squareplus b": ({"b": 0.5}, lambda x: (x + np.sqrt(x * x + 0.5)) / 2, (0, math.inf), (0, 1)),
    "softsign": ({}, lambda x: x / (1 + np.abs(x)), (-1, 1), (0, 0)),
    "tanh": ({}, np.tanh, (-1, 1), (0, 0)),
    "hard_sigmoid": ({}, lambda x: np.clip(x / 6 + 0.5, 0, 1), (0, 1), (0, 0)),
    "hard_silu": ({}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), (0, math.inf), (0, 1)),
    "hard_tanh": ({"min_value": -2}, lambda x: np.clip(x, -2, 1), (-2, 1), (0, 0)),
    "mish": ({}, lambda x: x * np.tanh(np.log1p(np.exp(x))), (0, math.inf), (0, 1)),
    "sparse_plus": ({}, lambda x: np.where(x > 1, x, np.clip(x + 1, 0, 2) ** 2 / 4), (0, math.inf), (0, 1)),
    "sparse_sigmoid": ({}, lambda x: np.clip((x + 1) / 2, 0, 1), (0, 1), (0, 0)),
    "exponential": ({}, np.exp, (0, math.inf), (0, math.inf)),
    "threshold": ({"threshold": 0.3, "value": 7}, lambda x: np.where(x > 0.3, x, 7), (7, math.inf), (0, 1)),
    "tanh_shrink": ({}, lambda x: x - np.tanh(x), (-math.inf, math.inf), (1, 1)),
    "soft_shrink": (
        {},
        lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
        (-math.inf, math.inf),
        (1, 1),
    ),
    "hard_shrink": (
        {"threshold": 1.0},
        lambda x: np.where(np.abs(x) > 1, x, 0),
        (-math.inf, math.inf),
        (1, 1),
    ),
    "identity": ({}, lambda x: x, (-math.inf, math.inf), (1, 1)),
}
GROUPED: dict[str, tuple[dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = {
    "glu": ({}, lambda x: x[:, :4] * sigmoid(x[:, 4:])),
    "swiglu": ({}, gate(lambda x: x * sigmoid(x))),
    "geglu": ({}, gate(gelu)),
    "reglu": ({}, gate(lambda x: np.maximum(x, 0))),
    "bilinear_glu": ({}, gate(lambda x: x)),
    "softmax": ({"axis": 0}, lambda x: softmax(x, 0)),
    "softmin": ({}, lambda x: softmax(-x)),
    "sparsemax": ({}, sparsemax),
    "log_softmax": ({}, lambda x: np.log(softmax(x))),
    "softmax 2": ({"axis": (0, 1)}, lambda x: softmax(x, (0, 1))),
    "logsumexp": ({"axis": 1, "keepdims": True}, lambda x: np.log(np.exp(x).sum(1, keepdims=True))),
    "logsumexp all": ({}, lambda x: np.log(np.exp(x).sum())),
}
ALL = {name: row[:2] for name, row in POINTWISE.items()} | GROUPED
INTEGER = ("relu", "relu6", "identity")


def function(name: str) -> Callable[[Any], Any]:
    attrs = ALL[name][0]
    return lambda x: getattr(nn, name.split()[0])(x, **attrs)


@pytest.mark.parametrize("name", ALL)
def test_values_and_gradients(name: str) -> None:
    f, reference = function(name), ALL[name][1]
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-6), (np.float16, 2e-3), (BF16, 2e-2)):
        (got,) = both(f, X.astype(dtype))
        assert got.dtype == dtype
        close(got, reference(X.astype(dtype).astype(np.float64)), tolerance)
    (got,) = both(f, X.astype(np.int32))
    assert got.dtype == (np.int32 if name in INTEGER else np.float64)
    close(got, reference(X.astype(np.int32).astype(np.float64)))
    check_gradients(f, X)
    assert f(X[:0] if name not in ("softmax", "softmax 2", "logsumexp all") else X).dtype == np.float64


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_limits(name: str, dtype: Any) -> None:
    """At large numbers, infinities and NaN a function and its gradient are the limits."""
    f, (low, high), slopes = function(name), *POINTWISE[name][2:]
    large = float(np.finfo(dtype).max)
    x = np.array([-math.inf, -large, large, math.inf, math.nan], dtype)
    with np.errstate(over="ignore"):
        (y,) = both(f, x)
    (g,) = gradients(f, x)
    tolerance = 2e-3 if dtype == np.float16 else 1e-6
    np.testing.assert_allclose(y[[0, 3]].astype(float), [low, high], rtol=tolerance, atol=tolerance)
    assert not np.isnan(y[1:3]).any()
    for k, want in zip((0, 1, 2, 3), np.repeat(slopes, 2), strict=True):
        np.testing.assert_allclose(float(g[k]), want, rtol=tolerance, atol=tolerance)
    assert np.isnan(y[4])


@pytest.mark.parametrize("name", GROUPED)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_large_rows(name: str, dtype: Any) -> None:
    f = function(name)
    large = np.array([[0, 1e4, -1e4, 0, 88, -88, 20, -20]], dtype)
    with np.errstate(over="ignore"):
        (got,) = both(f, large)
        (slope,) = gradients(f, large)
    if not (dtype == np.float16 and name in ("swiglu", "geglu", "reglu", "bilinear_glu")):  # products of halves
        assert np.isfinite(got).all()
    assert np.isfinite(slope).all()
    (nan,) = both(f, np.array([[np.nan, 1, np.nan, 2]], dtype))
    assert np.isnan(nan.ravel()[0])


def test_smooth_at_zero() -> None:
    slopes: list[tuple[Callable[..., Any], float]] = [
        (nn.softplus, 0.5), (nn.log_sigmoid, 0.5), (nn.mish, math.tanh(math.log(2))), (nn.squareplus, 0.5),
        (nn.silu, 0.5), (nn.gelu, 0.5), (nn.softsign, 1), (nn.elu, 1), (nn.selu, SELU[0] * SELU[1]),
    ]  # fmt: skip
    for f, want in slopes:
        (slope,) = gradients(f, np.zeros(()))
        close(slope, want)


def test_log1mexp() -> None:
    x = np.array([1e-300, 1e-12, 0.1, 0.6, 0.7, 5, 40, 700])
    want = [math.log(-math.expm1(-v)) if v < 1 else math.log1p(-math.exp(-v)) for v in x]
    close(*both(nn.log1mexp, x), want)
    check_gradients(nn.log1mexp, np.array([0.1, 0.6, 0.8, 3]))
    edge = both(nn.log1mexp, np.array([0, math.inf, -1, math.nan]))[0]
    assert edge[:2].tolist() == [-math.inf, 0]
    assert np.isnan(edge[2:]).all()
    assert np.isfinite(gradients(nn.log1mexp, np.array([1e-30, 1e30], np.float32))[0]).all()


def test_prelu_of_channels() -> None:
    slope = RNG.uniform(0, 1, 3)
    close(*both(lambda x, s: nn.prelu(x, s, 0), X, slope), np.where(X > 0, X, X * slope[:, None]))
    check_gradients(lambda x, s: nn.prelu(x, s, 0), X, slope)
    with pytest.raises(ShapeError, match=r"prelu\(f64\[3,8\], f64\[3\]\): the slope is a scalar"):
        nn.prelu(X, slope)


@pytest.mark.parametrize("reverse", [False, True])
def test_logcumsumexp(reverse: bool) -> None:
    """As NumPy's accumulation; beyond the range of exp; gradients."""
    for axis, x in ((-1, X), (0, X), (1, X * 500), (0, X[:0]), (1, X[:, :1])):
        want = np.flip(x, axis) if reverse else x
        want = np.logaddexp.accumulate(want, axis) if x.size else want
        (got,) = both(lambda x: nn.logcumsumexp(x, axis, reverse), x)  # noqa: B023
        np.testing.assert_allclose(got, np.flip(want, axis) if reverse else want, rtol=1e-13, atol=1e-13)
    x = np.array([-np.inf, -np.inf, 1, -np.inf, np.inf, 2])
    assert both(nn.logcumsumexp, x)[0].tolist() == [-np.inf, -np.inf, 1, 1, np.inf, np.inf]
    assert both(nn.logcumsumexp, X.astype(np.float16))[0].dtype == np.float16
    check_gradients(lambda x: nn.logcumsumexp(x, 0, reverse), X)


def test_logsumexp_of_infinities() -> None:
    x = np.array([[-np.inf, -np.inf], [np.inf, 0], [-np.inf, 3]])
    assert both(lambda x: nn.logsumexp(x, -1), x)[0].tolist() == [-np.inf, np.inf, 3]
    assert both(nn.softmax, x[2:])[0].tolist() == [[0, 1]]
    assert both(nn.sparsemax, x[2:])[0].tolist() == [[0, 1]]


def test_halves_must_be_even() -> None:
    with pytest.raises(ShapeError, match=r"swiglu\(f64\[3,3\]\): axis -1 has an odd size"):
        nn.swiglu(X[:, :3])


def test_logits_of_probabilities() -> None:
    """They are known where softmax along that axis has made the probabilities, and nothing lies between."""
    found = []

    def f(x: Any) -> Any:
        y = nn.softmax(x, 1)
        found.extend([nn.logits_of(y, 1), nn.logits_of(y), nn.logits_of(y, 0), nn.logits_of(nn.log_softmax(x))])
        found.extend([nn.logits_of(nn.softmax(x, (0, 1))), nn.logits_of(y * 1.5), nn.logits_of(x)])
        return x - found[-7] if found[-7] is not None else x - x

    assert not both(f, X)[0].any()
    assert found[:7] == [None] * 7  # of NumPy arrays nothing is known
    assert [x is not None for x in found[7:]] == [True, True, *[False] * 5]
