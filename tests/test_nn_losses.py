"""Losses against formulas in NumPy, eager and traced; gradients against finite differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gradients import check_gradients, gradients
from traced import both, close, graph_of, ops_of

from tgc import nn

RNG = np.random.default_rng(1)


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray, axis: Any = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def test_cross_entropy() -> None:
    logits, labels = real(4, 5, 3) * 4, RNG.integers(0, 3, (4, 5)).astype(np.int32)
    log_p = np.log(softmax(logits))
    picked = np.take_along_axis(log_p, labels[..., None].astype(np.int64), -1)[..., 0]
    p = softmax(real(4, 5, 3))
    f = nn.cross_entropy
    close(*both(f, logits, labels), -picked.mean())
    close(*both(lambda x, y: f(x, y, reduction="none"), logits, labels), -picked)
    close(*both(lambda x, y: f(x, y, axis=1, reduction="sum"), np.moveaxis(logits, -1, 1), labels), -picked.sum())
    close(*both(f, logits, p), -(p * log_p).sum(-1).mean())
    smooth = 0.9 * np.eye(3)[labels] + 0.1 / 3
    close(*both(lambda x, y: f(x, y, label_smoothing=0.1), logits, labels), -(smooth * log_p).sum(-1).mean())
    smooth = 0.9 * p + 0.1 / 3
    close(*both(lambda x, y: f(x, y, label_smoothing=0.1), logits, p), -(smooth * log_p).sum(-1).mean())
    close(*both(lambda x, y: f(x, y, ignore_index=1), logits, labels), -picked[labels != 1].mean())
    assert both(lambda x, y: f(x, y, ignore_index=255), logits, np.full((4, 5), 255, np.uint8))[0] == 0
    for y in (labels, p):
        check_gradients(f, logits, y)
        check_gradients(lambda x, y: f(x, y, label_smoothing=0.1), logits, y)
    check_gradients(lambda x, y: f(x, y, ignore_index=0), logits, labels)


def test_cross_entropy_is_stable_and_has_no_gather() -> None:
    logits = np.array([[1e4, -1e4, 0]], np.float32)
    for label, want in ((0, 0), (1, 2e4), (2, 1e4)):
        labels = np.array([label], np.int32)
        assert both(nn.cross_entropy, logits, labels)[0] == want
        (g,) = gradients(nn.cross_entropy, logits, labels)
        close(g[0], np.eye(3)[0] - np.eye(3)[label])
    for label in (-1, 3):
        assert np.isnan(both(nn.cross_entropy, logits, np.array([label]))[0])
    graph = graph_of(lambda x, y: nn.cross_entropy(x, y, reduction="none"), logits, np.array([1]))
    assert not {"take", "scatter_add", "cast"} & set(ops_of(graph))
    assert ops_of(graph).count("sum") == 2


def test_binary_cross_entropy() -> None:
    f = nn.binary_cross_entropy_with_logits
    logits, labels = real(4, 3) * 5, RNG.uniform(0, 1, (4, 3))
    want = -labels * np.log(sigmoid(logits)) - (1 - labels) * np.log(1 - sigmoid(logits))
    close(*both(f, logits, labels), want.mean())
    close(
        *both(lambda x, y: f(x, y, reduction="none"), logits, labels > 0.5),
        np.log1p(np.exp(np.where(labels > 0.5, -1, 1) * logits)),
    )
    smooth = labels * 0.8 + 0.1
    close(*both(lambda x, y: f(x, y, label_smoothing=0.2), logits, labels), f(logits, smooth))
    check_gradients(f, logits, labels)
    extreme, zero = np.array([1e4, -1e4, 0], np.float32), np.zeros(3, np.float32)
    assert both(lambda x, y: f(x, y, reduction="sum"), extreme, zero)[0] == np.float32(1e4 + math.log(2))
    close(gradients(lambda x: f(x, zero, reduction="sum"), extreme)[0], [1, 0, 0.5])


def test_regression_losses() -> None:
    x, y = real(4, 3) * 3, real(4, 3) * 3
    d = np.abs(x - y)
    huber = np.where(d <= 0.7, d * d / 2, 0.7 * (d - 0.35))
    for f, want in (
        (nn.mean_squared_error, d * d),
        (nn.mean_absolute_error, d),
        (lambda x, y, **k: nn.huber(x, y, 0.7, **k), huber),
    ):
        close(*both(f, x, y), want.mean())
        close(*both(lambda x, y: f(x, y, reduction="none"), x, y), want)  # noqa: B023
        check_gradients(f, x, y)
        assert (gradients(f, x, x)[0] == 0).all()


def test_kl_divergence() -> None:
    p, q = softmax(real(4, 3)), np.array([[0.2, 0.8, 0], [1, 0, 0], [0.3, 0.3, 0.4], [0.5, 0.25, 0.25]])
    terms = q * (np.log(np.where(q > 0, q, 1)) - np.log(p))
    close(*both(nn.kl_divergence, np.log(p), q), terms.sum(-1).mean())
    assert np.isfinite(gradients(nn.kl_divergence, np.log(p), q)[1]).all()
    check_gradients(nn.kl_divergence, np.log(p), softmax(real(4, 3)))
