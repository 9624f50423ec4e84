"""Taking elements at places that are known only at run time.

A negative index counts from the end; one outside of its axis is an error at run time (OutOfRangeError).
"""

from __future__ import annotations

import math

from tgc.errors import AttributeSpecError, DTypeError
from tgc.numpy.base import Array, ArrayLike, as_array, axis_of, describe, refuse, replace
from tgc.numpy.elementwise import clip, logical_and
from tgc.numpy.manipulation import moveaxis, ravel, reshape
from tgc.ops import arithmetic, creation, movement
from tgc.ops.arithmetic import add, greater_equal, less, minimum, remainder, where
from tgc.ops.scalar import LAST_PLACE
from tgc.types import I32, I64, INTS, U64

__all__ = ["take", "take_along_axis"]


def as_indices(function: str, indices: ArrayLike) -> Array:
    """Integer indices in a dtype that holds the sizes of axes."""
    indices = as_array(indices)
    if indices.dtype not in INTS:
        raise DTypeError(f"{function}: indices must be integers, got {describe(indices)}")
    return indices if indices.dtype in (I32, I64, U64) else arithmetic.as_tensor(indices, I64)


def bounded(function: str, indices: Array, size: int, mode: str) -> Array:
    """Indices brought into range as `mode` says, if it says so."""
    match mode:
        case "raise":
            return indices
        case "clip":
            return clip(indices, 0, max(size - 1, 0))
        case "wrap":
            return remainder(indices, max(size, 1))
    raise AttributeSpecError(f"{function}: mode {mode!r} is not supported; there are raise, clip and wrap")


def take(a: ArrayLike, indices: ArrayLike, /, axis: int | None = None, mode: str = "raise") -> Array:
    """Slices of `a` at `indices` along `axis` (None: of the flattened array).

    The result has the shape of `a` with `axis` replaced by the shape of `indices`. Modes "clip" and "wrap" bring
    indices into range.

    Raises:
        DTypeError: `indices` are not integers.
    """
    a, indices = as_array(a), as_indices("take", indices)
    if axis is None:
        return take(ravel(a), indices, 0, mode)
    at = axis_of("take", a, axis)
    indices = bounded("take", indices, a.shape[at], mode)
    if at == 0:
        return movement.take(a, indices)
    rows = movement.take(moveaxis(a, at, 0), indices)
    k = indices.ndim
    return moveaxis(rows, list(range(k)), list(range(at, at + k)))


def take_along_axis(arr: ArrayLike, indices: ArrayLike, /, axis: int | None = -1) -> Array:
    """Elements of `arr` at `indices` along `axis`, place by place along all other axes, which broadcast.

    Raises:
        ShapeError: the operands differ in rank.
        DTypeError: `indices` are not integers.
    """
    arr, indices = as_array(arr), as_indices("take_along_axis", indices)
    if axis is None:
        return take_along_axis(ravel(arr), indices, 0)
    rows, flat, at = along_axis("take_along_axis", arr, indices, axis)
    return moveaxis(movement.take(ravel(rows), flat), -1, at)


def along_axis(function: str, arr: Array, indices: Array, axis: int) -> tuple[Array, Array, int]:
    """`arr` with `axis` last, and `indices` along it as indices into the flattened tensor; the axis from the front.

    All other axes are broadcast together.
    """
    if arr.ndim != indices.ndim:
        raise refuse(function, [arr, indices], "operands must have the same number of axes")
    at = axis_of(function, arr, axis)
    n, k = arr.shape[at], indices.shape[at]
    others = arithmetic.broadcast_shapes(replace(arr.shape, at), replace(indices.shape, at))
    rows = moveaxis(arithmetic.broadcast_to(arr, (*others[:at], n, *others[at:])), at, -1)
    index = moveaxis(arithmetic.broadcast_to(indices, (*others[:at], k, *others[at:])), at, -1)
    index = arithmetic.as_tensor(minimum(index, LAST_PLACE) if index.dtype == U64 else index, I64)
    count = math.prod(others)
    start = reshape(creation.iota(shape=(count,), dtype=I64, axis=0) * n, (*others, 1))
    index = where(less(index, 0), add(index, n), index)
    # A flattened index outside of its own row must not reach another one: it is sent out of the whole tensor.
    inside = logical_and(greater_equal(index, 0), less(index, n))
    return rows, where(inside, add(index, start), count * n), at
