"""The tensor IR: immutable SSA graphs, and the builder that makes them.

    graph @name(inputs) { constants; nodes; return outputs }

A `Value` is a graph input, a constant or a result of one `Node`; a node applies an `Op` to operands under attributes.
Regions (fused kernels, composites) are nodes with a `Graph` among their attributes. Nothing here knows a single op.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tgc.errors import VerifyError
from tgc.sizes import is_size, key_of
from tgc.types import DType, TensorType, type_of

if TYPE_CHECKING:
    import networkx as nx  # slow to import

Attr: TypeAlias = "bool | int | float | str | DType | Graph | tuple[Attr, ...] | None"
Loc: TypeAlias = tuple[str, ...]  # the user's "file:line" places, several once nodes have been fused


class Op:
    """What a node applies. The kinds of ops derive from this class in `tgc.ops`."""

    name: str

    def infer(self, operands: Sequence[TensorType], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
        """The result types; raises ShapeError, DTypeError or AttributeSpecError when operands do not fit."""
        raise NotImplementedError(f"op kind {type(self).__name__} has no type rule")

    def __repr__(self) -> str:
        return f"<op {self.name}>"


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """One tensor of a graph. Compared by identity; `node` is None for graph inputs and constants."""

    type: TensorType
    node: Node | None = None
    index: int = 0
    name: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    def __repr__(self) -> str:
        return f"<{self.name or (self.node.op.name if self.node else 'value')}: {self.type}>"


class _Numbered:
    """What equal applications of an op have in common, with its hash: passes ask for that of a node over and over."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, *parts: object) -> None:
        self._parts, self._hash = parts, hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Numbered) and self._parts == other._parts


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An op applied to operands. `results` are created with the node and refer back to it."""

    op: Op
    operands: tuple[Value, ...]
    attrs: Mapping[str, Any]  # of Attr
    loc: Loc = ()
    results: tuple[Value, ...] = ()
    _attrs_key: object = None
    _number: _Numbered | None = None

    @staticmethod
    def make(
        op: Op,
        operands: Iterable[Value],
        attrs: Mapping[str, Attr],
        types: Iterable[TensorType],
        loc: Loc = (),
        attrs_key: object = None,
    ) -> Node:
        node = Node(op, tuple(operands), MappingProxyType(dict(attrs)), loc, (), attrs_key)
        object.__setattr__(node, "results", tuple(Value(t, node, i) for i, t in enumerate(types)))
        return node

    @property
    def attrs_key(self) -> object:
        """A hashable key, equal only for attributes that mean the same."""
        return attrs_key(self.attrs) if self._attrs_key is None else self._attrs_key

    @property
    def number(self) -> _Numbered:
        """A hashable key, equal only for nodes that apply the same op to the same values under the same attributes."""
        if self._number is None:
            types = tuple(r.type for r in self.results)
            key = _Numbered(self.op.name, tuple(map(id, self.operands)), self.attrs_key, types)
            object.__setattr__(self, "_number", key)
        assert self._number is not None
        return self._number

    @property
    def result(self) -> Value:
        """The only result of a one-result node."""
        (value,) = self.results
        return value

    @property
    def body(self) -> Graph:
        """The region of a region node."""
        body = self.attrs["body"]
        assert isinstance(body, Graph)
        return body

    @property
    def regions(self) -> tuple[Graph, ...]:
        """All graphs among the attributes, in the order of their names."""
        found: list[Graph] = []
        for _, attr in sorted(self.attrs.items()):
            found += [a for a in (attr if isinstance(attr, tuple) else (attr,)) if isinstance(a, Graph)]
        return tuple(found)

    def __repr__(self) -> str:
        return f"<node {self.op.name} -> {', '.join(str(r.type) for r in self.results)}>"


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A tensor known at compile time, identified by the digest of its bytes; `data` is None if only that is known."""

    value: Value
    digest: str
    data: np.ndarray | None


def digest_of(array: np.ndarray) -> str:
    """SHA-256 (first 16 hex digits) over dtype, shape and bytes."""
    h = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    h.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return h.hexdigest()[:16]


