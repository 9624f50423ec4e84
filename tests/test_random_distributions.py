"""Distributions against their distribution functions, moments and gradients, in every dtype; bad parameters."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import mpmath
import numpy as np
import pytest
from gradients import check_gradients
from traced import both

import tgc.random as rnd
from tgc.errors import AttributeSpecError, DTypeError, ShapeError
from tgc.random.rejection import log_factorial

KEY = rnd.key(20)
N = 20_000
FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)
Cdf = Callable[[float], float]


def phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def gamma_cdf(a: float, x: float) -> float:
    return float(mpmath.gammainc(a, 0, x, regularized=True)) if x > 0 else 0.0


def beta_cdf(a: float, b: float, x: float) -> float:
    return float(mpmath.betainc(a, b, 0, min(x, 1), regularized=True)) if x > 0 else 0.0


def t_cdf(df: float, x: float) -> float:
    tail = beta_cdf(df / 2, 0.5, df / (df + x * x)) / 2
    return tail if x < 0 else 1 - tail


def maxwell_cdf(x: float) -> float:
    return math.erf(x / math.sqrt(2)) - math.sqrt(2 / math.pi) * x * math.exp(-x * x / 2)


def sided_cdf(x: float) -> float:
    return 0.5 + 0.5 * math.copysign(maxwell_cdf(abs(x - 1) / 2), x - 1)


def triangular_cdf(x: float) -> float:  # from 1 over 2 to 5
    return (x - 1) ** 2 / 4 if x < 2 else 1 - (5 - x) ** 2 / 12


def wald_cdf(mu: float, x: float) -> float:
    r = math.sqrt(1 / x)
    return phi(r * (x / mu - 1)) + math.exp(2 / mu) * phi(-r * (x / mu + 1))


def general_cdf(p: float, x: float) -> float:
    return 0.5 + 0.5 * math.copysign(gamma_cdf(1 / p, abs(x) ** p), x)


Draw = Callable[[Any, Any, Any], Any]
CONTINUOUS: dict[str, tuple[Draw, Cdf]] = {
    "uniform": (rnd.uniform, lambda x: x),
    "normal": (rnd.normal, phi),
    "truncated_normal": (rnd.truncated_normal, lambda x: (phi(x) - phi(-2)) / (1 - 2 * phi(-2))),
    "exponential": (rnd.exponential, lambda x: -math.expm1(-x)),
    "gumbel": (rnd.gumbel, lambda x: math.exp(-math.exp(-x))),
    "laplace": (rnd.laplace, lambda x: math.exp(x) / 2 if x < 0 else 1 - math.exp(-x) / 2),
    "logistic": (rnd.logistic, lambda x: 1 / (1 + math.exp(-x))),
    "cauchy": (rnd.cauchy, lambda x: 0.5 + math.atan(x) / math.pi),
    "pareto": (lambda k, s, d: rnd.pareto(k, 3.0, s, d), lambda x: 1 - x**-3),
    "rayleigh": (lambda k, s, d: rnd.rayleigh(k, 2.0, s, d), lambda x: -math.expm1(-x * x / 8)),
    "weibull_min": (lambda k, s, d: rnd.weibull_min(k, 2.0, 1.5, s, d), lambda x: -math.expm1(-((x / 2) ** 1.5))),
    "maxwell": (rnd.maxwell, maxwell_cdf),
    "double_sided_maxwell": (lambda k, s, d: rnd.double_sided_maxwell(k, 1.0, 2.0, s, d), sided_cdf),
    "lognormal": (lambda k, s, d: rnd.lognormal(k, 0.5, s, d), lambda x: phi(math.log(x) / 0.5)),
    "loguniform": (lambda k, s, d: rnd.loguniform(k, 0.5, 8.0, s, d), lambda x: math.log(x / 0.5) / math.log(16)),
    "triangular": (lambda k, s, d: rnd.triangular(k, 1.0, 2.0, 5.0, s, d), triangular_cdf),
    "wald": (lambda k, s, d: rnd.wald(k, 2.0, s, d), functools.partial(wald_cdf, 2.0)),
    "gamma 0.3": (lambda k, s, d: rnd.gamma(k, 0.3, s, d), functools.partial(gamma_cdf, 0.3)),
    "gamma 1": (lambda k, s, d: rnd.gamma(k, 1.0, s, d), functools.partial(gamma_cdf, 1.0)),
    "gamma 7.5": (lambda k, s, d: rnd.gamma(k, 7.5, s, d), functools.partial(gamma_cdf, 7.5)),
    "loggamma": (lambda k, s, d: rnd.loggamma(k, 0.01, s, d), lambda x: gamma_cdf(0.01, math.exp(max(x, -600)))),
    "chisquare": (lambda k, s, d: rnd.chisquare(k, 3.0, s, d), lambda x: gamma_cdf(1.5, x / 2)),
    "t": (lambda k, s, d: rnd.t(k, 2.5, s, d), functools.partial(t_cdf, 2.5)),
    "f": (lambda k, s, d: rnd.f(k, 3.0, 5.0, s, d), lambda x: beta_cdf(1.5, 2.5, 3 * x / (3 * x + 5))),
    "beta": (lambda k, s, d: rnd.beta(k, 0.5, 2.0, s, d), functools.partial(beta_cdf, 0.5, 2.0)),
    "generalized_normal": (lambda k, s, d: rnd.generalized_normal(k, 1.5, s, d), functools.partial(general_cdf, 1.5)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_distribution_functions(name: str) -> None:
    """Kolmogorov and Smirnov: what lies below each of 40 points, in float32 and float64."""
    draw, cdf = CONTINUOUS[name]
    for dtype in (np.float32, np.float64):
        (x,) = both(lambda k: draw(k, (N,), dtype), KEY)  # noqa: B023
        assert x.dtype == dtype
        assert np.isfinite(x).all()
        ordered = np.sort(x.astype(np.float64))
        for i in np.linspace(0, N - 1, 40).astype(int):
            assert abs((i + 0.5) / N - cdf(float(ordered[i]))) < 1.8 / math.sqrt(N), (i, ordered[i])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_dtypes_and_shapes(name: str, dtype: Any) -> None:
    """All dtypes are finite and close to each other; a longer draw begins with a shorter one; nothing is drawn too."""
    draw, _ = CONTINUOUS[name]
    (x,) = both(lambda k: draw(k, (200,), dtype), KEY)
    assert x.dtype == dtype
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(draw(KEY, (7,), dtype), x[:7])
    assert draw(KEY, (2, 0), dtype).shape == (2, 0)
    assert draw(KEY, (), dtype).shape == ()
    if dtype in FLOATS[:2] and name != "uniform":
        wide = draw(KEY, (200,), np.float32)
        np.testing.assert_allclose(x.astype(np.float32), wide, rtol=0.01, atol=0.01)


def test_a_key_draws_the_same_numbers_for_ever() -> None:
    """Golden values: a change here changes what every seeded program computes."""
    got = {name: draw(KEY, (2,), np.float32) for name, (draw, _) in CONTINUOUS.items()}
    for name, want in GOLDEN.items():
        np.testing.assert_allclose(got[name], want, rtol=2e-5, err_msg=name)
    assert GOLDEN.keys() <= CONTINUOUS.keys()
    assert rnd.poisson(KEY, np.array([0.5, 4, 30, 1e6])).tolist() == DISCRETE_GOLDEN[0]
    assert rnd.binomial(KEY, 100, np.array([0.01, 0.3, 0.5, 0.99])).tolist() == DISCRETE_GOLDEN[1]
    assert rnd.geometric(KEY, np.array([0.9, 0.3, 0.01])).tolist() == DISCRETE_GOLDEN[2]


GOLDEN: dict[str, list[float]] = {
    "uniform": [0.7680244, 0.5172085],
    "normal": [-1.699475, 0.297517],
    "truncated_normal": [0.6929492, 0.04118431],
    "exponential": [1.461123, 0.7281705],
    "gumbel": [1.332057, 0.4165628],
    "laplace": [0.7679763, 0.03502325],
    "logistic": [1.19719, 0.06886131],
    "cauchy": [1.120185, 0.05411482],
    "pareto": [1.627493, 1.274716],
    "rayleigh": [1.45309, 2.296622],
    "weibull_min": [0.8229242, 1.515035],
    "maxwell": [1.728321, 2.124023],
    "double_sided_maxwell": [4.345035, 3.690486],
    "lognormal": [0.4275271, 1.160393],
    "loguniform": [4.204977, 2.097737],
    "triangular": [3.331556, 2.593031],
    "wald": [6.805582, 2.051834],
    "gamma 0.3": [0.004020933, 0.8347871],
    "gamma 1": [0.161967, 0.7306569],
    "gamma 7.5": [4.972925, 7.372028],
    "loggamma": [-132.5706, -6.989209],
    "chisquare": [0.8556082, 2.501371],
    "t": [-0.7326955, -0.01951335],
    "f": [0.9900267, 0.6413211],
    "beta": [0.06917043, 0.1420204],
    "generalized_normal": [0.5729511, 0.6076968],
}
DISCRETE_GOLDEN: list[list[int]] = [[0, 0, 34, 1001109], [0, 26, 54, 99], [1, 6, 74]]


def check_masses(x: np.ndarray, mass: Callable[[int], float]) -> None:
    """Pearson's chi-square over values that are to be expected five times at least."""
    values = range(int(x.min()), int(x.max()) + 1)
    wanted = np.array([mass(k) * x.size for k in values])
    seen = np.array([(x == k).sum() for k in values])
    often = wanted >= 5
    assert wanted[often].sum() > 0.98 * x.size
    statistic = ((seen - wanted)[often] ** 2 / wanted[often]).sum()
    degrees = often.sum()
    assert statistic < degrees + 5 * math.sqrt(2 * degrees)


