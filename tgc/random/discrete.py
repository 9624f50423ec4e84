"""Discrete distributions. Probabilities and rates are computed in float64; integers come as int32 unless asked for.

A draw has the shape to which its parameters broadcast, unless `shape` is given. There are no gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tgc.errors import AttributeSpecError, DTypeError
from tgc.numpy.base import Array, ArrayLike, DTypeLike, as_array, axis_of, refuse, replace, sizes, spread
from tgc.numpy.dtypes import iinfo
from tgc.numpy.elementwise import (
    absolute,
    exp,
    floor,
    log,
    log1p,
    logical_and,
    logical_not,
    logical_or,
    maximum,
    minimum,
    sqrt,
)
from tgc.numpy.manipulation import stack
from tgc.numpy.reductions import argmax
from tgc.ops.arithmetic import (
    add,
    as_tensor,
    broadcast_to,
    divide,
    dtype_of,
    equal,
    greater,
    greater_equal,
    is_weak,
    less,
    less_equal,
    multiply,
    negative,
    shape_of,
    subtract,
    where,
)
from tgc.random.continuous import gumbel
from tgc.random.draws import NOT_NEGATIVE, PROBABILITY, fractions, int_dtype, joined, parameter, whole
from tgc.random.keys import Size, bits, split
from tgc.random.rejection import first_accepted, log_factorial
from tgc.trace import Tracer
from tgc.types import F32, F64, I32, I64, is_float

__all__ = ["bernoulli", "binomial", "categorical", "geometric", "multinomial", "poisson", "rademacher", "randint"]

_ROUNDS = 16  # of rejection: each rejects with a probability below 0.31, all with one below 1e-8
_STEPS = 48  # of inversion: below a mean of 10 larger numbers have a probability below 1e-16
_MEAN = 10.0  # below which numbers are drawn by inversion


def bernoulli(key: Array, p: ArrayLike = 0.5, shape: Size | None = None) -> Array:
    """True with probability `p` (a multiple of 2**-24 if `p` is not float64), of the shape of `p` unless given."""
    p = p if is_weak(p) else as_array(p)
    dtype = F64 if dtype_of(p) == F64 and not is_weak(p) else F32
    shape = shape_of(p) if shape is None else sizes(shape)
    p = parameter("bernoulli", "p", p, PROBABILITY, dtype)
    (u,) = fractions(key, shape, dtype)
    return less(u, broadcast_to(p, shape))


def rademacher(key: Array, shape: Size = (), dtype: DTypeLike = I32) -> Array:
    """-1 or 1, in any dtype of signed numbers."""
    to = np.dtype(dtype)
    if not (is_float(to) or int_dtype(to).kind == "i"):
        raise DTypeError(f"rademacher: {to} has no -1")
    return as_tensor(subtract(multiply(as_tensor(bits(key, shape) >> 31, I32), 2), 1), to)


def randint(key: Array, shape: Size, minval: ArrayLike, maxval: ArrayLike, dtype: DTypeLike = I32) -> Array:
    """Integers in [minval, maxval), each with the same probability to within 2**-64. Bounds broadcast to `shape`.

    Raises:
        AttributeSpecError: a range is empty, wider than 2**31, or does not fit `dtype`, as far as bounds are known.
        DTypeError: `dtype` or bounds are no integers.
    """
    dtype, shape = int_dtype(dtype), sizes(shape)
    info = iinfo(dtype)
    if not isinstance(minval, Tracer) and not isinstance(maxval, Tracer):
        low, high = (np.asarray(v).astype(object) for v in (minval, maxval))
        if not np.all((low < high) & (high - low <= 2**31) & (info.min <= low) & (high - 1 <= info.max)):
            raise AttributeSpecError(
                f"randint: [{minval}, {maxval}) is empty, wider than 2**31, or no range of {dtype}"
            )
    for bound in (minval, maxval):
        if is_float(dtype_of(bound)):
            raise DTypeError(f"randint: bounds must be integers, got {bound!r:.60}")
    _, (start, stop) = joined("randint", shape, as_tensor(minval, I64), as_tensor(maxval, I64))
    words = as_tensor(bits(key, (*shape, 2)), I64)
    high, low = words[..., 0], words[..., 1]
    span = subtract(stop, start)
    # The upper 64 of the 96 bits of (high, low) * span: Lemire, "Fast random integer generation in an interval", 2019.
    scaled = add(multiply(high, span), multiply(low, span) >> 32) >> 32
    return add(as_tensor(scaled, dtype), as_tensor(start, dtype))


def categorical(key: Array, logits: ArrayLike, axis: int = -1, shape: Size | None = None) -> Array:
    """int64: an index along `axis` with probability softmax(logits), by the Gumbel-max trick.

    `shape`, if given, is that of the result: more axes, then those of `logits` without `axis`.

    Raises:
        ShapeError: `shape` does not end in these.
    """
    logits = as_array(logits)
    at = axis_of("categorical", logits, axis)
    batch = replace(logits.shape, at)
    full = batch if shape is None else sizes(shape)
    lead = len(full) - len(batch)
    if lead < 0 or full[lead:] != batch:
        raise refuse("categorical", [logits], f"shape {shape} does not end in {batch}")
    dtype = logits.dtype if logits.dtype in (F32, F64) else F64 if not is_float(logits.dtype) else F32
    noise = gumbel(key, (*full[:lead], *logits.shape), dtype)
    return argmax(add(as_tensor(logits, dtype), noise), axis=lead + at)


def geometric(key: Array, p: ArrayLike, shape: Size | None = None, dtype: DTypeLike = I32) -> Array:
    """How many trials, each a success with probability `p`, there are up to the first success: 1, 2, ..."""
    to = int_dtype(dtype)
    shape, (p,) = joined("geometric", shape, parameter("geometric", "p", p, PROBABILITY, F64))
    (u,) = fractions(key, shape, F64, open=True)
    return whole(add(floor(divide(log(u), log1p(negative(p)))), 1), to)


def _inverse(u: Array, first: Array, ratio: Callable[[int], Array]) -> Array:
    """How many sums P(0) + ... + P(k) do not exceed `u`, for P(0) = first and P(k) = P(k - 1) * ratio(k)."""
    mass = total = first
    count = as_tensor(greater_equal(u, total), F64)
    for k in range(1, _STEPS):
        mass = multiply(mass, ratio(k))
        total = add(total, mass)
        count = add(count, as_tensor(greater_equal(u, total), F64))
    return count


def _proposals(key: Array, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """u in (-1/2, 1/2), the distance of |u| from 1/2, and v in (0, 1), for each round."""
    u, v = (as_tensor(x, F64) for x in fractions(key, (*shape, _ROUNDS), F32, 2, open=True))
    u = subtract(u, 0.5)
    return u, subtract(0.5, absolute(u)), v


def poisson(key: Array, lam: ArrayLike, shape: Size | None = None, dtype: DTypeLike = I32) -> Array:
    """Poisson with mean `lam`, which is not negative; by inversion below 10, then by transformed rejection.

    Hörmann, "The transformed rejection method for generating Poisson random variables", 1993 (PTRS). With a probability
    below 1e-8 all proposals are rejected, and the number is floor(lam). A NaN among traced rates draws -1.
    """
    to = int_dtype(dtype)
    shape, (lam,) = joined("poisson", shape, parameter("poisson", "lam", lam, NOT_NEGATIVE, F64))
    lam = where(less(lam, 0), math.nan, lam)
    small = less(lam, _MEAN)
    first, second = split(key)
    (w,) = fractions(first, shape, F64)
    low = where(small, lam, 1)
    few = _inverse(w, exp(negative(low)), lambda k: divide(low, k))

    large = where(small, _MEAN, lam)
    rounds, axes = (*shape, _ROUNDS), (len(shape),)
    rate = spread(large, axes, rounds)
    u, us, v = _proposals(second, shape)
    b = add(multiply(sqrt(rate), 2.53), 0.931)
    a = add(multiply(b, 0.02483), -0.059)
    k = floor(add(multiply(add(divide(multiply(a, 2), us), b), u), add(rate, 0.43)))
    squeezed = logical_and(greater_equal(us, 0.07), less_equal(v, subtract(0.9277, divide(3.6224, subtract(b, 2)))))
    out = logical_or(less(k, 0), logical_and(less(us, 0.013), greater(v, us)))
    inverse_alpha = add(divide(1.1328, subtract(b, 3.4)), 1.1239)
    weight = log(divide(multiply(v, inverse_alpha), add(divide(a, multiply(us, us)), b)))
    mass = subtract(subtract(multiply(k, log(rate)), rate), log_factorial(maximum(k, 0)))
    accepted = logical_or(squeezed, logical_and(logical_not(out), less_equal(weight, mass)))
    return whole(where(small, few, first_accepted(accepted, k, floor(large))), to)


def binomial(key: Array, n: ArrayLike, p: ArrayLike, shape: Size | None = None, dtype: DTypeLike = I32) -> Array:
    """How many of `n` trials succeed, each with probability `p`; by inversion below a mean of 10, then by rejection.

    Hörmann, "The generation of binomial random variates", Journal of Statistical Computation and Simulation 46, 1993
    (BTRS). With a probability below 1e-8 all proposals are rejected, and the number is the mode. Traced parameters
    that are out of range draw -1.
    """
    to = int_dtype(dtype)
    counts = parameter("binomial", "n", n, ("a number that is whole and not negative", _is_count), F64)
    shape, (n, p) = joined("binomial", shape, counts, parameter("binomial", "p", p, PROBABILITY, F64))
    bad = logical_not(logical_and(greater_equal(n, 0), logical_and(greater_equal(p, 0), less_equal(p, 1))))
    swap = greater(p, 0.5)
    q = where(bad, 0, where(swap, subtract(1, p), p))
    n = where(bad, 0, n)
    small = less(multiply(n, q), _MEAN)
    first, second = split(key)
    (w,) = fractions(first, shape, F64)
    low = where(small, n, 1)
    odds = divide(q, subtract(1, q))
    few = _inverse(w, exp(multiply(low, log1p(negative(q)))), lambda k: multiply(divide(subtract(low, k - 1), k), odds))
    few = minimum(few, low)

    rounds, axes = (*shape, _ROUNDS), (len(shape),)
    n, r = (spread(x, axes, rounds) for x in (where(small, 4 * _MEAN, n), where(small, 0.5, q)))
    u, us, v = _proposals(second, shape)
    deviation = sqrt(multiply(multiply(n, r), subtract(1, r)))
    b = add(multiply(deviation, 2.53), 1.15)
    a = add(multiply(b, 0.0248), add(multiply(r, 0.01), -0.0873))
    mode = floor(multiply(add(n, 1), r))
    k = floor(add(multiply(add(divide(multiply(a, 2), us), b), u), add(multiply(n, r), 0.5)))
    squeezed = logical_and(greater_equal(us, 0.07), less_equal(v, subtract(0.92, divide(4.2, b))))
    inside = logical_and(greater_equal(k, 0), less_equal(k, n))
    safe = where(inside, k, mode)
    alpha = multiply(add(divide(5.1, b), 2.83), deviation)
    weight = log(divide(multiply(v, alpha), add(divide(a, multiply(us, us)), b)))
    ways = [log_factorial(x) for x in (mode, subtract(n, mode), safe, subtract(n, safe))]
    mass = subtract(add(ways[0], ways[1]), add(ways[2], ways[3]))
    mass = add(mass, multiply(subtract(safe, mode), log(divide(r, subtract(1, r)))))
    accepted = logical_and(inside, logical_or(squeezed, less_equal(weight, mass)))
    many = first_accepted(accepted, k, mode[..., 0])
    drawn = where(small, few, many)
    total = where(small, low, n[..., 0])
    return whole(where(bad, math.nan, where(swap, subtract(total, drawn), drawn)), to)


def multinomial(key: Array, n: ArrayLike, p: ArrayLike, shape: Size | None = None, dtype: DTypeLike = I32) -> Array:
    """How often each of k outcomes comes in `n` trials: [*shape, k] for chances `p` [..., k], which are scaled to 1.

    One outcome after the other is `binomial` in the trials that are left. `shape` is that to which `n` and the leading
    axes of `p` broadcast, unless given.

    Raises:
        ShapeError: `p` has no outcome, or the parameters do not fit `shape`.
    """
    to = int_dtype(dtype)
    p = parameter("multinomial", "p", p, NOT_NEGATIVE, F64)
    if not p.ndim or not p.shape[-1]:
        raise refuse("multinomial", [p], "p needs a last axis of one outcome at least")
    trials = parameter("multinomial", "n", n, ("a number that is whole and not negative", _is_count), F64)
    shape, (left, _) = joined("multinomial", shape, trials, p[..., 0])
    k = p.shape[-1]
    shares = [broadcast_to(p[..., i], shape) for i in range(k)]
    rest = shares[-1:]  # sums of the shares from each outcome on, exact in that no share exceeds its own
    for share in shares[-2::-1]:
        rest.insert(0, add(share, rest[0]))
    keys, drawn = split(key, max(k - 1, 1)), []
    for i in range(k - 1):
        chance = minimum(divide(shares[i], where(equal(rest[i], 0), 1, rest[i])), 1)
        count = as_tensor(binomial(keys[i], left, chance, dtype=I64), F64)
        drawn.append(count)
        left = subtract(left, count)
    return as_tensor(stack([*drawn, left], -1), to)


def _is_count(v: np.ndarray) -> np.ndarray:
    return np.asarray((v >= 0) & (v == np.floor(v)) & np.isfinite(v))
