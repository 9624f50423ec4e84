"""Continuous distributions that are a function of a few uniform numbers, and differentiable in their parameters.

Half precision is computed in float32. A draw has the shape to which its parameters broadcast, unless `shape` is given.
"""

from __future__ import annotations

import math

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, DTypeLike, accumulator, sizes
from tgc.numpy.elementwise import absolute, clip, cos, exp, log, log1p, minimum, negative, sqrt, tan
from tgc.numpy.errorfunctions import erf, erfinv
from tgc.ops import elementwise
from tgc.ops.arithmetic import add, as_tensor, broadcast_to, divide, greater, less, multiply, power, subtract, where
from tgc.random.draws import (
    DIGITS,
    NUMBER,
    POSITIVE,
    float_dtype,
    fractions,
    joined,
    parameter,
    rounded,
    weak_default,
)
from tgc.random.keys import Size, split
from tgc.trace import Tracer
from tgc.types import F32, F64

__all__ = [
    "cauchy", "double_sided_maxwell", "exponential", "gumbel", "laplace", "logistic", "lognormal", "loguniform",
    "maxwell", "normal", "pareto", "rayleigh", "triangular", "truncated_normal", "uniform", "wald", "weibull_min",
]  # fmt: skip


def uniform(
    key: Array, shape: Size = (), dtype: DTypeLike = F32, minval: ArrayLike = 0.0, maxval: ArrayLike = 1.0
) -> Array:
    """Uniform in [minval, maxval), with as many random bits as the dtype has digits (float32: 24, float64: 53)."""
    dtype, shape = float_dtype(dtype), sizes(shape)
    (u,) = fractions(key, shape, dtype)
    if weak_default((minval, maxval), (0, 1)):
        return u
    low, high = (broadcast_to(as_tensor(bound, dtype), shape) for bound in (minval, maxval))
    x = add(multiply(u, subtract(high, low)), low)
    return where(less(x, high), x, low)  # rounding may reach the upper bound


def loguniform(
    key: Array, minval: ArrayLike, maxval: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32
) -> Array:
    """In [minval, maxval), with a uniform logarithm; both are positive."""
    to = float_dtype(dtype)
    work = accumulator(to)
    bounds = [parameter("loguniform", name, v, POSITIVE, work) for name, v in (("minval", minval), ("maxval", maxval))]
    shape, (low, high) = joined("loguniform", shape, *bounds)
    (u,) = fractions(key, shape, work)
    x = multiply(low, exp(multiply(u, log(divide(high, low)))))
    x = as_tensor(x, to)
    return where(less(x, as_tensor(high, to)), x, as_tensor(low, to))


