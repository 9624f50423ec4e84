"""Polynomials as vectors of coefficients, that of the highest power first."""

from __future__ import annotations

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, as_array, refuse
from tgc.numpy.calculus import convolve
from tgc.numpy.manipulation import atleast_1d, concatenate, flip
from tgc.numpy.padding import pad
from tgc.ops import arithmetic, creation
from tgc.ops.arithmetic import add, as_tensor, divide, multiply, negative, power, reshape, result_type
from tgc.types import BOOL, I64

__all__ = ["polyadd", "polyder", "polyint", "polymul", "polysub", "polyval", "vander"]


def _coefficients(function: str, p: ArrayLike) -> Array:
    p = atleast_1d(p)
    if p.ndim != 1:
        raise refuse(function, [p], "coefficients must be a vector")
    return p


def _powers(n: int) -> Array:
    """n - 1, ..., 1, 0."""
    return flip(creation.iota(shape=(n,), dtype=I64, axis=0))


def polyval(p: ArrayLike, x: ArrayLike) -> Array:
    """The polynomial's value at each element of `x`, by Horner's rule."""
    p, x = _coefficients("polyval", p), as_array(x)
    dtype = result_type(p, x)
    p, x = as_tensor(p, dtype), as_tensor(x, dtype)
    value = creation.full_like(x, 0)
    for i in range(p.size):
        value = add(multiply(value, x), p[i])
    return value


def _sum(function: str, a: ArrayLike, b: ArrayLike) -> Array:
    x, y = _coefficients(function, a), _coefficients(function, b)
    n = max(x.size, y.size)
    return add(pad(x, (n - x.size, 0)), pad(y, (n - y.size, 0)))


def polyadd(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The sum of two polynomials."""
    return _sum("polyadd", a1, a2)


def polysub(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The difference of two polynomials."""
    return _sum("polysub", a1, negative(as_array(a2)))


def polymul(a1: ArrayLike, a2: ArrayLike) -> Array:
    """The product of two polynomials; leading zeros are kept, as shapes are static."""
    return convolve(_coefficients("polymul", a1), _coefficients("polymul", a2))


def polyder(p: ArrayLike, m: int = 1) -> Array:
    """The `m`-th derivative of a polynomial."""
    p = _coefficients("polyder", p)
    if m < 0:
        raise AttributeSpecError(f"polyder: the order is negative: {m}")
    for _ in range(m):
        p = multiply(p[:-1], as_tensor(_powers(p.size)[:-1], p.dtype)) if p.size else p
    return p


def polyint(p: ArrayLike, m: int = 1, k: ArrayLike = 0) -> Array:
    """The `m`-th integral of a polynomial, with constants `k` (one, or one an integration)."""
    p = _coefficients("polyint", p)
    if m < 0:
        raise AttributeSpecError(f"polyint: the order is negative: {m}")
    constants = arithmetic.broadcast_to(atleast_1d(k), (m,))
    for i in range(m):
        p = concatenate([divide(p, add(_powers(p.size), 1)), constants[i : i + 1]])
    return p


def vander(x: ArrayLike, N: int | None = None, increasing: bool = False) -> Array:
    """[len(x), N]: the powers N - 1, ..., 1, 0 of each element, in the opposite order if `increasing`."""
    x = as_array(x)
    if x.ndim != 1:
        raise refuse("vander", [x], "the operand must be a vector")
    n = x.size if N is None else N
    x = as_tensor(x, I64) if x.dtype == BOOL else x
    powers = _powers(n)
    return power(reshape(x, (x.size, 1)), as_tensor(flip(powers) if increasing else powers, x.dtype))
