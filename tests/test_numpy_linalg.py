"""Linear algebra against NumPy's, and gradients of what does not depend on how factors are chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients
from traced import both, close

import tgc
import tgc.numpy as tnp
from tgc.errors import AttributeSpecError, DTypeError, GradientError, LinearAlgebraError, ShapeError
from tgc.numpy import linalg
from tgc.ops.linalg import positive, regular
from tgc.types import F32, F64

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
