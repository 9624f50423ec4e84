"""Matrices with structure: identities, triangles, diagonals. Leading axes are batches."""

from __future__ import annotations

from typing import Any

from tgc.numpy.base import Array, ArrayLike, DTypeLike, along, as_array, axes_of, axis_of, check_device, refuse
from tgc.numpy.manipulation import moveaxis, reshape
from tgc.numpy.padding import pad
from tgc.numpy.reductions import sum
from tgc.ops import arithmetic, creation, movement
from tgc.types import F64, I64, as_dtype

__all__ = ["diag", "diagonal", "eye", "identity", "trace", "tri", "tril", "triu"]


def _distance(rows: int, columns: int) -> Array:
    """int64[rows, columns]: how far right of the main diagonal each place is."""
    row, column = (creation.iota(shape=(rows, columns), dtype=I64, axis=axis) for axis in (0, 1))
    return arithmetic.subtract(column, row)


def eye(N: int, M: int | None = None, /, k: int = 0, dtype: DTypeLike | None = None, *, device: Any = None) -> Array:
    """[N, M] with ones on the diagonal `k` places right of the main one, else zeros."""
    check_device("eye", device)
    return arithmetic.astype(arithmetic.equal(_distance(N, N if M is None else M), k), F64 if dtype is None else dtype)


def identity(n: int, dtype: DTypeLike = F64) -> Array:
    """The n x n identity matrix."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike = F64) -> Array:
    """[N, M] with ones on and below the diagonal `k` places right of the main one, else zeros."""
    return arithmetic.astype(arithmetic.less_equal(_distance(N, N if M is None else M), k), dtype)


def _matrix(function: str, m: ArrayLike) -> Array:
    m = as_array(m)
    if m.ndim < 2:
        raise refuse(function, [m], "the operand needs two axes")
    return m


def tril(m: ArrayLike, /, k: int = 0) -> Array:
    """`m` with zeros above the diagonal `k` places right of the main one."""
    m = _matrix("tril", m)
    return arithmetic.where(arithmetic.less_equal(_distance(*m.shape[-2:]), k), m, arithmetic.zeros_like(m))


def triu(m: ArrayLike, /, k: int = 0) -> Array:
    """`m` with zeros below the diagonal `k` places right of the main one."""
    m = _matrix("triu", m)
    return arithmetic.where(arithmetic.greater_equal(_distance(*m.shape[-2:]), k), m, arithmetic.zeros_like(m))


def diagonal(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The diagonal of each matrix that `axis1` and `axis2` span, along a new last axis.

    Raises:
        ShapeError: the operand has fewer than two axes, or the axes are the same.
    """
    a = _matrix("diagonal", a)
    axes_of("diagonal", a, (axis1, axis2))
    a = moveaxis(a, [axis_of("diagonal", a, axis1), axis_of("diagonal", a, axis2)], [-2, -1])
    *batch, m, n = a.shape
    first = offset if offset >= 0 else -offset * n
    count = max(min(m, n - offset) if offset >= 0 else min(m + offset, n), 0)
    if not count:
        return creation.fill((*batch, 0), a.dtype, 0)
    flat = reshape(a, (*batch, m * n))
    stop = first + (count - 1) * (n + 1) + 1
    zeros, ones = [0] * len(batch), [1] * len(batch)
    return movement.slice_(flat, start=[*zeros, first], stop=[*batch, stop], step=[*ones, n + 1])


def diag(v: ArrayLike, k: int = 0) -> Array:
    """Diagonal `k` of a matrix, or the matrix with vector `v` on that diagonal and zeros elsewhere."""
    v = as_array(v)
    if v.ndim == 2:
        return diagonal(v, k)
    if v.ndim != 1:
        raise refuse("diag", [v], "the operand must be a vector or a matrix")
    n = v.size + abs(k)
    rows = along(pad(v, (max(-k, 0), max(k, 0))), [0], (n, n))
    return arithmetic.where(arithmetic.equal(_distance(n, n), k), rows, arithmetic.zeros_like(rows))


def trace(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: DTypeLike | None = None) -> Array:
    """Sum along the diagonal; dtypes as those of `sum`."""
    return sum(diagonal(a, offset, axis1, axis2), -1, None if dtype is None else as_dtype(dtype))
