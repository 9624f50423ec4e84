"""Every loss in a table: its formula in NumPy, reductions, weights, gradients, half precision, extremes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients, gradients
from traced import both, close

from tgc import nn
from tgc.errors import AttributeSpecError, ShapeError

RNG = np.random.default_rng(1)
LGAMMA = np.vectorize(math.lgamma)


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-2, 2, shape)


def unit(*shape: int) -> np.ndarray:
    return RNG.uniform(0.05, 0.95, shape)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def norm(x: np.ndarray, p: float = 2) -> np.ndarray:
    return (np.abs(x) ** p).sum(-1) ** (1 / p)


X, Y, Z = real(4, 3), real(4, 3), real(4, 3)
P, Q = unit(4, 3), unit(4, 3)
SIDES = np.where(RNG.random((4, 3)) < 0.5, 1.0, -1.0)
BITS = (SIDES + 1) / 2
HOT = np.eye(3)[[0, 2, 1, 2]]
CLASSES = HOT.argmax(-1).astype(np.int32)
LOG_P = np.log(softmax(X))
W3 = np.array([0.5, 2.0, 1.5])


def binary_focal(x: np.ndarray, y: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    p = np.where(y == 1, sigmoid(x), 1 - sigmoid(x))
    return np.where(y == 1, alpha, 1 - alpha) * (1 - p) ** gamma * -np.log(p)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    m = (p + q) / 2
    return (p * np.log(p / m) + q * np.log(q / m)).sum(-1) / 2


def tversky(axis: Any, alpha: float, beta: float) -> np.ndarray:
    hits, false, missed = (v.sum(axis) for v in (P * BITS, P * (1 - BITS), (1 - P) * BITS))
    return 1 - (hits + 0.1) / (hits + alpha * false + beta * missed + 0.1)


# name -> operands, attributes, the loss of each element
Row = tuple[tuple[np.ndarray, ...], dict[str, Any], np.ndarray]
D = X - Y
LOSSES: dict[str, Row] = {
    "mean_squared_error": ((X, Y), {}, D**2),
    "mean_absolute_error": ((X, Y), {}, abs(D)),
    "mean_absolute_percentage_error": ((X, Y), {}, 100 * abs(D / Y)),
    "mean_squared_logarithmic_error": ((P, Q), {}, (np.log1p(P) - np.log1p(Q)) ** 2),
    "huber": ((X, Y), {"delta": 0.7}, np.where(abs(D) < 0.7, D**2 / 2, 0.7 * (abs(D) - 0.35))),
    "smooth_l1": ((X, Y), {"beta": 0.7}, np.where(abs(D) < 0.7, D**2 / 1.4, abs(D) - 0.35)),
    "log_cosh": ((X, Y), {}, np.log(np.cosh(D))),
    "quantile": ((X, Y), {"q": 0.2}, np.where(D < 0, -0.2 * D, 0.8 * D)),
    "poisson_nll": ((P, Q), {"epsilon": 0.01}, P - Q * np.log(P + 0.01)),
    "poisson_nll log": ((X, Q), {"log_input": True}, np.exp(X) - Q * X),
    "gaussian_nll": ((X, Y, P), {}, (np.log(P) + D**2 / P) / 2),
    "gaussian_nll full": ((X, Y, P), {"full": True}, (np.log(2 * np.pi * P) + D**2 / P) / 2),
    "dice": ((P, BITS), {"axis": 1}, 1 - (2 * (P * BITS).sum(1) + 1e-7) / (P.sum(1) + BITS.sum(1) + 1e-7)),
    "tversky": ((P, BITS), {"alpha": 0.3, "beta": 0.7, "axis": 0, "smooth": 0.1}, tversky(0, 0.3, 0.7)),
    "tversky all": ((P, BITS), {"smooth": 0.1}, tversky(None, 0.5, 0.5)),
    "hinge": ((X, SIDES), {}, np.maximum(1 - SIDES * X, 0)),
    "hinge bits": ((X, BITS), {"margin": 0.5}, np.maximum(0.5 - SIDES * X, 0)),
    "squared_hinge": ((X, SIDES), {}, np.maximum(1 - SIDES * X, 0) ** 2),
    "categorical_hinge": (
        (X, HOT),
        {},
        np.maximum(1 + np.where(HOT > 0, -np.inf, X).max(-1) - (X * HOT).sum(-1), 0),
    ),
    "cosine_distance": ((X, Y), {}, 1 - (X * Y).sum(-1) / norm(X) / norm(Y)),
    "contrastive": ((P, BITS), {}, np.where(BITS > 0, P**2, (1 - P) ** 2)),
    "triplet_margin": ((X, Y, Z), {"margin": 0.4}, np.maximum(norm(X - Y) - norm(X - Z) + 0.4, 0)),
    "triplet_margin 3": ((X, Y, Z), {"p": 3.0}, np.maximum(norm(X - Y, 3) - norm(X - Z, 3) + 1, 0)),
    "margin_ranking": ((X, Y, SIDES), {"margin": 0.1}, np.maximum(0.1 - SIDES * D, 0)),
    "binary_cross_entropy": ((P, Q), {}, -Q * np.log(P) - (1 - Q) * np.log(1 - P)),
    "binary_cross_entropy_with_logits": (
        (X, Q),
        {"positive_weight": W3},
        -W3 * Q * np.log(sigmoid(X)) - (1 - Q) * np.log(1 - sigmoid(X)),
    ),
    "binary_focal": ((X, BITS), {"alpha": 0.3, "gamma": 1.5}, binary_focal(X, BITS, 0.3, 1.5)),
    "focal": ((X, CLASSES), {}, -((HOT * (1 - np.exp(LOG_P)) ** 2 * LOG_P).sum(-1))),
    "focal soft": (
        (X, softmax(Y)),
        {"alpha": W3, "gamma": 0.5},
        -((W3 * softmax(Y) * (1 - np.exp(LOG_P)) ** 0.5 * LOG_P).sum(-1)),
    ),
    "kl_divergence": ((LOG_P, softmax(Y)), {}, (softmax(Y) * (np.log(softmax(Y)) - LOG_P)).sum(-1)),
    "kl_divergence log": (
        (LOG_P, np.log(softmax(Y))),
        {"log_targets": True},
        (softmax(Y) * (np.log(softmax(Y)) - LOG_P)).sum(-1),
    ),
    "jensen_shannon": ((softmax(X), softmax(Y)), {}, jensen_shannon(softmax(X), softmax(Y))),
    "cross_entropy soft": ((X, softmax(Y)), {"class_weights": W3}, -(W3 * softmax(Y) * LOG_P).sum(-1)),
    "cross_entropy p": ((softmax(X), CLASSES), {"from_logits": False}, -(HOT * LOG_P).sum(-1)),
    "cross_entropy p soft": (
        (softmax(X), softmax(Y)),
        {"from_logits": False, "label_smoothing": 0.1},
        -((0.9 * softmax(Y) + 0.1 / 3) * LOG_P).sum(-1),
    ),
}


def of(name: str, **more: Any) -> Callable[..., Any]:
    return lambda *xs: getattr(nn, name.split()[0])(*xs, **{**LOSSES[name][1], **more})


@pytest.mark.parametrize("name", LOSSES)
def test_formulas_reductions_and_gradients(name: str) -> None:
    xs, _, want = LOSSES[name]
    close(*both(of(name, reduction="none"), *xs), want)
    close(*both(of(name), *xs), want.mean())
    close(*both(of(name, reduction="sum"), *xs), want.sum())
    weights = RNG.uniform(0, 2, want.shape)
    weighted = lambda *xs: of(name, weights=xs[-1])(*xs[:-1])  # noqa: E731
    close(*both(weighted, *xs, weights), (want * weights).sum() / weights.sum())
    assert both(weighted, *xs, np.zeros(want.shape))[0] == 0
    check_gradients(of(name), *(x.astype(np.int32) if set(x.ravel()) <= {-1, 0, 1} else x for x in xs))
    (half,) = both(of(name, reduction="none"), *(x.astype(np.float16) if x.dtype.kind == "f" else x for x in xs))
    assert half.dtype == np.float16
    close(half, want, 2e-2)
    with pytest.raises(AttributeSpecError, match="'mean', 'sum' or 'none', not 'max'"):
        of(name, reduction="max")(*xs)
    with pytest.raises(ShapeError):
        of(name, weights=np.ones((5, 1, 1)))(*xs)


@pytest.mark.parametrize("name", [n for n, row in LOSSES.items() if len(row[0]) == 2 and row[0][1].ndim == 2])
def test_shapes_must_agree(name: str) -> None:
    x, y = LOSSES[name][0]
    with pytest.raises(ShapeError, match=r"shapes differ|labels do not fit|broadcast"):
        of(name)(x, y[:, :2])


def test_class_weights_and_ignored_labels() -> None:
    entropy = -(HOT * LOG_P).sum(-1)
    own = W3[CLASSES]
    f = nn.cross_entropy
    close(*both(lambda x, y, w: f(x, y, class_weights=w), X, CLASSES, W3), (own * entropy).sum() / own.sum())
    got = both(lambda x, y, w: f(x, y, class_weights=w, reduction="none"), X, CLASSES, W3)
    close(*got, own * entropy)
    kept = CLASSES != 2
    (got,) = both(lambda x, y, w: f(x, y, class_weights=w, ignore_index=2), X, CLASSES, W3)
    close(got, (own * entropy)[kept].sum() / own[kept].sum())
    each = RNG.uniform(0, 1, 4)
    (got,) = both(lambda x, y, w: f(x, y, weights=w, ignore_index=2), X, CLASSES, each)
    close(got, (each * entropy)[kept].sum() / each[kept].sum())
    (got,) = both(lambda x, y, w: f(x, y, weights=w, class_weights=W3), X, CLASSES, each)
    close(got, (each * own * entropy).sum() / (each * own).sum())
    smooth = -((0.9 * HOT + 0.1 / 3) * W3 * LOG_P).sum(-1)
    (got,) = both(lambda x, y: f(x, y, class_weights=W3, label_smoothing=0.1, reduction="sum"), X, CLASSES)
    close(got, smooth.sum())
    check_gradients(lambda x, y: f(x, y, class_weights=W3, label_smoothing=0.1, ignore_index=1), X, CLASSES)
    with pytest.raises(ShapeError, match=r"class_weights must have the shape \(3,\)"):
        f(X, CLASSES, class_weights=np.ones(4))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_extreme_logits_and_equal_operands(dtype: Any) -> None:
    """Where a formula would divide by zero or overflow, value and gradient are finite."""
    x = np.array([[1e4, -1e4, 0], [0, 0, 0]], dtype)
    hot = np.array([[0, 1, 0], [1, 0, 0]], dtype)
    for name in LOSSES:
        xs, attrs, _ = LOSSES[name]
        if len(xs) != 2 or xs[1].ndim != 2 or xs[0] is P or "from_logits" in attrs or name.startswith("poisson"):
            continue
        y = np.log(np.full_like(hot, 0.5)) if "log_targets" in attrs else hot
        f = of(name, reduction="none")
        with np.errstate(over="ignore"):
            (value,) = both(f, x, y)
        big = name in (
            "cosine_distance",
            "mean_squared_error",
            "squared_hinge",
            "contrastive",
            "mean_absolute_percentage_error",
        )
        assert np.isfinite(value).all() or (dtype == np.float16 and big), name
        slopes = gradients(lambda a, f=f, y=y: f(a, y), x)
        assert np.isfinite(slopes[0]).all() or (dtype == np.float16 and big), name
    same = np.ones((2, 3), dtype)
    for f in (nn.pairwise_distance, nn.cosine_similarity):
        for operand in (same, same * 0):
            assert np.isfinite(gradients(f, operand, operand)[0]).all()
    (p,) = both(nn.binary_cross_entropy, np.array([0, 1], dtype), np.array([1, 0], dtype))
    assert np.isfinite(p)


def test_distances() -> None:
    close(*both(nn.pairwise_distance, X, Y), norm(D))
    close(*both(lambda x, y: nn.pairwise_distance(x, y, p=3.0, axis=0), X, Y), norm(D.T, 3))
    close(*both(nn.cosine_similarity, X, Y), (X * Y).sum(-1) / norm(X) / norm(Y))
    assert both(nn.cosine_similarity, X * 0, Y)[0].tolist() == [0] * 4
    check_gradients(nn.pairwise_distance, X, Y)
    check_gradients(nn.cosine_similarity, X, Y)


def test_stirling_term_of_poisson() -> None:
    y = np.array([0.0, 1.0, 2.0, 30.0])
    ones = np.ones(4)
    (more,) = both(lambda x, y: nn.poisson_nll(x, y, full=True, reduction="none"), ones, y)
    (less,) = both(lambda x, y: nn.poisson_nll(x, y, reduction="none"), ones, y)
    close((more - less)[:2], [0, 0])
    np.testing.assert_allclose((more - less)[2:], LGAMMA(y[2:] + 1), rtol=0.1)
