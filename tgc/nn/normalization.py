"""Normalization by means and variances, in float32 for half precision.

Variances are those of the distances from the mean (two passes), which do not cancel. Parameters `scale` and `bias` are
optional and have the shape of the axes they belong to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tgc.nn.base import full_precision, parameter
from tgc.numpy.base import (
    Array,
    ArrayLike,
    Axes,
    accumulator,
    along,
    as_array,
    as_real,
    axes_of,
    axis_of,
    refuse,
    replace,
    spread,
)
from tgc.numpy.manipulation import reshape
from tgc.ops.arithmetic import as_tensor
from tgc.ops.elementwise import rsqrt
from tgc.ops.reduce import reduce_sum

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm", "standardize"]


def _mean(x: Array, axes: Sequence[int]) -> Array:
    return reduce_sum(x, axes=axes, chunks=0) / math.prod(x.shape[a] for a in axes)


def _standardized(x: Array, axes: Sequence[int], epsilon: float) -> Array:
    """`x` with mean 0 and variance 1 along `axes`."""
    distance = x - spread(_mean(x, axes), axes, x.shape)
    return distance * spread(rsqrt(_mean(distance * distance, axes) + epsilon), axes, x.shape)


def _affine(function: str, x: Array, scale: ArrayLike | None, bias: ArrayLike | None, axes: Sequence[int]) -> Array:
    if scale is not None:
        x = x * parameter(function, "scale", scale, x, axes)
    return x if bias is None else x + parameter(function, "bias", bias, x, axes)


@full_precision
def standardize(x: Array, *, axis: Axes = -1, epsilon: float = 1e-5) -> Array:
    """`x` with mean 0 and variance 1 along `axis` (one or several)."""
    return _standardized(x, axes_of("standardize", x, axis), epsilon)


@full_precision
def layer_norm(
    x: Array,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axis: Axes = -1,
    epsilon: float = 1e-5,
) -> Array:
    """Mean 0 and variance 1 along `axis` (one or several), whose shape `scale` and `bias` have (Ba et al., 2016)."""
    axes = axes_of("layer_norm", x, axis)
    return _affine("layer_norm", _standardized(x, axes, epsilon), scale, bias, axes)


@full_precision
def rms_norm(x: Array, scale: ArrayLike | None = None, *, axis: Axes = -1, epsilon: float = 1e-6) -> Array:
    """`x` divided by its root mean square along `axis`, whose shape `scale` has (Zhang and Sennrich, 2019)."""
    axes = axes_of("rms_norm", x, axis)
    scaled = x * spread(rsqrt(_mean(x * x, axes) + epsilon), axes, x.shape)
    return _affine("rms_norm", scaled, scale, None, axes)


@full_precision
def instance_norm(
    x: Array,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
) -> Array:
    """Mean 0 and variance 1 of each channel (along `axis`) of each sample (along axis 0) (Ulyanov et al., 2016)."""
    channel = axis_of("instance_norm", x, axis)
    spatial = [a for a in range(1, x.ndim) if a != channel]
    return _affine("instance_norm", _standardized(x, spatial, epsilon), scale, bias, [channel])


@full_precision
def group_norm(
    x: Array,
    groups: int,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
) -> Array:
    """Mean 0 and variance 1 of each of `groups` groups of adjacent channels (along `axis`) of each sample.

    Wu and He, "Group normalization", 2018.

    Raises:
        ShapeError: the channels cannot be divided into `groups`, or parameters have not one entry a channel.
    """
    channel = axis_of("group_norm", x, axis)
    n = x.shape[channel]
    if groups < 1 or n % groups:
        raise refuse("group_norm", [x], f"{n} channels cannot be divided into {groups} groups")
    grouped = reshape(x, replace(x.shape, channel, groups, n // groups))
    within = [a for a in range(1, grouped.ndim) if a != channel]
    return _affine("group_norm", reshape(_standardized(grouped, within, epsilon), x.shape), scale, bias, [channel])


def batch_norm(
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    training: bool = False,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    axis: int = -1,
    unbiased: bool = False,
) -> tuple[Array, Array, Array]:
    """(y, new running mean, new running variance) for channels along `axis` (Ioffe and Szegedy, 2015).

    In training `x` is normalized by its own statistics over all other axes, and a running statistic becomes
    momentum * old + (1 - momentum) * new, with the variance over n - 1 rather than n if `unbiased`, as PyTorch has it
    (its momentum is 1 - ours). Otherwise `x` is normalized by the running statistics, which are returned unchanged.

    Raises:
        ShapeError: statistics or parameters have not one entry a channel.
    """
    x, mean, var = as_real(x), as_array(mean), as_array(var)
    wide = as_tensor(x, accumulator(x.dtype))
    channel = [axis_of("batch_norm", x, axis)]
    size = (x.shape[channel[0]],)
    for name, value in (("mean", mean), ("var", var), ("scale", scale), ("bias", bias)):
        if value is not None and as_array(value).shape != size:
            raise refuse("batch_norm", [x, value], f"{name} must have the shape {size}, one entry a channel")
    if not training:
        factor = rsqrt(as_tensor(var, wide.dtype) + epsilon)
        factor = factor if scale is None else factor * as_tensor(scale, wide.dtype)
        offset = -as_tensor(mean, wide.dtype) * factor
        offset = offset if bias is None else offset + as_tensor(bias, wide.dtype)
        y = wide * along(factor, channel, x.shape) + along(offset, channel, x.shape)
        return as_tensor(y, x.dtype), mean, var
    others = [a for a in range(x.ndim) if a not in channel]
    n = math.prod(x.shape[a] for a in others)
    center = _mean(wide, others)
    distance = wide - spread(center, others, x.shape)
    spreading = _mean(distance * distance, others)
    factor = rsqrt(spreading + epsilon)
    factor = factor if scale is None else factor * as_tensor(scale, wide.dtype)
    y = _affine("batch_norm", distance * along(factor, channel, x.shape), None, bias, channel)
    seen = spreading * (n / max(n - 1, 1)) if unbiased else spreading

    def blend(old: Array, new: Array) -> Array:
        return old * momentum + as_tensor(new, old.dtype) * (1 - momentum)

    return as_tensor(y, x.dtype), blend(mean, center), blend(var, seen)
