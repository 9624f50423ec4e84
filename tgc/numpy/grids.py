"""Coordinates of grids, and the indices of parts of a matrix. Sizes are static."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, DTypeLike, along, as_array, refuse, sizes
from tgc.ops import arithmetic, creation
from tgc.types import I64, as_dtype

__all__ = [
    "diag_indices", "diag_indices_from", "index_exp", "indices", "ix_", "meshgrid", "mgrid", "ogrid",
    "ravel_multi_index", "s_", "tril_indices", "tril_indices_from", "triu_indices", "triu_indices_from",
    "unravel_index",
]  # fmt: skip

mgrid, ogrid, s_, index_exp = np.mgrid, np.ogrid, np.s_, np.index_exp  # static: they make NumPy arrays and slices


def meshgrid(*xi: ArrayLike, indexing: str = "xy", sparse: bool = False) -> list[Array]:
    """Coordinate tensors of the grid that vectors span; "xy" swaps the first two axes, "ij" does not.

    Raises:
        ShapeError: an operand has more than one axis.
    """
    if indexing not in ("xy", "ij"):
        raise AttributeSpecError(f"meshgrid: indexing is 'xy' or 'ij', not {indexing!r}")
    xs = [as_array(x) for x in xi]
    if any(x.ndim > 1 for x in xs):
        raise refuse("meshgrid", xs, "operands must be vectors")
    places = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        places[:2] = [1, 0]
    by_place = dict(zip(places, xs, strict=True))
    shape = [by_place[i].size for i in range(len(xs))]
    flat = [arithmetic.reshape(x, x.size) for x in xs]
    if sparse:
        return [
            arithmetic.reshape(x, [-1 if a == p else 1 for a in range(len(xs))])
            for x, p in zip(flat, places, strict=True)
        ]
    return [along(x, [p], shape) for x, p in zip(flat, places, strict=True)]


def indices(dimensions: Sequence[int], dtype: DTypeLike = I64, sparse: bool = False) -> Any:
    """[rank, *dimensions]: the coordinates of each element; a tuple of tensors that broadcast if `sparse`."""
    shape, to = sizes(dimensions), as_dtype(dtype)
    if sparse:
        rank = len(shape)
        return tuple(
            creation.iota(shape=[n if a == axis else 1 for a in range(rank)], dtype=to, axis=axis)
            for axis, n in enumerate(shape)
        )
    from tgc.numpy.manipulation import stack

    if not shape:
        return creation.fill((0,), to, 0)
    return stack([creation.iota(shape=shape, dtype=to, axis=axis) for axis in range(len(shape))])


def ix_(*args: ArrayLike) -> tuple[Array, ...]:
    """Vectors as axes of an open grid of indices."""
    xs = [as_array(x) for x in args]
    if any(x.ndim != 1 for x in xs):
        raise refuse("ix_", xs, "operands must be vectors")
    return tuple(arithmetic.reshape(x, [-1 if a == i else 1 for a in range(len(xs))]) for i, x in enumerate(xs))


def diag_indices(n: int, ndim: int = 2) -> tuple[np.ndarray, ...]:
    """The indices of the main diagonal of a tensor of `ndim` axes of size `n`."""
    return np.diag_indices(n, ndim)


def diag_indices_from(arr: ArrayLike) -> tuple[np.ndarray, ...]:
    """The indices of the main diagonal of `arr`, whose axes have one size."""
    arr = as_array(arr)
    if arr.ndim < 2 or len(set(arr.shape)) != 1:
        raise refuse("diag_indices_from", [arr], "there must be two axes or more, of one size")
    return diag_indices(arr.shape[0], arr.ndim)


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[np.ndarray, ...]:
    """The indices of the places of an [n, m] matrix on and below diagonal `k`."""
    return np.tril_indices(n, k, m)


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[np.ndarray, ...]:
    """The indices of the places of an [n, m] matrix on and above diagonal `k`."""
    return np.triu_indices(n, k, m)


def _matrix(function: str, arr: ArrayLike) -> tuple[int, int]:
    arr = as_array(arr)
    if arr.ndim != 2:
        raise refuse(function, [arr], "the operand must be a matrix")
    rows, columns = arr.shape
    return rows, columns


def tril_indices_from(arr: ArrayLike, k: int = 0) -> tuple[np.ndarray, ...]:
    """`tril_indices` for the shape of a matrix."""
    rows, columns = _matrix("tril_indices_from", arr)
    return tril_indices(rows, k, columns)


def triu_indices_from(arr: ArrayLike, k: int = 0) -> tuple[np.ndarray, ...]:
    """`triu_indices` for the shape of a matrix."""
    rows, columns = _matrix("triu_indices_from", arr)
    return triu_indices(rows, k, columns)


def unravel_index(indices: ArrayLike, shape: int | Sequence[int]) -> tuple[Array, ...]:
    """The coordinates in a tensor of `shape` (row-major) of places in its flattened form."""
    place, out = as_array(indices), []
    for n in sizes(shape)[::-1]:
        out.append(arithmetic.remainder(place, n))
        place = arithmetic.floor_divide(place, n)
    return tuple(out[::-1])


def ravel_multi_index(multi_index: Sequence[ArrayLike], dims: Sequence[int], mode: str = "raise") -> Array:
    """Places in the flattened form (row-major) of a tensor of shape `dims`, of given coordinates.

    Modes "wrap" and "clip" bring coordinates into range; "raise" leaves them, as they may be traced.
    """
    if mode not in ("raise", "wrap", "clip"):
        raise AttributeSpecError(f"ravel_multi_index: mode {mode!r} is not supported; there are raise, wrap and clip")
    place: Array = 0
    for n, i in zip(sizes(dims), multi_index, strict=True):
        if mode != "raise":
            last = arithmetic.maximum(arithmetic.minimum(i, n - 1), 0)
            i = arithmetic.remainder(i, n) if mode == "wrap" else last
        place = arithmetic.add(arithmetic.multiply(place, n), i)
    return place
