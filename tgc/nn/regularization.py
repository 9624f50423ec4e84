"""Dropout and noise. A key is u32[2] of `tgc.random`, a new one for every use; in inference all return `x` itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tgc.errors import AttributeSpecError
from tgc.nn.base import channels_last
from tgc.numpy.base import Array, ArrayLike, as_real, refuse
from tgc.numpy.elementwise import multiply, subtract, where
from tgc.ops.arithmetic import broadcast_to, zeros_like
from tgc.random import bernoulli, normal

__all__ = ["alpha_dropout", "dropout", "gaussian_dropout", "gaussian_noise", "spatial_dropout"]


def _active(function: str, x: ArrayLike, rate: float, key: Array | None, training: bool) -> tuple[Array, bool]:
    """`x` as floats, and whether there is something to drop.

    Raises:
        AttributeSpecError: `rate` is outside of [0, 1], or a key is missing.
    """
    if not 0 <= rate <= 1:
        raise AttributeSpecError(f"{function}: rate {rate} is no probability")
    active = training and rate > 0
    if active and rate < 1 and key is None:
        raise AttributeSpecError(f"{function} in training needs a key; see tgc.random.key")
    return as_real(x), active


def _kept(function: str, x: Array, rate: float, key: Array, noise_shape: Sequence[int | None] | None) -> Array:
    """Booleans of the shape of `x`, False with probability `rate`, drawn for `noise_shape` and repeated."""
    if noise_shape is None:
        return bernoulli(key, 1 - rate, x.shape)
    shape = tuple(noise_shape)
    drawn = tuple(m if n is None else n for n, m in zip(shape, x.shape, strict=False))
    if len(shape) != x.ndim or any(n not in (1, m) for n, m in zip(drawn, x.shape, strict=True)):
        raise refuse(function, [x], f"noise_shape {noise_shape} has not the operand's sizes, 1 or None on each axis")
    return broadcast_to(bernoulli(key, 1 - rate, drawn), x.shape)


def dropout(
    x: ArrayLike,
    rate: float,
    key: Array | None = None,
    *,
    noise_shape: Sequence[int | None] | None = None,
    training: bool = True,
) -> Array:
    """0 with probability `rate`, else x / (1 - rate) (Srivastava et al., 2014); in inference `x` itself.

    Args:
        rate: in [0, 1], known while tracing; kept to a multiple of 2**-24.
        key: needed in training.
        noise_shape: elements along an axis of size 1 here are kept or dropped together; None is the operand's size.

    Raises:
        AttributeSpecError: `rate` is outside of [0, 1], or a key is missing.
        ShapeError: `noise_shape` does not fit.
    """
    x, active = _active("dropout", x, rate, key, training)
    if not active:
        return x
    if key is None or rate == 1:
        return zeros_like(x)
    return where(_kept("dropout", x, rate, key, noise_shape), multiply(x, 1 / (1 - rate)), 0)


def spatial_dropout(
    x: ArrayLike, rate: float, key: Array | None = None, *, data_format: str = "NHWC", training: bool = True
) -> Array:
    """`dropout` of whole channels of each sample (Tompson et al., 2015)."""
    x, back = channels_last("spatial_dropout", x, data_format)
    shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
    return back(dropout(x, rate, key, noise_shape=shape, training=training))


def alpha_dropout(
    x: ArrayLike,
    rate: float,
    key: Array | None = None,
    *,
    noise_shape: Sequence[int | None] | None = None,
    training: bool = True,
) -> Array:
    """Dropout to the lower limit of `selu`, then scaled to keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    x, active = _active("alpha_dropout", x, rate, key, training)
    if not active:
        return x
    if key is None or rate == 1:
        return zeros_like(x)
    low = -1.6732632423543772 * 1.0507009873554805
    scale = 1 / math.sqrt((1 - rate) * (1 + rate * low**2))
    kept = where(_kept("alpha_dropout", x, rate, key, noise_shape), x, low)
    return subtract(multiply(kept, scale), scale * low * rate)


def gaussian_dropout(x: ArrayLike, rate: float, key: Array | None = None, *, training: bool = True) -> Array:
    """`x` times normal numbers of mean 1 and variance rate / (1 - rate) (Srivastava et al., 2014); rate below 1."""
    x, active = _active("gaussian_dropout", x, rate, key, training)
    if not active:
        return x
    if key is None or rate == 1:
        raise AttributeSpecError("gaussian_dropout: a rate of 1 has no finite variance")
    return x * (normal(key, x.shape, x.dtype) * math.sqrt(rate / (1 - rate)) + 1)


def gaussian_noise(x: ArrayLike, stddev: float, key: Array | None = None, *, training: bool = True) -> Array:
    """`x` plus normal numbers of mean 0 and standard deviation `stddev`."""
    x = as_real(x)
    if not training or stddev == 0:
        return x
    if key is None:
        raise AttributeSpecError("gaussian_noise in training needs a key; see tgc.random.key")
    return x + normal(key, x.shape, x.dtype) * stddev
