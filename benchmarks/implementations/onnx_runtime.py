"""ONNX Runtime on its CPU provider."""

from __future__ import annotations

from collections.abc import Mapping

import onnxruntime

from benchmarks.implementations.exported import export
from benchmarks.workloads.base import Inputs, Program, Variant, stateless, thread_count


def calls(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """A session with all optimizations."""
    model, data = export(program, inputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return {"session": stateless(lambda: session.run(None, data)[0])}
