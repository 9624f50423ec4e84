"""Activation functions. Half precision is computed in float32 and rounded once; integers become float64.

Values and gradients are those of the limit at infinities, and NaN at NaN. `nn.softmax` and its kin have a file of
their own, functions of two halves of a tensor too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tgc.nn.base import full_precision
from tgc.numpy.base import Array, ArrayLike, along, as_array, as_real, axis_of, refuse
from tgc.numpy.dtypes import finfo
from tgc.numpy.elementwise import (
    absolute,
    clip,
    exp,
    expm1,
    less,
    log1p,
    logical_and,
    maximum,
    minimum,
    multiply,
    sqrt,
    tanh,
    where,
)
from tgc.ops import activations
from tgc.ops import elementwise as e
from tgc.ops.arithmetic import as_tensor

__all__ = [
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "identity", "leaky_relu", "log1mexp", "log_sigmoid", "mish", "prelu", "quick_gelu", "relu", "relu6", "selu",
    "sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish",
    "tanh", "tanh_shrink", "threshold",
]  # fmt: skip


def _gated(x: Array, function: Callable[[Array], Array], low: float, high: float) -> Array:
    """`function`, which is x above `high` and constant below `low` (to rounding), and so are its gradients.

    Neither overflows nor multiplies an infinity by zero, in the value or in the gradient.
    """
    return where(less(x, high), function(clip(x, low, high)), x)


def identity(x: ArrayLike) -> Array:
    """x."""
    return as_array(x)


def relu(x: ArrayLike) -> Array:
    """max(x, 0), in x's dtype, integers included. Its gradient at 0 is 0."""
    return e.relu(as_array(x))


def relu6(x: ArrayLike) -> Array:
    """min(max(x, 0), 6)."""
    return minimum(relu(x), 6)


def leaky_relu(x: ArrayLike, negative_slope: ArrayLike = 0.01) -> Array:
    """x above zero, else negative_slope * x."""
    x = as_real(x)
    return where(x >= 0, x, multiply(minimum(x, 0), negative_slope))


def prelu(x: ArrayLike, slope: ArrayLike, axis: int = -1) -> Array:
    """`leaky_relu` with a learned slope: a scalar, or one for each channel along `axis` (He et al., 2015).

    Raises:
        ShapeError: the slope has another shape.
    """
    x = as_real(x)
    slope = as_tensor(slope, x.dtype)
    if slope.ndim:
        at = axis_of("prelu", x, axis)
        if slope.shape != (x.shape[at],):
            raise refuse("prelu", [x, slope], f"the slope is a scalar or has the shape {(x.shape[at],)}")
        slope = along(slope, [at], x.shape)
    return leaky_relu(x, slope)


@full_precision
def elu(x: Array, alpha: ArrayLike = 1.0) -> Array:
    """x above zero, else alpha * (e ** x - 1) (Clevert et al., 2016)."""
    return where(x > 0, x, expm1(minimum(x, 0)) * alpha)


@full_precision
def celu(x: Array, alpha: ArrayLike = 1.0) -> Array:
    """x above zero, else alpha * (e ** (x / alpha) - 1) (Barron, 2017)."""
    return where(x > 0, x, expm1(minimum(x, 0) / alpha) * alpha)


@full_precision
def selu(x: Array) -> Array:
    """Scaled ELU that keeps mean 0 and variance 1 (Klambauer et al., 2017)."""
    return elu(x, 1.6732632423543772) * 1.0507009873554805


@full_precision
def gelu(x: Array, approximate: bool = False) -> Array:
    """x times the standard normal distribution function of x (Hendrycks and Gimpel, 2016), or nearly so, by tanh."""
    return activations.gelu_tanh(x) if approximate else activations.gelu(x)


@full_precision
def quick_gelu(x: Array) -> Array:
    """x * sigmoid(1.702 * x), the coarser approximation of `gelu`."""
    return _gated(x, lambda z: z * e.sigmoid(z * 1.702), -1000, 40)


def sigmoid(x: ArrayLike) -> Array:
    """1 / (1 + e ** -x)."""
    return e.sigmoid(as_real(x))


