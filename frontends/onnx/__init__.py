"""ONNX models on tgc: imported, run, trained and exported."""

from tgc.frontends.onnx.export import to_onnx
from tgc.frontends.onnx.model import Model, load
from tgc.frontends.onnx.ops.random import drawing

__all__ = ["Model", "drawing", "load", "to_onnx"]
