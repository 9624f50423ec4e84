"""Elementwise functions of floats: the parts that they are made of, and rarer functions."""

from __future__ import annotations

import math

from tgc.errors import DTypeError
from tgc.numpy.base import Array, ArrayLike, as_array, as_inexact, as_real, describe, real_operands
from tgc.numpy.dtypes import finfo
from tgc.numpy.elementwise import floor, isfinite, isnan, log2, logaddexp, logical_or, sin, trunc
from tgc.ops import creation
from tgc.ops import elementwise as e
from tgc.ops.arithmetic import (
    absolute,
    add,
    as_tensor,
    divide,
    elementwise_operands,
    equal,
    greater,
    greater_equal,
    less,
    multiply,
    negative,
    result_type,
    subtract,
    where,
)
from tgc.types import BOOL, C128, F64, I32, is_complex, is_float

__all__ = [
    "copysign", "fix", "float_power", "frexp", "isneginf", "isposinf", "ldexp", "logaddexp2", "modf", "nextafter",
    "signbit", "sinc", "spacing",
]  # fmt: skip


def copysign(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """|x1| with the sign of x2, that of zeros and NaN too."""
    return e.copysign(*real_operands("copysign", x1, x2))


def signbit(x: ArrayLike, /) -> Array:
    """Whether the sign of x is minus, that of zeros and NaN too."""
    x = as_array(x)
    if is_float(x.dtype):
        return less(e.copysign(creation.full_like(x, 1), x), 0)
    return creation.fill(x.shape, BOOL, False) if x.dtype == BOOL else less(x, 0)


def nextafter(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """The float that follows x1 on the way to x2; x2 where they are equal, NaN where one is NaN.

    By arithmetic: Rump, Zimmermann, Boldo and Melquiond, "Computing predecessor and successor in rounding to nearest"
    (BIT 2009). Its formula holds for normal numbers; small ones are scaled up by a power of two, and below twice the
    smallest normal number all floats are evenly spaced.
    """
    x, to = real_operands("nextafter", x1, x2)
    info = finfo(x.dtype)
    unit, tiny, least = float(info.eps) / 2, float(info.smallest_normal), float(info.smallest_subnormal)
    up = greater(to, x)

    def step(v: Array) -> Array:
        """The neighbour of a normal v that is far above the smallest one."""
        gap = multiply(absolute(v), unit * (1 + 2 * unit))
        return where(up, add(v, gap), subtract(v, gap))

    # A number whose distance to its neighbours could be rounded away is stepped where it is larger.
    scale = 2.0 / float(info.eps)
    near = where(up, add(x, least), subtract(x, least))
    small = divide(step(multiply(x, scale)), scale)
    out = where(less(absolute(x), 2 * tiny), near, where(less(absolute(x), tiny * scale), small, step(x)))
    largest = e.copysign(creation.full_like(x, float(info.max)), x)  # infinities have neighbours on one side
    out = where(isfinite(x), out, largest)
    return where(equal(x, to), to, where(logical_or(isnan(x), isnan(to)), math.nan, out))


def spacing(x: ArrayLike, /) -> Array:
    """The distance to the next float away from zero, with the sign of x; NaN for infinities."""
    x = as_real(x, "spacing")
    size = absolute(x)
    gap = copysign(subtract(nextafter(size, math.inf), size), x)
    return where(isfinite(x), gap, math.nan)


def ldexp(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """x1 * 2 ** x2 for integers x2, without overflow on the way."""
    power = as_array(x2)
    if power.dtype.kind not in "biu":
        raise DTypeError(f"ldexp: exponents must be integers, got {describe(power)}")
    x = as_real(x1, "ldexp")
    x, power = elementwise_operands((x, as_tensor(power, x.dtype)), x.dtype, "ldexp")
    reach = float(finfo(x.dtype).maxexp - 1)  # 2 ** reach is finite, and 2 ** -reach is normal
    for _ in range(3):  # from the smallest to beyond the largest number
        part = e.minimum(e.maximum(power, creation.full_like(x, -reach)), creation.full_like(x, reach))
        x, power = multiply(x, e.exp2(part)), subtract(power, part)
    return x


def frexp(x: ArrayLike, /) -> tuple[Array, Array]:
    """(mantissa, exponent): x = mantissa * 2 ** exponent with 0.5 <= |mantissa| < 1, exponent int32.

    Zeros, infinities and NaN are their own mantissa, with exponent 0.
    """
    x = as_real(x, "frexp")
    info = finfo(x.dtype)
    tiny = less(absolute(x), float(info.smallest_normal))
    shift = float(info.nmant + 1)
    size = absolute(where(tiny, multiply(x, 2.0**shift), x))
    odd = logical_or(equal(x, 0), ~isfinite(x))
    size = where(odd, 1.0, size)
    exponent = add(floor(log2(size)), 1)
    mantissa = ldexp(size, as_tensor(negative(exponent), I32))
    for beyond, by in ((greater_equal(mantissa, 1), 1.0), (less(mantissa, 0.5), -1.0)):  # log2 is rounded
        exponent = where(beyond, add(exponent, by), exponent)
        mantissa = where(beyond, multiply(mantissa, 2.0**-by), mantissa)
    exponent = where(odd, 0.0, where(tiny, subtract(exponent, shift), exponent))
    return where(odd, x, copysign(mantissa, x)), as_tensor(exponent, I32)


def modf(x: ArrayLike, /) -> tuple[Array, Array]:
    """(fraction, integer part), both floats with the sign of x."""
    x = as_real(x, "modf")
    whole = trunc(x)
    rest = where(isfinite(x), subtract(x, whole), where(isnan(x), x, 0.0))
    return copysign(rest, x), whole


def fix(x: ArrayLike, /) -> Array:
    """x without its fraction, in x's dtype."""
    return trunc(x)


def isposinf(x: ArrayLike, /) -> Array:
    """Whether x is positive infinity."""
    return equal(as_real(x, "isposinf"), math.inf)


def isneginf(x: ArrayLike, /) -> Array:
    """Whether x is negative infinity."""
    return equal(as_real(x, "isneginf"), -math.inf)


def sinc(x: ArrayLike, /) -> Array:
    """sin(pi x) / (pi x), 1 at zero, where its gradient is 0."""
    angle = multiply(as_inexact(x), math.pi)
    zero = equal(angle, 0)
    safe = where(zero, 1, angle)
    return where(zero, 1, divide(sin(safe), safe))


def logaddexp2(x: ArrayLike, y: ArrayLike, /) -> Array:
    """log2(2 ** x + 2 ** y) without overflow on the way."""
    x, y = real_operands("logaddexp2", x, y)
    return divide(logaddexp(multiply(x, math.log(2)), multiply(y, math.log(2))), math.log(2))


def float_power(x: ArrayLike, y: ArrayLike, /) -> Array:
    """x ** y in float64, or in complex128, whatever the dtypes."""
    dtype = C128 if is_complex(result_type(x, y)) else F64
    return e.power(*elementwise_operands((x, y), dtype, "float_power"))
