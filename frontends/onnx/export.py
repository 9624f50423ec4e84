"""`to_onnx`: graphs of tgc, and functions that tgc can trace, as ONNX models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optree
from onnx import ModelProto, helper

import tgc
import tgc.frontends.onnx.emitters
from tgc.frontends.onnx.emitters.emission import OPSET, Emission, Place, atom_of, info
from tgc.frontends.onnx.errors import OnnxError
from tgc.ir import Graph
from tgc.sizes import LEAST, Symbols
from tgc.trace import trace
from tgc.types import TensorType

Axes = Mapping[int, str]


def to_onnx(
    function: Callable[..., Any] | Graph,
    *args: Any,
    sizes: Mapping[str, Axes] | None = None,
    weights: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = (),
) -> ModelProto:
    """The ONNX model (opset 20) of a function, or of a graph as it is traced, before passes.

        model = to_onnx(lambda x: forward(parameters, x), images, sizes={"x": {0: "batch"}})

    Args:
        function: a function of arrays and pytrees of these, or a graph.
        args: arguments of the function, whose types it is traced for; their leaves become inputs, which are named as
            the parameters are, "p.layer.w" for example.
        sizes: by input and axis the names of sizes that the model leaves open. What the function decides by them
            (`n > 4`) is decided as for the sizes of `args`.
        weights: names of arrays that the function uses; constants with these elements get the name.
        outputs: names of the results' leaves, in order; by default output_0, ..., or output if there is one.

    Raises:
        UnsupportedOperatorError: ONNX has no operator for a primitive, whose name and line the message has.
        OnnxError: `outputs` are not as many as there are results; an axis of `sizes` does not exist, or the function
            makes a plain number of its size.
    """
    graph, named = (function, {}) if isinstance(function, Graph) else _traced(function, args, sizes or {})
    emission = Emission(names=[v.name for v in graph.inputs])
    for name, array in (weights or {}).items():
        emission.constant(np.asarray(array), name)
    emission.inline(graph, [Place(v.name, v.shape) for v in graph.inputs])
    count = len(graph.outputs)
    names = list(outputs) or (["output"] if count == 1 else [f"output_{k}" for k in range(count)])
    if len(names) != count or len(set(names)) < count:
        raise OnnxError(f"{len(names)} names of outputs ({', '.join(names)}) for {count} results")
    pairs = list(zip(names, graph.outputs, strict=True))
    emission.nodes += [helper.make_node("Identity", [emission.whole(v)], [n]) for n, v in pairs]
    proto = emission.graph(
        graph.name, [info(v.name, v, named) for v in graph.inputs], [info(n, v, named) for n, v in pairs]
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(
        proto, opset_imports=[opset], ir_version=helper.find_min_ir_version_for([opset]), producer_name="tgc"
    )
    model.producer_version = tgc.__version__
    return model


def _traced(
    function: Callable[..., Any], args: tuple[Any, ...], sizes: Mapping[str, Axes]
) -> tuple[Graph, dict[int, str]]:
    """The graph of a function, some sizes symbols, and the names of these by atom."""
    lowered = tgc.jit(function).lower(*args)
    inputs = lowered.graph.inputs
    if not sizes:
        return lowered.graph, {}
    if unknown := sizes.keys() - {v.name for v in inputs}:
        raise OnnxError(f"sizes: {', '.join(sorted(unknown))}: the inputs are {', '.join(v.name for v in inputs)}")
    symbols, made = Symbols(), dict[str, int]()
    types = []
    for v in inputs:
        shape = list(v.shape)
        for axis, name in sizes.get(v.name, {}).items():
            if not 0 <= axis < len(shape) or shape[axis] < LEAST:
                raise OnnxError(f"sizes: axis {axis} of {v.name} ({v.type}) is not there, or of size 0 or 1")
            made[name] = shape[axis] = made[name] if name in made else symbols.new(shape[axis])
        types.append(TensorType(v.dtype, tuple(shape)))
    structure = optree.tree_structure(args)

    def flat(*tracers: Any) -> list[Any]:
        return optree.tree_leaves(function(*optree.tree_unflatten(structure, tracers)))

    graph = trace(flat, types, [v.name for v in inputs], lowered.graph.name)
    if pinned := [name for name, fixed in zip(made, symbols.pinned, strict=True) if fixed]:
        raise OnnxError(f"sizes: the function makes plain numbers of {', '.join(pinned)}, which cannot be open then")
    return graph, {atom: name for name, n in made.items() if (atom := atom_of(n)) is not None}
