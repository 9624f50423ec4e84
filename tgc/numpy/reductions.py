"""Reductions over one axis, several (a tuple) or all (None)."""

from __future__ import annotations

import math

from tgc.numpy.base import Array, ArrayLike, Axes, DTypeLike, accumulator, as_array, axes_of, refuse, spread
from tgc.numpy.elementwise import isclose, truth
from tgc.ops import elementwise as e
from tgc.ops import reduce
from tgc.ops.arithmetic import as_tensor, divide, reshape, where
from tgc.ops.creation import full_like
from tgc.ops.kinds import Reduce
from tgc.types import BOOL, BOOLS, F64, I64, INTS, U8, U64, UNSIGNED, DType, as_dtype, is_float

__all__ = [
    "all", "allclose", "amax", "amin", "any", "argmax", "argmin", "count_nonzero", "max", "mean", "min", "prod",
    "std", "sum", "var",
]  # fmt: skip


def _fold(op: Reduce, function: str, x: Array, axis: Axes, keepdims: bool) -> Array:
    axes = axes_of(function, x, axis)
    if not op.empty and 0 in [x.shape[a] for a in axes]:
        raise refuse(function, [x], f"cannot reduce an axis of size zero (axis={axis})")
    out = op(x, axes=axes, chunks=0) if axes else x
    return _keep(out, x, axes) if keepdims else out


def _keep(out: Array, x: Array, axes: tuple[int, ...]) -> Array:
    return reshape(out, tuple(1 if a in axes else n for a, n in enumerate(x.shape)))


def _summed(x: Array, dtype: DTypeLike | None) -> Array:
    """`x` in the dtype in which it is summed: small integers widen."""
    default = U64 if x.dtype in UNSIGNED else I64 if x.dtype in INTS | BOOLS else x.dtype
    return as_tensor(x, default if dtype is None else as_dtype(dtype))


def sum(a: ArrayLike, axis: Axes = None, dtype: DTypeLike | None = None, *, keepdims: bool = False) -> Array:
    """Sum; of booleans and signed integers in int64, of unsigned ones in uint64, or in `dtype`.

    Half precision is accumulated in float32 and rounded once.
    """
    return _fold(reduce.reduce_sum, "sum", _summed(as_array(a), dtype), axis, keepdims)


def prod(a: ArrayLike, axis: Axes = None, dtype: DTypeLike | None = None, *, keepdims: bool = False) -> Array:
    """Product; dtypes as those of `sum`."""
    return _fold(reduce.reduce_prod, "prod", _summed(as_array(a), dtype), axis, keepdims)


def count_nonzero(a: ArrayLike, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """How many elements are not zero: int64."""
    return sum(truth(a), axis, keepdims=keepdims)


def max(a: ArrayLike, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """Largest element, NaN if one is NaN. Elements that tie share the gradient.

    Raises:
        ShapeError: a reduced axis has size zero.
    """
    a = as_array(a)
    return _fold(reduce.reduce_any if a.dtype == BOOL else reduce.reduce_max, "max", a, axis, keepdims)


def min(a: ArrayLike, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """Smallest element, NaN if one is NaN. Elements that tie share the gradient.

    Raises:
        ShapeError: a reduced axis has size zero.
    """
    a = as_array(a)
    return _fold(reduce.reduce_all if a.dtype == BOOL else reduce.reduce_min, "min", a, axis, keepdims)


def any(a: ArrayLike, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """Whether an element is true (not zero)."""
    return _fold(reduce.reduce_any, "any", truth(a), axis, keepdims)


def all(a: ArrayLike, axis: Axes = None, *, keepdims: bool = False) -> Array:
    """Whether all elements are true (not zero)."""
    return _fold(reduce.reduce_all, "all", truth(a), axis, keepdims)


def _place(op: Reduce, function: str, a: ArrayLike, axis: int | None, keepdims: bool) -> Array:
    a = as_array(a)
    a = as_tensor(a, U8) if a.dtype == BOOL else a
    if a.ndim == 0 and axis is None:
        return _fold(op, function, reshape(a, 1), 0, False)
    return _fold(op, function, a, axis, keepdims)


def argmax(a: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index (int64) of the first largest element along `axis`, or of the flattened tensor; NaN counts as largest."""
    return _place(reduce.argmax, "argmax", a, axis, keepdims)


def argmin(a: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index (int64) of the first smallest element along `axis`, or of the flattened tensor; NaN counts as smallest."""
    return _place(reduce.argmin, "argmin", a, axis, keepdims)


def _averaged(
    function: str, a: ArrayLike, axis: Axes, dtype: DTypeLike | None
) -> tuple[Array, tuple[int, ...], int, DType]:
    """(operand in the dtype of accumulation, axes, number of elements along them, dtype of the result)."""
    x = as_array(a)
    out = as_dtype(dtype) if dtype is not None else x.dtype if is_float(x.dtype) else F64
    axes = axes_of(function, x, axis)
    return as_tensor(x, accumulator(out)), axes, math.prod(x.shape[i] for i in axes), out


def mean(a: ArrayLike, axis: Axes = None, dtype: DTypeLike | None = None, *, keepdims: bool = False) -> Array:
    """Arithmetic mean; of integers in float64. Half precision is averaged in float32. NaN of nothing."""
    x, axes, n, out = _averaged("mean", a, axis, dtype)
    total = _fold(reduce.reduce_sum, "mean", x, axes, keepdims)
    return as_tensor(divide(total, n), out)


def var(
    a: ArrayLike, axis: Axes = None, dtype: DTypeLike | None = None, *, ddof: float = 0, keepdims: bool = False
) -> Array:
    """Mean of the squared distances from the mean, with n - `ddof` in the denominator; dtypes as those of `mean`."""
    x, axes, n, out = _averaged("var", a, axis, dtype)
    distance = e.sub(x, spread(divide(_fold(reduce.reduce_sum, "var", x, axes, False), n), axes, x.shape))
    total = _fold(reduce.reduce_sum, "var", e.mul(distance, distance), axes, keepdims)
    return as_tensor(divide(total, n - ddof if n > ddof else 0), out)


def std(
    a: ArrayLike, axis: Axes = None, dtype: DTypeLike | None = None, *, ddof: float = 0, keepdims: bool = False
) -> Array:
    """Square root of `var`; its gradient where the variance is zero is 0."""
    v = var(a, axis, dtype, ddof=ddof, keepdims=keepdims)
    flat = e.eq(v, full_like(v, 0))
    return where(flat, 0, e.sqrt(where(flat, 1, v)))


def allclose(a: ArrayLike, b: ArrayLike, rtol: float = 1e-5, atol: float = 1e-8, *, equal_nan: bool = False) -> Array:
    """Whether all elements are close, as `isclose` has it: a boolean tensor, not a Python bool."""
    return all(isclose(a, b, rtol, atol, equal_nan=equal_nan))


amax, amin = max, min
