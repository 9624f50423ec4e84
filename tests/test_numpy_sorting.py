"""Sorting, searching, cumulative folds and uniqueness, against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gradients import check_gradients
from traced import both, close

import tgc
import tgc.numpy as tnp
from tgc.errors import AttributeSpecError, ConcretizationError, ShapeError
from tgc.random import permutation
from tgc.types import F32, F64

RNG = np.random.default_rng(0)
X = RNG.integers(-3, 4, (3, 4, 5)).astype(F64)
Y = RNG.permutation(60).astype(F64).reshape(3, 4, 5)
NAN = np.array([[3.0, np.nan, -np.inf, 1.0], [np.nan, np.inf, 2.0, np.nan]])


@pytest.mark.parametrize("axis", [-1, 0, 1, None])
@pytest.mark.parametrize("x", [X, NAN, np.zeros((0, 3)), np.zeros((2, 0)), X > 0, X.astype(np.int32)])
def test_sort_and_argsort(x: np.ndarray, axis: int | None) -> None:
    if axis is not None and axis >= x.ndim:
        return
    ascending, order = both(lambda x: (tnp.sort(x, axis), tnp.argsort(x, axis)), x)
    np.testing.assert_array_equal(ascending, np.sort(x, axis))
    np.testing.assert_array_equal(order, np.argsort(x, axis, kind="stable"))
    descending, down = both(lambda x: (tnp.sort(x, axis, descending=True), tnp.argsort(x, axis, descending=True)), x)
    at = 0 if axis is None else axis
    np.testing.assert_array_equal(descending, np.flip(ascending, at))
    flat = x.ravel() if axis is None else x
    np.testing.assert_array_equal(np.take_along_axis(flat, down, at), descending)
    if flat.shape[at] > 1:  # equal elements keep their order
        a, b = (np.take(down, range(k, flat.shape[at] - 1 + k), at) for k in (0, 1))
        u, v = (np.take_along_axis(flat, p, at) for p in (a, b))
        assert np.all(a[u == v] < b[u == v])


def test_sort_of_half_precision_and_memory_in_other_orders() -> None:
    x = NAN.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(tnp.sort(x).astype(F32), np.sort(NAN.astype(F32)))
    np.testing.assert_array_equal(
        tnp.argsort(X.transpose(2, 0, 1)[::-1]), X.transpose(2, 0, 1)[::-1].argsort(kind="stable")
    )
    f = tgc.jit(lambda x: (tnp.sort(x + 0, 0), tnp.argsort(x * 2.0)))
    order, places = f(Y.T)
    np.testing.assert_array_equal(order, np.sort(Y.T, 0))
    np.testing.assert_array_equal(places, np.argsort(Y.T))


def test_gradient_of_sort_goes_where_elements_came_from() -> None:
    check_gradients(lambda x: tnp.sort(x, 1, descending=True) ** 2, Y)
    check_gradients(lambda x: tnp.top_k(x, 2)[0] * np.arange(1.0, 3.0), Y)


def test_other_orders() -> None:
    got = both(lambda x: (tnp.partition(x, 2, 1), tnp.argpartition(x, [0, -1])), Y)
    np.testing.assert_array_equal(got[0], np.sort(Y, 1))
    np.testing.assert_array_equal(np.take_along_axis(Y, got[1], -1), np.sort(Y))
    keys = [RNG.integers(0, 3, 20) for _ in range(3)]
    np.testing.assert_array_equal(both(lambda *k: tnp.lexsort(k), *keys)[0], np.lexsort(keys))
    values, places = both(lambda x: tnp.top_k(x, 3), X)
    np.testing.assert_array_equal(values, -np.sort(-X)[..., :3])
    np.testing.assert_array_equal(places, np.argsort(-X, kind="stable")[..., :3])


def test_searchsorted() -> None:
    a, v = np.sort(X.ravel()), RNG.uniform(-4, 4, (3, 5)).round()
    for side in ("left", "right"):
        np.testing.assert_array_equal(
            both(lambda a, v, s=side: tnp.searchsorted(a, v, s), a, v)[0], np.searchsorted(a, v, side)
        )  # type: ignore[call-overload]
    order = np.argsort(X.ravel())
    np.testing.assert_array_equal(
        tnp.searchsorted(X.ravel(), v, sorter=order), np.searchsorted(X.ravel(), v, sorter=order)
    )


@pytest.mark.parametrize(
    ("f", "error"),
    [
        (lambda x: tnp.sort(x, 3), ShapeError),
        (lambda x: tnp.partition(x, 5), ShapeError),
        (lambda x: tnp.top_k(x, 6), ShapeError),
        (lambda x: tnp.top_k(x[0, 0, 0], 0), ShapeError),
        (lambda x: tnp.searchsorted(x, x), ShapeError),
        (lambda x: tnp.searchsorted(x[0, 0], x, "middle"), AttributeSpecError),
        (lambda x: tnp.lexsort([]), AttributeSpecError),
        (lambda x: tnp.cumsum(x, 3), ShapeError),
        (tnp.cumulative_sum, ShapeError),
        (lambda x: tnp.unique(x, size=2, axis=0), AttributeSpecError),
        (lambda x: tnp.unique(x[:0], size=2), ShapeError),
    ],
)  # fmt: skip
def test_refused(f: Callable[..., Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        f(X)


def test_unique() -> None:
    np.testing.assert_array_equal(tnp.unique(X), np.unique(X))
    for got, want in zip(tnp.unique_all(X), np.unique_all(X), strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(tnp.unique_counts(X).counts, np.unique_counts(X).counts)
    np.testing.assert_array_equal(tnp.unique_inverse(X).inverse_indices, np.unique_inverse(X).inverse_indices)
    np.testing.assert_array_equal(tnp.unique_values(X), np.unique(X))
    few = np.array([3, 1, 3, 2, 1])
    for size, want in ((3, [1, 2, 3]), (2, [1, 2]), (5, [1, 2, 3, 1, 1])):
        np.testing.assert_array_equal(both(lambda x, n=size: tnp.unique(x, size=n), few)[0], want)
    np.testing.assert_array_equal(tnp.unique(few, size=4, fill_value=9), [1, 2, 3, 9])
    with pytest.raises(ConcretizationError, match="size"):
        tgc.jit(tnp.unique)(few)


@pytest.mark.parametrize("x", [np.array([[3, 1, 3], [2, 1, 3]]), np.array([2.0, np.nan, 1, np.nan]), np.ones(3)])
@pytest.mark.parametrize("equal_nan", [True, False])
def test_unique_of_a_size(x: np.ndarray, equal_nan: bool) -> None:
    wanted: Any = {"return_index": True, "return_inverse": True, "return_counts": True, "equal_nan": equal_nan}
    want = np.unique(x, **wanted)
    for a, b in zip(tnp.unique(x, **wanted), want, strict=True):
        np.testing.assert_array_equal(a, b)
    n = len(want[0])
    values, index, inverse, counts = both(lambda x: tnp.unique(x, size=n + 2, fill_value=9, **wanted), x)
    np.testing.assert_array_equal(inverse, want[2])
    np.testing.assert_array_equal(values, [*want[0], 9, 9])
    np.testing.assert_array_equal(index, [*want[1], want[1][0], want[1][0]])
    np.testing.assert_array_equal(counts, [*want[3], 0, 0])


def test_cumulative_folds() -> None:
    for name in ("cumsum", "cumprod", "nancumsum", "nancumprod"):
        for x in (X, NAN, X > 0, X.astype(np.int32), np.zeros((0, 2))):
            for axis in (None, 0, -1):
                got = both(lambda x, n=name, a=axis: getattr(tnp, n)(x, a), x)[0]
                with np.errstate(all="ignore"):
                    want = getattr(np, name)(x, axis)
                assert got.dtype == want.dtype
                close(got, want)
    close(tnp.cumulative_sum(X, axis=1, include_initial=True), np.cumulative_sum(X, axis=1, include_initial=True))
    close(tnp.cumulative_prod(Y[0, 0], include_initial=True), np.cumulative_prod(Y[0, 0], include_initial=True))
    close(both(lambda x: tnp.cummax(x, 0), Y)[0], np.maximum.accumulate(Y, 0))
    close(both(lambda x: tnp.cummin(x, reverse=True), Y)[0], np.minimum.accumulate(Y[..., ::-1], -1)[..., ::-1])


@pytest.mark.parametrize("zeros", [[], [2], [1, 3], [0], [0, 1, 2, 3, 4]])
def test_gradient_of_products_with_zeros(zeros: list[int]) -> None:
    x = np.array([0.5, 2.0, -1.5, 3.0, 0.7])
    x[zeros] = 0
    check_gradients(lambda x: tnp.cumprod(x), x)


def test_permutations() -> None:
    key = tgc.random.key(3)
    order = tgc.jit(lambda k: permutation(k, 1000))(key)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    np.testing.assert_array_equal(permutation(key, 1000), order)
