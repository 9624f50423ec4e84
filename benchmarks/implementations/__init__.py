"""The implementations of the workloads: tgc and its peers, a module each.

A module has the functions `calls(program, inputs)` and, where it can train, `gradients(program, inputs)` and
`training(program, inputs)`. Each makes the variants of a `benchmarks.workloads.base.Program` in that implementation, of
which the quickest is compared with the others; `serving(program, inputs)` makes what takes data of any sizes. One that
runs ONNX models has `calls(model, inputs)` and `serving(model, inputs)` instead, of a file and the arrays that go into
it. A module is imported by the worker that runs it and by nothing else. A new peer is a module here, and its line in
`IMPLEMENTATIONS`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.workloads.base import Serving, Variant, Workload


class Implementation(NamedTuple):
    """The module that holds it, the packages that must be installed, and whether it runs models that torch exports."""

    module: str
    packages: tuple[str, ...]
    exported: bool = False


MODEL, INPUTS = "model.onnx", "inputs.npz"  # files of an exported model
_EXPORTER = ("torch", "onnx", "onnxscript")

IMPLEMENTATIONS = {
    "tgc": Implementation("tgc_jit", ("tgc",)),
    "torch": Implementation("torch_eager", ("torch",)),
    "torch.compile": Implementation("torch_compile", ("torch",)),
    "jax": Implementation("jax_jit", ("jax",)),
    "tensorflow": Implementation("tensorflow_function", ("tensorflow",)),
    "onnxruntime": Implementation("onnx_runtime", ("onnxruntime", *_EXPORTER), exported=True),
    "openvino": Implementation("open_vino", ("openvino", *_EXPORTER), exported=True),
    "numpy": Implementation("numpy_calls", ("numpy",)),
}


def installed(names: Sequence[str]) -> list[str]:
    """Those implementations whose packages are there."""
    return [n for n in names if all(find_spec(package) is not None for package in IMPLEMENTATIONS[n].packages)]


def imported(name: str) -> Any:
    """The module of an implementation."""
    return import_module(f"{__name__}.{IMPLEMENTATIONS[name].module}")


def variants(name: str, workload: Workload, folder: Path) -> Mapping[str, Variant]:
    """The variants of a workload in the implementation `name`, by a label that can be part of a file's name.

    Workers of the same workload may share `folder`, and with it the exported model.
    """
    own = IMPLEMENTATIONS[name]
    module = imported(name)
    found: Mapping[str, Variant]
    if own.exported:
        found = module.calls(*exported_model(workload.name, folder))
    else:
        found = getattr(module, workload.work)(workload.program, workload.program.inputs())
    return found


def serving(name: str, workload: Workload, folder: Path) -> Serving:
    """A workload in the implementation `name` for data of any sizes; `folder` as for `variants`."""
    if IMPLEMENTATIONS[name].exported:
        made: Serving = imported(name).serving(*exported_model(workload.name, folder))
    else:
        made = imported(name).serving(workload.program, workload.program.inputs())
    return made


def exported_model(workload: str, folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A workload's ONNX model and its inputs, made by another process (torch stays out of this one) unless they exist.

    Raises:
        subprocess.CalledProcessError: the export failed; standard error says why.
    """
    model, inputs = folder / MODEL, folder / INPUTS
    if not model.exists():
        subprocess.run([sys.executable, "-m", f"{__name__}.exported", workload, str(folder)], check=True)
    with np.load(inputs) as arrays:
        return model, dict(arrays)
