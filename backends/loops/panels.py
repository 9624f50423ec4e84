"""Loops along an axis that buffers hold in panels of some elements, as matrices that are read by tiles are."""

from __future__ import annotations

from collections.abc import Sequence

from tgc.backends.loops.axes import ZERO, ceil_div
from tgc.backends.loops.ir import Apply, Const, Expr, For, If, Let, Stmt, Store, Var, substitute, walk
from tgc.backends.loops.pull import SCALAR
from tgc.types import I64


def along(var: str, first: Expr, end: Expr, body: Sequence[Let | Store]) -> tuple[Stmt, ...]:
    """A loop over an axis; over panels, and the elements of each, where something is stored in panels of that axis.

    Element i of the axis lies in panel i // width at i % width, which LLVM takes for places apart from each other; the
    elements of one panel are side by side, and those of a whole one are stored as vectors.
    """
    width = _width(Var(var), body)
    if width is None:
        return (For(var, first, end, tuple(body)),)
    panel, lane = Var("panel"), Var("lane")
    start = panel * width
    replaced: dict[Expr, Expr] = {
        Var(var): start + lane, Var(var) // Const(width, I64): panel, Var(var) % Const(width, I64): lane,
    }  # fmt: skip
    memo: dict[Expr, Expr] = {}

    def moved(stmt: Let | Store) -> Stmt:
        if isinstance(stmt, Let):
            return Let(stmt.name, substitute(stmt.value, replaced.get, memo))
        index = tuple(substitute(i, replaced.get, memo) for i in stmt.index)
        return Store(stmt.buffer, index, substitute(stmt.value, replaced.get, memo))

    inner = tuple(map(moved, body))
    whole = SCALAR.bit_and(start >= first, (start + width - 1) < end)
    some = SCALAR.maximum(first - start, ZERO), SCALAR.minimum(end - start, Const(width, I64))
    loops = If(whole, (For("lane", ZERO, Const(width, I64), inner),), (For("lane", *some, inner),))
    return (For("panel", first // Const(width, I64), ceil_div(end, width), (loops,)),)


def _width(axis: Var, body: Sequence[Let | Store]) -> int | None:
    """That of the panels along an axis in which something is stored."""
    for stmt in body:
        for x in walk(stmt.index) if isinstance(stmt, Store) else ():
            if isinstance(x, Apply) and x.primitive == "floor_div" and x.operands[0] == axis:
                by = x.operands[1]
                if isinstance(by, Const):
                    return int(by.value)
    return None


__all__ = ["along"]
