"""Reductions over one axis, several (a tuple) or all (None)."""

from __future__ import annotations

import builtins
import math

from tgc.errors import AttributeSpecError, DTypeError, ShapeError
from tgc.numpy.base import Array, ArrayLike, Axes, DTypeLike, accumulator, as_array, axes_of, describe, refuse
from tgc.numpy.complexes import imag, real
from tgc.numpy.elementwise import isclose, isnan, logical_and, logical_or, truth
from tgc.ops import arithmetic, creation, reduce
from tgc.ops import elementwise as e
from tgc.ops.arithmetic import (
    add,
    as_tensor,
    broadcast_to,
    divide,
    equal,
    maximum,
    minimum,
    multiply,
    reshape,
    subtract,
)
from tgc.ops.arithmetic import where as choose_where
from tgc.ops.creation import full_like
from tgc.ops.kinds import Reduce
from tgc.types import (
    BOOL,
    BOOLS,
    F64,
    I64,
    INTS,
    U8,
    U64,
    UNSIGNED,
    DType,
    as_dtype,
    is_complex,
    is_inexact,
    real_dtype,
)

__all__ = [
    "all", "allclose", "amax", "amin", "any", "argmax", "argmin", "array_equal", "array_equiv", "count_nonzero", "max",
    "mean", "min", "prod", "ptp", "std", "sum", "var",
]  # fmt: skip


def _fold(op: Reduce, function: str, x: Array, axis: Axes, keepdims: bool) -> Array:
    axes = axes_of(function, x, axis)
    if not op.empty and 0 in [x.shape[a] for a in axes]:
        raise refuse(function, [x], f"cannot reduce an axis of size zero (axis={axis}); give `initial`")
    out = op(x, axes=axes, chunks=0) if axes else x
    return _keep(out, x, axes) if keepdims else out


def _keep(out: Array, x: Array, axes: tuple[int, ...]) -> Array:
    return reshape(out, tuple(1 if a in axes else n for a, n in enumerate(x.shape)))


def masked(function: str, x: Array, mask: ArrayLike | None, value: float) -> Array:
    """`x` with `value`, which a reduction ignores, where `mask` does not hold; `mask` broadcasts to `x`.

    Raises:
        DTypeError: `mask` is not boolean.
    """
    if mask is None:
        return x
    mask = as_array(mask)
    if mask.dtype != BOOL:
        raise DTypeError(f"{function}: where= must be boolean, got {describe(mask)}")
    return choose_where(broadcast_to(mask, x.shape), x, value)


def _summed(x: Array, dtype: DTypeLike | None) -> Array:
    """`x` in the dtype in which it is summed: small integers widen."""
    default = U64 if x.dtype in UNSIGNED else I64 if x.dtype in INTS | BOOLS else x.dtype
    return as_tensor(x, default if dtype is None else as_dtype(dtype))


