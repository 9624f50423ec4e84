"""Elementwise functions. All broadcast and promote their operands as NumPy 2 does (NEP 50).

Transcendental functions take integers and booleans to float64, 8-bit ones too (NumPy: float16). Those that are not
defined for complex numbers (`floor`, `maximum`, `less`, ...) raise a DTypeError.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tgc.errors import DTypeError
from tgc.numpy.base import Array, ArrayLike, as_array, as_inexact, as_real, describe, real_operands
from tgc.numpy.complexes import by_parts
from tgc.numpy.dtypes import finfo
from tgc.ops import creation
from tgc.ops import elementwise as e
from tgc.ops.arithmetic import (
    absolute,
    add,
    arctan2,
    as_tensor,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    divide,
    dtype_of,
    elementwise_operands,
    equal,
    floor_divide,
    greater,
    greater_equal,
    invert,
    left_shift,
    less,
    less_equal,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    positive,
    power,
    remainder,
    right_shift,
    subtract,
    where,
)
from tgc.ops.kinds import Elementwise
from tgc.types import BOOL, is_complex, is_inexact

__all__ = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "add",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "around",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "cbrt",
    "ceil",
    "clip",
    "cos",
    "cosh",
    "deg2rad",
    "degrees",
    "divide",
    "divmod",
    "equal",
    "exp",
    "exp2",
    "expm1",
    "fabs",

    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "greater",
    "greater_equal",
    "heaviside",
    "hypot",
    "invert",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",


    "left_shift",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",

    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "nan_to_num",
    "negative",
    "not_equal",
    "positive",
    "pow",
    "power",
    "rad2deg",
    "radians",
    "reciprocal",
    "remainder",
    "right_shift",
    "rint",
    "round",
    "sign",
    "sin",

    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
    "trunc", "where",
]  # fmt: skip

Unary = Callable[[Any], Any]


def _named(function: Unary, name: str, doc: str) -> Unary:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _inexact(op: Elementwise, name: str, doc: str) -> Unary:
    """A function of one real or complex variable."""

    def function(x: ArrayLike, /) -> Array:
        return op(as_inexact(x))

    return _named(function, name, doc)


def _rounding(op: Elementwise, name: str, doc: str) -> Unary:
    """A function that leaves integers as they are."""

    def function(x: ArrayLike, /) -> Array:
        x = as_array(x)
        return x if x.dtype.kind in "biu" else op(x)

    return _named(function, name, doc)


def _predicate(op: Elementwise, name: str, doc: str, *, exact: bool) -> Unary:
    """A question about floats and complex numbers; `exact` is the answer for all other dtypes."""

    def function(x: ArrayLike, /) -> Array:
        x = as_array(x)
        return op(x) if is_inexact(x.dtype) else creation.fill(x.shape, BOOL, exact)

    return _named(function, name, doc)


exp = _inexact(e.exp, "exp", "e ** x.")
exp2 = _inexact(e.exp2, "exp2", "2 ** x.")
expm1 = _inexact(e.expm1, "expm1", "e ** x - 1, accurate near 0.")
log = _inexact(e.log, "log", "Natural logarithm: -inf at 0, NaN below.")
log2 = _inexact(e.log2, "log2", "Logarithm to base 2.")
log10 = _inexact(e.log10, "log10", "Logarithm to base 10.")
log1p = _inexact(e.log1p, "log1p", "log(1 + x), accurate near 0.")
sqrt = _inexact(e.sqrt, "sqrt", "Square root, NaN below 0. Its slope at 0 is infinite.")
sin = _inexact(e.sin, "sin", "Sine of an angle in radians.")
cos = _inexact(e.cos, "cos", "Cosine of an angle in radians.")
tan = _inexact(e.tan, "tan", "Tangent of an angle in radians.")
arcsin = _inexact(e.asin, "arcsin", "The angle in [-pi/2, pi/2] whose sine is x.")
arccos = _inexact(e.acos, "arccos", "The angle in [0, pi] whose cosine is x.")
arctan = _inexact(e.atan, "arctan", "The angle in [-pi/2, pi/2] whose tangent is x.")
sinh = _inexact(e.sinh, "sinh", "Hyperbolic sine.")
cosh = _inexact(e.cosh, "cosh", "Hyperbolic cosine.")
tanh = _inexact(e.tanh, "tanh", "Hyperbolic tangent.")
arcsinh = _inexact(e.asinh, "arcsinh", "Inverse of sinh.")
arccosh = _inexact(e.acosh, "arccosh", "Inverse of cosh, not negative.")
arctanh = _inexact(e.atanh, "arctanh", "Inverse of tanh.")
rint = _inexact(e.round, "rint", "The nearest integer, halves to even.")
floor = _rounding(e.floor, "floor", "The largest integer that is not larger, in x's dtype.")
ceil = _rounding(e.ceil, "ceil", "The smallest integer that is not smaller, in x's dtype.")
trunc = _rounding(e.trunc, "trunc", "The integer part, in x's dtype.")
isnan = _predicate(e.is_nan, "isnan", "Whether x is NaN, in one part at least.", exact=False)
isinf = _predicate(e.is_inf, "isinf", "Whether x is an infinity, in one part at least.", exact=False)
isfinite = _predicate(e.is_finite, "isfinite", "Whether x is neither NaN nor an infinity.", exact=True)


cbrt = _inexact(e.cbrt, "cbrt", "Cube root, with the sign of x.")


def fabs(x: ArrayLike, /) -> Array:
    """|x| of real numbers as a float."""
    return e.absolute(as_real(x, "fabs"))


def sign(x: ArrayLike, /) -> Array:
    """-1, 0 or 1, of complex numbers x / |x|, NaN for NaN, in x's dtype."""
    return e.sign(as_array(x))


