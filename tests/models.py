"""Training steps of whole models: what golden tests run beside the CNN of the benchmarks.

    transformer     decoder-only, pre-norm (Radford et al., 2019): 4 layers, 256 wide, 4 heads, vocabulary 1000
    resnet18        He et al., 2016, with batch normalization, channels last

Trained by Adam over trees of parameters. Dropout is left out, as the peers' runs do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

import tgc
from tgc import nn
from tgc import numpy as tnp

Params = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """A transformer's sizes."""

    layers: int = 4
    width: int = 256
    heads: int = 4
    time: int = 128
    batch: int = 16
    vocabulary: int = 1000


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal weights of variance 1 / inputs."""
    scale = 1 / math.sqrt(math.prod(shape[:-1]))
    return (rng.standard_normal(shape) * scale).astype(np.float32)


# ------------------------------------------------------------------------------------------------------- transformer


def transformer_parameters(sizes: Sizes = Sizes(), seed: int = 0) -> Params:
    """Weights, and scales and biases that are not all alike."""
    rng = np.random.default_rng(seed)
    d, v = sizes.width, sizes.vocabulary

    def norm() -> Params:
        return {"scale": 1 + 0.1 * drawn(rng, 1, d)[0], "bias": 0.1 * drawn(rng, 1, d)[0]}

    def dense(n: int, m: int) -> Params:
        return {"w": drawn(rng, n, m), "b": 0.1 * drawn(rng, 1, m)[0]}

    blocks = [
        {"norm1": norm(), "qkv": dense(d, 3 * d), "out": dense(d, d), "norm2": norm(), "up": dense(d, 4 * d)}
        | {"down": dense(4 * d, d)}
        for _ in range(sizes.layers)
    ]
    tables = {"tokens": 0.1 * drawn(rng, 1, v, d)[0], "places": 0.1 * drawn(rng, 1, sizes.time, d)[0]}
    return {**tables, "blocks": blocks, "norm": norm(), "head": dense(d, v)}


def transformer(p: Params, tokens: Any, heads: int) -> Any:
    """Logits f32[batch,time,vocabulary] of tokens i32[batch,time]."""
    batch, time = tokens.shape
    x = nn.embedding(p["tokens"], tokens) + p["places"]
    for block in p["blocks"]:
        qkv = nn.dense(nn.layer_norm(x, **block["norm1"]), **block["qkv"]).reshape(batch, time, 3, heads, -1)
        q, k, v = (tnp.transpose(qkv[:, :, i], (0, 2, 1, 3)) for i in range(3))
        y = nn.dot_product_attention(q, k, v, is_causal=True)
        x = x + nn.dense(tnp.transpose(y, (0, 2, 1, 3)).reshape(batch, time, -1), **block["out"])
        x = x + nn.dense(nn.gelu(nn.dense(nn.layer_norm(x, **block["norm2"]), **block["up"])), **block["down"])
    return nn.dense(nn.layer_norm(x, **p["norm"]), **p["head"])


def transformer_loss(p: Params, tokens: Any, heads: int) -> Any:
    """Mean cross-entropy of each next token: tokens i32[batch,time+1]."""
    logits = transformer(p, tokens[:, :-1], heads)
    return nn.cross_entropy(logits, tokens[:, 1:])


# ---------------------------------------------------------------------------------------------------------- ResNet-18


STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # channels, in widths of the stem, and stride of each pair of blocks


def resnet_parameters(width: int = 64, classes: int = 1000, seed: int = 0) -> Params:
    """Filters and batch normalization's scales and biases; running statistics are state beside them."""
    rng = np.random.default_rng(seed)

    def conv(k: int, i: int, o: int) -> Params:
        return {"w": drawn(rng, k, k, i, o), "scale": np.ones(o, np.float32), "bias": np.zeros(o, np.float32)}

    blocks, before = [], width
    for times, stride in STAGES:
        channels = width * times
        for step in (stride, 1):
            block = {"conv1": conv(3, before, channels), "conv2": conv(3, channels, channels)}
            if step != 1:
                block["short"] = conv(1, before, channels)
            blocks.append(block)
            before = channels
    head = {"w": drawn(rng, before, classes), "b": np.zeros(classes, np.float32)}
    return {"stem": conv(7, 3, width), "blocks": blocks, "head": head}


def resnet_statistics(p: Params) -> Params:
    """Running means and variances, in the structure of the layers."""
    layers = {"stem": p["stem"], "blocks": p["blocks"]}
    return optree.tree_map(
        lambda layer: {"mean": np.zeros_like(layer["bias"]), "var": np.ones_like(layer["bias"])},
        layers,  # type: ignore[arg-type]
        is_leaf=lambda x: "scale" in x,
    )  # type: ignore[return-value]


