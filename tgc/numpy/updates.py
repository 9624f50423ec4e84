"""Functional updates: new tensors that differ from old ones at some places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tgc.errors import DTypeError
from tgc.numpy.base import Array, ArrayLike, as_array, describe, refuse
from tgc.numpy.creation import arange
from tgc.numpy.indexing import along_axis, as_indices, bounded
from tgc.numpy.manipulation import moveaxis, ravel
from tgc.ops import dynamic, indexing, movement, scatter
from tgc.ops.arithmetic import as_tensor, broadcast_to, dtype_of, is_weak, reshape, shape_of
from tgc.ops.kinds import Primitive
from tgc.sizes import Size, smaller
from tgc.types import I64, is_complex, is_inexact

__all__ = ["at", "dynamic_slice", "dynamic_update_slice", "put", "put_along_axis"]


@dataclass(frozen=True)
class At:
    """`x.at`: to be indexed as `x` is."""

    x: Array

    def __getitem__(self, key: Any) -> Places:
        return Places(self.x, key)


@dataclass(frozen=True)
class Places:
    """`x.at[key]`. Each method returns a new tensor of x's shape and dtype, made from `x` by updates of `x[key]`.

    Values are broadcast to the shape of `x[key]` and converted to x's dtype. Where the key names a place twice, both
    updates count, in the order of `x[key]`: `set` keeps the last one.

    Raises:
        ShapeError: the values cannot be broadcast to `x[key]`, or see `tgc.ops.indexing.index`.
        DTypeError: the values are floats and `x` is not.
        OutOfRangeError: an index lies outside of its axis.
    """

    x: Array
    key: Any

    def get(self) -> Array:
        """x[key] itself."""
        return indexing.index(self.x, self.key)

    def set(self, values: ArrayLike) -> Array:
        """x[key] = values."""
        return self._update(scatter.scatter_set, values)

    def add(self, values: ArrayLike) -> Array:
        """x[key] += values."""
        return self._update(scatter.scatter_add, values)

    def subtract(self, values: ArrayLike) -> Array:
        """x[key] -= values."""
        return self.add(-as_array(values))

    def multiply(self, values: ArrayLike) -> Array:
        """x[key] *= values."""
        return self._update(scatter.scatter_mul, values)

    def divide(self, values: ArrayLike) -> Array:
        """x[key] /= values, of floats or complex numbers."""
        if not is_inexact(self.x.dtype):
            raise DTypeError(f"at[].divide of {describe(self.x)}: it is no tensor of floats; cast it")
        return self.multiply(1 / as_tensor(as_array(values), self.x.dtype))

    def min(self, values: ArrayLike) -> Array:
        """x[key] = minimum(x[key], values)."""
        return self._update(scatter.scatter_min, values)

    def max(self, values: ArrayLike) -> Array:
        """x[key] = maximum(x[key], values)."""
        return self._update(scatter.scatter_max, values)

    def apply(self, function: Callable[[Array], Array]) -> Array:
        """x[key] = function(x[key]), applied once however often a place is named."""
        return self.set(function(self.get()))

    def _update(self, op: Primitive, values: ArrayLike) -> Array:
        x, found = self.x, indexing.target(self.x.shape, self.key)
        given = dtype_of(values)
        if (is_inexact(given) and not is_inexact(x.dtype)) or (is_complex(given) and not is_complex(x.dtype)):
            raise DTypeError(f"at[] of {describe(x)} cannot take values of {given}; cast them")
        values = values if is_weak(values) else as_array(values)
        values = broadcast_to(as_tensor(values, x.dtype), (*shape_of(found.rows), *found.rest))
        return reshape(op(reshape(x, (found.count, *found.rest)), found.rows, values), x.shape)


def at(x: ArrayLike) -> At:
    """Functional updates: `at(x)[key].set(values)`, `.add`, `.multiply`, ... (see `Places`); of tracers also `x.at`."""
    return At(as_array(x))


def put(a: ArrayLike, ind: ArrayLike, v: ArrayLike, mode: str = "raise") -> Array:
    """`a` with values `v` (repeated as needed) at `ind` of the flattened array; a new array, unlike NumPy's.

    Modes "clip" and "wrap" bring indices into range.
    """
    a, v = as_array(a), ravel(as_array(v))
    places = ravel(bounded("put", as_indices("put", ind), a.size, mode))
    if not v.size and places.size:
        raise refuse("put", [a, ind, v], "there are no values")
    repeated = v[arange(places.size) % v.size] if v.size not in (1, places.size) else broadcast_to(v, places.shape)
    return at(ravel(a))[places].set(repeated).reshape(a.shape)


def put_along_axis(arr: ArrayLike, indices: ArrayLike, values: ArrayLike, axis: int | None) -> Array:
    """`arr` with `values` at `indices` along `axis`, place by place along all other axes; a new array, unlike NumPy's.

    Raises:
        ShapeError: the operands differ in rank, or values do not fit the indices.
        DTypeError: `indices` are not integers.
    """
    arr, indices = as_array(arr), as_indices("put_along_axis", indices)
    if axis is None:
        return put_along_axis(ravel(arr), ravel(indices), values, 0).reshape(arr.shape)
    rows, flat, where = along_axis("put_along_axis", arr, indices, axis)
    if rows.shape != moveaxis(arr, where, -1).shape:
        raise refuse("put_along_axis", [arr, indices], "only the indices are broadcast")
    shape = moveaxis(flat, -1, where).shape
    values = moveaxis(broadcast_to(as_array(values), shape), where, -1)
    return moveaxis(at(ravel(rows))[flat].set(values).reshape(rows.shape), -1, where)


def _starts(function: str, x: Array, starts: Sequence[ArrayLike]) -> list[Array]:
    starts = [as_array(s) for s in starts]
    if len(starts) != x.ndim:
        raise refuse(function, [x], f"takes {x.ndim} starts, got {len(starts)}")
    return [as_tensor(as_indices(function, s), I64) for s in starts]


def dynamic_slice(x: ArrayLike, starts: Sequence[ArrayLike], sizes: Sequence[int]) -> Array:
    """x[start : start + size] along each axis, of starts that may be traced (JAX's `lax.dynamic_slice`).

    Starts are brought into range, so that the slice lies inside of `x`; negative ones do not count from the end.

    Raises:
        ShapeError: there is not one scalar start and one size an axis, or a size is larger than `x`.
    """
    x = as_array(x)
    if len(starts) == len(sizes) == x.ndim and all(isinstance(s, int | Size) for s in starts):
        ends = [n - k for n, k in zip(x.shape, sizes, strict=True)]
        if all(k >= 0 and end >= 0 for k, end in zip(sizes, ends, strict=True)):
            first = [smaller(s, end) if s > 0 else 0 for s, end in zip(starts, ends, strict=True)]
            last = [a + k for a, k in zip(first, sizes, strict=True)]
            return movement.slice_(x, start=first, stop=last, step=[1] * x.ndim)
    return dynamic.dynamic_slice(x, *_starts("dynamic_slice", x, starts), sizes=tuple(sizes))


def dynamic_update_slice(x: ArrayLike, update: ArrayLike, starts: Sequence[ArrayLike]) -> Array:
    """`x` with `update` in the place of `dynamic_slice(x, starts, update.shape)` (JAX's `lax.dynamic_update_slice`)."""
    x = as_array(x)
    update = as_tensor(as_array(update), x.dtype)
    return dynamic.dynamic_update_slice(x, update, *_starts("dynamic_update_slice", x, starts))
