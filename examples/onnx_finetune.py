"""An ONNX model trained further: imported, fine-tuned and exported again.

    python examples/onnx_finetune.py                        # makes a model first
    python examples/onnx_finetune.py --model digits.onnx    # one of yours: float32[batch,1,8,8] to logits [batch,10]

The model that it makes has only seen the digits 0 to 4 (scikit-learn's scans, 8x8 pixels), and takes all others for
these. It is a file, `pretrained.onnx`, from then on: `load` imports it, its weights are a dictionary of arrays, and
`tgc.value_and_grad` differentiates what it computes of them. A few epochs with Adam on all digits teach it the rest;
`to_onnx` writes `finetuned.onnx`, whose weights have the names that they had, for any other runtime.
Run it with

    pip install -e '.[examples,onnx]' && python examples/onnx_finetune.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import tgc
from tgc import nn
from tgc.frontends.onnx import load, to_onnx

Weights = dict[str, Any]
Apply = Callable[[Weights, Any], Any]
BATCH = 32


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images f32[1797,1,8,8] in 0..1, shuffled, and their labels i32[1797]."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return (images[order].reshape(-1, 1, 8, 8) / 16).astype(np.float32), labels[order].astype(np.int32)


def weights(seed: int) -> Weights:
    """Glorot-uniform weights and zero biases."""
    shapes = {"conv": (3, 3, 1, 16), "hidden": (256, 64), "out": (64, 10)}
    made: Weights = {}
    for key, (name, shape) in zip(tgc.random.split(tgc.random.key(seed), len(shapes)), shapes.items(), strict=True):
        made[f"{name}.weight"] = nn.initializers.glorot_uniform(key, shape)
        made[f"{name}.bias"] = np.zeros(shape[-1], np.float32)
    return made


def classifier(w: Weights, images: Any) -> Any:
    """Logits f32[n,10] of images f32[n,1,8,8]."""
    x = nn.conv(images.transpose(0, 2, 3, 1), w["conv.weight"], bias=w["conv.bias"], padding="same")
    x = nn.max_pool(nn.relu(x), 2)
    x = nn.relu(nn.dense(x.reshape(x.shape[0], -1), w["hidden.weight"], w["hidden.bias"]))
    return nn.dense(x, w["out.weight"], w["out.bias"])


def adam(w: Any, g: Any, m: Any, v: Any, t: Any, rate: float, b1: float = 0.9, b2: float = 0.999) -> Any:
    """One array's update (Kingma & Ba, 2015, algorithm 1): new weights and moments."""
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    scale = rate * tgc.numpy.sqrt(1 - b2**t) / (1 - b1**t)
    return w - scale * m / (tgc.numpy.sqrt(v) + 1e-7), m, v


def training_step(apply: Apply, rate: float) -> Callable[..., Any]:
    """A compiled function of weights, moments, the number of the step and a batch: these anew, and the loss."""

    @tgc.jit(donate=("w", "m", "v"))
    def step(w: Weights, m: Weights, v: Weights, t: Any, x: Any, y: Any) -> Any:
        loss, g = tgc.value_and_grad(lambda w: nn.cross_entropy(apply(w, x), y))(w)
        new = {name: adam(w[name], g[name], m[name], v[name], t, rate) for name in w}
        return *({name: arrays[k] for name, arrays in new.items()} for k in range(3)), loss

    return step


def batches(rng: np.random.Generator, n: int) -> Iterator[np.ndarray]:
    """Indices of shuffled full batches."""
    order = rng.permutation(n)
    yield from (order[i : i + BATCH] for i in range(0, n - BATCH + 1, BATCH))


def train(apply: Apply, w: Weights, x: np.ndarray, y: np.ndarray, epochs: int, rate: float, title: str) -> Weights:
    """Weights after some epochs."""
    step, rng = training_step(apply, rate), np.random.default_rng(1)
    w = {name: np.array(a) for name, a in w.items()}
    m, v = ({name: np.zeros_like(a) for name, a in w.items()} for _ in range(2))
    columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TextColumn("loss {task.fields[loss]:.4f}")) as progress:
        steps = [batch for _ in range(epochs) for batch in batches(rng, len(x))]
        task = progress.add_task("", total=len(steps), loss=float("nan"))
        for t, batch in enumerate(steps, 1):
            w, m, v, loss = step(w, m, v, np.float32(t), x[batch], y[batch])
            progress.update(task, advance=1, loss=float(loss))
    return w


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of labels that have the largest logit."""
    return float((logits.argmax(-1) == labels).mean())


def pretrain(path: Path, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> None:
    """Write the model of a classifier that is trained on digits below 5 alone."""
    few = y < 5
    trained = train(classifier, weights(seed), x[few], y[few], epochs, 2e-3, "digits 0 to 4")
    open_batch = {"images": {0: "batch"}}
    onnx.save(to_onnx(classifier, x[:2], weights=trained, sizes=open_batch, outputs=["logits"]), path)


def main(arguments: list[str] | None = None) -> float:
    """Fine-tune, report, save; returns the held-out accuracy of the model that is exported."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", type=Path, help="an ONNX model to begin with")
    options.add_argument("--epochs", type=int, default=8)
    options.add_argument("--rate", type=float, default=2e-3)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, default=Path())
    given = options.parse_args(arguments)

    images, labels = digits()
    cut = len(images) // 5
    x, y, held_x, held_y = images[cut:], labels[cut:], images[:cut], labels[:cut]
    path = given.model or given.folder / "pretrained.onnx"
    if given.model is None:
        pretrain(path, x, y, given.epochs, given.seed)

    start = time.perf_counter()
    model = load(path)
    print(f"{path} has {sum(w.size for w in model.weights.values()):,} weights: {', '.join(model.weights)}")
    before = accuracy(model(held_x), held_y)
    trained = train(model.apply, model.weights, x, y, given.epochs, given.rate, "all digits")

    out = given.folder / "finetuned.onnx"
    name = model.inputs[0].name
    onnx.save(
        to_onnx(model.apply, x[:2], weights=trained, inputs=[name], sizes={name: {0: "batch"}}, outputs=["logits"]), out
    )
    after = accuracy(load(out)(held_x), held_y)
    seconds = time.perf_counter() - start
    print(f"held-out accuracy {before:.2%} before and {after:.2%} after {seconds:.1f} s; saved to {out}")
    return after


if __name__ == "__main__":
    main()