def attr_key(attr: Attr) -> object:
    """A hashable key, equal only for attributes that mean the same: 1, 1.0 and True differ, NaNs do not."""
    if isinstance(attr, tuple):
        return tuple(attr_key(a) for a in attr)
    if isinstance(attr, float):
        return "float", "nan" if math.isnan(attr) else struct.pack("<d", attr)
    return type(attr).__name__, key_of(attr)


def attrs_key(attrs: Mapping[str, Attr]) -> object:
    """The same for the attributes of a node."""
    return tuple((k, attr_key(a)) for k, a in sorted(attrs.items()))


@dataclass(frozen=True, eq=False)
class Graph:
    """A pure function of tensors. Equality is structural: names of values and places in user code do not count."""

    name: str
    inputs: tuple[Value, ...]
    constants: tuple[Constant, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]

    @cached_property
    def signature(self) -> tuple[object, ...]:
        """A hashable canonical form; equal graphs have equal signatures."""
        number: dict[Value, int] = {}
        for v in (*self.inputs, *(c.value for c in self.constants), *(r for n in self.nodes for r in n.results)):
            number[v] = len(number)
        return (
            self.name,
            tuple(v.type for v in self.inputs),
            tuple((c.value.type, c.digest) for c in self.constants),
            tuple(
                (
                    n.op.name,
                    tuple(number[v] for v in n.operands),
                    n.attrs_key,
                    tuple(r.type for r in n.results),
                )
                for n in self.nodes
            ),
            tuple(number[v] for v in self.outputs),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph) or len(self.nodes) != len(other.nodes):
            return False
        shared = self.nodes == other.nodes and self.outputs == other.outputs and self.inputs == other.inputs
        return (shared and self.name == other.name) or self.signature == other.signature

    def __hash__(self) -> int:
        return hash(self.signature)

    @cached_property
    def uses(self) -> Mapping[Value, tuple[Node, ...]]:
        """Value -> the nodes that read it, in order, a node once per operand position."""
        uses: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for v in node.operands:
                uses.setdefault(v, []).append(node)
        return {v: tuple(nodes) for v, nodes in uses.items()}

    @cached_property
    def data(self) -> Mapping[Value, Constant]:
        """Value -> constant, for the values that are constants."""
        return {c.value: c for c in self.constants}

    if TYPE_CHECKING:  # in `tgc.drawing`, which knows of what lies above this module

        def to_dot(self) -> str: ...
        def _repr_html_(self) -> str: ...

    def to_networkx(self) -> nx.MultiDiGraph[str]:
        """Inputs, constants, nodes and one sink an output as graph nodes; one edge an operand, with its type."""
        import networkx as nx

        g = nx.MultiDiGraph(name=self.name)
        source: dict[Value, str] = {}
        kinds = [("input", v.name or str(i), v) for i, v in enumerate(self.inputs)]
        kinds += [("constant", c.digest, c.value) for c in self.constants]
        for op, name, v in kinds:  # names may repeat, and so may digests, under different layouts
            base = f"{op}:{name}"
            source[v] = next(key for k in count() if (key := f"{base}#{k}" if k else base) not in g)
            g.add_node(source[v], op=op, type=str(v.type))
        for i, node in enumerate(self.nodes):
            key = f"{i}:{node.op.name}"
            g.add_node(key, op=node.op.name, loc=node.loc, type=", ".join(str(r.type) for r in node.results))
            for position, v in enumerate(node.operands):
                g.add_edge(source[v], key, operand=position, type=str(v.type))
            source.update(dict.fromkeys(node.results, key))
        for i, v in enumerate(self.outputs):
            g.add_node(f"output:{i}", op="output", type=str(v.type))
            g.add_edge(source[v], f"output:{i}", operand=0, type=str(v.type))
        return g


