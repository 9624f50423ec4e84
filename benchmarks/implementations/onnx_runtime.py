"""ONNX Runtime on its CPU provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.workloads.base import Inputs, Serving, Variant, stateless, thread_count


def _session(model: Path, **sizes: int) -> onnxruntime.InferenceSession:
    """A session with all optimizations, for those sizes of free axes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    for axis, size in sizes.items():
        options.add_free_dimension_override_by_name(axis, size)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def calls(model: Path, inputs: Inputs) -> Mapping[str, Variant]:
    """A session."""
    session = _session(model)
    return {"session": stateless(lambda: session.run(None, inputs)[0])}


def serving(model: Path, inputs: Inputs) -> Serving:
    """A session of dynamic axes."""
    session = _session(model)
    taken = session.get_inputs()

    def feed(data: Sequence[np.ndarray]) -> Inputs:
        return {x.name: array.astype(inputs[x.name].dtype) for x, array in zip(taken, data, strict=True)}

    def fixed(*data: np.ndarray) -> Callable[[], Any]:
        sizes = {a: n for x, array in zip(taken, data, strict=True) for a, n in zip(x.shape, array.shape, strict=True)}
        own = _session(model, **{axis: n for axis, n in sizes.items() if isinstance(axis, str)})
        return lambda: own.run(None, feed(data))[0]

    return Serving(lambda *data: session.run(None, feed(data))[0], lambda: 1, fixed)
