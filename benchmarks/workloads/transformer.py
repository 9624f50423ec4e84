"""A transformer, layer norm first: 4 layers, 256 wide, 4 heads, 128 tokens of 1000 words; a decoder or an encoder.

Keys have no bias: softmax cancels it, so its gradient would be rounding errors, which no two implementations share.
"""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.base import Program, Tensor, Workload
from benchmarks.workloads.cnn import PEERS, TRAINERS

LAYERS, WIDTH, HEADS, TIME, WORDS = 4, 256, 4, 128, 1000


def parameters(layers: int = LAYERS) -> dict[str, Tensor]:
    """All parameters by name."""
    made = {"words": Tensor("table", (WORDS, WIDTH)), "places": Tensor("table", (TIME, WIDTH))}

    def dense(name: str, inner: int, outer: int) -> None:
        made[f"{name}.w"], made[f"{name}.b"] = Tensor("matrix", (inner, outer)), Tensor("bias", (outer,))

    def norm(name: str) -> None:
        made[f"{name}.scale"], made[f"{name}.bias"] = Tensor("scale", (WIDTH,)), Tensor("bias", (WIDTH,))

    for k in range(layers):
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
    return _dense(ops, p, "head", blocks(ops, p, x, causal=True))


def encoder(ops: Any, p: Any, x: Any, layers: int = LAYERS) -> Any:
    """The same of tokens each of which sees all others of its text."""
    return _dense(ops, p, "head", blocks(ops, p, x, causal=False, layers=layers))


def blocks(ops: Any, p: Any, x: Any, *, causal: bool, layers: int = LAYERS) -> Any:
    """Normalized f32[n,time,width] of tokens i32[n,time]."""
    n, time = x.shape
    h = ops.embed(p["words"], x) + ops.first(p["places"], time)
    for k in range(layers):
        a = _norm(ops, p, f"{k}.norm1", h)
        heads = (ops.reshape(_dense(ops, p, f"{k}.{part}", a), (n, time, HEADS, WIDTH // HEADS)) for part in "qkv")
        mixed = ops.attention(*(ops.transpose(y, (0, 2, 1, 3)) for y in heads), causal)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (n, time, WIDTH))
        h = h + _dense(ops, p, f"{k}.out", mixed)
        up = ops.gelu(_dense(ops, p, f"{k}.up", _norm(ops, p, f"{k}.norm2", h)))
        h = h + _dense(ops, p, f"{k}.down", up)
    return _norm(ops, p, "norm", h)


def _dense(ops: Any, p: Any, name: str, x: Any) -> Any:
    return ops.dense(x, p[f"{name}.w"], p.get(f"{name}.b"))


def _norm(ops: Any, p: Any, name: str, x: Any) -> Any:
    return ops.layer_norm(x, p[f"{name}.scale"], p[f"{name}.bias"])


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

SERVED = (
    Workload(
        "encoder",
        "transformer encoder, 1 to 8 texts of 8 to 128 tokens",
        Program(encoder, {"x": Tensor("ids", (4, 64), WORDS)}, parameters(), free={"x": (0, 1)}),
        ("torch", "torch.compile", "jax", "onnxruntime"),
        tolerance=1e-4,
    ),
)
