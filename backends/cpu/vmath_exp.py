"""Exponentials, logarithms, powers, hyperbolic functions and erf for `vmath`: float32, vectorizable; see there."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tgc.backends.cpu.vmath_ops import (
    Scalar,
    bits,
    clamp,
    constant,
    copysign,
    estrin,
    floor,
    fma,
    from_bits,
    fuses,
    narrow,
    polynomial,
    primitive,
    select,
    sqrt,
    to_float,
    widen,
)

f32 = primitive(np.float32)

_LOG2E, _LN2 = 1 / math.log(2), math.log(2)
# log(2) in two parts, by whether the target fuses. Of the first, so many multiples as float32 has powers of 2 leave an
# exact difference to numbers nearby: else they must have few bits themselves.
_LN2_PARTS = {True: (0.693147182, -1.90465432e-09), False: (0.693359375, -2.12194440e-4)}

_ROUND = 1.5 * 2**23  # adding it to a float32 leaves the nearest integer in the low bits
_ROUND_F64 = 1.5 * 2**52

_ROUND_F64_BITS = 0x4338 << 48
_EXPONENT, _EXPONENT_F64 = -1 << 23, -1 << 52  # sign and exponent fields
_TWO_THIRDS, _SQRT_HALF_F64 = 0x3F2AAAAB, 0x3FE6A09E667F3BCD  # bits of 2/3 (rounded up) and sqrt(1/2)
_LOG2E_HI, _LOG2E_LO = 1.44269502, 1.92596299e-08
_LOG10_2_HI, _LOG10_2_LO = 0.30103001, -1.43209e-08
_LOG10E_HI, _LOG10E_LO = 0.434294492, -1.01030501e-08

_EXP = (0.49999994, 0.166665211, 0.0416682586, 0.00836867001, 0.00138213183)
_EXPM1 = (0.49999997, 0.166665465, 0.041667439, 0.00836625881, 0.00138702244)
_EXP2 = (1.0, 0.693147182, 0.240226477, 0.0555035993, 0.00961850584, 0.00133908121, 0.000153264991)
_TANH = (-0.333332151, 0.133226886, -0.0512252748)
_SINH = (0.166666672, 0.00833317544, 0.000199740884)
_COSH = (0.5, 0.0416664593, 0.00139354519)
_LOG = (
    -0.5,
    0.333332151,
    -0.249998063,
    0.200104266,
    -0.166801959,
    0.14005734,
    -0.121874787,
    0.139845937,
    -0.128800467,
)
_LOG2 = (
    -0.721347511,
    0.480896711,
    -0.36067152,
    0.288686454,
    -0.240632698,
    0.202099636,
    -0.175933585,
    0.201588139,
    -0.185473844,
)
_LOG10 = (
    -0.217147246,
    0.144764289,
    -0.108572409,
    0.0869053677,
    -0.0724499375,
    0.0608091168,
    -0.0528454557,
    0.0608095266,
    -0.0562212951,
)
_ERF = (0.760368824, 0.0526632592, 0.0223574135, -1.37767001e-05, 4.56346279e-05, -9.60256693e-06, -1.14286047e-08)
_ERF_BELOW = (0.865649879, 0.430630773, 0.0986480266, 0.0133847464, 0.00113189733, 5.46318588e-05)
_EXP2_F64 = (
    1.0,
    0.6931471807045196,
    0.24022651066554374,
    0.05550410366024754,
    0.009618038132964883,
    0.001333393502472914,
    0.00015466756018850744,
    1.5196164773447812e-05,
)
_LOG_F64 = (
    0.6666666667577328,
    0.3999999563106987,
    0.28572108203394453,
    0.22176227550775496,
    0.19583607198753733,
)


def _less_multiples(x: Scalar, n: Scalar, part: float) -> Scalar:
    """Return x - n * log(2) * part, much less than x, for a power of 2 `part`."""
    high, low = _LN2_PARTS[fuses(x)]
    return fma(n, -low * part, fma(n, -high * part, x))


def _split_exp(x: Scalar, bias: int) -> tuple[Scalar, Scalar]:
    """Return (i, r) with x = n * log(2) + r and |r| <= log(2) / 2, where i holds n + bias in its low 9 bits."""
    shifted = fma(x, _LOG2E, _ROUND + bias)
    n = shifted - (_ROUND + bias)
    return bits(shifted), _less_multiples(x, n, 1)


def _power_of_2(i: Scalar) -> Scalar:
    """Return 2 ** (n - 127) where i holds n, from 1 to 254, in its low 9 bits."""
    return from_bits(i << 23)


def _scale(p: Scalar, i: Scalar) -> Scalar:
    """Return p * 2**n where i holds n + 254 in its low 9 bits: by two factors, for n goes from -150 to 128.

    A product too small for a normal number takes some processors a hundred cycles, even where it rounds to zero; so p
    had better be zero where that is known.
    """
    half = i >> 1
    return p * _power_of_2(half) * _power_of_2(i - half)


def _exp_near_0(r: Scalar) -> Scalar:
    """Return e**r for |r| <= log(2) / 2."""
    return fma(r * r, estrin(r, _EXP), r) + 1.0


@f32
def exp_f32(x: Scalar) -> Scalar:
    """Return e**x."""
    x = clamp(x, -104.0, 89.0)
    i, r = _split_exp(x, 254)
    return _scale(select(x <= -104.0, 0.0, _exp_near_0(r)), i)


@f32
def exp2_f32(x: Scalar) -> Scalar:
    """Return 2**x."""
    x = clamp(x, -151.0, 128.0)
    shifted = x + (_ROUND + 254)
    power = polynomial(x - (shifted - (_ROUND + 254)), _EXP2)
    return _scale(select(x <= -151.0, 0.0, power), bits(shifted))


@f32
def expm1_f32(x: Scalar) -> Scalar:
    """Return e**x - 1, accurately near zero."""
    i, r = _split_exp(clamp(x, -18.0, 89.0), 126)
    half = _power_of_2(i)  # 2**n / 2, which does not overflow
    return copysign(fma(fma(r * r, estrin(r, _EXPM1), r), half, half - 0.5) * 2.0, x)


@f32
def tanh_f32(x: Scalar) -> Scalar:
    """Return the hyperbolic tangent, by the addition theorem for |x| = n * log(2) / 2 + r.

    There tanh(n * log(2) / 2) = (2**n - 1) / (2**n + 1). r reaches from -1/4 to 3/4 of log(2) / 2, as for n = 1 and
    negative r the numerator loses accuracy.
    """
    a = clamp(abs(x), None, 10.0)
    shifted = fma(a, 2 * _LOG2E, -0.25) + (_ROUND + 127)
    n = shifted - (_ROUND + 127)
    r = _less_multiples(a, n, 1 / 2)
    z = r * r
    tanh_r = fma(r * z, polynomial(z, _TANH), r)
    power = _power_of_2(bits(shifted))
    minus, plus = power - 1.0, power + 1.0
    return copysign(fma(tanh_r, plus, minus) / fma(tanh_r, minus, plus), x)


@f32
def sigmoid_f32(x: Scalar) -> Scalar:
    """Return 1 / (1 + e**-x), without overflow or loss of accuracy for negative x.

    Numerator and denominator are divided by 2**24: e**-x overflows for no x whose result is not zero. Beyond 20 it adds
    nothing to 1.
    """
    i, r = _split_exp(clamp(-x, -20.0, 104.0), 127 - 24)
    e = _exp_near_0(r) * _power_of_2(i)
    return 2.0**-24 / (e + 2.0**-24)


def _sinh_cosh(x: Scalar) -> tuple[Scalar, Scalar]:
    """Return sinh(|x|) and cosh(x) in float64.

    With |x| = n * log(2) + r, by sinh(|x|) = sinh(n * log(2)) * cosh(r) + cosh(n * log(2)) * sinh(r) and its like.
    """
    a = clamp(widen(abs(x)), None, 100.0)
    shifted = fma(a, _LOG2E, _ROUND_F64 + 1022)
    r = fma(shifted - (_ROUND_F64 + 1022), -_LN2, a)
    up = bits(shifted) << 52  # of 2**n / 2
    down = (2 * 1022 << 52) - up  # of 2**-n / 2
    plus, minus = from_bits(up) + from_bits(down), from_bits(up) - from_bits(down)
    z = r * r
    sinh, cosh = fma(r * z, polynomial(z, _SINH), r), fma(z, polynomial(z, _COSH), 1.0)
    return fma(minus, cosh, plus * sinh), fma(plus, cosh, minus * sinh)


@f32
def sinh_f32(x: Scalar) -> Scalar:
    """Return the hyperbolic sine."""
    return copysign(narrow(_sinh_cosh(x)[0]), x)


@f32
def cosh_f32(x: Scalar) -> Scalar:
    """Return the hyperbolic cosine."""
    return narrow(_sinh_cosh(x)[1])


def _split_log(x: Scalar) -> tuple[Scalar, Scalar]:
    """Return (e, f) with x = 2**e * (1 + f), where f is in [-1/3, 1/3], for finite x > 0."""
    tiny = x < 2.0**-126
    i = bits(select(tiny, x * 2.0**23, x))
    e = (i - _TWO_THIRDS) & _EXPONENT
    return fma(to_float(e), 2.0**-23, select(tiny, constant(x, -23.0), 0.0)), from_bits(i - e) - 1.0


def _log_domain(x: Scalar, result: Scalar, pole: float = 0.0) -> Scalar:
    """Return `result` where it is meant: above the pole; there it is -inf, below it NaN, and x itself if inf or NaN."""
    result = select(x > pole, result, select(x == pole, constant(x, -math.inf), math.nan))
    return select(x < math.inf, result, x)


@f32
def log_f32(x: Scalar) -> Scalar:
    """Return the natural logarithm: -inf for zeros, NaN for negative numbers."""
    e, f = _split_log(x)
    return _log_domain(x, fma(e, _LN2, fma(f * f, estrin(f, _LOG), f)))


@f32
def log2_f32(x: Scalar) -> Scalar:
    """Return the logarithm to base 2, exact for powers of 2."""
    e, f = _split_log(x)
    return _log_domain(x, fma(f, _LOG2E_HI, fma(f * f, estrin(f, _LOG2), f * _LOG2E_LO)) + e)


@f32
def log10_f32(x: Scalar) -> Scalar:
    """Return the logarithm to base 10."""
    e, f = _split_log(x)
    low = fma(e, _LOG10_2_LO, fma(f * f, estrin(f, _LOG10), f * _LOG10E_LO))
    return _log_domain(x, fma(e, _LOG10_2_HI, fma(f, _LOG10E_HI, low)))


@f32
def log1p_f32(x: Scalar) -> Scalar:
    """Return log(1 + x), accurately near zero."""
    e = (bits(x + 1.0) - _TWO_THIRDS) & _EXPONENT
    scale = from_bits((129 << 23) - e)  # 4 / 2**e, so that it never is subnormal
    f = fma(x * scale, 0.25, fma(scale, 0.25, -1.0))
    result = fma(to_float(e), _LN2 * 2.0**-23, fma(f * f, estrin(f, _LOG), f))
    return _log_domain(x, copysign(result, x), -1.0)


@f32
def erf_f32(x: Scalar) -> Scalar:
    """Return the error function, by a rational approximation of erf(x) / x - 1/4.

    The quotient makes the lesser part of the sum where the sum is near 1, so that its rounding errors count less.
    """
    x = clamp(x, -4.0, 4.0)
    wide = x if fuses(x) else widen(x)  # products rounded by themselves would add up to 3 ulp
    z = wide * wide
    result = fma(wide, polynomial(z, _ERF) / polynomial(z, _ERF_BELOW), wide * 0.25)
    return result if fuses(x) else narrow(result)


@f32
def rsqrt_f32(x: Scalar) -> Scalar:
    """Return 1 / sqrt(x): infinities for zeros, NaN for negative numbers."""
    return 1.0 / sqrt(x)


def _split_log_f64(x: Scalar) -> tuple[Scalar, Scalar]:
    """Return (e, log(m)) with x = 2**e * m, for finite normal float64 x > 0; the logarithm's error is below 2**-44."""
    i = bits(x)
    e = (i - _SQRT_HALF_F64) & _EXPONENT_F64
    m = from_bits(i - e)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    shifted = (e >> 52) + _ROUND_F64_BITS
    return from_bits(shifted) - _ROUND_F64, fma(s * z, polynomial(z, _LOG_F64), s * 2.0)


