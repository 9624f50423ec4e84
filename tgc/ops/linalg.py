"""Factorizations and solutions of linear systems, by LAPACK through NumPy, over the last two axes.

Gradients are those of what is computed: of ops that read the lower triangle of a symmetric matrix alone, they lie
there. Sources: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation"
(2008); Murray, "Differentiation of the Cholesky decomposition" (2016); Townsend, "Differentiating the singular value
decomposition" (2016); Walter and Lehmann, "Algorithmic differentiation of linear algebra functions with application in
optimum experimental design" (2010); Golub and Pereyra, "The differentiation of pseudo-inverses" (1973).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.errors import DTypeError, GradientError
from tgc.ir import Attr
from tgc.ops import arithmetic
from tgc.ops.arithmetic import add, divide, matmul, multiply, negative, subtract, where
from tgc.ops.creation import full_like, iota
from tgc.ops.indexing import index
from tgc.ops.kinds import Primitive, flag, scalar
from tgc.ops.movement import broadcast, concat
from tgc.ops.opaque import Opaque, over_leading_axes
from tgc.ops.samples import Draw, case, reals, samples
from tgc.types import F32, F64, I64, DType, TensorType

DOMAIN = frozenset({F32, F64})
_SQUARE = (case((4, 4)), case((2, 3, 3)), case((1, 1)), case((0, 3, 3)))
_ANY = ((4, 4), (5, 3), (2, 3, 5), (0, 2, 2))


# ----------------------------------------------------------------------------------------------- matrices, in ops


def transposed(x: Any) -> Any:
    """The last two axes exchanged."""
    rank = len(x.shape)
    return arithmetic.transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def eye_like(x: Any, n: int) -> Any:
    """The unit matrix of size n, of x's dtype and with x's leading axes."""
    shape = (*x.shape[:-2], n, n)
    return arithmetic.astype(arithmetic.equal(_row(shape), _column(shape)), x.dtype)


def _row(shape: tuple[int, ...]) -> Any:
    return iota(shape=shape, dtype=I64, axis=len(shape) - 2)


def _column(shape: tuple[int, ...]) -> Any:
    return iota(shape=shape, dtype=I64, axis=len(shape) - 1)


def lower(x: Any, below: int = 0) -> Any:
    """The lower triangle, from `below` diagonals under the main one."""
    return where(arithmetic.greater_equal(_row(x.shape), add(_column(x.shape), below)), x, full_like(x, 0))


def halved(x: Any) -> Any:
    """The lower triangle with half of the diagonal."""
    return multiply(0.5, add(lower(x), lower(x, 1)))


def _scaled(x: Any, s: Any) -> Any:
    """Columns of matrices times numbers."""
    k = len(x.shape)
    return multiply(x, broadcast(s, axes=(*range(k - 2), k - 1), shape=x.shape))


def _differences(s: Any) -> Any:
    """1 / (s[j] - s[i]) at row i, column j; zero where they are equal."""
    k = len(s.shape)
    shape = (*s.shape, s.shape[-1])
    across = broadcast(s, axes=(*range(k - 1), k), shape=shape)
    d = subtract(across, broadcast(s, axes=tuple(range(k)), shape=shape))
    none = arithmetic.equal(d, full_like(d, 0))
    return where(none, full_like(d, 0), divide(1.0, where(none, full_like(d, 1), d)))


def _given(g: Sequence[Any], out: Sequence[Any]) -> list[Any]:
    return [full_like(y, 0) if c is None else c for c, y in zip(g, out, strict=True)]


# ------------------------------------------------------------------------------------------------------ definition


def _matrices(op: Primitive, operands: Sequence[TensorType], count: int = 1, square: bool = True) -> TensorType:
    op.expect(operands, *[DOMAIN] * count)
    a = operands[0]
    if a.rank < 2 or (square and a.shape[-1] != a.shape[-2]):
        raise op.refuse(f"operand 0 must hold {'square ' if square else ''}matrices in its last two axes", operands)
    if len({t.dtype for t in operands}) > 1:
        raise DTypeError(f"{op.name}({', '.join(map(str, operands))}): operand dtypes differ")
    return a


def _define(
    name: str,
    reference: Callable[..., Any],
    shapes: Callable[..., Sequence[tuple[int, ...]]],
    grad: Callable[..., tuple[Any, ...]],
    draw: Draw,
    cases: Any,
    *,
    square: bool = True,
    attrs: Any = None,
    dtypes: Sequence[DType | None] = (None, None, None),
) -> Opaque:
    """Define an op of one operand; `shapes(a, **attrs)` are the results' shapes behind the leading axes."""

    def rule(op: Primitive, operands: Sequence[TensorType], **attrs: Attr) -> tuple[TensorType, ...]:
        a = _matrices(op, operands, square=square)
        made = zip(shapes(*a.shape[-2:], **attrs), dtypes, strict=False)
        return tuple(TensorType(d or a.dtype, a.shape[:-2] + shape) for shape, d in made)

    return Opaque(
        name,
        attrs=attrs or {},
        type_rule=rule,
        domain=DOMAIN,
        reference=reference,
        grad=grad,
        batch=over_leading_axes(name),
        samples=samples(draw, cases=cases, ulps=64),
    )


