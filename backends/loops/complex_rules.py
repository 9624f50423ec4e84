"""Scalar primitives of complex numbers, in terms of those of real ones: what backends implement for real numbers is
then enough. A complex expression is a pair of real ones, `complex(re, im)`, or has `real` and `imag` parts.

Branch cuts are C's (Annex G), signed zeros included, and so are results at infinities and NaN, which are those of the
array API standard; formulas are those of Kahan, "Branch cuts for complex elementary functions, or much ado about
nothing's sign bit", 1987. Where the modulus of a result overflows although its parts do not, they may be NaN.
"""

# mypy: disable-error-code="no-any-return"
# The primitives of real numbers are looked up by name.

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from tgc.backends.loops.ir import Apply, Const, Expr
from tgc.types import C64, C128, F32, DType, real_dtype

Rule: TypeAlias = Callable[..., Expr]


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
        self.s: Any = s

    def rule(self, name: str) -> Rule | None:
        """The primitive of that name, None if it is not defined for complex numbers."""
        return getattr(self, f"do_{name}", None)

    def number(self, value: float, like: Expr) -> Expr:
        """A real constant of the dtype of the parts of `like`."""
        return Const(float(value), real_dtype(like.dtype))

    def scaled(self, z: Expr, factor: Expr) -> Expr:
        return pair(self.s.mul(real(z), factor), self.s.mul(imag(z), factor))

    def turned(self, z: Expr) -> Expr:
        """i z."""
        return pair(self.s.neg(imag(z)), real(z))

    def unturned(self, z: Expr) -> Expr:
        """z / i."""
        return pair(imag(z), self.s.neg(real(z)))

    def one_plus(self, z: Expr) -> Expr:
        return pair(self.s.add(self.number(1, z), real(z)), imag(z))

    # ---------------------------------------------------------------------------------------------------- arithmetic

    def do_complex(self, re: Expr, im: Expr) -> Expr:
        return pair(re, im)

    def do_real(self, z: Expr) -> Expr:
        return real(z)

    def do_imag(self, z: Expr) -> Expr:
        return imag(z)

    def do_conj(self, z: Expr) -> Expr:
        return pair(real(z), self.s.neg(imag(z)))

    def do_add(self, a: Expr, b: Expr) -> Expr:
        return pair(self.s.add(real(a), real(b)), self.s.add(imag(a), imag(b)))

    def do_sub(self, a: Expr, b: Expr) -> Expr:
        return pair(self.s.sub(real(a), real(b)), self.s.sub(imag(a), imag(b)))

    def do_neg(self, z: Expr) -> Expr:
        return pair(self.s.neg(real(z)), self.s.neg(imag(z)))

    def do_mul(self, a: Expr, b: Expr) -> Expr:
        s, (p, q), (u, v) = self.s, (real(a), imag(a)), (real(b), imag(b))
        return pair(s.sub(s.mul(p, u), s.mul(q, v)), s.add(s.mul(p, v), s.mul(q, u)))

    def do_div(self, a: Expr, b: Expr) -> Expr:
        """Smith's algorithm (1962), as NumPy's: divided by the greater part of the divisor first."""
        s, (p, q), (u, v) = self.s, (real(a), imag(a)), (real(b), imag(b))
        first = s.ge(s.abs(u), s.abs(v))
        more, less = s.select(first, u, v), s.select(first, v, u)
        zero = s.eq(more, self.number(0, a))
        ratio = s.select(zero, self.number(0, a), s.div(less, more))
        total = s.add(more, s.mul(less, ratio))
        total = s.select(zero, s.abs(total), total)
        re = s.select(first, s.add(p, s.mul(q, ratio)), s.add(s.mul(p, ratio), q))
        im = s.select(first, s.sub(q, s.mul(p, ratio)), s.sub(s.mul(q, ratio), p))
        return pair(s.div(re, total), s.div(im, total))

    def do_abs(self, z: Expr) -> Expr:
        s, (x, y) = self.s, (self.s.abs(real(z)), self.s.abs(imag(z)))
        more, less = s.maximum(x, y), s.minimum(x, y)
        flat = s.bit_or(s.eq(less, self.number(0, z)), s.is_inf(more))
        ratio = s.select(flat, self.number(0, z), s.div(less, more))
        found = s.mul(more, s.sqrt(s.add(self.number(1, z), s.mul(ratio, ratio))))
        return s.select(s.bit_or(s.is_inf(x), s.is_inf(y)), self.number(math.inf, z), found)

    def do_sign(self, z: Expr) -> Expr:
        size, s = self.do_abs(z), self.s
        size = s.select(s.eq(size, self.number(0, z)), self.number(1, z), size)
        return pair(s.div(real(z), size), s.div(imag(z), size))

    def do_round(self, z: Expr) -> Expr:
        return pair(self.s.round(real(z)), self.s.round(imag(z)))

    # ---------------------------------------------------------------------------------- predicates and selection

    def do_eq(self, a: Expr, b: Expr) -> Expr:
        return self.s.bit_and(self.s.eq(real(a), real(b)), self.s.eq(imag(a), imag(b)))

    def do_ne(self, a: Expr, b: Expr) -> Expr:
        return self.s.bit_or(self.s.ne(real(a), real(b)), self.s.ne(imag(a), imag(b)))

    def do_is_nan(self, z: Expr) -> Expr:
        return self.s.bit_or(self.s.is_nan(real(z)), self.s.is_nan(imag(z)))

    def do_is_inf(self, z: Expr) -> Expr:
        return self.s.bit_or(self.s.is_inf(real(z)), self.s.is_inf(imag(z)))

    def do_is_finite(self, z: Expr) -> Expr:
        return self.s.bit_and(self.s.is_finite(real(z)), self.s.is_finite(imag(z)))

    def do_select(self, condition: Expr, a: Expr, b: Expr) -> Expr:
        s = self.s
        return pair(s.select(condition, real(a), real(b)), s.select(condition, imag(a), imag(b)))

    # ------------------------------------------------------------------------------------- exponentials and powers

    def angle(self, y: Expr, any_will_do: Expr) -> Expr:
        """The angle `y`, which may be infinite or NaN where any will do: zero is then taken for it."""
        return self.s.select(self.s.is_finite(y), y, self.s.select(any_will_do, self.number(0, y), y))

    def endless(self, z: Expr) -> Expr:
        """Whether a part is infinite, whatever the other one is."""
        return self.s.bit_or(self.s.is_inf(real(z)), self.s.is_inf(imag(z)))

    def do_exp(self, z: Expr) -> Expr:
        s, size, y = self.s, self.s.exp(real(z)), self.angle(imag(z), self.s.is_inf(real(z)))
        im = s.select(s.eq(imag(z), self.number(0, z)), imag(z), s.mul(size, s.sin(y)))
        return pair(s.mul(size, s.cos(y)), im)

    def do_exp2(self, z: Expr) -> Expr:
        return self.do_exp(self.scaled(z, self.number(math.log(2), z)))

    def do_expm1(self, z: Expr) -> Expr:
        """e^x cos y - 1 without cancellation: expm1(x) cos y - 2 sin(y/2)^2."""
        s, x, y = self.s, real(z), self.angle(imag(z), self.s.is_inf(real(z)))
        half = s.sin(s.mul(y, self.number(0.5, z)))
        re = s.sub(s.mul(s.expm1(x), s.cos(y)), s.mul(self.number(2, z), s.mul(half, half)))
        return pair(re, s.select(s.eq(imag(z), self.number(0, z)), imag(z), s.mul(s.exp(x), s.sin(y))))

    def do_log(self, z: Expr) -> Expr:
        """log |z|, where that is near one from |z|^2 - 1, and the angle."""
        s, (x, y) = self.s, (self.s.abs(real(z)), self.s.abs(imag(z)))
        more, less, one = s.maximum(x, y), s.minimum(x, y), self.number(1, z)
        beyond = s.add(s.mul(s.sub(more, one), s.add(more, one)), s.mul(less, less))
        near = s.bit_and(s.gt(more, self.number(0.5, z)), s.lt(more, self.number(2, z)))
        size = self.do_abs(z)
        re = s.select(
            near, s.mul(s.log1p(s.select(near, beyond, one)), self.number(0.5, z)), s.log(s.select(near, one, size))
        )
        return pair(re, s.atan2(imag(z), real(z)))

    def do_log2(self, z: Expr) -> Expr:
        return self.scaled(self.do_log(z), self.number(1 / math.log(2), z))

    def do_log10(self, z: Expr) -> Expr:
        return self.scaled(self.do_log(z), self.number(1 / math.log(10), z))

    def do_log1p(self, z: Expr) -> Expr:
        s, (x, y) = self.s, (real(z), imag(z))
        beyond = s.add(s.mul(x, s.add(x, self.number(2, z))), s.mul(y, y))
        near = s.lt(s.maximum(s.abs(x), s.abs(y)), self.number(0.5, z))
        far = self.do_log(self.one_plus(z))
        re = s.select(near, s.mul(s.log1p(s.select(near, beyond, self.number(0, z))), self.number(0.5, z)), real(far))
        return pair(re, imag(far))

    def do_sqrt(self, z: Expr) -> Expr:
        s, (x, y) = self.s, (real(z), imag(z))
        half = self.number(0.5, z)
        big = s.sqrt(s.add(s.mul(s.abs(x), half), s.mul(self.do_abs(z), half)))
        zero = s.eq(big, self.number(0, z))
        small = s.select(zero, s.abs(y), s.div(s.mul(s.abs(y), half), s.select(zero, self.number(1, z), big)))
        right = s.ge(x, self.number(0, z))
        endless = s.is_inf(y)  # whatever the real part is
        re = s.select(endless, s.abs(y), s.select(right, big, small))
        return pair(re, self.s.copysign(s.select(endless, y, s.select(right, small, big)), y))

    def do_rsqrt(self, z: Expr) -> Expr:
        return self.do_div(pair(self.number(1, z), self.number(0, z)), self.do_sqrt(z))

    def do_pow(self, a: Expr, b: Expr) -> Expr:
        """e^(b log a); of zero, 1 for the exponent zero and else 0."""
        s, zero, one = self.s, self.number(0, a), self.number(1, a)
        none = s.bit_and(s.eq(real(a), zero), s.eq(imag(a), zero))
        whole = s.bit_and(s.eq(real(b), zero), s.eq(imag(b), zero))
        found = self.do_exp(self.do_mul(b, self.do_log(self.do_select(none, pair(one, zero), a))))
        found = self.do_select(none, pair(zero, zero), found)
        return self.do_select(whole, pair(one, zero), found)

    # --------------------------------------------------------------------------------------- trigonometric functions

    def do_sinh(self, z: Expr) -> Expr:
        s, (x, y) = self.s, (real(z), imag(z))
        zero = self.number(0, z)
        re = s.mul(s.sinh(x), s.cos(self.angle(y, s.bit_or(s.is_inf(x), s.eq(x, zero)))))
        return pair(re, s.select(s.eq(y, zero), y, s.mul(s.cosh(x), s.sin(y))))

    def do_cosh(self, z: Expr) -> Expr:
        s, (x, y) = self.s, (real(z), imag(z))
        zero, one = self.number(0, z), self.number(1, z)
        im = s.mul(s.sinh(x), s.sin(self.angle(y, s.bit_or(s.is_inf(x), s.eq(x, zero)))))
        im = s.select(s.eq(y, zero), s.mul(y, s.copysign(one, x)), im)
        return pair(s.mul(s.cosh(x), s.cos(self.angle(y, s.is_inf(x)))), im)

    def do_tanh(self, z: Expr) -> Expr:
        s, x, y = self.s, real(z), self.angle(imag(z), self.s.is_inf(real(z)))
        zero, one, most = self.number(0, z), self.number(1, z), self.number(20, z)
        far = s.gt(s.abs(x), most)
        near = s.select(far, zero, x)
        t, h = s.tan(y), s.sinh(near)
        spread = s.add(one, s.mul(t, t))
        total = s.add(one, s.mul(spread, s.mul(h, h)))
        re = s.div(s.mul(s.mul(spread, s.sqrt(s.add(one, s.mul(h, h)))), h), total)
        tail = s.exp(s.mul(self.number(-2, z), s.abs(x)))
        beyond = s.mul(s.mul(self.number(4, z), s.mul(s.sin(y), s.cos(y))), tail)
        limit = s.select(s.is_finite(y), s.copysign(one, x), self.number(math.nan, z))
        im = s.select(s.eq(imag(z), zero), imag(z), s.select(far, beyond, s.div(t, total)))
        return pair(s.select(s.eq(x, zero), x, s.select(far, limit, re)), im)

    def do_sin(self, z: Expr) -> Expr:
        return self.unturned(self.do_sinh(self.turned(z)))

    def do_cos(self, z: Expr) -> Expr:
        return self.do_cosh(self.turned(z))

    def do_tan(self, z: Expr) -> Expr:
        return self.unturned(self.do_tanh(self.turned(z)))

    def _roots(self, z: Expr) -> tuple[Expr, Expr]:
        """sqrt(1 - z) and sqrt(1 + z)."""
        return self.do_sqrt(self.one_plus(self.do_neg(z))), self.do_sqrt(self.one_plus(z))

    def do_acos(self, z: Expr) -> Expr:
        s, (minus, plus), (x, y) = self.s, self._roots(z), (real(z), imag(z))
        re = s.mul(self.number(2, z), s.atan2(real(minus), real(plus)))
        im = s.asinh(imag(self.do_mul(self.do_conj(plus), minus)))
        endless = self.endless(z)
        re = s.select(endless, s.atan2(s.abs(y), x), re)
        re = s.select(s.eq(x, self.number(0, z)), self.number(math.pi / 2, z), re)
        return pair(re, s.select(endless, s.copysign(self.number(math.inf, z), s.neg(y)), im))

    def do_asin(self, z: Expr) -> Expr:
        s, (minus, plus), (x, y) = self.s, self._roots(z), (real(z), imag(z))
        im = s.asinh(imag(self.do_mul(self.do_conj(minus), plus)))
        endless = self.endless(z)
        re = s.atan2(x, s.select(endless, s.abs(y), real(self.do_mul(minus, plus))))
        re = s.select(s.eq(x, self.number(0, z)), x, re)
        return pair(re, s.select(endless, s.copysign(self.number(math.inf, z), y), im))

    def do_acosh(self, z: Expr) -> Expr:
        s, (x, y) = self.s, (real(z), imag(z))
        minus = self.do_sqrt(pair(s.sub(x, self.number(1, z)), y))
        plus = self.do_sqrt(self.one_plus(z))
        re = s.asinh(real(self.do_mul(self.do_conj(minus), plus)))
        im = s.mul(self.number(2, z), s.atan2(imag(minus), real(plus)))
        endless = self.endless(z)
        im = s.select(endless, s.atan2(y, x), im)
        im = s.select(s.eq(x, self.number(0, z)), s.copysign(self.number(math.pi / 2, z), y), im)
        return pair(s.select(endless, self.number(math.inf, z), re), im)

    def do_asinh(self, z: Expr) -> Expr:
        return self.unturned(self.do_asin(self.turned(z)))

    def do_atanh(self, z: Expr) -> Expr:
        s, (x, y), one = self.s, (self.s.abs(real(z)), imag(z)), self.number(1, z)
        less = s.sub(one, x)
        ratio = s.div(s.mul(self.number(4, z), x), s.add(s.mul(less, less), s.mul(y, y)))
        angle = s.atan2(s.mul(self.number(2, z), y), s.sub(s.mul(less, s.add(one, x)), s.mul(y, y)))
        re = s.mul(s.log1p(ratio), self.number(0.25, z))
        endless, zero = self.endless(z), self.number(0, z)
        re = s.copysign(s.select(s.bit_or(endless, s.eq(x, zero)), zero, re), real(z))
        turned = s.select(s.is_nan(y), y, s.copysign(self.number(math.pi / 2, z), y))
        return pair(re, s.select(endless, turned, s.mul(angle, self.number(0.5, z))))

    def do_atan(self, z: Expr) -> Expr:
        return self.unturned(self.do_atanh(self.turned(z)))

    def cast(self, z: Expr, dtype: DType) -> Expr:
        """To another complex dtype, or to that of a part: of the real one, and of both for booleans."""
        s = self.s
        if dtype.kind == "c":
            return pair(s.cast(real(z), real_dtype(dtype)), s.cast(imag(z), real_dtype(dtype)))
        if dtype.kind == "b":
            return self.do_ne(z, pair(self.number(0, z), self.number(0, z)))
        result: Expr = s.cast(real(z), dtype)
        return result


__all__ = ["Complex", "imag", "pair", "real"]
