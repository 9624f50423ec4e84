"""The CNN of examples/cnn_digits.py: training steps and inference.

    conv 32 3x3 relu, max pool 2, conv 64 3x3 relu, max pool 2, dense 128 relu, dense 10

Adam is written as torch has it (its epsilon is added after the bias correction), so that all implementations take the
same steps. Images are random: the time does not depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import tgc
from benchmarks.workloads.base import Arrays, Inputs, Setup, Variant, Workload, stateless
from tgc import nn
from tgc import numpy as tnp

Params = dict[str, Any]

SHAPES = {"conv1": (3, 3, 1, 32), "conv2": (3, 3, 32, 64), "dense1": (1600, 128), "dense2": (128, 10)}
CHECKED, CHECKED_RATE = 3, 1e-3  # steps whose results are compared, and their learning rate
# While steps are timed the parameters hardly move: else all implementations would soon compute with the denormal
# numbers that gradients become once the one batch is known by heart.
TIMED_RATE = 1e-7


def parameters() -> Params:
    """Glorot-uniform weights and small biases."""
    rng = np.random.default_rng(0)
    made: Params = {}
    for name, shape in SHAPES.items():
        limit = math.sqrt(6 / (math.prod(shape[:-2]) * sum(shape[-2:])))
        made[name] = {
            "w": rng.uniform(-limit, limit, shape).astype(np.float32),
            "b": rng.uniform(-0.1, 0.1, shape[-1]).astype(np.float32),
        }
    return made


def batch(size: int) -> Callable[[], Inputs]:
    """Makes parameters, images f32[size,28,28,1] and labels i32[size]."""

    def make() -> Inputs:
        rng = np.random.default_rng(1)
        images = rng.random((size, 28, 28, 1), dtype=np.float32)
        return {"p": parameters(), "x": images, "y": rng.integers(0, 10, size).astype(np.int32)}

    return make


def model(p: Params, x: Any) -> Any:
    """Logits f32[n,10] of images f32[n,28,28,1]."""
    x = nn.max_pool(nn.relu(nn.conv(x, p["conv1"]["w"], bias=p["conv1"]["b"])), 2)
    x = nn.max_pool(nn.relu(nn.conv(x, p["conv2"]["w"], bias=p["conv2"]["b"])), 2)
    x = nn.relu(nn.dense(x.reshape(x.shape[0], -1), **p["dense1"]))
    return nn.dense(x, **p["dense2"])


def adam(p: Any, g: Any, m: Any, v: Any, t: Any, rate: Any, b1: float = 0.9, b2: float = 0.999) -> Any:
    """One leaf's update, as torch.optim.Adam's: new parameter and moments."""
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    return p - rate / (1 - b1**t) * m / (tnp.sqrt(v) / tnp.sqrt(1 - b2**t) + 1e-8), m, v


def train_step(p: Params, m: Params, v: Params, t: Any, rate: float, x: Any, y: Any) -> Any:
    """Parameters, moments and step count after one batch, and its loss."""
    loss, grads = tgc.value_and_grad(lambda p: nn.cross_entropy(model(p, x), y))(p)
    t = t + 1
    for layer, leaves in p.items():
        for name in leaves:
            new = adam(p[layer][name], grads[layer][name], m[layer][name], v[layer][name], t, rate)
            p[layer][name], m[layer][name], v[layer][name] = new
    return p, m, v, t, loss


class Training:
    """A jitted training step with donated state, and that state."""

    def __init__(self, p: Params) -> None:
        zeros = ({k: {n: np.zeros_like(a) for n, a in leaves.items()} for k, leaves in p.items()} for _ in range(2))
        self.state: list[Any] = [p, *zeros, np.zeros((), np.float32)]
        self._step = tgc.jit(train_step, donate=("p", "m", "v", "t"))

    def step(self, x: np.ndarray, y: np.ndarray, rate: float = TIMED_RATE) -> Any:
        """The loss of a batch before the update that it brings."""
        *self.state, loss = self._step(*self.state, rate, x, y)
        return loss


def _tgc_training(inputs: Inputs) -> Mapping[str, Variant]:
    training, x, y = Training(inputs["p"]), inputs["x"], inputs["y"]

    def step(rate: float) -> Any:
        return training.step(x, y, rate)

    def moments() -> Arrays:
        return [training.state[1][layer][name] for layer in SHAPES for name in ("w", "b")]

    return {"one program": trained(step, moments)}


def _tgc_inference(inputs: Inputs) -> Mapping[str, Variant]:
    p, x = inputs["p"], inputs["x"]
    predict = tgc.jit(lambda x: model(p, x))  # the parameters are constants
    return {"constant weights": stateless(lambda: predict(x))}


def trained(step: Callable[[float], Any], moments: Callable[[], Arrays]) -> Variant:
    """A variant of a training step; what is compared are the gradients (from the first moments) and the losses."""

    def results() -> Arrays:
        losses = [float(step(CHECKED_RATE))]
        gradients = [np.array(m) * 10 for m in moments()]  # m = (1 - b1) g after the first step
        losses += [float(step(CHECKED_RATE)) for _ in range(1, CHECKED)]
        return [np.array(losses), *gradients]

    return Variant(lambda: step(TIMED_RATE), results)


def _torch_training(inputs: Inputs) -> Mapping[str, Variant]:
    from benchmarks.workloads import cnn_torch

    return cnn_torch.training(inputs)


def _torch_inference(inputs: Inputs) -> Mapping[str, Variant]:
    from benchmarks.workloads import cnn_torch

    return cnn_torch.inference(inputs)


TRAINING: dict[str, Setup] = {"tgc": _tgc_training, "torch": _torch_training}
INFERENCE: dict[str, Setup] = {"tgc": _tgc_inference, "torch": _torch_inference}

WORKLOADS = (
    Workload("cnn_train_32", "CNN training step, batch 32", batch(32), TRAINING, tolerance=1e-4),
    Workload("cnn_train_256", "CNN training step, batch 256", batch(256), TRAINING, tolerance=1e-4),
    Workload("cnn_inference", "CNN inference, batch 32", batch(32), INFERENCE),
)