def regular(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices that are far from singular, and whose singular values differ."""
    m, n = shape[-2:]
    return np.asarray(reals(-0.4, 0.4)(rng, dtype, shape) + (np.eye(m, n) * (1 + np.arange(n))).astype(dtype))


def positive(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Symmetric positive definite matrices whose eigenvalues differ."""
    a = regular(rng, dtype, shape)
    return np.asarray(a @ np.swapaxes(a, -1, -2))


# --------------------------------------------------------------------------------------------------- factorizations


def _cholesky_grad(g: Any, a: Any, *, out: Any) -> tuple[Any]:
    inner = halved(matmul(transposed(out), g))
    half = triangular_solve(transposed(out), inner, lower=False)
    s = transposed(triangular_solve(transposed(out), transposed(half), lower=False))
    return (halved(add(s, transposed(s))),)


cholesky: Opaque = _define("cholesky", np.linalg.cholesky, lambda m, n: [(n, n)], _cholesky_grad, positive, _SQUARE)
"""L of A = L L^T, lower triangular; the lower triangle of A is read."""


def _eigh_grad(g: Any, a: Any, *, out: Any) -> tuple[Any]:
    w, v = out
    gw, gv = _given(g, out)
    inner = multiply(_differences(w), matmul(transposed(v), gv))
    s = add(matmul(matmul(v, inner), transposed(v)), matmul(_scaled(v, gw), transposed(v)))
    return (halved(add(s, transposed(s))),)


eigh: Opaque = _define(
    "eigh", lambda a: tuple(np.linalg.eigh(a)), lambda m, n: [(n,), (n, n)], _eigh_grad, positive, _SQUARE
)
"""Eigenvalues, ascending, and eigenvectors (columns) of a symmetric matrix; its lower triangle is read."""


def _svd_shapes(m: int, n: int, *, full: Any) -> list[tuple[int, ...]]:
    k = min(m, n)
    return [(m, m if full else k), (k,), (n if full else k, n)]


def _svd_grad(g: Any, a: Any, *, out: Any, full: bool) -> tuple[Any]:
    if full and a.shape[-1] != a.shape[-2]:
        return (GradientError("svd: singular vectors of the null space have no gradient; use full_matrices=False"),)
    u, s, vt = out
    gu, gs, gvt = _given(g, out)
    v, gv = transposed(vt), transposed(gvt)
    f = _differences(multiply(s, s))
    inverse = divide(1.0, s)

    def side(u: Any, gu: Any) -> tuple[Any, Any]:
        """F o (U^T G - G^T U), and the part of G outside of the span of U, columns divided by s."""
        product = matmul(transposed(u), gu)
        outside = subtract(gu, matmul(u, product))
        return multiply(f, subtract(product, transposed(product))), _scaled(outside, inverse)

    inner_u, outer_u = side(u, gu)
    inner_v, outer_v = side(v, gv)
    left = add(_scaled(matmul(u, inner_u), s), add(outer_u, _scaled(u, gs)))
    return (add(matmul(add(left, matmul(_scaled(u, s), inner_v)), vt), matmul(u, transposed(outer_v))),)


svd: Opaque = _define(
    "svd", lambda a, *, full: tuple(np.linalg.svd(a, full_matrices=full)), _svd_shapes, _svd_grad, regular,
    (*(case(s, full=False) for s in _ANY), case((3, 3), full=True)), square=False, attrs={"full": flag},
)  # fmt: skip
"""U, s (descending) and V^T of A = U diag(s) V^T; with `full` U and V are square."""


def _qr_grad(g: Any, a: Any, *, out: Any, full: bool) -> tuple[Any]:
    m, n = a.shape[-2:]
    if full and m > n:
        return (GradientError("qr: the complement of the columns has no gradient; use mode reduced"),)
    q, r = out
    gq, gr = _given(g, out)
    if m < n:
        y, v, u = (index(x, (..., slice(m, None) if k < 2 else slice(m))) for k, x in enumerate((a, gr, r)))
        head = _qr_square(add(gq, matmul(y, transposed(v))), index(gr, (..., slice(m))), q, u)
        return (concat(head, matmul(q, v), axis=len(a.shape) - 1),)
    return (_qr_square(gq, gr, q, r),)


def _qr_square(gq: Any, gr: Any, q: Any, r: Any) -> Any:
    product = subtract(matmul(r, transposed(gr)), matmul(transposed(gq), q))
    right = add(gq, matmul(q, add(lower(product), transposed(lower(product, 1)))))
    return transposed(triangular_solve(r, transposed(right), lower=False))


qr: Opaque = _define(
    "qr", lambda a, *, full: tuple(np.linalg.qr(a, "complete" if full else "reduced")),
    lambda m, n, *, full: [(m, m if full else min(m, n)), (m if full else min(m, n), n)], _qr_grad, regular,
    (*(case(s, full=False) for s in _ANY), case((2, 3), full=True)), square=False, attrs={"full": flag},
)  # fmt: skip
"""Q and R of A = Q R; with `full` Q is square."""


def _lu_reference(a: np.ndarray) -> tuple[np.ndarray, ...]:
    """Gaussian elimination with partial pivoting, all matrices at once, a column a step."""
    m, n = a.shape[-2:]
    k = min(m, n)
    u = a.reshape(-1, m, n).copy()
    order = np.tile(np.arange(m, dtype=I64), (len(u), 1))
    every = np.arange(len(u))
    for j in range(k):
        pivot = j + np.argmax(np.abs(u[:, j:, j]), axis=1)
        for x in (u, order):
            x[every, pivot], x[:, j] = x[:, j].copy(), x[every, pivot].copy()
        rest = u[:, j + 1 :]
        factor = np.divide(
            rest[:, :, j], u[:, j, j, None], where=u[:, j, j, None] != 0, out=np.zeros_like(rest[:, :, j])
        )
        rest[:, :, j + 1 :] -= factor[:, :, None] * u[:, j, None, j + 1 :]
        rest[:, :, j] = factor
    lead = a.shape[:-2]
    low = np.tril(u[:, :, :k], -1) + np.eye(m, k, dtype=a.dtype)
    return order.reshape(*lead, m), low.reshape(*lead, m, k), np.triu(u[:, :k]).reshape(*lead, k, n)


def _lu_grad(g: Any, a: Any, *, out: Any) -> tuple[Any]:
    if a.shape[-1] != a.shape[-2]:
        return (GradientError("lu: the gradient is known for square matrices alone"),)
    order, low, up = out
    _, gl, gu = _given(g, out)
    n = a.shape[-1]
    inner = add(lower(matmul(transposed(low), gl), 1), transposed(lower(matmul(up, transposed(gu)))))
    half = triangular_solve(transposed(low), inner, lower=False)
    permuted = transposed(triangular_solve(up, transposed(half), lower=False))
    across = broadcast(order, axes=tuple(range(len(order.shape))), shape=a.shape)  # P[i, order[i]] = 1
    rows = arithmetic.astype(arithmetic.equal(across, _column((*a.shape[:-2], n, n))), a.dtype)
    return (matmul(transposed(rows), permuted),)


lu: Opaque = _define(
    "lu", _lu_reference, lambda m, n: [(m,), (m, min(m, n)), (min(m, n), n)], _lu_grad, regular,
    _SQUARE, square=False, dtypes=(I64, None, None),
)  # fmt: skip
"""The order of rows (i64), L (unit lower triangular) and U of A[order] = L U, with partial pivoting."""


# -------------------------------------------------------------------------------------------- solutions and inverses


def _solve_type(op: Primitive, operands: Sequence[TensorType], **attrs: Attr) -> tuple[TensorType, ...]:
    a = _matrices(op, operands, 2)
    b = operands[1]
    if b.rank != a.rank or b.shape[:-1] != a.shape[:-1]:
        raise op.refuse(
            "operand 1 must hold columns as long as those of operand 0, and the same leading axes", operands
        )
    return (TensorType(b.dtype, b.shape),)


def _solve_grad(g: Any, a: Any, b: Any, *, out: Any) -> tuple[Any, Any]:
    gb = solve(transposed(a), g)
    return negative(matmul(gb, transposed(out))), gb


_SYSTEMS = ((4, 4), (4, 2)), ((2, 3, 3), (2, 3, 1)), ((0, 2, 2), (0, 2, 2))

solve: Opaque = Opaque(
    "solve",
    attrs={},
    type_rule=_solve_type,
    domain=DOMAIN,
    reference=np.linalg.solve,
    grad=_solve_grad,
    batch=over_leading_axes("solve"),
    samples=samples(regular, reals(), cases=tuple(case(*s) for s in _SYSTEMS), ulps=64),
)
"""X of A X = B."""


def _triangular_grad(g: Any, a: Any, b: Any, *, out: Any, lower: bool) -> tuple[Any, Any]:
    gb = triangular_solve(transposed(a), g, lower=not lower)
    ga = negative(matmul(gb, transposed(out)))
    return _triangle(ga, lower), gb


def _triangle(x: Any, low: bool) -> Any:
    return lower(x) if low else transposed(lower(transposed(x)))


triangular_solve: Opaque = Opaque(
    "triangular_solve",
    attrs={"lower": flag},
    type_rule=_solve_type,
    domain=DOMAIN,
    reference=lambda a, b, *, lower: np.linalg.solve((np.tril if lower else np.triu)(a), b),  # NumPy has no trtrs
    grad=_triangular_grad,
    batch=over_leading_axes("triangular_solve"),
    samples=samples(regular, reals(), cases=tuple(case(*s, lower=k != 1) for k, s in enumerate(_SYSTEMS)), ulps=64),
)
"""X of A X = B, where the lower (or else the upper) triangle of A is read."""


def _det_grad(g: Any, a: Any, *, out: Any) -> tuple[Any]:
    lead = tuple(range(len(a.shape) - 2))
    return (
        multiply(broadcast(multiply(g, out), axes=lead, shape=a.shape), transposed(solve(a, eye_like(a, a.shape[-1])))),
    )


det: Opaque = _define("det", np.linalg.det, lambda m, n: [()], _det_grad, regular, _SQUARE)
"""The determinant. The gradient of that of a singular matrix is an error at run time."""


def _slogdet_grad(g: Any, a: Any, *, out: Any) -> tuple[Any]:
    _, gl = _given(g, out)
    lead = tuple(range(len(a.shape) - 2))
    return (multiply(broadcast(gl, axes=lead, shape=a.shape), transposed(solve(a, eye_like(a, a.shape[-1])))),)


slogdet: Opaque = _define(
    "slogdet", lambda a: tuple(np.linalg.slogdet(a)), lambda m, n: [(), ()], _slogdet_grad, regular, _SQUARE
)
"""The sign of the determinant, and the logarithm of its magnitude."""


def _pinv_grad(g: Any, a: Any, *, out: Any, rcond: float) -> tuple[Any]:
    m, n = a.shape[-2:]
    pt, gt = transposed(out), transposed(g)
    left = subtract(eye_like(a, m), matmul(a, out))
    right = subtract(eye_like(a, n), matmul(out, a))
    first = negative(matmul(matmul(pt, g), pt))
    second = matmul(matmul(left, gt), matmul(out, pt))
    return (add(first, add(second, matmul(matmul(pt, out), matmul(gt, right)))),)


pinv: Opaque = _define(
    "pinv", lambda a, *, rcond: np.linalg.pinv(a, rcond), lambda m, n, *, rcond: [(n, m)], _pinv_grad, regular,
    tuple(case(s, rcond=1e-6) for s in _ANY), square=False, attrs={"rcond": scalar},
)  # fmt: skip
"""The pseudo-inverse; singular values below `rcond` times the largest count as zero."""

__all__ = [
    "cholesky", "det", "eigh", "eye_like", "lower", "lu", "pinv", "qr", "slogdet", "solve", "svd", "transposed",
    "triangular_solve",
]  # fmt: skip
