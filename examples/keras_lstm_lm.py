"""The guide's LSTM language model in Keras, on the text of Python's own documentation.

`pydoc_data.topics`, what `help("if")` and the like print, has some 114,000 words and signs, 3,500 different ones. In
pieces of 64, nine tenths of them, they train

    embedding 64, LSTM 128, dropout, dense to the words, softmax

with Adam to guess each next word, for less than a minute on two cores. The perplexity on the held-out tenth ends at
about 60: the model is as unsure as among 60 words that are equally likely. It is saved and loaded again; then it
writes, handing its LSTM's states from word to word. Run it with

    pip install -e '.[examples]' && python examples/keras_lstm_lm.py
"""

from __future__ import annotations

import argparse
import collections
import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from tgc import keras
from tgc.keras import layers

LENGTH = 64
MOST = 10_000  # words
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def words() -> list[str]:
    """The words and signs of Python's documentation, in lower case."""
    from pydoc_data.topics import topics

    return re.findall(r"\w+|[^\w\s]", "\n".join(topics[name] for name in sorted(topics)).lower())


def pieces(codes: np.ndarray, seed: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(words, next words) i32[n,64] to train with, and held out."""
    count = (len(codes) - 1) // LENGTH
    x, y = (codes[k : k + count * LENGTH].reshape(count, LENGTH) for k in (0, 1))
    order = np.random.default_rng(seed).permutation(count)
    held, train = order[: count // 10], order[count // 10 :]
    return (x[train], y[train]), (x[held], y[held])


@keras.saving.register_keras_serializable("tgc_examples")
class LanguageModel(keras.Model):
    """Logits [n,time,words] of the next word after each of [n,time]."""

    def __init__(self, words: int, width: int = 64, units: int = 128, rate: float = 0.4, **options: Any) -> None:
        super().__init__(**options)
        self.sizes = {"words": words, "width": width, "units": units, "rate": rate}
        self.embedding = layers.Embedding(words, width)
        self.lstm = layers.LSTM(units, return_sequences=True, return_state=True)
        self.dropout = layers.Dropout(rate)
        self.head = layers.Dense(words)

    def call(self, words: Any, training: bool | None = None) -> Any:
        x = self.dropout(self.embedding(words), training=training)
        x, _, _ = self.lstm(x)
        return self.head(self.dropout(x, training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.sizes}

    def step(self) -> keras.Model:
        """A model of one word at a time: word [n,1] and states [n,units] to logits [n,1,words] and new states."""
        word = layers.Input((1,), dtype="int32")
        states = [layers.Input((self.sizes["units"],)) for _ in range(2)]
        x, *new = self.lstm(self.embedding(word), initial_state=states)
        return keras.Model([word, *states], [self.head(x), *new])


def write(model: LanguageModel, prompt: list[int], count: int, rng: np.random.Generator, banned: int) -> list[int]:
    """`count` words after the prompt, each drawn from the 20 likeliest at a temperature of 0.8, but for one."""
    step = model.step()
    states = [np.zeros((1, model.sizes["units"]), np.float32) for _ in range(2)]
    written = list(prompt)
    for at in range(len(prompt) + count - 1):
        logits, *states = step.predict_on_batch([np.int32([[written[at]]]), *states])
        if at + 1 == len(written):
            scores = np.array(logits[0, 0], np.float64)
            scores[banned] = -np.inf
            likely = np.argsort(scores)[-20:]
            chances = np.exp((scores[likely] - scores[likely].max()) / 0.8)
            written.append(int(rng.choice(likely, p=chances / chances.sum())))
    return written


def draw(history: dict[str, list[float]], path: Path) -> None:
    """Perplexity by epoch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, label, color in (("loss", "training", "#8aa4c8"), ("val_loss", "held out", "#c44e52")):
        axes.plot(range(1, len(history[name]) + 1), np.exp(history[name]), "o-", color=color, label=label)
    axes.set(title="perplexity", xlabel="epoch", yscale="log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> float:
    """Train, report, save model and plot, load and write; returns the held-out perplexity."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--prompt", default="if the object is")
    options.add_argument("--folder", type=Path, default=Path(), help="where the model and the plot go")
    given = options.parse_args(arguments)

    keras.utils.set_random_seed(given.seed)
    text = words()
    known = [UNKNOWN, *(w for w, _ in collections.Counter(text).most_common(MOST - 1))]
    code = {w: i for i, w in enumerate(known)}
    (x, y), held = pieces(np.array([code.get(w, 0) for w in text], np.int32), given.seed)
    model = LanguageModel(len(known))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=loss)
    start = time.perf_counter()
    fitted = model.fit(
        x,
        y,
        batch_size=given.batch,
        epochs=given.epochs,
        validation_data=held,
        callbacks=[keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)],
    )
    seconds = time.perf_counter() - start

    saved, plot = given.folder / "keras_lstm_lm.keras", given.folder / "keras_lstm_lm.png"
    model.save(saved)
    loaded = keras.saving.load_model(saved)
    np.testing.assert_allclose(loaded.predict(x[:8], verbose=0), model.predict(x[:8], verbose=0), atol=1e-5)
    perplexity = math.exp(loaded.evaluate(*held, verbose=0))
    draw(fitted.history, plot)
    prompt = [code.get(w, 0) for w in given.prompt.lower().split()]
    print(" ".join(known[i] for i in write(loaded, prompt, 60, np.random.default_rng(given.seed), code[UNKNOWN])))
    print(f"held-out perplexity {perplexity:.1f} after {seconds:.1f} s; model saved to {saved}, plot to {plot}")
    return perplexity


if __name__ == "__main__":
    main()
