"""Random numbers as pure functions of a key: the same key gives the same numbers traced, compiled and on NumPy arrays.

A key is u32[2], the key of the counter-based generator Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
as 1, 2, 3", SC 2011). Draw from a key once: make new keys for further draws with `split` or `fold_in`, which derive
them in a key space of their own, so that they never repeat words that `bits` yields for the same key.

Element i of a draw depends on the key and on i alone: a longer draw begins with a shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tgc.errors import AttributeSpecError, DTypeError
from tgc.ir import recording
from tgc.numpy.base import Array, ArrayLike, DTypeLike, accumulator, as_array, axis_of, refuse, replace, sizes
from tgc.numpy.elementwise import clip, cos, exp, log, log1p, logical_and, logical_or, multiply, negative, sqrt
from tgc.numpy.indexing import take
from tgc.numpy.manipulation import stack
from tgc.numpy.reductions import argmax, sum
from tgc.ops import creation, elementwise
from tgc.ops.arithmetic import (
    add,
    as_tensor,
    bitwise_xor,
    broadcast_to,
    divide,
    dtype_of,
    equal,
    is_weak,
    less,
    shape_of,
    subtract,
    where,
)
from tgc.types import BF16, F16, F32, F64, I32, I64, INTS, U32, DType, as_dtype, is_float

Size = int | Sequence[int]

_WORD = 2**32
_DIGITS: dict[DType, int] = {F16: 11, BF16: 8, F32: 24, F64: 53}
_SPLIT = np.array([0x53504C49, 0x54544753], np.uint32)
_FOLD = np.array([0x464F4C44, 0x494E5447], np.uint32)


def _words(x: ArrayLike) -> Array:
    """u32[2]: the low and the high half of a 64-bit integer."""
    if isinstance(x, int):
        return np.array([x % _WORD, x // _WORD % _WORD], np.uint32)
    x = as_array(x)
    if x.dtype not in INTS or x.shape != ():
        raise DTypeError(f"a seed is one integer, got {x!r:.80}")
    wide = as_tensor(x, I64)
    return stack([as_tensor(wide & (_WORD - 1), U32), as_tensor(wide >> 32, U32)])


def _checked(key: Array) -> Array:
    key = as_array(key)
    if key.dtype != U32 or key.shape != (2,):
        raise refuse("random", [key], "a key is u32[2], as made by tgc.random.key(seed)")
    return key


def key(seed: ArrayLike) -> Array:
    """u32[2]: the key of an integer, whose 64 bits it holds (low word first)."""
    return _words(seed)


def bits(key: Array, shape: Size = ()) -> Array:
    """u32[shape]: word i (row-major) is word i % 4 of Philox block i // 4.

    Raises:
        ShapeError: `key` is no key.
    """
    return creation.random_bits(_checked(key), shape=sizes(shape))


def split(key: Array, n: int = 2) -> Array:
    """u32[n, 2]: `n` new keys."""
    return bits(bitwise_xor(_checked(key), _SPLIT), (n, 2))


def fold_in(key: Array, data: ArrayLike) -> Array:
    """u32[2]: a new key for each integer `data`, such as the number of a step, a layer or a device."""
    mixed = bits(bitwise_xor(_checked(key), _FOLD), 2)
    return bits(bitwise_xor(mixed, _words(data)), 2)


def _float(dtype: DTypeLike) -> DType:
    checked: DType = as_dtype(dtype)
    if not is_float(checked):
        raise DTypeError(f"random numbers of this distribution are floats, not {checked}")
    return checked


def _fractions(key: Array, shape: Size, dtype: DType, n: int = 1, *, open: bool = False) -> list[Array]:
    """`n` tensors of uniform multiples of 2**-digits in [0, 1); in (0, 1), midway between multiples, if `open`."""
    each = 2 if dtype == F64 else 1
    digits = _DIGITS[dtype] - open
    count, shape = n * each, sizes(shape)
    words = bits(key, (*shape, count) if count > 1 else shape)
    column = [words[..., i] for i in range(count)] if count > 1 else [words]
    if dtype == F64:
        high = [as_tensor(w >> (5 + open), F64) for w in column[0::2]]
        low = [as_tensor(w >> 6, F64) for w in column[1::2]]
        whole = [add(multiply(h, 2.0**26), x) for h, x in zip(high, low, strict=True)]
    else:
        whole = [as_tensor(w >> (32 - digits), dtype) for w in column]
    return [multiply(add(k, 0.5) if open else k, 2.0**-digits) for k in whole]


def uniform(
    key: Array, shape: Size = (), dtype: DTypeLike = F32, minval: ArrayLike = 0.0, maxval: ArrayLike = 1.0
) -> Array:
    """Uniform in [minval, maxval), with as many random bits as the dtype has digits (float32: 24, float64: 53)."""
    dtype, shape = _float(dtype), sizes(shape)
    (u,) = _fractions(key, shape, dtype)
    if is_weak(minval) and is_weak(maxval) and (minval, maxval) == (0, 1):
        return u
    low, high = (broadcast_to(as_tensor(bound, dtype), shape) for bound in (minval, maxval))
    x = add(multiply(u, subtract(high, low)), low)
    return where(less(x, high), x, low)  # rounding may reach the upper bound


def normal(key: Array, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """Standard normal, by the cosine branch of Box and Muller (Annals of Mathematical Statistics 29, 1958).

    Half precision is computed in float32. No float32 exceeds 5.8 in magnitude, no float64 8.6.
    """
    dtype = _float(dtype)
    u, v = _fractions(key, shape, accumulator(dtype), 2)
    radius = sqrt(multiply(log1p(negative(u)), -2))
    return as_tensor(multiply(radius, cos(multiply(v, 2 * math.pi))), dtype)


def _erfinv(y: Array) -> Array:
    """The x with erf(x) == y: Winitzki's estimate (2008; error 2e-3), then Halley's method, cubically convergent."""
    a = 0.147
    y = clip(y, -1 + 2.0 ** -_DIGITS[y.dtype], 1 - 2.0 ** -_DIGITS[y.dtype])
    tail = log1p(negative(multiply(y, y)))
    t = add(multiply(tail, 0.5), 2 / (math.pi * a))
    root = add(sqrt(subtract(multiply(t, t), divide(tail, a))), t)
    x = multiply(elementwise.sign(y), sqrt(divide(tail, multiply(root, -a))))
    for _ in range(2 if y.dtype == F64 else 1):
        slope = multiply(exp(negative(multiply(x, x))), 2 / math.sqrt(math.pi))
        step = divide(subtract(elementwise.erf(x), y), slope)
        x = subtract(x, divide(step, add(multiply(x, step), 1)))
    return x


def truncated_normal(
    key: Array, shape: Size = (), dtype: DTypeLike = F32, lower: float = -2.0, upper: float = 2.0
) -> Array:
    """Standard normal given that it lies in [lower, upper], by the inverse of its distribution function.

    Raises:
        AttributeSpecError: `lower` is not below `upper`.
    """
    if not lower < upper:
        raise AttributeSpecError(f"truncated_normal: lower {lower} is not below upper {upper}")
    dtype = _float(dtype)
    low, high = (math.erf(bound / math.sqrt(2)) for bound in (lower, upper))
    x = multiply(_erfinv(uniform(key, shape, accumulator(dtype), low, high)), math.sqrt(2))
    return as_tensor(clip(x, lower, upper), dtype)


def exponential(key: Array, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """Exponential with rate 1. Half precision is computed in float32."""
    dtype = _float(dtype)
    (u,) = _fractions(key, shape, accumulator(dtype))
    return as_tensor(negative(log1p(negative(u))), dtype)


def gumbel(key: Array, shape: Size = (), dtype: DTypeLike = F32) -> Array:
    """Standard Gumbel, always finite. Half precision is computed in float32."""
    dtype = _float(dtype)
    (u,) = _fractions(key, shape, accumulator(dtype), open=True)
    return as_tensor(negative(log(negative(log(u)))), dtype)


def bernoulli(key: Array, p: ArrayLike = 0.5, shape: Size | None = None) -> Array:
    """True with probability `p` (a multiple of 2**-24 if `p` is not float64), of the shape of `p` unless given."""
    p = p if is_weak(p) else as_array(p)
    dtype = F64 if dtype_of(p) == F64 and not is_weak(p) else F32
    shape = shape_of(p) if shape is None else sizes(shape)
    (u,) = _fractions(key, shape, dtype)
    return less(u, broadcast_to(as_tensor(p, dtype), shape))


def randint(key: Array, shape: Size, minval: int, maxval: int, dtype: DTypeLike = I32) -> Array:
    """Integers in [minval, maxval), each with the same probability to within 2**-64.

    Raises:
        AttributeSpecError: the range is empty, wider than 2**31, or does not fit `dtype`.
        DTypeError: `dtype` is no integer dtype.
    """
    dtype = as_dtype(dtype)
    if dtype not in INTS:
        raise DTypeError(f"randint makes integers, not {dtype}")
    info, span = np.iinfo(dtype), maxval - minval
    if not (0 < span <= 2**31 and info.min <= minval and maxval - 1 <= info.max):
        raise AttributeSpecError(f"randint: [{minval}, {maxval}) is empty, wider than 2**31, or no range of {dtype}")
    words = as_tensor(bits(key, (*sizes(shape), 2)), I64)
    high, low = words[..., 0], words[..., 1]
    # The upper 64 of the 96 bits of (high, low) * span: Lemire, "Fast random integer generation in an interval", 2019.
    scaled = add(multiply(high, span), multiply(low, span) >> 32) >> 32
    return add(as_tensor(scaled, dtype), minval)


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
    noise = gumbel(key, (*full[:lead], *logits.shape), logits.dtype if is_float(logits.dtype) else F64)
    return argmax(add(logits, noise), axis=lead + at)


def _ranks(key: Array, n: int) -> Array:
    """i64[n]: the rank of each of n random words; equal words are ranked in order."""
    if isinstance(key, np.ndarray):
        with recording(None):
            order = np.argsort(bits(key, n), kind="stable")
        return np.argsort(order)
    words = bits(key, n)
    mine, other = (broadcast_to(words.reshape(shape), (n, n)) for shape in ((n, 1), (1, n)))
    row, column = (creation.iota(shape=(n, n), dtype=I64, axis=axis) for axis in (0, 1))
    before = logical_or(less(other, mine), logical_and(equal(other, mine), less(column, row)))
    return sum(before, axis=1)


def permutation(key: Array, x: int | ArrayLike, axis: int = 0) -> Array:
    """The numbers 0 .. x-1 (int64), or the slices of a tensor along `axis`, in random order.

    Takes n log n steps for a concrete key, but n * n comparisons for a traced one.
    """
    if isinstance(x, int):
        return _ranks(_checked(key), x)
    x = as_array(x)
    at = axis_of("permutation", x, axis)
    return take(x, _ranks(_checked(key), x.shape[at]), at)


def choice(key: Array, a: int | ArrayLike, shape: Size = (), replace: bool = True, p: ArrayLike | None = None) -> Array:
    """Elements of `a` along its first axis (or numbers below the int `a`), with probabilities `p` if given.

    Raises:
        AttributeSpecError: more elements than there are, or `p`, without replacement.
    """
    n = a if isinstance(a, int) else as_array(a).shape[0]
    shape = sizes(shape)
    if p is not None and replace:
        places = categorical(key, log(p), shape=shape)
    elif replace:
        places = randint(key, shape, 0, n, I64)
    elif p is not None or math.prod(shape) > n:
        raise AttributeSpecError(f"choice: cannot choose {math.prod(shape)} of {n} without replacement, or not with p")
    else:
        places = permutation(key, n)[: math.prod(shape)].reshape(shape)
    return places if isinstance(a, int) else take(a, places, 0)
