"""Scalar mathematics that LLVM's loop vectorizer vectorizes when a Numba-compiled loop calls it.

float32 functions have neither branches nor library calls and are at most 2 ulp off the correctly rounded result over
all of float32, subnormals included, whether the target fuses multiplications and additions or not; NaN, infinities,
signed zeros, overflow and underflow follow C99 Annex F, as NumPy does. float64 functions call the C library, for
accuracy: they do not vectorize.

Functions are called as ``exp_f32(x)`` in a kernel, or found in `FUNCTIONS` by primitive and dtype. They also run as
plain Python on scalars, in float32 with the same results to the last bit as on targets that fuse.

Polynomials are minimax fits whose coefficients were rounded to float32 one at a time, lowest order first, refitting the
remaining ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tgc.backends.cpu.vmath_exp import (
    acosh_f32,
    asinh_f32,
    atanh_f32,
    cbrt_f32,
    cosh_f32,
    erf_f32,
    exp2_f32,
    exp_f32,
    expm1_f32,
    log1p_f32,
    log2_f32,
    log10_f32,
    log_f32,
    pow_f32,
    rsqrt_f32,
    sigmoid_f32,
    sinh_f32,
    tanh_f32,
)
from tgc.backends.cpu.vmath_ops import PRIMITIVES, Scalar, library, primitive, select, sqrt
from tgc.backends.cpu.vmath_trig import (
    acos_f32,
    asin_f32,
    atan2_f32,
    atan_f32,
    cos_f32,
    sin_f32,
    tan_f32,
)

f64 = primitive(np.float64)

# fmt: off
__all__ = [
    "FUNCTIONS", "acos_f32", "acos_f64", "acosh_f32", "acosh_f64", "asin_f32", "asin_f64", "asinh_f32", "asinh_f64",
    "atan2_f32", "atan2_f64", "atan_f32", "atan_f64", "atanh_f32", "atanh_f64", "cbrt_f32", "cbrt_f64", "cos_f32",
    "cos_f64", "cosh_f32", "cosh_f64", "erf_f32", "erf_f64", "exp2_f32", "exp2_f64", "exp_f32", "exp_f64",
    "expm1_f32", "expm1_f64", "log1p_f32", "log1p_f64", "log2_f32", "log2_f64", "log10_f32", "log10_f64", "log_f32",
    "log_f64", "pow_f32", "pow_f64", "rsqrt_f32", "rsqrt_f64", "sigmoid_f32", "sigmoid_f64", "sin_f32", "sin_f64",
    "sinh_f32", "sinh_f64", "tan_f32", "tan_f64", "tanh_f32", "tanh_f64",
]
# fmt: on


def _c_library(name: str, reference: Callable[..., Any], arity: int = 1) -> Callable[..., Any]:
    """Return the float64 function of the C library with this name, `reference` in Python."""

    def unary(x: Scalar) -> Scalar:
        return library(name, reference, x)

    def binary(x: Scalar, y: Scalar) -> Scalar:
        return library(name, reference, x, y)

    body = (unary, binary)[arity - 1]
    body.__name__ = body.__qualname__ = f"{name}_f64"
    return f64(body)


exp_f64 = _c_library("exp", np.exp)
exp2_f64 = _c_library("exp2", np.exp2)
expm1_f64 = _c_library("expm1", np.expm1)
log_f64 = _c_library("log", np.log)
log2_f64 = _c_library("log2", np.log2)
log10_f64 = _c_library("log10", np.log10)
log1p_f64 = _c_library("log1p", np.log1p)
pow_f64 = _c_library("pow", np.power, 2)
cbrt_f64 = _c_library("cbrt", np.cbrt)
erf_f64 = _c_library("erf", math.erf)
sinh_f64 = _c_library("sinh", np.sinh)
cosh_f64 = _c_library("cosh", np.cosh)
tanh_f64 = _c_library("tanh", np.tanh)
asinh_f64 = _c_library("asinh", np.arcsinh)
acosh_f64 = _c_library("acosh", np.arccosh)
atanh_f64 = _c_library("atanh", np.arctanh)
sin_f64 = _c_library("sin", np.sin)
cos_f64 = _c_library("cos", np.cos)
tan_f64 = _c_library("tan", np.tan)
asin_f64 = _c_library("asin", np.arcsin)
acos_f64 = _c_library("acos", np.arccos)
atan_f64 = _c_library("atan", np.arctan)
atan2_f64 = _c_library("atan2", np.arctan2, 2)


@f64
def sigmoid_f64(x: Scalar) -> Scalar:
    """Return 1 / (1 + e**-x), without overflow or loss of accuracy for negative x."""
    e = library("exp", np.exp, -abs(x))
    return select(x < 0.0, e, 1.0) / (e + 1.0)


@f64
def rsqrt_f64(x: Scalar) -> Scalar:
    """Return 1 / sqrt(x): infinities for zeros, NaN for negative numbers."""
    return 1.0 / sqrt(x)


FUNCTIONS: Mapping[tuple[str, str], Callable[..., Any]] = MappingProxyType(PRIMITIVES)
"""Every function here by name and short name of the dtype: ``FUNCTIONS["exp", "f32"] is exp_f32``."""
