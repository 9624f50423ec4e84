"""Fused region -> kernels: the template for each kind of region."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tgc.backends.loops.attention import lower_attention
from tgc.backends.loops.channelwise import Channelwise
from tgc.backends.loops.contraction import Product
from tgc.backends.loops.cumulative import lower_cumulative
from tgc.backends.loops.ir import Kernel
from tgc.backends.loops.map import lower_map
from tgc.backends.loops.pull import Pull
from tgc.backends.loops.reduce import lower_reduce
from tgc.backends.loops.scatter import lower_scatter
from tgc.backends.loops.schedule import Schedule
from tgc.backends.loops.tiled import TileTarget
from tgc.backends.loops.winograd import lower_product, lower_tiles
from tgc.errors import BackendError
from tgc.ir import Node
from tgc.ops.kinds import Contraction
from tgc.passes.tiles import channelwise
from tgc.types import F32, F64

KINDS = ("map", "reduce", "contraction", "scatter", "cumulative", "attention", "tiles", "product")


def lower(
    node: Node,
    target: TileTarget,
    overwrites: Mapping[int, int] = MappingProxyType({}),
    schedule: Schedule | None = None,
    *,
    alone: bool = False,
) -> list[Kernel]:
    """The kernels that compute a `fused` node, in order.

    Args:
        node: the region.
        target: the machine.
        overwrites: result -> operand for results that are written over one.
        schedule: decisions, which it notes; None: the node's.
        alone: whether all of a launch is one thread's, as in a lane of a scan.

    Raises:
        BackendError: the kind of region is unknown, or there is no such schedule for it.
    """
    if schedule is None:
        schedule = Schedule.parse(node.attrs.get("schedule", ""))
    kernels = _kernels(Pull(node.body, overwrites, schedule, alone=alone), node.attrs["kind"], target)
    schedule.check()
    return kernels


def _kernels(pull: Pull, kind: str, target: TileTarget) -> list[Kernel]:
    """What the template of a kind makes of a region."""
    name = f"{pull.body.name}_{kind}"
    match kind:
        case "map":
            return lower_map(pull, name)
        case "reduce":
            return lower_reduce(pull, name)
        case "contraction":
            return [_contraction(pull, name, target)]
        case "scatter":
            return lower_scatter(pull, name)
        case "cumulative":
            return lower_cumulative(pull, name)
        case "attention":
            return lower_attention(pull, name, target)
        case "tiles":
            return lower_tiles(pull, name)
        case "product":
            return lower_product(pull, name, target)
    raise BackendError(f"fused region @{pull.body.name} is of unknown kind {kind!r}; known are {', '.join(KINDS)}")


def _contraction(pull: Pull, name: str, target: TileTarget) -> Kernel:
    """Tiles of the kind that suits the axes of the region's contraction."""
    (node,) = (n for n in pull.body.nodes if isinstance(n.op, Contraction))
    assert isinstance(node.op, Contraction)
    lhs, rhs = (v.type for v in node.operands)
    of_bytes = "dtype" in node.attrs
    if lhs.dtype not in (F32, F64) and not of_bytes:
        raise BackendError(f"{node.op.name} of {lhs} reached the tiled lowering; only f32, f64 and 8-bit integers are")
    axes = node.op.axis_map(lhs, rhs, **node.attrs)
    alone = None if of_bytes else channelwise(axes)
    return (Channelwise(pull, node, alone, name, target) if alone else Product(pull, node, axes, name, target)).kernel()
