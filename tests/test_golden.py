"""What the compiler makes of small models, stage by stage, down to the text of the kernels.

The texts do not depend on the machine: they are made for a CPU with AVX-512 and two threads. `pytest --update-golden`
writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from graphs import f32
from test_passes import TARGET

import tgc.numpy as tnp
from tgc import nn
from tgc.autodiff import value_and_grad_flat
from tgc.backends.cpu.backend import CpuBackend
from tgc.ir import Graph
from tgc.ops import contraction, window
from tgc.passes import PIPELINE, parse_pipeline, run
from tgc.passes.memory import Memory
from tgc.trace import trace
from tgc.types import I32, TensorType

CONV = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
POOL = {"window": (1, 2, 2, 1), "stride": (1, 2, 2, 1), "padding": ((0, 0),) * 4, "dilation": (1,) * 4}
FILTERS = (np.arange(3 * 3 * 4 * 40) % 7 - 3).reshape(3, 3, 4, 40).astype(np.float32)


def elementwise(x: Any, y: Any) -> list[Any]:
    return [tnp.tanh(x * y + 1) * tnp.exp(-x * x)]


def softmax(x: Any) -> list[Any]:
    z = tnp.exp(x - tnp.max(x, axis=-1, keepdims=True))
    return [z / tnp.sum(z, axis=-1, keepdims=True)]


def layer_norm(x: Any, scale: Any, shift: Any) -> list[Any]:
    d = x - tnp.mean(x, axis=-1, keepdims=True)
    return [d / tnp.sqrt(tnp.mean(d * d, axis=-1, keepdims=True) + 1e-5) * scale + shift]


def linear(x: Any, w: Any, b: Any) -> list[Any]:
    return [tnp.maximum(x @ w + b, 0)]


def training_step(x: Any, labels: Any, filters: Any, w: Any, b: Any) -> list[Any]:
    """Convolution, relu, pooling, a linear layer, softmax cross-entropy, and a step along the gradient."""

    def loss(filters: Any, w: Any, b: Any) -> tuple[Any, None]:
        hidden = window.window_max(tnp.maximum(contraction.conv(x, filters, **CONV), 0), **POOL)
        z = hidden.reshape(hidden.shape[0], -1) @ w + b
        shifted = z - tnp.max(z, axis=-1, keepdims=True)
        logs = shifted - tnp.log(tnp.sum(tnp.exp(shifted), axis=-1, keepdims=True))
        hit = tnp.arange(z.shape[1]).astype(I32) == labels.reshape(-1, 1)
        return -tnp.mean(tnp.sum(tnp.where(hit, logs, 0.0), axis=-1)), None

    value, _, grads = value_and_grad_flat(loss, [filters, w, b])
    return [value, *(p - 0.1 * g for p, g in zip((filters, w, b), grads, strict=True))]


def channels_first(x: Any, b: Any) -> list[Any]:
    """Two convolutions with a bias, each between relayouts from channels-first form; the filters are constants."""
    for filters in (FILTERS, FILTERS.transpose(0, 1, 3, 2)):
        y = contraction.conv(x.transpose(0, 2, 3, 1), filters, **CONV).transpose(0, 3, 1, 2)
        x = tnp.maximum(y + b[: y.shape[1]].reshape(-1, 1, 1), 0)
    return [x]


def attention(q: Any, k: Any, v: Any, cotangent: Any) -> list[Any]:
    """Causal attention of tensors [batch, time, heads, dim], and its gradient."""

    def loss(*xs: Any) -> tuple[Any, Any]:
        y = nn.dot_product_attention(*(tnp.transpose(x, (0, 2, 1, 3)) for x in xs), is_causal=True)
        y = tnp.transpose(y, (0, 2, 1, 3))
        return tnp.sum(y * cotangent), y

    _, y, grads = value_and_grad_flat(loss, [q, k, v])
    return [y, *grads]


Model = tuple[Callable[..., list[Any]], list[TensorType], tuple[int, ...]]
MODELS: Mapping[str, Model] = {
    "elementwise": (elementwise, [f32(4, 100), f32(100)], ()),
    "softmax": (softmax, [f32(8, 100)], ()),
    "layer_norm": (layer_norm, [f32(8, 100), f32(100), f32(100)], ()),
    "linear": (linear, [f32(8, 64), f32(64, 100), f32(100)], ()),
    "training_step": (
        training_step,
        [f32(2, 8, 8, 3), TensorType(I32, (2,)), f32(3, 3, 3, 16), f32(256, 10), f32(10)],
        (2, 3, 4),
    ),
    "attention": (attention, [f32(2, 40, 3, 32)] * 4, ()),
    "channels_first": (channels_first, [f32(2, 4, 8, 8), f32(40)], ()),
}


def stages_text(stages: Mapping[str, Graph]) -> str:
    """Every stage that changed something. Places in this file are left out, for they move with its lines."""
    parts, last = [], ""
    for name, graph in stages.items():
        text = re.sub(r" +# .*", "", str(graph))
        parts.append(f"== {name}\n{text}" if text != last else f"== {name}: as before")
        last = text
    return "\n\n".join(parts) + "\n"


def compiled_for(target: Any) -> CpuBackend:
    backend = CpuBackend()
    backend.target = target
    return backend


@pytest.mark.parametrize("name", list(MODELS))
def test_golden(name: str, golden: Callable[[str, str], None]) -> None:
    f, types, donated = MODELS[name]
    made = run([*parse_pipeline(PIPELINE), Memory(donated=donated)], trace(f, types, name=name), TARGET)
    sources = compiled_for(TARGET).sources(made.result)
    golden(f"{name}.stages.txt", stages_text(made.stages))
    golden(f"{name}.kernels.txt", "\n\n".join(source.strip() for source in sources.values()) + "\n")


def test_texts_are_repeatable() -> None:
    """Made twice in one process, they are equal: nothing depends on the order of sets or on addresses."""
    f, types, donated = MODELS["training_step"]
    graph = trace(f, types, name="step")
    first, second = (run([*parse_pipeline(PIPELINE), Memory(donated=donated)], graph, TARGET) for _ in range(2))
    assert stages_text(first.stages) == stages_text(second.stages)
    assert compiled_for(TARGET).sources(first.result) == compiled_for(TARGET).sources(second.result)
