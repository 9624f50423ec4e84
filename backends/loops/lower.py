"""Fused region -> kernels: the template for each kind of region."""

from __future__ import annotations

from tgc.backends.loops.contraction import TileTarget, lower_contraction
from tgc.backends.loops.ir import Kernel
from tgc.backends.loops.nest import lower_map, lower_reduce
from tgc.backends.loops.scatter import lower_scatter
from tgc.errors import BackendError
from tgc.ir import Node

KINDS = ("map", "reduce", "contraction", "scatter")


def lower(node: Node, target: TileTarget) -> list[Kernel]:
    """The kernels that compute a `fused` node, in order.

    Raises:
        BackendError: the kind of region is unknown.
    """
    body, kind = node.body, node.attrs["kind"]
    name = f"{body.name}_{kind}"
    match kind:
        case "map":
            return lower_map(body, name)
        case "reduce":
            return lower_reduce(body, name)
        case "contraction":
            return lower_contraction(body, name, target)
        case "scatter":
            return lower_scatter(body, name)
    raise BackendError(f"fused region @{body.name} is of unknown kind {kind!r}; known are {', '.join(KINDS)}")
