"""Factorizations and solutions of linear systems, by LAPACK through NumPy, over the last two axes.

Gradients are those of what is computed: of ops that read the lower triangle of a Hermitian matrix alone, they lie
there. Eigenvectors and singular vectors of complex matrices are determined up to their phases; gradients are those of
functions that do not depend on these.

Sources: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation"
(2008); Murray, "Differentiation of the Cholesky decomposition" (2016); Townsend, "Differentiating the singular value
decomposition" (2016); Walter and Lehmann, "Algorithmic differentiation of linear algebra functions with application in
optimum experimental design" (2010); Golub and Pereyra, "The differentiation of pseudo-inverses" (1973); Boeddeker
et al., "On the computation of complex-valued gradients" (2017).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.errors import DTypeError, GradientError
from tgc.ir import Attr
from tgc.ops import arithmetic
from tgc.ops.arithmetic import add, divide, matmul, multiply, negative, subtract
from tgc.ops.elementwise import complex_, imag, real
from tgc.ops.indexing import index
from tgc.ops.kinds import Grad, Primitive, flag, scalar
from tgc.ops.matrices import adjoint, column, conj, differences, eye_like, given, halved, lower, scaled, transposed
from tgc.ops.movement import broadcast, concat
from tgc.ops.opaque import Opaque, over_leading_axes
from tgc.ops.reduce import reduce_sum
from tgc.ops.samples import Draw, case, reals, samples
from tgc.types import C64, C128, F32, F64, I64, DType, TensorType, complex_dtype, is_complex, real_dtype

DOMAIN = frozenset({F32, F64, C64, C128})
_SQUARE = (case((4, 4)), case((2, 3, 3)), case((1, 1)), case((0, 3, 3)))
_ANY = ((4, 4), (5, 3), (2, 3, 5), (0, 2, 2))


# ------------------------------------------------------------------------------------------------------ definition


def _matrices(op: Primitive, operands: Sequence[TensorType], count: int = 1, square: bool = True) -> TensorType:
    op.expect(operands, *[DOMAIN] * count)
    a = operands[0]
    if a.rank < 2 or (square and a.shape[-1] != a.shape[-2]):
        raise op.refuse(f"operand 0 must hold {'square ' if square else ''}matrices in its last two axes", operands)
    if len({t.dtype for t in operands}) > 1:
        raise DTypeError(f"{op.name}({', '.join(map(str, operands))}): operand dtypes differ")
    return a


def same(dtype: DType) -> DType:
    """The dtype of a result that is the operand's."""
    return dtype


def conjugated(rule: Grad) -> Grad:
    """The gradient rule of an op that is not holomorphic, from one for conjugated cotangents.

    What changes the loss by the real part of the inner product with it, as real gradients do, is the conjugate of a
    cotangent; in its terms, rules for real matrices hold with adjoints in place of transposes.
    """

    def with_cotangents(g: Any, *operands: Any, out: Any, **attrs: Attr) -> tuple[Any, ...]:
        g = [None if c is None else conj(c) for c in g] if isinstance(g, Sequence) else conj(g)
        return tuple(x if isinstance(x, GradientError) else conj(x) for x in rule(g, *operands, out=out, **attrs))

    return with_cotangents


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
    dtypes: Sequence[Callable[[DType], DType]] = (same, same, same),
    phases: bool = False,
) -> Opaque:
    """Define an op of one operand; `shapes(*a, **attrs)` are the results' shapes behind the leading axes.

    `dtypes` are those of the results, by that of the operand.
    """

    def rule(op: Primitive, operands: Sequence[TensorType], **attrs: Attr) -> tuple[TensorType, ...]:
        a = _matrices(op, operands, square=square)
        made = zip(shapes(*a.shape[-2:], **attrs), dtypes, strict=False)
        return tuple(TensorType(to(a.dtype), a.shape[:-2] + shape) for shape, to in made)

    return Opaque(
        name,
        attrs=attrs or {},
        type_rule=rule,
        domain=DOMAIN,
        reference=reference,
        grad=grad,
        batch=over_leading_axes(name),
        samples=samples(draw, cases=cases, ulps=64, phases=phases),
    )


