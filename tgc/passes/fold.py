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
from tgc.sizes import is_size, key_of, surely_equal
from tgc.types import TensorType


def filled(value: Value) -> Any:
    """The number that fills a value made by `full`, or None; it is not known where it is a size that is a symbol."""
    if value.node is not None and value.node.op is full and not is_size(value.node.attrs["value"]):
        return number(value.node.attrs["value"])
    return None


def _size(values: Sequence[Value]) -> int | None:
    """The size that fills all values, where it depends on symbols and is the same."""
    numbers = [v.node.attrs["value"] for v in values if v.node is not None and v.node.op is full]
    same = all(is_size(n) and surely_equal((n,), numbers[:1]) for n in numbers)
    return numbers[0] if same and len(numbers) == len(values) > 0 else None


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
        constant = dict(graph.data)

        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            op = node.op
            if op is switch and (index := filled(new[0])) is not None:
                branches = node.attrs["branches"]
                return inline(branches[min(max(int(index), 0), len(branches) - 1)], builder, new[1:])
            if not new or not isinstance(op, Primitive) or isinstance(op, Region | Control) or len(node.results) != 1:
                return None
            if (filling := _size(new)) is not None and op.name in _FILL_KEEPING:
                t = node.result.type
                return builder.emit(full, (), {"shape": t.shape, "dtype": t.dtype, "value": filling}, node.loc)
            fills = [filled(v) for v in new]
            if all(f is not None for f in fills):
                if isinstance(op, Elementwise):
                    return (_fill(builder, node, op, fills, new),)
                if isinstance(op, Movement) and len(set(map(repr, fills))) == 1 and op.name in _FILL_KEEPING:
                    return _full(builder, node, fills[0])
            known = [_is_known(data, v) for v in new]
            if not any(known) or not all(k or f is not None for k, f in zip(known, fills, strict=True)):
                return None
            if op is broadcast and (node.result.type.symbolic or node.result.type.size > new[0].type.size):
                return None
            if isinstance(op, Elementwise) and (spread := _spread(data, new, fills)):
                small = [np.asarray(f) if v is None else data[v] for v, f in zip(spread[0], fills, strict=True)]
                found = _evaluated(op, [x.astype(v.dtype) for x, v in zip(small, new, strict=True)], node)
                value = keep(builder, np.broadcast_to(found, spread[1]), TensorType(node.result.dtype, spread[1]))
                return builder.emit(broadcast, (value,), spread[2], node.loc)
            if any(v.type.symbolic for v in (node.result, *new)):
                return None
            constants = [
                _array(data, v) if k else np.full(v.shape, f, v.dtype)
                for v, k, f in zip(new, known, fills, strict=True)
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
                if old in constant and constant[old].data is not None:
                    data[value] = constant[old].data  # type: ignore[assignment]
            return rewrite(builder, node, new)

        return transform(graph, start)


def _is_known(data: Mapping[Value, np.ndarray], v: Value) -> bool:
    """Whether a value is a constant, or the broadcast of one."""
    return v in data or (v.node is not None and v.node.op is broadcast and v.node.operands[0] in data)


def _array(data: Mapping[Value, np.ndarray], v: Value) -> np.ndarray:
    """A value that is known; a broadcast as a view."""
    if v in data:
        return data[v]
    assert v.node is not None
    return np.asarray(broadcast.reference(data[v.node.operands[0]], **v.node.attrs))


def _spread(
    data: Mapping[Value, np.ndarray], new: Sequence[Value], fills: Sequence[Number | None]
) -> tuple[list[Value | None], tuple[int, ...], Mapping[str, Attr]] | None:
    """The operands of broadcasts that are all alike (None for a fill), their shape and the broadcasts' attributes."""
    nodes = [v.node for v, f in zip(new, fills, strict=True) if f is None]
    kinds = {(n.attrs["axes"], key_of(n.operands[0].shape)) for n in nodes if n is not None and n.op is broadcast}
    if len(kinds) != 1 or any(n is None or n.op is not broadcast or n.operands[0] not in data for n in nodes):
        return None
    (first, *_) = (n for n in nodes if n is not None)
    shape, attrs = first.operands[0].shape, first.attrs
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
