"""`load` and `Model`: what users see of an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from onnx import ModelProto

import tgc.frontends.onnx.ops  # noqa: F401 -- the rules
from tgc.frontends.onnx import objects
from tgc.frontends.onnx import values as kinds
from tgc.frontends.onnx.errors import OnnxError
from tgc.frontends.onnx.formats import enter, leave
from tgc.frontends.onnx.patterns import joined
from tgc.frontends.onnx.plan import exact
from tgc.frontends.onnx.program import Program
from tgc.frontends.onnx.reader import read
from tgc.frontends.onnx.structure import Info, OnnxGraph
from tgc.frontends.onnx.translate import check, inlined
from tgc.ir import Graph
from tgc.trace import Tracer, trace
from tgc.types import FLOATS, tensor_type


def load(model: str | PathLike[str] | ModelProto) -> Model:
    """The model of an ONNX file, or of a ModelProto.

    The file is not trusted: see `tgc.frontends.onnx.reader.read`. Opsets 7 and newer are supported. To load it always
    ends; to run it may not: a Loop without a trip count whose condition stays true goes on for ever, as ONNX says.
    Give models from strangers a process with a limit of time.

    Raises:
        InvalidModelError: it is malformed.
        UnsupportedOperatorError: an operator has no rule in the version that the model asks for.
        OSError: the file cannot be read.
    """
    return Model(read(model))


class Model:
    """An ONNX model: a function of NumPy arrays, and of its weights.

        model = load("model.onnx")
        logits = model(images)                                   # compiled, for few shapes at first use
        gradients = tgc.grad(lambda w: loss(model.apply(w, images)))(model.weights)

    Attributes:
        inputs, outputs: name, dtype and shape of each; shapes hold None and names where sizes are open.
        weights: initializers of floats, by name: what can be trained. Those that shapes and the like are computed from
            are not among them.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        check(graph)
        graph = joined(graph)
        self.inputs: tuple[Info, ...] = graph.inputs
        self.outputs: tuple[Info, ...] = graph.outputs
        self.weights: dict[str, np.ndarray] = {
            name: x for name, x in graph.initializers.items() if x.dtype in FLOATS and name not in exact(graph)
        }
        self._graph = graph
        rest = {name: x for name, x in graph.initializers.items() if name not in self.weights}
        self._open = replace(graph, inputs=(*map(Info, self.weights), *graph.inputs), initializers=rest, made={})
        self._program = Program(graph)
        self._trained: Program | None = None

    def __repr__(self) -> str:
        inputs, outputs = (", ".join(map(str, infos)) for infos in (self.inputs, self.outputs))
        return f"<{self._graph.name}: ({inputs}) -> ({outputs})>"

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The output, or a tuple of the outputs, computed by compiled programs with the weights as constants.

        Args:
            inputs, named: NumPy arrays of the dtypes in `inputs`, in order or by name; lists for sequences; None for
                what is optional.

        Returns:
            NumPy arrays, lists of them for sequences, None for what is optional and left out.

        Raises:
            OnnxError: arguments do not fit the inputs, or a node cannot be applied to them.
        """
        return self._left(self._program(*self._entered(inputs, named)))

    def apply(self, weights: Mapping[str, Any], *inputs: Any, **named: Any) -> Any:
        """The same as a function of the weights, to be used under `tgc.jit`, `tgc.grad` and `tgc.vmap` too.

        Args:
            weights: arrays like those in `weights`, under their names.
            inputs, named: as of a call; what is needed to be known (a shape, for example) must be an array then.

        Raises:
            UntraceableError: (in a trace) a node needs numbers that are unknown: it is named.
        """
        if weights.keys() != self.weights.keys():
            wrong = ", ".join(sorted(weights.keys() ^ self.weights.keys()))
            raise OnnxError(f"weights must have the names that `Model.weights` has; these are in one of them: {wrong}")
        arguments = (*(weights[name] for name in self.weights), *self._entered(inputs, named))
        if self._trained is None:
            self._trained = Program(self._open)
        return self._left(self._trained(*arguments))

    def graph(
        self, shapes: Mapping[str, int | Sequence[int]] | None = None, values: Mapping[str, Any] | None = None
    ) -> Graph:
        """The model as a graph of tgc, its weights constants.

        Args:
            shapes: by the name of an input its shape, or by the name of a size its value, where the model leaves
                sizes open.
            values: inputs that are to be constants: those that shapes are computed from must be.

        Raises:
            OnnxError: a size is open.
            UntraceableError: a node needs numbers that are unknown.
        """
        shapes, given = dict(shapes or {}), {name: enter(np.asarray(x)) for name, x in (values or {}).items()}
        wanted = [v for v in self.inputs if v.name not in given]
        types = []
        for v in wanted:
            sizes = shapes.get(v.name, v.shape)
            bound = [shapes.get(n, n) if isinstance(n, str) else n for n in sizes or ()]  # type: ignore[union-attr]
            if v.dtype is None or v.kind != "tensor" or sizes is None or not all(isinstance(n, int) for n in bound):
                raise OnnxError(f'graph: the type of input "{v}" is open: give `shapes`, or `values`')
            types.append(tensor_type(v.dtype, bound))  # type: ignore[arg-type]

        def infer(*tensors: Tracer) -> list[Any]:
            known = given | {v.name: x for v, x in zip(wanted, tensors, strict=True)}
            return list(inlined(self._graph, {}, [known[v.name] for v in self.inputs]))

        return trace(infer, types, [v.name for v in wanted], self._graph.name or "main")

    def _entered(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Arguments in the order of the inputs, as rules take them."""
        if named or len(inputs) != len(self.inputs):
            rest = [v.name for v in self.inputs[len(inputs) :]]
            if len(inputs) > len(self.inputs) or named.keys() - rest:
                wrong = ", ".join(sorted(named.keys() - rest)) or f"{len(inputs)} arguments"
                raise OnnxError(f"{wrong} given to a model with the inputs {', '.join(v.name for v in self.inputs)}")
            if lacking := [v.name for v in self.inputs[len(inputs) :] if v.name not in named and v.kind != "optional"]:
                raise OnnxError(f"inputs are missing: {', '.join(lacking)}")
            inputs = (*inputs, *(named.get(name) for name in rest))
        return tuple(map(_argument, inputs, self.inputs))

    @staticmethod
    def _left(outputs: tuple[Any, ...]) -> Any:
        made = tuple(y if type(y) is np.ndarray and y.dtype != object else _result(y) for y in outputs)
        return made[0] if len(made) == 1 else made


def _argument(x: Any, v: Info) -> Any:
    """An argument as rules take it."""
    if type(x) is np.ndarray and x.dtype == v.dtype and v.kind == "tensor":
        return enter(x) if x.dtype.kind == "V" else x
    if isinstance(x, Tracer) or (x is None and v.kind == "optional"):
        return x
    if isinstance(x, list | tuple):
        return kinds.Sequence(_argument(y, replace(v, kind="")) for y in x)
    array = np.asarray(x)
    if array.dtype.kind in "US":
        array = array.astype(object)
    if v.dtype is not None and array.dtype != v.dtype:
        raise OnnxError(f'input "{v}" got {array.dtype}{list(array.shape)}')
    return enter(array)


def _result(y: Any) -> Any:
    """An output as users take it: sizes, which are symbols in a trace, are tensors there."""
    return [_result(x) for x in y] if isinstance(y, kinds.Sequence) else leave(objects.traced(y))
