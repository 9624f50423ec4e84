"""Regions that hold something together only until here give way to their bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tgc.ir import Builder, Graph, Node, Value, rebuild, transform
from tgc.ops.kinds import Region
from tgc.passes.manager import Target, register


@register
@dataclass(frozen=True)
class Inline:
    """Put the bodies of transparent regions (checkpoints, composites that no pass has claimed) in their places."""

    name: ClassVar[str] = "inline"

    def __call__(self, graph: Graph, target: Target) -> Graph:
        return transform(graph, _rewrite)


def _rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
    if not isinstance(node.op, Region) or not node.op.transparent:
        return None
    return rebuild(node.body, builder, new, lambda inner, operands: _rewrite(builder, inner, operands))
