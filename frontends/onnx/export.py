"""`to_onnx`: graphs of tgc, and functions that tgc can trace, as ONNX models."""

from __future__ import annotations

import inspect
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
from tgc.jit import argument_type
from tgc.sizes import LEAST, Symbols
from tgc.trace import trace
from tgc.types import TensorType

Axes = Mapping[int, str]


def to_onnx(
    function: Callable[..., Any] | Graph,
    *args: Any,
    weights: Any = None,
    sizes: Mapping[str, Axes] | None = None,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> ModelProto:
    """The ONNX model (opset 20) of a function, or of a graph as it is traced, before passes.

        model = to_onnx(forward, images, weights=parameters, sizes={"images": {0: "batch"}})
        model = to_onnx(loaded.apply, images, weights=trained, inputs=["images"])   # of a `Model`

    Args:
        function: a function of arrays and pytrees of these, or a graph.
        args: arguments of the function, whose types it is traced for; their leaves become inputs.
        weights: a pytree of arrays that the function takes before `args`; they become initializers, whose names are
            their places in it, such as "layer.w". What else the function uses of arrays are initializers without names.
        sizes: by input and axis the names of sizes that the model leaves open. What the function decides by them
            (`n > 4`) is decided as for the sizes of `args`.
        inputs, outputs: names of the leaves of arguments and results; by default those of parameters with the place in
            the argument, such as "x.left", and "output", or output_0, ... if there are several.

    Raises:
        UnsupportedOperatorError: ONNX has no operator for a primitive, whose name and line the message has.
        OnnxError: there are not as many names as leaves, or one is given twice; an axis of `sizes` does not exist, or
            the function makes a plain number of its size; a graph has weights.
    """
    held, named = dict[str, Any](), dict[int, str]()
    if isinstance(function, Graph):
        graph = function
        if args or weights is not None or sizes:
            raise OnnxError("a graph has its arguments, weights and sizes")
    else:
        held = {_joined(path): x for path, x in zip(*_leaves(weights), strict=True)}
        graph, named = _traced(function, args, weights, list(held), list(inputs), sizes or {})
    open_inputs = graph.inputs[len(held) :]
    names = _named("outputs", outputs, _usual(len(graph.outputs)))
    if both := {v.name for v in open_inputs}.intersection(names):
        raise OnnxError(f"outputs: {', '.join(sorted(both))}: an input has this name")
    emission = Emission(names=[*(v.name for v in open_inputs), *names])
    places = [Place(emission.initializer(name, np.asarray(x)), np.shape(x)) for name, x in held.items()]
    emission.inline(graph, [*places, *(Place(v.name, v.shape) for v in open_inputs)])
    pairs = list(zip(names, graph.outputs, strict=True))
    emission.nodes += [helper.make_node("Identity", [emission.whole(v)], [n]) for n, v in pairs]
    proto = emission.graph(
        graph.name, [info(v.name, v, named) for v in open_inputs], [info(n, v, named) for n, v in pairs]
    )
    opset = helper.make_opsetid("", OPSET)
    version = helper.find_min_ir_version_for([opset])
    model = helper.make_model(proto, opset_imports=[opset], ir_version=version, producer_name="tgc")
    model.producer_version = tgc.__version__
    return model


def _leaves(tree: Any) -> tuple[list[tuple[Any, ...]], list[Any]]:
    """Places and leaves of a pytree."""
    paths, leaves, _ = optree.tree_flatten_with_path(tree)
    return paths, leaves


def _joined(path: Sequence[Any]) -> str:
    return ".".join(map(str, path)) or "weights"


def _usual(count: int) -> list[str]:
    return ["output"] if count == 1 else [f"output_{k}" for k in range(count)]


def _named(what: str, names: Sequence[str], usual: list[str]) -> list[str]:
    """The names that are given, or the usual ones."""
    if names and (len(names) != len(usual) or len(set(names)) < len(usual)):
        raise OnnxError(f"{what}: {', '.join(names)} are not {len(usual)} different names")
    return list(names) or usual


def _heads(function: Callable[..., Any], count: int) -> list[str]:
    """Names of the first parameters."""
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        several = parameter.kind is parameter.VAR_POSITIONAL
        names += [f"{parameter.name}_{k}" for k in range(count - len(names))] if several else [parameter.name]
    return names[:count]


def _traced(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    weights: Any,
    held: list[str],
    inputs: list[str],
    sizes: Mapping[str, Axes],
) -> tuple[Graph, dict[int, str]]:
    """The graph of a function, some sizes symbols, and the names of these by atom."""
    first = () if weights is None else (weights,)
    heads = _heads(function, len(first) + len(args))[len(first) :]
    paths, leaves = _leaves(args)
    names = _named("inputs", inputs, [_joined((heads[k], *rest)) for k, *rest in paths])
    if unknown := sizes.keys() - names:
        raise OnnxError(f"sizes: {', '.join(sorted(unknown))}: the inputs are {', '.join(names)}")
    symbols, made = Symbols(), dict[str, int]()
    types = [argument_type(x) for x in _leaves(weights)[1]]
    for name, leaf in zip(names, leaves, strict=True):
        t = argument_type(leaf)
        shape = list(t.shape)
        for axis, size in sizes.get(name, {}).items():
            if not 0 <= axis < len(shape) or shape[axis] < LEAST:
                raise OnnxError(f"sizes: axis {axis} of {name} ({t}) is not there, or of size 0 or 1")
            made[size] = shape[axis] = made[size] if size in made else symbols.new(shape[axis])
        types.append(TensorType(t.dtype, tuple(shape)))
    structure = optree.tree_structure((*first, *args))  # type: ignore[arg-type]

    def flat(*tracers: Any) -> list[Any]:
        return optree.tree_leaves(function(*optree.tree_unflatten(structure, tracers)))

    graph = trace(flat, types, [*held, *names], getattr(function, "__name__", "main"))
    if pinned := [name for name, fixed in zip(made, symbols.pinned, strict=True) if fixed]:
        places = ", ".join(g.place for g in symbols.guards if g.relation == "==")
        raise OnnxError(f"sizes: {', '.join(pinned)} cannot be open: a plain number was made of it at {places}")
    return graph, {atom: name for name, n in made.items() if (atom := atom_of(n)) is not None}
