"""Sums, products and extremes of all elements up to each one."""

from __future__ import annotations

from tgc.numpy.base import Array, ArrayLike, DTypeLike, as_array, axis_of, refuse, replace
from tgc.numpy.elementwise import isnan
from tgc.numpy.manipulation import concatenate, ravel
from tgc.numpy.reductions import _summed as summed
from tgc.ops import cumulative as ops
from tgc.ops.arithmetic import where
from tgc.ops.creation import fill
from tgc.ops.cumulative import Cumulative

__all__ = [
    "cummax", "cummin", "cumprod", "cumsum", "cumulative_prod", "cumulative_sum", "nancumprod", "nancumsum",
]  # fmt: skip


def _apply(op: Cumulative, a: Array, axis: int | None, reverse: bool = False) -> Array:
    if axis is None:
        a, axis = ravel(a), 0
    return op(a, axis=axis_of(op.name, a, axis), reverse=reverse)


def cumsum(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """Sum of the elements up to each one along `axis` (None: of the flattened array); dtypes as those of `sum`.

    Half precision is accumulated in float32 and rounded once an element.
    """
    return _apply(ops.cumsum, summed(as_array(a), dtype), axis)


def cumprod(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """Product of the elements up to each one; otherwise as `cumsum`."""
    return _apply(ops.cumprod, summed(as_array(a), dtype), axis)


def nancumsum(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """`cumsum` with NaNs taken for zeros."""
    a = as_array(a)
    return cumsum(where(isnan(a), 0, a), axis, dtype)


def nancumprod(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """`cumprod` with NaNs taken for ones."""
    a = as_array(a)
    return cumprod(where(isnan(a), 1, a), axis, dtype)


def _cumulative(
    op: Cumulative, name: str, x: ArrayLike, axis: int | None, dtype: DTypeLike | None, initial: int | None
) -> Array:
    x = as_array(x)
    if axis is None and x.ndim != 1:
        raise refuse(name, [x], "needs an axis, for it is no vector")
    at = 0 if axis is None else axis_of(name, x, axis)
    out = _apply(op, summed(x, dtype), at)
    if initial is None:
        return out
    return concatenate([fill(replace(x.shape, at, 1), out.dtype, initial), out], at)


def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Array:
    """`cumsum` of the array API standard: only vectors need no axis; `include_initial` puts a zero in front.

    Raises:
        ShapeError: there is no axis, and `x` is no vector.
    """
    return _cumulative(ops.cumsum, "cumulative_sum", x, axis, dtype, 0 if include_initial else None)


def cumulative_prod(
    x: ArrayLike, /, *, axis: int | None = None, dtype: DTypeLike | None = None, include_initial: bool = False
) -> Array:
    """`cumprod` of the array API standard: only vectors need no axis; `include_initial` puts a one in front.

    Raises:
        ShapeError: there is no axis, and `x` is no vector.
    """
    return _cumulative(ops.cumprod, "cumulative_prod", x, axis, dtype, 1 if include_initial else None)


def cummax(x: ArrayLike, axis: int = -1, *, reverse: bool = False) -> Array:
    """The largest of the elements up to each one, NaN from the first NaN on; with `reverse`, from each one on."""
    return _apply(ops.cummax, as_array(x), axis, reverse)


def cummin(x: ArrayLike, axis: int = -1, *, reverse: bool = False) -> Array:
    """The smallest of the elements up to each one, NaN from the first NaN on; with `reverse`, from each one on."""
    return _apply(ops.cummin, as_array(x), axis, reverse)
