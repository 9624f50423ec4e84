"""The guide's three models in plain Keras, with data: whatever backend Keras has computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 32
WORDS, LENGTH = 10_000, 64  # of the language model
TAGS, WIDTH, HEADS, BLOCKS = 3, 128, 4, 2  # of self-attention


def cnn() -> Any:
    """Class probabilities of images 28x28."""
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def lstm() -> Any:
    """Probabilities of the next word after each of a text."""
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input((LENGTH,), dtype="int32"),
            layers.Embedding(WORDS, 64),
            layers.LSTM(128, return_sequences=True),
            layers.Dense(WORDS, activation="softmax"),
        ]
    )


def self_attention() -> Any:
    """Probabilities of a tag for each word of a text; a depthwise convolution mixes what attends, as in the guide."""
    from keras import Input, Model, layers

    words = Input((LENGTH,), dtype="int32")
    x = layers.Embedding(WORDS, WIDTH)(words)
    for _ in range(BLOCKS):
        mixed = layers.DepthwiseConv1D(3, padding="same")(layers.LayerNormalization()(x))
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(mixed, mixed)
        inner = layers.Dense(4 * WIDTH, activation="relu")(layers.LayerNormalization()(x))
        x = x + layers.Dropout(0.1)(layers.Dense(WIDTH)(inner))
    return Model(words, layers.Dense(TAGS, activation="softmax")(layers.LayerNormalization()(x)))


def compiled(name: str, steps: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """A model, ready to train with Adam and to count what it gets right, and data for so many steps."""
    make, draw = MODELS[name]
    model = make()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, *draw(np.random.default_rng(0), steps * BATCH)


def _images(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.random((count, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, count).astype(np.int32)


def _texts(classes: int) -> Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]:
    def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        words, labels = (rng.integers(0, n, (count, LENGTH)).astype(np.int32) for n in (WORDS, classes))
        return words, labels

    return draw


MODELS: dict[str, tuple[Callable[[], Any], Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]]] = {
    "cnn": (cnn, _images),
    "lstm": (lstm, _texts(WORDS)),
    "self_attention": (self_attention, _texts(TAGS)),
}
