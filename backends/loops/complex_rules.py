"""Scalar primitives of complex numbers, as formulas of their real and imaginary parts.

Branch cuts, signs of zeros, infinities and NaN follow C99's Annex G, as NumPy's functions do: W. Kahan, "Branch cuts
for complex elementary functions, or much ado about nothing's sign bit", 1987. Nothing overflows or underflows on the
way to a result that does not. Formulas have no branches, so that loops around them vectorize. Departures from NumPy:
powers of infinities are not products. As in NumPy, parts of products and quotients of infinities may be NaN.

A complex expression is a pair of real ones, `complex(re, im)`, or has `real` and `imag` parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from tgc.backends.loops.ir import Apply, Expr
from tgc.backends.loops.real import (
    Number,
    Real,
    asinh,
    atan2,
    constant,
    copysign,
    cos,
    cosh,
    exp,
    exp2,
    expm1,
    is_finite,
    is_inf,
    is_nan,
    log,
    log1p,
    maximum,
    select,
    sin,
    sinh,
    sqrt,
    tan,
)
from tgc.types import C64, C128, F32, DType, real_dtype

Parts: TypeAlias = tuple[Real, Real]
RULES: dict[str, Callable[..., Any]] = {}


def pair(re: Expr, im: Expr) -> Expr:
    """The complex number of two real ones."""
    return Apply("complex", (re, im), C64 if re.dtype == F32 else C128)


def real(z: Expr) -> Expr:
    """The real part."""
    return _part("real", 0, z)


def imag(z: Expr) -> Expr:
    """The imaginary part."""
    return _part("imag", 1, z)


def _part(name: str, k: int, z: Expr) -> Expr:
    if isinstance(z, Apply) and z.primitive == "complex":
        return z.operands[k]
    return Apply(name, (z,), real_dtype(z.dtype))


class Complex:
    """The primitives, on expressions; `s` has those of real numbers."""

    def __init__(self, s: Any) -> None:
        self.s = s

    def rule(self, name: str) -> Callable[..., Expr] | None:
        """The primitive of that name, None if it is not defined for complex numbers."""
        return partial(RULES[name], self.s) if name in RULES else None

    def cast(self, z: Expr, dtype: DType) -> Expr:
        """To another complex dtype, or to that of a part: of the real one, and of both for booleans."""
        s, (re, im) = self.s, (real(z), imag(z))
        if dtype.kind == "c":
            return pair(s.cast(re, real_dtype(dtype)), s.cast(im, real_dtype(dtype)))
        result: Expr = s.bit_or(s.cast(re, dtype), s.cast(im, dtype)) if dtype.kind == "b" else s.cast(re, dtype)
        return result


def _rule(f: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function of real and imaginary parts that returns such parts, or one real number."""

    def rule(s: Any, *operands: Expr) -> Expr:
        made = f(*(Real(x) for z in operands for x in (real(z), imag(z))))
        return pair(made[0].x, made[1].x) if isinstance(made, tuple) else made.x

    RULES[f.__name__.strip("_")] = rule
    return f


def _by_parts(name: str) -> Callable[..., Expr]:
    """A primitive that acts on real and imaginary parts alike."""

    def rule(s: Any, *zs: Expr) -> Expr:
        return pair(*(getattr(s, name)(*map(part, zs)) for part in (real, imag)))

    return rule


def _of_parts(name: str, joined: str) -> Callable[..., Expr]:
    """A predicate of the parts, joined to one of the whole."""

    def rule(s: Any, *zs: Expr) -> Expr:
        return getattr(s, joined)(*(getattr(s, name)(*map(part, zs)) for part in (real, imag)))  # type: ignore[no-any-return]

    return rule


RULES |= {name: _by_parts(name) for name in ("add", "sub", "neg", "round")}
RULES |= {name: _of_parts(name, "bit_and") for name in ("eq", "is_finite")}
RULES |= {name: _of_parts(name, "bit_or") for name in ("ne", "is_nan", "is_inf")}
RULES |= {
    "complex": lambda s, re, im: pair(re, im),
    "real": lambda s, z: real(z),
    "imag": lambda s, z: imag(z),
    "conj": lambda s, z: pair(real(z), s.neg(imag(z))),
    "select": lambda s, c, x, y: pair(s.select(c, real(x), real(y)), s.select(c, imag(x), imag(y))),
}


def _single(x: Real) -> bool:
    return x.dtype == F32


# --------------------------------------------------------------------------------------------- magnitude, quotients


