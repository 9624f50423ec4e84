"""The part of `hoist` for while loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tgc.ir import Builder, Graph, Node, Value
from tgc.ops import movement
from tgc.ops.control import while_loop
from tgc.ops.creation import full, iota
from tgc.ops.kinds import Contraction, Elementwise, Reduce

# What a body computes itself: nothing but the operands would be loaded.
FREE = (full, iota, movement.broadcast, movement.reshape)
# What may be computed in front of a loop that does not run: it checks no index.
SAFE = (*FREE, movement.transpose, movement.relayout, movement.slice_, movement.pad, movement.concat, movement.reverse)


def hoist_while(builder: Builder, node: Node, operands: Sequence[Value], read: Sequence[bool]) -> list[Value] | None:
    """A while loop without carries that never change or matter, what depends on consts alone computed in front."""
    body, cond, n = node.body, node.attrs["cond"], node.attrs["carries"]
    fixed = {k for k in range(len(operands)) if k >= n or body.outputs[k] is body.inputs[k]}
    moving = {k for k in range(n) if read[k]} - fixed
    tested = _needs(cond, cond.outputs)
    while True:
        wanted = tested | _needs(body, [body.outputs[k] for k in moving])
        more = {k for k in range(n) if k in wanted} - fixed - moving
        if not more:
            break
        moving |= more
    if not moving:
        return None  # it ends at once or never
    carried = sorted(moving)
    around = {k: operands[k] for k in fixed}
    parts = [
        _Part(builder, graph, around, outputs)
        for graph, outputs in ((cond, cond.outputs), (body, [body.outputs[k] for k in carried]))
    ]
    consts = list(dict.fromkeys(x for part in parts for x in part.reads.values()))
    new_cond, new_body = (part.graph(carried, consts) for part in parts)
    attrs = {**node.attrs, "cond": new_cond, "body": new_body, "carries": len(carried)}
    made = builder.emit(while_loop, [*(operands[k] for k in carried), *consts], attrs, node.loc)
    results = dict(zip(carried, made, strict=True))
    unread = [Value(r.type) for r in node.results]
    return [operands[k] if k in fixed else results.get(k, unread[k]) for k in range(n)]


def _live(graph: Graph, outputs: Iterable[Value]) -> tuple[list[Node], set[Value]]:
    """The nodes that outputs need, and all values that these read."""
    needed = set(outputs)
    nodes = []
    for node in reversed(graph.nodes):
        if any(r in needed for r in node.results):
            nodes.append(node)
            needed.update(node.operands)
    return nodes[::-1], needed


def _needs(graph: Graph, outputs: Iterable[Value]) -> set[int]:
    """The numbers of the inputs that outputs need."""
    _, needed = _live(graph, outputs)
    return {k for k, v in enumerate(graph.inputs) if v in needed}


class _Part:
    """The condition or the body, cut in what is computed in front of the loop and what in it.

    Attributes:
        reads: values that the inner part reads from around the loop -> these there.
    """

    def __init__(self, builder: Builder, graph: Graph, around: dict[int, Value], outputs: Sequence[Value]) -> None:
        self.old, self.outputs = graph, outputs
        nodes, _ = _live(graph, outputs)
        fixed = {graph.inputs[k]: x for k, x in around.items()}
        still = {*fixed, *graph.data}
        for node in nodes:
            safe = isinstance(node.op, Elementwise | Contraction | Reduce) or node.op in SAFE
            if safe and all(v in still for v in node.operands):
                still.update(node.results)
        inner, outer = set(outputs), set[Value]()
        self.inside: list[Node] = []
        outside = []
        for node in reversed(nodes):
            if any(r in inner for r in node.results):
                if node.results[0] not in still or node.op in FREE:
                    self.inside.append(node)
                    inner.update(node.operands)
                else:
                    outer.update(node.results)
            if any(r in outer for r in node.results):
                outside.append(node)
                outer.update(node.operands)
        self.inside.reverse()
        for c in graph.constants:
            if c.value in outer:
                fixed[c.value] = builder.adopt(c)
        for node in reversed(outside):
            types = [r.type for r in node.results]
            made = builder.emit(node.op, [fixed[v] for v in node.operands], node.attrs, node.loc, types=types)
            fixed.update(zip(node.results, made, strict=True))
        mine = {r for node in self.inside for r in node.results}
        self.reads = {v: fixed[v] for v in fixed if v in inner and v not in mine and v not in graph.data}

    def graph(self, carried: Sequence[int], consts: Sequence[Value]) -> Graph:
        """The inner part, as a graph of carries and consts."""
        builder = Builder(self.old.name)
        env = {(v := self.old.inputs[k]): builder.input(v.type, v.name) for k in carried}
        shared = {x: builder.input(x.type, x.name or (x.node.op.name if x.node else "")) for x in consts}
        env.update((v, shared[x]) for v, x in self.reads.items())
        env.update((c.value, builder.adopt(c)) for c in self.old.constants)
        for node in self.inside:
            types = [r.type for r in node.results]
            made = builder.emit(node.op, [env[v] for v in node.operands], node.attrs, node.loc, types=types)
            env.update(zip(node.results, made, strict=True))
        return builder.build(env[v] for v in self.outputs)
