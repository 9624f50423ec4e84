"""Keras's tools for training, each at work on scikit-learn's digits, enlarged to 16x16.

    regularized   augmentation layers, L1 and L2, dropout; EarlyStopping, ReduceLROnPlateau, ModelCheckpoint
    scheduled     LearningRateScheduler and CosineDecay
    weighted      class weights, where one image in ten is an eight and only these count
    transferred   layers that were trained on other digits, frozen, for ten examples a class
    by hand       a loop of one's own: `stateless_call`, `tgc.value_and_grad`, `stateless_apply`, compiled

Each prints what it brought; together they take half a minute on two cores. Run it with

    pip install -e '.[examples]' && python examples/keras_training_tools.py
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import tgc
from tgc import keras
from tgc.keras import layers, ops, regularizers

Data = tuple[np.ndarray, np.ndarray]  # images f32[n,16,16,1] in 0..1, labels i32[n]


def digits(seed: int) -> tuple[Data, Data]:
    """Images and labels to train with, and held out."""
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    images = ops.image.resize((small.reshape(-1, 8, 8, 1) / 16).astype(np.float32), (16, 16))
    order = np.random.default_rng(seed).permutation(len(images))
    held, train = order[: len(order) // 3], order[len(order) // 3 :]
    y = labels.astype(np.int32)
    return (images[train], y[train]), (images[held], y[held])


def network(classes: int, *, augmented: bool = False) -> keras.Model:
    """Logits of images; convolutions named "features" below a regularized head."""
    moved = [layers.RandomTranslation(0.1, 0.1), layers.RandomRotation(0.03), layers.RandomZoom(0.1)]
    features = keras.Sequential(
        [
            layers.Input((16, 16, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
        ],
        name="features",
    )
    head = layers.Dense(64, activation="relu", kernel_regularizer=regularizers.L1L2(1e-5, 1e-4), name="hidden")
    model = keras.Sequential([layers.Input((16, 16, 1)), *(moved if augmented else []), features, head])
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(classes, name="logits"))
    return model


def compiled(model: keras.Model, rate: Any = 1e-3) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss, metrics=["accuracy"])
    return model


def accuracy(model: keras.Model, data: Data) -> float:
    return float((model.predict(data[0], verbose=0).argmax(1) == data[1]).mean())


def regularized(train: Data, held: Data, epochs: int, folder: Path) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train until the held-out loss no longer falls; the best model is kept in a file, and loaded again."""
    saved = folder / "keras_training_tools.keras"
    model = compiled(network(10, augmented=True), 2e-3)
    fitted = model.fit(
        *train,
        epochs=epochs,
        validation_data=held,
        callbacks=[
            keras.callbacks.ReduceLROnPlateau(patience=3, factor=0.3, verbose=1),
            keras.callbacks.EarlyStopping(patience=7, verbose=1),
            keras.callbacks.ModelCheckpoint(saved, save_best_only=True),
        ],
    )
    best = keras.saving.load_model(saved)
    penalty = sum(float(x) for x in model.losses)
    print(
        f"regularized: {len(fitted.epoch)} epochs, best held-out loss {min(fitted.history['val_loss']):.3f}, of which "
        f"{penalty:.3f} penalties; accuracy {accuracy(best, held):.1%}; {saved}"
    )
    return best, fitted.history


