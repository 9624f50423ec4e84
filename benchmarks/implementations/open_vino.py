"""OpenVINO on its CPU device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import openvino

from benchmarks.workloads.base import Inputs, Variant, stateless, thread_count


def calls(model: Path, inputs: Inputs) -> Mapping[str, Variant]:
    """A model compiled for latency; float32, where the device would choose a narrower type by itself."""
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": thread_count(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    return {"request": stateless(lambda: request.infer(inputs, share_inputs=True, share_outputs=True)[0])}