def square(x: ArrayLike, /) -> Array:
    """x * x."""
    x = as_array(x)
    return e.mul(x, x)


def reciprocal(x: ArrayLike, /) -> Array:
    """1 / x.

    Raises:
        DTypeError: x is boolean or of integers (NumPy returns the useless integer part for integers).
    """
    x = as_array(x)
    if not is_inexact(x.dtype):
        raise DTypeError(f"reciprocal({describe(x)}) needs floats; use divide(1, x)")
    return e.div(creation.full_like(x, 1), x)


def degrees(x: ArrayLike, /) -> Array:
    """Degrees of an angle in radians."""
    return multiply(as_real(x, "degrees"), 180 / math.pi)


def radians(x: ArrayLike, /) -> Array:
    """Radians of an angle in degrees."""
    return multiply(as_real(x, "radians"), math.pi / 180)


def round(a: ArrayLike, /, decimals: int = 0) -> Array:
    """`a` rounded to `decimals` places (of tens, hundreds, ... if negative), halves to even, in its dtype.

    Both parts of complex numbers are rounded.
    """
    a = as_array(a)
    if is_complex(a.dtype):
        return by_parts(lambda part: round(part, decimals), a)
    scale: Any = 10 ** (decimals if decimals > 0 else -decimals)
    if not is_inexact(a.dtype):
        if decimals >= 0 or a.dtype == BOOL:
            return a
        quotient, rest = divmod(a, scale)
        twice = subtract(subtract(scale, rest), rest)  # negative above the half
        up = logical_or(less(twice, 0), logical_and(equal(twice, 0), equal(remainder(quotient, 2), 1)))
        return multiply(add(quotient, as_tensor(up, a.dtype)), scale)
    if decimals == 0:
        return e.round(a)
    scale = float(scale)
    return divide(e.round(multiply(a, scale)), scale) if decimals > 0 else multiply(e.round(divide(a, scale)), scale)


def logical_not(x: ArrayLike, /) -> Array:
    """Whether x is zero or False."""
    return e.bit_not(truth(x))


def truth(x: ArrayLike) -> Array:
    """`x` as booleans: whether it is not zero."""
    return as_array(x) if dtype_of(x) == BOOL else not_equal(x, 0)


def _logical(op: Elementwise, name: str, doc: str) -> Callable[[Any, Any], Any]:
    def function(x: ArrayLike, y: ArrayLike, /) -> Array:
        return op(*elementwise_operands((truth(x), truth(y)), BOOL))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


logical_and = _logical(e.bit_and, "logical_and", "Whether both are true (not zero).")
logical_or = _logical(e.bit_or, "logical_or", "Whether one is true (not zero).")
logical_xor = _logical(e.bit_xor, "logical_xor", "Whether exactly one is true (not zero).")


