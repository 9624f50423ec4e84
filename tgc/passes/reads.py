"""What the kernels of regions read from memory, and what they compute on the way."""

from __future__ import annotations

from collections.abc import Sequence

from tgc.ir import Node, Value
from tgc.ops import movement
from tgc.ops.attention import Attention
from tgc.ops.cumulative import Cumulative
from tgc.ops.kinds import Contraction, Control, Movement, Scatter
from tgc.ops.opaque import Opaque
from tgc.ops.winograd import TransformedProduct, WindowTransform

# kinds of ops that nothing is fused with, that only what is behind them is, and that read their operands from memory
ALONE = {Scatter: "scatter", Cumulative: "cumulative", Attention: "attention", Opaque: "opaque"}
ALONE |= {WindowTransform: "tiles"}
FIRST = {Contraction: "contraction", TransformedProduct: "product"}
FROM_MEMORY = Contraction | TransformedProduct | WindowTransform | Scatter | Cumulative | Attention | Opaque | Control
VIEWS = (movement.reshape, movement.barrier)  # their results lie where operand 0 lies


def free(node: Node) -> bool:
    """Whether readers compute the node's elements themselves rather than load them.

    Views are not read through, and what `take` checks must not end up behind a guard.
    """
    return isinstance(node.op, Movement) and node.op.cheap and node.op not in (*VIEWS, movement.take)


def computed(node: Node) -> Sequence[Value]:
    """The operands that a node's region computes itself; attentions, which copy rows, read them of parts of tensors."""
    if isinstance(node.op, Attention):
        return [v for v in node.operands if v.node is not None and _part(v.node)]
    return () if isinstance(node.op, FROM_MEMORY) else node.operands


def _part(node: Node) -> bool:
    """Whether a node slices a tensor in memory, without gaps."""
    if node.op is not movement.slice_ or any(k != 1 for k in node.attrs["step"]):
        return False
    made = node.operands[0].node
    return made is None or not free(made)


def stays(node: Node) -> bool:
    """Whether a node is no part of any region: views, and control flow."""
    return node.op in VIEWS or isinstance(node.op, Control)


__all__ = ["ALONE", "FIRST", "FROM_MEMORY", "VIEWS", "computed", "free", "stays"]
