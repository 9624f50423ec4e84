"""Random orthogonal matrices and correlated vectors. Half precision is computed in float32."""

from __future__ import annotations

from tgc.control import scan
from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, DTypeLike, accumulator, refuse, sizes
from tgc.numpy.elementwise import greater_equal, less, sqrt, where
from tgc.numpy.manipulation import expand_dims, moveaxis, swapaxes
from tgc.numpy.reductions import sum
from tgc.ops import arithmetic, creation
from tgc.ops.arithmetic import add, as_tensor, broadcast_shapes, broadcast_to, equal
from tgc.random.continuous import normal
from tgc.random.draws import NUMBER, float_dtype, parameter
from tgc.random.keys import Size
from tgc.types import F32, I64, DType

__all__ = ["multivariate_normal", "orthogonal"]


def orthogonal(key: Array, n: int, shape: Size = (), dtype: DTypeLike = F32, m: int | None = None) -> Array:
    """Matrices [*shape, n, m], m = n unless given, of orthonormal columns (or rows if these are fewer), uniform.

    The orthogonal factor of a normal matrix whose triangular factor has a positive diagonal is distributed by Haar's
    measure; it is applied as `m` reflections to the identity (Stewart, SIAM Journal on Numerical Analysis 17, 1980).

    Raises:
        AttributeSpecError: a size is negative.
    """
    to, columns = float_dtype(dtype), n if m is None else m
    if min(n, columns) < 0:
        raise AttributeSpecError(f"orthogonal: no matrix of {n} x {columns}")
    if columns > n:
        return swapaxes(orthogonal(key, columns, shape, to, n), -1, -2)
    lead, work = sizes(shape), accumulator(to)
    rows = normal(key, (columns, *lead, n), work)  # row k is to become a multiple of the k-th unit vector
    axis = len(lead) + 1
    step, place = (creation.iota(shape=rows.shape, dtype=I64, axis=a) for a in (0, axis))
    rows = where(greater_equal(place, step), rows, 0)
    pivot = sum(where(equal(place, step), rows, 0), axis, keepdims=True)
    sign = where(less(pivot, 0), as_tensor(-1.0, work), as_tensor(1.0, work))
    length = sqrt(sum(rows * rows, axis, keepdims=True))
    mirrors = where(equal(place, step), rows + sign * length, rows)
    size = sum(mirrors * mirrors, axis, keepdims=True)
    scaled = mirrors * (2 / where(equal(size, 0), 1, size))
    unit = equal(*(creation.iota(shape=(*lead, n, columns), dtype=I64, axis=a) for a in (len(lead), len(lead) + 1)))
    signs = expand_dims(moveaxis(-sign[..., 0], 0, -1), -2)
    start = where(unit, broadcast_to(signs, unit.shape), 0)

    def reflect(y: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
        mirror, twice = (expand_dims(v, -1) for v in row)
        return y - mirror * sum(twice * y, -2, keepdims=True), None

    made, _ = scan(reflect, start, (mirrors, scaled), reverse=True)
    return as_tensor(made, to)


def _cholesky(a: Array) -> Array:
    """The lower triangular L [..., n, n] with L L^T = a, column by column; NaN if `a` is not positive definite."""
    n = a.shape[-1]
    columns = moveaxis(a, -1, 0)
    steps = creation.iota(shape=(n,), dtype=I64, axis=0)

    def body(made: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
        column, k = row
        here = equal(steps, k)
        own = sum(where(expand_dims(here, -1), made, 0), -2)  # row k of L
        rest = column - sum(made * expand_dims(own, -2), -1)
        pivot = sqrt(sum(where(here, rest, 0), -1, keepdims=True))
        new = where(less(steps, k), 0, rest / pivot)
        return where(here, expand_dims(new, -1), made), None

    lower, _ = scan(body, creation.fill(a.shape, a.dtype, 0), (columns, steps))
    return lower


def _values(name: str, value: ArrayLike, dtype: DType) -> Array:
    return parameter("multivariate_normal", name, value, NUMBER, dtype)


def multivariate_normal(
    key: Array, mean: ArrayLike, cov: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32
) -> Array:
    """Normal vectors [*shape, n] with `mean` [..., n] and positive definite covariance `cov` [..., n, n].

    Differentiable in both. `shape` is that to which the leading axes broadcast, unless given; a covariance that is not
    positive definite draws NaN.

    Raises:
        ShapeError: the operands do not fit.
    """
    to, name = float_dtype(dtype), "multivariate_normal"
    work = accumulator(to)
    mean, cov = _values("mean", mean, work), _values("cov", cov, work)
    if mean.ndim < 1 or cov.ndim < 2 or cov.shape[-2:] != mean.shape[-1:] * 2:
        raise refuse(name, [mean, cov], "needs a mean [..., n] and a covariance [..., n, n]")
    common = broadcast_shapes(mean.shape[:-1], cov.shape[:-2], op=name)
    lead = common if shape is None else sizes(shape)
    if broadcast_shapes(common, lead, op=name) != lead:
        raise refuse(name, [mean, cov], f"the parameters do not broadcast to shape {lead}")
    z = normal(key, (*lead, mean.shape[-1]), work)
    moved = sum(arithmetic.multiply(_cholesky(cov), expand_dims(z, -2)), -1)
    return as_tensor(add(moved, broadcast_to(mean, moved.shape)), to)