def clip(
    a: ArrayLike,
    /,
    min: ArrayLike | None = None,
    max: ArrayLike | None = None,
    *,
    a_min: ArrayLike | None = None,
    a_max: ArrayLike | None = None,
) -> Array:
    """`a` limited to [min, max], NumPy's older names of which are `a_min` and `a_max`.

    None sets no limit; the upper limit wins where the two cross.
    """
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    a = as_array(a) if low is None and high is None else a
    a = a if low is None else maximum(a, low)
    return a if high is None else minimum(a, high)


def fmax(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The larger of two; NaN only if both are."""
    return where(isnan(x), y, where(isnan(y), x, maximum(x, y)))


def fmin(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The smaller of two; NaN only if both are."""
    return where(isnan(x), y, where(isnan(y), x, minimum(x, y)))


def fmod(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The remainder of x / y rounded towards zero: it has the sign of x."""
    x, y = elementwise_operands((x, y))
    if not is_inexact(x.dtype):  # the least integer has no absolute value
        rest = remainder(x, y)
        other = logical_and(not_equal(rest, 0), logical_xor(less(x, 0), less(y, 0)))
        return where(other, subtract(rest, y), rest)
    rest = remainder(absolute(x), absolute(y))
    return where(less(x, 0), negative(rest), rest)


def heaviside(x: ArrayLike, at_zero: ArrayLike, /) -> Array:
    """0 below zero, `at_zero` at zero, 1 above, NaN for NaN; ints become float64."""
    x, at_zero = real_operands("heaviside", x, at_zero)
    return where(equal(x, 0), at_zero, where(isnan(x), x, as_tensor(greater(x, 0), x.dtype)))


def hypot(x: ArrayLike, y: ArrayLike, /) -> Array:
    """sqrt(x * x + y * y) without overflow on the way; its gradient at the origin is 0."""
    x, y = (absolute(v) for v in real_operands("hypot", x, y))
    high, low = maximum(x, y), minimum(x, y)
    infinite = logical_or(isinf(x), isinf(y))
    ratio = divide(low, where(logical_or(equal(high, 0), infinite), 1, high))
    return where(infinite, math.inf, multiply(high, sqrt(add(multiply(ratio, ratio), 1))))


def logaddexp(x: ArrayLike, y: ArrayLike, /) -> Array:
    """log(e ** x + e ** y) without overflow on the way."""
    x, y = real_operands("logaddexp", x, y)
    # Where x == y both gradients must be 1/2: the maximum hands its cotangent to x, so the minimum is one of (y, x).
    high, low = maximum(x, y), minimum(y, x)
    gap = where(isinf(high), 0, subtract(low, high))
    return add(high, log1p(exp(gap)))


def divmod(x: ArrayLike, y: ArrayLike, /) -> tuple[Array, Array]:
    """(floor(x / y), what remains)."""
    return floor_divide(x, y), remainder(x, y)


def nan_to_num(x: ArrayLike, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Array:
    """NaN and infinities replaced, these by the extreme finite numbers of x's dtype unless given.

    In both parts of complex numbers.
    """
    x = as_array(x)
    if is_complex(x.dtype):
        return by_parts(lambda part: nan_to_num(part, nan, posinf, neginf), x)
    if not is_inexact(x.dtype):
        return x
    info = finfo(x.dtype)
    x = where(isnan(x), nan, x)
    x = where(equal(x, math.inf), float(info.max) if posinf is None else posinf, x)
    return where(equal(x, -math.inf), float(info.min) if neginf is None else neginf, x)


def isclose(a: ArrayLike, b: ArrayLike, rtol: float = 1e-5, atol: float = 1e-8, *, equal_nan: bool = False) -> Array:
    """Whether |a - b| <= atol + rtol * |b|; infinities are close to themselves, NaN only with `equal_nan`."""
    bound = add(multiply(absolute(b), rtol), atol)
    near = where(isfinite(b), less_equal(absolute(subtract(a, b)), bound), equal(a, b))
    return logical_or(near, logical_and(isnan(a), isnan(b))) if equal_nan else near


abs = absolute
acos, asin, atan, acosh, asinh, atanh, atan2 = arccos, arcsin, arctan, arccosh, arcsinh, arctanh, arctan2
bitwise_invert = bitwise_not = invert
bitwise_left_shift, bitwise_right_shift = left_shift, right_shift
deg2rad, rad2deg = radians, degrees
mod, pow, true_divide = remainder, power, divide
around = round
