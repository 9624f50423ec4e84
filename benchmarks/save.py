"""Writes a workload into files for `benchmarks.saved`: `python -m benchmarks.save IMPLEMENTATION WORKLOAD FOLDER`.

Prints a line of JSON: {"files": name -> [file, inputs]}, for each way in which that implementation can load it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.implementations import INPUTS, exported_model
from benchmarks.saved import OPTIMIZED
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Program


def _tgc(program: Program, folder: Path) -> dict[str, list[str]]:
    import tgc
    from benchmarks.implementations.tgc_jit import Ops

    inputs = program.inputs()
    p, data = ({name: inputs[name] for name in names} for names in (program.parameters, program.data))
    file = folder / "model.tgc"
    tgc.jit(lambda *data: program(Ops(), p, *data)).compiled(*data.values()).save(file)
    np.savez(folder / "tgc.npz", **data)  # type: ignore[arg-type]
    return {"tgc": [str(file), str(folder / "tgc.npz")]}


def _onnxruntime(workload: str, folder: Path) -> dict[str, list[str]]:
    import onnxruntime

    model, _ = exported_model(workload, folder)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3  # it warns that the file is for machines like this one
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = str(folder / INPUTS)
    return {"onnxruntime": [str(model), inputs], OPTIMIZED: [options.optimized_model_filepath, inputs]}


def main() -> None:
    """Write the files."""
    name, workload, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    made = _tgc(WORKLOADS[workload].program, folder) if name == "tgc" else _onnxruntime(workload, folder)
    print(json.dumps({"files": made}))


if __name__ == "__main__":
    main()
