"""The error function, its complement and its inverse, which NumPy does not have (SciPy: `special.erf`, ...).

erfc(z) is t exp(p(t) - z^2) for z >= 0 and t = 2 / (2 + z), with a polynomial p of 28 terms (Press et al., "Numerical
Recipes", 3rd edition, section 6.2.2; the coefficients here were computed anew, in 50 digits).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from tgc.composite import composite
from tgc.numpy.base import Array, ArrayLike, accumulator, as_real
from tgc.numpy.bessel import clenshaw
from tgc.numpy.elementwise import absolute, clip, exp, floor, log, log1p, sign, sqrt, square, where
from tgc.ops import elementwise
from tgc.ops.arithmetic import as_tensor
from tgc.types import F64

__all__ = ["erf", "erfc", "erfinv"]

# Of p in Chebyshev polynomials of 2 t - 1, from the highest degree down.
SERIES = (
    -2.8138707564132381e-17, 1.2102032928879455e-16, -9.4576584257712467e-17, -1.5230273230386746e-15,
    7.1060974775734191e-15, 3.8109048679522712e-16, -1.1270822358703124e-13, 3.1309213992864563e-13,
    8.9448792730848497e-13, -6.8860275264967718e-12, 2.394038083038881e-12, 9.6467911020155277e-11,
    -2.2736512229318356e-10, -9.913641564930331e-10, 5.0593434955514689e-9, 6.5290544390988515e-9,
    -8.5238095914926543e-8, 1.5626441722066143e-8, 1.3036558355805232e-6, -1.6242900046470255e-6,
    -2.0278578112534243e-5, 4.2523324806907772e-5, 0.00036683949785276145, -0.00094659534448203687,
    -0.0095615147868086316, 0.019476473204185836, 0.64196979235649026, -1.3026537197817094,
)  # fmt: skip
_FAR = 30.0  # beyond, erfc is zero in double precision


def _real(function: Callable[[Array], Array]) -> Callable[[ArrayLike], Array]:
    """A public function of real numbers, computed in at least float32."""

    @functools.wraps(function)
    def wrapped(x: ArrayLike, /) -> Array:
        x = as_real(x, function.__name__)
        return as_tensor(function(as_tensor(x, accumulator(x.dtype))), x.dtype)

    return wrapped


@_real
def erf(x: Array) -> Array:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    Raises:
        DTypeError: `x` is complex.
    """
    return elementwise.erf(x)


@_real
def erfc(x: Array) -> Array:
    """1 - erf(x), accurate where that cancels.

    Raises:
        DTypeError: `x` is complex.
    """
    y: Array = _erfc(x)
    return y


@_real
def erfinv(x: Array) -> Array:
    """The y with erf(y) = x: infinite at -1 and 1, NaN beyond. Halley's method from the estimate of Winitzki (2008).

    Raises:
        DTypeError: `x` is complex.
    """
    y: Array = _erfinv(x)
    return y


@composite
def _erfc(x: Array) -> Array:
    z = clip(absolute(x), None, _FAR)
    t = 2 / (z + 2)
    high = floor(z * 16) / 16  # whose square is exact
    tail = t * exp(-high * high) * exp(clenshaw(t * 4 - 2, SERIES) - (z - high) * (z + high))
    return where(x < 0, 2 - tail, tail)


_erfc.defvjp(lambda x: (_erfc.f(x), x), lambda x, g: (g * exp(-square(x)) * (-2 / math.sqrt(math.pi)),))


@composite
def _erfinv(x: Array) -> Array:
    size = absolute(x)
    inner = where(size < 1, size, 0)
    far = inner > 0.5
    rest = 1 - inner  # exact where far
    tail = where(far, log(rest * (1 + inner)), log1p(-inner * inner))
    share = where(inner > 1e-3, tail / where(inner > 1e-3, inner * inner, 1), -1)  # so that slopes at 0 are finite
    a = 0.147
    t = tail / 2 + 2 / (math.pi * a)
    y = inner * sqrt(-share / (a * (t + sqrt(t * t - tail / a))))
    for _ in range(2 if x.dtype == F64 else 1):  # the error of 2e-3 is cubed each time
        error = where(far, rest - _erfc.f(y), elementwise.erf(y) - inner)
        step = error / (exp(-y * y) * (2 / math.sqrt(math.pi)))
        y = y - step / (1 + y * step)
    return sign(x) * where(size > 1, math.nan, where(size == 1, math.inf, y))


def _erfinv_kept(x: Array) -> tuple[Any, Any]:
    y = _erfinv.f(x)
    return y, y


_erfinv.defvjp(_erfinv_kept, lambda y, g: (g * exp(square(y)) * (math.sqrt(math.pi) / 2),))
