"""Three small models of Keras, with weights and data that every backend has alike.

KERAS_BACKEND=jax python tests/keras_models.py    # the losses that test_keras.py compares with
"""

from __future__ import annotations

from typing import Any

import numpy as np


def cnn() -> tuple[Any, np.ndarray, np.ndarray]:
    """Convolutions, pooling, batch normalization and dense layers on images."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, padding="same", activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    return model, rng.random((40, 12, 12, 1), dtype=np.float32), rng.integers(0, 10, 40)


def lstm_lm() -> tuple[Any, np.ndarray, np.ndarray]:
    """A language model: an embedding with a mask, an LSTM, logits of the next symbol."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((9,), dtype="int32"),
            layers.Embedding(20, 12, mask_zero=True),
            layers.LSTM(16, return_sequences=True),
            layers.Dense(20),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9), loss, metrics=["accuracy"])
    text = np.random.default_rng(1).integers(0, 20, (40, 10)).astype(np.int32)
    return model, text[:, :-1], text[:, 1:]


def self_attention() -> tuple[Any, np.ndarray, np.ndarray]:
    """One block of a transformer that classifies sequences."""
    import keras
    from keras import layers

    tokens = keras.Input((8,), dtype="int32")
    x = layers.Embedding(20, 16)(tokens)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True))
    x = layers.DepthwiseConv1D(3, padding="same", activation="gelu")(x)
    x = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(tokens, x)
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 20)
    model.compile(keras.optimizers.AdamW(schedule, clipnorm=1.0), "categorical_crossentropy", weighted_metrics=["auc"])
    rng = np.random.default_rng(2)
    return model, rng.integers(0, 20, (40, 8)).astype(np.int32), np.eye(3, dtype=np.float32)[rng.integers(0, 3, 40)]


MODELS = {"cnn": cnn, "lstm_lm": lstm_lm, "self_attention": self_attention}


def with_weights(model: Any) -> Any:
    """The model, with weights drawn by NumPy."""
    rng = np.random.default_rng(3)
    model.set_weights([rng.uniform(0.5 if "variance" in w.path or "gamma" in w.path else -0.3, 1.0, w.shape) * 0.6
                       for w in model.weights])  # fmt: skip
    return model


def losses(name: str) -> list[float]:
    """The losses of some epochs, the last batch of each being smaller than the others."""
    model, x, y = MODELS[name]()
    history = with_weights(model).fit(x, y, batch_size=16, epochs=5, shuffle=False, verbose=0)
    return [float(loss) for loss in history.history["loss"]]


if __name__ == "__main__":
    for name in MODELS:
        print(f'    "{name}": {[round(loss, 6) for loss in losses(name)]},')
