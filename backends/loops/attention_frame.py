"""What the kernels of attention and of its gradient have in common: sizes, addresses, visibility, register tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tgc.backends.loops.axes import ZERO, Axis, ceil_div
from tgc.backends.loops.ir import (
    SQUARE,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Let,
    Load,
    Stack,
    Stmt,
    Store,
    Tile,
    Turn,
    Var,
    number,
)
from tgc.backends.loops.kernel import finish
from tgc.backends.loops.pull import SCALAR, Pull
from tgc.backends.loops.schedule import Schedule
from tgc.ops.attention import Attention, logical, unseen
from tgc.passes.tiles import Shaped, most_rows
from tgc.types import I64, DType

ONE = Const(1, I64)
PANELS = 3  # register tiles of queries of a block, at most
KEYS, WIDE = 64, 256  # sources of a block, at least; half of them where rows have more than so many bytes


def loop(var: str, count: Expr | int, *body: Stmt, lo: Expr = ZERO) -> For:
    """for var in range(lo, count)."""
    return For(var, lo, number(count), body)


def ceil(n: int, by: int) -> int:
    """`n`, or the next multiple of `by`."""
    return -(-n // by) * by


def clip(x: Expr, lo: Expr, hi: Expr) -> Expr:
    """`x`, or the nearer end of lo..hi."""
    clipped: Expr = SCALAR.minimum(SCALAR.maximum(x, lo), hi)
    return clipped


@dataclass(frozen=True)
class Blocks:
    """The sizes of register tiles and of blocks of the scores.

    A register tile of scores is `rows` sources by `columns` queries; one of a result is `rows` queries by `columns` of
    its last axis. So `queries` is a multiple of both, and `keys` one of `rows`.
    """

    rows: int
    columns: int
    queries: int
    keys: int

    @property
    def pitch(self) -> int:
        """Elements from one row of transposed queries to the next: whole blocks that are transposed at once."""
        return ceil(self.queries, SQUARE)

    @staticmethod
    def of(target: Shaped, dtype: DType, width: int, schedule: Schedule) -> Blocks:
        """For heads that are `width` wide, so that all local matrices together take no more than 300 KiB."""
        columns = 2 * target.lanes(dtype)
        queries = schedule.choose("panels", PANELS, *range(1, PANELS)) * columns
        rows = next(r for r in range(most_rows(target, 2), 0, -1) if queries % r == 0)
        usual = KEYS // 2 if width * dtype.itemsize > WIDE else KEYS
        keys = schedule.choose("keys", usual, usual // 4, usual // 2)
        return Blocks(rows, columns, queries, ceil(keys, rows))


class Frame:
    """What both kernels have in common: sizes, addresses, buffers, and who sees whom.

    Local integers of the code: `first` is the first query of a block, `queries` how many it has, in `panels` of
    `columns`; `key` is the first source of a block, `keys` how many it has; `open` is 1 where nothing is passed over.
    """

    def __init__(self, pull: Pull, name: str, target: Shaped) -> None:
        self.pull, self.name = pull, name
        (self.node,) = (n for n in pull.body.nodes if isinstance(n.op, Attention))
        op, attrs = self.node.op, self.node.attrs
        assert isinstance(op, Attention)
        self.arity, self.orders = op.arity, attrs["orders"]
        types = [v.type for v in (*self.node.operands, *self.node.results)]
        self.shapes = [logical(t, self.orders, k) for k, t in enumerate(types)]
        self.dtype = types[0].dtype
        (*lead, time, dim), (source, out) = self.shapes[0], self.shapes[2][-2:]
        self.blocks = Blocks.of(target, self.dtype, max(dim, out), pull.schedule)
        self.lead = [Axis(f"lead{k}", n) for k, n in enumerate(lead)]
        for axis in self.lead:
            pull.integer(f"n_{axis.var}", axis.size)
        self.time, self.source = pull.integer("time", time), pull.integer("source", source)
        self.dim, self.out = pull.integer("dim", dim), pull.integer("out", out)
        pull.scalars["scale"] = Const(float(attrs["scale"]), self.dtype)
        self.scale = Var("scale", self.dtype)
        self.before, self.after = (
            None if attrs[side] is None else pull.integer(side, attrs[side]) for side in ("before", "after")
        )
        self.trims = self.before is not None or self.after is not None
        self.low = Const(unseen(self.dtype), self.dtype)
        self.half_low = Const(unseen(self.dtype) / 2, self.dtype)
        self.stacks: list[Stmt] = []
        results = {v: pull.result(k) for k, v in enumerate(pull.body.outputs)}
        self.results = [results.get(v) for v in self.node.results]
        self.tables: dict[int, Buffer] = {}

    def local(self, name: str, elements: int, dtype: DType | None = None) -> Buffer:
        """A buffer on the stack."""
        made = Buffer(name, dtype or self.dtype, (elements,), (1,))
        self.stacks.append(Stack(made, elements))
        return made

    def number(self, x: float) -> Expr:
        return Const(x, self.dtype)

    def load(self, x: Buffer, *index: Expr) -> Expr:
        return Load(x, index, x.dtype)

    def extent(self, k: int) -> Expr:
        """The size of the last axis of operand `k`, a matrix."""
        return self.dim if k < 2 else self.out

    def width(self, k: int) -> int:
        """Elements of a row of a local matrix that has the last axis of operand `k`: few different numbers."""
        c = max(self.blocks.columns, SQUARE)  # whole blocks, where rows are transposed
        return c << max(0, math.ceil(math.log2(self.shapes[k][-1] / c)))

    # ------------------------------------------------------------------------------------------------------ addresses

    def index(self, k: int, *last: Expr) -> tuple[Expr, ...]:
        """The place along each axis of operand or result `k`, at `last` along the axes behind the leading ones."""
        places = [*(Var(a.var) for a in self.lead), *last]
        order = self.orders[k] if self.orders else range(len(places))
        at: list[Expr] = [ZERO] * len(places)
        for axis, place, n in zip(order, places, self.shapes[k], strict=True):
            if n > 1 or k < self.arity or k >= len(self.node.operands):  # axes of masks may be broadcast
                at[axis] = place
        return tuple(at)

    def element(self, k: int, *last: Expr) -> Expr:
        """An element of an operand."""
        return self.pull.at(self.node.operands[k], self.index(k, *last))

    # ---------------------------------------------------------------------------------------------------- visibility

    def first_seer(self, key: Expr) -> Expr | None:
        """The first query of the block, counted from its beginning, that sees a source; None if all do."""
        return None if self.after is None else key - self.after - Var("first")

    def last_seer(self, key: Expr) -> Expr | None:
        """The last query of the block that sees a source."""
        return None if self.before is None else key + self.before - Var("first")

    def opened(self, least: Expr, most: Expr) -> Expr:
        """`most` where nothing is passed over, else `least`."""
        return least + (most - least) * Var("open")

    def seen_panels(self) -> list[Stmt]:
        """Let `p0` and `p1` be the panels of queries between which some see sources `at` .. `at` + rows of a block."""
        c, all_ = self.blocks.columns, Var("panels")
        first = self.first_seer(Var("key") + Var("at"))
        last = self.last_seer(Var("key") + Var("at") + (self.blocks.rows - 1))
        lo: Expr = ZERO if first is None else self.opened(clip(first, ZERO, all_ * c) // c, ZERO)
        hi = all_ if last is None else self.opened(ceil_div(clip(last + 1, ZERO, all_ * c), c), all_)
        return [Let("p0", lo), Let("p1", hi)]

    def seen_keys(self, first: Expr) -> tuple[Expr, Expr]:
        """The sources of the block between which those lie that queries `first` .. `first` + rows of theirs see."""
        n = Var("keys")
        lo: Expr = ZERO
        hi: Expr = n
        at = Var("first") + first - Var("key")
        if self.before is not None:
            lo = self.opened(clip(at - self.before, ZERO, n), ZERO)
        if self.after is not None:
            hi = self.opened(clip(at + self.blocks.rows + self.after, ZERO, n), n)
        return lo, hi

    def seen_queries(self) -> tuple[Expr, Expr]:
        """The queries of the block between which those lie that see sources `at` .. `at` + rows."""
        n: Expr = Var("queries")
        first = self.first_seer(Var("key") + Var("at"))
        last = self.last_seer(Var("key") + Var("at") + (self.blocks.rows - 1))
        lo: Expr = ZERO if first is None else self.opened(clip(first, ZERO, n), ZERO)
        hi = n if last is None else self.opened(clip(last + 1, ZERO, n), n)
        return lo, hi

    def hidden(self, x: Buffer, value: Callable[[Expr], Expr]) -> list[Stmt]:
        """Put `value(query)` in row `j` of a block, of panels p0..p1, where the source may not be seen."""
        b, r = self.blocks, Var("r")
        lo, hi = Var("p0") * b.columns, Var("p1") * b.columns
        key, at = Var("key") + Var("j"), Var("j") * b.queries + r
        put = Store(x, (at,), value(r))
        made: list[Stmt] = []
        if (first := self.first_seer(key)) is not None:
            made.append(loop("r", clip(first, lo, hi), put, lo=lo))
        if (last := self.last_seer(key)) is not None:
            made.append(loop("r", hi, put, lo=clip(last + 1, lo, hi)))
        for k in range(self.arity, len(self.node.operands)):
            if self.shapes[k][-2] == 1:
                made.append(If(SCALAR.bit_not(self.element(k, ZERO, key)), (loop("r", hi, put, lo=lo),)))
                continue
            kept = SCALAR.select(self.element(k, Var("first") + r, key), self.load(x, at), value(r))
            made.append(loop("r", SCALAR.minimum(hi, Var("queries")), Store(x, (at,), kept), lo=lo))
        return made

    # ------------------------------------------------------------------------------------------------------ statements

    def block_of_queries(self, block: Expr) -> list[Stmt]:
        b = self.blocks
        return [
            Let("first", block * b.queries),
            Let("queries", SCALAR.minimum(Const(b.queries, I64), self.time - Var("first"))),
            Let("panels", ceil_div(Var("queries"), b.columns)),
        ]

    def rows_at(self, step: int) -> Buffer:
        """A table of the places of a register tile's rows, `step` elements apart."""
        if step not in self.tables:
            self.tables[step] = self.local(f"rows_of_{step}", self.blocks.rows, I64)
        return self.tables[step]

    def copied(self, k: int, first: str, count: str, to: Buffer, factor: Expr | None = None) -> Stmt:
        """Rows of operand `k` in a local matrix, close together: those of one head may be far apart in memory."""
        i, d = Var("i"), Var("d")
        value = self.element(k, Var(first) + i, d)
        put = Store(to, (i * self.width(k) + d,), value if factor is None else SCALAR.mul(value, factor))
        return loop("i", Var(count), loop("d", self.extent(k), put))

    def local_queries(self, name: str, k: int) -> tuple[Buffer, Buffer]:
        """Local matrices for a block's rows of operand `k`, and for their transpose."""
        size = self.width(k) * self.blocks.pitch
        return self.local(name, size), self.local(f"{name}_columns", size)

    def transposed(self, k: int, x: Buffer, to: Buffer, factor: Expr | None = None) -> list[Stmt]:
        """The block's rows of operand `k`, copied to `x`, as columns of another matrix; zeros beyond the last one."""
        d, n, row, column = Var("d"), self.blocks.pitch, Var("row") * SQUARE, Var("column") * SQUARE
        wide = self.width(k)
        turn = Turn(to, x, row * wide + column, number(wide), to=column * n + row, row=number(n))
        none = Store(to, (d * n + Var("r"),), self.number(0.0))
        return [
            self.copied(k, "first", "queries", x, factor),
            loop("row", ceil_div(Var("queries"), SQUARE), loop("column", ceil_div(self.extent(k), SQUARE), turn)),
            loop("d", self.extent(k), loop("r", Var("panels") * self.blocks.columns, none, lo=Var("queries"))),
        ]

    def key_tiles(self, *body: Stmt) -> For:
        """For tiles of sources `at` .. of the block, with the panels p0..p1 of queries that see some."""
        rows = self.blocks.rows
        return loop("t", ceil_div(Var("keys"), rows), Let("at", Var("t") * rows), *self.seen_panels(), *body)

    def each_key(self, *body: Stmt) -> For:
        """For the sources `j` of a tile."""
        end = SCALAR.minimum(Var("at") + self.blocks.rows, Var("keys"))
        return loop("j", end, *body, lo=Var("at"))

    def each_query(self, *body: Stmt) -> list[Stmt]:
        """For the queries `r` of panels p0..p1, vector by vector."""
        c = self.blocks.columns
        inner = loop("c", c, Let("r", Var("p") * c + Var("c")), *body)
        return [For("p", Var("p0"), Var("p1"), (inner,))]

    def outside(self, *xs: Buffer) -> list[Stmt]:
        """Zeros in row `j` of blocks, beside panels p0..p1."""
        c, at = self.blocks.columns, Var("j") * self.blocks.queries + Var("r")
        none = [Store(x, (at,), self.number(0.0)) for x in xs]
        made: list[Stmt] = []
        if self.after is not None:
            made.append(loop("r", Var("p0") * c, *none))
        if self.before is not None:
            made.append(loop("r", Var("panels") * c, *none, lo=Var("p1") * c))
        return made

    def scored(self, x: Buffer, k: int, columns: Buffer, to: Buffer) -> Stmt:
        """A tile of a block of sources (rows of operand `k`, in `x`) times a transposed block, for panels p0..p1."""
        b = self.blocks
        wide, panel = self.width(k), Var("p") * b.columns
        tile = Tile(
            b.rows, b.columns, x, Var("at") * wide, self.rows_at(wide), columns, panel, to, number(b.columns),
            ((self.extent(k), ONE, number(b.pitch)),), self.rows_at(b.queries), Var("at") * b.queries + panel,
        )  # fmt: skip
        return For("p", Var("p0"), Var("p1"), (tile,))

    def weighted(
        self, block: Buffer, x: Buffer, k: int, to: Buffer, *, by_query: bool, first: Expr, accumulate: bool = True
    ) -> list[Stmt]:
        """Sums of rows of `x` (those of operand `k`) to rows `first` .. of `to`, weighted by elements of a block.

        `by_query`: rows of the result are queries `at` .. of the block, sums go over its sources; else the reverse.
        """
        b, least = self.blocks, Var("least")
        across, along = (1, b.queries) if by_query else (b.queries, 1)
        lo, hi = self.seen_keys(Var("at")) if by_query else self.seen_queries()
        wide, panel = self.width(k), Var("panel") * b.columns
        place, rows = first * wide + panel, self.rows_at(wide)
        tile = Tile(
            b.rows, b.columns, block, Var("at") * across + least * along, self.rows_at(across), x, least * wide + panel,
            to, number(b.columns), ((Var("most") - least, number(along), number(wide)),), rows, place,
            onto=(to, place, rows) if accumulate else None,
        )  # fmt: skip
        return [Let("least", lo), Let("most", hi), loop("panel", ceil_div(self.extent(k), b.columns), tile)]

    def finish(self, body: Sequence[Stmt], tiles: int, products: int) -> Kernel:
        (*_, time, dim), (source, out) = self.shapes[0], self.shapes[2][-2:]
        work = products * math.prod(a.size for a in self.lead) * time * source * (dim + out) // 8
        r = Var("r")
        tables = [loop("r", self.blocks.rows, Store(x, (r,), r * step)) for step, x in self.tables.items()]
        return finish(self.name, self.pull, [*self.stacks, *tables, *body], tiles=tiles, work=work)
