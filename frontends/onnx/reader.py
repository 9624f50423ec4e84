"""Files and ModelProtos as checked graphs. What they hold is not trusted: see `read`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto

from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.structure import Info, Node, OnnxGraph
from tgc.frontends.onnx.tensors import check_text, info, sparse, tensor

TRAINING = "ai.onnx.preview.training"
MAX_DEPTH = 24  # of graphs in graphs, and of functions that call functions
MAX_NODES = 100_000  # bodies of functions counted at each call

_FIELDS = {
    AttributeProto.FLOAT: "f", AttributeProto.INT: "i", AttributeProto.STRING: "s", AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g", AttributeProto.SPARSE_TENSOR: "sparse_tensor", AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats", AttributeProto.INTS: "ints", AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors", AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors", AttributeProto.TYPE_PROTOS: "type_protos",
}  # fmt: skip
_LISTS = frozenset({"floats", "ints", "strings", "tensors", "graphs", "sparse_tensors", "type_protos"})


def read(model: ModelProto | str | PathLike[str]) -> OnnxGraph:
    """The checked graph of a model, of a ModelProto or a file.

    Nothing is read outside of the folder of the file, where external data must lie, and nothing is allocated that is
    not there.

    Raises:
        InvalidModelError: it is malformed: names are missing or given twice, nodes depend on each other in a cycle,
            functions call themselves, graphs are nested too deep, data do not fit shapes.
        OSError: the file cannot be read.
    """
    folder = None
    try:
        if not isinstance(model, ModelProto):
            folder = Path(model).parent
            model = ModelProto.FromString(Path(model).read_bytes())
        if not model.HasField("graph"):
            raise InvalidModelError("the model has no graph")
        return Reader(_opsets(model.opset_import), model.functions, folder).graph(model.graph, ())
    except (DecodeError, UnicodeDecodeError) as error:
        raise InvalidModelError(f"no ONNX model: {error}") from error


class Reader:
    """Reads the graphs of one model: `opsets` are versions of operator sets by domain, `folder` holds external data."""

    def __init__(
        self, opsets: Mapping[str, int], functions: Iterable[FunctionProto] = (), folder: Path | None = None
    ) -> None:
        self.folder = folder
        self.opsets = opsets
        self.functions: dict[tuple[str, str, str], FunctionProto] = {}
        for f in functions:
            check_text(f.domain, f.name, f.overload, *f.input, *f.output, *(a.name for a in f.attribute_proto))
            key = _domain(f.domain), f.name, f.overload
            if key in self.functions:
                raise InvalidModelError(f'function "{f.name}" is defined twice')
            self.functions[key] = f
        self._bodies: dict[Any, OnnxGraph] = {}
        self._sizes: dict[Any, int] = {}
        self._calls: list[tuple[str, str, str]] = []  # of functions, that are being read
        self._nodes = self._depth = 0

    def graph(
        self, proto: GraphProto, scopes: Sequence[Iterable[str]], references: Mapping[str, AttributeProto] | None = None
    ) -> OnnxGraph:
        """The checked graph.

        Args:
            scopes: for each enclosing graph its names.
            references: attributes of the enclosing function, if there is one, that attributes may refer to.
        """
        check_text(proto.name)
        where = f'graph "{proto.name}"'
        initializers: dict[str, np.ndarray] = {}
        for t in proto.initializer:
            _fresh(t.name, initializers, where)
            initializers[t.name] = tensor(t, self.folder)
        for s in proto.sparse_initializer:
            _fresh(s.values.name, initializers, where)
            initializers[s.values.name] = sparse(s, self.folder)
        infos = [info(v.name, v.type) for v in proto.input]
        declared: set[str] = set()
        for v in infos:
            _fresh(v.name, declared, where)
            declared.add(v.name)
            _fits(v, initializers)
        inputs = tuple(v for v in infos if v.name not in initializers)
        outputs = tuple(info(v.name, v.type) for v in proto.output)
        return self._graph(proto.name, inputs, outputs, initializers, proto.node, scopes, references, self.opsets)

    def function(self, proto: FunctionProto, given: Mapping[str, AttributeProto]) -> OnnxGraph:
        """The body of a function that is called with the attributes `given`."""
        known = {a.name: a for a in proto.attribute_proto} | dict(given)
        inputs, outputs = (tuple(map(Info, names)) for names in (proto.input, proto.output))
        opsets = _opsets(proto.opset_import) or self.opsets
        return self._graph(proto.name, inputs, outputs, {}, proto.node, (), known, opsets)

    def _graph(
        self,
        name: str,
        inputs: tuple[Info, ...],
        outputs: tuple[Info, ...],
        initializers: Mapping[str, np.ndarray],
        protos: Sequence[NodeProto],
        scopes: Sequence[Iterable[str]],
        references: Mapping[str, AttributeProto] | None,
        opsets: Mapping[str, int],
    ) -> OnnxGraph:
        where = f'graph "{name}"'
        known = {v.name for v in inputs} | set(initializers)
        if "" in known:
            raise InvalidModelError(f"{where} has an input or initializer without a name")
        made: dict[str, int] = {}
        for k, proto in enumerate(protos):
            for output in filter(None, proto.output):
                _fresh(output, made, where)
                made[output] = k
        if again := made.keys() & known:
            raise InvalidModelError(f'{where}: "{min(again)}" is defined twice')
        if self._depth > MAX_DEPTH:
            raise InvalidModelError(f"{where}: graphs, or calls of functions, are nested more than {MAX_DEPTH} deep")
        self._depth += 1
        inner = (*scopes, known | made.keys())
        nodes = [self._node(p, k, inner, references, opsets) for k, p in enumerate(protos)]
        self._depth -= 1
        captured: dict[str, None] = {}
        for node in nodes:
            for read in node.reads:
                if read in known or read in made:
                    continue
                if not any(read in names for names in scopes):
                    raise InvalidModelError(f'{node} reads "{read}", which nothing in {where} defines')
                captured[read] = None
        for v in outputs:
            if v.name not in known and v.name not in made:
                if not any(v.name in names for names in scopes):
                    raise InvalidModelError(f'nothing in {where} defines its output "{v.name}"')
                captured[v.name] = None
        ordered = _with_bodies(_sorted(nodes, made, where))
        return OnnxGraph(name, inputs, outputs, initializers, ordered, tuple(captured))

    def _node(
        self,
        proto: NodeProto,
        index: int,
        scopes: Sequence[Iterable[str]],
        references: Mapping[str, AttributeProto] | None,
        opsets: Mapping[str, int],
    ) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise InvalidModelError(f"the model has more than {MAX_NODES} nodes, those in functions at each call")
        check_text(proto.name, proto.op_type, proto.domain, proto.overload, *proto.input, *proto.output)
        label = proto.name or next(filter(None, proto.output), f"#{index}")
        domain = _domain(proto.domain)
        what = f'node "{label}" ({proto.op_type})'
        protos = _resolved(proto.attribute, references, what)
        key = domain, proto.op_type, proto.overload
        body = None
        attributes: dict[str, object] = {}
        if key in self.functions:
            body = self._body(key, protos, what)
        else:
            attributes = {
                name: self._attribute(a, scopes, references, f'attribute "{name}" of {what}')
                for name, a in protos.items()
            }
        captures: dict[str, None] = {}
        for value in attributes.values():
            if isinstance(value, OnnxGraph):
                captures.update(dict.fromkeys(value.captures))
        version = opsets.get(domain, 0)
        if body is None and domain not in opsets:
            raise InvalidModelError(f"{what}: the model imports no operator set of the domain {domain!r}")
        inputs, outputs = tuple(proto.input), tuple(proto.output)
        if references:
            whole, proto = proto, NodeProto()
            proto.CopyFrom(whole)
            del proto.attribute[:]
            for name, a in protos.items():
                proto.attribute.add().CopyFrom(a)
                proto.attribute[-1].name = name
        return Node(
            label, domain, proto.op_type, version, inputs, outputs, attributes, tuple(captures), body, opsets, proto
        )

    def _body(self, key: tuple[str, str, str], given: Mapping[str, AttributeProto], what: str) -> OnnxGraph:
        """The body of a function of the model for such attributes; calls of the same kind share one."""
        proto = self.functions[key]
        whole = key, tuple(sorted((name, a.SerializeToString(deterministic=True)) for name, a in given.items()))
        if whole in self._bodies:
            self._nodes += self._sizes[whole]
            return self._bodies[whole]
        if key in self._calls:
            raise InvalidModelError(f"{what}: the function calls itself")
        before = self._nodes
        self._calls.append(key)
        self._bodies[whole] = self.function(proto, given)
        self._calls.pop()
        self._sizes[whole] = self._nodes - before
        return self._bodies[whole]

    def _attribute(
        self,
        a: AttributeProto,
        scopes: Sequence[Iterable[str]],
        references: Mapping[str, AttributeProto] | None,
        what: str,
    ) -> object:
        field = _FIELDS.get(a.type)
        if field is None:
            raise InvalidModelError(f"{what} has the type {a.type}, which ONNX does not have")

        def decode(x: Any) -> object:
            match field.removesuffix("s") if field in _LISTS else field:
                case "s" | "string":
                    return str(x.decode())
                case "t" | "tensor":
                    return tensor(x, self.folder, what)
                case "sparse_tensor":
                    return sparse(x, self.folder, what)
                case "g" | "graph":
                    return self.graph(x, scopes, references)
                case "tp" | "type_proto":
                    return info("", x)
            return x

        value = getattr(a, field)
        return tuple(map(decode, value)) if field in _LISTS else decode(value)


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _opsets(imports: Iterable[Any]) -> dict[str, int]:
    """Versions by domain."""
    for o in imports:
        check_text(o.domain)
        if not 0 < o.version < 2**31:
            raise InvalidModelError(f"the operator set of the domain {o.domain!r} has the version {o.version}")
    return {_domain(o.domain): o.version for o in imports}


def _fresh(name: str, known: Collection[str], where: str) -> None:
    if name in known:
        raise InvalidModelError(f'{where}: "{name}" is defined twice')


def _fits(v: Info, initializers: Mapping[str, np.ndarray]) -> None:
    """Check what is said of an initializer that is also an input."""
    held = initializers.get(v.name)
    if held is None:
        return
    wrong = v.dtype is not None and v.dtype != held.dtype
    if v.shape is not None:
        wrong |= len(v.shape) != held.ndim or any(
            isinstance(n, int) and n != m for n, m in zip(v.shape, held.shape, strict=True)
        )
    if wrong:
        raise InvalidModelError(f'the initializer of "{v}" is {held.dtype}{list(held.shape)}')


def _resolved(
    attributes: Iterable[AttributeProto], references: Mapping[str, AttributeProto] | None, what: str
) -> dict[str, AttributeProto]:
    """Attributes by name, those that refer to one of the function's in its place; left out where it has none."""
    found: dict[str, AttributeProto] = {}
    for a in attributes:
        check_text(a.name, a.ref_attr_name)
        _fresh(a.name, found, what)
        if not a.ref_attr_name:
            found[a.name] = a
        elif references is None:
            raise InvalidModelError(f'{what}: attribute "{a.name}" refers to one of a function, but there is none')
        elif a.ref_attr_name in references:
            found[a.name] = references[a.ref_attr_name]
    return found


