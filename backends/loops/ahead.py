"""Lines of memory that register tiles ask for while they compute, so that these are in the second-level cache in time.

A long sum goes by in pieces, and all tiles of a unit of work take one piece before the next one. Where rows of both
operands are apart in memory, as are those of large matrices that are read as they lie, the processor does not see what
follows: it would have to cross pages. So the tiles of a unit share the next piece among them. Each asks for one line of
every other row: first those of the right operand, then those of the left one, whose rows are the fastest axis.

Where the third-level cache is far, tiles of short sums do not wait for memory at their ends: before they begin, they
ask for the lines of what they will write, and of what is read beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tgc.backends.loops.ir import Buffer, Const, Expr, For, If, Let, Load, Prefetch, Stmt, Store, Tile, Var, walk
from tgc.backends.loops.pull import SCALAR
from tgc.passes.tiles import LINE, QUAD
from tgc.sizes import call
from tgc.types import I64

if TYPE_CHECKING:
    from tgc.backends.loops.contraction import Loop, Product


def next_panel(
    product: Product, b: Buffer, b_at: Expr, slow: Sequence[Loop], depth: int, *, blocks: int, another: int
) -> tuple[Buffer, Expr, Expr]:
    """The part of the panel that will be read next which this block of rows brings to the second-level cache.

    Memory is read while there is something to compute, by all blocks alike; processors do not do it by themselves
    across pages. That panel is the next piece of the same one, or it lies `another` elements further. Panels whose
    rows are apart are left to the processor: nothing but the first line of each tile is asked for.
    """
    rows = [product.rhs_step[a] for a in product.roles.k[-1:]]
    joined = product.packed is not None or (product.panels == 1 and rows == [product.columns])
    line = product.columns * (QUAD if product.quads else 1)
    step = call(_share, line, blocks, another, bool(slow), least=0) if joined else 0
    mine = Var("block") - Var("first_block") if slow else Var("block")
    following = b_at + product.pull.integer("another", another)
    if slow:
        number, _, b_step = slow[-1]
        piece = Var(f"slow{len(slow) - 1}")
        following = SCALAR.select(piece + 1 < number, b_at + b_step, following - piece * b_step)
    return b, following + mine * product.pull.integer("ahead", depth * step), product.pull.integer("ahead_step", step)


def elements_between(runs: int, groups: int, run_step: int, next_matrix: int, slow: bool) -> int:
    """Elements from a panel to the one that takes its place."""
    if runs > 1:
        return run_step if groups == 1 or not slow else 0
    return next_matrix


def _share(line: int, blocks: int, another: int, slow: bool) -> int:
    """Elements of each row of the following panel, a `line`, that a block of rows asks for."""
    return -(-line // max(1, blocks)) if another or slow else 0


def epilogue_lines(stores: Sequence[Store], column: str, columns: int, c: Buffer) -> For | None:
    """A loop that asks for the lines in which a row of a tile's results lies, and for those that are read beside it.

    Only of arrays along whose fastest axis the tile's columns run: elsewhere each column has a line of its own.

    Args:
        stores: of a column's results, with the tile, `c`, among what they read.
        column: the variable along columns, of which there are `columns` from the variable `column` on.
    """
    places: dict[tuple[Buffer, tuple[Expr, ...]], bool] = {(s.buffer, s.index): True for s in stores}
    for x in walk([s.value for s in stores]):
        if isinstance(x, Load) and x.buffer.name != c.name:
            places.setdefault((x.buffer, x.index), False)
    asked = [Prefetch(b, index, written) for (b, index), written in places.items() if _along(index, column)]
    if not asked:
        return None
    elements = LINE // max(ask.buffer.dtype.itemsize for ask in asked)
    first = Let(column, Var("column") + Var("line") * elements)
    return For("line", Const(0, I64), Const(-(-columns // elements), I64), (first, *asked))


def _along(index: Sequence[Expr], column: str) -> bool:
    """Whether an element lies beside that of the next column, each row's at another place, known without a load."""
    every, fastest = walk(index), walk(index[-1:])
    others = [x for x in every if isinstance(x, Load) or (isinstance(x, Var) and x.name != column)]
    return Var(column) in fastest and bool(others) and not any(isinstance(x, Load) for x in others)


def both_apart(product: Product, slow: Sequence[Loop]) -> bool:
    """Whether a long sum reads both operands as they lie, rows of the left one being its fastest axis."""
    m = [a for a in product.roles.m if product.extent[a] > 1]
    read = product.packed is None and product.lhs_packed is None and not product.streamed
    return len(slow) == 1 and read and len(m) == 1 and product.lhs_step[m[0]] == 1


def asking(product: Product, tile: Tile, lhs: Mapping[str, Expr], slow: Loop) -> list[Stmt]:
    """The statements of a tile that asks for its part of the next piece.

    Args:
        product: the kernel, of whose unit they read `first_block`, `group`, `first_panel` and `run`.
        tile: as it is without asking.
        lhs: how far a step along an axis goes in the left operand.
        slow: the loop over pieces.
    """
    _, left_step, right_step = tile.levels[-1]
    elements = LINE // tile.c.dtype.itemsize
    lines = tile.columns // elements  # of a row of a panel
    right, left = _next(product, tile, lhs, slow)
    number = (Var("block") - Var("first_block")) * Var("run") + Var("panel") - Var("first_panel")
    turn, every = Var("turn"), Var("run") * (2 * lines)
    line, row, others = turn // 2, turn % 2, turn - every
    of_right = right + line // lines * Var("b_panel") + line % lines * elements + row * right_step
    of_left = left + others // 2 * elements + others % 2 * left_step
    asked = (tile.b, of_right, right_step), (tile.a, of_left, left_step)
    return [
        Let("turn", number),
        If(SCALAR.lt(turn, every), *((product.sized(replace(tile, ahead=ahead)),) for ahead in asked)),
    ]


def _next(product: Product, tile: Tile, lhs: Mapping[str, Expr], slow: Loop) -> tuple[Expr, Expr]:
    """Where the next piece of the right operand, and of the left one, begins for the unit, or for the next unit."""
    count, left_step, right_step = slow
    piece, first = Var("slow0"), Var("first_block")
    more = piece + 1 < count
    right = tile.b_at - (Var("panel") - Var("first_panel")) * Var("b_panel")
    left = tile.a_at + product.first_row(SCALAR.select(more, first, first + Var("group")))
    for axis in product.roles.batch:
        left = left + Var(axis) * lhs[axis]
    right, left = (
        at + SCALAR.select(more, step, -1 * piece * step) for at, step in ((right, right_step), (left, left_step))
    )
    return right, left


__all__ = ["asking", "both_apart", "elements_between", "epilogue_lines", "next_panel"]