def normal(key: Array, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """Standard normal, by the cosine branch of Box and Muller (Annals of Mathematical Statistics 29, 1958).

    No float32 exceeds 5.8 in magnitude, no float64 8.6.
    """
    dtype = float_dtype(dtype)
    u, v = fractions(key, shape, accumulator(dtype), 2)
    radius = sqrt(multiply(log1p(negative(u)), -2))
    return as_tensor(multiply(radius, cos(multiply(v, 2 * math.pi))), dtype)


def truncated_normal(
    key: Array, shape: Size = (), dtype: DTypeLike = F32, lower: ArrayLike = -2.0, upper: ArrayLike = 2.0
) -> Array:
    """Standard normal given that it lies in [lower, upper], by the inverse of its distribution function.

    Bounds broadcast to `shape`. Intervals that lie more than five deviations out in float32, eight in float64, are so
    improbable that they collapse to a bound.

    Raises:
        AttributeSpecError: `lower` is not below `upper`, as far as they are known.
    """
    to, shape = float_dtype(dtype), sizes(shape)
    work = accumulator(to)
    if not isinstance(lower, Tracer) and not isinstance(upper, Tracer) and not np.all(np.less(lower, upper)):
        raise AttributeSpecError(f"truncated_normal: lower {lower} is not below upper {upper}")
    bounds = [as_tensor(b, work if isinstance(b, Tracer) else F64) for b in (lower, upper)]
    low, high = (as_tensor(erf(multiply(b, math.sqrt(0.5))), work) for b in bounds)
    nearest = 1 - 2.0 ** -DIGITS[work]
    y = clip(uniform(key, shape, work, low, high), -nearest, nearest)
    x = multiply(erfinv(y), math.sqrt(2))
    return as_tensor(clip(x, *(as_tensor(b, work) for b in bounds)), to)


def lognormal(key: Array, sigma: ArrayLike = 1.0, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """e ** (sigma * z) for a standard normal z."""
    to = float_dtype(dtype)
    shape, (s,) = joined("lognormal", shape, parameter("lognormal", "sigma", sigma, NUMBER, accumulator(to)))
    return rounded(exp(multiply(normal(key, shape, accumulator(to)), s)), to)


def exponential(key: Array, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """Exponential with rate 1."""
    dtype = float_dtype(dtype)
    (u,) = fractions(key, shape, accumulator(dtype))
    return as_tensor(negative(log1p(negative(u))), dtype)


def gumbel(key: Array, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """Standard Gumbel, always finite."""
    dtype = float_dtype(dtype)
    (u,) = fractions(key, shape, accumulator(dtype), open=True)
    return as_tensor(negative(log(negative(log(u)))), dtype)


def laplace(key: Array, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """Standard Laplace: exponential with a random sign."""
    dtype = float_dtype(dtype)
    (u,) = fractions(key, shape, accumulator(dtype), open=True)
    v = subtract(multiply(u, 2), 1)  # exact, never -1, 0 or 1
    return as_tensor(multiply(elementwise.sign(v), negative(log1p(negative(absolute(v))))), dtype)


def logistic(key: Array, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """Standard logistic: the log-odds of a uniform number."""
    dtype = float_dtype(dtype)
    (u,) = fractions(key, shape, accumulator(dtype), open=True)
    return as_tensor(subtract(log(u), log1p(negative(u))), dtype)


def cauchy(key: Array, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """Standard Cauchy."""
    dtype = float_dtype(dtype)
    (u,) = fractions(key, shape, accumulator(dtype), open=True)
    # -cot(pi * u), by the distance from the nearer end, so that no angle is rounded across a pole.
    near = minimum(u, subtract(1, u))
    x = divide(1, tan(multiply(near, math.pi)))
    return rounded(where(less(u, 0.5), negative(x), x), dtype)


def pareto(key: Array, b: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """In [1, inf) with density b / x ** (b + 1), for a positive `b`."""
    to = float_dtype(dtype)
    shape, (b,) = joined("pareto", shape, parameter("pareto", "b", b, POSITIVE, accumulator(to)))
    return rounded(exp(divide(exponential(key, shape, accumulator(to)), b)), to)


def rayleigh(key: Array, scale: ArrayLike = 1.0, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """The length of a vector of two normal numbers of standard deviation `scale`, which is positive."""
    to = float_dtype(dtype)
    shape, (s,) = joined("rayleigh", shape, parameter("rayleigh", "scale", scale, POSITIVE, accumulator(to)))
    (u,) = fractions(key, shape, accumulator(to), open=True)
    return rounded(multiply(sqrt(multiply(log(u), -2)), s), to)


def weibull_min(
    key: Array, scale: ArrayLike, concentration: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32
) -> Array:
    """Weibull with distribution function 1 - exp(-(x / scale) ** concentration); both are positive."""
    to, name = float_dtype(dtype), "weibull_min"
    work = accumulator(to)
    values = (("scale", scale), ("concentration", concentration))
    shape, (s, c) = joined(name, shape, *(parameter(name, what, v, POSITIVE, work) for what, v in values))
    (u,) = fractions(key, shape, work, open=True)
    return rounded(multiply(power(negative(log(u)), divide(1, c)), s), to)


def maxwell(key: Array, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """The length of a vector of three standard normal numbers."""
    to = float_dtype(dtype)
    z = normal(key, (*sizes(shape), 3), accumulator(to))
    x, y, w = z[..., 0], z[..., 1], z[..., 2]
    return as_tensor(sqrt(add(add(multiply(x, x), multiply(y, y)), multiply(w, w))), to)


def double_sided_maxwell(
    key: Array, loc: ArrayLike = 0.0, scale: ArrayLike = 1.0, shape: Size | None = None, dtype: DTypeLike = F32
) -> Array:
    """loc + scale * m, for a Maxwell number m with a random sign; `scale` is positive."""
    to, name = float_dtype(dtype), "double_sided_maxwell"
    work = accumulator(to)
    at, width = parameter(name, "loc", loc, NUMBER, work), parameter(name, "scale", scale, POSITIVE, work)
    shape, (at, width) = joined(name, shape, at, width)
    first, second = split(key)
    (u,) = fractions(second, shape, work)
    m = maxwell(first, shape, work)
    return rounded(add(multiply(where(less(u, 0.5), negative(m), m), width), at), to)


def triangular(
    key: Array,
    left: ArrayLike,
    mode: ArrayLike,
    right: ArrayLike,
    shape: Size | None = None,
    dtype: DTypeLike = F32,
) -> Array:
    """In [left, right], with a density that rises to `mode` and falls from there; left <= mode <= right.

    Raises:
        AttributeSpecError: they are not in order, as far as their numbers are known.
    """
    to, name = float_dtype(dtype), "triangular"
    work = accumulator(to)
    low = parameter(name, "left", left, NUMBER, work)
    top, high = parameter(name, "mode", mode, NUMBER, work), parameter(name, "right", right, NUMBER, work)
    for what, a, b in (("mode - left", low, top), ("right - mode", top, high)):
        parameter(name, what, subtract(b, a), ("not negative", lambda v: v >= 0), work)
    shape, (low, top, high) = joined(name, shape, low, top, high)
    (u,) = fractions(key, shape, work, open=True)
    whole = subtract(high, low)
    rising = less(multiply(u, whole), subtract(top, low))
    up = multiply(multiply(u, whole), subtract(top, low))
    down = multiply(multiply(subtract(1, u), whole), subtract(high, top))
    root = sqrt(where(rising, up, down))
    return rounded(where(rising, add(low, root), subtract(high, root)), to)


def wald(key: Array, mean: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """Wald (inverse Gaussian) with shape parameter 1 and a positive `mean`.

    By Michael, Schucany and Haas (The American Statistician 30, 1976). It counts as constant: there is no gradient
    by `mean`.
    """
    to = float_dtype(dtype)
    work = accumulator(to)
    shape, (mu,) = joined("wald", shape, parameter("wald", "mean", mean, POSITIVE, work))
    mu = elementwise.stop_gradient(mu)
    first, second = split(key)
    z = normal(first, shape, work)
    w = multiply(multiply(z, z), mu)
    # The roots of r + 1 / r == 2 + w, which are reciprocals: the larger one does not cancel.
    large = multiply(add(add(w, 2), sqrt(multiply(w, add(w, 4)))), 0.5)
    small = divide(1, large)
    (u,) = fractions(second, shape, work)
    return rounded(multiply(where(greater(multiply(u, add(small, 1)), 1), large, small), mu), to)
