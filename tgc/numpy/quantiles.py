"""Medians and quantiles, from sorted elements; the `nan` versions leave NaN out."""

from __future__ import annotations

import math

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, Axes, accumulator, as_array, as_real, axes_of
from tgc.numpy.elementwise import ceil, floor, isnan, logical_not, maximum, minimum, round
from tgc.numpy.indexing import take_along_axis
from tgc.numpy.manipulation import moveaxis, ravel, reshape
from tgc.numpy.reductions import sum
from tgc.numpy.sorting import sort
from tgc.ops.arithmetic import (
    add,
    as_tensor,
    broadcast_to,
    divide,
    equal,
    is_weak,
    less,
    multiply,
    remainder,
    result_type,
    subtract,
    where,
)
from tgc.types import I64, is_float

__all__ = ["median", "nanmedian", "nanpercentile", "nanquantile", "percentile", "quantile"]

# Quantile q of n sorted elements lies at place q * (n + 1 - alpha - beta) + alpha - 1: (alpha, beta) of each definition
# (Hyndman and Fan, "Sample quantiles in statistical packages", 1996, their numbers 1 to 9).
PLACES: dict[str, tuple[float, float]] = {
    "inverted_cdf": (0, 1), "averaged_inverted_cdf": (0, 1), "closest_observation": (-0.5, 1.5),
    "interpolated_inverted_cdf": (0, 1), "hazen": (0.5, 0.5), "weibull": (0, 0), "linear": (1, 1),
    "median_unbiased": (1 / 3, 1 / 3), "normal_unbiased": (3 / 8, 3 / 8),
}  # fmt: skip
ROUNDING = {"lower": floor, "higher": ceil, "nearest": round}  # of the place of "linear"; "midpoint" is their mean
# How much the element behind a place counts where not in proportion: at places between elements, and at those of one.
WEIGHTS: dict[str, tuple[float, float]] = {
    "inverted_cdf": (1, 0), "averaged_inverted_cdf": (1, 0.5), "closest_observation": (1, 1), "midpoint": (0.5, 0),
}  # fmt: skip


def _quantile(
    function: str, a: ArrayLike, q: ArrayLike, axis: Axes, method: str, keepdims: bool, skip: bool, scale: float
) -> Array:
    if method not in PLACES and method not in ROUNDING and method != "midpoint":
        known = ", ".join([*PLACES, *ROUNDING, "midpoint"])
        raise AttributeSpecError(f"{function}: method {method!r} is not supported; there are {known}")
    x = as_real(a, "quantile")
    dtype = x.dtype if is_weak(q) else result_type(x.dtype, q)
    work = accumulator(dtype) if is_float(dtype) else x.dtype
    share = divide(as_tensor(as_array(q), work), scale)
    axes = axes_of(function, x, axis)
    kept = [n for i, n in enumerate(x.shape) if i not in axes]
    rest = math.prod(x.shape[i] for i in axes)
    rows = reshape(moveaxis(x, axes, tuple(range(-len(axes), 0))) if axes else x, (*kept, rest))
    shape = (*share.shape, *([1 if i in axes else n for i, n in enumerate(x.shape)] if keepdims else kept))
    if not rest:
        return broadcast_to(as_tensor(math.nan, dtype), shape)
    ordered = as_tensor(sort(rows), work)
    share = reshape(ravel(share), (-1 if share.size else 0, *(1 for _ in kept)))
    n: Array | int = as_tensor(sum(logical_not(isnan(rows)), -1), work) if skip else rest
    alpha, beta = PLACES.get(method, (1, 1))
    place = add(multiply(share, subtract(add(n, 1 - alpha), beta)), alpha - 1)
    place = minimum(broadcast_to(place, (share.shape[0], *kept)), subtract(n, 1))
    ahead = less(place, 0)  # of the first element
    place = maximum(place, 0)
    if method in ROUNDING:
        place = ROUNDING[method](place)
    low = floor(place)
    high = minimum(add(low, 1), maximum(subtract(n, 1), 0))
    weight = subtract(place, low)
    if method in WEIGHTS:
        between, exact = WEIGHTS[method]
        even = (
            equal(remainder(low, 2), 1) if method == "closest_observation" else False
        )  # that number, counted from one
        weight = where(equal(weight, 0), where(even, 0.0, float(exact)), float(between))
        weight = where(ahead, 0.0, weight)

    def at(index: Array) -> Array:
        return moveaxis(take_along_axis(ordered, moveaxis(as_tensor(index, I64), 0, -1), -1), -1, 0)

    first, second = at(low), at(high)
    out = where(equal(weight, 0), first, add(first, multiply(subtract(second, first), weight)))
    out = where(equal(n, 0) if skip else isnan(ordered[..., rest - 1]), math.nan, out)
    return as_tensor(reshape(out, shape), dtype)


def quantile(a: ArrayLike, q: ArrayLike, axis: Axes = None, *, method: str = "linear", keepdims: bool = False) -> Array:
    """[*q, *kept]: what a share `q` in [0, 1] of the elements along `axis` does not exceed; NaN if one is NaN.

    Args:
        method: how to interpolate between elements: "linear", "lower", "higher", "nearest", "midpoint",
            "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen",
            "weibull", "median_unbiased" or "normal_unbiased".
    Raises:
        AttributeSpecError: there is no such method.
    """
    return _quantile("quantile", a, q, axis, method, keepdims, False, 1)


def percentile(
    a: ArrayLike, q: ArrayLike, axis: Axes = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`quantile` of percents, `q` in [0, 100]."""
    return _quantile("percentile", a, q, axis, method, keepdims, False, 100)


def median(a: ArrayLike, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """The middle of the elements along `axis`, or the mean of the middle two; NaN if one is NaN."""
    return _quantile("median", a, 0.5, axis, "linear", keepdims, False, 1)


def nanquantile(
    a: ArrayLike, q: ArrayLike, axis: Axes = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`quantile` of the elements that are not NaN; NaN if there is none."""
    return _quantile("nanquantile", a, q, axis, method, keepdims, True, 1)


def nanpercentile(
    a: ArrayLike, q: ArrayLike, axis: Axes = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`percentile` of the elements that are not NaN; NaN if there is none."""
    return _quantile("nanpercentile", a, q, axis, method, keepdims, True, 100)


def nanmedian(a: ArrayLike, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """`median` of the elements that are not NaN; NaN if there is none."""
    return _quantile("nanmedian", a, 0.5, axis, "linear", keepdims, True, 1)
