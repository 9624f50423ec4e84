"""Statistics that leave NaN out. Of elements that are all NaN: 0 for sums, 1 for products, else NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tgc.errors import NoElementError
from tgc.numpy import reductions
from tgc.numpy.base import Array, ArrayLike, Axes, DTypeLike, as_array, describe
from tgc.numpy.elementwise import isnan, logical_not
from tgc.ops.arithmetic import where
from tgc.types import is_inexact

__all__ = ["nanargmax", "nanargmin", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar"]


def _numbers(a: ArrayLike) -> tuple[Array, Array | None]:
    """An operand, and where it is not NaN (None: everywhere, as for integers)."""
    x = as_array(a)
    return x, logical_not(isnan(x)) if is_inexact(x.dtype) else None


def nansum(a: ArrayLike, axis: Axes = None, dtype: DTypeLike | None = None, *, keepdims: bool = False) -> Array:
    """Sum of the elements that are not NaN."""
    x, there = _numbers(a)
    return reductions.sum(x, axis, dtype, keepdims=keepdims, where=there)


def nanprod(a: ArrayLike, axis: Axes = None, dtype: DTypeLike | None = None, *, keepdims: bool = False) -> Array:
    """Product of the elements that are not NaN."""
    x, there = _numbers(a)
    return reductions.prod(x, axis, dtype, keepdims=keepdims, where=there)


def nanmean(a: ArrayLike, axis: Axes = None, dtype: DTypeLike | None = None, *, keepdims: bool = False) -> Array:
    """Mean of the elements that are not NaN."""
    x, there = _numbers(a)
    return reductions.mean(x, axis, dtype, keepdims=keepdims, where=there)


def nanvar(
    a: ArrayLike, axis: Axes = None, dtype: DTypeLike | None = None, *, ddof: float = 0, keepdims: bool = False
) -> Array:
    """Variance of the elements that are not NaN; NaN where there are not more than `ddof`."""
    x, there = _numbers(a)
    if there is None:
        return reductions.var(x, axis, dtype, ddof=ddof, keepdims=keepdims)
    variance = reductions.var(x, axis, dtype, ddof=ddof, keepdims=keepdims, where=there)
    return where(reductions.sum(there, axis, keepdims=keepdims) > ddof, variance, math.nan)


def nanstd(
    a: ArrayLike, axis: Axes = None, dtype: DTypeLike | None = None, *, ddof: float = 0, keepdims: bool = False
) -> Array:
    """Standard deviation of the elements that are not NaN; its gradient where the variance is zero is 0."""
    x, there = _numbers(a)
    if there is None:
        return reductions.std(x, axis, dtype, ddof=ddof, keepdims=keepdims)
    deviation = reductions.std(x, axis, dtype, ddof=ddof, keepdims=keepdims, where=there)
    return where(reductions.sum(there, axis, keepdims=keepdims) > ddof, deviation, math.nan)


def _extreme(function: Callable[..., Any], worst: float, a: ArrayLike, axis: Axes, keepdims: bool) -> Array:
    x, there = _numbers(a)
    if there is None:
        return function(x, axis, keepdims=keepdims)
    out = function(where(there, x, worst), axis, keepdims=keepdims)
    return where(reductions.any(there, axis, keepdims=keepdims), out, math.nan)


def nanmax(a: ArrayLike, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """Largest of the elements that are not NaN."""
    return _extreme(reductions.max, -math.inf, a, axis, keepdims)


def nanmin(a: ArrayLike, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """Smallest of the elements that are not NaN."""
    return _extreme(reductions.min, math.inf, a, axis, keepdims)


def _place(
    name: str, function: Callable[..., Any], worst: float, a: ArrayLike, axis: int | None, keepdims: bool
) -> Array:
    x, there = _numbers(a)
    if there is None:
        return function(x, axis, keepdims=keepdims)
    out = function(where(there, x, worst), axis, keepdims=keepdims)
    some = reductions.any(there, axis, keepdims=keepdims)
    if isinstance(some, np.ndarray) and not some.all():
        raise NoElementError(f"{name}({describe(x)}): all elements along axis {axis} are NaN")
    return where(some, out, -1)


def nanargmax(a: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index of the first largest of the elements that are not NaN; compiled, -1 if there is none.

    Raises:
        NoElementError: on arrays, there is none.
    """
    return _place("nanargmax", reductions.argmax, -math.inf, a, axis, keepdims)


def nanargmin(a: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index of the first smallest of the elements that are not NaN; compiled, -1 if there is none.

    Raises:
        NoElementError: on arrays, there is none.
    """
    return _place("nanargmin", reductions.argmin, math.inf, a, axis, keepdims)
