"""Random orthogonal matrices and correlated vectors. Half precision is computed in float32."""

from __future__ import annotations

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, DTypeLike, accumulator, refuse, sizes
from tgc.numpy.elementwise import less, where
from tgc.numpy.linalg import cholesky, diagonal, qr
from tgc.numpy.manipulation import expand_dims, swapaxes
from tgc.numpy.reductions import sum
from tgc.ops.arithmetic import add, as_tensor, broadcast_shapes, broadcast_to, multiply
from tgc.random.continuous import normal
from tgc.random.draws import NUMBER, float_dtype, parameter
from tgc.random.keys import Size
from tgc.types import F32, DType

__all__ = ["multivariate_normal", "orthogonal"]


def orthogonal(key: Array, n: int, shape: Size = (), dtype: DTypeLike = F32, m: int | None = None) -> Array:
    """Matrices [*shape, n, m], m = n unless given, of orthonormal columns (or rows if these are fewer), uniform.

    The orthogonal factor of a normal matrix whose triangular factor has a positive diagonal is distributed by Haar's
    measure (Stewart, SIAM Journal on Numerical Analysis 17, 1980).

    Raises:
        AttributeSpecError: a size is negative.
    """
    to, columns = float_dtype(dtype), n if m is None else m
    if min(n, columns) < 0:
        raise AttributeSpecError(f"orthogonal: no matrix of {n} x {columns}")
    if columns > n:
        return swapaxes(orthogonal(key, columns, shape, to, n), -1, -2)
    q, r = qr(normal(key, (*sizes(shape), n, columns), accumulator(to)))
    flipped = less(diagonal(r), 0)
    return as_tensor(where(expand_dims(flipped, -2), -q, q), to)


def _values(name: str, value: ArrayLike, dtype: DType) -> Array:
    return parameter("multivariate_normal", name, value, NUMBER, dtype)


def multivariate_normal(
    key: Array, mean: ArrayLike, cov: ArrayLike, shape: Size | None = None, dtype: DTypeLike = F32
) -> Array:
    """Normal vectors [*shape, n] with `mean` [..., n] and positive definite covariance `cov` [..., n, n].

    Differentiable in both. `shape` is that to which the leading axes broadcast, unless given.

    Raises:
        ShapeError: the operands do not fit.
        LinearAlgebraError: a covariance is not positive definite.
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
    moved = sum(multiply(cholesky(cov), expand_dims(z, -2)), -1)
    return as_tensor(add(moved, broadcast_to(mean, moved.shape)), to)
