"""Elementwise functions of integers."""

from __future__ import annotations

from tgc.errors import DTypeError
from tgc.numpy.base import Array, ArrayLike, as_array, describe
from tgc.ops import elementwise as e
from tgc.ops.arithmetic import (
    absolute,
    add,
    as_tensor,
    bitwise_and,
    elementwise_operands,
    equal,
    floor_divide,
    multiply,
    right_shift,
    where,
)
from tgc.types import BOOL, INTS, U8

__all__ = ["bitwise_count", "gcd", "lcm"]


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
        mask = sum(((1 << width) - 1) << place for place in range(0, bits, 2 * width))
        x = add(bitwise_and(x, mask), bitwise_and(right_shift(x, width), mask))
        width *= 2
    return as_tensor(x, U8)
