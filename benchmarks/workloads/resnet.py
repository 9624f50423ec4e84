"""ResNet-18 (He et al., 2015) on images of 224x224."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads.base import Program, Tensor, Workload
from benchmarks.workloads.cnn import PEERS, TRAINERS

STAGES = (64, 128, 256, 512)  # channels; two blocks each


def blocks() -> list[tuple[str, int, int, int]]:
    """Name, channels in and out, and stride of each block."""
    found, channels = [], STAGES[0]
    for k, width in enumerate(STAGES):
        for j in range(2):
            found.append((f"{k}.{j}", channels, width, 2 if k and not j else 1))
            channels = width
    return found


def parameters() -> dict[str, Tensor]:
    """All parameters and running statistics by name."""
    made: dict[str, Tensor] = {}

    def conv(name: str, size: int, inner: int, outer: int) -> None:
        made[f"{name}.w"] = Tensor("filter", (size, size, inner, outer))
        made[f"{name}.scale"], made[f"{name}.bias"] = Tensor("scale", (outer,)), Tensor("bias", (outer,))
        made[f"{name}.mean"], made[f"{name}.variance"] = Tensor("mean", (outer,)), Tensor("variance", (outer,))

    conv("stem", 7, 3, STAGES[0])
    for name, inner, outer, stride in blocks():
        conv(f"{name}.conv1", 3, inner, outer)
        conv(f"{name}.conv2", 3, outer, outer)
        if stride != 1 or inner != outer:
            conv(f"{name}.skip", 1, inner, outer)
    made["head.w"], made["head.b"] = Tensor("matrix", (STAGES[-1], 1000)), Tensor("bias", (1000,))
    return made


def model(ops: Any, p: Any, x: Any) -> Any:
    """Logits f32[n,1000] of images f32[n,224,224,3]."""

    def conv(name: str, x: Any, stride: int = 1) -> Any:
        w = p[f"{name}.w"]
        return ops.batch_norm(ops.conv(x, w, stride=stride, padding=sizes[f"{name}.w"] // 2), p, name)

    x = ops.max_pool(ops.relu(conv("stem", x, 2)), 3, 2, 1)
    for name, inner, outer, stride in blocks():
        y = conv(f"{name}.conv2", ops.relu(conv(f"{name}.conv1", x, stride)))
        skip = conv(f"{name}.skip", x, stride) if stride != 1 or inner != outer else x
        x = ops.relu(y + skip)
    return ops.dense(ops.mean_pixels(x), p["head.w"], p["head.b"])


# GRADIENTS: relu's slope jumps at 0, so rounding decides the slope of some of ten million activations, and one that
# falls to the other side moves single elements of gradients by percents. From the gradients in float64 those in float32
# differ, in the worst of the 62 arrays and in the 2-norm, by 0.004 (torch, contiguous), 0.009 (torch, channels last)
# and 0.005 (tgc), and in the greatest magnitude by 0.04, 0.09 and 0.07. With gelu for relu and slices for the pool they
# differ by 1e-5, 3e-5 and 2e-5 in the greatest magnitude: nothing but the jumps keeps these arrays apart.

PARAMETERS = parameters()
sizes = {name: t.shape[0] for name, t in PARAMETERS.items()}  # of filters; their axes differ among implementations


def program(batch: int, *, trains: bool) -> Program:
    """For `batch` images."""
    images = {"x": Tensor("image", (batch, 224, 224, 3))}
    return Program(model, images, PARAMETERS, Tensor("ids", (batch,), 1000) if trains else None)


WORKLOADS = (
    Workload(
        "resnet18_inference",
        "ResNet-18 inference, batch 1",
        program(1, trains=False),
        PEERS,
        tolerance=1e-4,
    ),
    Workload(
        "resnet18_train",
        "ResNet-18 training step, batch 8",
        program(8, trains=True),
        TRAINERS,
        trains=True,
        tolerance=3e-2,  # see GRADIENTS
        norm=2,
    ),
)
