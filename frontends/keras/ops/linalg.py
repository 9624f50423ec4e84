"""Keras's linear algebra."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras.src import tree

import tgc
from tgc import numpy as tnp
from tgc.frontends.keras.ops.promotion import floating
from tgc.frontends.keras.ops.tensors import Tensor, cast, convert_to_tensor
from tgc.numpy import linalg
from tgc.types import BF16, F16, F32

_HALF = (F16, BF16)
_MATRIX_NORMS = (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)


def single(function: Callable[..., Any], operands: int = 1) -> Callable[..., Any]:
    """An op of floats; operands of half precision are computed with in float32, and results rounded once."""

    @functools.wraps(function)
    def computed(*args: Any, **options: Any) -> Any:
        dtype = args[0].dtype
        if dtype not in _HALF:
            return function(*args, **options)
        found = function(*(cast(x, F32) for x in args[:operands]), *args[operands:], **options)
        return tree.map_structure(lambda y: cast(y, dtype) if y.dtype == F32 else y, found)

    return floating(computed, operands)


def _cholesky(a: Tensor, upper: bool = False) -> Tensor:
    return linalg.cholesky(a, upper=upper)


def _cholesky_inverse(a: Tensor, upper: bool = False) -> Tensor:
    """The inverse of the matrix whose Cholesky factor is `a`."""
    inverse = linalg.solve_triangular(a, tnp.eye(a.shape[-1], dtype=a.dtype), lower=not upper)
    turned = tnp.matrix_transpose(inverse)
    return tnp.matmul(inverse, turned) if upper else tnp.matmul(turned, inverse)


def _lu_factor(x: Tensor) -> tuple[Tensor, Tensor]:
    """L below U, whose diagonal is L's too, and (int32) with which row each row changed places, in order."""
    order, low, up = linalg.lu(x)
    rows, columns = x.shape[-2:]
    least = min(rows, columns)
    whole = [(0, 0)] * (x.ndim - 2)
    low = tnp.pad(tnp.tril(low, -1), [*whole, (0, 0), (0, columns - least)])
    return low + tnp.pad(up, [*whole, (0, rows - least), (0, 0)]), _exchanges(order, least)


def _exchanges(order: Tensor, count: int) -> Tensor:
    """The exchanges, one after the other, that bring rows into `order` [..., rows]: the first `count` partners."""
    places = tnp.arange(order.shape[-1])

    def step(now: Tensor, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        i, wanted = x
        partner = tnp.argmax(now == wanted[..., None], -1)
        here = tnp.take(now, i, -1)
        now = tnp.where(places == partner[..., None], here[..., None], now)
        return tnp.where(places == i, wanted[..., None], now), partner

    wanted = tnp.moveaxis(order, -1, 0)[:count]
    _, partners = tgc.scan(step, tnp.broadcast_to(places, order.shape), (places[:count], wanted))
    return cast(tnp.moveaxis(partners, 0, -1), "int32")


def _norm(x: Tensor, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    axis = tuple(axis) if isinstance(axis, list) else axis
    count = len(axis) if isinstance(axis, tuple) else x.ndim if axis is None else 1
    if (count == 1 and isinstance(ord, str)) or (count == 2 and ord not in _MATRIX_NORMS):
        raise ValueError(f"norm: there is no norm {ord!r} of {'vectors' if count == 1 else 'matrices'}")
    return linalg.norm(x, ord, axis, keepdims)


def _qr(x: Tensor, mode: str = "reduced") -> tuple[Tensor, Tensor]:
    if mode not in ("reduced", "complete"):
        raise ValueError(
            f"`mode` argument value not supported. Expected one of {{'reduced', 'complete'}}. Received: mode={mode}"
        )
    return tuple(linalg.qr(x, mode))


def _svd(x: Tensor, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    found = linalg.svd(x, full_matrices, compute_uv)
    return tuple(found) if compute_uv else found


def _solve_triangular(a: Tensor, b: Tensor, lower: bool = False) -> Tensor:
    """The solution for a vector, or vectors [..., n] of stacked matrices [..., n, n], or matrices."""
    if b.ndim == a.ndim - 1 and a.ndim > 2:
        return linalg.solve_triangular(a, b[..., None], lower=lower)[..., 0]
    return linalg.solve_triangular(a, b, lower=lower)


def _solve(a: Tensor, b: Tensor) -> Tensor:
    """The solution for a vector, or vectors [..., n] of stacked matrices [..., n, n], or matrices."""
    return linalg.solve(a, b[..., None])[..., 0] if b.ndim == a.ndim - 1 and a.ndim > 2 else linalg.solve(a, b)


cholesky = single(_cholesky)
cholesky_inverse = single(_cholesky_inverse)
det = single(linalg.det)
eig = single(lambda x: tuple(linalg.eig(x)))
eigh = single(lambda x: tuple(linalg.eigh(x)))
inv = single(linalg.inv)
lstsq = single(lambda a, b, rcond=None: linalg.lstsq(a, b, rcond)[0], 2)
lu_factor = single(_lu_factor)
matrix_rank = single(lambda x, tol=None: cast(linalg.matrix_rank(x, tol), "int32"))
norm = single(_norm)
pinv = single(lambda x, rcond=None: linalg.pinv(x, rcond))
qr = single(_qr)
solve = single(_solve, 2)
solve_triangular = single(_solve_triangular, 2)
svd = single(_svd)


def jvp(
    fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """`fun(*primals)` and its derivative along the tangents, by forward differentiation."""
    points, ways = (tree.map_structure(convert_to_tensor, tuple(xs)) for xs in (primals, tangents))
    found: tuple[Any, ...] = tgc.jvp(fun, points, ways, has_aux=has_aux)
    return found
