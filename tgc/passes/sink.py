"""Transposes sink behind the ops that read them, until they cancel.

f(transpose(x)) becomes transpose(f(x)) for whatever can work in the other axis order (elementwise ops, windows,
padding, reductions, reshapes that keep neighbours together), until two of them meet and cancel, a reduction swallows
one or the end of the graph is reached. A model in NCHW form, whose convolutions are transposes around the
channels-last primitive, thus computes channels-last throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tgc.ir import Attr, Builder, Graph, Node, Value, transform
from tgc.ops import movement
from tgc.ops.creation import full
from tgc.ops.kinds import Elementwise, Reduce
from tgc.passes.manager import Target, register
from tgc.sizes import surely_equal

Perm = tuple[int, ...]


@register
@dataclass(frozen=True)
class SinkTransposes:
    """Move transposes behind the ops that read them."""

    name: ClassVar[str] = "sink"
    rounds: int = 4

    def __call__(self, graph: Graph, target: Target) -> Graph:
        for _ in range(self.rounds):
            after = transform(graph, _sink)
            if after == graph:
                break
            graph = after
        return graph


def made_by_transpose(v: Value) -> Node | None:
    """The transpose that makes a value, if one does."""
    return v.node if v.node is not None and v.node.op is movement.transpose else None


def _sink(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
    if len(node.results) != 1:
        return None
    outer = next((m for v in new if (m := made_by_transpose(v))), None)
    if outer is None:
        return None
    perm: Perm = outer.attrs["perm"]
    if node.op is movement.transpose:
        both = tuple(perm[a] for a in node.attrs["perm"])
        if both == tuple(range(len(both))):
            return outer.operands
        return builder.emit(movement.transpose, outer.operands, {"perm": both}, node.loc)
    if isinstance(node.op, Elementwise):
        operands = [_untransposed(builder, v, perm) for v in new]
        if any(v is None for v in operands):
            return None
        (inner,) = builder.emit(node.op, operands, node.attrs, node.loc)  # type: ignore[arg-type]
        return builder.emit(movement.transpose, (inner,), {"perm": perm}, node.loc)
    if isinstance(node.op, Reduce) and node.op.splits and not node.attrs["chunks"]:
        return _sink_through_reduce(builder, node, outer, perm)
    if node.op is movement.reshape:
        return _sink_through_reshape(builder, node, outer, perm)
    if node.op.name in _PER_AXIS:
        return _sink_per_axis(builder, node, new, perm)
    return None


def _untransposed(builder: Builder, v: Value, perm: Perm) -> Value | None:
    """The value whose transpose by `perm` is `v`, if it costs nothing to have."""
    made = v.node
    if made is None:
        return None
    if made.op is movement.transpose and made.attrs["perm"] == perm:
        return made.operands[0]
    shape = tuple(v.shape[a] for a in movement.inverse(perm))
    if made.op is full:
        return builder.emit(full, (), {**made.attrs, "shape": shape}, made.loc)[0]
    if made.op is movement.broadcast:
        axes = tuple(perm[a] for a in made.attrs["axes"])
        if list(axes) == sorted(axes):
            return builder.emit(movement.broadcast, made.operands, {"axes": axes, "shape": shape}, made.loc)[0]
    return None


def _sink_through_reduce(builder: Builder, node: Node, outer: Node, perm: Perm) -> tuple[Value, ...]:
    """reduce(transpose(x)) -> transpose(reduce(x)), the outer one of the axes that are left."""
    axes = sorted(perm[a] for a in node.attrs["axes"])
    (inner,) = builder.emit(node.op, outer.operands, {**node.attrs, "axes": tuple(axes)}, node.loc)
    left = [perm[a] for a in range(len(perm)) if perm[a] not in axes]  # in the order that the result must have
    order = sorted(left)
    again = tuple(order.index(a) for a in left)
    if again == tuple(range(len(again))):
        return (inner,)
    return builder.emit(movement.transpose, (inner,), {"perm": again}, node.loc)


def _sink_through_reshape(builder: Builder, node: Node, outer: Node, perm: Perm) -> tuple[Value, ...] | None:
    """reshape(transpose(x)) -> transpose(reshape(x)) where axes that become others are neighbours in x, too."""
    pieces = _pieces(outer.result.shape, node.result.shape)
    found: list[tuple[int, int, range]] = []  # of each piece: the first axis of x that it comes from, number, new axes
    for number, (old, new) in enumerate(pieces):
        places = [perm[a] for a in old if outer.result.shape[a] != 1]
        within = [a for a in perm if min(places, default=0) <= a <= max(places, default=0)]
        between = [a for a in within if a not in places and outer.operands[0].shape[a] != 1]
        if places != sorted(places) or between:
            return None
        found.append((min(places or [perm[a] for a in old], default=len(perm)), number, new))
    axes = [a for _, _, new in sorted(found) for a in new]
    shape = tuple(node.result.shape[a] for a in axes)
    (x,) = outer.operands
    if x.node is not None and x.node.op is movement.reshape:
        (x,) = x.node.operands
    (inner,) = builder.emit(movement.reshape, (x,), {"shape": shape}, node.loc)
    back = tuple(axes.index(a) for a in range(len(axes)))
    if back == tuple(range(len(back))):
        return (inner,)
    return builder.emit(movement.transpose, (inner,), {"perm": back}, node.loc)


def _pieces(old: Sequence[int], new: Sequence[int]) -> list[tuple[range, range]]:
    """The axes of a shape and those that a reshape makes of them, in as many pieces as possible, in order."""
    found: list[tuple[range, range]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        first = i, j
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while not surely_equal((math.prod(old[first[0] : i]),), (math.prod(new[first[1] : j]),)):
            if i == len(old) and j == len(new):
                break
            left = math.prod(old[first[0] : i]) < math.prod(new[first[1] : j])
            if (left or j == len(new)) and i < len(old):
                i += 1
            else:
                j += 1
        found.append((range(first[0], i), range(first[1], j)))
    return found


_PER_AXIS: Mapping[str, tuple[str, ...]] = {  # ops whose attributes have one entry an axis
    **dict.fromkeys(
        ("window_sum", "window_max", "window_argmax", "window_gather"), ("window", "stride", "padding", "dilation")
    ),
    "window_scatter": ("shape", "window", "stride", "padding", "dilation"),
    "pad": ("low", "high", "interior"),
    "slice": ("start", "stop", "step"),
}
_POSITIONS = ("window_argmax", "window_gather", "window_scatter")  # count places in a window row-major


def _sink_per_axis(builder: Builder, node: Node, new: tuple[Value, ...], perm: Perm) -> tuple[Value, ...] | None:
    operands = [_untransposed(builder, v, perm) for v in new]
    if any(v is None for v in operands):
        return None
    if node.op.name in _POSITIONS:
        wide = [perm[a] for a, n in enumerate(node.attrs["window"]) if n > 1]
        if wide != sorted(wide):
            return None
    back = movement.inverse(perm)
    attrs: dict[str, Attr] = dict(node.attrs)
    for key in _PER_AXIS[node.op.name]:
        attrs[key] = tuple(node.attrs[key][a] for a in back)
    (inner,) = builder.emit(node.op, operands, attrs, node.loc)  # type: ignore[arg-type]
    return builder.emit(movement.transpose, (inner,), {"perm": perm}, node.loc)


__all__ = ["Perm", "SinkTransposes", "made_by_transpose"]
