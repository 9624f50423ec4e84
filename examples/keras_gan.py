"""A generative adversarial network of Keras models (Goodfellow et al., 2014), trained by a loop of one's own.

On scikit-learn's digits, enlarged to 28x28, a generator learns to make what a discriminator takes for real:

    generator:     noise 32, dense 7x7x64, transposed conv 32 4x4 stride 2, transposed conv 1 4x4 stride 2, sigmoid
    discriminator: conv 32 4x4 stride 2, conv 64 4x4 stride 2, dropout, dense 1

with batch normalization and leaky relus. A step of both, with their optimizers, is a function of the values of their
variables (`stateless_call`, `stateless_apply`), compiled by `tgc.jit` as one program that updates them in place. A
classifier of real digits judges the results: after a minute on two cores it is sure, to 90 %, of two in five or more,
and finds all ten digits. The generator is saved, loaded again, and draws. Run it with

    pip install -e '.[examples]' && python examples/keras_gan.py
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import tgc
from tgc import keras
from tgc.keras import layers, ops

NOISE = 32


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images f32[n,28,28,1] in 0..1 and labels."""
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    images = ops.image.resize((small.reshape(-1, 8, 8, 1) / 16).astype(np.float32), (28, 28))
    return images, labels.astype(np.int32)


def generator() -> keras.Model:
    """Images [n,28,28,1] of noise [n,32]."""
    return keras.Sequential(
        [
            layers.Input((NOISE,)),
            layers.Dense(7 * 7 * 64, use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.2),
            layers.Reshape((7, 7, 64)),
            layers.Conv2DTranspose(32, 4, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.2),
            layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="sigmoid"),
        ],
        name="generator",
    )


def discriminator() -> keras.Model:
    """Logits [n,1]: how likely images [n,28,28,1] are real."""
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 4, strides=2, padding="same"),
            layers.LeakyReLU(0.2),
            layers.Conv2D(64, 4, strides=2, padding="same"),
            layers.LeakyReLU(0.2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(1),
        ],
        name="discriminator",
    )


class Player:
    """A model and its optimizer; `state` holds the values of their variables."""

    def __init__(self, model: keras.Model, rate: float) -> None:
        self.model = model
        self.optimizer = keras.optimizers.Adam(rate, beta_1=0.5)
        self.optimizer.build(model.trainable_variables)
        self.groups = model.trainable_variables, model.non_trainable_variables, self.optimizer.variables
        self.state = [[ops.convert_to_numpy(v) for v in group] for group in self.groups]

    def call(self, state: Any, x: Any) -> tuple[Any, Any]:
        """The model's outputs, and the state after the call."""
        out, rest = self.model.stateless_call(state[0], state[1], x, training=True)
        return out, [state[0], rest, state[2]]

    def improved(self, state: Any, gradients: Any) -> Any:
        """The state after a step of the optimizer."""
        trainable, inner = self.optimizer.stateless_apply(state[2], gradients, state[0])
        return [trainable, state[1], inner]

    def finish(self) -> None:
        """Give the variables their values."""
        for group, values in zip(self.groups, self.state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)


def loss(logits: Any, target: float) -> Any:
    """How wrong logits are about what is `target` (1 for real images, 0 for others)."""
    return ops.mean(ops.binary_crossentropy(ops.full_like(logits, target), logits, from_logits=True))


def training_step(maker: Player, judge: Player) -> Any:
    """The compiled function of (the maker's state, the judge's, images, noise) to new states and both losses."""

    @tgc.jit(donate=("making", "judging"))
    def step(making: Any, judging: Any, images: Any, noise: Any) -> Any:
        made, making = maker.call(making, noise)

        def judged(trainable: Any) -> Any:
            real, after = judge.call([trainable, *judging[1:]], images)
            false, after = judge.call([trainable, *after[1:]], made)
            return loss(real, 0.9) + loss(false, 0.0), after[1]

        (cost, rest), gradients = tgc.value_and_grad(judged, has_aux=True)(judging[0])
        judging = judge.improved([judging[0], rest, judging[2]], gradients)

        def fooled(trainable: Any) -> Any:
            made, after = maker.call([trainable, *making[1:]], noise)
            return loss(judge.call(judging, made)[0], 1.0), after[1]

        (own, rest), gradients = tgc.value_and_grad(fooled, has_aux=True)(making[0])
        return maker.improved([making[0], rest, making[2]], gradients), judging, own, cost

    return step


def classifier(images: np.ndarray, labels: np.ndarray) -> keras.Model:
    """A judge of results: class probabilities, learned from the real digits."""
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.Conv2D(64, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=8, verbose=0)
    return model


def sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Images [n,28,28,1] side by side, with a margin."""
    cells = np.pad(images[..., 0], ((0, 0), (3, 3), (3, 3))).reshape(-1, columns, 34, 34)
    return cells.transpose(0, 2, 1, 3).reshape(-1, columns * 34)


def draw(history: np.ndarray, images: np.ndarray, path: Path) -> None:
    """Losses by epoch, and a grid of results."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    for values, label, color in zip(history.T, ("generator", "discriminator"), ("#8aa4c8", "#c44e52"), strict=True):
        left.plot(range(1, len(values) + 1), values, color=color, label=label)
    left.set(title="loss", xlabel="epoch")
    left.grid(alpha=0.3)
    left.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    right.imshow(sheet(images, 10), cmap="gray_r")
    right.set(title="generated")
    right.set_axis_off()
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> float:
    """Train, report, save and load, draw; returns the share of results that the classifier is sure of."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=80)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, default=Path(), help="where the generator and the plot go")
    given = options.parse_args(arguments)

    keras.utils.set_random_seed(given.seed)
    rng = np.random.default_rng(given.seed)
    images, labels = digits()
    maker, judge = Player(generator(), 1e-3), Player(discriminator(), 5e-4)
    step = training_step(maker, judge)
    count = len(images) // given.batch
    history = []
    start = time.perf_counter()
    for epoch in range(1, given.epochs + 1):
        progress = keras.utils.Progbar(count)
        print(f"Epoch {epoch}/{given.epochs}")
        order, total = rng.permutation(len(images)), np.zeros(2)
        for k in range(count):
            batch = images[order[k * given.batch : (k + 1) * given.batch]]
            noise = rng.standard_normal((given.batch, NOISE), dtype=np.float32)
            maker.state, judge.state, own, cost = step(maker.state, judge.state, batch, noise)
            total += float(own), float(cost)
            progress.update(k + 1, [("generator", float(own)), ("discriminator", float(cost))])
        history.append(total / count)
    seconds = time.perf_counter() - start

    maker.finish()
    saved, plot = given.folder / "keras_gan.keras", given.folder / "keras_gan.png"
    maker.model.save(saved)
    loaded = keras.saving.load_model(saved)
    made = loaded.predict(rng.standard_normal((500, NOISE), dtype=np.float32), verbose=0)
    draw(np.array(history), made[:100], plot)
    chances = classifier(images, labels).predict(made, verbose=0)
    sure = chances.max(1) > 0.9
    share = float(sure.mean())
    found = len(set(chances[sure].argmax(1)))
    print(f"a classifier is sure of {share:.1%} of the results, {found} different digits, after {seconds:.1f} s")
    print(f"generator saved to {saved}, plot to {plot}")
    return share


if __name__ == "__main__":
    main()
