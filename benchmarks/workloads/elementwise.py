"""Elementwise expressions and reductions of rows: what is lost or won by fusion and by elementary functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workloads.base import Workload, normal, numpy_calls, tgc_jit, torch_eager
from tgc import nn
from tgc import numpy as tnp

ROWS = (4096, 1024)


def _expression(x: Any, y: Any) -> Any:
    return tnp.tanh(x * y + 1) * nn.sigmoid(x) - tnp.exp(-y * y)


def _torch_expression(torch: Any, x: Any, y: Any) -> Any:
    return torch.tanh(x * y + 1) * torch.sigmoid(x) - torch.exp(-y * y)


def _numpy_expression(x: Any, y: Any) -> Any:
    return np.tanh(x * y + 1) / (1 + np.exp(-x)) - np.exp(-y * y)


def _gelu_layer_norm(x: Any) -> Any:
    return nn.gelu(nn.layer_norm(x) + x)


def _torch_gelu_layer_norm(torch: Any, x: Any) -> Any:
    return torch.nn.functional.gelu(torch.nn.functional.layer_norm(x, x.shape[-1:]) + x)


def _numpy_softmax(x: Any) -> Any:
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


EXPRESSION = {
    "tgc": tgc_jit(_expression),
    "torch": torch_eager(_torch_expression),
    "numpy": numpy_calls(_numpy_expression),
}

WORKLOADS = (
    Workload(
        "softmax",
        "softmax of rows, 4096x1024",
        normal(x=ROWS),
        {
            "tgc": tgc_jit(lambda x: nn.softmax(x)),
            "torch": torch_eager(lambda torch, x: torch.softmax(x, -1)),
            "numpy": numpy_calls(_numpy_softmax),
        },
    ),
    Workload(
        "gelu_layer_norm",
        "gelu(layer_norm(x) + x), 4096x1024",
        normal(x=ROWS),
        {"tgc": tgc_jit(_gelu_layer_norm), "torch": torch_eager(_torch_gelu_layer_norm)},
    ),
    Workload("pointwise", "tanh(xy+1) sigmoid(x) - exp(-yy), 4M", normal(x=(1 << 22,), y=(1 << 22,)), EXPRESSION),
    Workload("pointwise_small", "tanh(xy+1) sigmoid(x) - exp(-yy), 1024", normal(x=(1024,), y=(1024,)), EXPRESSION),
)
