"""Parts of complex numbers. Real numbers are complex ones whose imaginary part is zero."""

from __future__ import annotations

import math
from collections.abc import Callable

from tgc.numpy.base import Array, ArrayLike, as_array
from tgc.ops import elementwise as e
from tgc.ops.arithmetic import arctan2, equal, multiply, not_equal
from tgc.ops.creation import full_like
from tgc.types import is_complex

__all__ = ["angle", "conj", "conjugate", "imag", "iscomplex", "isreal", "real"]


def conj(x: ArrayLike, /) -> Array:
    """The complex conjugate, in x's dtype; real numbers are unchanged."""
    x = as_array(x)
    return e.conj(x) if is_complex(x.dtype) else x


def real(val: ArrayLike, /) -> Array:
    """The real part: float32 of complex64, float64 of complex128; real numbers are unchanged."""
    x = as_array(val)
    return e.real(x) if is_complex(x.dtype) else x


def imag(val: ArrayLike, /) -> Array:
    """The imaginary part, in the dtype of the real part; zeros of real numbers."""
    x = as_array(val)
    return e.imag(x) if is_complex(x.dtype) else full_like(x, 0)


def angle(z: ArrayLike, deg: bool = False) -> Array:
    """The argument of z in (-pi, pi], or in degrees: pi of negative real numbers."""
    radians = arctan2(imag(z), real(z))
    return multiply(radians, 180 / math.pi) if deg else radians


def iscomplex(x: ArrayLike, /) -> Array:
    """Whether the imaginary part is not zero, element by element."""
    return not_equal(imag(x), 0)


def isreal(x: ArrayLike, /) -> Array:
    """Whether the imaginary part is zero, element by element."""
    return equal(imag(x), 0)


def by_parts(function: Callable[[Array], Array], z: Array) -> Array:
    """`function` of the real and of the imaginary part of complex `z`, put together again."""
    return e.complex_(function(e.real(z)), function(e.imag(z)))


conjugate = conj
