"""Activation functions. Half precision is computed in float32 and rounded once; integers become float64."""

from __future__ import annotations

import math

from tgc.nn.base import full_precision
from tgc.numpy.base import Array, ArrayLike, as_array, as_real, axis_of, refuse
from tgc.numpy.elementwise import absolute, clip, exp, expm1, log1p, maximum, minimum, tanh, where
from tgc.numpy.manipulation import split
from tgc.ops import elementwise as e

__all__ = [
    "celu", "elu", "gelu", "glu", "hard_sigmoid", "hard_swish", "hard_tanh", "leaky_relu", "log_sigmoid", "mish",
    "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "swish", "tanh",
]  # fmt: skip


def relu(x: ArrayLike) -> Array:
    """max(x, 0), in x's dtype, integers included. Its gradient at 0 is 0."""
    return e.relu(as_array(x))


def relu6(x: ArrayLike) -> Array:
    """min(max(x, 0), 6)."""
    return minimum(relu(x), 6)


def leaky_relu(x: ArrayLike, negative_slope: ArrayLike = 0.01) -> Array:
    """x above zero, else negative_slope * x; with a learned slope that broadcasts, the PReLU."""
    x = as_real(x)
    return where(x >= 0, x, x * negative_slope)


@full_precision
def elu(x: Array, alpha: ArrayLike = 1.0) -> Array:
    """x above zero, else alpha * (e ** x - 1)."""
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
    if approximate:
        return x * (tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) + 1) * 0.5
    return x * (e.erf(x * math.sqrt(0.5)) + 1) * 0.5


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
    return x * e.sigmoid(x)


@full_precision
def softplus(x: Array) -> Array:
    """log(1 + e ** x), without overflow on the way."""
    # At x == 0 the gradient must be 1/2: the maximum hands its cotangent to x, so the minimum is one of (0, x).
    high, low = maximum(x, 0), minimum(0, x)
    return high + log1p(exp(low - high))


@full_precision
def mish(x: Array) -> Array:
    """x * tanh(softplus(x)) (Misra, 2019)."""
    return x * tanh(softplus(x))


@full_precision
def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    return x / (absolute(x) + 1)


@full_precision
def hard_sigmoid(x: Array) -> Array:
    """relu6(x + 3) / 6, the piecewise linear sigmoid of MobileNet v3."""
    return relu6(x + 3) / 6


@full_precision
def hard_swish(x: Array) -> Array:
    """x * hard_sigmoid(x)."""
    return x * hard_sigmoid(x)


def hard_tanh(x: ArrayLike, min_value: float = -1.0, max_value: float = 1.0) -> Array:
    """x limited to [min_value, max_value]."""
    return clip(as_real(x), min_value, max_value)


def glu(x: ArrayLike, axis: int = -1) -> Array:
    """The first half of `x` along `axis` times the sigmoid of the second (Dauphin et al., 2017).

    Raises:
        ShapeError: the axis has an odd size.
    """
    x = as_real(x)
    if x.shape[axis_of("glu", x, axis)] % 2:
        raise refuse("glu", [x], f"axis {axis} has an odd size")
    value, gate = split(x, 2, axis)
    return value * sigmoid(gate)


swish = silu
