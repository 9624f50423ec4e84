"""The implementations of the workloads: tgc and its peers, a module each.

A module has the functions `calls(program, inputs)` and, where it can train, `training(program, inputs)`. Each makes the
variants of a `benchmarks.workloads.base.Program` in that implementation, of which the quickest is compared with the
others. A module is imported by the worker that runs it and by nothing else. A new peer is a module here, and its line
in `IMPLEMENTATIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from benchmarks.workloads.base import Variant, Workload


class Implementation(NamedTuple):
    """The module that holds it, and the packages that must be installed."""

    module: str
    packages: tuple[str, ...]


_ONNX = ("torch", "onnx", "onnxscript")  # torch's exporter makes the models

IMPLEMENTATIONS = {
    "tgc": Implementation("tgc_jit", ("tgc",)),
    "torch": Implementation("torch_eager", ("torch",)),
    "torch.compile": Implementation("torch_compile", ("torch",)),
    "jax": Implementation("jax_jit", ("jax",)),
    "tensorflow": Implementation("tensorflow_function", ("tensorflow",)),
    "onnxruntime": Implementation("onnx_runtime", ("onnxruntime", *_ONNX)),
    "openvino": Implementation("open_vino", ("openvino", *_ONNX)),
    "numpy": Implementation("numpy_calls", ("numpy",)),
}


def installed(names: Sequence[str]) -> list[str]:
    """Those implementations whose packages are there."""
    return [n for n in names if all(find_spec(package) is not None for package in IMPLEMENTATIONS[n].packages)]


def variants(name: str, workload: Workload) -> Mapping[str, Variant]:
    """The variants of a workload in the implementation `name`, by a label that can be part of a file's name."""
    module = import_module(f"{__name__}.{IMPLEMENTATIONS[name].module}")
    make = getattr(module, "training" if workload.trains else "calls")
    found: Mapping[str, Variant] = make(workload.program, workload.program.inputs())
    return found
