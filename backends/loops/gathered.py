"""Operands gathered on the stack: panels of a large matrix that few rows meet, and rows for tile registers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tgc.backends.loops.ir import Buffer, Const, For, Load, Rows, Stmt, Store, Tile, Var
from tgc.backends.loops.pull import compute_dtype
from tgc.backends.loops.tiled import flat, over_columns
from tgc.backends.loops.units import PAGE
from tgc.passes.tiles import LINE, row_bytes
from tgc.types import I64

if TYPE_CHECKING:
    from tgc.backends.loops.contraction import Loop, Product

STEPS = 32  # of k that few rows go by at once where they meet a large matrix


def gathered_panels(
    product: Product, tile: Tile, slow: Loop, depth: int, run: int, panelwise: Callable[..., For]
) -> tuple[Tile, list[Stmt]]:
    """A tile that reads its panel from the stack, and what puts the panels of a run there, `depth` rows of each.

    The rows are read as they lie, some pages at a time; a panel of them would be a line of each. Meanwhile each
    tile brings one of the rows that follow to the second-level cache.
    """
    block = Buffer("b_block", product.dtype, (PAGE * 2 * STEPS * product.columns,), (1,))
    (count, a_step, b_step), j = tile.levels[-1], Var(product.column) - Var("column")
    ragged = bool(product.n % product.columns)
    first = (Var("panel") - Var("first_panel")) * product.pull.integer("b_block_panel", depth * product.columns)
    held = compute_dtype(product.dtype)
    value = Load(flat(tile.b), (tile.b_at + Var("step") * b_step + j,), held)
    put = Store(block, (first + Var("step") * product.columns + j,), value)
    line = over_columns(product.column, product.columns, Var(f"n_{product.column}") if ragged else None, [put])
    level = count, a_step, Const(product.columns, I64)
    panel, run_of = Var("panel") - Var("first_panel"), Var("run")
    number = (Var("block") - Var("first_block")) * run_of + panel
    following = tile.b_at - panel * Var("b_panel") + slow[2] + number * b_step
    step_ahead = product.pull.integer("ahead_step", -(-run * product.columns // depth))
    moved = replace(tile, b=block, b_at=first, levels=(*tile.levels[:-1], level), ahead=(tile.b, following, step_ahead))
    return moved, [For("step", Const(0, I64), count, (panelwise(line),))]


def gathered_rows(product: Product, tile: Tile, deepest: int) -> tuple[Tile, list[Stmt]]:
    """A tile that reads rows of 8-bit integers from the stack, as tile registers take them, and what puts them there
    for all panels: `deepest` quads of each at most.
    """
    assert tile.rows_at is not None
    block = Buffer("a_block", tile.a.dtype, (product.rows * row_bytes(deepest) + LINE,), (1,))
    rows = Rows(tile.a, tile.a_at, tile.rows_at, tile.rows_from, product.height(), tile.levels, block)
    return replace(tile, a=block, a_at=Const(0, I64), rows_at=None, rows_from=Const(0, I64), ahead=None), [rows]


__all__ = ["STEPS", "gathered_panels", "gathered_rows"]
