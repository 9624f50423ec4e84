"""The rules of the IR, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from weakref import WeakValueDictionary

import numpy as np

from tgc.errors import TgcError, VerifyError
from tgc.ir import Constant, Graph, Node, Value, attr_key, digest_of
from tgc.ops import REGISTRY
from tgc.ops.kinds import Primitive, Region
from tgc.sizes import Size
from tgc.types import SHORT_NAMES, Layout, TensorType


def verify(graph: Graph) -> None:
    """Check that `graph` and its regions are well-formed.

    Every value is defined once and before its use; every node applies a registered op under canonical attributes and
    has the results that the op's type rule gives (layouts may differ); constants have the data that their types and
    digests say, unless that data is unknown; a region takes the operands of its node and returns its results.

    Raises:
        VerifyError: names the graph, the node, its results and its places in user code.
    """
    _verify(graph, set())


def _verify(graph: Graph, known: set[object]) -> None:
    """`known` has the applications of ops that have been found to follow their rules: layers alike repeat them."""
    defined: set[Value] = set()
    sources = [(f"input {i}", v) for i, v in enumerate(graph.inputs)]
    sources += [(f"constant {c.digest}", c.value) for c in graph.constants]
    for what, v in sources:
        try:
            if v.node is not None:
                raise VerifyError(f"its value is a result of {v.node!r}")
            _define(v, defined)
        except VerifyError as error:
            raise VerifyError(f"{what} of graph @{graph.name}: {error}") from error
    for c in graph.constants:
        _check_constant(c, graph)
    for i, node in enumerate(graph.nodes):
        try:
            _check_uses(node.operands, defined, "operand")
            _check_node(node, known)
            for r in node.results:
                _define(r, defined)
        except (TgcError, TypeError, ValueError, IndexError) as error:  # type rules may trip over ill-formed attributes
            raise VerifyError(f"{describe(graph, i)}: {error}") from error
    try:
        _check_uses(graph.outputs, defined, "output")
    except VerifyError as error:
        raise VerifyError(f"graph @{graph.name}: {error}") from error


def describe(graph: Graph, index: int) -> str:
    """Node number `index` in words, for messages: `node 3 of @main (%3 = add, at net.py:12)`."""
    node = graph.nodes[index]
    first = sum(len(n.results) for n in graph.nodes[:index])
    results = ", ".join(f"%{first + k}" for k in range(len(node.results)))
    what = f"{results} = {node.op.name}" if results else node.op.name
    return f"node {index} of @{graph.name} ({what}{', at ' if node.loc else ''}{', '.join(node.loc)})"


def _define(value: Value, defined: set[Value]) -> None:
    if value in defined:
        raise VerifyError(f"{value!r} is defined twice")
    _check_type(value.type)
    defined.add(value)


def _check_uses(values: Iterable[Value], defined: set[Value], what: str) -> None:
    for i, v in enumerate(values):
        if v not in defined:
            raise VerifyError(f"{what} {i}, {v!r}, is not defined before")


def _check_type(t: TensorType) -> None:
    if t.dtype not in SHORT_NAMES:
        raise VerifyError(f"dtype {t.dtype} is not supported")
    if t.shape != tuple(t.shape) or any(type(n) not in (int, Size) or n < 0 for n in t.shape):
        raise VerifyError(f"{t.shape} is no shape")
    if t.layout is not None and not _is_layout(t.layout, t.rank):
        raise VerifyError(f"{t.layout} is no layout of shape {t.shape} (and None, not that, means row-major)")


def _is_layout(layout: Layout, rank: int) -> bool:
    axes = [axis for axis, _ in layout.tiles]
    return (
        sorted(layout.order) == list(range(rank))
        and len(set(axes)) == len(axes)
        and all(0 <= axis < rank and size >= 1 for axis, size in layout.tiles)
        and (bool(layout.tiles) or layout.order != tuple(range(rank)))
    )


def _check_node(node: Node, known: set[object]) -> None:
    for i, r in enumerate(node.results):
        if r.node is not node or r.index != i:
            raise VerifyError(f"result {i} says that it is result {r.index} of {r.node!r}")
    for body in node.regions:
        _verify(body, known)
    types = tuple(v.type for v in node.operands), tuple(r.type for r in node.results)
    key = None if node.regions or node._attrs_key is None else (node.op, node._attrs_key, *types)
    if key is None or key not in known:
        _check_application(node)
        known.add(key)


def _check_application(node: Node) -> None:
    op = node.op
    if not isinstance(op, Primitive) or REGISTRY.get(op.name) is not op:
        raise VerifyError(f"{op!r} is not the op that is registered under its name")
    for key, attr in node.attrs.items():
        known = key in op.attrs or key in op.optional
        if known and attr_key(canonical := op.check_of(key)(attr)) != attr_key(attr):
            raise VerifyError(f"attribute {key} is {attr!r}, in canonical form it is {canonical!r}")
    op.check_attrs(node.attrs)
    types = op.infer([v.type for v in node.operands], node.attrs)
    same = [t.with_layout(None) for t in types] == [r.type.with_layout(None) for r in node.results]
    if not same or (isinstance(op, Region) and types != tuple(r.type for r in node.results)):
        got = ", ".join(str(r.type) for r in node.results)
        raise VerifyError(f"its results are ({got}), its operands make them ({', '.join(map(str, types))})")


# Arrays that had these digests: a pipeline verifies its graph after every pass, and weights are large.
_hashed: WeakValueDictionary[tuple[int, str], np.ndarray] = WeakValueDictionary()


def _check_constant(constant: Constant, graph: Graph) -> None:
    digest, data, type = constant.digest, constant.data, constant.value.type
    here = f"constant {digest} of graph @{graph.name}"
    if not re.fullmatch("[0-9a-f]{16}", digest):
        raise VerifyError(f"{here}: a digest has 16 hexadecimal digits")
    if data is None:
        return
    if data.dtype != type.dtype or data.shape != type.shape:
        raise VerifyError(f"{here}: its type is {type}, its data {data.dtype}{list(data.shape)}")
    if _hashed.get((id(data), digest)) is data:
        return
    if digest_of(data) != digest:
        raise VerifyError(f"{here}: its data has digest {digest_of(data)}")
    if not data.flags.writeable:
        _hashed[id(data), digest] = data
