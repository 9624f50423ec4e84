"""PyTorch with `torch.compile`, for the shapes at hand.

It caches by code, which our programs share: before each, what it knows of earlier ones is dropped, else the ninth
would run uncompiled, and those before it with shapes that are not static.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.implementations import torch_eager
from benchmarks.workloads.base import Inputs, Program, Serving, Variant

torch._dynamo.config.fail_on_recompile_limit_hit = True
# As it does with the module torch.nn.LSTM. Else it unrolls all steps, which takes it two minutes.
torch_eager.Ops.lstm = torch.compiler.disable(torch_eager.Ops.lstm)  # type: ignore[method-assign]


def calls(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """Compiled calls."""
    torch.compiler.reset()
    return torch_eager.calls(program, inputs, _compiled)


def serving(program: Program, inputs: Inputs) -> Serving:
    """Compiled calls with symbolic sizes."""
    torch.compiler.reset()
    return torch_eager.serving(program, inputs, lambda f: torch.compile(f, dynamic=True), _fresh)


def gradients(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """Compiled forward and backward passes."""
    torch.compiler.reset()
    return torch_eager.gradients(program, inputs, _compiled)


def training(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """Compiled forward and backward passes, and torch's fused Adam."""
    torch.compiler.reset()
    return torch_eager.training(program, inputs, _compiled)


def _fresh(f: Callable[..., Any]) -> Callable[..., Any]:
    torch.compiler.reset()
    return _compiled(f)


def _compiled(f: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(f, dynamic=False)