@full_precision
def log_sigmoid(x: Array) -> Array:
    """log(sigmoid(x)), accurate where sigmoid(x) underflows."""
    return -softplus(-x)


@full_precision
def silu(x: Array) -> Array:
    """x * sigmoid(x), also known as swish."""
    return activations.silu(x)


@full_precision
def softplus(x: Array) -> Array:
    """log(1 + e ** x), without overflow on the way."""
    high, low = _split_at_zero(x)
    return high + log1p(exp(low - high))


def _split_at_zero(x: Array) -> tuple[Array, Array]:
    """max(x, 0) and min(x, 0). At zero the first takes the gradient whole, so that smooth functions stay smooth."""
    return maximum(x, 0), minimum(0, x)


@full_precision
def squareplus(x: Array, b: ArrayLike = 4.0) -> Array:
    """(x + sqrt(x ** 2 + b)) / 2, without cancellation (Barron, 2021)."""
    high, low = _split_at_zero(x)
    # max(x, 0) + b / (2 * (sqrt(x * x + b) + |x|)); far out the fraction vanishes beside any b and must not overflow.
    size = minimum(high - low, math.sqrt(float(finfo(x.dtype).max)) / 4)
    return high + b / ((sqrt(size * size + b) + size) * 2)


@full_precision
def mish(x: Array) -> Array:
    """x * tanh(softplus(x)) (Misra, 2019)."""
    return _gated(x, lambda z: z * tanh(softplus(z)), -1000, 40)


@full_precision
def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    limit = float(finfo(x.dtype).max)
    z = clip(x, -limit, limit)
    return z / (absolute(z) + 1)


@full_precision
def hard_sigmoid(x: Array) -> Array:
    """relu6(x + 3) / 6, the piecewise linear sigmoid of MobileNet v3."""
    return relu6(x + 3) / 6


@full_precision
def hard_silu(x: Array) -> Array:
    """x * hard_sigmoid(x) (Howard et al., 2019)."""
    return _gated(x, lambda z: z * (z + 3) / 6, -3, 3)


@full_precision
def sparse_plus(x: Array) -> Array:
    """0 up to -1, (x + 1) ** 2 / 4 up to 1, then x: the softplus that is exactly sparse."""
    z = clip(x, -1, 1) + 1
    return where(less(x, 1), z * z / 4, x)


@full_precision
def sparse_sigmoid(x: Array) -> Array:
    """(x + 1) / 2 limited to [0, 1], the gradient of `sparse_plus`."""
    return clip(x, -1, 1) / 2 + 0.5


def hard_tanh(x: ArrayLike, min_value: float = -1.0, max_value: float = 1.0) -> Array:
    """x limited to [min_value, max_value]."""
    return clip(as_real(x), min_value, max_value)


@full_precision
def exponential(x: Array) -> Array:
    """e ** x."""
    return exp(x)


@full_precision
def log1mexp(x: Array) -> Array:
    """log(1 - e ** -x) for x > 0, accurate near zero and far out; -inf at 0, NaN below (Maechler, 2012)."""
    near = x < math.log(2)
    small = e.log(-expm1(-where(near, x, 1)))
    return where(near, small, log1p(-exp(-where(near, 1, x))))


def threshold(x: ArrayLike, threshold: float, value: float = 0.0) -> Array:
    """x above `threshold`, else `value`; NaN stays."""
    x = as_real(x)
    return where(x <= threshold, value, x)


@full_precision
def tanh_shrink(x: Array) -> Array:
    """x - tanh(x)."""
    return x - tanh(x)


def soft_shrink(x: ArrayLike, threshold: float = 0.5) -> Array:
    """x brought towards zero by `threshold`, and 0 within it of zero."""
    x = as_real(x)
    return where(absolute(x) <= threshold, 0, x - clip(x, -threshold, threshold))


def hard_shrink(x: ArrayLike, threshold: float = 0.5) -> Array:
    """x, but 0 within `threshold` of zero."""
    x = as_real(x)
    return where(logical_and(x >= -threshold, x <= threshold), 0, x)


swish = silu
hard_swish = hard_silu
