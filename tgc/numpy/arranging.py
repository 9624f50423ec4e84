"""Joining, splitting, turning and editing beyond the array API standard. Places and counts are static."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, as_array, axis_of, refuse, replace, sizes
from tgc.numpy.elementwise import logical_and
from tgc.numpy.indexing import take
from tgc.numpy.manipulation import (
    atleast_2d,
    concatenate,
    expand_dims,
    flip,
    moveaxis,
    ravel,
    reshape,
    split,
    swapaxes,
)
from tgc.numpy.matrices import diag
from tgc.ops import arithmetic, creation
from tgc.ops.arithmetic import as_tensor, broadcast_to, equal, multiply, result_type, where
from tgc.trace import Tracer
from tgc.types import I64

__all__ = [
    "append", "atleast_3d", "block", "column_stack", "delete", "diagflat", "dsplit", "dstack", "fill_diagonal",
    "fliplr", "flipud", "hsplit", "insert", "kron", "resize", "rollaxis", "rot90", "row_stack", "vsplit",
]  # fmt: skip

Cuts = int | Sequence[int]


def atleast_3d(a: ArrayLike) -> Array:
    """`a` with three axes or more: a vector becomes [1, n, 1], a matrix [m, n, 1]."""
    a = atleast_2d(a) if as_array(a).ndim < 2 else as_array(a)
    return a if a.ndim > 2 else reshape(a, (*a.shape, 1))


def dstack(arrays: Sequence[ArrayLike]) -> Array:
    """Arrays joined along the third axis; matrices gain one."""
    return concatenate([atleast_3d(a) for a in arrays], 2)


def row_stack(arrays: Sequence[ArrayLike]) -> Array:
    """Arrays (vectors as rows) joined along the first axis."""
    return concatenate([atleast_2d(a) for a in arrays], 0)


def column_stack(arrays: Sequence[ArrayLike]) -> Array:
    """Arrays (vectors as columns) joined along the second axis."""
    xs = [as_array(a) for a in arrays]
    return concatenate([x if x.ndim > 1 else reshape(x, (-1 if x.size else 0, 1)) for x in xs], 1)


def block(arrays: Any) -> Array:
    """Nested lists of arrays as one: the innermost lists are joined along the last axis, and so on outwards.

    Raises:
        ShapeError: lists differ in depth, or sizes do not fit.
    """

    def depth(x: Any) -> int:
        if not isinstance(x, list):
            return 0
        found = {depth(v) for v in x}
        if len(found) != 1:
            raise refuse("block", [], "lists must not be empty, and must have one depth")
        return 1 + found.pop()

    def leaves(x: Any) -> list[Array]:
        return [a for v in x for a in leaves(v)] if isinstance(x, list) else [as_array(x)]

    levels = depth(arrays)
    rank = max(levels, *(a.ndim for a in leaves(arrays)))

    def join(x: Any, level: int) -> Array:
        if isinstance(x, list):
            return concatenate([join(v, level - 1) for v in x], rank - level)
        x = as_array(x)
        return reshape(x, (1,) * (rank - x.ndim) + x.shape)

    return join(arrays, levels)


def vsplit(a: ArrayLike, indices_or_sections: Cuts) -> list[Array]:
    """`a` cut along the first axis, as `split` does."""
    return split(a, indices_or_sections, 0)


def hsplit(a: ArrayLike, indices_or_sections: Cuts) -> list[Array]:
    """`a` cut along the second axis, a vector along its only one."""
    return split(a, indices_or_sections, 0 if as_array(a).ndim == 1 else 1)


def dsplit(a: ArrayLike, indices_or_sections: Cuts) -> list[Array]:
    """`a` cut along the third axis."""
    return split(a, indices_or_sections, 2)


def flipud(m: ArrayLike) -> Array:
    """Elements in reverse order along the first axis."""
    return flip(m, 0)


def fliplr(m: ArrayLike) -> Array:
    """Elements in reverse order along the second axis."""
    return flip(m, 1)


def rot90(m: ArrayLike, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """`m` turned `k` times by 90 degrees, from the first of `axes` towards the second."""
    m = as_array(m)
    i, j = (axis_of("rot90", m, a) for a in axes)
    if i == j:
        raise refuse("rot90", [m], f"axes {axes} are the same")
    match k % 4:
        case 0:
            return m
        case 1:
            return swapaxes(flip(m, j), i, j)
        case 2:
            return flip(m, (i, j))
        case _:
            return flip(swapaxes(m, i, j), j)


def rollaxis(a: ArrayLike, axis: int, start: int = 0) -> Array:
    """Axis `axis` brought before the one that is at `start`."""
    a = as_array(a)
    source = axis_of("rollaxis", a, axis)
    place = start + a.ndim if start < 0 else start
    if not 0 <= place <= a.ndim:
        raise refuse("rollaxis", [a], f"there is no place {start} for an axis")
    return moveaxis(a, source, place - (source < place))


def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Array:
    """`arr`, then `values`, along `axis` (None: both flattened)."""
    return concatenate([arr, values], axis)


def _places(function: str, a: Array, obj: Any, axis: int) -> np.ndarray:
    """Static places along an axis that a slice, mask, int or sequence of ints names, counted from the front."""
    n = a.shape[axis]
    if isinstance(obj, Tracer):
        raise AttributeSpecError(f"{function} needs places that are known while tracing, not {obj!r}")
    if isinstance(obj, slice):
        return np.arange(*obj.indices(n))
    found = np.asarray(obj)
    if found.dtype == np.bool_:
        found = np.flatnonzero(found)
    found = found.astype(np.int64) if found.size == 0 else found
    if found.dtype.kind not in "iu" or found.ndim > 1:
        raise AttributeSpecError(f"{function}: places are an int, a vector of ints, a slice or a mask, not {obj!r}")
    last = n if function == "insert" else n - 1
    if np.any((found < -n) | (found > last)):
        raise refuse(function, [a], f"place {obj} is out of bounds for axis {axis} of size {n}")
    return np.asarray(np.where(found < 0, found + n, found))


def delete(arr: ArrayLike, obj: Any, axis: int | None = None) -> Array:
    """`arr` without the slices at static places `obj` (an int, ints, a slice or a mask) along `axis`."""
    a = ravel(arr) if axis is None else as_array(arr)
    at = axis_of("delete", a, 0 if axis is None else axis)
    return take(a, np.delete(np.arange(a.shape[at]), _places("delete", a, obj, at)), at)


def insert(arr: ArrayLike, obj: Any, values: ArrayLike, axis: int | None = None) -> Array:
    """`arr` with `values`, in its dtype, before the static places `obj` of `axis` (None: of the flattened array).

    Raises:
        ShapeError: a place does not exist, or `values` do not broadcast to what is inserted.
    """
    a = ravel(arr) if axis is None else as_array(arr)
    at = axis_of("insert", a, 0 if axis is None else axis)
    places = _places("insert", a, obj, at)
    new = as_tensor(as_array(values), a.dtype)
    if places.ndim == 0 and new.ndim:  # as NumPy: values lie along the axis, if they have one
        new = reshape(new, (1,) * (a.ndim - new.ndim) + new.shape)
        new = moveaxis(new, 0, at)
        places = np.repeat(places, new.shape[at])
    places = np.atleast_1d(places)
    k, n = len(places), a.shape[at]
    new = broadcast_to(new, replace(a.shape, at, k))
    # Positions of both in the result: those before the same place stay in order.
    order = np.argsort(np.concatenate([places, np.arange(n)]), kind="stable")
    return take(concatenate([new, a], at), order, at)


def resize(a: ArrayLike, new_shape: int | Sequence[int]) -> Array:
    """The elements of `a`, row-major, repeated or cut so that they fill `new_shape`; zeros if `a` is empty."""
    flat, shape = ravel(a), sizes(new_shape)
    total = math.prod(shape)
    if not flat.size or not total:
        return creation.fill(shape, flat.dtype, 0)
    times = -(-total // flat.size)
    return reshape(concatenate([flat] * times)[:total], shape)


def diagflat(v: ArrayLike, k: int = 0) -> Array:
    """The matrix with the elements of `v` on diagonal `k` and zeros elsewhere."""
    return diag(ravel(v), k)


def fill_diagonal(a: ArrayLike, val: ArrayLike, wrap: bool = False) -> Array:
    """A new tensor: `a` with `val` (its elements in turn) on the main diagonal.

    NumPy's function of this name changes `a` instead. `wrap` starts the diagonal of a tall matrix again below its end.

    Raises:
        ShapeError: `a` has fewer than two axes, or more than two that differ in size.
    """
    a = as_array(a)
    if a.ndim < 2 or (a.ndim > 2 and len(set(a.shape)) > 1):
        raise refuse("fill_diagonal", [a], "there must be two axes, or several of one size")
    rows, columns = a.shape[0], a.shape[-1]
    row, *others = (creation.iota(shape=a.shape, dtype=I64, axis=axis) for axis in range(a.ndim))
    turn = columns + 1
    on = equal(arithmetic.remainder(row, turn) if wrap and a.ndim == 2 else row, others[0])
    for other in others[1:]:
        on = logical_and(on, equal(row, other))
    values = ravel(as_tensor(as_array(val), a.dtype))
    count = rows - rows // turn if wrap and a.ndim == 2 else min(rows, columns)
    if values.size > 1 and count:
        # The element of row r is the r-th on the diagonal, less the rows without one before it.
        index = arithmetic.subtract(row, arithmetic.floor_divide(row, turn)) if wrap and a.ndim == 2 else row
        values = take(values, arithmetic.remainder(index, values.size))
    return where(on, values, a)


def kron(a: ArrayLike, b: ArrayLike) -> Array:
    """Kronecker product: `a` with each element replaced by it times `b`."""
    a, b = as_array(a), as_array(b)
    dtype = result_type(a, b)
    rank = max(a.ndim, b.ndim)
    x, y = (reshape(as_tensor(v, dtype), (1,) * (rank - v.ndim) + v.shape) for v in (a, b))
    left = expand_dims(x, tuple(range(1, 2 * rank, 2))) if rank else x
    right = expand_dims(y, tuple(range(0, 2 * rank, 2))) if rank else y
    return reshape(multiply(left, right), [operator.mul(m, n) for m, n in zip(x.shape, y.shape, strict=True)])
