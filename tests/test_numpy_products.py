"""Products of `tgc.numpy` against NumPy, and the gradients of its functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients, gradients
from traced import both, graph_of

import tgc.numpy as tnp
from tgc.errors import DTypeError, ShapeError

RNG = np.random.default_rng(0)
M, N, K, S = (RNG.uniform(-1, 1, s) for s in ((2, 3, 4), (2, 4, 5), (4,), (3, 3)))
A, F = RNG.integers(-9, 9, (3, 4)).astype(np.int32), RNG.uniform(-3, 3, (3, 4, 5)).astype(np.float32)


def compare(got: np.ndarray, want: Any) -> None:
    want = np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    tolerance = 2e-6 if got.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


PRODUCTS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("matmul", (M, N), {}),
    ("matmul", (M, K), {}),
    ("matmul", (K, N), {}),
    ("matmul", (K, K), {}),
    ("matmul", (F, np.ones((2, 1, 5, 2), np.float32)), {}),
    ("matmul", (A, A.T), {}),
    ("dot", (M, N[0]), {}),
    ("dot", (M, N), {}),
    ("dot", (M, K), {}),
    ("dot", (2.0, M), {}),
    ("dot", (A, A[0].astype(np.int64)), {}),
    ("vdot", (M, F[:2, :, :3]), {}),
    ("inner", (M, K), {}),
    ("inner", (M, M), {}),
    ("outer", (M, K), {}),
    ("vecdot", (M, K), {}),
    ("vecdot", (M, M[:1]), {"axis": 1}),
    ("tensordot", (M, N), {"axes": ((2, 0), (1, 0))}),
    ("tensordot", (M, N), {"axes": ((0, 2), (0, 1))}),
    ("tensordot", (M, N[0]), {"axes": 1}),
    ("tensordot", (M, K), {"axes": 0}),
    ("tensordot", (M, N), {"axes": (0, 0)}),
]


@pytest.mark.parametrize(("name", "xs", "attrs"), PRODUCTS)
def test_products(name: str, xs: tuple[Any, ...], attrs: dict[str, Any]) -> None:
    arrays = [x for x in xs if isinstance(x, np.ndarray)]
    numbers = [x for x in xs if not isinstance(x, np.ndarray)]  # these come first, and stay as they are
    (got,) = both(lambda *ts: getattr(tnp, name)(*numbers, *ts, **attrs), *arrays)
    compare(got, getattr(np, name)(*xs, **attrs))


EINSUM: list[tuple[str, tuple[np.ndarray, ...]]] = [
    ("bij,bjk->bik", (M, N)),
    ("bij,bjk", (M, N)),
    ("bij,bjk->k", (M, N)),
    ("bij,bjk->ikb", (M, N)),
    ("bij,j->bi", (M, K)),
    ("bij,j->bij", (M, K)),
    ("bij->jb", (M,)),
    ("bij->b", (M,)),
    ("bij->", (M,)),
    ("ii", (S,)),
    ("ii->i", (S,)),
    ("ij,ji->j", (S, S)),
    ("iji->j", (M.swapaxes(0, 1)[:2, :, :2],)),
    ("i,j->ij", (K, K)),
    ("i,j", (K, K[:2])),
    ("i,i->i", (K, K)),
    ("...ij,...jk->...ik", (M, N)),
    ("...ij,jk", (M, N[0])),
    ("i...->...i", (M,)),
    ("...,j->...j", (S, K)),
    ("...i,...i->...", (M, K)),
    ("ij,jk,kl->il", (S, S, S)),
    ("bij,bjk,bil,l->bkl", (M, N, M, K)),
    ("ij,ij->i", (S, S[:1])),
    ("ij,kj->ik", (S[:, :1], S)),
    ("ab , b -> a", (A, A[0])),
    ("BA,A", (A, A[0])),
]


@pytest.mark.parametrize(("subscripts", "xs"), EINSUM)
def test_einsum(subscripts: str, xs: tuple[np.ndarray, ...]) -> None:
    (got,) = both(lambda *xs: tnp.einsum(subscripts, *xs), *xs)
    compare(got, np.einsum(subscripts, *xs))


def test_einsum_of_two_matrices_is_one_contraction() -> None:
    graph = graph_of(lambda x, y: tnp.einsum("bthd,bshd->bhts", x, y), np.ones((2, 3, 4, 5)), np.ones((2, 6, 4, 5)))
    assert [n.op.name for n in graph.nodes] == ["dot"]


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: tnp.matmul(M, M), ShapeError, r"matmul.*\(2, 3, 4\) and \(2, 3, 4\)"),
    (lambda: tnp.dot(A > 0, A.T > 0), DTypeError, r"dot\(bool\[3,4\], bool\[4,3\]\) is not defined for booleans"),
    (lambda: tnp.tensordot(M, N, 1), ShapeError, r"tensordot\(f64\[2,3,4\], f64\[2,4,5\]\)"),
    (lambda: tnp.einsum("ij,jk", M, N), ShapeError, r"einsum\[ij,jk\]\(f64.*names 2 axes of an operand of 3"),
    (lambda: tnp.einsum("bij,bkj", M, N), ShapeError, "axis 'j' has the sizes 4 and 5"),
    (lambda: tnp.einsum("ij->ik", S), ShapeError, "no operand has"),
    (lambda: tnp.einsum("ij,jk", S), ShapeError, "2 terms for 1 operands"),
    (lambda: tnp.einsum("i1", S), ShapeError, "not made of letters"),
    (lambda: tnp.einsum("ii", S[:1]), ShapeError, "two sizes"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


SMOOTH: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "var": (lambda x: tnp.var(x, 1, ddof=1), (M,)),
    "std": (lambda x: tnp.std(x, (0, 2)), (M,)),
    "mean": (lambda x: tnp.mean(x, 0, keepdims=True), (M,)),
    "max": (lambda x: tnp.max(x, 1), (M,)),
    "hypot": (tnp.hypot, (M, K)),
    "logaddexp": (tnp.logaddexp, (M, K)),
    "equal logaddexp": (lambda x: tnp.logaddexp(x, x + 0), (M,)),
    "diagonal": (lambda x: tnp.diagonal(x, 1, 1, 2), (M,)),
    "diag": (lambda x: tnp.diag(x, -1), (K,)),
    "pad": (lambda x: tnp.pad(x, 1, mode="reflect"), (M,)),
    "take": (lambda x: tnp.take(x, np.array([[0, 2], [2, 1]]), 1), (M,)),
    "take_along_axis": (lambda x: tnp.take_along_axis(x, np.array([[[0], [2], [-1]]]), 2), (M,)),
    "tile": (lambda x: tnp.tile(x, (2, 1)), (M,)),
    "repeat": (lambda x: tnp.repeat(x, 2, 1), (M,)),
    "roll": (lambda x: tnp.roll(x, 5), (M,)),
    "split": (lambda x: tnp.split(x, [1, 3], -1)[::-1], (M,)),
    "tensordot": (lambda x, y: tnp.tensordot(x, y, ((2, 0), (1, 0))), (M, N)),
    "einsum": (lambda x, y, z: tnp.einsum("bij,bjk,bil->lk", x, y, z), (M, N, M)),
    "einsum diagonal": (lambda x, y: tnp.einsum("ii,ij->j", x, y), (S, S)),
    "matmul": (tnp.matmul, (M, N)),
    "clip": (lambda x: tnp.clip(x, -0.5, 0.5), (M,)),
    "degrees": (tnp.degrees, (M,)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients(name: str) -> None:
    f, arrays = SMOOTH[name]
    check_gradients(f, *arrays)


def test_gradients_are_finite_at_singular_points() -> None:
    zero = np.zeros((2, 3))
    assert all((g == 0).all() for f in (tnp.std, lambda x: tnp.hypot(x, x)) for g in gradients(f, zero))
    for x, want in ((0.0, 0.5), (1e4, 1.0), (-1e4, 0.0)):
        (g, h) = gradients(tnp.logaddexp, np.array(x), np.array(0.0))
        assert (g, h) == (want, 1 - want)
