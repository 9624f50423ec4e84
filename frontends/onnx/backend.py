"""The interface `onnx.backend.base`, by which ONNX's own tests, and others, run models on tgc."""

from __future__ import annotations

from typing import Any

from onnx import ModelProto, NodeProto, helper
from onnx.backend.base import Backend as Base
from onnx.backend.base import BackendRep

from tgc.frontends.onnx.model import Model, load


class Representation(BackendRep):  # type: ignore[misc]
    """A model that is ready to run."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs for inputs in the model's order: NumPy arrays, lists for sequences, None for empty optionals."""
        made = self.model(*inputs)
        return (made,) if len(self.model.outputs) == 1 else made


class Backend(Base):  # type: ignore[misc]
    """tgc as a backend of ONNX."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> Representation:
        """The model, checked and planned; it is compiled at the first run.

        Raises:
            OnnxError: the model is malformed, or an operator of it is not supported.
        """
        return Representation(load(model))

    @classmethod
    def run_node(
        cls, node: NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """The outputs of one node, in the newest operator set or the one given as `opset_version`."""
        given = [name for name in node.input if name]
        infos = [helper.make_empty_tensor_value_info(name) for name in given]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        opsets = [helper.make_opsetid(node.domain, kwargs["opset_version"])] if "opset_version" in kwargs else None
        graph = helper.make_graph([node], "node", infos, outputs)
        model = helper.make_model(graph, **({"opset_imports": opsets} if opsets else {}))
        return cls.prepare(model, device).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether programs are compiled for the device: "CPU" alone."""
        return device.split(":")[0] == "CPU"


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
