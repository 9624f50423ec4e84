"""PyTorch with `torch.compile`."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from benchmarks.implementations import torch_eager
from benchmarks.workloads.base import Inputs, Program, Variant


def calls(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """Compiled calls."""
    return torch_eager.calls(program, inputs, torch.compile)


def training(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """Compiled forward and backward passes, and torch's fused Adam."""
    return torch_eager.training(program, inputs, torch.compile)
