"""Which node of a stage is which of the stage before: what lets the explorer show what a pass changed.

Passes share nodes, or build them anew. A node goes on as the one of the stage before that is the same object, else the
first that is left of those with the same op, attributes, types, place in user code and operands; then operands may
differ, then attributes, then types. What goes into a region is the same node as before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count

from tgc.ir import Graph, Node, Value
from tgc.ops.kinds import Region


class Lineages:
    """Numbers that nodes keep from stage to stage: `of` has those of all stages that were followed."""

    def __init__(self) -> None:
        self.of: dict[Node, int] = {}
        self._fresh = count()
        self._before: list[tuple[Node, dict[Value, object]]] = []

    def follow(self, graph: Graph) -> None:
        """Give the nodes of the next stage, and of its regions, their numbers."""
        nodes = list(_nodes(graph, {}))
        same = {node for node, _ in nodes}
        rest = [(node, inside) for node, inside in self._before if node not in same]
        waiting = [(node, inside) for node, inside in nodes if node not in self.of]
        keys: list[Callable[[Node, dict[Value, object]], object]] = [self._deep, _local, _typed, _placed]
        for key in keys:
            left: dict[object, deque[Node]] = {}
            for node, inside in rest:
                left.setdefault(key(node, inside), deque()).append(node)
            still = []
            for node, inside in waiting:
                found = left.get(key(node, inside))
                if found:
                    self.of[node] = self.of[found.popleft()]
                else:
                    still.append((node, inside))
            taken = {id(n) for queue in left.values() for n in queue}
            rest = [(node, inside) for node, inside in rest if id(node) in taken]
            waiting = still
        for node, _ in waiting:
            self.of[node] = next(self._fresh)
        self._before = nodes

    def _deep(self, node: Node, inside: dict[Value, object]) -> object:
        return _local(node, inside), tuple(self._value(v, inside) for v in node.operands)

    def _value(self, v: Value, inside: dict[Value, object]) -> object:
        """What a value is in any stage; new nodes have no number yet."""
        if v.node is not None:
            return self.of.get(v.node), v.index
        outer = inside.get(v)
        return self._value(outer, inside) if isinstance(outer, Value) else (v.name, v.type)


def _nodes(graph: Graph, inside: dict[Value, object]) -> Iterator[tuple[Node, dict[Value, object]]]:
    """All nodes, each with what the inputs of the regions around it stand for."""
    for node in graph.nodes:
        for region in node.regions:
            own = dict(zip(region.inputs, node.operands, strict=False)) if isinstance(node.op, Region) else {}
            yield from _nodes(region, {**inside, **own})
        yield node, inside


def _local(node: Node, _: object) -> object:
    plain = tuple(sorted((k, repr(a)) for k, a in node.attrs.items() if not isinstance(a, Graph | tuple)))
    return _typed(node, _), plain


def _typed(node: Node, _: object) -> object:
    regions = tuple(g.name for g in node.regions)
    return node.op.name, regions, node.loc, tuple(r.type for r in node.results)


def _placed(node: Node, _: object) -> object:
    return node.op.name, node.loc, tuple(g.name for g in node.regions)
