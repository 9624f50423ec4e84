"""The guide's self-attention in Keras, on the text of Python's own documentation: it puts commas and full stops back.

The words of `pydoc_data.topics`, in lower case and without a sign, are cut into pieces of 64; nine tenths of the text
are to train with. A model tags each word with what follows it: nothing, a comma, or a stop. Two blocks of

    dense to queries, keys and values, depthwise convolution 3, attention of 4 heads, dense; dense 256 relu, dense

with residuals and layer normalization stand on an embedding of words and places. On the held-out tenth, where a sign
follows one word in nine, the F1 scores of commas and of stops exceed one half within a minute on two cores.
The model is saved, loaded again, and shown a text. Run it with

    pip install -e '.[examples]' && python examples/keras_self_attention.py
"""

from __future__ import annotations

import argparse
import collections
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from tgc import keras
from tgc.keras import layers, ops

LENGTH = 64
BLOCK, STEP = 640, 16  # words: each tenth block is held out, pieces to train with overlap
SIGNS = ("", ",", ".")  # a tag is a place in this tuple
TAG = {",": 1, ".": 2, ":": 2, "?": 2, "!": 2, ";": 2}


def tagged() -> tuple[list[str], np.ndarray]:
    """The words of Python's documentation, in lower case, and what follows each."""
    from pydoc_data.topics import topics

    words, tags = [], []
    for piece in re.findall(r"[A-Za-z][\w']*|[.,:;?!](?=\s)", "\n".join(topics[name] for name in sorted(topics))):
        if piece in TAG:
            if tags:
                tags[-1] = TAG[piece]
        else:
            words.append(piece.lower())
            tags.append(0)
    return words, np.array(tags, np.int32)


