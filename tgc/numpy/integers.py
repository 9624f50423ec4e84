"""Elementwise functions of integers."""

from __future__ import annotations

import builtins
import operator

from tgc.errors import AttributeSpecError, DTypeError
from tgc.numpy.base import Array, ArrayLike, as_array, axis_of, describe
from tgc.numpy.manipulation import moveaxis, ravel
from tgc.numpy.padding import pad
from tgc.numpy.reductions import sum
from tgc.ops import creation
from tgc.ops import elementwise as e
from tgc.ops.arithmetic import (
    absolute,
    add,
    as_tensor,
    bitwise_and,
    elementwise_operands,
    equal,
    floor_divide,
    left_shift,
    multiply,
    not_equal,
    reshape,
    right_shift,
    subtract,
    where,
)
from tgc.types import BOOL, INTS, U8

__all__ = ["bitwise_count", "gcd", "lcm", "packbits", "unpackbits"]


def _integers(function: str, x: ArrayLike, y: ArrayLike) -> list[Array]:
    x, y = elementwise_operands((x, y), op=function)
    if x.dtype not in INTS:
        raise DTypeError(f"{function}({describe(x)}, {describe(y)}) needs integers")
    return [x, y]


def gcd(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The greatest common divisor of |x1| and |x2|; gcd(0, x) is |x|."""
    return e.gcd(*_integers("gcd", x1, x2))


def lcm(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The least common multiple of |x1| and |x2|, wrapping; 0 if one is 0."""
    x, y = _integers("lcm", x1, x2)
    common = e.gcd(x, y)
    return absolute(multiply(floor_divide(x, where(equal(common, 0), 1, common)), y))


def bitwise_count(x: ArrayLike, /) -> Array:
    """How many bits of |x| are one: uint8. Neighbouring fields are added, twice as wide each time."""
    x = as_array(x)
    if x.dtype == BOOL:
        return as_tensor(x, U8)
    if x.dtype not in INTS:
        raise DTypeError(f"bitwise_count({describe(x)}) needs integers")
    bits = 8 * x.dtype.itemsize
    x = absolute(x)
    width = 1
    while width < bits:
        mask = builtins.sum(((1 << width) - 1) << place for place in range(0, bits, 2 * width))
        x = add(bitwise_and(x, mask), bitwise_and(right_shift(x, width), mask))
        width *= 2
    return as_tensor(x, U8)


def _shifts(function: str, bitorder: str) -> Array:
    """By how much each bit of a byte is shifted, in order."""
    if bitorder not in ("big", "little"):
        raise AttributeSpecError(f"{function}: bitorder {bitorder!r} is neither 'big' nor 'little'")
    places = creation.iota(shape=(8,), dtype=U8, axis=0)
    return places if bitorder == "little" else subtract(as_tensor(7, U8), places)


def packbits(a: ArrayLike, /, axis: int | None = None, bitorder: str = "big") -> Array:
    """uint8: eight elements along `axis` (None: of the flattened array) a byte, one bit each, which is 1 if not zero.

    The last byte is filled up with zeros. The first element is the highest bit of its byte; the lowest if `bitorder` is
    "little".

    Raises:
        DTypeError: `a` holds neither integers nor booleans.
    """
    x, shifts = as_array(a), _shifts("packbits", bitorder)
    if x.dtype != BOOL and x.dtype not in INTS:
        raise DTypeError(f"packbits({describe(x)}) needs integers or booleans")
    x, axis = (ravel(x), 0) if axis is None else (x, axis_of("packbits", x, axis))
    bits = moveaxis(as_tensor(not_equal(x, False), U8), axis, -1)
    n = -(-bits.shape[-1] // 8)
    bits = pad(bits, [*([(0, 0)] * (x.ndim - 1)), (0, 8 * n - bits.shape[-1])])
    bits = left_shift(reshape(bits, (*bits.shape[:-1], n, 8)), shifts)
    return moveaxis(sum(bits, -1, U8), -1, axis)


def unpackbits(a: ArrayLike, /, axis: int | None = None, count: int | None = None, bitorder: str = "big") -> Array:
    """uint8 zeros and ones: the bits of bytes (uint8) along `axis` (None: of the flattened array); see `packbits`.

    Args:
        count: how many bits to return along `axis`, with zeros behind the last if need be; if negative, how many of the
            last ones to leave out.
    Raises:
        DTypeError: `a` holds no bytes.
        AttributeSpecError: `count` leaves out more bits than there are.
    """
    x, shifts = as_array(a), _shifts("unpackbits", bitorder)
    if x.dtype != U8:
        raise DTypeError(f"unpackbits({describe(x)}) needs uint8")
    x, axis = (ravel(x), 0) if axis is None else (x, axis_of("unpackbits", x, axis))
    rows = moveaxis(x, axis, -1)
    bits = bitwise_and(right_shift(reshape(rows, (*rows.shape, 1)), shifts), as_tensor(1, U8))
    n = 8 * rows.shape[-1]
    bits = reshape(bits, (*rows.shape[:-1], n))
    wanted = n if count is None else operator.index(count) + (n if count < 0 else 0)
    if wanted < 0:
        raise AttributeSpecError(f"unpackbits: count {count} leaves out more than {n} bits")
    bits = pad(bits, [*([(0, 0)] * (x.ndim - 1)), (0, max(wanted - n, 0))])
    return moveaxis(bits[..., :wanted], -1, axis)
