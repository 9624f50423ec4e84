"""Contractions: matrix products and a convolution, near the machine's peak or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.workloads.base import Inputs, Variant, Workload, normal, numpy_calls, tgc_jit, torch_eager
from tgc import nn


def _matmul(n: int) -> Workload:
    return Workload(
        f"matmul_{n}",
        f"matrix product, {n}^3",
        normal(x=(n, n), y=(n, n)),
        {
            "tgc": tgc_jit(lambda x, y: x @ y),
            "torch": torch_eager(lambda torch, x, y: x @ y),
            "numpy": numpy_calls(lambda x, y: x @ y),
        },
    )


def _conv(x: Any, w: Any) -> Any:
    return nn.conv(x, w, padding="same")


def _torch_conv(inputs: Inputs) -> Mapping[str, Variant]:
    """Images and filters in both of torch's memory formats."""
    import torch

    x = torch.from_numpy(inputs["x"]).permute(0, 3, 1, 2)
    w = torch.from_numpy(inputs["w"]).permute(3, 2, 0, 1)

    def variant(memory: torch.memory_format) -> Variant:
        images, filters = (a.contiguous(memory_format=memory) for a in (x, w))

        def call() -> torch.Tensor:
            with torch.inference_mode():
                return torch.nn.functional.conv2d(images, filters, padding="same")

        return Variant(call, lambda: [np.asarray(call().permute(0, 2, 3, 1))])

    return {"contiguous": variant(torch.contiguous_format), "channels_last": variant(torch.channels_last)}


WORKLOADS = (
    _matmul(1024),
    _matmul(2048),
    Workload(
        "conv",
        "convolution 3x3, 8x56x56x64 to 64",
        normal(x=(8, 56, 56, 64), w=(3, 3, 64, 64)),
        {"tgc": tgc_jit(_conv), "torch": _torch_conv},
    ),
)
