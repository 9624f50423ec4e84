"""Attention, positions and dropout against formulas in NumPy, eager and traced."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients, gradients
from traced import both, close, graph_of, ops_of

import tgc.random as rnd
from tgc import nn
from tgc.errors import AttributeSpecError, DTypeError, ShapeError
from tgc.types import BF16

RNG = np.random.default_rng(1)
KEY = rnd.key(3)


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, scores: Any, scale: float) -> np.ndarray:
    return softmax(q @ k.swapaxes(-1, -2) * scale + scores) @ v


def test_attention() -> None:
    q, k, v = real(2, 3, 4, 5), real(2, 3, 6, 5), real(2, 3, 6, 7)
    f, scale = nn.dot_product_attention, 5**-0.5
    mask = RNG.random((2, 1, 4, 6)) < 0.7
    mask[..., 0] = True
    low = np.where(mask, 0, -1e30)
    causal = np.where(np.tri(4, 6) > 0, 0, -1e30)
    close(*both(f, q, k, v), attention(q, k, v, 0, scale))
    close(*both(lambda *xs: f(*xs, scale=0.3), q, k, v), attention(q, k, v, 0, 0.3))
    close(*both(f, q, k, v, mask), attention(q, k, v, low, scale))
    close(*both(lambda *xs: f(*xs, is_causal=True), q, k, v), attention(q, k, v, causal, scale))
    close(*both(lambda *xs: f(*xs, is_causal=True), q, k, v, mask), attention(q, k, v, low + causal, scale))
    bias = real(3, 4, 6)
    close(*both(f, q, k, v, bias), attention(q, k, v, bias, scale))
    check_gradients(f, q, k, v, bias)
    check_gradients(lambda *xs: f(*xs, is_causal=True), q, k, v, mask)
    assert ops_of(graph_of(f, q, k, v)) == ["attention"]
    graph = graph_of(lambda *xs: f(*xs, soft_cap=9.0), q, k, v)
    assert ops_of(graph) == [
        "mul", "dot", "div", "tanh", "mul", "max", "stop_gradient", "sub", "exp", "sum", "div", "mul", "dot"
    ]  # fmt: skip


def test_attention_of_a_row_that_sees_nothing() -> None:
    q, k, v = (real(4, 5).astype(np.float16) for _ in range(3))
    mask = np.zeros((4, 4), bool)
    (y,) = both(nn.dot_product_attention, q, k, v, mask)
    close(y, np.broadcast_to(v.mean(0, dtype=np.float32), v.shape), 2e-3)
    assert all(np.isfinite(g).all() for g in gradients(nn.dot_product_attention, q, k, v, mask))


def test_multi_head_attention() -> None:
    x, c = real(2, 4, 6), real(2, 5, 3)
    ws, bs = [real(6, 8), real(3, 8), real(3, 4), real(4, 7)], [real(8), real(8), real(4), real(7)]
    (y,) = both(lambda *xs: nn.multi_head_attention(*xs, heads=2), x, c, *ws, *bs)
    q, k, v = (p @ w + b for p, w, b in zip((x, c, c), ws, bs, strict=False))
    parts = [attention(q[..., i : i + 4], k[..., i : i + 4], v[..., j : j + 2], 0, 0.5) for i, j in ((0, 0), (4, 2))]
    close(y, np.concatenate(parts, -1) @ ws[3] + bs[3])
    (z,) = both(lambda *xs: nn.multi_head_attention(*xs, heads=2, is_causal=True), x, c, *ws)
    assert z.shape == (2, 4, 7)
    check_gradients(lambda *xs: nn.multi_head_attention(*xs, heads=2), x, c, *ws)


def test_dropout() -> None:
    x = RNG.uniform(1, 2, (100, 200)).astype(np.float32)
    (y,) = both(lambda x, k: nn.dropout(x, 0.3, k), x, KEY)
    kept = y != 0
    assert abs(kept.mean() - 0.7) < 0.02
    close(y[kept], x[kept] / 0.7, 1e-6)
    np.testing.assert_array_equal(kept, rnd.bernoulli(KEY, 0.7, x.shape))
    assert nn.dropout(x, 0.5, training=False) is x
    assert nn.dropout(x, 0) is x
    assert (both(lambda x: nn.dropout(x, 1, KEY), x)[0] == 0).all()
    for drop in (nn.dropout, nn.alpha_dropout):
        assert both(lambda x, drop=drop: drop(x, 0.3, KEY), x.astype(BF16))[0].dtype == BF16
    (g,) = gradients(lambda x: nn.dropout(x, 0.3, KEY), x)
    close(g, kept / 0.7, 1e-6)
    q = real(2, 4, 5)
    (z,) = both(lambda q, k: nn.dot_product_attention(q, q, q, dropout_rate=0.5, key=k), q, KEY)
    assert z.shape == q.shape


def test_attention_in_grouped_queries() -> None:
    q, k, v = real(2, 6, 4, 5), real(2, 3, 7, 5), real(2, 3, 7, 2)
    mask, bias = RNG.random((2, 1, 4, 7)) < 0.8, real(6, 4, 7)
    mask[..., 0] = True
    wide = [np.repeat(x, 2, 1) for x in (k, v)]
    f = nn.dot_product_attention
    want = attention(q, *wide, np.where(mask, bias, -1e30), 5**-0.5)
    close(*both(lambda *xs: f(*xs[:4], bias=xs[4]), q, k, v, mask, bias), want)
    check_gradients(lambda *xs: f(*xs[:4], bias=xs[4]), q, k, v, mask, bias)
    assert not {"take", "concat"} & set(ops_of(graph_of(f, q, k, v)))


def test_attention_windows_caps_and_weights() -> None:
    q, k, v = real(2, 6, 5), real(2, 8, 5), real(2, 8, 3)
    f = nn.dot_product_attention
    apart = np.arange(8) - np.arange(6)[:, None]
    for attrs, seen in (
        ({"window": 2}, abs(apart) <= 2),
        ({"window": (3, 1)}, (apart >= -3) & (apart <= 1)),
        ({"window": 2, "is_causal": True}, (apart >= -2) & (apart <= 0)),
        ({"window": (2, -1), "is_causal": True}, (apart >= -2) & (apart <= -1)),
    ):
        rows = seen.any(1)
        y, w = both(lambda *xs: f(*xs, **attrs, return_weights=True), q, k, v)  # noqa: B023
        want = attention(q[:, rows], k, v, np.where(seen, 0, -1e30)[rows], 5**-0.5)
        close(y[:, rows], want)
        close(w.sum(-1), np.ones((2, 6)))
        assert (w[:, rows][:, ~seen[rows]] == 0).all()
    scores = q @ k.swapaxes(-1, -2) * 3
    close(*both(lambda *xs: f(*xs, scale=3, soft_cap=0.5), q, k, v), softmax(np.tanh(scores / 0.5) * 0.5) @ v)
    check_gradients(lambda *xs: f(*xs, window=2, soft_cap=0.5), q, k, v)


def test_multi_head_attention_in_grouped_queries() -> None:
    x, c = real(2, 4, 6), real(2, 5, 3)
    ws = [real(6, 8), real(3, 4), real(3, 2), real(4, 7)]
    y, w = both(lambda *xs: nn.multi_head_attention(*xs, heads=4, kv_heads=2, return_weights=True), x, c, *ws)
    wide = [np.repeat(m.reshape(3, 2, -1), 2, 1).reshape(3, -1) for m in ws[1:3]]
    close(y, nn.multi_head_attention(x, c, ws[0], *wide, ws[3], heads=4))
    assert w.shape == (2, 4, 4, 5)


def test_rotary_embedding() -> None:
    x, positions = real(2, 3, 5, 8), np.array([3, 1, 4, 1, 5])
    for attrs, dim, first, second in (
        ({}, 8, range(4), range(4, 8)),
        ({"interleaved": True}, 8, range(0, 8, 2), range(1, 8, 2)),
        ({"dim": 6, "base": 100.0}, 6, range(3), range(3, 6)),
        ({"dim": 6, "base": 100.0, "interleaved": True}, 6, range(0, 6, 2), range(1, 6, 2)),
    ):
        (got,) = both(lambda x, p: nn.rotary_embedding(x, p, **attrs), x, positions)  # noqa: B023
        angle = positions[:, None] * attrs.get("base", 10000.0) ** (-2 * np.arange(dim // 2) / dim)
        turned = (x[..., first] + 1j * x[..., second]) * np.exp(1j * angle)
        want = x.copy()
        want[..., first], want[..., second] = turned.real, turned.imag
        close(got, want)
        check_gradients(lambda x: nn.rotary_embedding(x, positions, **attrs), x)  # noqa: B023
    close(*both(nn.rotary_embedding, x), nn.rotary_embedding(x, np.arange(5)))
    half = both(nn.rotary_embedding, x.astype(np.float16))[0]
    assert half.dtype == np.float16
    # The product of two rotated vectors depends on how far they are apart alone.
    q, k = real(8), real(8)
    at = lambda v, p: nn.rotary_embedding(v[None], np.array([p]))[0]  # noqa: E731
    close(at(q, 7) @ at(k, 3), at(q, 14) @ at(k, 10))
    with pytest.raises(AttributeSpecError, match="dim 7 is odd"):
        nn.rotary_embedding(x, dim=7)


def test_sinusoidal_positions() -> None:
    want = np.zeros((5, 6))
    for p, i in np.ndindex(5, 3):
        want[p, 2 * i : 2 * i + 2] = math.sin(p / 10000 ** (i / 3)), math.cos(p / 10000 ** (i / 3))
    (got,) = both(lambda p: nn.sinusoidal_positions(p, 6, dtype=np.float64), np.arange(5))
    close(got, want)
    assert nn.sinusoidal_positions(5, 6).dtype == np.float32
    close(nn.sinusoidal_positions(5, 6), want, 1e-6)
    with pytest.raises(AttributeSpecError, match="dim 5 is odd"):
        nn.sinusoidal_positions(5, 5)


def test_sequence_mask() -> None:
    (got,) = both(lambda n: nn.sequence_mask(n, 4), np.array([[0, 2], [4, 9]], np.uint8))
    assert got.astype(int).sum(-1).tolist() == [[0, 2], [4, 4]]
    assert got[0, 1].tolist() == [True, True, False, False]
    with pytest.raises(DTypeError, match="sequence_mask: indices must be integers"):
        nn.sequence_mask(real(2), 4)


def test_dropout_of_shared_places() -> None:
    x = RNG.uniform(1, 2, (50, 20, 30))
    (y,) = both(lambda x, k: nn.dropout(x, 0.5, k, noise_shape=(None, 1, 30)), x, KEY)
    kept = y != 0
    assert (kept == kept[:, :1]).all()
    assert abs(kept.mean() - 0.5) < 0.05
    close(y[kept], x[kept] * 2)
    for data_format, axis in (("NHWC", 1), ("NCHW", 2)):
        (z,) = both(lambda x, k: nn.spatial_dropout(x, 0.5, k, data_format=data_format), x, KEY)  # noqa: B023
        assert ((z != 0) == (z != 0).any(axis, keepdims=True)).all()
        assert 0.3 < (z != 0).mean() < 0.7
    with pytest.raises(ShapeError, match=r"noise_shape \(50, 20\) has not the operand's sizes"):
        nn.dropout(x, 0.5, KEY, noise_shape=(50, 20))


NOISES: list[tuple[Callable[..., Any], float]] = [
    (lambda x, k, **kw: nn.alpha_dropout(x, 0.3, k, **kw), 1.0),
    (lambda x, k, **kw: nn.gaussian_dropout(x, 0.3, k, **kw), 1 / 0.7),
    (lambda x, k, **kw: nn.gaussian_noise(x, 0.5, k, **kw), 1.25),
]


@pytest.mark.parametrize(("f", "variance"), NOISES)
def test_noise(f: Callable[..., Any], variance: float) -> None:
    """Operands of mean 0 and variance 1 keep their mean; the variance is the one that is promised."""
    x = RNG.standard_normal(40_000)
    (y,) = both(f, x, KEY)
    assert abs(y.mean()) < 0.03
    assert abs(y.var() - variance) < 0.05
    assert (y != x).any()
    assert f(x, None, training=False) is x
    with pytest.raises(AttributeSpecError, match="needs a key"):
        f(x, None)
    assert np.isfinite(gradients(lambda x: f(x, KEY), x)[0]).all()
