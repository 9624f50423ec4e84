"""NumPy's indexing and functional updates, against NumPy's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients
from traced import both, close, graph_of

import tgc
import tgc.numpy as tnp
from tgc.errors import ConcretizationError, DTypeError, OutOfRangeError, ShapeError, TgcError
from tgc.interpret import interpret
from tgc.ops.indexing import index
from tgc.runtime.lowered import Lowered

X = np.arange(120.0).reshape(2, 3, 4, 5)
P, J = np.array([[0, 1], [1, -1]]), np.array([0, 2])
MASK = np.array([True, False, True])
KEYS: tuple[Any, ...] = (
    1, -1, (0, 2), np.int32(1), np.array(1), slice(1, None), (slice(None, None, -1), slice(3, 0, -2)), Ellipsis, None,
    (), (0, ..., 1), (..., None, 2), (None, slice(None), None), P, (P, J), (0, P), (slice(None), P), (..., J),
    (slice(None), P, slice(1, None), J), (0, slice(None), J), (slice(None), 0, slice(None), J), (None, P, None),
    (P, ..., J), (J - 1, slice(0, 2), None, J), (np.zeros((0,), int),), ([0, 1], [1, 2], slice(None, None, -1)),
    [0, 1, 1], [], (slice(None), MASK), (slice(None), MASK, J), X > 50, (X[0] > 30, )[0][None][[0, 0]],
    np.bool_(True), np.bool_(False), (True, 0), MASK[:2], (slice(None), X[0, :, :, 0] > 10), abs(P).astype(np.uint8),
    (0, 1, 2, 3),
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_every_key_reads_and_writes_as_in_numpy(key: Any) -> None:
    want = X[key]
    rng = np.random.default_rng(0)
    got = both(lambda x: index(x, key), X)[0]
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)
    values = rng.uniform(1, 2, want.shape)
    for name, ufunc in (("add", np.add), ("multiply", np.multiply), ("max", np.maximum), ("min", np.minimum)):
        changed = X.copy()
        ufunc.at(changed, key, 60 * values)
        close(getattr(tnp.at(X)[key], name)(60 * values), changed)
    changed = X.copy()
    changed[key] = values
    np.testing.assert_array_equal(tnp.at(X)[key].set(values), changed)


def test_traced_indices() -> None:
    """Any number of index tensors, mixed with the rest of a key; compiled as one program."""

    def f(x: Any, i: Any, j: Any, k: Any) -> list[Any]:
        read = [x[i], x[i, j], x[:, i % 3, 1:, j], x[k], x[k, :, j], x[..., k], x[0, i], x[None, i, ..., k]]
        return [*read, x.at[i, j].add(1.0), x.at[:, k].set(x[:, 0]), x.at[k, ..., j].multiply(2), x.at[i].divide(2)]

    k = np.array(-1)
    want = [X[P], X[P, J], X[:, P % 3, 1:, J], X[k], X[k, :, J], X[..., k], X[0, P], X[None, P, ..., k]]
    for t in (lambda y: np.add.at(y, (P, J), 1), lambda y: y.__setitem__((slice(None), -1), X[:, 0]),
              lambda y: np.multiply.at(y, (k, ..., J), 2), lambda y: np.divide.at(y, P, 2)):  # fmt: skip
        changed = X.copy()
        t(changed)
        want.append(changed)
    graph = graph_of(f, X, P, J, k)
    for results in (interpret(graph, X, P, J, k), Lowered(graph).compile()([X, P, J, k])):
        for got, w in zip(results, want, strict=True):
            close(got, w)


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda x: x[2], ShapeError, "index 2 is out of bounds for axis 0 of size 2"),
        (lambda x: x[[0, 2]], OutOfRangeError, "index 2 is out of bounds for axis 0 of size 2"),
        (lambda x: x[0, [-4]], OutOfRangeError, "index -4 is out of bounds for axis 1 of size 3"),
        (lambda x: x[0, 0, 0, 0, 0], ShapeError, "5 indices"),
        (lambda x: x[..., ...], ShapeError, "one ellipsis"),
        (lambda x: x[MASK], ShapeError, "mask"),
        (lambda x: x[x > 3], ConcretizationError, "mask that is traced"),
        (lambda x: x[x], DTypeError, "integers"),
        (lambda x: x[1.5], DTypeError, "integers"),
        (lambda x: x["a"], DTypeError, "not supported"),
        (lambda x: x[P, np.arange(3)], ShapeError, "broadcast"),
        (lambda x: x.at[0].set(np.ones(7)), ShapeError, "broadcast"),
        (lambda x: x.astype("i32").at[0].add(1.5), DTypeError, "cast"),
        (lambda x: x.astype("i32").at[0].divide(2), DTypeError, "no tensor of floats"),
        (lambda x: x.__setitem__(0, 1), TgcError, r"x.at\[key\].set"),
        (lambda x: tnp.dynamic_slice(x, [0], (1,)), ShapeError, "4 starts"),
        (lambda x: tnp.dynamic_slice(x[0, 0, 0], [0], (6,)), ShapeError, "cannot place"),
    ],
)  # fmt: skip
def test_refused(f: Callable[..., Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        graph_of(f, X)


@pytest.mark.parametrize("places", [(P + 5, J), (P, J - 5), (P, J + 1)])
def test_traced_indices_are_checked_axis_by_axis(places: tuple[np.ndarray, np.ndarray]) -> None:
    """An index outside of its axis is an error even where the element that it would reach exists."""
    graph = graph_of(lambda x, i, j: x[i, j], X[:, :, 0, 0], *places)
    for run in (lambda *a: interpret(graph, *a), lambda *a: Lowered(graph).compile()(list(a))):
        with pytest.raises(OutOfRangeError):
            run(X[:, :, 0, 0].copy(), *places)


def test_the_last_of_several_updates_wins() -> None:
    x, i, v = np.zeros(3), np.array([1, 0, 1, 1]), np.arange(1.0, 5.0)
    for f in (lambda x: tnp.at(x)[i].set(v), tgc.jit(lambda x: x.at[i].set(v))):
        np.testing.assert_array_equal(f(x), [2, 4, 0])
    got = tgc.grad(lambda v: tnp.sum(tnp.at(x)[i].set(v) * np.array([10.0, 20.0, 30.0])))(v)
    np.testing.assert_array_equal(got, [0, 10, 0, 20])
    np.testing.assert_array_equal(tnp.at(x)[i].apply(lambda y: y + 1), [1, 1, 0])
    np.testing.assert_array_equal(tnp.at(x)[1].get(), 0)
    np.testing.assert_array_equal(tnp.at(x)[i].subtract(v), [-2, -8, 0])


def test_gradients() -> None:
    x, v = np.random.default_rng(1).uniform(0.5, 1.5, (3, 4)), np.random.default_rng(2).uniform(0.5, 1.5, (2, 2))
    rows, columns = np.array([[0, 2], [1, 0]]), np.array([1, 1])
    for name in ("set", "add", "multiply", "divide", "min", "max"):
        check_gradients(lambda x, v, n=name: getattr(x.at[rows, columns], n)(v) ** 2, x, v)
    check_gradients(lambda x: x[rows, columns] ** 2, x)
    zero = np.array([[0.0, 2.0], [0.0, 0.0]])
    check_gradients(lambda x, v: x.at[rows, columns].multiply(v), x, zero)


def test_dynamic_slices() -> None:
    f = tgc.jit(lambda x, i, j: (tnp.dynamic_slice(x, (i, j), (2, 3)), tnp.dynamic_update_slice(x, -x[:2, :3], (i, j))))
    x = X[0, :, :, 0]
    for i, j, a, b in ((1, 1, 1, 1), (-5, 9, 0, 1), (2, 0, 1, 0)):
        part, whole = f(x, i, j)
        np.testing.assert_array_equal(part, x[a : a + 2, b : b + 3])
        want = x.copy()
        want[a : a + 2, b : b + 3] = -x[:2, :3]
        np.testing.assert_array_equal(whole, want)


def test_put() -> None:
    x = X[0, 0].copy()
    for indices, values, mode in (
        ([0, 5, -1], [1.0, 2.0], "raise"),
        ([30, -40], 7.0, "clip"),
        ([21, 3], [1.0, 2.0], "wrap"),
    ):
        want = x.copy()
        np.put(want, indices, values, mode if mode != "clip" else "clip")  # type: ignore[arg-type]
        np.testing.assert_array_equal(tnp.put(x, indices, values, mode), want)
    places = np.argmax(x, 1)[:, None]
    for axis, at in ((1, places), (None, places[0]), (-1, places)):
        want = x.copy()
        np.put_along_axis(want, at, 3.5, axis)
        np.testing.assert_array_equal(both(lambda x, i, a=axis: tnp.put_along_axis(x, i, 3.5, a), x, at)[0], want)