def resnet18(p: Params, s: Params, x: Any, training: bool) -> tuple[Any, Params]:
    """Logits f32[n,classes] of images f32[n,h,w,3], and the running statistics after them."""
    strides = [step for _, stride in STAGES for step in (stride, 1)]

    def layer(x: Any, p: Params, s: Params, stride: int) -> tuple[Any, Params]:
        half = p["w"].shape[0] // 2
        y = nn.conv(x, p["w"], stride=stride, padding=[(half, half)] * 2)
        y, mean, var = nn.batch_norm(y, s["mean"], s["var"], p["scale"], p["bias"], training=training, epsilon=1e-5)
        return y, {"mean": mean, "var": var}

    x, stem = layer(x, p["stem"], s["stem"], 2)
    x = nn.max_pool(nn.relu(x), 3, stride=2, padding=[(1, 1)] * 2)
    after = []
    for block, state, stride in zip(p["blocks"], s["blocks"], strides, strict=True):
        seen = {}
        y, seen["conv1"] = layer(x, block["conv1"], state["conv1"], stride)
        y, seen["conv2"] = layer(nn.relu(y), block["conv2"], state["conv2"], 1)
        if "short" in block:
            x, seen["short"] = layer(x, block["short"], state["short"], stride)
        x = nn.relu(y + x)
        after.append(seen)
    return nn.dense(tnp.mean(x, axis=(1, 2)), **p["head"]), {"stem": stem, "blocks": after}


# ------------------------------------------------------------------------------------------------------------- steps


def adam(p: Any, g: Any, m: Any, v: Any, t: Any, rate: Any, b1: float = 0.9, b2: float = 0.999) -> Any:
    """One leaf's update (Kingma and Ba, 2015): new parameter and moments."""
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    scale = rate * tnp.sqrt(1 - b2**t) / (1 - b1**t)
    return p - scale * m / (tnp.sqrt(v) + 1e-7), m, v


def updated(p: Any, grads: Any, m: Any, v: Any, t: Any, rate: Any) -> tuple[Any, Any, Any]:
    """All parameters and moments after an update by Adam."""
    leaves, structure = optree.tree_flatten(p)
    others = [optree.tree_leaves(tree) for tree in (grads, m, v)]
    new = [adam(*each, t=t, rate=rate) for each in zip(leaves, *others, strict=True)]
    return tuple(optree.tree_unflatten(structure, part) for part in zip(*new, strict=True))  # type: ignore[return-value]


def transformer_step(sizes: Sizes = Sizes()) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A training step, to be jitted with `donate=DONATED`, and its arguments."""

    def step(p: Params, m: Params, v: Params, t: Any, rate: float, tokens: Any) -> Any:
        loss, grads = tgc.value_and_grad(lambda p: transformer_loss(p, tokens, sizes.heads))(p)
        t = t + 1
        return (*updated(p, grads, m, v, t, rate), t, loss)

    rng = np.random.default_rng(1)
    tokens = rng.integers(0, sizes.vocabulary, (sizes.batch, sizes.time + 1)).astype(np.int32)
    return step, {**adam_state(transformer_parameters(sizes)), "rate": 1e-3, "tokens": tokens}


def resnet_step(batch: int = 8, size: int = 224, width: int = 64) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A training step, to be jitted with `donate=DONATED`, and its arguments."""

    def step(p: Params, m: Params, v: Params, t: Any, rate: float, s: Params, x: Any, y: Any) -> Any:
        def loss(p: Params) -> Any:
            logits, after = resnet18(p, s, x, training=True)
            return nn.cross_entropy(logits, y), after

        (value, after), grads = tgc.value_and_grad(loss, has_aux=True)(p)
        t = t + 1
        return (*updated(p, grads, m, v, t, rate), t, after, value)

    rng = np.random.default_rng(1)
    p = resnet_parameters(width)
    images = rng.random((batch, size, size, 3), dtype=np.float32)
    labels = rng.integers(0, 1000, batch).astype(np.int32)
    return step, {**adam_state(p), "rate": 1e-3, "s": resnet_statistics(p), "x": images, "y": labels}


def adam_state(p: Params) -> Mapping[str, Any]:
    """Parameters, zero moments and the count of steps."""
    m, v = (optree.tree_map(np.zeros_like, p) for _ in range(2))  # type: ignore[arg-type]
    return {"p": p, "m": m, "v": v, "t": np.zeros((), np.float32)}


DONATED = ("p", "m", "v", "t", "s")
