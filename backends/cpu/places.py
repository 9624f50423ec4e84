"""Which kernels write results over operands, as memory was planned."""

from __future__ import annotations

from collections.abc import Mapping

from tgc.ir import Graph, Node, Value
from tgc.ops.kinds import Control
from tgc.ops.movement import reshape
from tgc.ops.region import fused
from tgc.passes.memory import Place
from tgc.sizes import key_of


def overwritten(graph: Graph) -> dict[Node, Mapping[int, int]]:
    """For each region of a planned graph that has kernels: result -> operand where they lie at the same place."""
    found: dict[Node, Mapping[int, int]] = {}
    place: dict[Value, Place] = {v: f"in:{k}" for k, v in enumerate(graph.inputs)}
    for node in graph.nodes:
        if node.op is reshape:
            place[node.result] = place.get(node.operands[0], "")
        elif isinstance(node.op, Control) or node.op is fused:
            if node.op is fused and node.attrs["kind"] != "opaque":
                operands = {key_of(place.get(v, "")): k for k, v in enumerate(node.operands) if v.type.size}
                results = [(r, key_of(p)) for r, p in zip(node.results, node.attrs["places"], strict=True)]
                found[node] = {r.index: operands[p] for r, p in results if p in operands and r.type.size}
            place.update(zip(node.results, node.attrs["places"], strict=False))
    return found
