"""Differences, integrals, interpolation and convolution of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, Axes, as_array, as_inexact, as_real, axes_of, axis_of, refuse, replace
from tgc.numpy.cumulative import cumsum
from tgc.numpy.elementwise import logical_and
from tgc.numpy.indexing import take
from tgc.numpy.manipulation import concatenate, flip, moveaxis, ravel, reshape
from tgc.numpy.padding import pad
from tgc.numpy.reductions import sum
from tgc.numpy.sorting import argsort, searchsorted
from tgc.ops import arithmetic, creation
from tgc.ops.arithmetic import (
    absolute,
    add,
    as_tensor,
    broadcast_to,
    divide,
    equal,
    greater,
    less,
    multiply,
    not_equal,
    remainder,
    result_type,
    subtract,
    where,
)
from tgc.types import BOOL, F64, I64, INTS, is_inexact

__all__ = ["convolve", "correlate", "diff", "ediff1d", "gradient", "interp", "trapezoid", "unwrap"]


def _between(a: Array, axis: int, start: int | None, stop: int | None) -> Array:
    return a[(slice(None),) * axis + (slice(start, stop),)]


def diff(
    a: ArrayLike,
    /,
    n: int = 1,
    axis: int = -1,
    prepend: ArrayLike | None = None,
    append: ArrayLike | None = None,
) -> Array:
    """What each element is more than the one before it along `axis`, `n` times over; of booleans, whether it differs.

    `prepend` and `append` are joined to the ends first; numbers become one slice.

    Raises:
        ShapeError: `a` has no axes.
        AttributeSpecError: `n` is negative.
    """
    a = as_array(a)
    if n < 0:
        raise AttributeSpecError(f"diff: n is negative: {n}")
    if not a.ndim:
        raise refuse("diff", [a], "the operand needs an axis")
    at = axis_of("diff", a, axis)
    if n == 0:
        return a
    ends = [None if v is None else as_array(v) for v in (prepend, append)]
    ends = [broadcast_to(v, replace(a.shape, at, 1)) if v is not None and not v.ndim else v for v in ends]
    parts = [v for v in (ends[0], a, ends[1]) if v is not None]
    a = concatenate(parts, at) if len(parts) > 1 else a
    for _ in range(n):
        if not a.shape[at]:
            break
        later, earlier = _between(a, at, 1, None), _between(a, at, None, -1)
        a = not_equal(later, earlier) if a.dtype == BOOL else subtract(later, earlier)
    return a


def ediff1d(ary: ArrayLike, to_end: ArrayLike | None = None, to_begin: ArrayLike | None = None) -> Array:
    """The differences of neighbours in the flattened array, between `to_begin` and `to_end`."""
    middle = diff(ravel(ary))
    ends = [None if v is None else as_tensor(ravel(v), middle.dtype) for v in (to_begin, to_end)]
    parts = [v for v in (ends[0], middle, ends[1]) if v is not None]
    return concatenate(parts)


def trapezoid(y: ArrayLike, x: ArrayLike | None = None, dx: ArrayLike = 1.0, axis: int = -1) -> Array:
    """The integral of samples `y` along `axis` by the trapezoidal rule, at places `x` or `dx` apart."""
    y = as_inexact(y)
    at = axis_of("trapezoid", y, axis)
    widths: Array = dx
    if x is not None:
        x = as_array(x)
        widths = diff(x, axis=axis if x.ndim == y.ndim else -1)
        if x.ndim == 1:
            widths = reshape(widths, [-1 if i == at else 1 for i in range(y.ndim)])
    heights = add(_between(y, at, 1, None), _between(y, at, None, -1))
    return sum(multiply(multiply(widths, heights), 0.5), at)


def gradient(f: ArrayLike, *varargs: ArrayLike, axis: Axes = None, edge_order: int = 1) -> Any:
    """The slope of samples along each of `axis`: central differences, and one-sided ones of `edge_order` at the ends.

    Args:
        varargs: nothing (samples are 1 apart), one distance, or one an axis: a distance or the places of the samples.
    Returns:
        One tensor of the shape of `f`, or a tuple of them, one an axis.
    Raises:
        ShapeError: an axis has not more than `edge_order` elements, or the distances do not fit the axes.
    """
    f = as_inexact(f)
    axes = axes_of("gradient", f, axis) if not isinstance(axis, Sequence) else [axis_of("gradient", f, a) for a in axis]
    if edge_order not in (1, 2):
        raise AttributeSpecError(f"gradient: edge_order is 1 or 2, not {edge_order}")
    steps = list(varargs) or [1.0]
    steps = steps * len(axes) if len(steps) == 1 else steps
    if len(steps) != len(axes):
        raise refuse("gradient", [f], f"{len(varargs)} distances for {len(axes)} axes")
    slopes = []
    for at, step in zip(axes, steps, strict=True):
        n = f.shape[at]
        if n <= edge_order:
            raise refuse("gradient", [f], f"axis {at} needs more than {edge_order} elements")
        slopes.append(moveaxis(_slope(moveaxis(f, at, 0), step, edge_order), 0, at))
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


def _slope(f: Array, step: ArrayLike, edge_order: int) -> Array:
    """The slope along axis 0."""
    step = as_tensor(step, f.dtype)
    n = f.shape[0]
    gaps = diff(step) if step.ndim else broadcast_to(step, (n - 1,))
    if gaps.shape != (n - 1,):
        raise refuse("gradient", [f, step], "there must be as many places as samples")
    gaps = reshape(gaps, (n - 1,) + (1,) * (f.ndim - 1))
    slopes = divide(diff(f, axis=0), gaps)  # from each sample to the next
    before, after = gaps[:-1], gaps[1:]
    total = add(before, after)
    middle = divide(add(multiply(slopes[:-1], after), multiply(slopes[1:], before)), total)
    first, last = slopes[:1], slopes[-1:]
    if edge_order == 2:
        first = add(first, divide(multiply(subtract(slopes[:1], slopes[1:2]), gaps[:1]), total[:1]))
        last = add(last, divide(multiply(subtract(slopes[-1:], slopes[-2:-1]), gaps[-1:]), total[-1:]))
    return concatenate([first, middle, last])


def interp(
    x: ArrayLike,
    xp: ArrayLike,
    fp: ArrayLike,
    left: ArrayLike | None = None,
    right: ArrayLike | None = None,
    period: float | None = None,
) -> Array:
    """Values at `x` of the piecewise linear function through the points (xp, fp), xp increasing.

    Beyond the ends the value is `left` or `right` (the end's own, unless given); with a `period` there are no ends, and
    `xp` need not be in order. The gradient at a point is that of the piece on its right.

    Raises:
        ShapeError: `xp` and `fp` are no vectors of one size, or empty.
    """
    xs, ys = as_real(xp, "interp"), as_array(fp)
    x = as_real(x, "interp")
    dtype = result_type(x, xs, ys)
    dtype = dtype if is_inexact(dtype) else F64
    if xs.ndim != 1 or xs.shape != ys.shape or not xs.size:
        raise refuse("interp", [xs, ys], "xp and fp must be vectors of one size, not empty")
    ys = as_tensor(ys, dtype)
    if period is not None:
        x, xs = remainder(x, abs(period)), remainder(xs, abs(period))
        order = argsort(xs)
        xs, ys = take(xs, order), take(ys, order)
        xs = concatenate([xs[-1:] - abs(period), xs, xs[:1] + abs(period)])
        ys = concatenate([ys[-1:], ys, ys[:1]])
        left = right = None
    n = xs.shape[0]
    at = searchsorted(xs, x, side="right")
    low = arithmetic.minimum(arithmetic.maximum(subtract(at, 1), 0), max(n - 2, 0))
    high = arithmetic.minimum(add(low, 1), n - 1)
    x0, x1, y0, y1 = take(xs, low), take(xs, high), take(ys, low), take(ys, high)
    width = subtract(x1, x0)
    slope = where(equal(width, 0), 0, divide(subtract(y1, y0), where(equal(width, 0), 1, width)))
    value = add(multiply(slope, subtract(x, x0)), y0)
    value = where(equal(x, x1), y1, value)
    value = where(less(x, xs[0]), ys[0] if left is None else left, value)
    value = where(greater(x, xs[n - 1]), ys[n - 1] if right is None else right, value)
    return where(not_equal(x, x), math.nan, value)


def _count(n: int) -> Array:
    return creation.iota(shape=(n,), dtype=I64, axis=0)


def convolve(a: ArrayLike, v: ArrayLike, mode: str = "full") -> Array:
    """The discrete convolution of two vectors; "full" (M + N - 1 values), "same" (max(M, N)) or "valid".

    Raises:
        ShapeError: an operand is no vector, or empty.
        AttributeSpecError: there is no such mode.
    """
    x, y = as_array(a), as_array(v)
    if x.ndim != 1 or y.ndim != 1 or not x.size or not y.size:
        raise refuse("convolve", [x, y], "operands must be vectors, not empty")
    if mode not in ("full", "same", "valid"):
        raise AttributeSpecError(f"convolve: mode {mode!r} is not supported; there are full, same and valid")
    dtype = result_type(x, y)
    x, y = (as_tensor(t, dtype) for t in ((x, y) if x.size >= y.size else (y, x)))
    m, n = x.size, y.size
    # Row i holds the n elements that meet the reversed kernel at place i: a matrix product, and its gradient another.
    padded = pad(x, n - 1)
    windows = take(padded, add(reshape(_count(m + n - 1), (-1, 1)), _count(n)))
    out = arithmetic.matmul(windows, flip(y))
    if mode == "full":
        return out
    start, size = ((n - 1) // 2, m) if mode == "same" else (n - 1, m - n + 1)
    return out[start : start + size]


def correlate(a: ArrayLike, v: ArrayLike, mode: str = "valid") -> Array:
    """The cross-correlation of two vectors: the sum of a[k + i] * v[i] for each k; modes as in `convolve`."""
    x, y = as_array(a), as_array(v)
    if y.ndim != 1:
        raise refuse("correlate", [x, y], "operands must be vectors, not empty")
    if mode == "same" and y.size > x.size:  # the middle lies elsewhere when the operands change places
        full = convolve(x, flip(y), "full")
        start = (x.size - 1) // 2 + (1 - x.size % 2) if x.size else 0
        return full[start : start + y.size]
    return convolve(x, flip(y), mode)


def unwrap(p: ArrayLike, discont: float | None = None, axis: int = -1, *, period: float = 2 * math.pi) -> Array:
    """`p` shifted by multiples of `period` so that no step along `axis` is longer than half of it.

    A step of just one half keeps its sign. Steps shorter than `discont` (at least half a period) stay. Integers with an
    integer period remain integers.

    Raises:
        DTypeError: `p` is complex.
    """
    p = as_array(p)
    at = axis_of("unwrap", p, axis)
    dtype = result_type(p, period)
    x = as_tensor(p, dtype) if dtype in INTS else as_real(as_tensor(p, dtype), "unwrap")
    if x.shape[at] == 0:
        return x
    half: Any = period // 2 if dtype in INTS else period / 2
    step = diff(x, axis=at)
    within = subtract(remainder(add(step, half), period), half)
    if half * 2 == period:  # the step of one half could go both ways
        within = where(logical_and(equal(within, -half), greater(step, 0)), half, within)
    turned = less(absolute(step), period / 2 if discont is None else discont)
    shift = cumsum(where(turned, 0, subtract(within, step)), at)
    first = _between(x, at, 0, 1)
    return concatenate([first, add(_between(x, at, 1, None), as_tensor(shift, dtype))], at)
