"""Scans whose rows never meet run as lanes: each thread takes its part of the rows through all steps by itself.

A step of a small recurrence takes a few microseconds, and threads that share each of its launches wait for each other
several times in it, and hand each other what they have computed. Where carries, ys and all that lies between them have
an axis (the batch) along which the body computes nothing of one place from another, the scan is cut along it instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tgc.ir import Builder, Graph, Node, Value, rebuild, transform
from tgc.ops import creation, movement
from tgc.ops.contraction import conv, dot
from tgc.ops.kinds import Contraction, Control, Elementwise, Reduce
from tgc.ops.opaque import Opaque
from tgc.ops.scan import scan
from tgc.ops.work import flops
from tgc.passes.layout import FEW
from tgc.passes.manager import Target, refuse, register
from tgc.sizes import is_size

Group = tuple[tuple[int, int], ...]  # axes that are cut together: the number of an operand (RESULT: the result), axis
Pair = tuple[Value, int]  # a value, and the axis along which it is cut
RESULT = -1

ROWS = 8  # of a lane, at least: each reads all of what the lanes share
LEAST = 1 << 18  # FLOPs of a scan below which threads are not worth their waking


@register
@dataclass(frozen=True)
class Lanes:
    """scan -> scan{lanes=n} of a body for a part of the rows, one lane a thread."""

    name: ClassVar[str] = "lanes"

    def __call__(self, graph: Graph, target: Target) -> Graph:
        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            if node.op is not scan or "lanes" in node.attrs:
                return None
            try:
                attrs = {**node.attrs, **_in_lanes(node, target)}
            except _UnfitError as unfit:
                refuse("lanes", f"scan of @{node.body.name}", str(unfit))
                return None
            return builder.emit(scan, new, attrs, node.loc)

        return transform(graph, rewrite)


class _UnfitError(Exception):
    """Why a scan has no lanes."""


def _in_lanes(node: Node, target: Target) -> dict[str, Any]:
    """The body of a lane, and how many there are."""
    body, n = node.body, node.attrs["carries"]
    if target.threads == 1:
        raise _UnfitError("there is one thread")
    if not n or not all(v.type.rank for v in body.inputs[:n]):
        raise _UnfitError("there is no carry, or it is a number")
    rows = body.inputs[0].shape[0]
    lanes = _number(rows, target)
    if held := next((inner for inner in body.nodes if isinstance(inner.op, Control | Opaque)), None):
        raise _UnfitError(f"there is a {held.op.name} in it")
    if flops(body) * node.attrs["length"] < LEAST:
        raise _UnfitError("there is too little to do")
    cut = _cut(body, [(v, 0) for v in (*body.inputs[:n], *body.outputs)])
    for v in body.inputs:
        if cut.get(v, 0):
            raise _UnfitError(f"%{v.name} would be cut along its axis {cut[v]}")
    # Beside few rows, large matrices are read in another way (see the pass `layout`), which sums in another order: how
    # many threads there are must make no difference.
    for inner in body.nodes:
        for v in inner.operands if isinstance(inner.op, Contraction) else ():
            large = target.l2_bytes // 2 if rows > FEW >= rows // lanes else target.l2_bytes
            if v not in cut and v.type.nbytes > large:
                raise _UnfitError(
                    f"{inner.op.name} reads {v.type}, which each lane would bring to its caches by itself"
                )
    return {"body": _part(body, cut, lanes), "lanes": lanes}


def _number(rows: int, target: Target) -> int:
    """How many lanes take that many rows."""
    if is_size(rows):
        raise _UnfitError("the number of rows is a symbol, which has no divisors")
    lanes = max((n for n in range(1, target.threads + 1) if rows % n == 0 and rows >= n * ROWS), default=1)
    if 2 * lanes <= target.threads:
        raise _UnfitError(f"{rows} rows make {lanes} equal lane(s) of at least {ROWS}, for {target.threads} threads")
    return lanes


def _cut(body: Graph, seeds: list[Pair]) -> dict[Value, int]:
    """Along which axis each value is cut if `seeds` are; values that are not in it are the same in all lanes."""
    groups: dict[tuple[Node, Pair], list[Pair]] = {}
    for node in body.nodes:
        for group in _groups(node):
            slots = {k: node.result if k == RESULT else node.operands[k] for k, _ in group}
            pairs = [(slots[k], axis) for k, axis in group]
            # an operand that the node reads twice is read so each time
            groups |= {
                (node, pair): pairs for pair in pairs if pairs.count(pair) == max(1, node.operands.count(pair[0]))
            }
    found: dict[Value, int] = {}
    stack = list(seeds)
    while stack:
        v, axis = pair = stack.pop()
        if v in found:
            if found[v] != axis:
                raise _UnfitError(f"{v.type} would be cut along two axes")
            continue
        if v in body.data or not v.type.rank:
            raise _UnfitError(f"{v.type} is the same for all rows")
        found[v] = axis
        for node in (*body.uses.get(v, ()), *([v.node] if v.node is not None else [])):
            if (node, pair) not in groups:
                raise _UnfitError(f"{node.op.name} combines rows, or may do so")
            stack += groups[node, pair]
    return found


def _part(body: Graph, cut: Mapping[Value, int], lanes: int) -> Graph:
    """The body for one of so many parts."""
    builder = Builder(body.name)

    def shape(v: Value) -> tuple[int, ...]:
        return tuple(size // lanes if a == cut.get(v) else size for a, size in enumerate(v.shape))

    inputs = [builder.input(type(v.type)(v.dtype, shape(v), v.type.layout), v.name) for v in body.inputs]

    def smaller(node: Node, new: tuple[Value, ...]) -> tuple[Value, ...]:
        attrs = dict(node.attrs)
        for key in {"shape", "stop"} & attrs.keys() if node.results[0] in cut else ():
            sizes = zip(attrs[key], shape(node.result), strict=True)
            attrs[key] = tuple(size if a == cut[node.result] else n for a, (n, size) in enumerate(sizes))
        return builder.emit(node.op, new, attrs, node.loc)

    return builder.build(rebuild(body, builder, inputs, smaller), prune=False)


# ---------------------------------------------------------------------------------------------------- axes of each op


def _groups(node: Node) -> Iterator[Group]:
    """The axes along which an op computes each place of its result from that place of its operands alone."""
    match node.op:
        case Elementwise():
            yield from _same(node, range(node.result.type.rank))
        case Reduce() if not node.attrs["chunks"]:
            kept = [a for a in range(node.operands[0].type.rank) if a not in node.attrs["axes"]]
            yield from (((RESULT, k), (0, a)) for k, a in enumerate(kept))
        case _ if node.op in (dot, conv):
            yield from _of_contraction(node)
        case _ if rule := _MOVEMENTS.get(node.op.name):
            yield from rule(node)


def _same(node: Node, axes: range | list[int]) -> Iterator[Group]:
    """These axes of the result, and the same ones of all operands."""
    return (((RESULT, a), *((k, a) for k in range(len(node.operands)))) for a in axes)


def _of_contraction(node: Node) -> Iterator[Group]:
    axes = node.op.axis_map(*(v.type for v in node.operands), **node.attrs)  # type: ignore[attr-defined]
    for a, dim in enumerate(axes.out):
        (name,) = dim
        places = [(k, i) for k, dims in enumerate((axes.lhs, axes.rhs)) for i, d in enumerate(dims) if name in d]
        if all((axes.lhs, axes.rhs)[k][i] == {name: 1} for k, i in places):
            yield ((RESULT, a), *places)


def _of_broadcast(node: Node) -> Iterator[Group]:
    axes = node.attrs["axes"]
    for a in range(node.result.type.rank):
        yield ((RESULT, a), *([(0, axes.index(a))] if a in axes else []))


def _of_reshape(node: Node) -> Iterator[Group]:
    """Axes with as many elements behind them, or in front, as the operand has."""
    (x,), y = node.operands, node.result
    for a in range(min(x.type.rank, y.type.rank)):
        if x.shape[: a + 1] == y.shape[: a + 1]:
            yield ((RESULT, a), (0, a))


def _of_slice(node: Node) -> Iterator[Group]:
    (x,), (start, stop, step) = node.operands, (node.attrs[key] for key in ("start", "stop", "step"))
    whole = [a for a, n in enumerate(x.shape) if (start[a], stop[a], step[a]) == (0, n, 1)]
    return _same(node, whole)


def _of_pad(node: Node) -> Iterator[Group]:
    around = zip(*(node.attrs[key] for key in ("low", "high", "interior")), strict=True)
    return _same(node, [a for a, n in enumerate(around) if not any(n)])


def _others(key: str) -> Callable[[Node], Iterator[Group]]:
    """The rule of ops that combine what lies along the axis that an attribute has."""
    return lambda node: _same(node, [a for a in range(node.result.type.rank) if a != node.attrs[key]])


_MOVEMENTS: Mapping[str, Callable[[Node], Iterator[Group]]] = {
    creation.full.name: lambda node: _same(node, range(node.result.type.rank)),
    creation.iota.name: _others("axis"),
    movement.broadcast.name: _of_broadcast,
    movement.reshape.name: _of_reshape,
    movement.transpose.name: lambda node: (((RESULT, k), (0, a)) for k, a in enumerate(node.attrs["perm"])),
    movement.slice_.name: _of_slice,
    movement.concat.name: _others("axis"),
    movement.pad.name: _of_pad,
}

__all__ = ["Lanes"]