def scheduled(train: Data, held: Data, epochs: int) -> None:
    """The same decay twice: set by a callback for each epoch, and by the optimizer for each step."""
    steps = -(-len(train[0]) // 32)
    half_cosine = lambda epoch, rate: 2e-3 * (1 + np.cos(np.pi * epoch / epochs)) / 2  # noqa: E731
    decay = keras.optimizers.schedules.CosineDecay(2e-3, epochs * steps)
    by_epoch, by_step = compiled(network(10)), compiled(network(10), decay)
    rates = by_epoch.fit(
        *train, epochs=epochs, verbose=0, callbacks=[keras.callbacks.LearningRateScheduler(half_cosine)]
    ).history["learning_rate"]
    by_step.fit(*train, epochs=epochs, verbose=0)
    print(
        f"scheduled: from {rates[0]:.1e} to {rates[-1]:.1e} by epochs, accuracy {accuracy(by_epoch, held):.1%}; "
        f"to {float(by_step.optimizer.learning_rate):.1e} by steps, accuracy {accuracy(by_step, held):.1%}"
    )


def weighted(train: Data, held: Data, epochs: int) -> tuple[float, float]:
    """How many of the held-out eights are found after a few steps, without and with a weight of nine for eights."""
    eights = (held[1] == 8).astype(np.int32)
    found = []
    for weights in (None, {0: 1.0, 1: 9.0}):
        keras.utils.set_random_seed(1)
        model = compiled(network(2))
        model.fit(train[0], (train[1] == 8).astype(np.int32), epochs=epochs, verbose=0, class_weight=weights)
        found.append(float((model.predict(held[0], verbose=0).argmax(1) == 1)[eights == 1].mean()))
    print(f"weighted: {found[0]:.1%} of the eights found, {found[1]:.1%} with class weights")
    return found[0], found[1]


def transferred(train: Data, held: Data, epochs: int) -> tuple[float, float]:
    """Accuracy on the digits 5 to 9 from ten examples of each: from nothing, and upon layers trained on 0 to 4."""
    low = train[1] < 5
    first = compiled(network(5))
    first.fit(train[0][low], train[1][low], epochs=epochs, verbose=0)
    few = np.concatenate([np.flatnonzero(train[1] == d)[:10] for d in range(5, 10)])
    test = held[0][held[1] >= 5], held[1][held[1] >= 5] - 5
    scores = []
    for features in (None, first.get_layer("features")):
        model = network(5)
        if features is not None:
            model.get_layer("features").set_weights(features.get_weights())
            model.get_layer("features").trainable = False
        compiled(model).fit(train[0][few], train[1][few] - 5, batch_size=10, epochs=2 * epochs, verbose=0)
        scores.append(accuracy(model, test))
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    print(
        f"transferred: {scores[0]:.1%} from nothing, {scores[1]:.1%} upon frozen layers ({trained} of "
        f"{model.count_params()} parameters are trained)"
    )
    return scores[0], scores[1]


def by_hand(train: Data, held: Data, epochs: int) -> float:
    """A loop of one's own; returns the held-out accuracy."""
    model, optimizer = network(10), keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    criterion = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tgc.jit(donate="state")
    def step(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        trainable, others, inner = state

        def loss(trainable: Any) -> tuple[Any, Any]:
            logits, after, penalties = model.stateless_call(trainable, others, x, training=True, return_losses=True)
            return criterion(y, logits) + sum(penalties), after

        (value, after), gradients = tgc.value_and_grad(loss, has_aux=True)(trainable)
        trainable, inner = optimizer.stateless_apply(inner, gradients, trainable)
        return [trainable, after, inner], value

    groups = model.trainable_variables, model.non_trainable_variables, optimizer.variables
    state = [[ops.convert_to_numpy(v) for v in group] for group in groups]
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(train[0])), len(train[0]) // 32):
            state, value = step(state, train[0][batch], train[1][batch])
    for group, values in zip(groups, state, strict=True):
        for variable, array in zip(group, values, strict=True):
            variable.assign(array)
    score = accuracy(model, held)
    print(f"by hand: last loss {float(value):.3f}, accuracy {score:.1%}")
    return score


def draw(model: keras.Model, history: dict[str, list[float]], images: np.ndarray, path: Path) -> None:
    """The course of the regularized training, and what augmentation makes of digits."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    left.plot(epochs, history["loss"], "o-", color="#8aa4c8", label="training, augmented")
    left.plot(epochs, history["val_loss"], "o-", color="#c44e52", label="held out")
    left.set(title="loss", xlabel="epoch", yscale="log")
    left.legend(frameon=False)
    middle.step(epochs, history["learning_rate"], color="#55a868", where="mid")
    middle.set(title="learning rate", xlabel="epoch", yscale="log")
    for axes in (left, middle):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    rows = [images[:6]]
    for _ in range(5):
        x = images[:6]
        for layer in model.layers:
            if layer.name.startswith("random"):
                x = layer(x, training=True)
        rows.append(ops.convert_to_numpy(x))
    cells = np.pad(np.stack(rows)[..., 0], ((0, 0), (0, 0), (2, 2), (2, 2)))
    right.imshow(cells.transpose(0, 2, 1, 3).reshape(6 * 20, 6 * 20), cmap="gray_r", vmin=0, vmax=1)
    right.set(title="digits, and augmented ones below")
    right.set_axis_off()
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Try all tools; returns the figures that were printed."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=60, help="at most so many of the first, fewer of the others")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, default=Path(), help="where the model and the plot go")
    given = options.parse_args(arguments)

    keras.utils.set_random_seed(given.seed)
    train, held = digits(given.seed)
    few = -(-given.epochs // 5)
    best, history = regularized(train, held, given.epochs, given.folder)
    scheduled(train, held, few)
    figures = {
        "regularized": accuracy(best, held),
        "weighted": weighted(train, held, max(few // 4, 1)),
        "transferred": transferred(train, held, few),
        "by hand": by_hand(train, held, few),
    }
    draw(best, history, train[0], given.folder / "keras_training_tools.png")
    return figures


if __name__ == "__main__":
    main()
