"""Going over statements of the loop IR."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tgc.backends.loops.ir import Expr, For, If, Let, Prefetch, Rows, Stmt, Store, Tile, Turn, WindowTile, Words


def expressions(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions that a statement itself holds."""
    match stmt:
        case For():
            return stmt.lo, stmt.hi
        case If():
            return (stmt.condition,)
        case Let():
            return (stmt.value,)
        case Store():
            return (*stmt.index, stmt.value)
        case Tile():
            onto = () if stmt.onto is None else (stmt.onto[1],)
            ahead = () if stmt.ahead is None else stmt.ahead[1:]
            own: tuple[Expr, ...] = (stmt.rows_from, *onto, *ahead)
        case WindowTile():
            own = stmt.unit, stmt.c_row
        case Rows():
            return stmt.a_at, stmt.rows_from, stmt.count, *(x for n, step, _ in stmt.levels for x in (n, step))
        case Turn():
            return stmt.at, stmt.step, stmt.to, stmt.row
        case Prefetch():
            return stmt.index
        case Words():
            return (*stmt.key, stmt.first, stmt.count)
        case _:
            return ()
    return (*own, stmt.a_at, stmt.b_at, stmt.c_at, stmt.valid, *(x for level in stmt.levels for x in level))


def statements(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """Every statement, outer ones first."""
    for stmt in body:
        yield stmt
        if isinstance(stmt, For | If):
            yield from statements(stmt.body)
        if isinstance(stmt, If):
            yield from statements(stmt.otherwise)
