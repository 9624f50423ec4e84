"""Bodies of Keras's control flow that assign to variables, draw seeds and add losses: as if written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tgc
from tgc.errors import ConcretizationError
from tgc.keras import Sequential, layers, ops

import keras  # isort: skip

X = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
Function = Callable[..., Any]


def written_out(f: Function, rows: Any) -> Any:
    return ops.stack([f(rows[k]) for k in range(4)])


def placed(f: Function, rows: Any, k: Any, out: Any) -> Any:
    """`out`, with `f` of row k in its place."""
    return ops.slice_update(out, (k, 0), f(ops.take(rows, k, axis=0))[None])


def by_while(f: Function, rows: Any) -> Any:
    start = (ops.zeros((), "int32"), ops.zeros((4, 3)))
    return ops.while_loop(lambda k, _: k < 4, lambda k, out: (k + 1, placed(f, rows, k, out)), start)[1]


WITH_LOSSES: dict[str, Function] = {
    "map": ops.map,
    "scan": lambda f, rows: ops.scan(lambda carry, row: (carry + 1, f(row)), ops.zeros(()), rows)[1],
    "nested": lambda f, rows: ops.map(lambda row: ops.map(f, row[None])[0], rows),
    "remat": lambda f, rows: ops.map(keras.remat(f), rows),
}
LOOPS: dict[str, Function] = {
    **WITH_LOSSES,
    "fori_loop": lambda f, rows: ops.fori_loop(0, 4, lambda k, out: placed(f, rows, k, out), ops.zeros((4, 3))),
    "while_loop": by_while,
}


class Rows(layers.Layer):  # type: ignore[misc]
    """Goes through the rows of its input, counts them, and drops some of their features."""

    def __init__(self, loop: Function, regularizer: str | None = None) -> None:
        super().__init__()
        self.loop = loop
        self.inner = layers.Dense(3, activity_regularizer=regularizer)
        self.drop = layers.Dropout(0.5, seed=1)
        self.count = self.add_weight((), initializer="zeros", trainable=False, name="count")

    def build(self, shape: Any) -> None:
        self.inner.build((None, shape[-1]))

    def call(self, x: Any, training: bool = False) -> Any:
        def row(x: Any) -> Any:
            self.count.assign_add(1.0)
            return self.drop(self.inner(x[None])[0] * self.count, training=training)

        return self.loop(row, x)


def values(layer: Rows) -> list[np.ndarray]:
    return [np.array(v) for v in layer.variables]


def trained(loop: Function) -> tuple[list[float], list[np.ndarray]]:
    """The losses of some steps, and the variables after them."""
    keras.utils.set_random_seed(0)
    layer = Rows(loop, "l2")
    model = Sequential([keras.Input((5,), batch_size=4), layer])
    model.compile("sgd", "mse")
    return [model.train_on_batch(X, X[:, :3]) for _ in range(3)], values(layer)


@pytest.mark.parametrize("name", WITH_LOSSES)
def test_training(name: str) -> None:
    for found, want in zip(trained(WITH_LOSSES[name]), trained(written_out), strict=True):
        for a, b in zip(found, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("name", LOOPS)
def test_variables_outside_of_scopes(name: str) -> None:
    found = []
    for loop in (LOOPS[name], written_out):
        keras.utils.set_random_seed(0)
        layer = Rows(loop)
        found.append([np.asarray(layer(X, training=True)), *values(layer)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert float(layer.count) == 4


def test_losses_of_a_region_are_those_of_its_layer() -> None:
    def loss(f: Function) -> float:
        keras.utils.set_random_seed(0)
        inputs = keras.Input((5,))
        dense = layers.Dense(3, activity_regularizer="l2")
        dense.build((None, 5))
        model = keras.Model(inputs, layers.Lambda(f(dense))(inputs))
        model.dense = dense
        model.compile("sgd", "mse")
        return float(model.train_on_batch(X, X[:, :3]))

    np.testing.assert_allclose(loss(keras.remat), loss(lambda dense: lambda x: dense(x)), rtol=1e-6)


def test_cells_of_a_recurrence_draw_seeds() -> None:
    class Cell(layers.Layer):  # type: ignore[misc]
        state_size = output_size = 3

        def __init__(self) -> None:
            super().__init__()
            self.dense, self.drop = layers.Dense(3, activation="tanh"), layers.Dropout(0.5, seed=1)

        def build(self, shape: Any) -> None:
            self.dense.build((None, shape[-1] + 3))

        def call(self, x: Any, states: Any, training: bool = False) -> Any:
            h = self.drop(self.dense(ops.concatenate([x, states[0]], -1)), training=training)
            return h, [h]

    found = []
    for unroll in (True, False):
        keras.utils.set_random_seed(0)
        layer = layers.RNN(Cell(), unroll=unroll)
        model = Sequential([keras.Input((4, 2)), layer])
        model.compile("sgd", "mse")
        x = X[:, :4, None] * np.float32([1, -1])
        losses = [model.train_on_batch(x, X[:, :3]) for _ in range(2)]
        found.append([*losses, np.asarray(layer(x, training=True)), np.asarray(layer.cell.drop.seed_generator.state)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_elements_of_a_vectorized_map_share_what_it_assigns() -> None:
    found = []
    for loop in (ops.vectorized_map, lambda f, rows: f(rows[0])[None]):
        keras.utils.set_random_seed(0)
        layer = Rows(loop)
        out = np.asarray(layer(X, training=True))
        found.append([out[0], *values(layer)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_what_has_no_meaning_names_the_variable() -> None:
    total = keras.Variable(0.0, name="total")
    one = ops.ones(())
    with pytest.raises(
        ValueError, match=r"`vectorized_map` assigns values to total that differ .* use `map` or `scan`"
    ):
        ops.vectorized_map(lambda x: total.assign(ops.sum(x)), X)
    with pytest.raises(ValueError, match="`associative_scan` assigns to total: use `scan`"):
        ops.associative_scan(lambda a, b: total.assign_add(1.0) + a + b, X)
    with pytest.raises(ValueError, match="condition of `while_loop` assigns to total"):
        ops.while_loop(lambda c: total.assign(c) < 3, lambda c: c + 1, one)
    with pytest.raises(
        ValueError, match=r"body of `while_loop` calls `add_loss`, in the layer 'dense.*': return the loss"
    ):
        Rows(by_while, "l2")(X)
    with pytest.raises(ConcretizationError, match=r"the variable total is assigned .*keras\.StatelessScope"):
        tgc.jit(total.assign)(one)
    assert float(total) == 0