def _sorted(nodes: Sequence[Node], made: Mapping[str, int], where: str) -> tuple[Node, ...]:
    """The nodes in an order in which each follows those that it reads: the given one if it is such."""
    before = [[made[n] for n in node.reads if n in made] for node in nodes]
    if all(j < k for k, places in enumerate(before) for j in places):
        return tuple(nodes)
    try:
        order = TopologicalSorter(dict(enumerate(before))).static_order()
        return tuple(nodes[k] for k in order)
    except CycleError as error:
        cycle = " -> ".join(str(nodes[k]) for k in error.args[1])
        raise InvalidModelError(f"{where}: nodes depend on each other in a cycle: {cycle}") from error


def _with_bodies(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """The same nodes, those of operator Gradient with what they differentiate as a graph, the attribute `body`."""
    made = []
    for k, node in enumerate(nodes):
        xs, y = (node.attributes.get(name) for name in ("xs", "y"))
        if (node.domain, node.op) == (TRAINING, "Gradient") and isinstance(xs, tuple) and isinstance(y, str):
            zs = node.attributes.get("zs", ())
            inputs = (*xs, *zs) if isinstance(zs, tuple) else xs
            needed, kept = {y}, []
            for before in reversed(nodes[:k]):
                if not needed.difference(inputs).isdisjoint(before.outputs):
                    kept.append(before)
                    needed.update(before.reads)
            results = {name for before in kept for name in before.outputs}
            captures = tuple(sorted(needed - results - {*inputs}))
            body = OnnxGraph(node.label, tuple(map(Info, inputs)), (Info(y),), {}, tuple(kept[::-1]), captures)
            node = replace(node, attributes={**node.attributes, "body": body}, captures=captures)
        made.append(node)
    return tuple(made)