def _magnitude(x: Real, y: Real) -> tuple[Real, Real, Callable[[float], Real]]:
    """|x + iy| * 2**k, 2**k, and 2**(k * power) as a function of the power; k brings extreme numbers near 1.

    An infinite part makes the magnitude infinite, whatever the other is.
    """
    limit, up, down = (2.0**60, 90, -80) if _single(x) else (2.0**500, 600, -540)
    m = maximum(abs(x), abs(y))

    def scale(power: float) -> Real:
        return select(m > limit, 2.0 ** (down * power), select(m < 1 / limit, 2.0 ** (up * power), constant(1, x)))

    a, b = x * scale(1), y * scale(1)
    return select(is_inf(x) | is_inf(y), constant(math.inf, x), sqrt(a * a + b * b)), scale(1), scale


@_rule
def _abs(x: Real, y: Real) -> Real:
    magnitude, _, scale = _magnitude(x, y)
    return magnitude * scale(-1)


@_rule
def _sign(x: Real, y: Real) -> Parts:
    """z / |z|, 0 for 0; where one part alone is infinite, the point on its axis."""
    magnitude, scale, _ = _magnitude(x, y)
    none = magnitude.equals(0)
    size = select(none, 1, magnitude)

    def part(a: Real, b: Real) -> Real:
        finite = select(none, 0, a * scale / size)
        one = select(is_inf(a), copysign(constant(1, a), a), select(is_inf(b), 0, finite))
        return select(is_inf(a) & is_inf(b), constant(math.nan, a), one)

    return part(x, y), part(y, x)


@_rule
def _mul(a: Real, b: Real, c: Real, d: Real) -> Parts:
    return a * c - b * d, a * d + b * c


@_rule
def _div(a: Real, b: Real, c: Real, d: Real) -> Parts:
    """R. L. Smith, "Algorithm 116: Complex division", 1962, with both operands scaled by powers of two."""
    limit, most = (2.0**100, 2.0**126) if _single(a) else (2.0**900, 2.0**1022)
    size = maximum(abs(c), abs(d))
    scale = select(size > limit, 1 / limit, select(size < 1 / limit, constant(limit, c), 1))
    large = maximum(abs(a), abs(b)) > most
    shrink = select(large, 0.25, constant(1, a))
    a, b, c, d = a * shrink, b * shrink, c * scale, d * scale
    none, plain = size.equals(0), abs(c) >= abs(d)
    high, low = select(plain, c, d), select(plain, d, c)
    ratio = select(none, 0, low / select(none, 1, high))
    below = select(none, abs(high), high + low * ratio)
    re = select(plain, a + b * ratio, a * ratio + b)
    im = select(plain, b - a * ratio, b * ratio - a)
    back = scale * select(large, 4, constant(1, a))
    return select(none, a, re) / below * back, select(none, b, im) / below * back


@_rule
def _sqrt(x: Real, y: Real) -> Parts:
    """The root with a real part that is not negative; the sign of y decides on the cut along the negative axis."""
    magnitude, factor, scale = _magnitude(x, y)
    large = sqrt((abs(x) * factor + magnitude) * 0.5)
    small = abs(y) * factor / select(large.equals(0), 1, large * 2)
    back = scale(-0.5)
    right = x >= 0
    re, im = select(right, large, small) * back, copysign(select(right, small, large) * back, y)
    return select(is_inf(y), abs(y), re), select(is_inf(y), y, im)


@_rule
def _rsqrt(x: Real, y: Real) -> Parts:
    re, im = _sqrt(x, y)
    quotient: Parts = _div(constant(1, x), constant(0, x), re, im)
    return quotient


# ------------------------------------------------------------------------------------------ exponentials, logarithms


def _growth(power: Callable[[Real], Real], most: float, x: Real, angle: Real) -> Parts:
    """power(x) * (cos(angle), sin(angle)), in two factors where power(x) might overflow and the result might not."""
    big = x > most
    first = power(select(big, x * 0.5, x))
    second = select(big, first, 1)
    re, im = first * cos(angle) * second, first * sin(angle) * second
    lost = ~is_finite(angle)
    gone = lost & x.equals(-math.inf)
    return select(lost & is_inf(x), first, re), select(angle.equals(0), angle, select(gone, 0, im))


@_rule
def _exp(x: Real, y: Real) -> Parts:
    return _growth(exp, 80 if _single(x) else 700, x, y)


