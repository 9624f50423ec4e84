"""The CNN of examples/cnn_digits.py: training steps and inference.

    conv 32 3x3 relu, max pool 2, conv 64 3x3 relu, max pool 2, dense 128 relu, dense 10

Adam is written as torch has it (its epsilon is added after the bias correction), so that all implementations take the
same steps. Images are random: the time does not depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
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


# ------------------------------------------------------------------------------------------------------------- tgc


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

    return {"one program": _trained(step, moments)}


def _tgc_inference(inputs: Inputs) -> Mapping[str, Variant]:
    p, x = inputs["p"], inputs["x"]
    predict = tgc.jit(lambda x: model(p, x))  # the parameters are constants
    return {"constant weights": stateless(lambda: predict(x))}


def _trained(step: Callable[[float], Any], moments: Callable[[], Arrays]) -> Variant:
    """A variant of a training step; what is compared are the gradients (from the first moments) and the losses."""

    def results() -> Arrays:
        losses = [float(step(CHECKED_RATE))]
        gradients = [np.array(m) * 10 for m in moments()]  # m = (1 - b1) g after the first step
        losses += [float(step(CHECKED_RATE)) for _ in range(1, CHECKED)]
        return [np.array(losses), *gradients]

    return Variant(lambda: step(TIMED_RATE), results)


# ----------------------------------------------------------------------------------------------------------- torch


def _torch_model(p: Params, memory: Any) -> Any:
    """The model in torch: weights by output channel first, features flattened by channel first."""
    import torch
    from torch import nn as tn

    made = tn.Sequential(
        *(tn.Conv2d(1, 32, 3), tn.ReLU(), tn.MaxPool2d(2)),
        *(tn.Conv2d(32, 64, 3), tn.ReLU(), tn.MaxPool2d(2)),
        *(tn.Flatten(), tn.Linear(1600, 128), tn.ReLU(), tn.Linear(128, 10)),
    )
    layers = [layer for layer in made if hasattr(layer, "weight")]
    with torch.no_grad():
        for layer, (name, leaves) in zip(layers, p.items(), strict=True):
            layer.weight.copy_(torch.from_numpy(_to_torch(name, leaves["w"])))
            layer.bias.copy_(torch.from_numpy(leaves["b"]))
    return made.to(memory_format=memory)


def _to_torch(name: str, w: np.ndarray) -> np.ndarray:
    if name.startswith("conv"):
        return np.ascontiguousarray(w.transpose(3, 2, 0, 1))
    if name == "dense1":
        return np.ascontiguousarray(w.reshape(5, 5, 64, 128).transpose(3, 2, 0, 1).reshape(128, 1600))
    return np.ascontiguousarray(w.T)


def _from_torch(name: str, w: np.ndarray) -> np.ndarray:
    if name.startswith("conv"):
        return w.transpose(2, 3, 1, 0)
    if name == "dense1":
        return w.reshape(128, 64, 5, 5).transpose(2, 3, 1, 0).reshape(1600, 128)
    return w.T


def _torch_images(x: np.ndarray, memory: Any) -> Any:
    import torch

    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=memory)


def _torch_formats() -> dict[str, Any]:
    import torch

    return {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def _torch_training(inputs: Inputs) -> Mapping[str, Variant]:
    """Both memory formats and all of torch's forms of Adam."""

    def variant(memory: Any, form: dict[str, bool]) -> Variant:
        import torch

        net, x = _torch_model(inputs["p"], memory), _torch_images(inputs["x"], memory)
        y = torch.from_numpy(inputs["y"]).long()
        optimizer = torch.optim.Adam(net.parameters(), **form)

        def step(rate: float) -> Any:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss.detach()

        def moments() -> Arrays:
            found = (np.asarray(optimizer.state[p]["exp_avg"]) for p in net.parameters())
            return [_from_torch(layer, next(found)) if name == "w" else next(found) for layer, name in leaves]

        return _trained(step, moments)

    leaves = list(product(SHAPES, ("w", "b")))
    forms = {"single": dict(foreach=False), "foreach": dict(foreach=True), "fused": dict(fused=True)}
    return {
        f"{layout}, {adam}": variant(memory, form)
        for (layout, memory), (adam, form) in product(_torch_formats().items(), forms.items())
    }


def _torch_inference(inputs: Inputs) -> Mapping[str, Variant]:
    """Both memory formats."""

    def variant(memory: Any) -> Variant:
        import torch

        net, x = _torch_model(inputs["p"], memory).eval(), _torch_images(inputs["x"], memory)

        def call() -> Any:
            with torch.inference_mode():
                return net(x)

        return stateless(call)

    return {layout: variant(memory) for layout, memory in _torch_formats().items()}


TRAINING: dict[str, Setup] = {"tgc": _tgc_training, "torch": _torch_training}
INFERENCE: dict[str, Setup] = {"tgc": _tgc_inference, "torch": _torch_inference}

WORKLOADS = (
    Workload("cnn_train_32", "CNN training step, batch 32", batch(32), TRAINING, tolerance=1e-4),
    Workload("cnn_train_256", "CNN training step, batch 256", batch(256), TRAINING, tolerance=1e-4),
    Workload("cnn_inference", "CNN inference, batch 32", batch(32), INFERENCE),
)
