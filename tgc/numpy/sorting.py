"""Sorting and searching. NaNs are sorted behind all numbers; sorts are stable.

Functions whose result's shape depends on the numbers (`unique` and its kin) take NumPy arrays alone, unless `size`
fixes the shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tgc.errors import AttributeSpecError, ConcretizationError
from tgc.numpy.base import Array, ArrayLike, as_array, axis_of, refuse
from tgc.numpy.cumulative import cumsum
from tgc.numpy.elementwise import isnan, logical_and, logical_not
from tgc.numpy.indexing import take, take_along_axis
from tgc.numpy.manipulation import concatenate, flip, moveaxis, ravel
from tgc.ops import arithmetic, creation
from tgc.ops import sort as ops
from tgc.ops.scatter import scatter_set
from tgc.trace import Tracer
from tgc.types import I64

__all__ = [
    "argpartition", "argsort", "lexsort", "partition", "searchsorted", "sort", "top_k", "unique", "unique_all",
    "unique_counts", "unique_inverse", "unique_values",
]  # fmt: skip


def _along(function: str, a: ArrayLike, axis: int | None) -> tuple[Array, int]:
    a = as_array(a)
    if axis is None:
        return ravel(a), 0
    return a, axis_of(function, a, axis)


def sort(a: ArrayLike, axis: int | None = -1, *, descending: bool = False, stable: bool = True) -> Array:
    """`a` sorted along `axis` (None: flattened); descending is the reverse of ascending, with NaNs first.

    The gradient goes to where the elements came from.
    """
    a, at = _along("sort", a, axis)
    out = moveaxis(ops.sort(moveaxis(a, at, -1)), -1, at)
    return flip(out, at) if descending else out


def argsort(a: ArrayLike, axis: int | None = -1, *, descending: bool = False, stable: bool = True) -> Array:
    """int64: the places of the elements of `a` in sorted order; equal elements keep their order."""
    a, at = _along("argsort", a, axis)
    if not descending:
        return moveaxis(ops.argsort(moveaxis(a, at, -1)), -1, at)
    backwards = ops.argsort(moveaxis(flip(a, at), at, -1))
    return flip(moveaxis(a.shape[at] - 1 - backwards, -1, at), at)


def partition(a: ArrayLike, kth: int | Sequence[int], axis: int | None = -1) -> Array:
    """`a` with the element that would be at `kth` of sorted `a` there, smaller ones before it; all sorted, in fact."""
    a, at = _along("partition", a, axis)
    _check_kth("partition", a, kth, at)
    return sort(a, at)


def argpartition(a: ArrayLike, kth: int | Sequence[int], axis: int | None = -1) -> Array:
    """int64: the places of the elements of `a` in the order of `partition`."""
    a, at = _along("argpartition", a, axis)
    _check_kth("argpartition", a, kth, at)
    return argsort(a, at)


def _check_kth(function: str, a: Array, kth: int | Sequence[int], axis: int) -> None:
    n = a.shape[axis]
    for k in kth if isinstance(kth, Sequence) else (kth,):
        if not -n <= k < n:
            raise refuse(function, [a], f"kth={k} is out of bounds for an axis of size {n}")


def lexsort(keys: Sequence[ArrayLike], axis: int = -1) -> Array:
    """int64: the order along `axis` by the last of the keys, then by the one before it where that ties, and so on."""
    arrays = [as_array(k) for k in keys]
    if not arrays:
        raise AttributeSpecError("lexsort: needs at least one key")
    order = argsort(arrays[0], axis)
    for key in arrays[1:]:
        order = take_along_axis(order, argsort(take_along_axis(key, order, axis), axis), axis)
    return order


def top_k(x: ArrayLike, k: int) -> tuple[Array, Array]:
    """The `k` largest elements along the last axis, largest first, and their places (int64), earlier ones first.

    Raises:
        ShapeError: the axis has fewer than `k` elements.
    """
    x = as_array(x)
    if not x.ndim or not 0 <= k <= x.shape[-1]:
        raise refuse("top_k", [x], f"cannot take the {k} largest elements of the last axis")
    places = argsort(x, descending=True)[..., :k]
    return take_along_axis(x, places), places


def searchsorted(a: ArrayLike, v: ArrayLike, side: str = "left", sorter: ArrayLike | None = None) -> Array:
    """int64: where elements of `v` would be inserted in the sorted vector `a`, before ("left") or behind equal ones.

    Raises:
        ShapeError: `a` is no vector.
        AttributeSpecError: there is no such side.
    """
    a, v = as_array(a), as_array(v)
    if a.ndim != 1:
        raise refuse("searchsorted", [a, v], "operand 0 must be a vector")
    if side not in ("left", "right"):
        raise AttributeSpecError(f"searchsorted: side is left or right, not {side!r}")
    if sorter is not None:
        a = take(a, sorter)
    dtype = arithmetic.result_type(a, v)
    a, v = arithmetic.as_tensor(a, dtype), arithmetic.as_tensor(v, dtype)
    return ops.searchsorted(a, ravel(v), right=side == "right").reshape(v.shape)


# --------------------------------------------------------------------------------------------------------- uniqueness


class UniqueAll(NamedTuple):
    """Distinct values, where each is first, which of them each element is, and how often each is there."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """Distinct values and how often each is there."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """Distinct values and which of them each element is."""

    values: Array
    inverse_indices: Array


def _concrete(function: str, x: ArrayLike) -> np.ndarray:
    x = as_array(x)
    if isinstance(x, Tracer):
        raise ConcretizationError(
            f"{function}({x!r}): how many distinct values there are is unknown while tracing; call it outside, or "
            "tgc.numpy.unique with `size`"
        )
    return np.asarray(x)


def unique_all(x: ArrayLike, /) -> UniqueAll:
    """Distinct values of an array, sorted, and all that is known of them. NaNs are distinct."""
    return UniqueAll(*np.unique_all(_concrete("unique_all", x)))


def unique_counts(x: ArrayLike, /) -> UniqueCounts:
    """Distinct values of an array, sorted, and how often each is there. NaNs are distinct."""
    return UniqueCounts(*np.unique_counts(_concrete("unique_counts", x)))


def unique_inverse(x: ArrayLike, /) -> UniqueInverse:
    """Distinct values of an array, sorted, and which of them each element is. NaNs are distinct."""
    return UniqueInverse(*np.unique_inverse(_concrete("unique_inverse", x)))


def unique_values(x: ArrayLike, /) -> Array:
    """Distinct values of an array, sorted. NaNs are distinct."""
    return np.sort(np.unique_values(_concrete("unique_values", x)))


def unique(
    ar: ArrayLike,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """Distinct values, sorted, and if asked for where each is first, which each element is, and how often each is.

    Args:
        axis: the slices along it are what is told apart, instead of elements.
        equal_nan: whether NaNs are one value.
        size: how many values are returned, the first ones; required of tracers, and of elements alone.
        fill_value: what stands behind them if there are fewer, the smallest one by default; its count is zero.

    Raises:
        ConcretizationError: the tensor is traced, and there is no `size`.
        AttributeSpecError: there are both `size` and `axis`.
    """
    asked = (return_index, return_inverse, return_counts)
    if size is None:
        distinct: Any = np.unique
        return distinct(_concrete("unique", ar), *asked, axis, equal_nan=equal_nan)
    if axis is not None:
        raise AttributeSpecError(f"unique: axis={axis} cannot be combined with size, which counts elements")
    x = as_array(ar)
    parts = _unique(ravel(x), size, fill_value, equal_nan)
    found = [parts.values, *(part for part, wanted in zip(parts[1:], asked, strict=True) if wanted)]
    if return_inverse:
        found[1 + return_index] = parts.inverse_indices.reshape(x.shape)
    return tuple(found) if len(found) > 1 else found[0]


def _unique(x: Array, size: int, fill_value: Any, equal_nan: bool) -> UniqueAll:
    """The first `size` distinct elements of a vector; what nobody reads of the result is not computed in a program."""
    n = x.shape[0]
    if not n:
        if fill_value is None:
            raise refuse("unique", [x], "there is no value to fill with; give a fill_value")
        values = arithmetic.broadcast_to(arithmetic.as_tensor(fill_value, x.dtype), (size,))
        return UniqueAll(values, *(creation.fill(shape, I64, 0) for shape in ((size,), (0,), (size,))))
    order = ops.argsort(x)
    ordered = take(x, order)
    differs = arithmetic.not_equal(ordered[1:], ordered[:-1])
    if equal_nan:
        differs = logical_and(differs, logical_not(logical_and(isnan(ordered[1:]), isnan(ordered[:-1]))))
    which = concatenate([np.zeros(1, I64), cumsum(differs, dtype=I64)])  # distinct value
    starts = ops.searchsorted(which, creation.iota(shape=(size + 1,), dtype=I64, axis=0), right=False)
    first, there = arithmetic.minimum(starts[:-1], n - 1), arithmetic.less(starts[:-1], n)
    rest = ordered[0] if fill_value is None else arithmetic.as_tensor(fill_value, x.dtype)
    return UniqueAll(
        arithmetic.where(there, take(ordered, first), rest),
        arithmetic.where(there, take(order, first), order[0]),
        scatter_set(creation.fill((n,), I64, 0), order, which),
        arithmetic.subtract(starts[1:], starts[:-1]),
    )
