"""Gamma numbers and what is made of them. Half precision is computed in float32.

Draws count as constants: there is no gradient by their parameters. Multiply by a scale to get that one's gradient.
"""

from __future__ import annotations

import math

from tgc.numpy.base import Array, ArrayLike, DTypeLike, accumulator, refuse, sizes, spread
from tgc.numpy.elementwise import absolute, exp, log, logical_and, maximum, sqrt
from tgc.ops import arithmetic, elementwise
from tgc.ops.arithmetic import (
    add,
    as_tensor,
    divide,
    greater,
    less,
    multiply,
    power,
    subtract,
    where,
)
from tgc.ops.reduce import reduce_max, reduce_sum
from tgc.random.continuous import exponential, normal
from tgc.random.draws import POSITIVE, float_dtype, fractions, joined, parameter, rounded
from tgc.random.keys import Size, split
from tgc.random.rejection import first_accepted
from tgc.types import F32, DType

__all__ = ["ball", "beta", "chisquare", "dirichlet", "f", "gamma", "generalized_normal", "loggamma", "t"]

_ROUNDS = 8


def _parts(key: Array, a: Array) -> tuple[Array, Array]:
    """(g, l) so that g * e ** l is gamma with shape parameter `a`: l is far below zero for small `a`.

    Marsaglia and Tsang, "A simple method for generating gamma variables", ACM TOMS 26, 2000. A proposal is rejected
    with a probability below 0.05, all eight with one below 4e-11; then g is one third less than the mean.
    """
    a = where(greater(a, 0), a, math.nan)
    small = less(a, 1)
    d = subtract(where(small, add(a, 1), a), 1 / 3)
    rounds = (*a.shape, _ROUNDS)
    axes = (a.ndim,)
    wide = spread(d, axes, rounds)
    first, second, third = split(key, 3)
    x = normal(first, rounds, a.dtype)
    (u,) = fractions(second, rounds, a.dtype, open=True)
    root = add(divide(x, multiply(sqrt(wide), 3)), 1)
    positive = greater(root, 0)
    v = power(where(positive, root, 1), 3)
    bound = add(multiply(multiply(x, x), 0.5), multiply(wide, add(subtract(1, v), log(v))))
    g = first_accepted(logical_and(positive, less(log(u), bound)), multiply(wide, v), d)
    (w,) = fractions(third, a.shape, a.dtype, open=True)
    return g, where(small, divide(log(w), where(small, a, 1)), 0)


def _shape_parameter(function: str, name: str, value: ArrayLike, dtype: DType) -> Array:
    return elementwise.stop_gradient(parameter(function, name, value, POSITIVE, dtype))


def gamma(key: Array, a: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """Gamma with scale 1 and the shape parameter `a`, which is positive. Tiny numbers underflow: see `loggamma`."""
    to = float_dtype(dtype)
    shape, (a,) = joined("gamma", shape, _shape_parameter("gamma", "a", a, accumulator(to)))
    g, low = _parts(key, a)
    return rounded(multiply(g, exp(low)), to)


def loggamma(key: Array, a: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """The logarithm of what `gamma` draws, which does not underflow for small `a`."""
    to = float_dtype(dtype)
    shape, (a,) = joined("loggamma", shape, _shape_parameter("loggamma", "a", a, accumulator(to)))
    g, low = _parts(key, a)
    return rounded(add(log(g), low), to)


def chisquare(key: Array, df: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """The sum of `df` squared standard normal numbers, for a positive real `df`."""
    to = float_dtype(dtype)
    half = multiply(_shape_parameter("chisquare", "df", df, accumulator(to)), 0.5)
    return rounded(multiply(gamma(key, half, shape, accumulator(to)), 2), to)


def t(key: Array, df: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """Student's t with `df` degrees of freedom, a positive real number."""
    to = float_dtype(dtype)
    shape, (df,) = joined("t", shape, _shape_parameter("t", "df", df, accumulator(to)))
    first, second = split(key)
    half = multiply(df, 0.5)
    spread_ = exp(multiply(subtract(log(half), loggamma(second, half, shape, df.dtype)), 0.5))
    return rounded(multiply(normal(first, shape, df.dtype), spread_), to)


def f(key: Array, dfnum: ArrayLike, dfden: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """F: the ratio of two `chisquare` numbers, each divided by its degrees of freedom `dfnum`, `dfden`."""
    to = float_dtype(dtype)
    degrees = [_shape_parameter("f", n, v, accumulator(to)) for n, v in (("dfnum", dfnum), ("dfden", dfden))]
    shape, halves = joined("f", shape, *(multiply(d, 0.5) for d in degrees))
    up, down = (subtract(loggamma(k, h, shape, h.dtype), log(h)) for k, h in zip(_two(key), halves, strict=True))
    return rounded(exp(subtract(up, down)), to)


def _two(key: Array) -> tuple[Array, Array]:
    first, second = split(key)
    return first, second


def beta(key: Array, a: ArrayLike, b: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """Beta with the positive parameters `a` and `b`; in [0, 1], whose ends only rounding reaches."""
    to = float_dtype(dtype)
    values = [_shape_parameter("beta", n, v, accumulator(to)) for n, v in (("a", a), ("b", b))]
    shape, values = joined("beta", shape, *values)
    up, down = (loggamma(k, v, shape, v.dtype) for k, v in zip(_two(key), values, strict=True))
    return as_tensor(elementwise.sigmoid(subtract(up, down)), to)


def dirichlet(key: Array, alpha: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """Probability vectors [*shape, n] with the positive concentrations `alpha` [..., n], by normalized gamma numbers.

    Raises:
        ShapeError: `alpha` has no axis, or its others do not broadcast to `shape`.
    """
    to = float_dtype(dtype)
    alpha = _shape_parameter("dirichlet", "alpha", alpha, accumulator(to))
    if not alpha.shape or not alpha.shape[-1]:
        raise refuse("dirichlet", [alpha], "alpha needs a last axis of one concentration at least")
    lead = alpha.shape[:-1] if shape is None else sizes(shape)
    full, (alpha,) = joined("dirichlet", (*lead, alpha.shape[-1]), alpha)
    logs, axes = loggamma(key, alpha, full, alpha.dtype), (len(full) - 1,)
    weights = exp(subtract(logs, spread(reduce_max(logs, axes=axes, chunks=0), axes, full)))
    return as_tensor(divide(weights, spread(reduce_sum(weights, axes=axes, chunks=0), axes, full)), to)


def generalized_normal(key: Array, p: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32) -> Array:
    """With a density in proportion to exp(-|x| ** p), for a positive `p`."""
    to = float_dtype(dtype)
    shape, (p,) = joined("generalized_normal", shape, _shape_parameter("generalized_normal", "p", p, accumulator(to)))
    first, second = split(key)
    size = exp(divide(loggamma(first, divide(1, p), shape, p.dtype), p))
    (u,) = fractions(second, shape, p.dtype)
    return rounded(where(less(u, 0.5), arithmetic.negative(size), size), to)


def ball(key: Array, d: int, p: float = 2.0, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """Points [*shape, d] uniform in the unit ball of the `p`-norm (Barthe et al., 2005)."""
    to = float_dtype(dtype)
    work, lead = accumulator(to), sizes(shape)
    first, second = split(key)
    x = generalized_normal(first, p, (*lead, d), work)
    total = reduce_sum(power(absolute(x), as_tensor(p, work)), axes=(len(lead),), chunks=0)
    size = power(add(total, exponential(second, lead, work)), as_tensor(1 / p, work))
    return as_tensor(divide(x, spread(maximum(size, 1e-30), (len(lead),), x.shape)), to)