@pytest.mark.parametrize("lam", [0.2, 3.0, 9.9, 10.0, 37.5, 400.0])
def test_poisson(lam: float) -> None:
    (x,) = both(lambda k: rnd.poisson(k, lam, (N,)), KEY)
    assert x.dtype == np.int32
    check_masses(x, lambda k: math.exp(k * math.log(lam) - lam - math.lgamma(k + 1)))


@pytest.mark.parametrize(("n", "p"), [(7, 0.3), (40, 0.2), (100, 0.95), (60, 0.5), (1000, 0.3), (9, 0.0), (5, 1.0)])
def test_binomial(n: int, p: float) -> None:
    (x,) = both(lambda k: rnd.binomial(k, n, p, (N,)), KEY)
    assert x.dtype == np.int32
    assert x.min() >= 0
    assert x.max() <= n
    check_masses(x, lambda k: math.comb(n, k) * p**k * (1 - p) ** (n - k))


@pytest.mark.parametrize("p", [0.05, 0.5, 1.0])
def test_geometric(p: float) -> None:
    (x,) = both(lambda k: rnd.geometric(k, p, (N,)), KEY)
    check_masses(x, lambda k: p * (1 - p) ** (k - 1) if k else 0.0)
    assert x.min() == 1


def test_discrete_parameters_broadcast() -> None:
    lam = np.array([[0.0], [2.0], [1e4]])
    (x,) = both(lambda k, lam: rnd.poisson(k, lam, (3, 500), np.int64), KEY, lam)
    assert x.dtype == np.int64
    assert (x[0] == 0).all()
    np.testing.assert_allclose(x[1:].mean(1), lam[1:, 0], rtol=0.1)
    np.testing.assert_allclose(x[1:].var(1), lam[1:, 0], rtol=0.25)
    (y,) = both(rnd.binomial, KEY, np.array([0, 5, 10**6]), np.array(0.25))
    assert y.shape == (3,)
    assert y[0] == 0
    assert abs(y[2] - 250_000) < 3000
    (z,) = both(lambda k: rnd.rademacher(k, (N,)), KEY)
    assert set(z.tolist()) == {-1, 1}
    assert abs(z.mean()) < 0.03
    assert rnd.rademacher(KEY, 3, np.float16).dtype == np.float16
    (r,) = both(lambda k, a, b: rnd.randint(k, (4000, 2), a, b), KEY, np.array([0, -5]), np.array([2, 7]))
    assert r.min(0).tolist() == [0, -5]
    assert r.max(0).tolist() == [1, 6]
    for draw in (rnd.poisson, rnd.geometric):
        assert draw(KEY, 0.5, (0, 2)).shape == (0, 2)


