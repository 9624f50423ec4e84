"""What the distributions share: uniform fractions, parameters that broadcast, rounding of results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.errors import AttributeSpecError, DTypeError
from tgc.numpy.base import Array, ArrayLike, DTypeLike, accumulator, refuse, sizes
from tgc.numpy.dtypes import finfo, iinfo
from tgc.numpy.elementwise import clip
from tgc.ops.arithmetic import add, as_tensor, broadcast_shapes, broadcast_to, is_weak, multiply, shape_of, where
from tgc.ops.elementwise import is_nan
from tgc.random.keys import Size, bits
from tgc.trace import Tracer
from tgc.types import BF16, F16, F32, F64, FLOATS, INTS, DType, as_dtype

DIGITS: dict[DType, int] = {F16: 11, BF16: 8, F32: 24, F64: 53}


def float_dtype(dtype: DTypeLike) -> DType:
    """The dtype of a draw of floats, or DTypeError."""
    checked: DType = as_dtype(dtype)
    if checked not in FLOATS:
        raise DTypeError(f"random numbers of this distribution are floats, not {checked}")
    return checked


def int_dtype(dtype: DTypeLike) -> DType:
    """The dtype of a draw of integers, or DTypeError."""
    checked: DType = as_dtype(dtype)
    if checked not in INTS:
        raise DTypeError(f"random numbers of this distribution are integers, not {checked}")
    return checked


def fractions(key: Array, shape: Size, dtype: DType, n: int = 1, *, open: bool = False) -> list[Array]:
    """`n` tensors of uniform multiples of 2**-digits in [0, 1); in (0, 1), midway between multiples, if `open`."""
    each = 2 if dtype == F64 else 1
    digits = DIGITS[dtype] - open
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


Valid = Callable[[np.ndarray], Any]
POSITIVE: tuple[str, Valid] = ("positive", lambda v: v > 0)
PROBABILITY: tuple[str, Valid] = ("a probability", lambda v: (v >= 0) & (v <= 1))
NOT_NEGATIVE: tuple[str, Valid] = ("not negative", lambda v: v >= 0)
NUMBER: tuple[str, Valid] = ("a number", lambda v: v == v)


def parameter(function: str, name: str, value: ArrayLike, valid: tuple[str, Valid], dtype: DType) -> Array:
    """A parameter in `dtype`, checked if its numbers are known.

    Raises:
        AttributeSpecError: one of them is not what the distribution needs.
    """
    if not isinstance(value, Tracer):
        numbers = np.asarray(value)
        bad = ~np.asarray(valid[1](numbers.astype(np.float64, copy=False)))
        if bad.any():
            raise AttributeSpecError(f"{function}: {name} must be {valid[0]}, got {numbers[bad].ravel()[0]}")
    return as_tensor(value, dtype)


def joined(function: str, shape: Size | None, *parameters: Array) -> tuple[tuple[int, ...], list[Array]]:
    """The shape of a draw and its parameters repeated to it: that to which these broadcast, unless given.

    Raises:
        ShapeError: the parameters do not broadcast to `shape`.
    """
    common = broadcast_shapes(*map(shape_of, parameters), op=function)
    full = common if shape is None else sizes(shape)
    if broadcast_shapes(common, full, op=function) != full:
        raise refuse(function, parameters, f"the parameters do not broadcast to shape {full}")
    return full, [broadcast_to(p, full) for p in parameters]


def rounded(x: Array, dtype: DType) -> Array:
    """`x`, computed in the accumulator of `dtype`, in `dtype`: what is too large for half precision becomes finite."""
    if accumulator(dtype) == dtype:
        return x
    largest = float(finfo(dtype).max)
    return as_tensor(clip(x, -largest, largest), dtype)


def whole(x: Array, dtype: DType) -> Array:
    """Floats `x`, which hold integers, as `dtype`: limited to its range, and -1 (or 0 if unsigned) for NaN."""
    info = iinfo(dtype)
    low, high = float(info.min), math.nextafter(float(info.max) + 1, 0) if info.bits == 64 else float(info.max)
    return as_tensor(where(is_nan(x), -1.0 if info.min else 0.0, clip(x, low, high)), dtype)


def weak_default(values: Sequence[ArrayLike], default: Sequence[float]) -> bool:
    """Whether parameters are Python numbers of their default values, so that nothing needs to be computed."""
    return all(is_weak(v) for v in values) and tuple(values) == tuple(default)