def _of_bytes(array: np.ndarray) -> bool:
    """Whether an array is a view of bytes of Python's."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, bytes)


class Builder:
    """Collects nodes into a graph. Equal applications of an op get one node (value numbering).

    It begins with the inputs and constants of `base`, where there is one, and may share its nodes.
    """

    def __init__(self, name: str = "main", base: Graph | None = None) -> None:
        self.name = name
        self._shared = frozenset(base.nodes) if base else frozenset()
        self._inputs: list[Value] = list(base.inputs) if base else []
        self._constants: dict[tuple[str, TensorType], Constant] = (
            {(c.digest, c.value.type): c for c in base.constants} if base else {}
        )
        self._constant_number = count(len(self._constants))
        self._nodes: list[Node] = []
        self._numbering: dict[object, Node] = {}

    @property
    def nodes(self) -> tuple[Node, ...]:
        """What has been emitted so far."""
        return tuple(self._nodes)

    def since(self, start: int) -> Sequence[Node]:
        """What has been emitted after the first `start` nodes."""
        return self._nodes[start:]

    @property
    def count(self) -> int:
        """How many nodes have been emitted so far."""
        return len(self._nodes)

    def input(self, type: TensorType, name: str = "") -> Value:
        value = Value(type, name=name or f"a{len(self._inputs)}")
        self._inputs.append(value)
        return value

    def constant(self, data: np.ndarray, type: TensorType | None = None) -> Value:
        """A constant; `data` is copied and frozen, so that later writes by its owner do not reach the graph.

        Views of Python's bytes, which nobody can write to, are not copied.
        """
        data = np.asarray(data)
        frozen = np.array(data, data.dtype.newbyteorder("="), order="C", copy=None if _of_bytes(data) else True)
        frozen.setflags(write=False)
        return self.adopt(Constant(Value(type or type_of(frozen)), digest_of(frozen), frozen))

    def adopt(self, constant: Constant) -> Value:
        """A constant of another graph."""
        key = constant.digest, constant.value.type
        if key not in self._constants:
            value = Value(constant.value.type, name=f"c{next(self._constant_number)}")
            self._constants[key] = Constant(value, constant.digest, constant.data)
        return self._constants[key].value

    def emit(
        self,
        op: Op,
        operands: Sequence[Value],
        attrs: Mapping[str, Attr] = MappingProxyType({}),
        loc: Loc = (),
        *,
        types: Sequence[TensorType] | None = None,
        unique: bool = False,
    ) -> tuple[Value, ...]:
        """Apply `op`; `types` overrides the type rule's layouts, a `unique` node is merged with no other."""
        types = tuple(types) if types is not None else op.infer([v.type for v in operands], attrs)
        return self._emit(op, operands, attrs, attrs_key(attrs), types, loc, unique)

    def again(self, node: Node, operands: Sequence[Value]) -> tuple[Value, ...]:
        """Emit a node of another graph, applied to operands of this one. What has the same in `base` is shared.

        The results have their types unless those of operands differ.
        """
        if operands == node.operands and node in self._shared:
            known = self._numbering.setdefault(node.number, node)
            if known is node:
                self._nodes.append(node)
            return known.results
        unchanged = all(a.type == b.type for a, b in zip(operands, node.operands, strict=True))
        given = [r.type for r in node.results] if unchanged else node.op.infer([v.type for v in operands], node.attrs)
        return self._emit(node.op, operands, node.attrs, node.attrs_key, tuple(given), node.loc)

    def _emit(
        self,
        op: Op,
        operands: Sequence[Value],
        attrs: Mapping[str, Attr],
        attrs_key: object,
        types: tuple[TensorType, ...],
        loc: Loc,
        unique: bool = False,
    ) -> tuple[Value, ...]:
        key = _Numbered(op.name, tuple(map(id, operands)), attrs_key, types)
        node = None if unique else self._numbering.get(key)
        if node is None:
            node = Node.make(op, operands, attrs, types, loc, attrs_key)
            object.__setattr__(node, "_number", key)
            self._nodes.append(node)
            if not unique:
                self._numbering[key] = node
        return node.results

    def extend(self, node: Node, attrs: Mapping[str, Attr], types: Sequence[TensorType]) -> tuple[Value, ...]:
        """Let a node that was emitted here compute more: other attributes, and results behind those that it has.

        What reads its results reads them as before. It is for recordings in progress: of a gradient that needs more of
        a loop than its results. Returns all results.
        """
        self._numbering = {key: other for key, other in self._numbering.items() if other is not node}
        more = tuple(Value(t, node, i) for i, t in enumerate(types) if i >= len(node.results))
        object.__setattr__(node, "attrs", MappingProxyType(dict(attrs)))
        object.__setattr__(node, "_attrs_key", None)
        object.__setattr__(node, "_number", None)
        object.__setattr__(node, "results", node.results + more)
        return node.results

    def build(self, outputs: Iterable[Value], *, prune: bool = True) -> Graph:
        """The graph that computes `outputs`; nodes and constants that no output needs are left out."""
        outputs = tuple(outputs)
        nodes, constants = self._nodes, list(self._constants.values())
        if prune:
            live = set(outputs)
            kept = []
            for node in reversed(nodes):
                if any(r in live for r in node.results):
                    kept.append(node)
                    live.update(node.operands)
            nodes = kept[::-1]
            constants = [c for c in constants if c.value in live]
        return Graph(self.name, tuple(self._inputs), tuple(constants), tuple(nodes), outputs)