def test_multinomial() -> None:
    p = np.array([2.0, 0.0, 5.0, 3.0])
    (x,) = both(lambda k, p: rnd.multinomial(k, 40, p, (2000,)), KEY, p)
    assert (x.shape, x.dtype) == ((2000, 4), np.int32)
    assert (x.sum(-1) == 40).all()
    assert (x[:, 1] == 0).all()
    assert x.min() >= 0
    np.testing.assert_allclose(x.mean(0), 4 * p, atol=0.3)
    np.testing.assert_allclose(np.cov(x.T)[2], 40 * 0.5 * np.array([-0.2, 0, 0.5, -0.3]), atol=1)
    assert rnd.multinomial(KEY, np.array([3, 7]), np.ones((5, 1, 2)))[..., 0].shape == (5, 2)
    assert rnd.multinomial(KEY, 3, np.array([0.5])).tolist() == [3]
    with pytest.raises(ShapeError, match="one outcome at least"):
        rnd.multinomial(KEY, 3, 0.5)


def test_traced_parameters_out_of_range() -> None:
    """What cannot be known while tracing shows in the numbers."""
    from traced import graph_of

    from tgc.interpret import interpret

    bad = np.array([-1.0, math.nan, 2.0])
    draw = lambda f: interpret(graph_of(lambda x: f(KEY, x), np.zeros(3)), bad)[0]  # noqa: E731
    assert (draw(rnd.poisson)[:2] == -1).all()
    assert draw(lambda k, p: rnd.binomial(k, 3, p)).tolist() == [-1] * 3
    assert np.isnan(draw(rnd.gamma)[:2]).all()
    assert np.isfinite(draw(rnd.gamma)[2])


