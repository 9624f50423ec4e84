"""Attention: what kernels compute is left to them, reading and writing transposes in place; the rest becomes other ops.

An attention that no kernel takes is declined early, so that the passes behind see its parts. Models compute queries,
keys and values as [batch, time, heads, dim], but attend with the heads in front: the transposes around an attention
become the order of its tensors' axes. The last axis stays the fastest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tgc.ir import Builder, Graph, Node, Value, transform
from tgc.ops import movement
from tgc.ops.attention import Attention, attention, composed, composed_grad, logical
from tgc.passes.decompose import emit_results
from tgc.passes.manager import Target, refuse, register
from tgc.sizes import hints_of

Order = tuple[int, ...]


@register
@dataclass(frozen=True)
class ClaimAttention:
    """Give attentions their layout if rows of their heads have at most `limit` bytes; make others of simpler ops."""

    name: ClassVar[str] = "attention"
    limit: int = 512

    def __call__(self, graph: Graph, target: Target) -> Graph:
        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            if not isinstance(node.op, Attention):
                return None
            if reason := self.unfit(node, target):
                refuse(self.name, f"{node.op.name}({', '.join(str(v.type) for v in new)})", reason)
                return _parts(builder, node, new)
            return _absorb(builder, graph, node, new)

        return transform(graph, rewrite)

    def unfit(self, node: Node, target: Target) -> str:
        """Why no kernel computes an attention; empty if one does."""
        types = [v.type for v in (*node.operands, *node.results)]
        q, _, v = (logical(t, node.attrs["orders"], k) for k, t in enumerate(types[:3]))
        if any(t.size == 0 for t in types):
            return "a tensor is empty"
        if max(q[-1], v[-1]) * types[0].dtype.itemsize > self.limit:
            return f"rows of heads have more than {self.limit} bytes"
        if q[-2] * 2 < target.lanes(types[0].dtype):
            return f"{hints_of(q[-2])} queries fill no vector register, and their scores are few"
        return ""


def _parts(builder: Builder, node: Node, operands: Sequence[Value]) -> tuple[Value, ...]:
    attrs = dict(node.attrs)
    orders = attrs.pop("orders")
    inside = composed if node.op is attention else composed_grad

    def compute(*xs: object) -> Sequence[object]:
        if not orders:
            return inside(*xs, **attrs)
        made = inside(*(movement.transpose(x, perm=a) for x, a in zip(xs, orders, strict=False)), **attrs)
        return [movement.transpose(y, perm=movement.inverse(a)) for y, a in zip(made, orders[len(xs) :], strict=True)]

    return emit_results(builder, operands, compute, node.loc)


def _absorb(builder: Builder, graph: Graph, node: Node, new: Sequence[Value]) -> tuple[Value, ...]:
    """The attention of what its operands are transposes of, with results as the transposes that read them want them."""
    orders: list[Order] = list(node.attrs["orders"])
    orders = orders or [tuple(range(v.type.rank)) for v in (*node.operands, *node.results)]
    operands = list(new)
    for k, v in enumerate(operands):
        made = v.node
        if made is not None and made.op is movement.transpose:
            order = tuple(made.attrs["perm"][a] for a in orders[k])
            if _fits(node, k, order):
                operands[k], orders[k] = made.operands[0], order
    back: dict[int, Order] = {}
    for k, v in enumerate(node.results):
        at = len(operands) + k
        for reader in graph.uses.get(v, ()):
            if reader.op is not movement.transpose:
                continue
            perm: Order = reader.attrs["perm"]
            order = tuple(perm.index(a) for a in orders[at])
            if _fits(node, at, order):
                orders[at], back[k] = order, movement.inverse(perm)
                break
    plain = all(order == tuple(range(len(order))) for order in orders)
    attrs = {**node.attrs, "orders": () if plain else tuple(orders)}
    results = builder.emit(node.op, operands, attrs, node.loc)
    return tuple(
        builder.emit(movement.transpose, (y,), {"perm": back[k]}, node.loc)[0] if k in back else y
        for k, y in enumerate(results)
    )


def _fits(node: Node, k: int, order: Order) -> bool:
    """Whether tensor `k` may lie so: rows of matrices are contiguous."""
    assert isinstance(node.op, Attention)
    mask = node.op.arity <= k < len(node.operands)
    matrix = len(order) == node.operands[0].type.rank
    return not mask and (not matrix or order[-1] == len(order) - 1)


__all__ = ["ClaimAttention"]
