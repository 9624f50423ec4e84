"""The exponential of matrices, which NumPy does not have (SciPy: `linalg.expm`)."""

from __future__ import annotations

import math

from tgc.numpy.base import Array, ArrayLike, as_array, refuse
from tgc.numpy.elementwise import absolute, ceil, clip, exp2, log2
from tgc.numpy.manipulation import expand_dims
from tgc.numpy.reductions import max, sum
from tgc.ops import linalg as ops
from tgc.ops.arithmetic import add, as_tensor, matmul, multiply, subtract, where
from tgc.ops.elementwise import stop_gradient
from tgc.ops.matrices import eye_like
from tgc.types import F64, is_inexact

__all__ = ["expm"]

_DEGREE = 13
_PADE = [  # the numerator of the Pade approximant of exp(x); the denominator's coefficients alternate in sign
    math.factorial(2 * _DEGREE - k) * math.factorial(_DEGREE)
    / (math.factorial(2 * _DEGREE) * math.factorial(k) * math.factorial(_DEGREE - k))
    for k in range(_DEGREE + 1)
]  # fmt: skip
_RADIUS = 5.371920351148152  # up to this norm the approximant is exact in double precision
_SQUARINGS = 16


def expm(a: ArrayLike, /) -> Array:
    """The sum of a^k / k! for square matrices in the last two axes; NaN where the 1-norm exceeds 352,000.

    Pade approximation of degree 13 after scaling by a power of two, and as many squarings, of 16 at most that are all
    computed (Higham, "The scaling and squaring method for the matrix exponential revisited", 2005).
    """
    a = as_array(a)
    a = a if is_inexact(a.dtype) else as_tensor(a, F64)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise refuse("expm", [a], "takes square matrices")
    if not a.size:
        return a
    norm = expand_dims(max(sum(absolute(stop_gradient(a)), -2), -1), (-2, -1))
    halvings = ceil(log2(clip(norm / _RADIUS, 1, None)))
    x = multiply(a, exp2(-clip(halvings, None, _SQUARINGS)))
    even, odd = _halves(x)
    result = ops.solve(subtract(even, odd), add(even, odd))
    for k in range(_SQUARINGS):
        result = where(halvings > k, matmul(result, result), result)
    return where(halvings > _SQUARINGS, math.nan, result)


def _halves(x: Array) -> tuple[Array, Array]:
    """The even and odd terms of the approximant's numerator."""
    square = matmul(x, x)
    one = eye_like(x, x.shape[-1])
    even, odd = (multiply(one, _PADE[_DEGREE - 1 + k]) for k in (0, 1))
    for k in range(_DEGREE - 3, -1, -2):  # Horner's scheme
        even, odd = (add(matmul(square, p), multiply(one, _PADE[k + i])) for i, p in enumerate((even, odd)))
    return even, matmul(x, odd)
