"""Elementwise expressions and reductions of rows: what is lost or won by fusion and by elementary functions."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.base import Program, Tensor, Workload
from benchmarks.workloads.cnn import PEERS

ROWS = Tensor("plain", (4096, 1024))


def _expression(ops: Any, p: Any, x: Any, y: Any) -> Any:
    return ops.tanh(x * y + 1) * ops.sigmoid(x) - ops.exp(-(y * y))


def _softmax(ops: Any, p: Any, x: Any, a: Any, b: Any) -> Any:
    return ops.softmax(x * a + b)


def _gelu_layer_norm(ops: Any, p: Any, x: Any) -> Any:
    return ops.gelu(ops.layer_norm(x) + x)


def _pair(size: int) -> Program:
    return Program(_expression, {"x": Tensor("plain", (size,)), "y": Tensor("plain", (size,))})


WORKLOADS = (
    Workload(
        "softmax",
        "softmax(x a + b) of rows, 4096x1024",
        Program(_softmax, {"x": ROWS, "a": Tensor("scale", (1024,)), "b": Tensor("bias", (1024,))}),
        (*PEERS, "numpy"),
        quick=True,
    ),
    Workload(
        "gelu_layer_norm",
        "gelu(layer_norm(x) + x), 4096x1024",
        Program(_gelu_layer_norm, {"x": ROWS}),
        PEERS,
        quick=True,
    ),
    Workload("pointwise", "tanh(xy+1) sigmoid(x) - exp(-yy), 4M", _pair(1 << 22), (*PEERS, "numpy"), quick=True),
    Workload("pointwise_small", "tanh(xy+1) sigmoid(x) - exp(-yy), 1024", _pair(1024), (*PEERS, "numpy")),
)
