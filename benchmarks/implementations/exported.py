"""A workload as an ONNX model, by torch's exporter: `python -m benchmarks.implementations.exported NAME FOLDER`."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.implementations import INPUTS, MODEL, torch_eager
from benchmarks.workloads import SERVED, WORKLOADS
from benchmarks.workloads.base import Program


class _Module(torch.nn.Module):
    def __init__(self, program: Program, parameters: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._program, self._named = program, {name: f"p{k}" for k, name in enumerate(parameters)}
        for name, value in parameters.items():
            self.register_buffer(self._named[name], value)

    def forward(self, *data: Any) -> Any:
        p = {name: getattr(self, own) for name, own in self._named.items()}
        return self._program(torch_eager.Ops(), p, *data)


def export(program: Program, folder: Path) -> None:
    """Write the model and its inputs by name, and the model last: it is there only if all is."""
    tensors = torch_eager.tensors(program, program.inputs(), torch.contiguous_format)
    module = _Module(program, {name: tensors[name] for name in program.parameters}).eval()
    data = {name: tensors[name] for name in program.data}
    free = {"data": tuple({axis: f"{name}_{axis}" for axis in program.free.get(name, ())} for name in data)}
    model = torch.onnx.export(
        module,
        tuple(data.values()),
        input_names=list(data),
        output_names=["result"],
        dynamic_shapes=free if program.free else None,
        dynamo=True,
        verbose=False,
    )
    assert model is not None
    np.savez(folder / INPUTS, **{name: t.numpy() for name, t in data.items()})  # type: ignore[arg-type]
    part = folder / f"{MODEL}.part"
    part.write_bytes(model.model_proto.SerializeToString())
    os.replace(part, folder / MODEL)


def main() -> None:
    """Export, without what the exporter says of every model: of operations of torchvision, and of torch's own code."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    log.addFilter(lambda record: not record.getMessage().startswith("torchvision is not installed"))
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    name, folder = sys.argv[1:]
    export({**WORKLOADS, **SERVED}[name].program, Path(folder))


if __name__ == "__main__":
    main()
