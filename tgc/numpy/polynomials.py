"""Polynomials as vectors of coefficients, that of the highest power first."""

from __future__ import annotations

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, as_array, as_inexact, concrete, refuse
from tgc.numpy.calculus import convolve
from tgc.numpy.dtypes import finfo
from tgc.numpy.elementwise import sqrt
from tgc.numpy.linalg import eigvals, pinv
from tgc.numpy.manipulation import atleast_1d, concatenate, flip
from tgc.numpy.matrices import eye
from tgc.numpy.padding import pad
from tgc.numpy.reductions import sum
from tgc.ops import arithmetic, creation
from tgc.ops.arithmetic import (
    add,
    as_tensor,
    divide,
    matmul,
    multiply,
    negative,
    power,
    reshape,
    result_type,
    subtract,
)
from tgc.types import BOOL, I64, complex_dtype

__all__ = ["polyadd", "polyder", "polydiv", "polyfit", "polyint", "polymul", "polysub", "polyval", "roots", "vander"]


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


def polydiv(u: ArrayLike, v: ArrayLike) -> tuple[Array, Array]:
    """(quotient, remainder) of two polynomials, the leading coefficient of `v` not zero.

    The remainder has one coefficient less than `v` (but at least one, and no more than `u`), whatever its leading
    zeros, as shapes are static.
    """
    x, y = _coefficients("polydiv", u), _coefficients("polydiv", v)
    if not x.size or not y.size:
        raise refuse("polydiv", [x, y], "a polynomial has at least one coefficient")
    dtype = result_type(x, y, 1.0)
    x, y = as_tensor(x, dtype), as_tensor(y, dtype)
    n = y.size
    if x.size < n:
        return creation.fill((1,), dtype, 0), x
    quotient = []
    for _ in range(x.size - n + 1):
        quotient.append(divide(x[:1], y[:1]))
        x = concatenate([subtract(x[1:n], multiply(quotient[-1], y[1:])), x[n:]])
    return concatenate(quotient), x if n > 1 else creation.fill((1,), dtype, 0)


def polyfit(x: ArrayLike, y: ArrayLike, deg: int, rcond: float | None = None, w: ArrayLike | None = None) -> Array:
    """[deg + 1] or [deg + 1, K]: the polynomial of least squared distance from `y` [M] or [M, K] at the places `x` [M].

    Args:
        rcond: singular values of the scaled Vandermonde matrix below this share of the largest count as zero; by
            default M times the precision of the dtype.
        w: [M], by which distances are multiplied before they are squared.
    Raises:
        AttributeSpecError: `deg` is negative.
        ShapeError: the shapes do not fit each other.
    """
    places, values = _coefficients("polyfit", x), as_array(y)
    if deg < 0:
        raise AttributeSpecError(f"polyfit: the degree is negative: {deg}")
    if values.ndim not in (1, 2) or values.shape[0] != places.size or not places.size:
        raise refuse("polyfit", [places, values], "takes a vector, and a vector or columns of as many values")
    dtype = result_type(places, values, 1.0)
    rows, values = vander(as_tensor(places, dtype), deg + 1), as_tensor(values, dtype)
    if w is not None:
        weights = _coefficients("polyfit", w)
        if weights.shape != places.shape:
            raise refuse("polyfit", [places, weights], "there must be one weight a place")
        rows = multiply(rows, reshape(weights, (-1, 1)))
        values = multiply(values, reshape(weights, (-1, *(1 for _ in values.shape[1:]))))
    size = sqrt(sum(multiply(rows, rows), 0))
    limit = places.size * finfo(dtype).eps if rcond is None else rcond
    found = matmul(pinv(divide(rows, size), limit), values)
    return divide(found, reshape(size, (-1, *(1 for _ in values.shape[1:]))))


def roots(p: ArrayLike, *, strip_zeros: bool = True) -> Array:
    """Complex roots of a polynomial, in no order: the eigenvalues of its companion matrix.

    Args:
        strip_zeros: whether to leave leading zeros out and to return trailing ones as roots, which must be known
            numbers. Without, neither the leading coefficient nor the last may be expected to be zero: a leading zero
            makes all roots NaN or an error of the eigenvalues.
    Raises:
        ConcretizationError: zeros are to be stripped of a tracer.
    """
    p = as_inexact(_coefficients("roots", p))
    zeros = 0
    if strip_zeros:
        (known,) = concrete("roots", p, instead="give strip_zeros=False")
        (places,) = np.nonzero(known)
        zeros = known.size - 1 - int(places[-1]) if places.size else 0
        p = known[places[0] : places[-1] + 1] if places.size else known[:0]
    n = p.size - 1
    dtype = complex_dtype(p.dtype)
    if n < 1:
        return creation.fill((zeros,), dtype, 0)
    first = negative(divide(p[1:], p[0]))
    companion = concatenate([reshape(first, (1, n)), as_tensor(eye(n - 1, n), p.dtype)], 0)
    found = eigvals(companion)
    return concatenate([found, creation.fill((zeros,), found.dtype, 0)]) if zeros else found


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
