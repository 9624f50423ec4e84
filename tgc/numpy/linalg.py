"""Linear algebra: NumPy's `linalg` and the array API's, on stacks of matrices in the last two axes.

Matrices are real or complex, of single or double precision; integers are computed in float64; half precision is
refused, as in NumPy. Errors of LAPACK's (a singular matrix, no convergence) are `LinearAlgebraError`, when the program
runs.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, Axes, as_array, axes_of, refuse
from tgc.numpy.complexes import conj
from tgc.numpy.elementwise import absolute, sqrt, where
from tgc.numpy.exponential import expm
from tgc.numpy.manipulation import broadcast_shapes, broadcast_to, expand_dims, matrix_transpose, moveaxis, reshape
from tgc.numpy.matrices import diagonal as _diagonal
from tgc.numpy.matrices import eye
from tgc.numpy.matrices import trace as _trace
from tgc.numpy.products import matmul, outer, tensordot, vecdot
from tgc.numpy.reductions import count_nonzero, max, min, sum
from tgc.ops import arithmetic, elementwise
from tgc.ops import linalg as ops
from tgc.ops.arithmetic import as_tensor
from tgc.ops.matrices import adjoint, eye_like
from tgc.types import DType, is_complex, is_inexact

__all__ = [
    "cholesky", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "expm", "inv", "lstsq", "lu",
    "matmul", "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "multi_dot", "norm", "outer", "pinv",
    "qr", "slogdet", "solve", "solve_triangular", "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip


class EigResult(NamedTuple):
    """Eigenvalues and eigenvectors, as columns."""

    eigenvalues: Array
    eigenvectors: Array


class EighResult(NamedTuple):
    """Eigenvalues, ascending, and eigenvectors, as columns."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """Factors of Q R."""

    Q: Array
    R: Array


class SVDResult(NamedTuple):
    """Factors of U diag(S) Vh."""

    U: Array
    S: Array
    Vh: Array


class SlogdetResult(NamedTuple):
    """The sign of a determinant and the logarithm of its magnitude."""

    sign: Array
    logabsdet: Array


def _inexact(x: ArrayLike, dtype: DType | None = None) -> Array:
    x = as_array(x)
    return x if is_inexact(x.dtype) and dtype is None else arithmetic.as_tensor(x, dtype or np.dtype(np.float64))


def _pair(a: ArrayLike, b: ArrayLike) -> list[Array]:
    """Two operands in one inexact dtype."""
    a, b = _inexact(a), _inexact(b)
    dtype = arithmetic.result_type(a, b)
    return [arithmetic.as_tensor(x, dtype) for x in (a, b)]


def cholesky(a: ArrayLike, /, *, upper: bool = False) -> Array:
    """L of A = L L^H (or L^H, with `upper`); of A only the lower triangle (or the upper one) is read.

    Raises:
        LinearAlgebraError: A is not positive definite.
    """
    a = _inexact(a)
    return adjoint(ops.cholesky(adjoint(a))) if upper else ops.cholesky(a)


def eig(a: ArrayLike, /) -> EigResult:
    """Eigenvalues, in no order, and eigenvectors of length one of square matrices: complex (NumPy: real if all are).

    The gradient is that of functions which do not depend on the phases of eigenvectors; it needs distinct eigenvalues.
    """
    return EigResult(*ops.eig(_inexact(a)))


def eigvals(a: ArrayLike, /) -> Array:
    """The eigenvalues of `eig`."""
    return eig(a).eigenvalues


def eigh(a: ArrayLike, /, UPLO: str = "L") -> EighResult:
    """Eigenvalues and eigenvectors of Hermitian matrices, of which the triangle `UPLO` is read.

    The gradient is that of functions which do not depend on the signs (or phases) of eigenvectors, nor on their
    choice where eigenvalues coincide.
    """
    if UPLO not in ("L", "U"):
        raise AttributeSpecError(f"eigh: UPLO is L or U, not {UPLO!r}")
    a = _inexact(a)
    return EighResult(*ops.eigh(a if UPLO == "L" else adjoint(a)))


def eigvalsh(a: ArrayLike, /, UPLO: str = "L") -> Array:
    """The eigenvalues of `eigh`."""
    return eigh(a, UPLO).eigenvalues


def svd(a: ArrayLike, /, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """Singular value decomposition: `SVDResult`, or S alone without `compute_uv`.

    The gradient is that of functions which do not depend on the signs (or phases) of singular vectors. Of matrices
    that are not square only the reduced form, `full_matrices=False`, has a gradient.
    """
    found = SVDResult(*ops.svd(_inexact(a), full=full_matrices and compute_uv))
    return found if compute_uv else found.S


def svdvals(x: ArrayLike, /) -> Array:
    """Singular values, descending."""
    found: Array = svd(x, compute_uv=False)
    return found


def qr(a: ArrayLike, /, mode: str = "reduced") -> Any:
    """`QRResult`; mode "complete" makes Q square, mode "r" returns R alone.

    Raises:
        AttributeSpecError: there is no such mode.
    """
    if mode not in ("reduced", "complete", "r"):
        raise AttributeSpecError(f"qr: mode {mode!r} is not supported; there are reduced, complete and r")
    found = QRResult(*ops.qr(_inexact(a), full=mode == "complete"))
    return found.R if mode == "r" else found


def lu(a: ArrayLike, /) -> tuple[Array, Array, Array]:
    """(order, L, U) with a[order] = L U, by partial pivoting: order is int64, L has a unit diagonal."""
    order, low, up = ops.lu(_inexact(a))
    return order, low, up


def solve(a: ArrayLike, b: ArrayLike, /) -> Array:
    """X of A X = B; `b` is a vector if it has one axis, else holds matrices. Leading axes broadcast.

    Raises:
        LinearAlgebraError: a matrix is singular.
    """
    return _solved("solve", a, b, ops.solve)


def solve_triangular(a: ArrayLike, b: ArrayLike, /, *, lower: bool = False, trans: bool = False) -> Array:
    """X of A X = B (or A^T X = B) for triangular A: the other triangle is not read."""
    a = matrix_transpose(as_array(a)) if trans else a
    return _solved("solve_triangular", a, b, lambda a, b: ops.triangular_solve(a, b, lower=lower != trans))


def _solved(function: str, a: ArrayLike, b: ArrayLike, op: Any) -> Array:
    a, b = _pair(a, b)
    if a.ndim < 2 or not b.ndim:
        raise refuse(function, [a, b], "takes matrices, and a vector or matrices")
    vector = b.ndim == 1
    b = expand_dims(b, 1) if vector else b
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b))
    x = op(a, b)
    return x[..., 0] if vector else x


def inv(a: ArrayLike, /) -> Array:
    """The inverse.

    Raises:
        LinearAlgebraError: a matrix is singular.
    """
    a = _inexact(a)
    return ops.solve(a, eye_like(a, a.shape[-1] if a.ndim else 0))


def det(a: ArrayLike, /) -> Array:
    """The determinant. Its gradient is an error at run time where it is zero."""
    return ops.det(_inexact(a))


def slogdet(a: ArrayLike, /) -> SlogdetResult:
    """Sign and logarithm of the magnitude of the determinant; 0 and -inf of a singular matrix."""
    return SlogdetResult(*ops.slogdet(_inexact(a)))


def pinv(a: ArrayLike, /, rcond: ArrayLike | None = None, *, rtol: ArrayLike | None = None) -> Array:
    """The pseudo-inverse; singular values up to `rtol` (by default max(m, n) * eps) times the largest count as zero.

    `rtol` (NumPy's older name: `rcond`) is a number, or an array of one a matrix, whose gradient is that of the SVD.
    """
    a = _inexact(a)
    limit = rtol if rtol is not None else rcond if rcond is not None else _tolerance(a)
    if isinstance(limit, int | float | np.floating):
        return ops.pinv(a, rcond=float(limit))
    u, s, vh = svd(a, full_matrices=False)
    kept = s > max(s, -1, keepdims=True) * as_tensor(as_array(limit), s.dtype)[..., None]
    inverse = where(kept, 1 / where(kept, s, 1), 0)
    return matmul(matrix_transpose(conj(vh)) * inverse[..., None, :], matrix_transpose(conj(u)))


def _tolerance(a: Array) -> float:
    return float(np.finfo(a.dtype).eps) * float(np.max(a.shape[-2:], initial=0))


def lstsq(a: ArrayLike, b: ArrayLike, /, rcond: float | None = None) -> tuple[Array, Array, Array, Array]:
    """(x, residuals, rank, singular values) of the least squares problem |a x - b|, by the pseudo-inverse.

    `b` is a vector or a matrix. Residuals are the sums of squares of |a x - b| by column; unlike NumPy's they are there
    whatever the rank.
    """
    a, b = _pair(a, b)
    if a.ndim != 2 or b.ndim not in (1, 2) or a.shape[0] != b.shape[0]:
        raise refuse("lstsq", [a, b], "takes a matrix, and a vector or matrix of as many rows")
    x = matmul(pinv(a, rcond), b)
    left = arithmetic.subtract(matmul(a, x), b)
    return x, sum(_squares(left), 0), matrix_rank(a, rtol=rcond), svdvals(a)


def matrix_rank(A: ArrayLike, /, tol: float | None = None, *, rtol: float | None = None) -> Array:
    """int64: how many singular values exceed `tol`, or `rtol` (by default max(m, n) * eps) times the largest."""
    a = _inexact(A)
    s = svdvals(a)
    limit = max(s, -1, keepdims=True) * (_tolerance(a) if rtol is None else rtol) if tol is None else tol
    return count_nonzero(s > limit, -1)


def matrix_power(a: ArrayLike, n: int, /) -> Array:
    """a to the power of an int, by squaring; of the inverse if n is negative."""
    a = as_array(a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise refuse("matrix_power", [a], "takes square matrices")
    if n < 0:
        return matrix_power(inv(a), -n)
    result: Array = None
    while n:
        if n % 2:
            result = a if result is None else matmul(result, a)
        n //= 2
        a = matmul(a, a) if n else a
    return broadcast_to(eye(a.shape[-1], dtype=a.dtype), a.shape) if result is None else result


def multi_dot(arrays: Sequence[ArrayLike]) -> Array:
    """The product of matrices (the first and last may be vectors) in the order that takes the fewest operations."""
    parts = [as_array(a) for a in arrays]
    if len(parts) < 2:
        raise AttributeSpecError(f"multi_dot: takes at least two matrices, got {len(parts)}")
    rows = [1 if parts[0].ndim == 1 else parts[0].shape[0]]
    sizes = [*rows, *(1 if k and p.ndim == 1 else p.shape[-1] for k, p in enumerate(parts))]
    n = len(parts)
    best: dict[tuple[int, int], tuple[float, int]] = {(i, i): (0, i) for i in range(n)}
    for width in range(1, n):
        for i in range(n - width):
            j = i + width
            splits = (
                (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )
            best[i, j] = builtins.min(splits)

    def product(i: int, j: int) -> Array:
        return parts[i] if i == j else matmul(product(i, best[i, j][1]), product(best[i, j][1] + 1, j))

    return product(0, n - 1)


# ------------------------------------------------------------------------------------------------------------- norms


def _squares(x: Array) -> Array:
    """|x| squared, real."""
    parts = [elementwise.real(x), elementwise.imag(x)] if is_complex(x.dtype) else [x]
    first, *second = (arithmetic.multiply(v, v) for v in parts)
    return arithmetic.add(first, *second) if second else first


def vector_norm(x: ArrayLike, /, *, axis: Axes = None, keepdims: bool = False, ord: float = 2) -> Array:
    """The `ord`-norm of the elements along axes (None: all), as one vector; inf and -inf are extremes, 0 counts."""
    x = _inexact(x)
    axes = axes_of("vector_norm", x, axis)
    size = absolute(x)
    if ord == math.inf:
        return max(size, axes, keepdims=keepdims)
    if ord == -math.inf:
        return min(size, axes, keepdims=keepdims)
    if ord == 0:
        return arithmetic.as_tensor(count_nonzero(x, axes, keepdims=keepdims), size.dtype)
    if ord == 2:
        return sqrt(sum(_squares(x), axes, keepdims=keepdims))
    return sum(size**ord, axes, keepdims=keepdims) ** (1 / ord)


def matrix_norm(x: ArrayLike, /, *, keepdims: bool = False, ord: float | str | None = "fro") -> Array:
    """A norm of matrices: "fro", "nuc", or 1, -1, inf, -inf (sums of columns and rows), 2, -2 (singular values)."""
    x = _inexact(x)
    if x.ndim < 2:
        raise refuse("matrix_norm", [x], "takes matrices")
    if ord in ("fro", None):
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    extreme = min if isinstance(ord, int | float) and ord < 0 else max
    if ord in (1, -1, math.inf, -math.inf):
        found = extreme(sum(absolute(x), -2 if abs(float(ord)) == 1 else -1), -1)
    elif ord == "nuc":
        found = sum(svdvals(x), -1)
    elif ord in (2, -2):
        found = extreme(svdvals(x), -1)
    else:
        raise AttributeSpecError(
            f"matrix_norm: there is no norm {ord!r}; there are fro, nuc, 1, -1, 2, -2, inf and -inf"
        )
    return expand_dims(found, (-2, -1)) if keepdims else found


def norm(x: ArrayLike, ord: float | str | None = None, axis: Axes = None, keepdims: bool = False) -> Array:
    """NumPy's norm: of a vector along one axis, of matrices along two; without `ord`, the 2-norm of the elements."""
    x = _inexact(x)
    axes = axes_of("norm", x, axis)
    if ord is None:
        return vector_norm(x, axis=axes, keepdims=keepdims)
    if len(axes) == 1:
        if isinstance(ord, str):
            raise AttributeSpecError(f"norm: {ord!r} is no norm of vectors")
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=ord)
    if len(axes) != 2:
        raise refuse("norm", [x], f"takes the norm {ord!r} along one axis or two, not {axes}")
    given = axis if isinstance(axis, Sequence) else axes
    found = matrix_norm(moveaxis(x, tuple(given), (-2, -1)), ord=ord)
    return reshape(found, tuple(1 if a in axes else n for a, n in enumerate(x.shape))) if keepdims else found