def regular(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices that are far from singular, and whose singular values differ."""
    m, n = shape[-2:]
    noise = reals(-0.4, 0.4)
    made = noise(rng, real_dtype(dtype), shape) + (np.eye(m, n) * (1 + np.arange(n))).astype(dtype)
    return np.asarray(made + 1j * noise(rng, real_dtype(dtype), shape) if is_complex(dtype) else made)


def positive(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Hermitian positive definite matrices whose eigenvalues differ."""
    a = regular(rng, dtype, shape)
    return np.asarray(a @ np.swapaxes(a, -1, -2).conj())


# --------------------------------------------------------------------------------------------------- factorizations


@conjugated
def _cholesky_grad(g: Any, a: Any, *, out: Any) -> tuple[Any]:
    inner = halved(matmul(adjoint(out), g))
    half = triangular_solve(adjoint(out), inner, lower=False)
    s = adjoint(triangular_solve(adjoint(out), adjoint(half), lower=False))
    return (halved(add(s, adjoint(s))),)


cholesky: Opaque = _define("cholesky", np.linalg.cholesky, lambda m, n: [(n, n)], _cholesky_grad, positive, _SQUARE)
"""L of A = L L^H, lower triangular; the lower triangle of A is read."""


@conjugated
def _eigh_grad(g: Any, a: Any, *, out: Any) -> tuple[Any]:
    w, v = out
    gw, gv = given(g, out)
    inner = multiply(differences(w), matmul(adjoint(v), gv))
    s = add(matmul(matmul(v, inner), adjoint(v)), matmul(scaled(v, gw), adjoint(v)))
    return (halved(add(s, adjoint(s))),)


eigh: Opaque = _define(
    "eigh", lambda a: tuple(np.linalg.eigh(a)), lambda m, n: [(n,), (n, n)], _eigh_grad, positive, _SQUARE,
    dtypes=(real_dtype, same), phases=True,
)  # fmt: skip
"""Eigenvalues, ascending, and eigenvectors (columns) of a Hermitian matrix; its lower triangle is read."""


@conjugated
def _eig_grad(g: Any, a: Any, *, out: Any) -> tuple[Any]:
    """Of eigenvectors of length one."""
    w, v = out
    gw, gv = given(g, out)
    product = matmul(adjoint(v), gv)
    along = reduce_sum(real(multiply(conj(v), gv)), axes=(len(v.shape) - 2,), chunks=0)
    across = multiply(conj(differences(w)), subtract(product, matmul(adjoint(v), scaled(v, along))))
    inner = add(across, scaled(eye_like(v, v.shape[-1]), gw))
    found = solve(adjoint(v), matmul(inner, adjoint(v)))
    return (found if is_complex(a.dtype) else real(found),)


def _eig_reference(a: np.ndarray) -> tuple[np.ndarray, ...]:
    """NumPy's results are real where all eigenvalues of all matrices are."""
    return tuple(x.astype(complex_dtype(a.dtype), copy=False) for x in np.linalg.eig(a))


eig: Opaque = _define(
    "eig", _eig_reference, lambda m, n: [(n,), (n, n)], _eig_grad, regular, _SQUARE,
    dtypes=(complex_dtype, complex_dtype), phases=True,
)  # fmt: skip
"""Eigenvalues, in no order, and eigenvectors (columns of length one), complex, of a square matrix."""


def _svd_shapes(m: int, n: int, *, full: Any) -> list[tuple[int, ...]]:
    k = min(m, n)
    return [(m, m if full else k), (k,), (n if full else k, n)]


@conjugated
def _svd_grad(g: Any, a: Any, *, out: Any, full: bool) -> tuple[Any]:
    if full and a.shape[-1] != a.shape[-2]:
        return (GradientError("svd: singular vectors of the null space have no gradient; use full_matrices=False"),)
    u, s, vt = out
    gu, gs, gvt = given(g, out)
    v, gv = adjoint(vt), adjoint(gvt)
    f = differences(multiply(s, s))
    inverse = divide(1.0, s)

    def side(u: Any, gu: Any) -> tuple[Any, Any]:
        """F o (U^H G - G^H U), and the part of G outside of the span of U, columns divided by s."""
        product = matmul(adjoint(u), gu)
        outside = subtract(gu, matmul(u, product))
        return multiply(f, subtract(product, adjoint(product))), scaled(outside, inverse)

    inner_u, outer_u = side(u, gu)
    inner_v, outer_v = side(v, gv)
    if is_complex(a.dtype):  # the phases of V stay, those of U follow the imaginary part of the diagonal of U^H dA V
        turned = reduce_sum(imag(multiply(conj(u), gu)), axes=(len(u.shape) - 2,), chunks=0)
        gs = complex_(gs, multiply(turned, inverse))
    left = add(scaled(matmul(u, inner_u), s), add(outer_u, scaled(u, gs)))
    return (add(matmul(add(left, matmul(scaled(u, s), inner_v)), vt), matmul(u, adjoint(outer_v))),)


svd: Opaque = _define(
    "svd", lambda a, *, full: tuple(np.linalg.svd(a, full_matrices=full)), _svd_shapes, _svd_grad, regular,
    (*(case(s, full=False) for s in _ANY), case((3, 3), full=True)), square=False, attrs={"full": flag},
    dtypes=(same, real_dtype, same), phases=True,
)  # fmt: skip
"""U, s (descending) and V^H of A = U diag(s) V^H; with `full` U and V are square."""


@conjugated
def _qr_grad(g: Any, a: Any, *, out: Any, full: bool) -> tuple[Any]:
    m, n = a.shape[-2:]
    if full and m > n:
        return (GradientError("qr: the complement of the columns has no gradient; use mode reduced"),)
    q, r = out
    gq, gr = given(g, out)
    if m < n:
        y, v, u = (index(x, (..., slice(m, None) if k < 2 else slice(m))) for k, x in enumerate((a, gr, r)))
        head = _qr_square(add(gq, matmul(y, adjoint(v))), index(gr, (..., slice(m))), q, u)
        return (concat(head, matmul(q, v), axis=len(a.shape) - 1),)
    return (_qr_square(gq, gr, q, r),)


def _qr_square(gq: Any, gr: Any, q: Any, r: Any) -> Any:
    product = subtract(matmul(r, adjoint(gr)), matmul(adjoint(gq), q))
    half = halved(product)
    right = add(gq, matmul(q, add(half, adjoint(half))))
    return adjoint(triangular_solve(r, adjoint(right), lower=False))


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
    _, gl, gu = given(g, out)
    n = a.shape[-1]
    inner = add(lower(matmul(transposed(low), gl), 1), transposed(lower(matmul(up, transposed(gu)))))
    half = triangular_solve(transposed(low), inner, lower=False)
    permuted = transposed(triangular_solve(up, transposed(half), lower=False))
    across = broadcast(order, axes=tuple(range(len(order.shape))), shape=a.shape)  # P[i, order[i]] = 1
    rows = arithmetic.astype(arithmetic.equal(across, column((*a.shape[:-2], n, n))), a.dtype)
    return (matmul(transposed(rows), permuted),)


lu: Opaque = _define(
    "lu", _lu_reference, lambda m, n: [(m,), (m, min(m, n)), (min(m, n), n)], _lu_grad, regular,
    _SQUARE, square=False, dtypes=(lambda dtype: I64, same, same),
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
    gs, gl = given(g, out)
    if is_complex(a.dtype):
        gl = complex_(gl, imag(multiply(gs, out[0])))
    lead = tuple(range(len(a.shape) - 2))
    return (multiply(broadcast(gl, axes=lead, shape=a.shape), transposed(solve(a, eye_like(a, a.shape[-1])))),)


slogdet: Opaque = _define(
    "slogdet", lambda a: tuple(np.linalg.slogdet(a)), lambda m, n: [(), ()], _slogdet_grad, regular, _SQUARE,
    dtypes=(same, real_dtype),
)  # fmt: skip
"""The sign (or phase) of the determinant, and the logarithm of its magnitude."""


@conjugated
def _pinv_grad(g: Any, a: Any, *, out: Any, rcond: float) -> tuple[Any]:
    m, n = a.shape[-2:]
    pt, gt = adjoint(out), adjoint(g)
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
    "cholesky", "det", "eig", "eigh", "lu", "pinv", "qr", "slogdet", "solve", "svd", "triangular_solve",
]  # fmt: skip
