"""The guide's CNN on real handwritten digits: one compiled program a training step.

1797 scans of digits (8x8 pixels, scikit-learn's) are upsampled to 28x28 and split in five; four fifths train

    conv 32 3x3 relu, max pool 2, conv 64 3x3 relu, max pool 2, dense 128 relu, dense 10 softmax

with Adam on sparse categorical cross-entropy. Forward pass, backward pass and update are traced together; parameters
and moments are donated, so they are updated in place. Run it with

    pip install -e '.[examples]' && python examples/cnn_digits.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import tgc
from tgc import nn

Params = dict[str, Any]


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images f32[1797,28,28,1] in 0..1 (bilinear upsampling of the 8x8 scans) and labels i32[1797]."""
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    small = (small.reshape(-1, 8, 8) / 16).astype(np.float32)
    at = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    low = np.minimum(at.astype(int), 6)
    t = (at - low).astype(np.float32)
    rows = small[:, low] * (1 - t)[:, None] + small[:, low + 1] * t[:, None]
    images = rows[:, :, low] * (1 - t) + rows[:, :, low + 1] * t
    return images[..., None].astype(np.float32), labels.astype(np.int32)


def parameters(seed: int) -> Params:
    """Glorot-uniform weights and zero biases."""
    shapes = {"conv1": (3, 3, 1, 32), "conv2": (3, 3, 32, 64), "dense1": (1600, 128), "dense2": (128, 10)}
    keys = tgc.random.split(tgc.random.key(seed), len(shapes))
    made: Params = {}
    for key, (name, shape) in zip(keys, shapes.items(), strict=True):
        made[name] = {"w": nn.initializers.glorot_uniform(key, shape), "b": np.zeros(shape[-1], np.float32)}
    return made


def model(p: Params, x: Any) -> Any:
    """Logits f32[n,10] of images f32[n,28,28,1]."""
    x = nn.max_pool(nn.relu(nn.conv(x, p["conv1"]["w"], bias=p["conv1"]["b"])), 2)
    x = nn.max_pool(nn.relu(nn.conv(x, p["conv2"]["w"], bias=p["conv2"]["b"])), 2)
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.dense(x, **p["dense1"]))
    return nn.dense(x, **p["dense2"])


def loss_and_hits(p: Params, x: Any, y: Any) -> tuple[Any, Any]:
    """Mean cross-entropy, and how many of the predictions are right."""
    logits = model(p, x)
    hits = (tgc.numpy.argmax(logits, axis=-1) == y).sum()
    return nn.cross_entropy(logits, y), hits


def adam(p: Any, g: Any, m: Any, v: Any, t: Any, rate: Any, b1: float = 0.9, b2: float = 0.999) -> Any:
    """One leaf's update (Kingma & Ba, 2015, algorithm 1): new parameter and moments."""
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    scale = rate * tgc.numpy.sqrt(1 - b2**t) / (1 - b1**t)
    return p - scale * m / (tgc.numpy.sqrt(v) + 1e-7), m, v


@tgc.jit(donate=("p", "m", "v", "t"))
def train_step(p: Params, m: Params, v: Params, t: Any, rate: float, x: Any, y: Any) -> Any:
    """Parameters, moments and step count after one batch, its loss and its hits."""
    (loss, hits), grads = tgc.value_and_grad(loss_and_hits, has_aux=True)(p, x, y)
    t = t + 1
    for layer in p:
        for name in p[layer]:
            new = adam(p[layer][name], grads[layer][name], m[layer][name], v[layer][name], t, rate)
            p[layer][name], m[layer][name], v[layer][name] = new
    return p, m, v, t, loss, hits


evaluate = tgc.jit(loss_and_hits)


def batches(rng: np.random.Generator, n: int, size: int) -> Iterator[np.ndarray]:
    """Indices of shuffled full batches."""
    order = rng.permutation(n)
    yield from (order[i : i + size] for i in range(0, n - size + 1, size))


def shifted(rng: np.random.Generator, images: np.ndarray, most: int = 2) -> np.ndarray:
    """Each image moved by up to `most` pixels along both axes: more to learn from than 1437 scans."""
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    at = rng.integers(0, 2 * most + 1, (len(images), 2))
    return np.stack([p[i : i + 28, j : j + 28] for p, (i, j) in zip(padded, at, strict=True)])


def plot(history: list[tuple[float, float, float, float]], path: Path) -> None:
    """Loss and accuracy by epoch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    losses, hits, held_losses, held_hits = zip(*history, strict=True)
    epochs = range(1, len(history) + 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axes, title, train, held in ((left, "loss", losses, held_losses), (right, "accuracy", hits, held_hits)):
        axes.plot(epochs, train, "o-", color="#8aa4c8", label="training")
        axes.plot(epochs, held, "o-", color="#c44e52", label="held out")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yscale("log")
    right.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> float:
    """Train, report, save the plot; returns the held-out accuracy."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--plot", type=Path, default=Path("cnn_digits.png"))
    given = options.parse_args(arguments)

    images, labels = digits()
    order = np.random.default_rng(given.seed).permutation(len(images))
    held, train = order[: len(order) // 5], order[len(order) // 5 :]
    x, y, held_x, held_y = images[train], labels[train], images[held], labels[held]
    p = parameters(given.seed)
    m, v = ({k: {n: np.zeros_like(a) for n, a in layer.items()} for k, layer in p.items()} for _ in range(2))
    t = np.zeros((), np.float32)
    rng = np.random.default_rng(given.seed + 1)
    history = []
    start = time.perf_counter()
    columns = TextColumn("epoch {task.fields[epoch]:2d}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    report = TextColumn(
        "loss {task.fields[loss]:.4f}  accuracy {task.fields[hits]:.1%}  held out {task.fields[held]:.1%}"
    )
    with Progress(*columns, report) as progress:
        for epoch in range(1, given.epochs + 1):
            steps = list(batches(rng, len(x), given.batch))
            task = progress.add_task("", total=len(steps), epoch=epoch, loss=0.0, hits=0.0, held=0.0)
            rate = 1e-3 * (1 + np.cos(np.pi * (epoch - 1) / given.epochs)) / 2  # cosine decay; no recompilation
            total, right = 0.0, 0
            for k, batch in enumerate(steps, 1):
                p, m, v, t, loss, hits = train_step(p, m, v, t, float(rate), shifted(rng, x[batch]), y[batch])
                total, right = total + float(loss), right + int(hits)
                progress.update(task, advance=1, loss=total / k, hits=right / (k * given.batch))
            held_loss, held_hits = evaluate(p, held_x, held_y)
            accuracy = float(held_hits) / len(held_y)
            progress.update(task, held=accuracy)
            history.append((total / len(steps), right / (len(steps) * given.batch), float(held_loss), accuracy))
    plot(history, given.plot)
    print(f"held-out accuracy {accuracy:.2%} after {time.perf_counter() - start:.1f} s; plot saved to {given.plot}")
    return accuracy


if __name__ == "__main__":
    main()
