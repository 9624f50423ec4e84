"""Sums of register tiles that go from registers to their places in a result.

They do where an epilogue only stores them, or adds one element of memory to each: a bias, a residual, what a recurrence
has of its input. Then nothing is left to do behind a tile, whose sums need not lie on the stack first. The places of
its rows, in the result and in what is added, are in tables, as those of the left operand's rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tgc.backends.loops.ir import Apply, Buffer, Comment, Const, Expr, For, Load, Stack, Stmt, Store, Var, walk
from tgc.types import I64


@dataclass(frozen=True)
class Direct:
    """An epilogue that a tile does by itself.

    Attributes:
        store: of the sums, in a loop over columns.
        added: what is added to them, if anything.
        lets: the coordinates of row `r` of a tile, which the places of both are told in.
        rows: the number of rows of a tile, at most.
    """

    store: Store
    added: Load | None
    lets: Sequence[Stmt]
    rows: int

    @staticmethod
    def of(stores: Sequence[Store], column: str, sums: Buffer, lets: Sequence[Stmt], rows: int) -> Direct | None:
        """What these stores are, whose columns the variable `column` goes along, if they are no more than that."""
        if len(stores) != 1:
            return None
        (store,) = stores
        value = store.value
        terms = value.operands if isinstance(value, Apply) and value.primitive == "add" else (value,)
        places = [x for x in terms if isinstance(x, Load)]
        added = [x for x in places if x.buffer.name != sums.name]
        if len(places) != len(terms) or len(added) != len(terms) - 1:
            return None
        there: list[Store | Load] = [store, *added]
        if not all(x.buffer.dtype == sums.dtype and _in_rows(x.index, column) for x in there):
            return None
        other = added[0] if added else None
        return Direct(store, other, lets, rows)

    @property
    def c_rows(self) -> Buffer:
        return Buffer("c_rows", I64, (self.rows,), (1,))

    @property
    def onto(self) -> tuple[Buffer, Expr, Buffer] | None:
        """What a tile adds its sums to: `Tile.onto`."""
        if self.added is None:
            return None
        return self.added.buffer, Var("column"), Buffer("onto_rows", I64, (self.rows,), (1,))

    def stacks(self) -> list[Stmt]:
        """The tables."""
        return [Stack(table, self.rows) for table in (self.c_rows, *([self.onto[2]] if self.onto else []))]

    def places(self) -> list[Stmt]:
        """What fills the tables."""
        r = Var("r")
        stores = [Store(self.c_rows, (r,), _first(self.store))]
        if self.added and self.onto:
            stores.append(Store(self.onto[2], (r,), _first(self.added)))
        text = Comment("places of the tile's rows in what they are added to, and in the result")
        return [text, For("r", Const(0, I64), Const(self.rows, I64), (*self.lets, *stores))]


def _in_rows(index: tuple[Expr, ...], column: str) -> bool:
    """Whether columns lie side by side, and each row where its number says."""
    known = not any(isinstance(x, Load) or x == Var(column) for x in walk(index[:-1]))
    return known and index[-1:] == (Var(column),)


def _first(place: Store | Load) -> Expr:
    """Where the first column of a row lies."""
    at: Expr = Const(0, I64)
    for axis, i in enumerate(place.index[:-1]):
        at = at + i * place.buffer.stride(axis)
    return at


__all__ = ["Direct"]
