"""Reductions, statistics and running totals."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from tgc import numpy as tnp
from tgc.frontends.keras.ops.promotion import (
    COUNTED,
    accumulated,
    converted,
    floating,
    promote,
    reduction,
    result_type,
)
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor
from tgc.trace import Tracer

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "average", "bincount", "corrcoef", "count_nonzero", "cumprod",
    "cumsum", "histogram", "max", "mean", "median", "min", "nanargmax", "nanargmin", "nancumprod", "nancumsum",
    "nanmax", "nanmean", "nanmedian", "nanmin", "nanpercentile", "nanprod", "nanquantile", "nanstd", "nansum", "nanvar",
    "percentile", "prod", "ptp", "quantile", "std", "sum", "trace", "trapezoid", "var",
]  # fmt: skip

all = converted(reduction(tnp.all))
any = converted(reduction(tnp.any))
amax = converted(reduction(tnp.amax))
amin = converted(reduction(tnp.amin))
max = converted(reduction(tnp.max, "initial"))
min = converted(reduction(tnp.min, "initial"))
nanmax = converted(reduction(tnp.nanmax))
nanmin = converted(reduction(tnp.nanmin))
ptp = converted(reduction(tnp.ptp))

mean = floating(reduction(tnp.mean))
median = floating(reduction(tnp.median))
nanmean = floating(reduction(tnp.nanmean))
nanmedian = floating(reduction(tnp.nanmedian))
nanstd = floating(reduction(tnp.nanstd))
nanvar = floating(reduction(tnp.nanvar))
std = floating(reduction(tnp.std))
var = floating(reduction(tnp.var))

nanprod = accumulated(reduction(tnp.nanprod))
nansum = accumulated(reduction(tnp.nansum))
prod = accumulated(reduction(tnp.prod, "dtype"))
sum = accumulated(reduction(tnp.sum))
trace = accumulated(tnp.trace, parameters="x, offset=0, axis1=0, axis2=1")
cumprod = accumulated(tnp.cumprod, COUNTED)
cumsum = accumulated(tnp.cumsum, COUNTED)
nancumprod = accumulated(tnp.nancumprod, COUNTED)
nancumsum = accumulated(tnp.nancumsum, COUNTED)

argmax = converted(reduction(tnp.argmax), result="int32")
argmin = converted(reduction(tnp.argmin), result="int32")
count_nonzero = converted(tnp.count_nonzero, result="int32")


def _place(function: Callable[..., Any], worst: float) -> Callable[..., Any]:
    @functools.partial(converted, result="int32")
    def place(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The place of the extreme element among those that are not NaN, -1 if there is none."""
        if not tnp.isdtype(x.dtype, "real floating"):
            return function(x, axis, keepdims=keepdims)
        nan = tnp.isnan(x)
        found = function(tnp.where(nan, worst, x), axis, keepdims=keepdims)
        return tnp.where(tnp.all(nan, axis, keepdims=keepdims), -1, found)

    return place


nanargmax = _place(tnp.argmax, -math.inf)
nanargmin = _place(tnp.argmin, math.inf)


def _quantile(function: Callable[..., Any]) -> Callable[..., Any]:
    @floating
    def quantile(x: Tensor, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Tensor:
        """What shares `q` of the elements along `axis` do not exceed, in the dtype of `x`."""
        q = convert_to_tensor(q, result_type(x, "float32"))  # not in half precision
        return cast(function(x, q, axis, method=method, keepdims=keepdims), x.dtype)

    return quantile


quantile = _quantile(tnp.quantile)
percentile = _quantile(tnp.percentile)
nanquantile = _quantile(tnp.nanquantile)
nanpercentile = _quantile(tnp.nanpercentile)


def average(x: Any, axis: Any = None, weights: Any = None) -> Tensor:
    """The mean along `axis`, of elements that count as much as `weights` say."""
    if weights is None:
        return mean(x, axis)
    x, weights = promote(convert_to_tensor(x), convert_to_tensor(weights), meets=(float,))
    return tnp.average(x, axis, weights)


@floating
def corrcoef(x: Tensor) -> Tensor:
    """The correlation coefficients of the rows of `x`."""
    return tnp.corrcoef(x, dtype=x.dtype)


@floating
def trapezoid(y: Tensor, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """The integral along `axis` by the trapezoidal rule, in the dtype of `y`."""
    places = None if x is None else convert_to_tensor(x, y.dtype)
    return tnp.trapezoid(y, places, convert_to_tensor(dx, y.dtype), axis)


def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Tensor:
    """How often each integer occurs in a vector, or in each row of a matrix, or the sums of their weights.

    Raises:
        ValueError: the result is to be sparse.
        ConcretizationError: `x` is traced and there is no `minlength`: the largest integer decides about the shape.
        OutOfRangeError: `x` is traced and holds an integer that is not below `minlength` (when the program runs).
    """
    if sparse:
        raise ValueError("`sparse=True` is not supported with the tgc backend: bincount returns dense tensors")
    x = convert_to_tensor(x)
    dtype = "int32"
    if weights is not None:
        weights = convert_to_tensor(weights)
        dtype = result_type(x, weights)
    if isinstance(x, Tracer) and minlength and x.ndim == 1:
        return tnp.zeros((minlength,), dtype=dtype).at[x].add(1 if weights is None else cast(weights, dtype))
    if x.ndim == 1:
        return cast(tnp.bincount(x, weights, minlength), dtype)
    rows = x.shape[0]
    length = tnp.bincount(tnp.ravel(x), minlength=minlength).shape[0]
    places = tnp.add(x, tnp.arange(rows, dtype="int32")[:, None] * length)
    counts = tnp.bincount(tnp.ravel(places), None if weights is None else tnp.ravel(weights), rows * length)
    return cast(tnp.reshape(counts, (rows, length)), dtype)


@floating
def histogram(x: Tensor, bins: int = 10, range: Any = None) -> tuple[Tensor, Tensor]:
    """How many elements lie in each of the bins, and the bins' edges, both in the dtype of `x`."""
    counts, edges = tnp.histogram(x, bins, range)
    return cast(counts, x.dtype), cast(edges, x.dtype)
