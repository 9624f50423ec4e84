"""Where the rows of a register tile lie in the left operand: a table, filled for each block of rows.

Places are products of a row's number, where rows lie evenly; else, as of pixels in padded images, an odometer goes from
row to row without dividing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tgc.backends.loops.axes import Axis, unflatten
from tgc.backends.loops.ir import Buffer, Comment, Const, Expr, For, If, Let, Stmt, Store, Var
from tgc.backends.loops.pull import SCALAR
from tgc.backends.loops.tiled import block_step
from tgc.types import I64

if TYPE_CHECKING:
    from tgc.backends.loops.contraction import Product


def places_of_rows(
    product: Product, rows_at: Buffer, at: Expr, lhs: Mapping[str, Expr], extent: Mapping[str, Expr]
) -> tuple[list[Stmt], list[Stmt]]:
    """What to do before the first block, and what fills the table of row places for each block after the other.

    Rows past the end repeat the last one, or are padding of a packed operand.

    Args:
        product: the kernel, of which they read `row`, the first row of the block at hand, and `block`.
        rows_at: the table, filled from `at` on.
        lhs: how far a step along an axis goes in the left operand.
        extent: of each axis.
    """
    r, step = Var("r"), product.lhs_step
    base: Expr = Const(0, I64)
    for axis in product.roles.batch:
        base = base + Var(axis) * lhs[axis]
    start: list[Stmt] = []
    after: tuple[Stmt, ...] = ()
    if product.lhs_packed is not None:
        block = product.pull.integer("a_block", block_step(product.node.operands[0].type, product.lhs_packed))
        place = base + Var("block") * block + r
    elif all(step[a] == step[b] * product.extent[b] for a, b in itertools.pairwise(product.roles.m)):
        last = lhs[product.roles.m[-1]] if product.roles.m else Const(0, I64)
        place = base + SCALAR.minimum(Var("row") + r, Var("rows") - 1) * last
    else:
        place = Var("place")
        start, after = _odometer(product, base, lhs, extent)
    fill = For("r", Const(0, I64), product.height(), (Store(rows_at, (at + r,), place), *after))
    return start, [Comment("places of the tile's rows in the left operand"), fill]


def _odometer(
    product: Product, base: Expr, lhs: Mapping[str, Expr], extent: Mapping[str, Expr]
) -> tuple[list[Stmt], tuple[Stmt, ...]]:
    """Statements that set `place` to that of row `row`, and that advance it, without dividing again."""
    m_axes = product.roles.m
    start: list[Stmt] = []
    for axis, x in unflatten([Axis(a, product.extent[a]) for a in m_axes], Var("row")):
        start.append(Let(f"at_{axis}", x))
        base = base + Var(f"at_{axis}") * lhs[axis]
    wheels: tuple[Stmt, ...] = ()
    for k, axis in enumerate(m_axes):  # the fastest wheel last, hence outermost
        turn: list[Stmt] = [Let(f"at_{axis}", Var(f"at_{axis}") + 1), Let("place", Var("place") + lhs[axis])]
        if k:
            back = Let("place", Var("place") - extent[axis] * lhs[axis])
            carry: tuple[Stmt, ...] = (Let(f"at_{axis}", Const(0, I64)), back, *wheels)
            turn.append(If(SCALAR.ge(Var(f"at_{axis}"), extent[axis]), carry))
        wheels = tuple(turn)
    return [*start, Let("place", base)], (If(Var("row") + Var("r") + 1 < Var("rows"), wheels),)


__all__ = ["places_of_rows"]
