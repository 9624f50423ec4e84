"""The last step of every lowering: name shared expressions, drop unused run-time integers, bind buffers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tgc.backends.loops.ir import (
    Apply,
    Buffer,
    Const,
    Expr,
    For,
    Guard,
    If,
    Kernel,
    Let,
    Load,
    Stack,
    Stmt,
    Store,
    Tile,
    Var,
    children,
    substitute,
    walk,
)  # fmt: skip
from tgc.backends.loops.pull import Pull
from tgc.types import I64

DEPTH = 6  # operations nested in one line of a kernel's text


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
            return (stmt.a_at, stmt.b_at, stmt.valid, *(x for level in stmt.levels for x in level))
        case _:
            return ()


def statements(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """Every statement, outer ones first."""
    for stmt in body:
        yield stmt
        if isinstance(stmt, For | If):
            yield from statements(stmt.body)


def _buffers_of(stmt: Stmt) -> Iterator[Buffer]:
    if isinstance(stmt, Store):
        yield stmt.buffer
    if isinstance(stmt, Tile):
        yield from (stmt.a, stmt.b, stmt.c)
    for x in walk(expressions(stmt)):
        if isinstance(x, Load):
            yield x.buffer


def _shared(stmts: Sequence[Let | Store], fresh: Iterator[int], local: frozenset[str]) -> tuple[Stmt, ...]:
    """Give names to expressions that several places of one block use, or that would make a line too long.

    What only a guarded branch uses keeps its place, so that nothing is evaluated outside of its guard. Operands that
    the block overwrites are read before its first store; `local` names the arrays on the stack, read in order.
    """
    uses: dict[Expr, int] = {}
    depth: dict[Expr, int] = {}

    def count(x: Expr) -> None:
        uses[x] = uses.get(x, 0) + 1
        if uses[x] == 1:
            for child in (x.condition,) if isinstance(x, Guard) else children(x):
                count(child)

    for stmt in stmts:
        for x in expressions(stmt):
            count(x)
    named: dict[Expr, Expr] = {}
    out: list[Stmt] = []
    stored = {s.buffer for s in stmts if isinstance(s, Store) and s.buffer.name not in local}

    def visit(x: Expr) -> Expr:
        """`x` with named parts replaced; emits the names that it needs first."""
        if x in named:
            return named[x]
        if isinstance(x, Const | Var):
            return x
        if isinstance(x, Guard):
            condition = visit(x.condition)  # first: what it needs gets names that the branches then use
            memo: dict[Expr, Expr] = {}
            then, other = (substitute(b, lambda y: named.get(y), memo) for b in (x.then, x.otherwise))
            new: Expr = Guard(condition, then, other, x.dtype)
        elif isinstance(x, Load):
            new = Load(x.buffer, tuple(visit(i) for i in x.index), x.dtype)
        else:
            new = Apply(x.primitive, tuple(visit(o) for o in x.operands), x.dtype)
        depth[new] = 1 + max((depth.get(c, 0) for c in children(new)), default=0)
        plain = x.dtype == I64 and all(
            isinstance(y, Const | Var) or (y.dtype == I64 and _address(y)) for y in walk([x])
        )
        checked = isinstance(x, Apply) and x.primitive == "index"
        before_store = isinstance(x, Load) and x.buffer in stored
        if checked or before_store or (not plain and (uses[x] > 1 or depth[new] > DEPTH)):
            name = Var(f"v{next(fresh)}", x.dtype)
            named[x] = name
            out.append(Let(name.name, new))
            return name
        return new

    for k, stmt in enumerate(stmts):
        if isinstance(stmt, Let):
            value = visit(stmt.value)
            out.append(Let(stmt.name, value))
        else:
            for later in stmts[k:]:  # elements that stores of this block overwrite are read before any of them
                for x in walk(expressions(later)) if stored and isinstance(later, Store) else ():
                    if isinstance(x, Load) and x.buffer in stored:
                        visit(x)
            index = tuple(visit(i) for i in stmt.index)
            out.append(Store(stmt.buffer, index, visit(stmt.value)))
        changed = stmt.name if isinstance(stmt, Let) else None
        array = stmt.buffer if isinstance(stmt, Store) and stmt.buffer.name in local else None
        stale = [x for x in named if any(_depends(y, changed, array) for y in walk([x]))]
        for x in stale:
            del named[x]
    return tuple(out)


def _address(x: Expr) -> bool:
    """Whether an expression is integer arithmetic that addressing takes along, not worth a name."""
    return isinstance(x, Apply) and x.primitive in ("add", "sub", "mul", "floor_div", "mod")


def _depends(x: Expr, name: str | None, buffer: Buffer | None) -> bool:
    return (isinstance(x, Var) and x.name == name) or (isinstance(x, Load) and x.buffer == buffer)


def share(body: Sequence[Stmt], fresh: Iterator[int], local: frozenset[str]) -> tuple[Stmt, ...]:
    """Name shared expressions in every block of statements; a name has one type in the whole kernel."""
    out: list[Stmt] = []
    block: list[Let | Store] = []

    def flush() -> None:
        out.extend(_shared(block, fresh, local))
        block.clear()

    for stmt in body:
        if isinstance(stmt, Let | Store):
            block.append(stmt)
            continue
        flush()
        out.append(replace(stmt, body=share(stmt.body, fresh, local)) if isinstance(stmt, For | If) else stmt)
    flush()
    return tuple(out)


def finish(name: str, pull: Pull, stmts: Sequence[Stmt], *, tiles: int, work: int) -> Kernel:
    """A kernel from its statements."""
    body = pull.body
    local = frozenset(s.buffer.name for s in statements(stmts) if isinstance(s, Stack))
    found: dict[str, Buffer] = {}
    used: set[str] = set()
    checked = False
    for stmt in statements(stmts):
        for buffer in _buffers_of(stmt):
            if buffer.name not in local:
                found[buffer.name] = buffer
        for x in walk(expressions(stmt)):
            if isinstance(x, Var):
                used.add(x.name)
            if isinstance(x, Apply) and x.primitive == "index":
                checked = True
    for stmt in statements(stmts):  # strides that addressing needs
        for index, buffer in _addresses(stmt):
            used.update(
                s.name for k, i in enumerate(index) if i != Const(0, I64) and isinstance(s := buffer.stride(k), Var)
            )
    names = sorted(found, key=lambda n: (n[0] == "y", int(n[1:])))
    bindings = tuple(("out" if n[0] == "y" else "in", int(n[1:])) for n in names)
    values = {k: v for k, v in pull.values.items() if k in used}
    scalars = {k: v for k, v in pull.scalars.items() if k in used}
    doc = f"({', '.join(str(v.type) for v in body.inputs)}) -> ({', '.join(str(v.type) for v in body.outputs)})"
    return Kernel(
        name,
        doc,
        tuple(found[n] for n in names),
        values,
        scalars,
        share(stmts, itertools.count(), local),
        "tile",
        bindings,
        tiles,
        work,
        checked,
    )


def _addresses(stmt: Stmt) -> Iterator[tuple[tuple[Expr, ...], Buffer]]:
    if isinstance(stmt, Store):
        yield stmt.index, stmt.buffer
    for x in walk(expressions(stmt)):
        if isinstance(x, Load):
            yield x.index, x.buffer