def test_dirichlet_and_ball() -> None:
    alpha = np.array([0.5, 1.0, 3.5])
    (x,) = both(lambda k, a: rnd.dirichlet(k, a, (4000,)), KEY, alpha)
    assert (x.shape, x.dtype) == ((4000, 3), np.float32)
    np.testing.assert_allclose(x.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(x.mean(0), alpha / 5, atol=0.02)
    np.testing.assert_allclose(x.var(0), alpha * (5 - alpha) / 25 / 6, rtol=0.15)
    sparse = rnd.dirichlet(KEY, np.full(4, 1e-3), (100,))
    assert np.isfinite(sparse).all()
    np.testing.assert_allclose(sparse.sum(-1), 1, rtol=1e-5)
    for p in (1.0, 2.0, 5.0):
        (b,) = both(lambda k: rnd.ball(k, 3, p, (4000,), np.float64), KEY)  # noqa: B023
        radius = (np.abs(b) ** p).sum(-1) ** (1 / p)
        assert radius.max() <= 1
        np.testing.assert_allclose((radius**3).mean(), 0.5, atol=0.02)  # uniform
        np.testing.assert_allclose(b.mean(0), 0, atol=0.04)


def test_choice_without_replacement_by_weight() -> None:
    p = np.array([0.6, 0.3, 0.1, 0.0])
    keys = rnd.split(KEY, 1500)
    picks = np.array([rnd.choice(k, 4, (2,), replace=False, p=p) for k in keys])
    np.testing.assert_allclose(np.bincount(picks[:, 0], minlength=4) / 1500, p, atol=0.05)
    first = picks[picks[:, 0] == 0, 1]
    np.testing.assert_allclose((first == 1).mean(), 0.75, atol=0.05)
    assert (picks[:, 0] != picks[:, 1]).all()
    (some,) = both(lambda k, p: rnd.choice(k, 4, (3,), replace=False, p=p), KEY, p)
    assert sorted(some) == [0, 1, 2]
    x = np.arange(12).reshape(3, 4)
    (columns,) = both(lambda k: rnd.choice(k, x, (2,), axis=1), KEY)
    assert columns.shape == (3, 2)
    np.testing.assert_array_equal(rnd.shuffle(KEY, x), rnd.permutation(KEY, x))


def test_gradients_by_scales_and_shapes() -> None:
    """The draws that are functions of uniform numbers follow their parameters."""
    point = np.array([0.7, 1.3, 2.9])
    for f in (
        lambda s: rnd.lognormal(KEY, s, dtype=np.float64),
        lambda s: rnd.rayleigh(KEY, s, dtype=np.float64),
        lambda s: rnd.pareto(KEY, s, dtype=np.float64),
        lambda s: rnd.weibull_min(KEY, s, s + 1, dtype=np.float64),
        lambda s: rnd.double_sided_maxwell(KEY, s, s * 2, dtype=np.float64),
        lambda s: rnd.triangular(KEY, -s, s / 2, s, dtype=np.float64),
        lambda s: rnd.loguniform(KEY, s, s * 3, dtype=np.float64),
        lambda s: rnd.uniform(KEY, (3,), np.float64, -s, s),
        lambda s: rnd.gamma(KEY, 2.0, (3,), np.float64) * s,
    ):
        check_gradients(f, point)


def test_log_factorial() -> None:
    k = np.array([0, 1, 2, 5, 20, 170, 1e5, 1e9])
    np.testing.assert_allclose(log_factorial(k), [math.lgamma(v + 1) for v in k], rtol=1e-14, atol=1e-14)


def test_keys_in_shapes_and_their_words() -> None:
    grid = rnd.split(KEY, (2, 3))
    np.testing.assert_array_equal(grid.reshape(6, 2), rnd.split(KEY, 6))
    np.testing.assert_array_equal(rnd.wrap_key_data(rnd.key_data(KEY)), KEY)
    with pytest.raises(ShapeError, match="a key is u32"):
        rnd.wrap_key_data(np.zeros(3, np.uint32))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rnd.gamma(KEY, 0), AttributeSpecError, "gamma: a must be positive, got 0"),
        (lambda: rnd.gamma(KEY, np.array([1, math.nan])), AttributeSpecError, "positive, got nan"),
        (lambda: rnd.gamma(KEY, np.ones(3), (2,)), ShapeError, r"gamma: shapes|do not broadcast"),
        (lambda: rnd.gamma(KEY, np.ones((2, 1)), (3,)), ShapeError, r"do not broadcast to shape \(3,\)"),
        (lambda: rnd.beta(KEY, 1, -1), AttributeSpecError, "beta: b must be positive"),
        (lambda: rnd.dirichlet(KEY, 1.0), ShapeError, "needs a last axis"),
        (lambda: rnd.t(KEY, 0), AttributeSpecError, "t: df must be positive"),
        (lambda: rnd.poisson(KEY, -1), AttributeSpecError, "poisson: lam must be not negative"),
        (lambda: rnd.poisson(KEY, 1, dtype=np.float32), DTypeError, "are integers, not float32"),
        (lambda: rnd.binomial(KEY, 2.5, 0.5), AttributeSpecError, "binomial: n must be a number that is whole"),
        (lambda: rnd.binomial(KEY, 2, 1.5), AttributeSpecError, "binomial: p must be a probability, got 1.5"),
        (lambda: rnd.bernoulli(KEY, 1.5), AttributeSpecError, "bernoulli: p must be a probability"),
        (lambda: rnd.geometric(KEY, -0.1), AttributeSpecError, "geometric: p must be a probability"),
        (lambda: rnd.triangular(KEY, 0, 3, 2), AttributeSpecError, "right - mode must be not negative, got -1"),
        (lambda: rnd.loguniform(KEY, 0, 3), AttributeSpecError, "minval must be positive"),
        (lambda: rnd.rademacher(KEY, 3, np.uint8), DTypeError, "has no -1"),
        (lambda: rnd.randint(KEY, (2,), np.array([0, 5]), 3), AttributeSpecError, "empty"),
        (lambda: rnd.randint(KEY, (2,), 0.5, 3), DTypeError, "bounds must be integers"),
        (lambda: rnd.choice(KEY, 3, (2,), p=np.array([0.5, 0.5])), AttributeSpecError, r"p has the shape \(2,\)"),
        (lambda: rnd.choice(KEY, 2, (1,), p=np.array([1.5, -0.5])), AttributeSpecError, "p must be not negative"),
        (lambda: rnd.choice(KEY, 0, (2,)), AttributeSpecError, "cannot choose 2 of 0"),
    ],
)
def test_bad_parameters(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
