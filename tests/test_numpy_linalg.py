"""Linear algebra against NumPy's, and gradients of what does not depend on how factors are chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients
from traced import both, close, graph_of

import tgc
import tgc.numpy as tnp
from tgc.errors import AttributeSpecError, DTypeError, GradientError, LinearAlgebraError, ShapeError
from tgc.interpret import interpret
from tgc.numpy import linalg
from tgc.ops import elementwise
from tgc.ops.linalg import positive, regular
from tgc.ops.matrices import adjoint
from tgc.types import C64, C128, F32, F64

RNG = np.random.default_rng(0)
A, S = regular(RNG, F64, (2, 4, 4)), positive(RNG, F64, (2, 4, 4))
TALL, WIDE = regular(RNG, F64, (2, 5, 3)), regular(RNG, F64, (2, 3, 5))
B, V = RNG.standard_normal((2, 4, 3)), RNG.standard_normal(4)
E1, E2 = RNG.standard_normal((5, 3)), RNG.standard_normal((2, 1, 3))
ONE = TALL[0]

SAME: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = (
    *(("det", (x,), {}) for x in (A, A[0], np.zeros((0, 2, 2)), np.eye(3, dtype=np.int32))),
    ("cholesky", (S,), {}), ("cholesky", (S,), {"upper": True}), ("inv", (A,), {}), ("slogdet", (A,), {}),
    ("eigvalsh", (S,), {}), ("eigvalsh", (A,), {"UPLO": "U"}), ("svdvals", (WIDE,), {}), ("pinv", (TALL,), {}),
    ("pinv", (TALL,), {"rtol": np.array([1e-9, 0.5])}),
    ("solve", (A, B), {}), ("solve", (A, V), {}), ("solve", (A[0], B), {}), ("matrix_rank", (S,), {}),
    ("matrix_rank", (np.ones((3, 3)),), {}), ("multi_dot", ([V, A[0], A[1], B[0]],), {}),
    *(("matrix_power", (A, n), {}) for n in (0, 1, 3, -2)),
    *(("norm", (TALL,), {"ord": p, "axis": (1, 2)}) for p in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)),
    *(("norm", (V,), {"ord": p, "keepdims": True}) for p in (None, 0, 1, 2, 3.5, np.inf, -np.inf)),
    ("norm", (TALL,), {}), ("norm", (TALL,), {"axis": 1}),
    ("norm", (TALL,), {"ord": 1, "axis": (0, 2), "keepdims": True}),
    ("vector_norm", (TALL,), {"axis": (0, 2)}), ("matrix_norm", (TALL,), {"ord": 1, "keepdims": True}),
    *(("cond", (A,), {"p": p}) for p in (None, 1, "fro", -2)), ("cross", (E1, E2), {}),
    ("cross", (E1.T, E1.T), {"axis": 0}),
    ("diagonal", (A,), {"offset": 1}), ("trace", (A,), {}), ("matrix_transpose", (TALL,), {}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options"), SAME, ids=lambda x: x if isinstance(x, str) else "")
def test_same_as_numpy(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    want = getattr(np.linalg, name)(*args, **options)
    got = getattr(linalg, name)(*args, **options)
    for g, w in zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]:
        assert g.dtype == np.asarray(w).dtype
        close(np.asarray(g), w, 1e-10)


CA, CS, CTALL, CWIDE = (
    f(RNG, C128, s)
    for f, s in ((regular, (2, 4, 4)), (positive, (2, 4, 4)), (regular, (2, 5, 3)), (regular, (2, 3, 5)))
)
CB, CV = RNG.standard_normal((2, 4, 3)) * (1 + 2j), RNG.standard_normal(4) * (2 - 1j)
COMPLEX: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = (
    *((name, (CA,), {}) for name in ("det", "inv", "slogdet", "eigvals", "cond", "matrix_rank", "trace", "diagonal")),
    *((name, (CWIDE,), {}) for name in ("svdvals", "pinv", "norm", "matrix_norm", "matrix_transpose")),
    ("cholesky", (CS,), {}), ("cholesky", (CS,), {"upper": True}), ("eigvalsh", (CA,), {}),
    ("eigvalsh", (CA,), {"UPLO": "U"}), ("solve", (CA, CB), {}), ("solve", (A, CV), {}), ("solve", (CA, V), {}),
    ("matrix_power", (CA, -2), {}), ("multi_dot", ([CV, CA[0], A[1], CB[0]],), {}), ("vector_norm", (CV,), {}),
    *(("norm", (CTALL,), {"ord": p, "axis": (1, 2)}) for p in ("fro", "nuc", 1, -1, 2, -2, np.inf)),
    *(("norm", (CV,), {"ord": p}) for p in (None, 0, 1, 3.5, np.inf)), ("outer", (CV, CV), {}),
    ("cross", (CTALL[0], E1), {}), ("eigvals", (A - A.swapaxes(1, 2) + np.eye(4),), {}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options"), COMPLEX, ids=lambda x: x if isinstance(x, str) else "")
def test_complex_same_as_numpy(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    want = getattr(np.linalg, name)(*args, **options)
    got = getattr(linalg, name)(*args, **options)
    for g, w in zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]:
        assert (g.dtype, g.shape) == (np.asarray(w).dtype, np.shape(w))
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-10)


def test_complex_factors() -> None:
    """Products of factors are what was factored, in single precision too."""
    for a in (CA, CTALL, CWIDE, CWIDE.astype(C64)):
        tolerance = 1e-5 if a.dtype == C64 else 1e-12
        for full in (False, True):
            u, s, vh = linalg.svd(a, full_matrices=full)
            k = s.shape[-1]
            assert s.dtype == a.real.dtype
            np.testing.assert_allclose((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], a, atol=tolerance)
            q, r = linalg.qr(a, "complete" if full else "reduced")
            np.testing.assert_allclose(q @ r, a, atol=tolerance)
        order, low, up = linalg.lu(a)
        np.testing.assert_allclose(low @ up, np.take_along_axis(a, order[..., None], -2), atol=tolerance)
    w, v = linalg.eigh(CS)
    np.testing.assert_allclose(v * w[:, None, :] @ v.swapaxes(1, 2).conj(), CS, atol=1e-12)
    for a in (A, CA, A.astype(F32)):
        w, v = linalg.eig(a)
        assert w.dtype == v.dtype == (C64 if a.dtype == F32 else C128)
        np.testing.assert_allclose(a @ v, v * w[:, None, :], atol=1e-4 if a.dtype == F32 else 1e-12)
    b = CB[0]
    for got, want in zip(linalg.lstsq(CTALL[0, :4], b), np.linalg.lstsq(CTALL[0, :4], b), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-10)
    w, v = tgc.jit(linalg.eig)(A)
    np.testing.assert_allclose(A @ v, v * w[:, None, :], atol=1e-12)


def _parts(y: Any) -> list[Any]:
    return [elementwise.real(y), elementwise.imag(y)] if y.dtype == C128 else [y]


def _scaled(u: Any, s: Any) -> Any:
    return u * tnp.expand_dims(s, -2)


def _svd_function(x: Any) -> list[Any]:
    """sqrt(s) in place of s, and the squares of magnitudes of singular vectors."""
    u, s, vh = linalg.svd(x, full_matrices=False)
    return [*_parts(tnp.matmul(_scaled(u, tnp.sqrt(s)), vh)), elementwise.absolute(u), elementwise.absolute(vh), s]


def _eig_function(x: Any) -> list[Any]:
    w, v = linalg.eig(x)
    other = tnp.matmul(_scaled(v, w * w * w), linalg.inv(v))
    return [*_parts(other), elementwise.absolute(v), *_parts(w)]


def _eigh_function(x: Any) -> list[Any]:
    w, v = linalg.eigh(x)
    return [*_parts(tnp.matmul(_scaled(v, tnp.sqrt(w)), adjoint(v))), elementwise.absolute(v), w]


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (_svd_function, CTALL),
        (_svd_function, CWIDE),
        (_svd_function, CA),
        (_eigh_function, CS),
        (_eig_function, CA),
        (lambda x: linalg.norm(x, "nuc", (1, 2)), CA),
        (lambda x: linalg.norm(x), CA),
        (lambda x: _parts(linalg.lstsq(x, CB[0, :, 0])[0]), CA[0, :, :2]),
        (lambda x: _parts(linalg.cholesky(tnp.matmul(x, adjoint(x)), upper=True)), CWIDE),
    ],
)  # fmt: skip
def test_complex_gradients(f: Callable[[Any], Any], x: np.ndarray) -> None:
    """Of functions that do not depend on phases, by both parts of the operand."""
    check_gradients(lambda a, b: f(a + 1j * b), x.real, x.imag, rtol=1e-5)


def test_eig_of_real_matrices_has_real_gradients() -> None:
    turning = A + 3 * np.triu(np.ones((4, 4)), 1) - 3 * np.tril(np.ones((4, 4)), -1)
    assert np.iscomplexobj(np.linalg.eigvals(turning))
    for a in (A, turning):
        check_gradients(_eig_function, a, rtol=1e-5)


def test_exponentials() -> None:
    """Of diagonalizable matrices of all sizes, of a nilpotent one, of what is too large; and the gradient."""
    for a in (A / 100, A, 20 * A, CA, (A * 9).astype(F32), CA.astype(C64)):
        w, v = np.linalg.eig(a.astype(C128))
        want = v * np.exp(w)[:, None, :] @ np.linalg.inv(v)
        (got,) = interpret(graph_of(linalg.expm, a), a)
        assert got.dtype == linalg.expm(a).dtype == a.dtype
        single = a.dtype in (F32, C64)
        for found in (got, linalg.expm(a)):
            np.testing.assert_allclose(found, want, atol=abs(want).max() * (2e-5 if single else 1e-12))
    close(linalg.expm(np.array([[0, 3], [0, 0]])), [[1, 3], [0, 1]])
    assert linalg.expm(np.zeros((2, 0, 0))).shape == (2, 0, 0)
    mixed = linalg.expm(np.stack([np.eye(2) * x for x in (1e6, np.nan, -700.0)]))
    assert np.isnan(mixed[:2]).all()
    close(mixed[2], np.eye(2) * np.exp(-700.0))
    check_gradients(linalg.expm, 3 * A, rtol=1e-5)
    check_gradients(lambda a, b: _parts(linalg.expm(a + 1j * b)), CA.real, CA.imag, rtol=1e-5)
    large = np.array([[40.0, 1.0], [0.0, 39.0]], F32)  # the squares of squares that are not wanted overflow
    assert np.isfinite(tgc.grad(lambda x: tnp.sum(linalg.expm(x)))(large)).all()


def test_factors() -> None:
    """Products of factors are what was factored, eagerly and traced, in float32 too."""
    for a in (A, TALL, WIDE, WIDE.astype(F32)):
        tolerance = 1e-5 if a.dtype == F32 else 1e-12
        for full in (False, True):
            u, s, vt = both(lambda x, f=full: linalg.svd(x, full_matrices=f), a)
            k = s.shape[-1]
            close((u[..., :k] * s[..., None, :]) @ vt[..., :k, :], a, tolerance)
            q, r = both(lambda x, f=full: linalg.qr(x, "complete" if f else "reduced"), a)
            close(q @ r, a, tolerance)
        order, low, up = both(linalg.lu, a)
        close(low @ up, np.take_along_axis(a, order[..., None], -2), tolerance)
    w, v = both(linalg.eigh, S)
    close(v * w[:, None, :] @ v.swapaxes(1, 2), S)
    close(linalg.qr(TALL, "r"), np.linalg.qr(TALL, "r"))
    np.testing.assert_array_equal(linalg.lu(np.array([[0.0, 0.0], [0.0, 1.0]]))[2], [[0, 0], [0, 1]])


def test_triangles_and_least_squares() -> None:
    for low in (False, True):
        part = (np.tril if low else np.triu)(A)
        for trans in (False, True):
            want = np.linalg.solve(part.swapaxes(1, 2) if trans else part, B)
            close(linalg.solve_triangular(A, B, lower=low, trans=trans), want, 1e-10)
    b = RNG.standard_normal((5, 2))
    for got, want in zip(linalg.lstsq(ONE, b), np.linalg.lstsq(ONE, b), strict=True):
        close(np.asarray(got), want, 1e-10)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: tnp.matmul(linalg.svd(x, full_matrices=False).U, linalg.svd(x, full_matrices=False).Vh), TALL),
        (lambda x: linalg.eigh(x).eigenvectors ** 2, S),
        (lambda x: linalg.qr(x).Q ** 2, WIDE),
        (lambda x: linalg.cholesky(x), S),
        (lambda x: linalg.inv(x), A),
        (lambda x: linalg.solve(x, V), A),
        (lambda x: linalg.lstsq(x, np.ones(5))[0], ONE),
        (lambda x: linalg.matrix_norm(x, ord="nuc"), WIDE),
        (lambda x: linalg.cond(x), A),
        (lambda x: linalg.slogdet(x).logabsdet, A),
        (lambda x: linalg.cross(x, np.array([1.0, 2.0, 3.0])), E1),
    ],
)  # fmt: skip
def test_gradients(f: Callable[[Any], Any], x: np.ndarray) -> None:
    check_gradients(f, x, rtol=1e-5)


def test_gradients_that_do_not_exist() -> None:
    for f in (lambda x: linalg.svd(x).U, lambda x: linalg.qr(x, "complete").Q, lambda x: linalg.lu(x)[1]):
        with pytest.raises(GradientError):
            tgc.grad(lambda x, f=f: tnp.sum(f(x)))(ONE)


@pytest.mark.parametrize(
    ("f", "args", "error"),
    [
        (linalg.det, (TALL,), ShapeError),
        (linalg.inv, (V,), ShapeError),
        (linalg.expm, (TALL,), ShapeError),
        (linalg.eig, (TALL,), ShapeError),
        (linalg.eigvals, (A.astype(np.float16),), DTypeError),
        (linalg.solve, (A, TALL), ShapeError),
        (linalg.solve, (V, V), ShapeError),
        (linalg.det, (A.astype(np.float16),), DTypeError),
        (lambda a: linalg.qr(a, "raw"), (A,), AttributeSpecError),
        (lambda a: linalg.eigh(a, "X"), (A,), AttributeSpecError),
        (lambda a: linalg.norm(a, 3, (1, 2)), (A,), AttributeSpecError),
        (lambda a: linalg.norm(a, 1), (A,), ShapeError),
        (lambda a: linalg.matrix_power(a, 2), (TALL,), ShapeError),
        (linalg.cross, (V, V), ShapeError),
        (lambda a: linalg.multi_dot([a]), (A,), AttributeSpecError),
    ],
)  # fmt: skip
def test_refused(f: Callable[..., Any], args: tuple[Any, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        f(*args)


def test_singular_matrices() -> None:
    """The error names the op, its operands and the user's line; the program is as good as before."""
    f = tgc.jit(lambda x: linalg.inv(x + 1) * 2)
    for _ in range(2):
        with pytest.raises(
            LinearAlgebraError, match=r"solve\(f64\[2,2\], f64\[2,2\]\) at test_numpy_linalg.py:\d+: Sing"
        ) as e:
            f(np.zeros((2, 2)))
        assert isinstance(e.value, np.linalg.LinAlgError)
        assert isinstance(e.value.__cause__, np.linalg.LinAlgError)
        close(f(np.eye(2)), np.linalg.inv(np.eye(2) + 1) * 2)
    with pytest.raises(LinearAlgebraError, match="cholesky"):
        linalg.cholesky(-np.eye(2))
    with pytest.raises(LinearAlgebraError, match="cholesky"):
        tgc.jit(lambda: linalg.cholesky(tnp.zeros((2, 2)) - 1))()
    with pytest.raises(LinearAlgebraError, match="cholesky"):
        tgc.interpret(tgc.jit(linalg.cholesky).lower(-np.eye(2)).graph, -np.eye(2))
