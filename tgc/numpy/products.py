"""Matrix and tensor products. Half precision accumulates in float32; booleans are refused."""

from __future__ import annotations

from collections.abc import Sequence

from tgc.errors import DTypeError
from tgc.numpy.base import Array, ArrayLike, as_array, axis_of, describe, refuse
from tgc.numpy.complexes import conj
from tgc.numpy.manipulation import broadcast_arrays, concatenate, moveaxis, ravel
from tgc.ops import arithmetic, contraction, reduce
from tgc.ops.arithmetic import as_tensor, result_type
from tgc.types import BOOL

__all__ = ["cross", "dot", "inner", "matmul", "matvec", "outer", "tensordot", "vdot", "vecdot", "vecmat"]


def operands(function: str, *xs: ArrayLike) -> list[Array]:
    """The operands of a product in one dtype.

    Raises:
        DTypeError: they are boolean.
    """
    arrays = [as_array(x) for x in xs]
    dtype = result_type(*arrays)
    if dtype == BOOL:
        raise DTypeError(f"{function}({', '.join(map(describe, arrays))}) is not defined for booleans")
    return [as_tensor(x, dtype) for x in arrays]


def _contract(function: str, x: Array, y: Array, left: Sequence[int], right: Sequence[int]) -> Array:
    if [x.shape[i] for i in left] != [y.shape[i] for i in right]:
        raise refuse(function, [x, y], f"sizes of the contracted axes {tuple(left)} and {tuple(right)} differ")
    return contraction.dot(x, y, batch=((), ()), contract=(left, right))


def matmul(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Matrix product; vectors are rows on the left and columns on the right, leading axes are batches and broadcast."""
    return arithmetic.matmul(*operands("matmul", x1, x2))


def dot(a: ArrayLike, b: ArrayLike) -> Array:
    """Sums over the last axis of `a` and the last but one (of a vector: the only) axis of `b`; scalars multiply."""
    a, b = operands("dot", a, b)
    if not a.ndim or not b.ndim:
        return arithmetic.multiply(a, b)
    return _contract("dot", a, b, [a.ndim - 1], [max(b.ndim - 2, 0)])


def vdot(a: ArrayLike, b: ArrayLike) -> Array:
    """Inner product of the flattened operands, the first of which is conjugated."""
    a, b = operands("vdot", ravel(a), ravel(b))
    return _contract("vdot", conj(a), b, [0], [0])


def inner(a: ArrayLike, b: ArrayLike) -> Array:
    """Sums over the last axis of both; scalars multiply."""
    a, b = operands("inner", a, b)
    if not a.ndim or not b.ndim:
        return arithmetic.multiply(a, b)
    return _contract("inner", a, b, [a.ndim - 1], [b.ndim - 1])


def outer(a: ArrayLike, b: ArrayLike) -> Array:
    """[M, N]: all products of the elements of the flattened operands."""
    a, b = operands("outer", ravel(a), ravel(b))
    return arithmetic.multiply(arithmetic.reshape(a, (a.size, 1)), b)


def vecdot(x1: ArrayLike, x2: ArrayLike, /, axis: int = -1) -> Array:
    """Inner products along `axis` of both operands, whose other axes broadcast; the first is conjugated."""
    x, y = operands("vecdot", x1, x2)
    x, y = (moveaxis(v, axis_of("vecdot", v, axis), -1) for v in (x, y))
    if x.shape[-1] != y.shape[-1]:
        raise refuse("vecdot", [x, y], f"sizes along axis {axis} differ")
    x, y = broadcast_arrays(x, y)
    return reduce.reduce_sum(arithmetic.multiply(conj(x), y), axes=(x.ndim - 1,), chunks=0)


def tensordot(a: ArrayLike, b: ArrayLike, axes: int | tuple[int | Sequence[int], int | Sequence[int]] = 2) -> Array:
    """Sums over pairs of axes: the last of `a` with the first of `b` if `axes` is their number, else (of a, of b).

    The result has the other axes of `a`, then those of `b`.

    Raises:
        ShapeError: axes do not exist, are not paired, or differ in size.
    """
    a, b = operands("tensordot", a, b)
    if isinstance(axes, int):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise refuse("tensordot", [a, b], f"there are no {axes} axes to contract")
        return _contract("tensordot", a, b, range(a.ndim - axes, a.ndim), range(axes))
    sides = [[t] if isinstance(t, int) else list(t) for t in axes]
    left, right = ([axis_of("tensordot", x, i) for i in side] for x, side in zip((a, b), sides, strict=True))
    if len(left) != len(right) or len(set(left)) != len(left) or len(set(right)) != len(right):
        raise refuse("tensordot", [a, b], f"axes {axes} do not pair distinct axes")
    return _contract("tensordot", a, b, left, right)


def matvec(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """[..., m]: matrices [..., m, n] times vectors [..., n]; leading axes broadcast."""
    x, y = operands("matvec", x1, x2)
    return arithmetic.matmul(x, arithmetic.reshape(y, (*y.shape, 1)))[..., 0]


def vecmat(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """[..., n]: vectors [..., m], conjugated, times matrices [..., m, n]; leading axes broadcast."""
    x, y = operands("vecmat", x1, x2)
    return arithmetic.matmul(arithmetic.reshape(conj(x), (*x.shape[:-1], 1, *x.shape[-1:])), y)[..., 0, :]


def cross(
    a: ArrayLike, b: ArrayLike, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Array:
    """Cross products of vectors along `axis` (or `axisa`, `axisb`, `axisc`); the other axes broadcast.

    Vectors have three components, or two: the third is then zero. Of the products of two such vectors there is only
    the third component, without an axis.

    Raises:
        ShapeError: a vector has another size.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = operands("cross", a, b)
    x, y = moveaxis(x, axis_of("cross", x, axisa), -1), moveaxis(y, axis_of("cross", y, axisb), -1)
    if x.shape[-1:] not in ((2,), (3,)) or y.shape[-1:] not in ((2,), (3,)):
        raise refuse("cross", [x, y], "vectors must have two or three components")
    u, v = ([w[..., i : i + 1] for i in range(w.shape[-1])] for w in (x, y))

    def part(i: int, j: int) -> Array:
        plus, minus = (
            arithmetic.multiply(u[m], v[n]) if m < len(u) and n < len(v) else None for m, n in ((i, j), (j, i))
        )
        if plus is None or minus is None:
            return arithmetic.negative(minus) if plus is None else plus
        return arithmetic.subtract(plus, minus)

    if len(u) == len(v) == 2:
        return part(0, 1)[..., 0]
    out = concatenate([part(1, 2), part(2, 0), part(0, 1)], -1)
    return moveaxis(out, -1, axis_of("cross", out, axisc))
