"""ONNX models on tgc: imported, run, trained and exported."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tgc.frontends.onnx.model import Model, load
from tgc.frontends.onnx.ops.random import drawing

if TYPE_CHECKING:
    from tgc.frontends.onnx.export import to_onnx


def __getattr__(name: str) -> Any:
    if name != "to_onnx":  # of no use to those who import models
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.export").to_onnx


__all__ = ["Model", "drawing", "load", "to_onnx"]
