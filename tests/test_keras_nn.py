"""Neural-network ops, random numbers and recurrences of the Keras backend: traces, gradients, and what loops become.

Their values are tested by Keras's own tests (`tests/keras_suite.py`).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from dynamic_programs import programs
from gradients import check_gradients
from traced import both, close, graph_of, ops_of

import tgc
from tgc import keras
from tgc.frontends.keras import random as krandom
from tgc.frontends.keras import rnn as recurrence
from tgc.frontends.keras.ops import nn as knn
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.types import BF16

RNG = np.random.default_rng(0)


def real(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def simplex(*shape: int) -> np.ndarray:
    x = RNG.uniform(0.1, 1, shape).astype(np.float32)
    return x / x.sum(-1, keepdims=True)


X = 2 * real(3, 4)
LABELS = np.array([0, 3, 1], np.int32)
LINE, IMAGE, VOLUME = real(2, 7, 4), real(2, 6, 7, 4), real(1, 4, 5, 4, 2)
FIRST: dict[str, Any] = {"data_format": "channels_first"}
Q, KV = real(2, 3, 4, 5), real(2, 6, 2, 5)
SEEN = RNG.uniform(size=(2, 1, 3, 6)) > 0.3

# name, arguments of which arrays are traced, keywords; the first array of floats is what gradients are taken by
ACTIVATIONS = (
    "celu", "elu", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid",
    "log_softmax", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign",
    "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "tanh", "tanh_shrink",
)  # fmt: skip
Row = tuple[str, tuple[Any, ...], dict[str, Any]]
SMOOTH: list[Row] = [
    *((name, (X,), {}) for name in ACTIVATIONS),
    ("threshold", (X, 0.5, -1.0), {}),
    ("gelu", (X,), {"approximate": False}),
    ("softmax", (X,), {"axis": 0}),
    ("conv", (LINE, real(3, 4, 5)), {"padding": "same", "strides": 2}),
    ("conv", (LINE, real(3, 2, 6), 1, "valid"), {"dilation_rate": 2}),
    ("conv", (IMAGE, real(3, 2, 4, 5)), {"strides": (2, 1), "padding": "SAME"}),
    ("conv", (np.moveaxis(IMAGE, -1, 1), real(3, 2, 4, 5)), FIRST),
    ("conv", (VOLUME, real(2, 2, 2, 2, 3)), {}),
    ("depthwise_conv", (IMAGE, real(3, 3, 4, 2)), {"strides": 2, "padding": "same"}),
    ("depthwise_conv", (np.moveaxis(LINE, -1, 1), real(3, 4, 1)), FIRST),
    ("separable_conv", (IMAGE, real(3, 3, 4, 2), real(1, 1, 8, 3)), {"dilation_rate": 2}),
    ("conv_transpose", (LINE, real(3, 5, 4), 2), {}),
    ("conv_transpose", (LINE, real(2, 5, 4), 3, "same"), {}),
    ("conv_transpose", (IMAGE, real(3, 2, 5, 4), (2, 3), "same", 1), {}),
    ("conv_transpose", (np.moveaxis(IMAGE, -1, 1), real(3, 2, 5, 4), 1, "valid"), {"dilation_rate": 2, **FIRST}),
    ("max_pool", (IMAGE, 2), {}),
    ("max_pool", (LINE, 3, 2, "same"), {}),
    ("average_pool", (IMAGE, (2, 3), 1, "same"), {}),
    ("average_pool", (np.moveaxis(VOLUME, -1, 1), 2), FIRST),
    ("adaptive_average_pool", (IMAGE, (4, 3)), {}),
    ("adaptive_max_pool", (np.moveaxis(LINE, -1, 1), 3), FIRST),
    ("moments", (IMAGE, [0, 1]), {"keepdims": True}),
    ("batch_normalization", (X, real(4), 2 + real(4), -1, real(4), real(4)), {}),
    ("batch_normalization", (IMAGE, real(6), 2 + real(6), 1, None, real(6)), {}),
    ("categorical_crossentropy", (simplex(3, 4), X), {"from_logits": True}),
    ("categorical_crossentropy", (simplex(3, 4), simplex(3, 4)), {}),
    ("sparse_categorical_crossentropy", (LABELS, X), {"from_logits": True}),
    ("sparse_categorical_crossentropy", (LABELS[:, None], simplex(3, 4)), {}),
    ("binary_crossentropy", (simplex(3, 4), X), {"from_logits": True}),
    ("binary_crossentropy", (simplex(3, 4), simplex(3, 4)), {}),
    ("psnr", (X, real(3, 4), 2.0), {}),
    ("ctc_loss", (np.array([[1, 2], [3, 3]]), real(2, 7, 4), np.array([2, 2]), np.array([7, 5])), {}),
    ("dot_product_attention", (Q, KV, KV), {"is_causal": True}),
    ("dot_product_attention", (Q, KV, KV), {"mask": SEEN, "scale": 0.3}),
    ("dot_product_attention", (Q, KV, KV), {"mask": SEEN.astype(np.int32), "bias": real(1, 4, 3, 6)}),
    ("dot_product_attention", (Q, KV, KV), {"attn_logits_soft_cap": 2.0, "flash_attention": True}),
    ("unfold", (np.moveaxis(IMAGE, -1, 1), (3, 2)), {"dilation": (1, 2), "padding": 1, "stride": 2}),
    ("fold", (real(2, 24, 12), (6, 7), (3, 2)), {"dilation": (1, 2), "padding": 1, "stride": 2}),
    ("depth_to_space", (IMAGE, 2), {}),
    ("space_to_depth", (real(2, 3, 4, 6), 2), FIRST),
]  # fmt: skip
OTHER: list[Row] = [
    ("one_hot", (LABELS, 4), {"axis": 0, "dtype": "bfloat16"}),
    ("one_hot", (np.array([[1.0, -1.0]]), 3), {}),
    ("multi_hot", (np.array([[0, 2], [1, 1]]), 3), {}),
    ("ctc_decode", (real(2, 5, 4), np.array([5, 3])), {}),
    ("ctc_decode", (real(2, 5, 4), np.array([5, 3])), {"strategy": "beam_search", "beam_width": 4, "top_paths": 2}),
]


def prepared(row: Row) -> tuple[Callable[..., Any], list[np.ndarray]]:
    """The op as a function of its arrays."""
    name, args, options = row
    at = [i for i, a in enumerate(args) if isinstance(a, np.ndarray)]

    def op(*arrays: Any) -> Any:
        given = list(args)
        for i, a in zip(at, arrays, strict=True):
            given[i] = a
        return getattr(knn, name)(*given, **options)

    return op, [args[i] for i in at]


def labelled(rows: list[Row]) -> list[Any]:
    count = {name: itertools.count() for name, *_ in rows}
    return [pytest.param(row, id=f"{row[0]}-{next(count[row[0]])}") for row in rows]


@pytest.mark.parametrize("row", labelled(SMOOTH + OTHER))
def test_a_trace_computes_what_the_op_does(row: Row) -> None:
    op, arrays = prepared(row)
    both(op, *arrays)


@pytest.mark.parametrize("row", labelled(SMOOTH))
def test_gradients(row: Row) -> None:
    op, arrays = prepared(row)
    check_gradients(op, *arrays, rtol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dtypes(name: str) -> None:
    function = getattr(knn, name)
    assert both(function, X.astype(BF16))[0].dtype == BF16
    whole = both(function, X.astype(np.int32))[0].dtype
    assert whole == (np.int32 if name in ("relu", "relu6") else np.float32)


def test_what_is_refused() -> None:
    for op in (knn.one_hot, knn.multi_hot):
        with pytest.raises(ValueError, match=f"{op.__name__}: the tgc backend has no sparse tensors"):
            op(LABELS, 4, sparse=True)
    with pytest.raises(NotImplementedError, match="synchronized"):
        knn.moments(X, 0, synchronized=True)
    with pytest.raises(ValueError, match="4 input channels are no multiple of the kernel's 3"):
        knn.conv(LINE, real(3, 3, 5))
    with pytest.raises(ValueError, match="padding is 'valid' or 'same'"):
        knn.max_pool(LINE, 2, padding="causal")
    assert np.isnan(knn.sparse_categorical_crossentropy(np.array([0, 4, -1]), simplex(3, 4))[1:]).all()


# ------------------------------------------------------------------------------------------------------------- random

SHAPE = (400, 50)
DRAWS: dict[str, tuple[Callable[..., Any], float, float]] = {
    "normal": (lambda s: krandom.normal(SHAPE, 1.0, 2.0, seed=s), 1, 2),
    "uniform": (lambda s: krandom.uniform(SHAPE, 1, 3, seed=s), 2, 2 / 12**0.5),
    "truncated_normal": (lambda s: krandom.truncated_normal(SHAPE, 1.0, 2.0, seed=s), 1, 2 * 0.8796),
    "randint": (lambda s: krandom.randint(SHAPE, 2, 5, seed=s), 3, (2 / 3) ** 0.5),
    "categorical": (lambda s: krandom.categorical(np.log([[0.25, 0.5, 0.25]] * 400), 50, seed=s), 1, 0.5**0.5),
    "gamma": (lambda s: krandom.gamma(SHAPE, 4.0, seed=s), 4, 2),
    "binomial": (lambda s: krandom.binomial(SHAPE, 9.0, 0.5, seed=s), 4.5, 1.5),
    "beta": (lambda s: krandom.beta(SHAPE, 2.0, 2.0, seed=s), 0.5, 0.05**0.5),
    "dropout": (lambda s: krandom.dropout(np.ones(SHAPE, np.float32), 0.5, seed=s), 1, 1),
    "shuffle": (lambda s: krandom.shuffle(np.arange(100), seed=s), 49.5, 28.866),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws(name: str) -> None:
    draw, mean, deviation = DRAWS[name]
    seed = np.array([7, 1], np.uint32)
    (x,) = both(draw, seed)
    np.testing.assert_allclose(x.mean(), mean, atol=0.03)
    np.testing.assert_allclose(x.std(), deviation, rtol=0.03)
    np.testing.assert_array_equal(draw(7), draw(np.array([7, 0])))
    assert (draw(7) != x).any()


def test_a_seed_generator_moves_on() -> None:
    generator = keras.random.SeedGenerator(3)
    first, second = (keras.random.normal((4,), seed=generator) for _ in range(2))
    np.testing.assert_array_equal(first, keras.random.normal((4,), seed=3))
    assert (first != second).all()
    assert keras.random.normal((4,), dtype="bfloat16", mean=0.1, seed=3).dtype == BF16


# --------------------------------------------------------------------------------------------------------- recurrence

STEPS, STATE, WEIGHTS = real(2, 5, 3), real(2, 3), real(3, 3)
MASK = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 0]], bool)


def cell(x: Any, states: Any) -> tuple[Any, list[Any]]:
    new = tgc.numpy.tanh(x + states[0] @ WEIGHTS)
    return new, [new]


def loop(mask: np.ndarray | None, backwards: bool, zero: bool) -> tuple[np.ndarray, np.ndarray]:
    state, outputs = STATE, []
    for t in reversed(range(5)) if backwards else range(5):
        new = np.tanh(STEPS[:, t] + state @ WEIGHTS)
        keep = np.ones((2, 1), bool) if mask is None else mask[:, t, None]
        state = np.where(keep, new, state)
        outputs.append(np.where(keep, new, 0 if zero else state))
    return np.stack(outputs, 1), state


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_rnn(masked: bool, backwards: bool) -> None:
    mask = MASK if masked else None
    for zero, everything, major in itertools.product([False, True], repeat=3):
        outputs, state = loop(mask, backwards, zero)
        turn = (lambda x: None if x is None else np.swapaxes(x, 0, 1)) if major else lambda x: x
        last, sequence, states = recurrence(
            cell,
            turn(STEPS),
            [STATE],
            go_backwards=backwards,
            mask=turn(mask),
            zero_output_for_mask=zero,
            return_all_outputs=everything,
            time_major=major,
        )
        kept = slice(None) if everything else slice(-1, None)
        close(last, outputs[:, -1], 1e-6)
        close(turn(sequence)[:, kept], outputs[:, kept], 1e-6)
        close(states[0], state, 1e-6)


def test_an_unrolled_rnn_repeats_the_output_before() -> None:
    zeros = np.zeros_like(STATE)
    unrolled = recurrence(cell, STEPS, [zeros], mask=MASK, unroll=True)
    for a, b in zip(unrolled[:2], recurrence(cell, STEPS, [zeros], mask=MASK)[:2], strict=True):
        close(a, b, 1e-6)


def bodies(graph: Graph) -> Iterator[tuple[str, list[str]]]:
    """What each loop consists of."""
    for n in graph.nodes:
        if n.op.name == "scan":
            yield "scan", [m.op.name for m in n.attrs["body"].nodes]


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_layer_is_one_scan_whose_products_with_inputs_are_outside(name: str, masked: bool) -> None:
    layer = getattr(keras.layers, name)(3, return_sequences=True)
    layer.build(STEPS.shape)
    weights, seeds = ([v.value for v in vs] for vs in (layer.trainable_variables, layer.non_trainable_variables))

    def call(x: Any, weights: list[Any]) -> Any:
        return layer.stateless_call(weights, seeds, x, mask=MASK if masked else None)[0]

    compiled = tgc.jit(call)
    found = list(bodies(compiled.lower(STEPS, weights).stages["hoist"]))
    assert len(found) == 1
    assert found[0][1].count("dot") == 1
    np.testing.assert_allclose(
        compiled(STEPS, weights), layer(STEPS, mask=MASK if masked else None), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
@pytest.mark.parametrize("backwards", [False, True])
def test_layers_of_tgc_are_keras_cells_in_a_loop(name: str, backwards: bool) -> None:
    make = functools.partial(
        getattr(keras.layers, name), 4, return_sequences=True, return_state=True, go_backwards=backwards
    )
    fast, slow = make(use_cudnn="auto"), make(use_cudnn=False)
    for layer in (fast, slow):
        layer.build(STEPS.shape)
    slow.set_weights([w + real(*w.shape) for w in fast.get_weights()])
    fast.set_weights(slow.get_weights())
    for a, b in zip(fast(STEPS), slow(STEPS), strict=True):
        close(np.asarray(a), np.asarray(b), 1e-6)
    both_ways = [
        keras.layers.Bidirectional(getattr(keras.layers, name)(4, return_sequences=True, use_cudnn=c))
        for c in ("auto", False)
    ]
    for layer in both_ways:
        layer.build(STEPS.shape)
    both_ways[1].set_weights(both_ways[0].get_weights())
    close(np.asarray(both_ways[0](STEPS)), np.asarray(both_ways[1](STEPS)), 1e-6)


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
@pytest.mark.parametrize("backwards", [False, True])
def test_masked_layers_are_those_of_tgc(name: str, backwards: bool) -> None:
    layer = getattr(keras.layers, name)(4, return_sequences=True, return_state=True, go_backwards=backwards)
    layer.build(STEPS.shape)
    layer.set_weights([w + real(*w.shape) for w in layer.get_weights()])
    outputs, *states = layer(STEPS, mask=MASK)
    want, last = getattr(tgc.nn, name.lower())(STEPS, *layer.get_weights()[:3], mask=MASK, reverse=backwards)
    close(outputs[:, ::-1] if backwards else outputs, want, 1e-6)
    for a, b in zip(states, last if name == "LSTM" else [last], strict=True):
        close(a, b, 1e-6)


def test_batches_of_other_sizes_share_a_program() -> None:
    layers = keras.layers
    images = layers.Input((4, 4, 2))
    x = layers.MaxPooling2D()(layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same")(images)))
    x = layers.LSTM(4, return_sequences=True)(layers.Dropout(0.5, seed=1)(layers.Reshape((4, 3))(x)))
    x = layers.Dense(5, activation="softmax")(layers.Flatten()(layers.MultiHeadAttention(2, 3)(x, x)))
    model = keras.Model(images, x)
    state = ([v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables])

    @tgc.jit
    def loss(state: Any, x: Any, labels: Any) -> Any:
        y, _ = model.stateless_call(*state, x, training=True)
        return knn.sparse_categorical_crossentropy(labels, y)

    for n in (6, 7, 8, 9, 11):  # none of them is another size
        assert loss(state, real(n, 4, 4, 2), RNG.integers(0, 5, n)).shape == (n,)
    assert programs(loss) == 1


def test_a_graph_of_attention_holds_no_scores() -> None:
    graph = graph_of(lambda q, k, v: knn.dot_product_attention(q, k, v, mask=SEEN, is_causal=True), Q, KV, KV)
    assert [n.op.name for n in graph.nodes if n.op.name in ("attention", "dot", "exp")] == ["attention"]


@pytest.mark.parametrize("name", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_a_loss_behind_softmax_is_one_of_logits(name: str) -> None:
    loss, target = getattr(knn, name), LABELS if name.startswith("sparse") else simplex(3, 4)

    def value_and_slope(x: Any, factor: float | None) -> Any:
        def total(x: Any) -> Any:
            p = knn.softmax(x)
            return loss(target, p if factor is None else p * factor).sum()  # a product hides that it is a softmax

        return tgc.value_and_grad(total)(x)

    graphs = [graph_of(lambda x, f=f: value_and_slope(x, f), X) for f in (None, 1.0)]
    assert len(ops_of(graphs[0])) < len(ops_of(graphs[1]))
    for x in (X, 30 * X):  # also where the epsilon bounds it
        for found, want in zip(*(interpret(graph, x) for graph in graphs), strict=True):
            close(found, want, 1e-6)
