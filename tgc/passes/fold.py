"""Constant folding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tgc.ir import Attr, Builder, Graph, Node, Value, inline, transform
from tgc.ops.control import switch
from tgc.ops.creation import Number, full, number
from tgc.ops.kinds import Control, Elementwise, Movement, Primitive, Region, scalar
from tgc.ops.movement import broadcast
from tgc.passes.manager import Target, refuse, register
from tgc.types import TensorType


def filled(value: Value) -> Any:
    """The number that fills a value made by `full`, or None."""
    if value.node is not None and value.node.op is full:
        return number(value.node.attrs["value"])
    return None


@register
@dataclass(frozen=True)
class Fold:
    """Evaluate what depends on constants alone, if that does not take more than `limit` bytes to keep.

    f(full(a), full(b)) -> full(f(a, b)), and movements of a fill are fills: they stay numbers, never arrays. Likewise
    the broadcast of a constant stays one, and f(broadcast(a), broadcast(b)) becomes that of f(a, b): kernels had better
    read few numbers over and over than many once. A switch by a number is the branch of that number.
    """

    name: ClassVar[str] = "fold"
    limit: int = 1 << 26

    def __call__(self, graph: Graph, target: Target) -> Graph:
        known = dict(graph.data)

        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            op = node.op
            if op is switch and (index := filled(new[0])) is not None:
                branches = node.attrs["branches"]
                return inline(branches[min(max(int(index), 0), len(branches) - 1)], builder, new[1:])
            if not new or not isinstance(op, Primitive) or isinstance(op, Region | Control) or len(node.results) != 1:
                return None
            fills = [filled(v) for v in new]
            if all(f is not None for f in fills):
                if isinstance(op, Elementwise):
                    return (_fill(builder, node, op, fills, new),)
                if isinstance(op, Movement) and len(set(map(repr, fills))) == 1 and op.name in _FILL_KEEPING:
                    return _full(builder, node, fills[0])
            arrays = [_array(data, v) for v in new]
            if all(a is None for a in arrays) or any(
                a is None and f is None for a, f in zip(arrays, fills, strict=True)
            ):
                return None
            if op is broadcast and node.result.type.size > new[0].type.size:
                return None
            if isinstance(op, Elementwise) and (spread := _spread(data, new, fills)):
                small = [np.asarray(f) if v is None else data[v] for v, f in zip(spread[0], fills, strict=True)]
                found = _evaluated(op, [x.astype(v.dtype) for x, v in zip(small, new, strict=True)], node)
                value = keep(builder, np.broadcast_to(found, spread[1]), TensorType(node.result.dtype, spread[1]))
                return builder.emit(broadcast, (value,), spread[2], node.loc)
            constants = [
                np.full(v.shape, f, v.dtype) if a is None else a for v, a, f in zip(new, arrays, fills, strict=True)
            ]
            size = node.result.type.nbytes
            if size > max(self.limit, sum(v.type.nbytes for v in new)):
                refuse(self.name, f"{op.name} -> {node.result.type}", f"the result would take {size} bytes")
                return None
            try:
                result = _evaluated(op, constants, node)
            except (IndexError, np.linalg.LinAlgError) as error:  # raised where the program runs
                refuse(self.name, f"{op.name} -> {node.result.type}", str(error))
                return None
            return (keep(builder, result, node.result.type),)

        def keep(builder: Builder, array: np.ndarray, t: TensorType) -> Value:
            value = builder.constant(array, t)
            data[value] = array
            return value

        data: dict[Value, np.ndarray] = {}

        def start(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            for old, value in zip(node.operands, new, strict=True):
                if old in known and known[old].data is not None:
                    data[value] = known[old].data  # type: ignore[assignment]
            return rewrite(builder, node, new)

        return transform(graph, start)


def _array(data: Mapping[Value, np.ndarray], v: Value) -> np.ndarray | None:
    """What is known of a value: a constant, or the broadcast of one (as a view)."""
    if v in data:
        return data[v]
    if v.node is not None and v.node.op is broadcast and v.node.operands[0] in data:
        return np.asarray(broadcast.reference(data[v.node.operands[0]], **v.node.attrs))
    return None


def _spread(
    data: Mapping[Value, np.ndarray], new: Sequence[Value], fills: Sequence[Number | None]
) -> tuple[list[Value | None], tuple[int, ...], Mapping[str, Attr]] | None:
    """The operands of broadcasts that are all alike (None for a fill), their shape and the broadcasts' attributes."""
    nodes = [v.node for v, f in zip(new, fills, strict=True) if f is None]
    kinds = {(n.attrs["axes"], n.operands[0].shape) for n in nodes if n is not None and n.op is broadcast}
    if len(kinds) != 1 or any(n is None or n.op is not broadcast or n.operands[0] not in data for n in nodes):
        return None
    ((_, shape),) = kinds
    (attrs, *_) = (n.attrs for n in nodes if n is not None)
    return [v.node.operands[0] if f is None and v.node else None for v, f in zip(new, fills, strict=True)], shape, attrs


def _evaluated(op: Primitive, constants: Sequence[np.ndarray], node: Node) -> np.ndarray:
    """What the oracle makes of arrays, in the dtype of the node's result."""
    with np.errstate(all="ignore"):
        return np.asarray(op.reference(*constants, **node.attrs)).astype(node.result.dtype, copy=False)


_FILL_KEEPING = frozenset({"broadcast", "reshape", "transpose", "slice", "reverse", "concat"})


def _full(builder: Builder, node: Node, value: Number | None) -> tuple[Value, ...]:
    t = node.result.type
    return builder.emit(full, (), {"shape": t.shape, "dtype": t.dtype, "value": scalar(value)}, node.loc)


def _fill(builder: Builder, node: Node, op: Elementwise, fills: list[Number | None], new: tuple[Value, ...]) -> Value:
    numbers = [np.asarray(f).astype(v.dtype) for f, v in zip(fills, new, strict=True)]
    with np.errstate(all="ignore"):
        result = np.asarray(op.reference(*numbers, **node.attrs)).astype(node.result.dtype)
    return _full(builder, node, result.item())[0]
