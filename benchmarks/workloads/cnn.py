"""The CNN of examples/cnn_digits.py.

conv 32 3x3 relu, max pool 2, conv 64 3x3 relu, max pool 2, dense 128 relu, dense 10
"""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.base import Program, Tensor, Workload

PARAMETERS = {
    "conv1.w": Tensor("filter", (3, 3, 1, 32)),
    "conv1.b": Tensor("bias", (32,)),
    "conv2.w": Tensor("filter", (3, 3, 32, 64)),
    "conv2.b": Tensor("bias", (64,)),
    "dense1.w": Tensor("features", (5, 5, 64, 128)),
    "dense1.b": Tensor("bias", (128,)),
    "dense2.w": Tensor("matrix", (128, 10)),
    "dense2.b": Tensor("bias", (10,)),
}


def model(ops: Any, p: Any, x: Any) -> Any:
    """Logits f32[n,10] of images f32[n,28,28,1]."""
    x = ops.max_pool(ops.relu(ops.conv(x, p["conv1.w"], p["conv1.b"])), 2, 2)
    x = ops.max_pool(ops.relu(ops.conv(x, p["conv2.w"], p["conv2.b"])), 2, 2)
    x = ops.relu(ops.dense(ops.flatten(x), p["dense1.w"], p["dense1.b"]))
    return ops.dense(x, p["dense2.w"], p["dense2.b"])


def program(batch: int, *, trains: bool) -> Program:
    """For `batch` images."""
    images = {"x": Tensor("image", (batch, 28, 28, 1))}
    return Program(model, images, PARAMETERS, Tensor("ids", (batch,), 10) if trains else None)


TRAINERS = ("torch", "torch.compile", "jax", "tensorflow")
PEERS = (*TRAINERS, "onnxruntime", "openvino")

WORKLOADS = (
    Workload(
        "cnn_train_32",
        "CNN training step, batch 32",
        program(32, trains=True),
        TRAINERS,
        trains=True,
        tolerance=1e-4,
        quick=True,
    ),
    Workload(
        "cnn_train_256",
        "CNN training step, batch 256",
        program(256, trains=True),
        TRAINERS,
        trains=True,
        tolerance=1e-4,
    ),
    Workload("cnn_inference", "CNN inference, batch 32", program(32, trains=False), PEERS, quick=True),
)