def _log_f64(x: Scalar) -> Scalar:
    """Return log(x) for float64 x > 0; infinity and NaN stay."""
    e, log_m = _split_log_f64(x)
    return select(x < math.inf, fma(e, _LN2, log_m), x)


def _log2_f64(x: Scalar) -> Scalar:
    """Return log2(x) for float64 x >= 0; infinity and NaN stay."""
    e, log_m = _split_log_f64(x)
    return select(x < math.inf, select(x == 0.0, -math.inf, fma(log_m, _LOG2E, e)), x)


def _exp2_f64(x: Scalar) -> Scalar:
    """Return 2**x to float32 accuracy and range for float64 x, as float32."""
    x = clamp(x, -200.0, 200.0)
    shifted = x + (_ROUND_F64 + 1023)
    r = x - (shifted - (_ROUND_F64 + 1023))
    return narrow(polynomial(r, _EXP2_F64) * from_bits(bits(shifted) << 52))


@f32
def pow_f32(x: Scalar, y: Scalar) -> Scalar:
    """Return x**y as C99 does: 1 for y = 0 or x = 1 even beside NaN, NaN for finite x < 0 and y not an integer."""
    a = abs(x)
    half = y * 0.5
    integral = floor(y) == y
    odd = integral & (floor(half) != half)
    result = _exp2_f64(widen(y) * _log2_f64(widen(a)))
    result = select((bits(x) < 0) & odd, -result, result)
    result = select((x < 0.0) & (a < math.inf) & ~integral, math.nan, result)
    return select((y == 0.0) | (x == 1.0) | ((x == -1.0) & (abs(y) == math.inf)), 1.0, result)


