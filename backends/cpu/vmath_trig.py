"""Trigonometric functions for `vmath`: float32, in radians, at most 2 ulp off, vectorizable; see there."""

from __future__ import annotations

import math

import numpy as np

from tgc.backends.cpu.vmath_ops import (
    Scalar,
    bits,
    copysign,
    fma,
    from_bits,
    lookup,
    narrow,
    polynomial,
    primitive,
    select,
    sqrt,
    widen,
)

f32 = primitive(np.float32)

# 2 / pi, the first 256 bits after the binary point.
_TWO_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561
_HEAD_BITS = 29  # such that float32 times head is exact in float64


def _reduction_tables() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return head and tail of 2 / pi without its leading j bits, for j = 0 ... 103."""
    heads, tails = [], []
    for dropped in range(104):
        rest = 256 - dropped - _HEAD_BITS
        remainder = _TWO_OVER_PI & ((1 << (256 - dropped)) - 1)
        heads.append(math.ldexp(remainder >> rest, rest - 256))
        tails.append(math.ldexp(remainder & ((1 << rest) - 1), -256))
    return tuple(heads), tuple(tails)


_HEADS, _TAILS = _reduction_tables()
_ROUND = 1.5 * 2**52  # adding it to a float64 leaves the nearest integer in the low bits

_SIN = (-0.166666552, 0.00833218917, -0.000195182889)
_COS = (0.0416666456, -0.00138873095, 2.44323273e-05)
_TAN = (0.333333492, 0.133326754, 0.0540589131, 0.0212862082, 0.0108274436, 9.82469428e-05, 0.00437269546)
_ASIN = (0.166667521, 0.0749530941, 0.0454691537, 0.0241847429, 0.0421583876)
_ATAN = (
    -0.333332986,
    0.199985296,
    -0.142640159,
    0.109508798,
    -0.0839929953,
    0.057881169,
    -0.0310966559,
    0.010868459,
    -0.00178276433,
)
_HALF_PI_HI, _HALF_PI_LO = 1.57079637, -4.37113883e-08


def _reduce(x: Scalar) -> tuple[Scalar, Scalar]:
    """Return (q, r) with x = q * pi/2 + r modulo 2 pi and |r| <= pi/4, for x >= 0; r is float64.

    Payne and Hanek's reduction: x = m * 2**k with an integer m, so those bits of 2/pi that make multiples of four with
    2**k are dropped, by table, and the product with the next 82 bits is accurate to 2**-57.
    """
    index = (bits(x) >> 23) - 152
    index = select(index < 0, 0, index)
    head, tail = lookup("two_over_pi.head", _HEADS, index), lookup("two_over_pi.tail", _TAILS, index)
    x = widen(x)
    product = x * head
    shifted = fma(x, tail, product) + _ROUND
    turns = fma(x, tail, product - (shifted - _ROUND))
    return narrow(bits(shifted)), turns * (math.pi / 2)


def _sin(x: Scalar, quarter: int) -> Scalar:
    """Return sin(|x| + quarter * pi/2)."""
    q, r = _reduce(abs(x))
    q, r = q + quarter, narrow(r)
    z = r * r
    sine = fma(r * z, polynomial(z, _SIN), r)
    cosine = fma(fma(z, polynomial(z, _COS), -0.5), z, 1.0)
    return from_bits(bits(select((q & 1) == 0, sine, cosine)) ^ ((q & 2) << 30))


@f32
def sin_f32(x: Scalar) -> Scalar:
    """Return the sine; NaN for infinities."""
    return from_bits(bits(_sin(x, 0)) ^ (bits(x) & -0x80000000))


@f32
def cos_f32(x: Scalar) -> Scalar:
    """Return the cosine; NaN for infinities."""
    return _sin(x, 1)


@f32
def tan_f32(x: Scalar) -> Scalar:
    """Return the tangent; NaN for infinities."""
    q, r = _reduce(abs(x))
    z = r * r  # float64 still: near poles the error of r would grow
    tangent = fma(r * z, polynomial(z, _TAN), r)
    tangent = narrow(select((q & 1) == 0, tangent, -1.0 / tangent))
    return from_bits(bits(tangent) ^ (bits(x) & -0x80000000))


def _asin(a: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Return (far, s, asin(s)) for a = |x|, where s = a, or sqrt((1 - a) / 2) where a is far from 0."""
    far = a > 0.5
    z = select(far, fma(a, -0.5, 0.5), a * a)
    s = select(far, sqrt(z), a)
    return far, s, fma(s * z, polynomial(z, _ASIN), s)


@f32
def asin_f32(x: Scalar) -> Scalar:
    """Return the arc sine, in [-pi/2, pi/2]; NaN outside [-1, 1]."""
    far, _, angle = _asin(abs(x))
    return copysign(select(far, fma(angle, -2.0, _HALF_PI_HI), angle), x)


@f32
def acos_f32(x: Scalar) -> Scalar:
    """Return the arc cosine, in [0, pi]; NaN outside [-1, 1]."""
    far, _, angle = _asin(abs(x))
    near = _HALF_PI_HI - (copysign(angle, x) - _HALF_PI_LO)
    return select(far, select(x < 0, fma(angle, -2.0, 2 * _HALF_PI_HI), angle * 2.0), near)


def _atan(t: Scalar) -> Scalar:
    z = t * t
    return fma(t * z, polynomial(z, _ATAN), t)


@f32
def atan_f32(x: Scalar) -> Scalar:
    """Return the arc tangent, in [-pi/2, pi/2]."""
    a = abs(x)
    steep = a > 1.0
    angle = _atan(select(steep, 1.0, a) / select(steep, a, 1.0))
    return copysign(select(steep, _HALF_PI_HI - (angle - _HALF_PI_LO), angle), x)


@f32
def atan2_f32(y: Scalar, x: Scalar) -> Scalar:
    """Return the angle of the point (x, y), in [-pi, pi], with C99's results for zeros and infinities."""
    a, b = abs(y), abs(x)
    steep = a > b
    low, high = select(steep, b, a), select(steep, a, b)
    ratio = select(low == high, select(low == 0.0, low, 1.0), low / high)
    angle = _atan(ratio)
    angle = select(steep, _HALF_PI_HI - (angle - _HALF_PI_LO), angle)
    angle = select(bits(x) < 0, 2 * _HALF_PI_HI - (angle - 2 * _HALF_PI_LO), angle)
    return copysign(angle, y)
