"""The last step of every lowering: name shared expressions, drop unused run-time integers, bind buffers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
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
    Prefetch,
    Rows,
    Stack,
    Stmt,
    Store,
    Tile,
    Turn,
    Var,
    WindowTile,
    children,
    read_by,
    walk,
)  # fmt: skip
from tgc.backends.loops.pull import Pull
from tgc.backends.loops.schedule import PARTS
from tgc.backends.loops.statements import expressions, statements
from tgc.backends.loops.words import drawn
from tgc.types import I64

DEPTH = 6  # operations nested in one line of a kernel's text
LEAVES = (Const, Var)  # tests of tuples are quicker than those of unions


class _Names:
    """Names for expressions that several places of one block use, or that would make a line too long.

    A guarded branch is a block of its own: what only it uses is evaluated behind its guard, and named there.

    Attributes:
        out: the statements that give the names, in order.
        named: expressions that have a name.
    """

    def __init__(
        self, roots: Sequence[Expr], stored: frozenset[Buffer], fresh: Iterator[int], named: Mapping[Expr, Expr]
    ) -> None:
        self.stored, self.fresh = stored, fresh
        self.named = dict(named)
        self.out: list[Stmt] = []
        self.uses: dict[Expr, int] = {}
        self.depth: dict[Expr, int] = {}
        for x in roots:
            self._count(x)

    def _count(self, x: Expr) -> None:
        if isinstance(x, LEAVES):
            return  # they get no names
        uses = self.uses[x] = self.uses.get(x, 0) + 1
        if uses == 1 and x not in self.named:
            for child in (x.condition,) if isinstance(x, Guard) else children(x):
                self._count(child)

    def visit(self, x: Expr) -> Expr:
        """`x` with named parts replaced; gives the names that it needs first."""
        if isinstance(x, LEAVES):
            return x
        if (known := self.named.get(x)) is not None:
            return known
        if isinstance(x, Guard):
            new = self._guarded(x)
        elif isinstance(x, Load):
            new = Load(x.buffer, tuple(self.visit(i) for i in x.index), x.dtype)
        else:
            new = Apply(x.primitive, tuple(self.visit(o) for o in x.operands), x.dtype)
        self.depth[new] = 1 + max((self.depth.get(c, 0) for c in children(new)), default=0)
        if isinstance(new, Var) or not self._wants_name(x, self.depth[new]):
            return new
        name = self._name(x)
        self.out.append(Let(name.name, new))
        return name

    def _name(self, x: Expr) -> Var:
        name = Var(f"v{next(self.fresh)}", x.dtype)
        self.named[x] = name
        return name

    def _wants_name(self, x: Expr, depth: int) -> bool:
        if isinstance(x, Apply) and x.primitive == "index":  # where it is named, it is checked
            return True
        if isinstance(x, Load) and x.buffer in self.stored:
            return True
        return (self.uses.get(x, 0) > 1 or depth > DEPTH) and not (x.dtype == I64 and _address(x))

    def _guarded(self, x: Guard) -> Expr:
        """A conditional expression; the name of what an `If` computes where a branch needs names."""
        condition = self.visit(x.condition)  # first: what it needs gets names that the branches then use
        blocks = [_Names([b], self.stored, self.fresh, self.named) for b in (x.then, x.otherwise)]
        then, otherwise = (block.visit(b) for block, b in zip(blocks, (x.then, x.otherwise), strict=True))
        if not any(block.out for block in blocks):
            return Guard(condition, then, otherwise, x.dtype)
        name = self._name(x)
        bodies = ((*b.out, Let(name.name, value)) for b, value in zip(blocks, (then, otherwise), strict=True))
        self.out.append(If(condition, *bodies))
        return name


def _shared(stmts: Sequence[Let | Store], fresh: Iterator[int], local: frozenset[str]) -> tuple[Stmt, ...]:
    """Name the shared expressions of a block.

    Operands that the block overwrites are read before its first store; `local` names the arrays on the stack, which are
    read in order.
    """
    stored = frozenset(s.buffer for s in stmts if isinstance(s, Store) and s.buffer.name not in local)
    names = _Names([x for stmt in stmts for x in expressions(stmt)], stored, fresh, {})
    early = [_loads(stmt, stored) if isinstance(stmt, Store) else () for stmt in stmts]
    for k, stmt in enumerate(stmts):
        if isinstance(stmt, Let):
            value = names.visit(stmt.value)
            names.out.append(Let(stmt.name, value))
        else:
            for load in itertools.chain(*early[k:]):  # what the block overwrites is read before its first store
                names.visit(load)
            index = tuple(names.visit(i) for i in stmt.index)
            value = names.visit(stmt.value)
            names.out.append(Store(stmt.buffer, index, value))
        changed = stmt.name if isinstance(stmt, Let) else stmt.buffer
        if isinstance(stmt, Let) or stmt.buffer.name in local:
            for x in [x for x in names.named if changed in read_by(x)]:
                del names.named[x]
    return tuple(names.out)


def _loads(stmt: Stmt, buffers: frozenset[Buffer]) -> list[Load]:
    """The elements of some buffers that a statement reads."""
    roots = [x for x in expressions(stmt) if not buffers.isdisjoint(read_by(x))]
    return [x for x in walk(roots) if isinstance(x, Load) and x.buffer in buffers]


def _address(x: Expr) -> bool:
    """Whether an expression is integer arithmetic that addressing takes along, not worth a name."""
    if isinstance(x, Const | Var):
        return True
    known: bool | None = getattr(x, "_is_address", None)
    if known is None:
        own = isinstance(x, Apply) and x.primitive in ("add", "sub", "mul", "floor_div", "mod") and x.dtype == I64
        known = own and all(map(_address, children(x)))
        object.__setattr__(x, "_is_address", known)  # expressions share operands
    return known


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
        if isinstance(stmt, For | If):
            stmt = replace(stmt, body=share(stmt.body, fresh, local))
        if isinstance(stmt, If):
            stmt = replace(stmt, otherwise=share(stmt.otherwise, fresh, local))
        out.append(stmt)
    flush()
    return tuple(out)


def finish(name: str, pull: Pull, stmts: Sequence[Stmt], *, tiles: int, work: int) -> Kernel:
    """A kernel from its statements."""
    body, stmts = pull.body, drawn(stmts)
    local = frozenset(s.buffer.name for s in statements(stmts) if isinstance(s, Stack))
    read = walk([x for stmt in statements(stmts) for x in expressions(stmt)])
    used = {x.name for x in read if isinstance(x, Var)}
    checked = any(isinstance(x, Apply) and x.primitive == "index" for x in read)
    addresses = [(x.index, x.buffer) for x in read if isinstance(x, Load)]
    found: dict[str, Buffer] = {buffer.name: buffer for _, buffer in addresses}
    for stmt in statements(stmts):
        match stmt:
            case Store():
                addresses.append((stmt.index, stmt.buffer))
                found[stmt.buffer.name] = stmt.buffer
            case Prefetch():
                addresses.append((stmt.index, stmt.buffer))
            case Tile() | WindowTile():
                onto = stmt.onto[:1] if isinstance(stmt, Tile) and stmt.onto else ()
                found |= {buffer.name: buffer for buffer in (stmt.a, stmt.b, stmt.c, *onto)}
            case Rows():
                found[stmt.a.name] = stmt.a
            case Turn():
                found |= {buffer.name: buffer for buffer in (stmt.block, stmt.source)}
    for index, buffer in addresses:  # the strides that they need
        used.update(
            s.name for k, i in enumerate(index) if i != Const(0, I64) and isinstance(s := buffer.stride(k), Var)
        )
    for held in local & found.keys():
        del found[held]
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
        pull.schedule.choose("parts", 0, *PARTS),
    )
