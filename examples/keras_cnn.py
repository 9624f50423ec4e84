"""The guide's CNN in Keras, on real handwritten digits: the import line chooses tgc, all else is Keras's.

1797 scans of digits (8x8 pixels, scikit-learn's) are enlarged to 28x28 and split in five; four fifths train

    conv 32 3x3 relu, max pool 2, conv 64 3x3 relu, max pool 2, dense 128 relu, dense 10 softmax

with Adam on sparse categorical cross-entropy, to some 98 % on the last fifth within seconds. The model is saved,
loaded again, and asked for what it sees; curves and predictions are drawn. Run it with

    pip install -e '.[examples]' && python examples/keras_cnn.py
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from tgc import keras
from tgc.keras import layers


def digits(seed: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images f32[n,28,28,1] in 0..1 and labels i32[n], to train with and held out."""
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    small = (small.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    images = keras.ops.convert_to_numpy(keras.ops.image.resize(small, (28, 28)))
    order = np.random.default_rng(seed).permutation(len(images))
    held, train = order[: len(order) // 5], order[len(order) // 5 :]
    return (images[train], labels[train].astype(np.int32)), (images[held], labels[held].astype(np.int32))


def network() -> keras.Model:
    """Class probabilities [n,10] of images [n,28,28,1]."""
    return keras.Sequential(
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


def draw(history: dict[str, list[float]], images: np.ndarray, labels: np.ndarray, found: Any, path: Path) -> None:
    """Loss and accuracy by epoch, and the held-out digits of which the model is least sure."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(9, 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[3, 1.7])
    for axes, name in zip(above.subplots(1, 2), ("loss", "accuracy"), strict=True):
        epochs = range(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], "o-", color="#8aa4c8", label="training")
        axes.plot(epochs, history[f"val_{name}"], "o-", color="#c44e52", label="held out")
        axes.set(title=name, xlabel="epoch", yscale="log" if name == "loss" else "linear")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    below.suptitle("held-out digits of which it is least sure", fontsize="medium")
    for axes, i in zip(below.subplots(1, 12), np.argsort(found.max(1)), strict=False):
        axes.imshow(images[i, :, :, 0], cmap="gray_r")
        axes.set_axis_off()
        guess = found[i].argmax()
        color = "black" if guess == labels[i] else "#c44e52"
        axes.set_title(f"{guess}: {found[i, guess]:.0%}", fontsize="small", color=color)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> float:
    """Train, report, save model and plot, load and predict; returns the held-out accuracy."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=12)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, default=Path(), help="where the model and the plot go")
    given = options.parse_args(arguments)

    keras.utils.set_random_seed(given.seed)
    (x, y), (held_x, held_y) = digits(given.seed)
    model = network()
    model.summary()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    start = time.perf_counter()
    fitted = model.fit(x, y, batch_size=given.batch, epochs=given.epochs, validation_data=(held_x, held_y))
    seconds = time.perf_counter() - start

    saved, plot = given.folder / "keras_cnn.keras", given.folder / "keras_cnn.png"
    model.save(saved)
    loaded = keras.saving.load_model(saved)
    found = loaded.predict(held_x, verbose=0)
    np.testing.assert_allclose(found, model.predict(held_x, verbose=0), atol=1e-6)
    draw(fitted.history, held_x, held_y, found, plot)
    accuracy = float((found.argmax(1) == held_y).mean())
    print(f"held-out accuracy {accuracy:.2%} after {seconds:.1f} s; model saved to {saved}, plot to {plot}")
    return accuracy


if __name__ == "__main__":
    main()
