"""ONNX Runtime on its CPU provider."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnxruntime

from benchmarks.workloads.base import Inputs, Variant, stateless, thread_count


def calls(model: Path, inputs: Inputs) -> Mapping[str, Variant]:
    """A session with all optimizations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return {"session": stateless(lambda: session.run(None, inputs)[0])}
