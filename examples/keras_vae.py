"""A variational autoencoder in Keras (Kingma & Welling, 2014): handwritten digits on a plane.

    encoder: conv 32 3x3 stride 2, conv 64 3x3 stride 2, dense 64, all relu; dense to mean and log variance [2]
    decoder: dense 7x7x64, transposed conv 64 3x3 stride 2, transposed conv 32 3x3 stride 2, all relu; conv 1 sigmoid

are trained on four fifths of scikit-learn's digits, enlarged to 28x28, to tell each pixel (binary cross-entropy), while
`add_loss` keeps the latent distribution near a normal one. After less than a minute on two cores the held-out fifth
costs some 50 nats an image less than it costs whoever knows the mean image. The decoder is saved, loaded again, and
draws what lies on a grid of the plane. Run it with

    pip install -e '.[examples]' && python examples/keras_vae.py
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from tgc import keras
from tgc.keras import layers, ops


def digits(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images f32[n,28,28,1] in 0..1 to train with, and held out with their labels."""
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    images = ops.image.resize((small.reshape(-1, 8, 8, 1) / 16).astype(np.float32), (28, 28))
    order = np.random.default_rng(seed).permutation(len(images))
    held, train = order[: len(order) // 5], order[len(order) // 5 :]
    return images[train], images[held], labels[held]


@keras.saving.register_keras_serializable("tgc_examples")
class Sampling(layers.Layer):
    """A normal number for each mean and log variance [n,size]; its loss is the divergence from the standard normal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator()

    def call(self, mean: Any, log_variance: Any) -> Any:
        divergence = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
        self.add_loss(ops.mean(ops.sum(divergence, axis=-1)))
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seeds)


def networks(size: int = 2) -> tuple[keras.Model, keras.Model, keras.Model]:
    """The encoder (to means), the decoder, and both of them with what is random between."""
    image = layers.Input((28, 28, 1))
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    mean, log_variance = layers.Dense(size, name="mean")(x), layers.Dense(size, name="log_variance")(x)
    decoder = keras.Sequential(
        [
            layers.Input((size,)),
            layers.Dense(7 * 7 * 64, activation="relu"),
            layers.Reshape((7, 7, 64)),
            layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ],
        name="decoder",
    )
    return keras.Model(image, mean), decoder, keras.Model(image, decoder(Sampling()(mean, log_variance)))


@keras.saving.register_keras_serializable("tgc_examples")
def cost(images: Any, found: Any) -> Any:
    """Nats an image: binary cross-entropy, summed over the pixels."""
    return ops.sum(keras.losses.binary_crossentropy(images, found), axis=(1, 2))


def sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Images [n,28,28,1] side by side, with a margin."""
    cells = np.pad(images[..., 0], ((0, 0), (3, 3), (3, 3))).reshape(-1, columns, 34, 34)
    return cells.transpose(0, 2, 1, 3).reshape(-1, columns * 34)


def draw(decoder: keras.Model, images: np.ndarray, means: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Held-out digits and what becomes of them; the plane, by digits and by what is decoded from it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (top, left, right) = plt.subplots(1, 3, figsize=(11, 4), layout="constrained", width_ratios=[2, 4, 3.4])
    again = decoder.predict(means[:30], verbose=0)
    pairs = np.stack([images[:30].reshape(5, 6, 28, 28, 1), again.reshape(5, 6, 28, 28, 1)], 1)
    top.imshow(sheet(pairs.reshape(-1, 28, 28, 1), 6), cmap="gray_r")
    top.set(title="held out, and decoded")
    top.set_axis_off()
    points = left.scatter(*means.T, c=labels, cmap="tab10", s=9)
    figure.colorbar(points, ax=left, ticks=range(10))
    left.set(title="held-out digits in the plane", xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal")
    at = np.linspace(-2.2, 2.2, 15, dtype=np.float32)
    grid = np.stack(np.meshgrid(at, at[::-1]), -1).reshape(-1, 2)
    right.imshow(sheet(decoder.predict(grid, verbose=0), 15), cmap="gray_r", extent=(-2.2, 2.2, -2.2, 2.2))
    right.set(title="decoded from the plane")
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> float:
    """Train, report, save and load, draw; returns how many nats an image the mean image costs more, held out."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=60)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, default=Path(), help="where the decoder and the plot go")
    given = options.parse_args(arguments)

    keras.utils.set_random_seed(given.seed)
    train, held, labels = digits(given.seed)
    encoder, decoder, both = networks()
    both.compile(optimizer=keras.optimizers.Adam(2e-3), loss=cost)
    start = time.perf_counter()
    both.fit(train, train, batch_size=given.batch, epochs=given.epochs, validation_data=(held, held))
    seconds = time.perf_counter() - start

    saved, plot = given.folder / "keras_vae.keras", given.folder / "keras_vae.png"
    decoder.save(saved)
    loaded = keras.saving.load_model(saved)
    draw(loaded, held, encoder.predict(held, verbose=0), labels, plot)
    bound = float(both.evaluate(held, held, verbose=0))
    mean = np.broadcast_to(train.mean(0), held.shape)
    gain = float(np.mean(ops.convert_to_numpy(cost(held, mean)))) - bound
    print(f"held out: at most {bound:.1f} nats an image, {gain:.1f} less than by the mean image, after {seconds:.1f} s")
    print(f"decoder saved to {saved}, plot to {plot}")
    return gain


if __name__ == "__main__":
    main()