@_rule
def _exp2(x: Real, y: Real) -> Parts:
    return _growth(exp2, 120 if _single(x) else 1000, x, y * math.log(2))


@_rule
def _expm1(x: Real, y: Real) -> Parts:
    """e**x cos(y) - 1 = (e**x - 1) cos(y) - 2 sin(y/2)**2."""
    re, im = _exp(x, y)
    half = sin(y * 0.5)
    near = expm1(x) * cos(y) - half * half * 2
    return select((x < 1) & is_finite(y), near, re - 1), im


def _square(x: Real) -> Parts:
    """x * x and its rounding error. T. J. Dekker, "A floating-point technique for extending ...", 1971."""
    product = x * x
    split = x * (2.0**12 + 1 if _single(x) else 2.0**27 + 1)
    high = split - (split - x)
    low = x - high
    return product, ((high * high - product) + high * low * 2) + low * low


def _sum(x: Number, y: Real) -> Parts:
    """x + y and its rounding error. D. E. Knuth, TAOCP vol. 2, 4.2.2."""
    total = x + y
    back = total - x
    return total, (x - (total - back)) + (y - back)


def _log1p_sum(first: Number, x: Real, y: Real) -> Real:
    """log(1 + first + x*x + y*y) / 2, the sum in twice the precision since it may cancel."""
    (xx, ex), (yy, ey) = _square(x), _square(y)
    high, low = select(xx > yy, xx, yy), select(xx > yy, yy, xx)
    one, e1 = _sum(first, high)
    two, e2 = _sum(one, low)
    return log1p(two + (e2 + e1 + (ex + ey))) * 0.5


def _log_magnitude(x: Real, y: Real) -> Real:
    """log|x + iy|, accurate near the unit circle too."""
    magnitude, factor, _ = _magnitude(x, y)
    near = factor.equals(1) & (magnitude > 0.5) & (magnitude < 2)
    return select(near, _log1p_sum(-1, x, y), log(magnitude) - log(factor))


@_rule
def _log(x: Real, y: Real) -> Parts:
    return _log_magnitude(x, y), atan2(y, x)


@_rule
def _log2(x: Real, y: Real) -> Parts:
    return _log_magnitude(x, y) * (1 / math.log(2)), atan2(y, x) * (1 / math.log(2))


@_rule
def _log10(x: Real, y: Real) -> Parts:
    return _log_magnitude(x, y) * (1 / math.log(10)), atan2(y, x) * (1 / math.log(10))


@_rule
def _log1p(x: Real, y: Real) -> Parts:
    magnitude = _abs(x + 1, y)
    near = (magnitude > 0.5) & (magnitude < 2)
    return select(near, _log1p_sum(x * 2, x, y), _log_magnitude(x + 1, y)), atan2(y, x + 1)


@_rule
def _pow(a: Real, b: Real, c: Real, d: Real) -> Parts:
    """e**(w log z); 0 to a power with a positive real part is 0, anything to the power 0 is 1."""
    size, angle = _log_magnitude(a, b), atan2(b, a)
    none, one = a.equals(0) & b.equals(0), c.equals(0) & d.equals(0)
    exponent: Parts = _mul(select(none, 0, size), angle, c, d)
    re, im = _exp(*exponent)
    at_zero = select(c > 0, constant(0, a), math.nan)
    return select(one, 1, select(none, at_zero, re)), select(one, 0, select(none, at_zero, im))


# ----------------------------------------------------------------------------- trigonometric and hyperbolic functions


def _sinh_cosh(x: Real, y: Real, c: Real, s: Real) -> Parts:
    """sinh(x) * c and cosh(x) * s, which may be finite where sinh(x) is not."""
    far = abs(x) > (80 if _single(x) else 700)
    first = exp(select(far, abs(x) * 0.5, 0))
    near_c, near_s = sinh(x) * c, cosh(x) * s
    far_c, far_s = (first * 0.5 * v * first for v in (copysign(constant(1, x), x) * c, s))
    return select(far, far_c, near_c), select(far, far_s, near_s)


@_rule
def _sinh(x: Real, y: Real) -> Parts:
    re, im = _sinh_cosh(x, y, cos(y), sin(y))
    lost = ~is_finite(y) & (x.equals(0) | is_inf(x))
    return select(lost, x, re), select(y.equals(0), y, im)


@_rule
def _cosh(x: Real, y: Real) -> Parts:
    im, re = _sinh_cosh(x, y, sin(y), cos(y))
    lost = ~is_finite(y)
    im = select(y.equals(0), y * copysign(constant(1, x), x), select(lost & x.equals(0), 0, im))
    return select(lost & is_inf(x), abs(x), re), im