def sum(
    a: ArrayLike,
    /,
    axis: Axes = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """Sum; of booleans and signed integers in int64, of unsigned ones in uint64, or in `dtype`.

    Half precision is accumulated in float32 and rounded once. `initial` is added; elements where `where` does not hold
    are left out.
    """
    x = masked("sum", _summed(as_array(a), dtype), where, 0)
    out = _fold(reduce.reduce_sum, "sum", x, axis, keepdims)
    return out if initial is None else add(out, as_tensor(initial, out.dtype))


def prod(
    a: ArrayLike,
    /,
    axis: Axes = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """Product; dtypes as those of `sum`. `initial` is a factor."""
    x = masked("prod", _summed(as_array(a), dtype), where, 1)
    out = _fold(reduce.reduce_prod, "prod", x, axis, keepdims)
    return out if initial is None else multiply(out, as_tensor(initial, out.dtype))


def count_nonzero(a: ArrayLike, /, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """How many elements are not zero: int64."""
    return sum(truth(a), axis, keepdims=keepdims)


def _extreme(
    function: str, a: ArrayLike, axis: Axes, keepdims: bool, initial: ArrayLike | None, mask: ArrayLike | None
) -> Array:
    a = as_array(a)
    larger = function == "max"
    if a.dtype == BOOL:
        op, meet = (reduce.reduce_any, maximum) if larger else (reduce.reduce_all, minimum)
    else:
        op, meet = (reduce.reduce_max, maximum) if larger else (reduce.reduce_min, minimum)
    if initial is None and mask is None:
        return _fold(op, function, a, axis, keepdims)
    if initial is None:
        raise AttributeSpecError(f"{function}: where= needs `initial`, the result where it holds nowhere")
    initial = as_tensor(initial, a.dtype)
    a = masked(function, a, mask, initial)
    axes = axes_of(function, a, axis)
    if 0 in [a.shape[i] for i in axes]:
        kept = [n for i, n in enumerate(a.shape) if i not in axes]
        out = broadcast_to(initial, [1 if i in axes else n for i, n in enumerate(a.shape)] if keepdims else kept)
        return out if math.prod(out.shape) or not hasattr(out, "copy") else out.copy()
    return meet(_fold(op, function, a, axes, keepdims), initial)


def max(
    a: ArrayLike,
    /,
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """Largest element, NaN if one is NaN; at least `initial`. Elements that tie share the gradient.

    Raises:
        ShapeError: a reduced axis has size zero, and there is no `initial`.
    """
    return _extreme("max", a, axis, keepdims, initial, where)


def min(
    a: ArrayLike,
    /,
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """Smallest element, NaN if one is NaN; at most `initial`. Elements that tie share the gradient.

    Raises:
        ShapeError: a reduced axis has size zero, and there is no `initial`.
    """
    return _extreme("min", a, axis, keepdims, initial, where)


def ptp(a: ArrayLike, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """The largest less the smallest element."""
    return subtract(max(a, axis, keepdims=keepdims), min(a, axis, keepdims=keepdims))


def any(a: ArrayLike, /, axis: Axes = None, *, keepdims: bool = False, where: ArrayLike | None = None) -> Array:
    """Whether an element is true (not zero)."""
    return _fold(reduce.reduce_any, "any", masked("any", truth(a), where, False), axis, keepdims)


def all(a: ArrayLike, /, axis: Axes = None, *, keepdims: bool = False, where: ArrayLike | None = None) -> Array:
    """Whether all elements are true (not zero)."""
    return _fold(reduce.reduce_all, "all", masked("all", truth(a), where, True), axis, keepdims)


def _place(op: Reduce, function: str, a: ArrayLike, axis: int | None, keepdims: bool) -> Array:
    a = as_array(a)
    a = as_tensor(a, U8) if a.dtype == BOOL else a
    if a.ndim == 0 and axis in (None, 0, -1):
        return _fold(op, function, reshape(a, 1), 0, False)
    return _fold(op, function, a, axis, keepdims)


def argmax(a: ArrayLike, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index (int64) of the first largest element along `axis`, or of the flattened tensor; NaN counts as largest."""
    return _place(reduce.argmax, "argmax", a, axis, keepdims)


def argmin(a: ArrayLike, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index (int64) of the first smallest element along `axis`, or of the flattened tensor; NaN counts as smallest."""
    return _place(reduce.argmin, "argmin", a, axis, keepdims)


def _averaged(
    function: str, a: ArrayLike, axis: Axes, dtype: DTypeLike | None, mask: ArrayLike | None
) -> tuple[Array, tuple[int, ...], Array | int, DType]:
    """(operand in the dtype of accumulation, axes, how many elements along them count, dtype of the result)."""
    x = as_array(a)
    out = as_dtype(dtype) if dtype is not None else x.dtype if is_inexact(x.dtype) else F64
    axes = axes_of(function, x, axis)
    x = as_tensor(x, accumulator(out))
    if mask is None:
        return x, axes, math.prod(x.shape[i] for i in axes), out
    counted = broadcast_to(truth(mask), x.shape)
    return x, axes, sum(counted, axes, keepdims=True), out


def mean(
    a: ArrayLike,
    /,
    axis: Axes = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """Arithmetic mean; of integers in float64. Half precision is averaged in float32. NaN of nothing."""
    x, axes, n, out = _averaged("mean", a, axis, dtype, where)
    total = _fold(reduce.reduce_sum, "mean", masked("mean", x, where, 0), axes, True)
    average = as_tensor(divide(total, n if where is None else as_tensor(n, total.dtype)), out)
    return average if keepdims else squeezed(average, axes)


def _squared(x: Array) -> Array:
    """|x| ** 2, real."""
    return add(_squared(real(x)), _squared(imag(x))) if is_complex(x.dtype) else multiply(x, x)


def squeezed(x: Array, axes: tuple[int, ...]) -> Array:
    """`x` without `axes`, which have size one."""
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def var(
    a: ArrayLike,
    /,
    axis: Axes = None,
    dtype: DTypeLike | None = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """Mean of the squared distances from the mean, with n - `ddof` in the denominator.

    Dtypes as those of `mean`, but the result is always real.

    `correction` is another name of `ddof` (array API standard).
    """
    x, axes, n, out = _averaged("var", a, axis, dtype, where)
    total = _fold(reduce.reduce_sum, "var", masked("var", x, where, 0), axes, True)
    count = n if where is None else as_tensor(n, total.dtype)
    distance = masked("var", subtract(x, broadcast_to(divide(total, count), x.shape)), where, 0)
    total = _fold(reduce.reduce_sum, "var", _squared(distance), axes, True)
    less_by = ddof if correction is None else correction
    left = builtins.max(n - less_by, 0) if where is None else maximum(subtract(real(count), less_by), 0)
    variance = as_tensor(divide(total, left), real_dtype(out))
    return variance if keepdims else squeezed(variance, axes)


def std(
    a: ArrayLike,
    /,
    axis: Axes = None,
    dtype: DTypeLike | None = None,
    *,
    ddof: float = 0,
    correction: float | None = None,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """Square root of `var`; its gradient where the variance is zero is 0."""
    v = var(a, axis, dtype, ddof=ddof, correction=correction, keepdims=keepdims, where=where)
    flat = e.eq(v, full_like(v, 0))
    return choose_where(flat, 0, e.sqrt(choose_where(flat, 1, v)))


def allclose(a: ArrayLike, b: ArrayLike, rtol: float = 1e-5, atol: float = 1e-8, *, equal_nan: bool = False) -> Array:
    """Whether all elements are close, as `isclose` has it: a boolean tensor, not a Python bool."""
    return all(isclose(a, b, rtol, atol, equal_nan=equal_nan))


def array_equal(a1: ArrayLike, a2: ArrayLike, equal_nan: bool = False) -> Array:
    """Whether two arrays have one shape and the same elements: a boolean tensor."""
    x, y = as_array(a1), as_array(a2)
    if x.shape != y.shape:
        return creation.fill((), BOOL, False)
    same = equal(x, y)
    return all(logical_or(same, logical_and(isnan(x), isnan(y))) if equal_nan else same)


def array_equiv(a1: ArrayLike, a2: ArrayLike) -> Array:
    """Whether one array broadcasts to the other, with the same elements: a boolean tensor."""
    x, y = as_array(a1), as_array(a2)
    try:
        arithmetic.broadcast_shapes(x.shape, y.shape)
    except ShapeError:
        return creation.fill((), BOOL, False)
    return all(equal(x, y))


amax, amin = max, min
