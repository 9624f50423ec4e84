"""OpenVINO on its CPU device."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.workloads.base import Inputs, Variant, stateless, thread_count

# Where oneDNN finds AMX, OpenVINO 2026.4 computes quantized models in float32, at a quarter of the speed, or fails to;
# without it, by VNNI. What float32 takes is the same.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX10_1_512")

import openvino  # reads the variable


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
