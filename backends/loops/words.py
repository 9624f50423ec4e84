"""Random words that a loop reads one behind the other are drawn before it, some at a time, into a buffer on the stack.

An element by itself would take a block of the generator's words and use one of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tgc.backends.loops.ir import (
    Apply,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    Stack,
    Stmt,
    Store,
    Var,
    Words,
    read_by,
    substitute,
    walk,
)
from tgc.backends.loops.pull import SCALAR
from tgc.backends.loops.statements import expressions, statements
from tgc.types import I64, U32

WORDS = 256  # that are drawn at once
BLOCK = 4  # words that the generator makes together
APART = 8  # words from one turn of a loop to the next: where it is more, too few are used of those that are drawn
SLACK = 32  # words of a buffer beside those of the turns: before the first one, in a vector behind the last


@dataclass(frozen=True)
class _Row:
    """Words of one key that go along with a loop: those at `start` + a number, and `step` further at each turn."""

    key: tuple[Expr, Expr]
    start: Expr  # in terms of the loop's variable
    step: Expr


def drawn(stmts: Sequence[Stmt]) -> list[Stmt]:
    """The statements of a kernel, whose innermost loops read words from the stack where these lie in a row."""
    stacks: list[Stmt] = []
    return [*_within(stmts, stacks, itertools.count()), *stacks]


def _within(stmts: Sequence[Stmt], stacks: list[Stmt], fresh: Iterator[int]) -> tuple[Stmt, ...]:
    made: list[Stmt] = []
    for stmt in stmts:
        if isinstance(stmt, For) and all(isinstance(s, Let | Store | If) for s in statements(stmt.body)):
            made += _drawn_before(stmt, stacks, fresh)
            continue
        if isinstance(stmt, For | If):
            stmt = replace(stmt, body=_within(stmt.body, stacks, fresh))
        if isinstance(stmt, If):
            stmt = replace(stmt, otherwise=_within(stmt.otherwise, stacks, fresh))
        made.append(stmt)
    return tuple(made)


def _drawn_before(loop: For, stacks: list[Stmt], fresh: Iterator[int]) -> list[Stmt]:
    """An innermost loop; if it draws, loops over some turns of it at a time, and what draws for these."""
    found = _rows(loop)
    if not found:
        return [loop]
    used: dict[_Row, list[int]] = {}
    for row, number in found.values():
        used.setdefault(row, []).append(number)
    var = Var(loop.var)
    first, end = Var("first_turn"), Var("end_turn")
    turns: Expr = Const(WORDS, I64)
    draws: list[Stmt] = []
    at: dict[_Row, tuple[Buffer, Expr]] = {}
    for row, numbers in used.items():
        k, least, most = next(fresh), min(numbers), max(numbers)
        buffer, skip = Buffer(f"words{k}", U32, (WORDS + most - least + SLACK,), (1,)), Var(f"skip{k}")
        place = _with(row.start, var, first) + least
        count = (end - first - 1) * row.step + (1 + most - least) + skip
        stacks.append(Stack(buffer, buffer.sizes[0]))
        draws += [Let(skip.name, place % BLOCK), Words(buffer, row.key, place - skip, count)]
        at[row] = buffer, skip - least
        fit = SCALAR.select(SCALAR.le(row.step, Const(APART, I64)), Const(WORDS, I64) // row.step, Const(1, I64))
        turns = turns if row.step == Const(1, I64) else SCALAR.minimum(turns, fit)

    def replaced(x: Expr) -> Expr | None:
        if x not in found:
            return None
        row, number = found[x]
        buffer, before = at[row]
        return Load(buffer, (before + number + (var - first) * row.step,), U32)

    inner = For(loop.var, first, end, _substituted(loop.body, replaced))
    extent = loop.hi - loop.lo
    if isinstance(turns, Const) and isinstance(extent, Const) and extent.value <= WORDS:
        # all at once, with a number of turns that the vectorizer knows
        return [Let(first.name, loop.lo), Let(end.name, loop.hi), *draws, replace(inner, lo=loop.lo, hi=loop.hi)]
    start = loop.lo + Var("strip") * Var("turns")
    strip = [Let(first.name, start), Let(end.name, SCALAR.minimum(loop.hi, start + Var("turns"))), *draws, inner]
    count = (extent + Var("turns") - 1) // Var("turns")
    return [Let("turns", turns), For("strip", Const(0, I64), count, tuple(strip))]


def _substituted(body: Sequence[Stmt], replaced: Callable[[Expr], Expr | None]) -> tuple[Stmt, ...]:
    """Statements of an innermost loop, with expressions replaced."""
    memo: dict[Expr, Expr] = {}

    def new(x: Expr) -> Expr:
        return substitute(x, replaced, memo)

    made: list[Stmt] = []
    for s in body:
        match s:
            case Let():
                made.append(Let(s.name, new(s.value)))
            case Store():
                made.append(Store(s.buffer, tuple(map(new, s.index)), new(s.value)))
            case If():
                made.append(If(new(s.condition), *(_substituted(part, replaced) for part in (s.body, s.otherwise))))
    return tuple(made)


def _rows(loop: For) -> dict[Expr, tuple[_Row, int]]:
    """The draws of a loop whose words lie in rows: each one's row, and its number in it."""
    every = list(statements(loop.body))
    draws = [x for x in walk([x for s in every for x in expressions(s)]) if _is_draw(x)]
    if not draws:
        return {}
    changed = {s.name if isinstance(s, Let) else s.buffer for s in every if isinstance(s, Let | Store)}
    known = _lets(loop)
    found: dict[Expr, tuple[_Row, int]] = {}
    for x in draws:
        assert isinstance(x, Apply)
        key0, key1, place = (substitute(o, known.get, {}) for o in x.operands)
        start, number = _split(place)
        step = _step(start, Var(loop.var))
        if step is None or step == Const(0, I64) or loop.var in read_by(key0) | read_by(key1):
            continue
        if not changed.isdisjoint(read_by(key0) | read_by(key1) | read_by(start)):
            continue
        found[x] = _Row((key0, key1), start, step), number
    return found


