"""Programs as ONNX models, by torch's exporter."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch

from benchmarks.implementations import torch_eager
from benchmarks.workloads.base import Inputs, Program


class _Module(torch.nn.Module):
    def __init__(self, program: Program, parameters: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._program, self._named = program, {name: f"p{k}" for k, name in enumerate(parameters)}
        for name, value in parameters.items():
            self.register_buffer(self._named[name], value)

    def forward(self, *data: Any) -> Any:
        p = {name: getattr(self, own) for name, own in self._named.items()}
        return self._program.function(torch_eager.Ops(), p, **dict(zip(self._program.data, data, strict=True)))


def export(program: Program, inputs: Inputs) -> tuple[bytes, dict[str, np.ndarray]]:
    """The model, and its inputs by name."""
    tensors = torch_eager.tensors(program, inputs, torch.contiguous_format)
    module = _Module(program, {name: tensors[name] for name in program.parameters}).eval()
    data = {name: tensors[name] for name in program.data}
    model = torch.onnx.export(
        module, tuple(data.values()), input_names=list(data), output_names=["result"], dynamo=True, verbose=False
    )
    assert model is not None
    written = io.BytesIO()
    written.write(model.model_proto.SerializeToString())
    return written.getvalue(), {name: t.numpy() for name, t in data.items()}