def inline(graph: Graph, builder: Builder, operands: Sequence[Value]) -> tuple[Value, ...]:
    """Emit the nodes of `graph` into `builder`, its inputs standing for `operands`."""
    return rebuild(graph, builder, operands)


def rebuild(
    graph: Graph,
    builder: Builder,
    operands: Sequence[Value],
    rewrite: Callable[[Node, tuple[Value, ...]], Sequence[Value] | None] = lambda node, operands: None,
) -> tuple[Value, ...]:
    """Emit `graph` into `builder`, node by node through `rewrite(node, new operands)`.

    `rewrite` returns the values that replace the node's results, or None to keep the node as it is.
    """
    if len(operands) != len(graph.inputs):
        raise VerifyError(f"graph @{graph.name} has {len(graph.inputs)} inputs, got {len(operands)}")
    env: dict[Value, Value] = dict(zip(graph.inputs, operands, strict=True))
    for c in graph.constants:
        env[c.value] = builder.adopt(c)
    for node in graph.nodes:
        new = tuple(env[v] for v in node.operands)
        results = rewrite(node, new)
        if results is None:
            results = builder.again(node, new)
        env.update(zip(node.results, results, strict=True))
    return tuple(env[v] for v in graph.outputs)


def transform(graph: Graph, rewrite: Callable[[Builder, Node, tuple[Value, ...]], Sequence[Value] | None]) -> Graph:
    """A new graph with the same inputs, each node replaced by what `rewrite` emits for it.

    Nodes that no rewrite reaches, and constants, are those of the old graph.
    """
    builder = Builder(graph.name, graph)
    return builder.build(rebuild(graph, builder, graph.inputs, lambda node, new: rewrite(builder, node, new)))


def with_sizes(graph: Graph, plain: Callable[[int], int]) -> Graph:
    """The same nodes, inputs and constants, each size (see `tgc.sizes`) in types and attributes made `plain`."""

    def attr(a: Attr) -> Attr:
        if isinstance(a, Graph):
            return with_sizes(a, plain)
        if is_size(a):
            return plain(a)  # type: ignore[arg-type]
        return tuple(map(attr, a)) if isinstance(a, tuple) else a

    def sized(v: Value) -> TensorType:
        return TensorType(v.dtype, tuple(map(plain, v.shape)), v.type.layout)

    env = {v: Value(sized(v), name=v.name) for v in (*graph.inputs, *(c.value for c in graph.constants))}
    nodes = []
    for node in graph.nodes:
        attrs = {key: attr(a) for key, a in node.attrs.items()}
        made = Node.make(node.op, [env[v] for v in node.operands], attrs, map(sized, node.results), node.loc)
        env.update(zip(node.results, made.results, strict=True))
        nodes.append(made)
    constants = tuple(Constant(env[c.value], c.digest, c.data) for c in graph.constants)
    return Graph(
        graph.name, tuple(env[v] for v in graph.inputs), constants, tuple(nodes), tuple(env[v] for v in graph.outputs)
    )


@dataclass(slots=True)
class Recorder:
    """The trace that is being recorded in this thread, if any: what `Op.__call__` hands its operands to."""

    bind: Callable[[Op, Sequence[Any], Mapping[str, Attr]], Any]
    builder: Builder = field(default_factory=Builder)


_recorder: ContextVar[Recorder | None] = ContextVar("tgc_recorder", default=None)


def recorder() -> Recorder | None:
    """The innermost recorder of this thread."""
    return _recorder.get()


@contextmanager
def recording(new: Recorder | None) -> Iterator[None]:
    """Make `new` the recorder for the duration of a with block; None evaluates eagerly inside a trace."""
    token = _recorder.set(new)
    try:
        yield
    finally:
        _recorder.reset(token)