def _is_draw(x: Expr) -> bool:
    return isinstance(x, Apply) and x.primitive == "philox"


def _lets(loop: For) -> dict[Expr, Expr]:
    """What variables stand for that a loop sets once in each turn, of types of places."""
    names = [s.name for s in statements(loop.body) if isinstance(s, Let)]
    known: dict[Expr, Expr] = {}
    for s in loop.body:
        if isinstance(s, Let) and names.count(s.name) == 1 and s.value.dtype == I64:
            known[Var(s.name)] = substitute(s.value, known.get, {})
    return known


def _split(place: Expr) -> tuple[Expr, int]:
    """A place as an expression and a number that is added to it."""
    if isinstance(place, Apply) and place.primitive == "add" and isinstance(place.operands[1], Const):
        return place.operands[0], int(place.operands[1].value)
    return place, 0


def _step(x: Expr, var: Var) -> Expr | None:
    """How far a place moves as a variable grows by one; None if that is not known, or not forwards."""
    if var.name not in read_by(x):
        return Const(0, I64)
    if x == var:
        return Const(1, I64)
    if not isinstance(x, Apply) or x.primitive not in ("add", "mul"):
        return None
    steps = [_step(o, var) for o in x.operands]
    left, right = steps
    if left is None or right is None:
        return None
    if x.primitive == "add":
        return left + right
    if Const(0, I64) not in steps:
        return None
    factor = x.operands[steps.index(Const(0, I64))]
    other = left if right == Const(0, I64) else right
    positive = isinstance(factor, Var) or (isinstance(factor, Const) and factor.value > 0)
    return other * factor if positive else None


def _with(x: Expr, var: Var, value: Expr) -> Expr:
    return substitute(x, lambda y: value if y == var else None, {})