@f32
def cbrt_f32(x: Scalar) -> Scalar:
    """Return the cube root, of the sign of x."""
    return copysign(_exp2_f64(_log2_f64(widen(abs(x))) * (1 / 3)), x)


def _odd(x: Scalar, cubic: float, function: Callable[[Scalar], Scalar]) -> Scalar:
    """Return x + cubic * x**3 near zero, elsewhere the odd function that is `function` in float64 for x > 0."""
    a = widen(abs(x))
    return copysign(narrow(select(a < 2.0**-10, fma(a * a, a * cubic, a), function(a))), x)


@f32
def asinh_f32(x: Scalar) -> Scalar:
    """Return the inverse hyperbolic sine."""
    return _odd(x, -1 / 6, lambda a: _log_f64(a + sqrt(fma(a, a, 1.0))))


@f32
def acosh_f32(x: Scalar) -> Scalar:
    """Return the inverse hyperbolic cosine, at least 0; NaN for x < 1."""
    a = widen(x)
    return narrow(select(a < 1.0, math.nan, _log_f64(a + sqrt(fma(a, a, -1.0)))))


@f32
def atanh_f32(x: Scalar) -> Scalar:
    """Return the inverse hyperbolic tangent: infinities for -1 and 1, NaN outside."""
    return _odd(x, 1 / 3, lambda a: select(a > 1.0, math.nan, _log_f64((a + 1.0) / (1.0 - a)) * 0.5))
