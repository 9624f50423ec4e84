"""ONNX models on tgc: imported, run, trained and exported."""

from tgc.frontends.onnx.export import to_onnx
from tgc.frontends.onnx.model import Model, load

__all__ = ["Model", "load", "to_onnx"]
