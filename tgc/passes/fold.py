"""Constant folding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tgc.ir import Builder, Graph, Node, Value, inline, transform
from tgc.ops.control import switch
from tgc.ops.creation import Number, full, number
from tgc.ops.kinds import Control, Elementwise, Movement, Primitive, Region, scalar
from tgc.passes.manager import Target, refuse, register


def filled(value: Value) -> Any:
    """The number that fills a value made by `full`, or None."""
    if value.node is not None and value.node.op is full:
        return number(value.node.attrs["value"])
    return None


@register
@dataclass(frozen=True)
class Fold:
    """Evaluate what depends on constants alone, if that does not take more than `limit` bytes to keep.

    f(full(a), full(b)) -> full(f(a, b)), and movements of a fill are fills: they stay numbers, never arrays. A switch
    by a number is the branch of that number.
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
            if not any(v in data for v in new) or any(
                v not in data and f is None for v, f in zip(new, fills, strict=True)
            ):
                return None
            constants = [
                data[v] if v in data else np.full(v.shape, f, v.dtype) for v, f in zip(new, fills, strict=True)
            ]
            size = node.result.type.nbytes
            if size > max(self.limit, sum(v.type.nbytes for v in new)):
                refuse(self.name, f"{op.name} -> {node.result.type}", f"the result would take {size} bytes")
                return None
            try:
                with np.errstate(all="ignore"):
                    result = np.asarray(op.reference(*constants, **node.attrs)).astype(node.result.dtype, copy=False)
            except (IndexError, np.linalg.LinAlgError) as error:  # raised where the program runs
                refuse(self.name, f"{op.name} -> {node.result.type}", str(error))
                return None
            value = builder.constant(result, node.result.type)
            data[value] = result
            return (value,)

        data: dict[Value, np.ndarray] = {}

        def start(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            for old, value in zip(node.operands, new, strict=True):
                if old in known and known[old].data is not None:
                    data[value] = known[old].data  # type: ignore[assignment]
            return rewrite(builder, node, new)

        return transform(graph, start)


_FILL_KEEPING = frozenset({"broadcast", "reshape", "transpose", "slice", "reverse", "concat"})


def _full(builder: Builder, node: Node, value: Number | None) -> tuple[Value, ...]:
    t = node.result.type
    return builder.emit(full, (), {"shape": t.shape, "dtype": t.dtype, "value": scalar(value)}, node.loc)


def _fill(builder: Builder, node: Node, op: Elementwise, fills: list[Number | None], new: tuple[Value, ...]) -> Value:
    numbers = [np.asarray(f).astype(v.dtype) for f, v in zip(fills, new, strict=True)]
    with np.errstate(all="ignore"):
        result = np.asarray(op.reference(*numbers, **node.attrs)).astype(node.result.dtype)
    return _full(builder, node, result.item())[0]
