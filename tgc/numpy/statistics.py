"""Averages, covariances and histograms."""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, Axes, DTypeLike, as_array, as_real, axes_of, concrete, refuse
from tgc.numpy.complexes import by_parts, conj, real
from tgc.numpy.creation import linspace
from tgc.numpy.elementwise import clip, logical_and, sqrt
from tgc.numpy.indexing import as_indices
from tgc.numpy.manipulation import atleast_2d, concatenate, ravel, reshape, squeeze, stack, transpose
from tgc.numpy.matrices import diagonal
from tgc.numpy.reductions import max as largest
from tgc.numpy.reductions import mean, min, sum
from tgc.numpy.sorting import searchsorted
from tgc.ops import arithmetic, creation, scatter
from tgc.ops.arithmetic import (
    add,
    as_tensor,
    broadcast_to,
    divide,
    equal,
    greater_equal,
    less,
    matmul,
    multiply,
    result_type,
    subtract,
    where,
)
from tgc.trace import Tracer
from tgc.types import F64, I64, as_dtype, is_complex, is_inexact

__all__ = ["average", "bincount", "corrcoef", "cov", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd"]


def average(
    a: ArrayLike,
    axis: Axes = None,
    weights: ArrayLike | None = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    """Weighted mean along `axis`; with `returned`, a pair: it and the sum of the weights.

    `weights` have the shape of `a`, or of its `axis`.

    Raises:
        ShapeError: they do not.
    """
    x = as_array(a)
    axes = axes_of("average", x, axis)
    if weights is None:
        out = mean(x, axis, keepdims=keepdims)
        count = creation.fill(out.shape, out.dtype, math.prod(x.shape[i] for i in axes))
        return (out, count) if returned else out
    w = as_array(weights)
    if w.shape != x.shape:
        if w.shape != tuple(x.shape[i] for i in axes):
            raise refuse("average", [x, w], f"weights have neither the shape of the operand nor that of axis {axis}")
        w = reshape(w, [n if i in axes else 1 for i, n in enumerate(x.shape)])
    dtype = result_type(x, w)
    x, w = (as_tensor(v, dtype if is_inexact(dtype) else F64) for v in (x, w))
    w = broadcast_to(w, x.shape)
    total = sum(w, axis, keepdims=keepdims)
    out = divide(sum(multiply(x, w), axis, keepdims=keepdims), total)
    return (out, total) if returned else out


def cov(
    m: ArrayLike,
    y: ArrayLike | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: ArrayLike | None = None,
    aweights: ArrayLike | None = None,
    *,
    dtype: DTypeLike | None = None,
) -> Array:
    """[N, N]: the covariances of N variables, the rows of `m` (and of `y`), or its columns without `rowvar`.

    Args:
        bias: divide by the number of observations, not by one less; `ddof` says how many less.
        fweights: how often each observation was made (integers).
        aweights: how much each observation counts.
    """
    x = as_array(m)
    if x.ndim > 2:
        raise refuse("cov", [x], "the operand must be a vector or a matrix")
    given = [x] if y is None else [x, as_array(y)]
    to = result_type(*given, F64) if dtype is None else as_dtype(dtype)

    def rows(v: ArrayLike) -> Array:
        v = as_array(v)
        return atleast_2d(as_tensor(v if rowvar or v.ndim < 2 else transpose(v), to))

    x = rows(x) if y is None else concatenate([rows(x), rows(y)], 0)
    less_by = (0 if bias else 1) if ddof is None else ddof
    w: Array | None = None
    if fweights is not None:
        w = as_tensor(as_array(fweights), F64)
    if aweights is not None:
        a = as_tensor(as_array(aweights), F64)
        w = a if w is None else multiply(w, a)
    n: Any = x.shape[1]
    if w is None:
        center, norm = mean(x, 1, keepdims=True), max(n - less_by, 0)
        centered = subtract(x, center)
        product = matmul(centered, conj(transpose(centered)))
        return squeeze(divide(product, norm))
    total = sum(w)
    center = divide(sum(multiply(x, w), 1, keepdims=True), total)
    centered = subtract(x, center)
    norm = total
    if less_by:
        correction = as_tensor(as_array(aweights), F64) if aweights is not None else None
        spread = total if correction is None else sum(multiply(w, correction))
        norm = subtract(total, multiply(less_by, 1 if correction is None else divide(spread, total)))
    product = matmul(centered, conj(transpose(multiply(centered, w))))
    return squeeze(divide(product, arithmetic.maximum(norm, 0)))


def corrcoef(x: ArrayLike, y: ArrayLike | None = None, rowvar: bool = True, *, dtype: DTypeLike | None = None) -> Array:
    """[N, N]: Pearson's correlation coefficients of N variables, arranged as in `cov`.

    They lie in [-1, 1], and so do both parts of complex ones.
    """
    c = cov(x, y, rowvar, dtype=dtype)
    if not c.ndim or c.shape == (1, 1):
        return reshape(divide(c, c), ())
    deviation = sqrt(real(diagonal(c)))
    scaled = divide(divide(c, reshape(deviation, (-1, 1))), deviation)
    return by_parts(lambda part: clip(part, -1, 1), scaled) if is_complex(scaled.dtype) else clip(scaled, -1, 1)


def bincount(x: ArrayLike, weights: ArrayLike | None = None, minlength: int = 0, *, length: int | None = None) -> Array:
    """How often each of the integers 0, 1, ... occurs in a vector (int64), or the sums of their weights (float64).

    Args:
        length: the size of the result, required of tracers; numbers beyond are not counted.
    Raises:
        ConcretizationError: `x` is traced and there is no `length`.
        AttributeSpecError: a number of an array is negative.
    """
    index = as_indices("bincount", x)
    if index.ndim != 1:
        raise refuse("bincount", [index], "the operand must be a vector")
    if length is None:
        (known,) = concrete("bincount", index, instead="give `length`, the size of the result")
        length = max(int(known.max(initial=-1)) + 1, minlength)
    if isinstance(index, np.ndarray) and np.any(index < 0):
        raise AttributeSpecError("bincount: a number is negative")
    w = creation.fill(index.shape, I64, 1) if weights is None else as_tensor(as_array(weights), F64)
    if w.shape != index.shape:
        raise refuse("bincount", [index, w], "there must be as many weights as numbers")
    n = operator.index(length)
    inside = logical_and(greater_equal(index, 0), less(index, n))
    # What is not counted goes to a place of its own, which is cut off.
    place = where(inside, index, n)
    return scatter.scatter_add(creation.fill((n + 1,), w.dtype, 0), place, w)[:n]


def histogram_bin_edges(a: ArrayLike, bins: Any = 10, range: Sequence[ArrayLike] | None = None) -> Array:
    """float64[bins + 1]: the boundaries of bins of one width over `range` (from the least to the largest element).

    `bins` may also be the boundaries themselves; names of rules work on arrays alone.
    """
    x = ravel(a)
    if isinstance(bins, str):
        rule: Any = np.histogram_bin_edges
        return rule(*concrete("histogram_bin_edges", x, instead="give the number of bins"), bins, range)
    if np.ndim(bins) if not isinstance(bins, Tracer) else bins.ndim:
        return as_array(bins)
    floats = as_real(x, "histogram_bin_edges")
    if range is not None:
        low, high = (as_tensor(as_array(v), floats.dtype) for v in range)
    elif x.size:
        low, high = min(floats), largest(floats)
    else:
        low, high = (as_tensor(v, floats.dtype) for v in (0.0, 1.0))
    flat = equal(low, high)
    low, high = where(flat, subtract(low, 0.5), low), where(flat, add(high, 0.5), high)
    return linspace(low, high, operator.index(bins) + 1)


def histogram(
    a: ArrayLike,
    bins: Any = 10,
    range: Sequence[ArrayLike] | None = None,
    density: bool = False,
    weights: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """(counts, boundaries of the bins): how many elements lie in each bin, the last of which has both its ends.

    With `weights`, their sums; with `density`, divided by the total and the bins' widths.
    """
    x = ravel(a)
    edges = histogram_bin_edges(x, bins, range)
    counts = _counts([x], [edges], creation.fill(x.shape, I64, 1) if weights is None else ravel(weights))
    return _density(counts, [edges]) if density else counts, edges


def _counts(columns: Sequence[Array], edges: Sequence[Array], weights: Array) -> Array:
    """The sums of the weights of points, by the bins that their coordinates lie in; the last bins are closed."""
    shape = [e.shape[0] - 1 for e in edges]
    total = math.prod(shape)
    place: Array = 0
    inside: Array = True
    for x, e, n in zip(columns, edges, shape, strict=True):
        index = subtract(searchsorted(e, as_tensor(x, result_type(x, e)), side="right"), 1)
        index = where(equal(x, e[n]), n - 1, index)
        inside = logical_and(inside, logical_and(greater_equal(index, 0), less(index, n)))
        place = add(multiply(place, n), index)
    # What lies in no bin goes to a place of its own, which is cut off.
    place = where(inside, place, total)
    return reshape(scatter.scatter_add(creation.fill((total + 1,), weights.dtype, 0), place, weights)[:total], shape)


def _density(counts: Array, edges: Sequence[Array]) -> Array:
    """Counts divided by their total and by the sizes of the bins."""
    size = sum(counts)
    for axis, e in enumerate(edges):
        widths = subtract(e[1:], e[:-1])
        size = multiply(size, reshape(widths, [-1 if a == axis else 1 for a in range(len(edges))]))
    return divide(counts, size)


def histogramdd(
    sample: ArrayLike,
    bins: Any = 10,
    range: Sequence[Sequence[ArrayLike] | None] | None = None,
    density: bool = False,
    weights: ArrayLike | None = None,
) -> tuple[Array, list[Array]]:
    """(float64 counts [bins of axis 0, bins of axis 1, ...], boundaries by axis) of N points of D coordinates.

    Args:
        sample: [N, D], or a tuple or list of D vectors [N].
        bins: of all axes: a number; or by axis: numbers, or vectors of boundaries.
        range: (low, high) by axis; None, also that of one axis: from the least to the largest coordinate.
        density: divide by the total and by the sizes of the bins.
        weights: [N]: sum these up instead.
    Raises:
        ShapeError: `sample` or `weights` has another shape.
        AttributeSpecError: there are not as many bins or ranges as axes.
    """
    points = stack([as_array(x) for x in sample], -1) if isinstance(sample, list | tuple) else as_array(sample)
    if points.ndim != 2:
        raise refuse("histogramdd", [points], "the points must be [N, D], or D vectors")
    n, d = points.shape
    by_axis = list(bins) if isinstance(bins, list | tuple) else [bins] * d
    ranges = [None] * d if range is None else list(range)
    if len(by_axis) != d or len(ranges) != d:
        raise AttributeSpecError(f"histogramdd: {len(by_axis)} bins and {len(ranges)} ranges for {d} axes")
    w = creation.fill((n,), F64, 1) if weights is None else as_tensor(as_array(weights), F64)
    if w.shape != (n,):
        raise refuse("histogramdd", [points, w], "there must be one weight a point")
    columns = [points[:, k] for k in builtins.range(d)]
    edges = [histogram_bin_edges(x, b, r) for x, b, r in zip(columns, by_axis, ranges, strict=True)]
    counts = _counts(columns, edges, w)
    return _density(counts, edges) if density else counts, edges


def histogram2d(
    x: ArrayLike,
    y: ArrayLike,
    bins: Any = 10,
    range: Sequence[Sequence[ArrayLike] | None] | None = None,
    density: bool = False,
    weights: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """(counts, boundaries along x, along y) of points (x, y): `histogramdd` in two dimensions.

    `bins` may also be one vector: the boundaries along both.
    """
    shared = not isinstance(bins, int) and (not isinstance(bins, list | tuple) or len(bins) != 2)
    given = [as_array(bins)] * 2 if shared else bins
    counts, edges = histogramdd([as_array(x), as_array(y)], given, range, density, weights)
    return counts, edges[0], edges[1]
