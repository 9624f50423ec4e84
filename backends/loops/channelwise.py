"""Contractions of each channel by itself: depthwise convolutions and their gradients by the filter.

The channels are the fastest axis of both operands and of the result, and the columns of register tiles (`WindowTile`).
The last m axis is the rows of tiles: pixels of a line of the image, or elements of a line of the filter; each point of
the other m axes is a line. Rows go together with the last axis of k, the taps, along one axis of the left operand.

Zeros around the left operand are not there: sums leave out what would be multiplied by them. Along axes of k that go
with the lines this is one range for all rows. Of the taps, each row has its own range. Either

- rows are many: they are computed in blocks, and those at the ends of a line leave out what lies beyond it; or, where
  lines are too short or it is not known yet how long they are, rows at the edges are computed one by one;
- taps are many: those that all rows of a line have go by in blocks, and then for each row those that it has besides.

Where k is too large for the first-level cache (all pixels, in the gradient by the filter), its slower axes are loops
around the lines, and the sums of several lines are held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tgc.backends.loops.axes import Axis, ceil_div, unflatten
from tgc.backends.loops.ir import (
    Buffer,
    Comment,
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
    Var,
    WindowTile,
)
from tgc.backends.loops.kernel import finish
from tgc.backends.loops.pull import SCALAR, Pull, compute_dtype
from tgc.backends.loops.tiled import TileTarget, affine, epilogue_stores, flat, over_columns, roles, strides
from tgc.ir import Node
from tgc.ops.kinds import AxisMap
from tgc.sizes import call, is_size
from tgc.types import I64

LEVELS = 3  # loops over k inside of a register tile, at most
HELD = 512  # rows whose sums are held while loops over k run around them, or one line
SHARES = 32  # pieces of work to share among threads, if there are so many lines
LEAST, MOST = 8, 14  # rows of a tile: its columns leave registers for as many, if there are; no tile has more
LINE, FEW = 64, 4  # bytes of a line of the cache, which a tile reads as a whole if that leaves it as many rows
UNROLLED, SOME = 7, 4  # taps: as many are unrolled at once if that is all, else some
ZERO, ONE = Const(0, I64), Const(1, I64)


class Channelwise:
    """The kernel of a region with one contraction of each channel by itself, along `axes`, and its epilogue."""

    def __init__(self, pull: Pull, node: Node, axes: AxisMap, name: str, target: TileTarget) -> None:
        self.pull, self.node, self.axes, self.name = pull, node, axes, name
        lhs, rhs = (v.type for v in node.operands)
        self.dtype, self.shape, self.size = lhs.dtype, lhs.shape, axes.extents
        role = roles(axes)
        (*self.batch, self.channel), self.k = role.batch, role.k
        (*self.lines, self.row), self.tap = role.m, self.k[-1]
        self.a, self.b = (pull.buffers[v] for v in node.operands)
        self.along = next(dim for dim, steps in enumerate(axes.lhs) if self.row in steps)
        self.padded = {a: dim for dim in range(lhs.rank) if self._padded(dim) for a in axes.lhs[dim] if a in self.k}

        self.width, taps, n = self.size[self.row], self.size[self.tap], self.size[self.channel]
        self.taps = taps if taps <= UNROLLED else SOME
        self.cut_taps = self.tap in self.padded and taps > self.width
        lanes, registers = target.lanes(self.dtype), target.vector_registers
        count = -(-n // lanes)
        step = axes.lhs[self.along][self.row]

        def most_rows(vectors: int) -> int:
            return registers // vectors - self.taps - (2 * step - 1)

        line = max(1, LINE // (lanes * self.dtype.itemsize))
        wide = max(registers // (self.taps + 1 + min(self.width, LEAST)), line if most_rows(line) >= FEW else 1)
        vectors = pull.schedule.choose(
            "vectors",
            _vectors(count, wide),
            *(v for v in (1, 2, 4) if count % v == 0 and v * (self.taps + 2) <= registers),
        )
        self.columns = vectors * lanes
        self.panels, self.ragged = -(-n // self.columns), bool(n % self.columns)
        near = target.l1_bytes // (4 * self.columns * self.dtype.itemsize)  # points of k: half of it for both operands
        whole = [i for i in range(1, LEVELS + 1) if math.prod(self.size[a] for a in self.k[-i:]) <= near]
        inside = min(max(whole, default=1), len(self.k))
        self.inside = pull.schedule.choose("inside", inside, *range(1, min(LEVELS, len(self.k)) + 1))
        self.held = self.cut_taps or self.inside < len(self.k)
        self.first, self.last = self._middle(self.row, self.tap)
        count = self.width if self.cut_taps else self.last - self.first
        most = min(max(1, most_rows(vectors)), MOST)
        self.ends = None if self.held else self._ends(_rows(self.width, most, overlap=True))
        if self.ends:
            self.first, self.last = 0, self.width
            count = self.width
        fitting = [r for r in range(1, min(most, max(1, count)) + 1) if not self.held or count % r == 0]
        if self.ends and any(self.ends):
            fitting = [r for r in fitting if self._ends(r) == self.ends]
        self.rows = pull.schedule.choose("rows", _rows(count, most, overlap=not self.held), *fitting)
        self._name_integers(strides(lhs, axes.lhs), strides(rhs, axes.rhs))

    def _name_integers(self, a_step: Mapping[str, int], b_step: Mapping[str, int]) -> None:
        """Sizes and strides as run-time integers; those of the columns are 1."""
        pull = self.pull
        self.extent = {a: pull.integer(f"n_{a}", n) for a, n in self.size.items()}
        self.a_step = {a: pull.integer(f"a_{a}", n) for a, n in a_step.items() if a != self.channel}
        self.b_step = {a: pull.integer(f"b_{a}", n) for a, n in b_step.items() if a != self.channel}

    def _padded(self, dim: int) -> bool:
        """Whether sums reach beyond the left operand along one of its axes."""
        low = self.axes.low[dim] if self.axes.low else 0
        reach = sum((self.size[a] - 1) * step for a, step in self.axes.lhs[dim].items())
        return low > 0 or reach >= self.shape[dim]

    def _middle(self, a: str, other: str) -> tuple[int, int]:
        """The points of one axis along the lines of the left operand that lie inside of it for all of the other."""
        if self.tap not in self.padded:
            return 0, self.size[a]
        steps, low = self.axes.lhs[self.along], self.axes.low[self.along]
        first = min(-(-low // steps[a]), self.size[a])
        reach = (self.size[other] - 1) * steps[other]
        return first, max(first, min(self.size[a], (self.shape[self.along] - 1 + low - reach) // steps[a] + 1))

    def _ends(self, rows: int) -> tuple[int, int] | None:
        """How far the first and the last row of a line reach beyond it, in places along its axis of the left operand;
        None where that is not known yet, or not only the first and the last block of so many rows reach there.
        """
        steps, n = self.axes.lhs[self.along], self.shape[self.along]
        low = self.axes.low[self.along] if self.axes.low else 0
        if self.tap not in self.padded or self.taps != self.size[self.tap] or len(steps) > 2:
            return None
        if any(map(is_size, (n, self.width, low))) or self.width < 1:
            return None
        step = steps[self.row]
        high = (self.width - 1) * step + (self.taps - 1) * steps[self.tap] - low - (n - 1)
        left, right, blocks = max(0, low), max(0, high), -(-self.width // rows)
        if blocks == 1:
            return (left, right) if left + right <= (self.width - 1) * step + self.taps else None
        others = self.width - rows, self.width - (blocks - 1) * rows  # rows behind the first, and the last but one
        return (left, right) if left <= step * min(others[0], rows) and right <= step * min(others) else None

    # ------------------------------------------------------------------------------------------- ranges of sums

    def _place(self, a: str) -> Expr:
        """Where along its axis of the left operand the point 0 of a padded axis of k lies."""
        steps = self.axes.lhs[self.padded[a]]
        others = (Var(b) * self.pull.integer(f"by_{b}", steps[b]) for b in steps if b != a)
        return sum(others, start=ZERO) - self.pull.integer(f"low_{a}", self.axes.low[self.padded[a]])

    def _by(self, a: str) -> Expr:
        return self.pull.integer(f"by_{a}", self.axes.lhs[self.padded[a]][a])

    def _size(self, a: str) -> Expr:
        return self.pull.integer(f"inside_{a}", self.shape[self.padded[a]])

    def _range(self, a: str) -> list[Stmt]:
        """Names for the points of a padded axis of k that lie inside of the left operand."""
        place, step = self._place(a), self._by(a)
        end = SCALAR.minimum(self.extent[a], (self._size(a) - 1 - place) // step + 1)
        return [Let(f"first_{a}", SCALAR.maximum(ZERO, 0 - place // step)), Let(f"end_{a}", end)]

    # --------------------------------------------------------------------------------------------------- loops

    def kernel(self) -> Kernel:
        pull, size = self.pull, self.size
        lines = math.prod(size[a] for a in self.lines)
        held = max(1, HELD // self.width)
        some = pull.schedule.choose("lines", held if self.held else 1, *(n for n in (1, 2, 4, 8, 16) if n <= held))
        units = math.prod(size[a] for a in self.batch) * -(-lines // some)
        run = call(_run, self.panels, units, least=1)
        outer = [*(Axis(a, size[a]) for a in self.batch), Axis("lines", -(-lines // some))]
        outer.append(Axis("panels", -(-self.panels // run)))
        for axis in outer:
            pull.integer(f"n_{axis.var}", axis.size)
        held = max(HELD, self.width) if self.held else self.rows
        self.c = Buffer("tile_c", self.dtype, (held, self.columns), (self.columns, 1))
        first_line, first_panel = Var("lines") * pull.integer("some", some), Var("panels") * pull.integer("run", run)
        end = SCALAR.minimum(first_panel + Var("run"), pull.integer("all_panels", self.panels))
        body: list[Stmt] = [
            Stack(flat(self.c), held * self.columns),
            *(Let(v, x) for v, x in unflatten(outer, Var("tile"))),
            Let("first_line", first_line),
            Let("last_line", SCALAR.minimum(Var("first_line") + Var("some"), pull.integer("all_lines", lines))),
            For("panel", first_panel, end, (Let("column", Var("panel") * self.columns), *self._panel())),
        ]
        tiles = math.prod(axis.size for axis in outer)
        return finish(self.name, pull, body, tiles=tiles, work=2 * math.prod(size.values()) // 8)

    def _panel(self) -> list[Stmt]:
        """All lines of a unit, and all that is summed, for one panel of columns."""
        sums = self._over(len(self.k) - self.inside, self._cut_taps if self.cut_taps else self._cut_rows)
        if not self.held:
            return sums
        of_line = self.extent[self.row] * self.columns
        zeros = (Var("last_line") - Var("first_line")) * of_line
        zero = For("z", ZERO, zeros, (Store(flat(self.c), (Var("z"),), SCALAR.const(0, self.dtype)),))
        if self.cut_taps:  # the few besides: down all lines of an image at once
            sums += self._over(max(0, len(self.k) - 2), self._more_taps)
        return [zero, *sums, self._linewise(*self._epilogue(ZERO, self.extent[self.row]))]

    def _linewise(self, *stmts: Stmt) -> For:
        places = (Let(v, x) for v, x in unflatten([Axis(a, self.size[a]) for a in self.lines], Var("line")))
        return For("line", Var("first_line"), Var("last_line"), (*places, *stmts))

    def _over(self, around: int, tiles: Callable[[Sequence[str]], Sequence[Stmt]]) -> list[Stmt]:
        """Loops over as many axes of k, and over the lines, around tiles that sum along the others."""
        slow, fast = self.k[:around], self.k[around:]
        body = [x for a in fast[:-1] if a in self.padded for x in self._range(a)]
        body += tiles(fast)
        for a in slow:
            if a in self.padded:
                place = self._place(a) + Var(a) * self._by(a)
                body = [If(SCALAR.bit_and(place >= ZERO, place < self._size(a)), tuple(body))]
        loop: Stmt = self._linewise(*body)
        for a in reversed(slow):
            loop = For(a, ZERO, self.extent[a], (loop,))
        return [loop]

    def _cut_rows(self, fast: Sequence[str]) -> list[Stmt]:
        """The tiles of a line: blocks of the middle rows, which have all taps, and each row at the edges."""
        pull, start = self.pull, Var("start")
        first, last = pull.integer("first_row", self.first), pull.integer("last_row", self.last)
        edges = self.width - (self.last - self.first)
        body: list[Stmt] = []
        if edges:
            at = SCALAR.select(Var("edge") < first, Var("edge"), Var("edge") + (last - first))
            lets = (Let("start", at), Let(self.row, start), *self._range(self.tap))
            tile = self._tile(1, 1, fast, Var(f"first_{self.tap}"), Var(f"end_{self.tap}"))
            body.append(For("edge", ZERO, pull.integer("edges", edges), (*lets, tile, *self._own(ZERO, ONE))))
        if self.last > self.first:
            nominal = first + Var("block") * self.rows
            whole = self._tile(self.rows, self.taps, fast, ZERO, self.extent[self.tap])
            tiles = self._ended(whole, ceil_div(last - first, self.rows))
            # the last block ends with the middle: rows that it has in common with the one before are stored but once
            after = self._own(nominal - start, Const(self.rows, I64))
            lets = (Let("start", SCALAR.minimum(nominal, last - self.rows)),)
            body.append(For("block", ZERO, ceil_div(last - first, self.rows), (*lets, tiles, *after)))
        return body

    def _ended(self, tile: WindowTile, blocks: Expr) -> Stmt:
        """The tile of a block, of which the first and the last leave out what lies beyond the line."""
        left, right = self.ends or (0, 0)
        if self.rows >= self.width:
            return replace(tile, left=left, right=right)
        first, last = replace(tile, left=left), replace(tile, right=right)
        some = self.width > 2 * self.rows  # blocks between them
        made: Stmt = If(SCALAR.eq(Var("block"), blocks - 1), (last,), (tile,)) if some and right else last
        return made if first == made else If(SCALAR.eq(Var("block"), ZERO), (first,), (made,))

    def _cut_taps(self, fast: Sequence[str]) -> list[Stmt]:
        """The tiles of a line over the taps that all of its rows have."""
        first, last = self._common()
        tile = self._tile(self.rows, self.taps, fast, first, last)
        blocks = self.extent[self.row] // Const(self.rows, I64)
        return [For("block", ZERO, blocks, (Let("start", Var("block") * self.rows), tile))]

    def _more_taps(self, fast: Sequence[str]) -> list[Stmt]:
        """Each row's taps before and behind those that all rows of the line have."""
        first, last = self._common()
        own_first, own_end = Var(f"first_{self.tap}"), Var(f"end_{self.tap}")
        before = self._tile(1, 1, fast, own_first, SCALAR.minimum(first, own_end))
        behind = self._tile(1, 1, fast, SCALAR.maximum(last, own_first), own_end)
        lets = (Let("start", Var(self.row)), *self._range(self.tap))
        return [For(self.row, ZERO, self.extent[self.row], (*lets, before, behind))]

    def _common(self) -> tuple[Expr, Expr]:
        first, last = self._middle(self.tap, self.row)
        return self.pull.integer("common", first), self.pull.integer("common_end", last)

    # --------------------------------------------------------------------------------------------------- tiles

    @property
    def direct(self) -> bool:
        """Whether tiles are the results, to be stored in their places at once."""
        return not self.held and self.pull.body.outputs == (self.node.result,)

    def _tile(self, rows: int, taps: int, fast: Sequence[str], first: Expr, end: Expr) -> WindowTile:
        """The tile of rows from `start` on, with the taps `first` .. `end`, along the axes `fast` of k."""
        start, column, steps = Var("start"), Var("column"), self.axes.lhs[self.along]
        valid = self.extent[self.channel] - column if self.ragged else Const(self.columns, I64)
        lows = {a: Var(f"first_{a}") if a in self.padded else ZERO for a in fast[:-1]}
        counts = [Var(f"end_{a}") - lows[a] if a in self.padded else self.extent[a] for a in fast[:-1]]
        at: dict[str, Expr] = {a: Var(a) for a in (*self.batch, *self.k) if a not in fast}
        at |= {**lows, self.tap: first}
        a_at: Expr = column
        b_at: Expr = column
        for a, i in at.items():
            a_at, b_at = a_at + i * self.a_step[a], b_at + i * self.b_step[a]
        for a, i in {**{a: Var(a) for a in self.lines}, self.row: start}.items():
            a_at = a_at + i * self.a_step[a]
        if any(self.axes.low):
            low = sum(n * stride for n, stride in zip(self.axes.low, self.a.strides, strict=True))
            a_at = a_at - self.pull.integer("a_low", low)
        c, c_at = flat(self.c), self._held(start)
        c_row: Expr = Const(self.columns, I64)
        if self.direct:
            c, c_step = self.pull.result(0), strides(self.node.result.type, self.axes.out)
            c_row = self.pull.integer(f"c_{self.row}", c_step[self.row])
            c_at = column + start * c_row
            for a in (*self.batch, *self.lines):
                c_at = c_at + Var(a) * self.pull.integer(f"c_{a}", c_step[a])
        levels = ((n, self.a_step[a], self.b_step[a]) for n, a in zip([*counts, end - first], fast, strict=True))
        unit = self.pull.integer("unit", self.a.strides[self.along])
        return WindowTile(
            rows, self.columns, taps, steps[self.row], steps[self.tap], self.a, a_at, unit, self.b, b_at, c, c_at,
            c_row, valid, tuple(levels), accumulate=self.held,
        )  # fmt: skip

    def _held(self, row: Expr) -> Expr:
        """The place of a row's sums: after those of other rows where they are held, else in a tile of its own."""
        if not self.held:
            return ZERO
        return ((Var("line") - Var("first_line")) * self.extent[self.row] + row) * self.columns

    def _own(self, lo: Expr, hi: Expr) -> list[Stmt]:
        """The epilogue of rows `lo` .. `hi` of a tile, unless tiles are results or sums are held."""
        return [] if self.held or self.direct else self._epilogue(lo, hi)

    def _epilogue(self, lo: Expr, hi: Expr) -> list[Stmt]:
        """Store what the region makes of rows `lo` .. `hi` of a tile, or of a line whose sums are held."""
        pull, r = self.pull, Var("r")
        start = ZERO if self.held else Var("start")
        j = Var(self.channel) - Var("column") if self.ragged else Var("lane")
        place = self._held(start) + r * self.columns + j
        pull.sources[self.node.result] = lambda _: Load(flat(self.c), (place,), compute_dtype(self.dtype))
        stores = epilogue_stores(pull, tuple(map(affine, self.axes.out)))
        end = self.extent[self.channel] if self.ragged else None
        columns = over_columns(self.channel, self.columns, end, stores)
        return [Comment("epilogue"), For("r", lo, hi, (Let(self.row, start + r), columns))]


def _run(panels: int, units: int) -> int:
    """The panels of columns of a piece of work: all of them where there are enough pieces."""
    return panels if units >= SHARES else 1


def _vectors(count: int, most: int) -> int:
    """The vectors of columns of a tile, a power of two that divides `count`: then no panel of columns is a part."""
    return max(v for v in (1, 2, 4) if v == 1 or (v <= most and count % v == 0))


def _rows(count: int, most: int, *, overlap: bool) -> int:
    """The rows of a tile of which few cover `count` rows; blocks of them that may not overlap cover just these."""
    if overlap:
        return -(-count // max(1, -(-count // most))) or 1
    return max(n for n in range(1, most + 1) if count % n == 0)


__all__ = ["Channelwise"]
