"""Functions of single elements."""

from __future__ import annotations

import functools
from typing import Any

from keras.src.backend.common import dtypes, standardize_dtype

from tgc import numpy as tnp
from tgc.frontends.keras.ops.promotion import COUNTED, converted, floating, promote, promoted
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor

__all__ = [
    "abs", "absolute", "add", "allclose", "angle", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2",
    "arctanh", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "cbrt", "ceil", "clip", "conj", "conjugate", "copy", "cos", "cosh", "deg2rad",
    "divide", "divide_no_nan", "equal", "exp", "exp2", "expm1", "fabs", "floor", "floor_divide", "fmax", "fmin", "fmod",
    "gcd", "greater", "greater_equal", "heaviside", "hypot", "i0", "imag", "isclose", "isfinite", "isinf", "isnan",
    "isneginf", "isposinf", "isreal", "lcm", "ldexp", "left_shift", "less", "less_equal", "log", "log1p", "log2",
    "log10", "logaddexp", "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum",
    "mod", "multiply", "nan_to_num", "negative", "nextafter", "not_equal", "power", "rad2deg", "real", "reciprocal",
    "right_shift", "round", "select", "sign", "signbit", "sin", "sinc", "sinh", "sqrt", "square", "subtract", "tan",
    "tanh", "true_divide", "trunc", "where",
]  # fmt: skip

# Of floats: integers become floatx.
angle = floating(tnp.angle, parameters="x")
arccos = floating(tnp.arccos)
arccosh = floating(tnp.arccosh)
arcsin = floating(tnp.arcsin)
arcsinh = floating(tnp.arcsinh)
arctan = floating(tnp.arctan)
arctanh = floating(tnp.arctanh)
cbrt = floating(tnp.cbrt)
ceil = floating(tnp.ceil)
cos = floating(tnp.cos)
cosh = floating(tnp.cosh)
deg2rad = floating(tnp.deg2rad)
exp = floating(tnp.exp)
exp2 = floating(tnp.exp2)
expm1 = floating(tnp.expm1)
fabs = floating(tnp.fabs)
floor = floating(tnp.floor)
i0 = floating(tnp.i0)
log = floating(tnp.log)
log10 = floating(tnp.log10)
log1p = floating(tnp.log1p)
log2 = floating(tnp.log2)
rad2deg = floating(tnp.rad2deg)
reciprocal = floating(tnp.reciprocal)
sin = floating(tnp.sin)
sinc = floating(tnp.sinc)
sinh = floating(tnp.sinh)
sqrt = floating(tnp.sqrt)
tan = floating(tnp.tan)
tanh = floating(tnp.tanh)

arctan2 = floating(tnp.arctan2, 2)
divide = true_divide = floating(tnp.divide, 2)
heaviside = floating(tnp.heaviside, 2)
hypot = floating(tnp.hypot, 2)
logaddexp = floating(tnp.logaddexp, 2)
logaddexp2 = floating(tnp.logaddexp2, 2)
nextafter = floating(tnp.nextafter, 2)

# In the dtype of the operand.
absolute = abs = converted(tnp.absolute)
bitwise_invert = bitwise_not = converted(tnp.bitwise_invert)
conjugate = conj = converted(tnp.conj)
copy = converted(tnp.copy)
imag = converted(tnp.imag)
nan_to_num = converted(tnp.nan_to_num)
negative = converted(tnp.negative)
real = converted(tnp.real)
round = converted(tnp.round)
sign = converted(tnp.sign)
square = promoted(tnp.square, 1, instead=COUNTED)
trunc = converted(tnp.trunc)

# Booleans.
isfinite = converted(tnp.isfinite)
isinf = converted(tnp.isinf)
isnan = converted(tnp.isnan)
isneginf = converted(tnp.isneginf)
isposinf = converted(tnp.isposinf)
isreal = converted(tnp.isreal)
logical_not = converted(tnp.logical_not)
signbit = converted(tnp.signbit)
logical_and = converted(tnp.logical_and, 2)
logical_or = converted(tnp.logical_or, 2)
logical_xor = converted(tnp.logical_xor, 2)

# In the dtype in which the operands meet.
add = promoted(tnp.add)
bitwise_and = promoted(tnp.bitwise_and, parameters="x, y")
bitwise_left_shift = left_shift = promoted(tnp.left_shift, parameters="x, y")
bitwise_or = promoted(tnp.bitwise_or, parameters="x, y")
bitwise_right_shift = right_shift = promoted(tnp.right_shift, parameters="x, y")
bitwise_xor = promoted(tnp.bitwise_xor, parameters="x, y")
equal = promoted(tnp.equal)
floor_divide = promoted(tnp.floor_divide)
fmax = promoted(tnp.fmax)
fmin = promoted(tnp.fmin)
fmod = promoted(tnp.fmod, instead=COUNTED)
gcd = promoted(tnp.gcd)
greater = promoted(tnp.greater)
greater_equal = promoted(tnp.greater_equal)
lcm = promoted(tnp.lcm)
less = promoted(tnp.less)
less_equal = promoted(tnp.less_equal)
maximum = promoted(tnp.maximum)
minimum = promoted(tnp.minimum)
mod = promoted(tnp.mod, instead=COUNTED)
multiply = promoted(tnp.multiply)
not_equal = promoted(tnp.not_equal)
power = promoted(tnp.power)
subtract = promoted(tnp.subtract)


@functools.partial(floating, operands=2)
def divide_no_nan(x1: Tensor, x2: Tensor) -> Tensor:
    """x1 / x2, and 0 where x2 is 0; so are the gradients there."""
    zero = tnp.equal(x2, 0)
    return tnp.where(zero, 0, tnp.divide(x1, tnp.where(zero, 1, x2)))


def ldexp(x1: Any, x2: Any) -> Tensor:
    """x1 * 2 ** x2, of an integer x2.

    Raises:
        TypeError: x2 is no integer.
    """
    x1, x2 = convert_to_tensor(x1), convert_to_tensor(x2)
    if standardize_dtype(x2.dtype) not in dtypes.INT_TYPES:
        raise TypeError(f"ldexp exponent must be an integer type. Received: x2 dtype={x2.dtype}")
    (significand,) = promote(x1, meets=(float,))
    return tnp.ldexp(significand, x2)


def clip(x: Any, x_min: Any, x_max: Any) -> Tensor:
    """`x` limited to [x_min, x_max], in its dtype; booleans become int32."""
    (x,) = promote(convert_to_tensor(x), instead=COUNTED)
    return cast(tnp.clip(x, x_min, x_max), x.dtype)


@functools.partial(floating, operands=2)
def isclose(x1: Tensor, x2: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether |x1 - x2| <= atol + rtol * |x2|."""
    return tnp.isclose(x1, x2, rtol, atol, equal_nan=equal_nan)


def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether all elements are close (see `isclose`)."""
    return tnp.all(isclose(x1, x2, rtol, atol, equal_nan))


def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """x1 where the condition holds, else x2; of a condition alone, the int32 coordinates of where it does."""
    condition = convert_to_tensor(condition)
    if x1 is None or x2 is None:
        return tuple(cast(place, "int32") for place in tnp.nonzero(condition))
    return tnp.where(condition, *promote(x1, x2))


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Tensor:
    """Elements of the first of `choicelist` whose condition holds, else the default."""
    *choices, default = promote(*choicelist, default)
    return tnp.select([convert_to_tensor(c) for c in condlist], choices, default)
