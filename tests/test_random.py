"""`tgc.random`: the published stream, distributions, and the same numbers eager and traced."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from traced import both

import tgc
import tgc.numpy as tnp
import tgc.random as rnd
from tgc import nn
from tgc.errors import AttributeSpecError, DTypeError, ShapeError
from tgc.nn import initializers
from tgc.ops.creation import philox4x32

KEY = rnd.key(20)
N = 50_000
FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # known answers of Random123 (kat_vectors: philox4x32 10)
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter: str, key: str, words: str) -> None:
    c, k, w = (np.array([int(x, 16) for x in text.split()], np.uint32) for text in (counter, key, words))
    np.testing.assert_array_equal(philox4x32(k, c), w)


def test_bits_are_the_stream_of_the_key() -> None:
    (words,) = both(lambda k: rnd.bits(k, (2, 3)), KEY)
    blocks = [philox4x32(KEY, np.array([i, 0, 0, 0], np.uint32)) for i in (0, 1)]
    np.testing.assert_array_equal(words.ravel(), np.concatenate(blocks)[:6])
    np.testing.assert_array_equal(rnd.bits(rnd.key(0), 4), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8])


def test_keys() -> None:
    assert rnd.key(7 + (5 << 32)).tolist() == [7, 5]
    assert rnd.key(-1).tolist() == [2**32 - 1] * 2
    for seed in (np.int64(7 + (5 << 32)), np.int32(-3), np.uint8(9)):
        (traced,) = both(rnd.key, seed)
        np.testing.assert_array_equal(traced, rnd.key(int(seed)))
    children = [*both(rnd.split, KEY)[0], *rnd.split(KEY, 5), *(rnd.fold_in(KEY, i) for i in range(3)), KEY]
    children += [rnd.fold_in(rnd.key(a), b) for a, b in ((0, 1), (1, 0), (0, 0), (1, 1))]
    words = {tuple(k) for k in children} | {tuple(w) for w in rnd.bits(KEY, (8, 2))}
    assert len(words) == len(children) + 8 - 2  # only split(key, 2) and split(key, 5) begin alike
    np.testing.assert_array_equal(rnd.fold_in(KEY, 3), both(rnd.fold_in, KEY, np.int32(3))[0])


def moments(x: np.ndarray) -> tuple[float, float]:
    return float(x.mean(dtype=np.float64)), float(x.astype(np.float64).var())


# name -> (draw, mean, variance, fourth central moment) of each floating-point distribution
EULER = 0.5772156649015329
PHI2, MASS2 = math.exp(-2) / math.sqrt(2 * math.pi), math.erf(math.sqrt(2))
DRAWS: dict[str, tuple[Callable[..., Any], float, float, float]] = {
    "uniform": (rnd.uniform, 1 / 2, 1 / 12, 1 / 80),
    "uniform in a range": (lambda k, s, d: rnd.uniform(k, s, d, -1, 3), 1, 16 / 12, 256 / 80),
    "normal": (rnd.normal, 0, 1, 3),
    "truncated": (rnd.truncated_normal, 0, 1 - 4 * PHI2 / MASS2, 3),
    "exponential": (rnd.exponential, 1, 1, 9),
    "gumbel": (rnd.gumbel, EULER, math.pi**2 / 6, 14.6),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", DRAWS)
def test_distributions(name: str, dtype: Any) -> None:
    draw, mean, variance, fourth = DRAWS[name]
    (x,) = both(lambda k: draw(k, (N,), dtype), KEY)
    assert x.dtype == dtype
    assert np.isfinite(x).all()
    grid = float(ml_dtypes.finfo(dtype).eps)  # what rounding shifts a mean by, at most
    m, v = moments(x)
    assert abs(m - mean) < 5 * math.sqrt(variance / N) + grid
    assert abs(v - variance) < 5 * math.sqrt((fourth - variance**2) / N) + grid * variance
    np.testing.assert_array_equal(draw(KEY, (100,), dtype), x[:100])  # a longer draw begins with a shorter one


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_never_reaches_its_upper_bound(dtype: Any) -> None:
    for low, high in ((0, 1), (1, 2), (-3, -1)):
        x = rnd.uniform(KEY, N, dtype, low, high).astype(np.float64)
        assert low <= x.min()
        assert x.max() < high
    (y,) = both(lambda k, low: rnd.uniform(k, (2, 3), dtype, low, 5), KEY, np.array(4, dtype))
    assert ((y >= 4) & (y < 5)).all()


def test_doubles_use_53_bits() -> None:
    x = rnd.uniform(KEY, 64, np.float64) * 2.0**53
    assert (x == np.floor(x)).all()
    assert (x % 2 == 1).any()


def test_truncated_normal_keeps_its_bounds() -> None:
    for low, high in ((-2, 2), (1, 1.5), (-9, 0)):
        x = rnd.truncated_normal(KEY, 2000, np.float32, low, high)
        assert low <= x.min() < x.max() <= high
    low, high = np.array([-1.0, 0.5, 2.0], np.float32), np.array([1.0, 0.75, 3.0], np.float32)
    (y,) = both(lambda k, a, b: rnd.truncated_normal(k, (500, 3), np.float32, a, b), KEY, low, high)
    assert ((y >= low) & (y <= high)).all()
    np.testing.assert_array_equal(y[:, :1].ravel()[0], rnd.truncated_normal(KEY, (1,), np.float32, -1.0, 1.0)[0])


def test_integers() -> None:
    (x,) = both(lambda k: rnd.randint(k, (N,), -3, 4), KEY)
    assert x.dtype == np.int32
    counts = np.bincount(x + 3, minlength=7)
    assert len(counts) == 7
    assert ((counts - N / 7) ** 2 / (N / 7)).sum() < 30  # chi-square with 6 degrees: p < 5e-5
    wide = rnd.randint(KEY, N, -(2**30), 2**30)
    assert abs(wide.mean() / 2**30) < 0.02
    assert wide.min() < -(2**29) < 2**29 < wide.max()
    words = rnd.bits(KEY, (N, 2)).astype(object)
    np.testing.assert_array_equal(wide, [((int(h) << 32 | int(w)) * 2**31 >> 64) - 2**30 for h, w in words])


def test_bernoulli() -> None:
    (x,) = both(lambda k: rnd.bernoulli(k, 0.3, (N,)), KEY)
    assert x.dtype == bool
    assert abs(x.mean() - 0.3) < 5 * math.sqrt(0.21 / N)
    (y,) = both(rnd.bernoulli, KEY, np.array([0.0, 1.0, 0.0, 1.0]))
    assert y.tolist() == [False, True, False, True]
    assert rnd.bernoulli(KEY).shape == ()


def test_categorical() -> None:
    p = np.array([[0.1, 0.6, 0.3], [0.5, 0.0, 0.5]])
    with np.errstate(divide="ignore"):
        logits = np.log(p)
    (x,) = both(lambda k: rnd.categorical(k, logits, shape=(20_000, 2)), KEY)
    for row, wanted in zip(x.T, p, strict=True):
        np.testing.assert_allclose(np.bincount(row, minlength=3) / len(row), wanted, atol=0.02)
    assert rnd.categorical(KEY, logits, axis=0).shape == (3,)


def test_permutation_and_choice() -> None:
    (order,) = both(lambda k: rnd.permutation(k, 40), KEY)
    assert sorted(order) == list(range(40)) != list(order)
    x = np.arange(12.0).reshape(4, 3)
    (rows,) = both(rnd.permutation, KEY, x)
    np.testing.assert_array_equal(rows, x[rnd.permutation(KEY, 4)])
    columns = rnd.permutation(KEY, x, axis=1)
    np.testing.assert_array_equal(columns, x[:, rnd.permutation(KEY, 3)])
    seen = [tuple(rnd.permutation(k, 3)) for k in rnd.split(KEY, 600)]
    assert all(60 < seen.count(p) < 140 for p in set(seen))
    assert len(set(seen)) == 6
    (some,) = both(lambda k: rnd.choice(k, x, (2,), replace=False), KEY)
    assert len({tuple(row) for row in some}) == 2
    assert set(rnd.choice(KEY, np.array([5, 6, 7]), 50)) == {5, 6, 7}
    assert set(rnd.choice(KEY, 3, 50, p=np.array([0.5, 0.0, 0.5]))) == {0, 2}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rnd.bits(np.zeros(2, np.int32), 3), ShapeError, r"u32\[2\], as made by tgc.random.key"),
        (lambda: rnd.split(7), ShapeError, "made by tgc.random.key"),
        (lambda: rnd.key(1.5), DTypeError, "a seed is one integer"),
        (lambda: rnd.normal(KEY, 3, np.int32), DTypeError, "are floats, not int32"),
        (lambda: rnd.randint(KEY, 3, 2, 2), AttributeSpecError, "empty"),
        (lambda: rnd.randint(KEY, 3, 0, 300, np.uint8), AttributeSpecError, "no range of uint8"),
        (lambda: rnd.randint(KEY, 3, 0, 3, np.float32), DTypeError, "integers, not float32"),
        (lambda: rnd.truncated_normal(KEY, 3, lower=1, upper=1), AttributeSpecError, "not below"),
        (lambda: rnd.categorical(KEY, np.zeros((2, 3)), shape=(4,)), ShapeError, r"does not end in \(2,\)"),
        (lambda: rnd.choice(KEY, 3, (4,), replace=False), AttributeSpecError, "cannot choose 4 of 3"),
        (lambda: initializers.identity(KEY, (3,)), ShapeError, "input and an output axis"),
        (lambda: initializers.glorot_uniform(KEY, (3,)), ShapeError, "input and an output axis"),
        (
            lambda: initializers.variance_scaling(KEY, (3, 2), scale=1, mode="fan", distribution="uniform"),
            AttributeSpecError,
            "fan_in, fan_out, fan_avg",
        ),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_initializers() -> None:
    shape = (3, 3, 32, 64)
    fans = {"fan_in": 9 * 32, "fan_out": 9 * 64, "fan_avg": 9 * 48}
    for name, scale, fan in (
        ("glorot_uniform", 1, "fan_avg"), ("glorot_normal", 1, "fan_avg"), ("he_uniform", 2, "fan_in"),
        ("he_normal", 2, "fan_in"), ("lecun_uniform", 1, "fan_in"), ("lecun_normal", 1, "fan_in"),
    ):  # fmt: skip
        (x,) = both(lambda k: getattr(initializers, name)(k, shape), KEY)  # noqa: B023
        assert (x.shape, x.dtype) == (shape, np.float32)
        mean, variance = moments(x)
        assert abs(mean) < 5 * math.sqrt(scale / fans[fan] / x.size)
        np.testing.assert_allclose(variance, scale / fans[fan], rtol=0.05)
    assert (initializers.ones(KEY, (2,)) + initializers.zeros(KEY, (2,))).tolist() == [1, 1]
    assert initializers.constant(KEY, (2,), value=3.5).tolist() == [3.5, 3.5]
    (eye,) = both(lambda k: initializers.identity(k, (2, 3), gain=2.0), KEY)
    assert eye.tolist() == [[2, 0, 0], [0, 2, 0]]
    x = np.random.default_rng(0).normal(size=(1, 5, 6, 3)).astype(np.float32)
    delta = initializers.identity(KEY, (3, 2, 3, 3))
    np.testing.assert_array_equal(nn.conv(x, delta, padding="same"), x)
    torch_like = initializers.he_normal(KEY, (64, 32, 3, 3), in_axis=1, out_axis=0)
    np.testing.assert_allclose(torch_like.var(), 2 / fans["fan_in"], rtol=0.05)


DRAWN: dict[str, Callable[..., object]] = {
    "rows": lambda key: rnd.bits(key, (3, 700)),
    "two keys": lambda key: rnd.bits(key, (5, 37)) ^ rnd.bits(rnd.fold_in(key, 1), (5, 37)),
    "pairs": lambda key: rnd.normal(key, (4, 301)),
    "a part": lambda key: rnd.bits(key, (9, 50))[2:, 3:],
    "backwards": lambda key: tnp.flip(rnd.bits(key, (2, 50)), 1),
    "across": lambda key: tnp.transpose(rnd.bits(key, (40, 33))),
    "far apart": lambda key: rnd.bits(key, (20, 30))[:, 4],
    "a row again": lambda key: tnp.broadcast_to(rnd.bits(key, (3, 1)), (3, 17)) + np.arange(17).astype(np.uint32),
    "summed": lambda key: tnp.sum(rnd.uniform(key, (6, 301)), axis=1),
    "summed down": lambda key: tnp.sum(rnd.uniform(key, (301, 6)), axis=0),
    "padded": lambda key: tnp.pad(rnd.bits(key, (3, 21)), ((0, 0), (2, 3))),
    "joined": lambda key: tnp.concatenate([rnd.bits(key, (3, 21)), rnd.bits(key ^ 1, (3, 9))], 1),
    "of a product": lambda key: nn.dropout(
        np.ones((9, 5), np.float32) @ np.ones((5, 70), np.float32) + key[0], 0.3, key
    ),
    "many keys": lambda keys: tgc.vmap(lambda k: rnd.bits(k, (33,)))(rnd.split(keys, 5)),
}


@pytest.mark.parametrize("draw", DRAWN)
def test_kernels_draw_what_the_reference_draws(draw: str) -> None:
    np.testing.assert_allclose(tgc.jit(DRAWN[draw])(KEY), DRAWN[draw](KEY), rtol=1e-6)


def test_words_in_a_row_are_drawn_together() -> None:
    (source,) = tgc.jit(lambda key: rnd.bits(key, (3, 70)) >> 8).lower(KEY).kernels.values()
    assert "words_u32(" in source
    assert "philox" not in source
