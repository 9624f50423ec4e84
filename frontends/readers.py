"""Files of models for tgc's commands: the entry points of the group `tgc.models`, by suffix (see `tgc.cli.models`).

They are here, and not in the frontends, so that to name them needs none of the packages that frontends import.
"""

from __future__ import annotations

from collections.abc import Mapping

from tgc.ir import Graph

Shapes = Mapping[str, tuple[int, ...]]  # of inputs, by name, where a file leaves sizes open
Read = tuple[Graph, list[str]]  # a graph, its weights constants, and the names of its results


def keras(path: str, shapes: Shapes) -> Read:
    """What the model of a `.keras` file infers; the first axis is 1 where it is open and `shapes` does not say."""
    from tgc.frontends.keras.files import read_model

    return read_model(path, shapes)


def onnx(path: str, shapes: Shapes) -> Read:
    """What an ONNX file computes; `shapes` may also give sizes by the names that the file has for them."""
    from tgc.frontends.onnx import load

    model = load(path)
    inputs = {v.name for v in model.inputs}
    sizes = {name: shape if name in inputs or len(shape) != 1 else shape[0] for name, shape in shapes.items()}
    return model.graph(sizes), [v.name for v in model.outputs]
