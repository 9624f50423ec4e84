"""Matrices in the last two axes, in ops: what the gradients of linear algebra are written with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tgc.ops import arithmetic, elementwise
from tgc.ops.arithmetic import add, divide, multiply, subtract, where
from tgc.ops.creation import full_like, iota
from tgc.ops.movement import broadcast
from tgc.types import I64, is_complex


def conj(x: Any) -> Any:
    """The complex conjugate; of real numbers, themselves."""
    return elementwise.conj(x) if is_complex(x.dtype) else x


def transposed(x: Any) -> Any:
    """The last two axes exchanged."""
    rank = len(x.shape)
    return arithmetic.transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def adjoint(x: Any) -> Any:
    """The conjugate transpose."""
    return conj(transposed(x))


def eye_like(x: Any, n: int) -> Any:
    """The unit matrix of size n, of x's dtype and with x's leading axes."""
    shape = (*x.shape[:-2], n, n)
    return arithmetic.astype(arithmetic.equal(row(shape), column(shape)), x.dtype)


def row(shape: tuple[int, ...]) -> Any:
    """At each place of a matrix the number of its row."""
    return iota(shape=shape, dtype=I64, axis=len(shape) - 2)


def column(shape: tuple[int, ...]) -> Any:
    """At each place of a matrix the number of its column."""
    return iota(shape=shape, dtype=I64, axis=len(shape) - 1)


def lower(x: Any, below: int = 0) -> Any:
    """The lower triangle, from `below` diagonals under the main one."""
    return where(arithmetic.greater_equal(row(x.shape), add(column(x.shape), below)), x, full_like(x, 0))


def halved(x: Any) -> Any:
    """The lower triangle with half of the diagonal."""
    return multiply(0.5, add(lower(x), lower(x, 1)))


def scaled(x: Any, s: Any) -> Any:
    """Columns of matrices times numbers."""
    k = len(x.shape)
    return multiply(x, broadcast(s, axes=(*range(k - 2), k - 1), shape=x.shape))


def differences(s: Any) -> Any:
    """1 / (s[j] - s[i]) at row i, column j; zero where they are equal."""
    k = len(s.shape)
    shape = (*s.shape, s.shape[-1])
    across = broadcast(s, axes=(*range(k - 1), k), shape=shape)
    d = subtract(across, broadcast(s, axes=tuple(range(k)), shape=shape))
    none = arithmetic.equal(d, full_like(d, 0))
    return where(none, full_like(d, 0), divide(1.0, where(none, full_like(d, 1), d)))


def given(g: Sequence[Any], out: Sequence[Any]) -> list[Any]:
    """The cotangents of results, zeros where there is none."""
    return [full_like(y, 0) if c is None else c for c, y in zip(g, out, strict=True)]


__all__ = [
    "adjoint", "column", "conj", "differences", "eye_like", "given", "halved", "lower", "row", "scaled", "transposed",
]  # fmt: skip
