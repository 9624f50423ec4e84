"""An LSTM language model: 10,000 words, 64 numbers each, 128 units, 64 steps; its layer alone, built in and by hand."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.base import Program, Tensor, Workload
from benchmarks.workloads.cnn import TRAINERS

WORDS, EMBEDDED, UNITS, TIME, BATCH = 10_000, 64, 128, 64, 32

LAYER = {
    "w": Tensor("matrix", (EMBEDDED, 4 * UNITS)),
    "u": Tensor("matrix", (UNITS, 4 * UNITS)),
    "b": Tensor("bias", (4 * UNITS,)),
}
PARAMETERS = {
    "words": Tensor("table", (WORDS, EMBEDDED)),
    **LAYER,
    "head.w": Tensor("matrix", (UNITS, WORDS)),
    "head.b": Tensor("bias", (WORDS,)),
}


def layer(ops: Any, p: Any, x: Any) -> Any:
    """Outputs f32[n,time,units] of x f32[n,time,embedded]."""
    return ops.lstm(x, p["w"], p["u"], p["b"])


def layer_by_hand(ops: Any, p: Any, x: Any) -> Any:
    """The same as a user writes it who has a scan and no LSTM."""

    def cell(state: Any, row: Any) -> Any:
        h, c = state
        gates = row @ p["w"] + h @ p["u"] + p["b"]
        i, f, g, o = (gates[:, k * UNITS : (k + 1) * UNITS] for k in range(4))
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(c)
        return (h, c), h

    zero = ops.zeros((x.shape[0], UNITS), x.dtype)
    return ops.transpose(ops.scan(cell, (zero, zero), ops.transpose(x, (1, 0, 2))), (1, 0, 2))


def model(ops: Any, p: Any, x: Any) -> Any:
    """Logits f32[n,time,words] of tokens i32[n,time]."""
    return ops.dense(layer(ops, p, ops.embed(p["words"], x)), p["head.w"], p["head.b"])


def alone(function: Any) -> Program:
    """One of the two layers, forward and backward."""
    sequences = {"x": Tensor("plain", (BATCH, TIME, EMBEDDED))}
    return Program(function, sequences, LAYER, cotangent=Tensor("plain", (BATCH, TIME, UNITS)))


def program() -> Program:
    """The model's training step."""
    texts = Tensor("ids", (BATCH, TIME), WORDS)
    return Program(model, {"x": texts}, PARAMETERS, texts)


WORKLOADS = (
    Workload(
        "lstm_lm_train",
        "LSTM language model training step, batch 32",
        program(),
        TRAINERS,
        trains=True,
        tolerance=1e-3,
    ),
    Workload(
        "lstm_layer",
        "LSTM layer alone, forward and backward",
        alone(layer),
        TRAINERS,
        tolerance=1e-4,
        quick=True,
    ),
    Workload(
        "scan_cell",
        "LSTM layer as a cell in `scan`, forward and backward",
        alone(layer_by_hand),
        ("jax",),
        tolerance=1e-4,
        quick=True,
        like="lstm_layer",
    ),
)