def cond(x: ArrayLike, p: float | str | None = None) -> Array:
    """The condition number, in the norm `p` (None: 2)."""
    x = _inexact(x)
    if p is None or p in (2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)


# ---------------------------------------------------------------------------------------------------------- products


def cross(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Array:
    """The vector product along an axis of size three; other axes broadcast."""
    a, b = as_array(x1), as_array(x2)
    a, b = (moveaxis(x, axis, -1) if x.ndim else x for x in (a, b))
    if not a.ndim or not b.ndim or a.shape[-1] != 3 or b.shape[-1] != 3:
        raise refuse("cross", [x1, x2], f"axis {axis} must have size 3")
    ahead, behind = np.array([1, 2, 0]), np.array([2, 0, 1])
    first = arithmetic.multiply(a[..., ahead], b[..., behind])
    return moveaxis(arithmetic.subtract(first, arithmetic.multiply(a[..., behind], b[..., ahead])), -1, axis)


def diagonal(x: ArrayLike, /, *, offset: int = 0) -> Array:
    """The diagonals of matrices in the last two axes."""
    return _diagonal(x, offset, -2, -1)


def trace(x: ArrayLike, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """The sums of the diagonals of matrices in the last two axes."""
    return _trace(x, offset, -2, -1, dtype)