@keras.saving.register_keras_serializable("tgc_examples")
class SelfAttention(layers.Layer):
    """Attention of [n,time,width] to itself, in heads, of projections that a depthwise convolution mixes in time."""

    def __init__(self, heads: int, **options: Any) -> None:
        super().__init__(**options)
        self.heads = heads

    def build(self, shape: tuple[int | None, ...]) -> None:
        width = shape[-1]
        assert width is not None
        self.project = layers.Dense(3 * width, use_bias=False)
        self.mix = layers.DepthwiseConv1D(3, padding="same")
        self.out = layers.Dense(width)
        self.project.build(shape)
        self.mix.build((*shape[:-1], 3 * width))
        self.out.build(shape)

    def call(self, x: Any) -> Any:
        time, width = x.shape[1:]
        parts = ops.split(self.mix(self.project(x)), 3, axis=-1)
        query, key, value = (ops.reshape(p, (-1, time, self.heads, width // self.heads)) for p in parts)
        seen = ops.dot_product_attention(query, key, value)
        return self.out(ops.reshape(seen, (-1, time, width)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("tgc_examples")
class Places(layers.Layer):
    """[n,time,width] plus a learned vector for each place in time."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.table = self.add_weight(shape=shape[1:], initializer="uniform", name="table")

    def call(self, x: Any) -> Any:
        return x + self.table


def network(words: int, width: int = 64, heads: int = 4, blocks: int = 2) -> keras.Model:
    """Probabilities [n,64,3] of what follows each of the words [n,64]."""
    given = layers.Input((LENGTH,), dtype="int32")
    x = layers.Dropout(0.3)(Places()(layers.Embedding(words, width)(given)))
    for _ in range(blocks):
        x = x + layers.Dropout(0.3)(SelfAttention(heads)(layers.LayerNormalization()(x)))
        inner = layers.Dense(4 * width, activation="relu")(layers.LayerNormalization()(x))
        x = x + layers.Dropout(0.3)(layers.Dense(width)(inner))
    return keras.Model(given, layers.Dense(len(SIGNS), activation="softmax")(layers.LayerNormalization()(x)))


def scores(found: np.ndarray, tags: np.ndarray) -> list[float]:
    """F1 of commas and of stops."""
    right = [int(((found == k) & (tags == k)).sum()) for k in (1, 2)]
    return [2 * r / max(int((found == k).sum() + (tags == k).sum()), 1) for k, r in zip((1, 2), right, strict=True)]


def punctuated(words: list[str], tags: np.ndarray) -> str:
    return " ".join(word + SIGNS[tag] for word, tag in zip(words, tags, strict=True))


def draw(history: dict[str, list[float]], found: np.ndarray, tags: np.ndarray, path: Path) -> None:
    """Loss by epoch, and which tags are taken for which."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, label, color in (("loss", "training", "#8aa4c8"), ("val_loss", "held out", "#c44e52")):
        left.plot(range(1, len(history[name]) + 1), history[name], "o-", color=color, label=label)
    left.set(title="loss", xlabel="epoch")
    left.xaxis.get_major_locator().set_params(integer=True)
    left.grid(alpha=0.3)
    left.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    table = np.array([[((tags == i) & (found == j)).sum() for j in range(3)] for i in range(3)])
    shares = table / table.sum(1, keepdims=True)
    right.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(3, 3):
        color = "white" if shares[i, j] > 0.5 else "black"
        right.text(j, i, f"{table[i, j]}\n{shares[i, j]:.0%}", ha="center", va="center", color=color)
    names = ["nothing", "comma", "stop"]
    right.set(title="held out", xlabel="found", ylabel="true", xticks=range(3), yticks=range(3))
    right.set_xticklabels(names)
    right.set_yticklabels(names)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> float:
    """Train, report, save model and plot, load and predict; returns the mean F1 of commas and stops, held out."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=12)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, default=Path(), help="where the model and the plot go")
    given = options.parse_args(arguments)

    keras.utils.set_random_seed(given.seed)
    words, tags = tagged()
    known = [w for w, n in collections.Counter(words).most_common() if n > 1]
    code = {w: i for i, w in enumerate(known, 1)}  # 0 are all words that occur once
    codes = np.array([code.get(w, 0) for w in words], np.int32)
    blocks = np.random.default_rng(given.seed).permutation(len(words) // BLOCK) * BLOCK
    few = len(blocks) // 10
    held = (blocks[:few, None] + np.arange(0, BLOCK, LENGTH)).ravel()[:, None] + np.arange(LENGTH)
    train = (blocks[few:, None] + np.arange(0, BLOCK - LENGTH + 1, STEP)).ravel()[:, None] + np.arange(LENGTH)
    held_x, held_y = codes[held], tags[held]

    model = network(len(known) + 1)
    model.compile(optimizer=keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    start = time.perf_counter()
    fitted = model.fit(
        codes[train],
        tags[train],
        batch_size=given.batch,
        epochs=given.epochs,
        validation_data=(held_x, held_y),
        callbacks=[keras.callbacks.EarlyStopping("val_accuracy", patience=4, restore_best_weights=True)],
    )
    seconds = time.perf_counter() - start

    saved, plot = given.folder / "keras_self_attention.keras", given.folder / "keras_self_attention.png"
    model.save(saved)
    loaded = keras.saving.load_model(saved)
    chances = loaded.predict(held_x, verbose=0)
    np.testing.assert_allclose(chances, model.predict(held_x, verbose=0), atol=1e-5)
    found = chances.argmax(-1)
    draw(fitted.history, found, held_y, plot)
    commas, stops = scores(found, held_y)
    original = [words[i] for i in held[0]]
    print(f"given:     {' '.join(original)}\npredicted: {punctuated(original, found[0])}")
    print(f"original:  {punctuated(original, held_y[0])}")
    print(f"held-out F1: commas {commas:.1%}, stops {stops:.1%}, after {seconds:.1f} s")
    print(f"model saved to {saved}, plot to {plot}")
    return (commas + stops) / 2


if __name__ == "__main__":
    main()
