"""Region ops: nodes whose meaning is a body graph."""

from __future__ import annotations

from typing import Any

from tgc.errors import GradientError
from tgc.ir import Graph, Value
from tgc.ops.kinds import REPEATABLE, Reduce, Region, places, region, text
from tgc.ops.samples import samples


def interpreted(*operands: Any, **attrs: Any) -> Any:
    """The reference of regions, which have none of their own."""
    raise TypeError("a region is evaluated by interpreting its body")


def _after_differentiation(g: Any, *operands: Any, **attrs: Any) -> Any:
    raise GradientError("fused regions are made after differentiation and have no gradient")


fused = Region(
    "fused",
    attrs={"body": region, "kind": text, "places": places},
    optional={**REPEATABLE, "schedule": text},  # decisions of its lowering that are not the backend's usual ones
    reference=interpreted,
    grad=_after_differentiation,
    samples=samples(),
)


def sweeps_before(body: Graph) -> dict[Value, int]:
    """How many sweeps over the reduced axes of a region of kind `reduce` must be over before a value is known."""
    sweeps: dict[Value, int] = dict.fromkeys(body.inputs, 0)
    for node in body.nodes:
        before = max((sweeps[v] for v in node.operands), default=0)
        sweeps.update(dict.fromkeys(node.results, before + isinstance(node.op, Reduce)))
    return sweeps