@_rule
def _tanh(x: Real, y: Real) -> Parts:
    """Kahan's, with s = sinh(x), t = tan(y): (s sqrt(1 + s*s) (1 + t*t) + i t) / (1 + (1 + t*t) s*s)."""
    t, s = tan(y), sinh(x)
    beta, rho = t * t + 1, cosh(x)
    below = beta * s * s + 1
    decay = exp(-abs(x))
    far = abs(x) > (11 if _single(x) else 22)
    flat = is_inf(x) & ~is_finite(y)
    re = select(far, copysign(constant(1, x), x), select(x.equals(0), x, beta * rho * s / below))
    im = select(far, t / beta * 4 * decay * decay, t / below)
    im = select(flat, copysign(constant(0, y), y), im)
    lost = ~is_finite(y) & is_finite(x)
    im = select(lost, math.nan, im)
    return select(lost & ~x.equals(0), math.nan, re), select(y.equals(0), y, im)


@_rule
def _sin(x: Real, y: Real) -> Parts:
    """-i sinh(iz)."""
    re, im = _sinh(-y, x)
    return im, -re


@_rule
def _cos(x: Real, y: Real) -> Parts:
    """cosh(iz)."""
    made: Parts = _cosh(-y, x)
    return made


@_rule
def _tan(x: Real, y: Real) -> Parts:
    """-i tanh(iz)."""
    re, im = _tanh(-y, x)
    return im, -re


# ------------------------------------------------------------------------------------------------- inverse functions


def _far(x: Real, y: Real) -> Real:
    """Whether 1 is nothing beside z."""
    return (maximum(abs(x), abs(y)) > (2.0**26 if _single(x) else 2.0**55)) | is_inf(x) | is_inf(y)


def _roots(x: Real, y: Real) -> tuple[Parts, Parts]:
    """sqrt(1 - z) and sqrt(1 + z)."""
    return _sqrt(1 - x, -y), _sqrt(x + 1, y)


@_rule
def _asin(x: Real, y: Real) -> Parts:
    (a, b), (c, d) = _roots(x, y)
    far = _far(x, y)
    outer = copysign(_log_magnitude(x, y) + math.log(2), y)
    re = select(far, atan2(x, abs(y)), atan2(x, a * c - b * d))
    im = select(far, outer, asinh(a * d - b * c))
    return select(x.equals(0), x, re), select(y.equals(0), copysign(im, y), im)


@_rule
def _acos(x: Real, y: Real) -> Parts:
    (a, b), (c, d) = _roots(x, y)
    far = _far(x, y)
    outer = -copysign(_log_magnitude(x, y) + math.log(2), y)
    re = select(far, atan2(abs(y), x), atan2(a, c) * 2)
    im = select(far, outer, asinh(c * b - d * a))
    return select(x.equals(0), math.pi / 2, re), select(y.equals(0), -copysign(im, y), im)


@_rule
def _asinh(x: Real, y: Real) -> Parts:
    """i _asin(-iz), by symmetry."""
    re, im = _asin(y, x)
    return im, re


@_rule
def _acosh(x: Real, y: Real) -> Parts:
    re, im = _acos(x, y)
    return abs(im), copysign(re, y)


@_rule
def _atanh(x: Real, y: Real) -> Parts:
    far, a, b = _far(x, y), abs(x), abs(y)
    tiny = 2.0**-62 if _single(x) else 2.0**-510  # whose square underflows
    on_cut = a.equals(1) & (b < tiny)
    inner = log1p(a * 4 / ((1 - a) * (1 - a) + b * b)) * 0.25
    inner = select(on_cut, (math.log(2) - log(b)) * 0.5, inner)
    size, _ = _div(constant(1, x), constant(0, x), a, b)
    outer = select(is_inf(x) | is_inf(y), 0, size)
    angle = atan2(b * 2, (1 - a) * (a + 1) - b * b) * 0.5
    half = select(is_nan(y), y, constant(math.pi / 2, y))
    re = copysign(select(far, outer, inner), x)
    return select(x.equals(0), x, re), copysign(select(far, half, angle), y)


@_rule
def _atan(x: Real, y: Real) -> Parts:
    """-i _atanh(iz), by symmetry."""
    re, im = _atanh(y, x)
    return im, re


__all__ = ["Complex", "imag", "pair", "real"]
