"""OpenVINO on its CPU device."""

from __future__ import annotations

from collections.abc import Mapping

import openvino

from benchmarks.implementations.exported import export
from benchmarks.workloads.base import Inputs, Program, Variant, stateless, thread_count


def calls(program: Program, inputs: Inputs) -> Mapping[str, Variant]:
    """A model compiled for latency; float32, where the device would choose a narrower type by itself."""
    exported, data = export(program, inputs)
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": thread_count(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(core.read_model(exported), "CPU", settings).create_infer_request()
    return {"request": stateless(lambda: request.infer(data, share_inputs=True, share_outputs=True)[0])}
