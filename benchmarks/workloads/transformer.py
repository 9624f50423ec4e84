"""A decoder-only transformer, layer norm first: 4 layers, 256 wide, 4 heads, 128 tokens of 1000 words.

Keys have no bias: softmax cancels it, so its gradient would be rounding errors, which no two implementations share.
"""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.base import Program, Tensor, Workload
from benchmarks.workloads.cnn import PEERS, TRAINERS

LAYERS, WIDTH, HEADS, TIME, WORDS = 4, 256, 4, 128, 1000


def parameters() -> dict[str, Tensor]:
    """All parameters by name."""
    made = {"words": Tensor("table", (WORDS, WIDTH)), "places": Tensor("table", (TIME, WIDTH))}

    def dense(name: str, inner: int, outer: int) -> None:
        made[f"{name}.w"], made[f"{name}.b"] = Tensor("matrix", (inner, outer)), Tensor("bias", (outer,))

    def norm(name: str) -> None:
        made[f"{name}.scale"], made[f"{name}.bias"] = Tensor("scale", (WIDTH,)), Tensor("bias", (WIDTH,))

    for k in range(LAYERS):
        norm(f"{k}.norm1")
        for part in "qkv":
            dense(f"{k}.{part}", WIDTH, WIDTH)
        del made[f"{k}.k.b"]
        dense(f"{k}.out", WIDTH, WIDTH)
        norm(f"{k}.norm2")
        dense(f"{k}.up", WIDTH, 4 * WIDTH)
        dense(f"{k}.down", 4 * WIDTH, WIDTH)
    norm("norm")
    dense("head", WIDTH, WORDS)
    return made


def model(ops: Any, p: Any, x: Any) -> Any:
    """Logits f32[n,time,words] of tokens i32[n,time]."""

    def dense(name: str, x: Any) -> Any:
        return ops.dense(x, p[f"{name}.w"], p.get(f"{name}.b"))

    def norm(name: str, x: Any) -> Any:
        return ops.layer_norm(x, p[f"{name}.scale"], p[f"{name}.bias"])

    n = x.shape[0]
    h = ops.embed(p["words"], x) + p["places"]
    for k in range(LAYERS):
        a = norm(f"{k}.norm1", h)
        heads = (ops.reshape(dense(f"{k}.{part}", a), (n, TIME, HEADS, WIDTH // HEADS)) for part in "qkv")
        mixed = ops.attention(*(ops.transpose(y, (0, 2, 1, 3)) for y in heads))
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (n, TIME, WIDTH))
        h = h + dense(f"{k}.out", mixed)
        h = h + dense(f"{k}.down", ops.gelu(dense(f"{k}.up", norm(f"{k}.norm2", h))))
    return dense("head", norm("norm", h))


def program(batch: int, *, trains: bool) -> Program:
    """For `batch` texts."""
    texts = Tensor("ids", (batch, TIME), WORDS)
    return Program(model, {"x": texts}, parameters(), texts if trains else None)


WORKLOADS = (
    Workload(
        "transformer_train",
        "transformer training step, batch 16",
        program(16, trains=True),
        TRAINERS,
        trains=True,
        tolerance=1e-3,
    ),
    Workload(
        "transformer_inference",
        "transformer inference, batch 1",
        program(1, trains=False),
        PEERS,
        tolerance=1e-4,
    ),
)
