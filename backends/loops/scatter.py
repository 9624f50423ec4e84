"""Scatter: each tile owns a block of columns of the result, so that updates of one row are combined in order."""

from __future__ import annotations

import math

from tgc.backends.loops.ir import Buffer, Const, For, Kernel, Let, Load, Stmt, Store, Var
from tgc.backends.loops.kernel import finish
from tgc.backends.loops.pull import SCALAR, Pull, compute_dtype, rounded
from tgc.ops.kinds import Scatter
from tgc.ops.scalar import as_place
from tgc.types import I64

BLOCK = 256  # columns a tile owns


def lower_scatter(pull: Pull, name: str) -> list[Kernel]:
    """The kernel of a region that is one `Scatter`."""
    (node,) = pull.body.nodes
    assert isinstance(node.op, Scatter)
    x, index, _ = node.operands
    rows, width = x.shape[0], math.prod(x.shape[1:])
    count = index.type.size
    held = compute_dtype(x.dtype)
    pull.integer("rows", rows)
    pull.integer("count", count)
    pull.integer("width", width)

    def matrix(name: str, n: int) -> Buffer:
        pull.values[f"{name}_s0"] = width
        return Buffer(name, x.dtype, (n, width), (width, 1))

    names = [pull.buffers[v].name for v in node.operands]  # fewer than three buffers where operands repeat
    source, target, updates = matrix(names[0], rows), matrix("y0", rows), matrix(names[2], count)
    places = Buffer(names[1], index.dtype, (count,), (1,))
    tile, i, k, j = Var("tile"), Var("i"), Var("k"), Var("j")
    end = SCALAR.minimum(Var("width"), (tile + 1) * BLOCK)

    def columns(stmt: Stmt) -> Stmt:
        return For("j", tile * BLOCK, end, (stmt,))

    copy = For("i", Const(0, I64), Var("rows"), (columns(Store(target, (i, j), Load(source, (i, j), held))),))
    row = SCALAR.index(as_place(SCALAR, Load(places, (k,), index.dtype)), Var("rows"))
    place = Var("row"), j
    combined = rounded(node.op.combine(SCALAR, Load(target, place, held), Load(updates, (k, j), held)), x.dtype)
    put = For("k", Const(0, I64), Var("count"), (Let("row", row), columns(Store(target, place, combined))))
    tiles = -(-width // BLOCK) if rows else 0
    return [finish(name, pull, (copy, put), tiles=tiles, work=(rows + count) * width)]


__all__ = ["BLOCK", "lower_scatter"]
