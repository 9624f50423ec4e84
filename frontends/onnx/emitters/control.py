"""Loops and branches. Bodies of ONNX see the tensors around them, so that what is constant in a loop is no operand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto

from tgc.frontends.onnx.emitters.emission import Emission, Place, exports, info
from tgc.frontends.onnx.emitters.movement import flipped, indices
from tgc.ir import Graph, Node, Value
from tgc.types import BOOL, I64, TensorType

STEP, CONDITION = (Value(TensorType(dtype, ())) for dtype in (I64, BOOL))


def _body(e: Emission, graph: Graph, own: Sequence[Value], consts: Sequence[Value]) -> tuple[Emission, list[str]]:
    """An emission of a body, and the names of its outputs; its first inputs are `own`, the others `consts` outside."""
    inner = Emission(e)
    outside = [Place(e.whole(v), v.shape) for v in consts]
    inside = [Place(inner.fresh(v.name or "x"), v.shape) for v in own]
    inner.inline(graph, [*inside, *outside])
    return inner, _outputs(inner, graph)


def _outputs(e: Emission, graph: Graph) -> list[str]:
    """A tensor for each output, though a value be several ones."""
    return [e.ops(1, "Identity", e.whole(v))[0] for v in graph.outputs]


def _graph(inner: Emission, graph: Graph, inputs: Sequence[Value], outputs: Sequence[str]) -> GraphProto:
    infos = [info(inner.places[v].name, v) for v in inputs]
    return inner.graph(graph.name, infos, [info(n, v) for n, v in zip(outputs, graph.outputs, strict=True)])


@exports("scan")
def scan(e: Emission, node: Node) -> tuple[str, ...]:
    """Scan; one without rows to go over gets the numbers of its steps for rows. Directions are reversed outside."""
    body, carries, xs = node.attrs["body"], node.attrs["carries"], node.attrs["xs"]
    own, consts = body.inputs[: carries + xs], node.operands[carries + xs :]
    inner, outputs = _body(e, body, own, consts)
    graph = _graph(inner, body, own, outputs)
    state, rows = (
        [e.whole(v) for v in part] for part in (node.operands[:carries], node.operands[carries : carries + xs])
    )
    if not xs:
        graph.input.append(info(inner.fresh("step"), STEP))
        rows.append(e.constant(np.arange(node.attrs["length"])))
    if node.attrs["reverse"]:
        rows = [flipped(e, x, (0,)) for x in rows]
    made = e.ops(len(node.results), "Scan", *state, *rows, body=graph, num_scan_inputs=len(rows))
    if node.attrs["reverse"]:
        made[carries:] = [flipped(e, y, (0,)) for y in made[carries:]]
    return tuple(made)


@exports("switch")
def switch(e: Emission, node: Node) -> tuple[str, ...]:
    """If: whether the index is that of the first branch, else a choice among the others."""
    index, *operands = node.operands
    branches = node.attrs["branches"]
    last = len(branches) - 1
    place = indices(e, index)

    def chosen(outer: Emission, k: int) -> list[str]:
        """The outputs of the branch that is chosen among those from k on."""
        if k == last:
            outside = [Place(e.whole(v), v.shape) for v in operands]
            outer.inline(branches[k], outside)
            return _outputs(outer, branches[k])
        graphs = []
        for one in (True, False):
            inner = Emission(outer)
            if one:
                inner, names = _body(outer, branches[k], (), operands)
            else:
                names = chosen(inner, k + 1)
            outputs = [info(n, v) for n, v in zip(names, node.results, strict=True)]
            graphs.append(inner.graph(branches[k].name, [], outputs))
        first = outer.op("LessOrEqual", place, outer.scalar(k, I64))
        return outer.ops(len(node.results), "If", first, then_branch=graphs[0], else_branch=graphs[1])

    for v in operands:
        e.whole(v)
    return tuple(chosen(e, 0))


@exports("while_loop")
def while_loop(e: Emission, node: Node) -> tuple[str, ...]:
    """Loop, whose condition is computed before the first step and at the end of each."""
    cond, body, carries = node.attrs["cond"], node.attrs["body"], node.attrs["carries"]
    consts = node.operands[carries:]
    outside = [Place(e.whole(v), v.shape) for v in consts]
    (start,) = e.inline(cond, [Place(e.whole(v), v.shape) for v in node.operands])
    inner, outputs = _body(e, body, body.inputs[:carries], consts)
    state = [Place(n, v.shape) for n, v in zip(outputs, body.outputs, strict=True)]
    (again,) = inner.inline(cond, [*state, *outside])
    step, before = inner.fresh("step"), inner.fresh("condition")
    graph = inner.graph(
        body.name,
        [info(step, STEP), info(before, CONDITION),
         *(info(inner.places[v].name, v) for v in body.inputs[:carries])],
        [info(inner.ops(1, "Identity", again.name)[0], CONDITION),
         *(info(n, v) for n, v in zip(outputs, body.outputs, strict=True))],
    )  # fmt: skip
    return tuple(e.ops(carries, "Loop", "", start.name, *(e.whole(v) for v in node.operands[:carries]), body=graph))
