"""Contractions as register tiles: matrix products and convolutions alike, with an elementwise epilogue.

Named axes fall into batch (in both operands and the result), m (lhs and result), n (rhs and result) and k (both
operands, summed). One tile is `rows` points of the flattened m axes by `columns` of the fastest n axis:

    rows_at[r] = place in lhs of row r            any affine access: pixels of an image, rows of a matrix
    c[r, :]    = sum over k of lhs[rows_at[r] + k] * rhs[k, columns]        in registers
    out        = epilogue(c)                      from a tile-sized stack buffer, still in the first cache level

An epilogue that only stores sums, or adds an element of memory to each, is the tile's own (`direct.py`). Rows past the
end repeat the last one; columns past the end are masked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tgc.backends.loops.ahead import asking, both_apart, elements_between, epilogue_lines, next_panel
from tgc.backends.loops.axes import Axis, collapse, unflatten
from tgc.backends.loops.direct import Direct
from tgc.backends.loops.gathered import STEPS, gathered_panels, gathered_rows
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
    Tile,
    Var,
)
from tgc.backends.loops.kernel import finish
from tgc.backends.loops.pull import SCALAR, Pull, compute_dtype
from tgc.backends.loops.rows import places_of_rows
from tgc.backends.loops.tiled import (
    TileTarget,
    affine,
    block_step,
    epilogue_stores,
    flat,
    over_columns,
    roles,
    strides,
    table,
)
from tgc.backends.loops.units import HELD, PAGE, turns, unit
from tgc.errors import BackendError
from tgc.ir import Node
from tgc.ops.contraction import conv
from tgc.ops.kinds import AxisMap
from tgc.ops.window import POOLS
from tgc.passes.tiles import LOW, TILED, heights, in_quads, most_rows, tile_shape, windowed
from tgc.sizes import call, calls, is_size, surely_divides
from tgc.types import I64, TensorType

LEVELS = 2  # loops over k inside of a register tile, at most, whatever their extents; slower ones run around it
ALONE = 8  # vectors of a tile of one row: each of them is loaded for one multiply-add
VECTORS, HEIGHTS = (1, 2, 3, 4), (4, 5, 6, 8, 12)  # of columns, and rows, that any other tile can have
PANEL = 64 << 10  # bytes of a panel in a piece of a long sum, its rows apart: these share few sets of any cache
SAME_SET = 4096  # bytes: rows a multiple of them apart begin in one set of the first-level cache

Loop = tuple[Expr, Expr, Expr]  # extent, and how far a step goes in each operand
Level = tuple[int, Expr, Expr, Expr]  # the same behind the extent of this launch


class Product:
    """The kernel of a region with one contraction, elementwise ops behind it, pools and transposes of its results."""

    def __init__(self, pull: Pull, node: Node, axes: AxisMap, name: str, target: TileTarget) -> None:
        self.pull, self.node, self.name, self.body = pull, node, name, pull.body
        op, (lhs, rhs) = node.op, (v.type for v in node.operands)
        self.dtype = node.result.dtype
        pools = [n for n in self.body.nodes if n.op in POOLS]
        pooled = windowed(axes, pools[0].attrs["window"]) if pools else axes
        if pooled is None:
            raise BackendError(f"{pools[0].op.name} of {pools[0].operands[0].type} is not pooled in tiles of {op.name}")
        if quads := "dtype" in node.attrs:  # 8-bit integers: a step of k is one of a quad in both operands
            assert rhs.layout is not None
            (name,) = axes.rhs[rhs.layout.tiles[-1][0]]
            pooled = in_quads(pooled, name)
        self.quads, self.map, self.roles = quads, pooled, roles(pooled)
        self.inside = [a for a in self.roles.m if a not in axes.extents]  # axes along the windows of a pooled result
        self.roles.m.sort(key=self.inside.__contains__)
        if not self.roles.n:
            raise BackendError(f"{op.name}({lhs}, {rhs}): no axis of the right operand is left for columns")
        self.extent = self.map.extents
        self.column = self.roles.n[-1]
        self.m = math.prod(self.extent[a] for a in self.roles.m)
        self.n = self.extent[self.column]
        self.window = math.prod(self.extent[a] for a in self.inside)
        self.registers = quads and target.tile_registers
        self.low = TILED if self.registers else LOW
        self.rows, self.columns = self._shape(target)
        self.l2_bytes, self.near_l3 = target.l2_bytes, target.near_l3
        self.close_bytes = target.l1_bytes if target.near_l3 else max(target.l1_bytes, target.l2_bytes // 4)
        self.lhs_packed = self._packed_rows(lhs)
        self.lhs_step = strides(lhs, self.map.lhs, skip=self.lhs_packed)
        self.packed = self._packed(rhs)
        self.rhs_step = strides(rhs, self.map.rhs, skip=self.packed)
        # one vector in each of few rows hardly hides how long a multiply-add takes
        self.mixed = self.rows > self.low and (self.registers or self.columns > target.lanes(self.dtype))
        self.mixed = self.mixed and self.window == 1
        self.mixed = self.mixed and self.lhs_packed is None and bool(pull.schedule.choose("mixed", 1, 0))
        self.high, low = (
            calls(heights, self.m, self.rows, self.low, count=2, least=0)
            if self.mixed
            else (-(-self.m // self.rows), 0)
        )
        self.panels, self.blocks = -(-self.n // self.columns), self.high + low
        wide = self.packed is None and self.panels >= PAGE // 2
        steps = [self.rhs_step[a] for a in self.roles.k if self.extent[a] != 1]
        stride = min(steps, default=0) * rhs.dtype.itemsize
        most = target.l2_bytes * (self.blocks if stride % SAME_SET else 1)
        self.streamed = wide and self.blocks <= HELD // 4 and rhs.nbytes > most
        if self.packed is None and self.rhs_step[self.column] != 1 and self.n > 1:
            raise BackendError(f"{op.name}({lhs}, {rhs}): columns of the right operand are not contiguous")

    def _shape(self, target: TileTarget) -> tuple[int, int]:
        """Rows and columns of a register tile: those for which operands are packed, else as chosen."""
        choose, lanes = self.pull.schedule.choose, target.lanes(self.dtype)
        lhs_tiled, rhs_tiled = (bool(v.type.layout and v.type.layout.tiles) for v in self.node.operands)
        rows, columns = tile_shape(target, self.dtype, self.m, self.n)
        if not rhs_tiled:
            usual = ALONE if self.m == 1 and self.n >= ALONE * lanes else columns // lanes
            wide = () if is_size(self.n) else VECTORS
            some = (v for v in wide if v * lanes < self.n + lanes and most_rows(target, v) >= LOW)
            vectors = choose("vectors", usual, *some)
            rows, columns = rows if vectors * lanes == columns else most_rows(target, vectors), vectors * lanes
        if self.m == 1:
            return 1, columns
        rows -= rows % self.window
        if not lhs_tiled and not self.registers:
            held = (target.vector_registers - 1) // (columns // lanes) - 1  # rows that registers have room for
            rows = choose("rows", rows, *(r for r in HEIGHTS if r <= held and r % self.window == 0))
        return rows, columns

    def _packed(self, rhs: TensorType) -> int | None:
        """The axis of the right operand that is cut into panels of columns."""
        if rhs.layout is None or not rhs.layout.tiles:
            return None
        axis, size = rhs.layout.tiles[0]
        if self.map.rhs[axis] != {self.column: 1} or size != self.columns:
            raise BackendError(
                f"{self.node.op.name}: layout {rhs.layout} of {rhs} does not pack panels of {self.columns}"
            )
        return axis

    def _packed_rows(self, lhs: TensorType) -> int | None:
        """The axis of the left operand that is cut into blocks of rows."""
        if lhs.layout is None or not lhs.layout.tiles:
            return None
        ((axis, size),) = lhs.layout.tiles
        if len(self.roles.m) != 1 or self.map.lhs[axis] != {self.roles.m[0]: 1} or size != self.rows:
            raise BackendError(f"{self.node.op.name}: layout {lhs.layout} of {lhs} does not pack blocks of {self.rows}")
        return axis

    def _integers(self, prefix: str, names: Sequence[str], values: Mapping[str, int]) -> dict[str, Expr]:
        return {a: self.pull.integer(f"{prefix}_{a}", values.get(a, 0)) for a in names}

    def kernel(self) -> Kernel:
        r = self.roles
        pull, tile = self.pull, Var("tile")
        panels, blocks = self.panels, self.blocks
        outer = [*r.batch, *r.n[:-1]]
        extent = {a: pull.integer(f"n_{a}", self.extent[a]) for a in self.extent}
        lhs = self._integers("a", [*r.batch, *r.m, *r.k], self.lhs_step)
        rhs = self._integers("b", [*r.batch, *r.n[:-1], *r.k], self.rhs_step)
        slow, levels, depth, deepest = self._slow(self._levels(lhs, rhs, extent))
        apart = 1 if self._interleaved() else math.prod(self.extent[x] for x in outer)
        lhs_bytes, rhs_bytes = (v.type.nbytes for v in self.node.operands)
        group, run = calls(
            unit, pull.schedule, blocks, panels, apart, (depth, depth * self.columns * self.dtype.itemsize), bool(slow),
            self.streamed, self.registers, (lhs_bytes, rhs_bytes), math.prod(self.extent[x] for x in r.batch),
            (self.close_bytes, self.l2_bytes), pull.alone, count=2, least=1,
        )  # fmt: skip
        groups, runs = -(-blocks // group), -(-panels // run)
        m = pull.integer("rows", self.m)
        count = pull.integer("units", groups * runs)
        first_block, first_panel = Var("first_block"), Var("first_panel")
        number, batch = (tile % count, tile // count) if outer else (tile, Const(0, I64))
        if self._interleaved():  # what a unit reads and writes shares its lines of the cache with others of the batch
            others = pull.integer("batch", math.prod(self.extent[a] for a in outer))
            number, batch = tile // others, tile % others
        body: list[Stmt] = [Let(v, x) for v, x in unflatten([Axis(a, self.extent[a]) for a in outer], batch)]
        by_panels, cycle = calls(turns, groups, runs, rhs_bytes, self.l2_bytes, count=2, least=0)
        by = SCALAR.ne(pull.integer("by_panels", by_panels), Const(0, I64))
        body += [
            Let("slow_one", number // pull.integer("cycle", cycle)),
            Let("fast_one", number - Var("slow_one") * Var("cycle")),
            Let("first_panel", SCALAR.select(by, Var("fast_one"), Var("slow_one")) * pull.integer("run", run)),
            Let("first_block", SCALAR.select(by, Var("slow_one"), Var("fast_one")) * pull.integer("group", group)),
        ]
        a, b = (pull.buffers[v] for v in self.node.operands)
        c_size = self.rows * self.columns
        last_panel = SCALAR.minimum(first_panel + pull.integer("run", run), pull.integer("panels", panels))
        last_block = SCALAR.minimum(first_block + Var("group"), pull.integer("blocks", blocks))

        def blockwise(*stmts: Stmt) -> For:
            return For("block", first_block, last_block, stmts)

        def panelwise(*stmts: Stmt) -> For:
            return For("panel", first_panel, last_panel, (Let("column", Var("panel") * self.columns), *stmts))

        rows_at = Buffer("rows_at", I64, (self.rows,), (1,))
        c = Buffer("tile_c", self.dtype, (self.rows, self.columns), (self.columns, 1))
        panel_step = self.columns if self.packed is None else block_step(self.node.operands[1].type, self.packed)
        a_at: Expr = Const(0, I64)
        b_at: Expr = Var("panel") * pull.integer("b_panel", panel_step)
        for axis in outer:
            b_at = b_at + Var(axis) * rhs[axis]
        for k, (_, a_step, b_step) in enumerate(slow):
            a_at, b_at = a_at + Var(f"slow{k}") * a_step, b_at + Var(f"slow{k}") * b_step
        whole = self.packed is not None or surely_divides(self.columns, self.n)
        valid = Const(self.columns, I64) if whole else Var(f"n_{self.column}") - Var("column")
        mine = Var("block") - first_block
        rows_from: Expr = mine * self.rows if slow else Const(0, I64)
        c_from: Expr = (mine * Var("run") + Var("panel") - first_panel) * c_size if slow else Const(0, I64)
        next_matrix = self.rhs_step[r.batch[-1]] if r.batch else 0
        another = call(elements_between, runs, groups, run * panel_step, next_matrix, bool(slow), least=0)
        asked, epilogue, direct = self._epilogue(c, c_from, m, one_piece=not slow)
        c_rows = Buffer("c_rows", I64, (self.rows,), (1,))
        full = Tile(
            self.rows, self.columns, a, a_at, rows_at, b, b_at, c, valid, levels, c_rows, c_from,
            onto=(c, c_from, c_rows) if slow else None, rows_from=rows_from,
            ahead=next_panel(self, b, b_at, slow, depth, blocks=group if slow else blocks, another=another),
        )  # fmt: skip
        if direct:
            full = replace(full, c=direct.store.buffer, c_at=Var("column"), onto=direct.onto)
        gathered: list[Stmt] = []
        rows: list[Stmt] = []
        if self.registers:
            full, rows = gathered_rows(self, full, deepest)
        if slow and self.streamed and len(levels) == 1:
            full, gathered = gathered_panels(self, full, slow[-1], depth, run, panelwise)
        one = asking(self, full, lhs, slow[0]) if both_apart(self, slow) else [self.sized(full)]
        row = Let("row", self.first_row(Var("block")))
        start, places = places_of_rows(self, rows_at, rows_from, lhs, extent)
        if direct:
            places = [*places, *direct.places()]
        if start:
            body += [Let("row", self.first_row(first_block)), *start]
        if slow:  # all results of the unit are at hand while what is summed goes by once
            zero = Store(flat(c), (Var("z"),), SCALAR.const(0, self.dtype))
            loops: list[Stmt] = [*gathered, blockwise(*rows, panelwise(*one))]
            for k, (n, _, _) in reversed(list(enumerate(slow))):
                loops = [For(f"slow{k}", Const(0, I64), n, tuple(loops))]
            held = pull.integer("held", group * run * c_size)
            body += [For("z", Const(0, I64), held, (zero,)), blockwise(row, *places), *loops]
            body.append(blockwise(row, panelwise(*epilogue)))
        else:
            body.append(blockwise(row, *places, *rows, panelwise(*asked, *one, *epilogue)))
        most = HELD if slow else 1
        stacks: list[Stmt] = [Stack(rows_at, most * self.rows)]
        if direct:
            stacks += direct.stacks()
        else:
            stacks.append(Stack(flat(c), most * c_size))
            stacks += [] if self.registers else table(c_rows, self.columns)
        stacks += [Stack(x, x.sizes[0]) for x in (*([full.b] if gathered else []), *([full.a] if rows else []))]
        tiles = math.prod(self.extent[x] for x in outer) * groups * runs
        flops = 2 * math.prod(self.extent.values())
        return finish(self.name, pull, [*stacks, *body], tiles=tiles, work=flops // 8)

    def first_row(self, block: Expr) -> Expr:
        """The first row of a block: `high` ones of all rows come before those of few."""
        if not self.mixed:
            return block * self.rows
        high = self.pull.integer("high", self.high)
        return SCALAR.minimum(block, high) * self.rows + SCALAR.maximum(block - high, Const(0, I64)) * self.low

    def sized(self, tile: Tile) -> Stmt:
        """The tile, or one of few rows, as the block at hand has them."""
        return If(Var("block") < Var("high"), (tile,), (replace(tile, rows=self.low),)) if self.mixed else tile

    def height(self) -> Expr:
        """The number of rows of the block at hand."""
        rows = Const(self.rows, I64)
        return SCALAR.select(Var("block") < Var("high"), rows, Const(self.low, I64)) if self.mixed else rows

    def _interleaved(self) -> bool:
        """Whether matrices of the batch lie side by side in each row of the left operand, as groups of channels do, and
        share its lines or pages: parts of a long sum do not.
        """
        steps, rows = ([self.lhs_step.get(a, 0) for a in axes] for axes in (self.roles.batch, self.roles.m))
        near = bool(steps) and max(steps) < min(rows, default=0)
        return near and max(steps) * self.node.operands[0].dtype.itemsize < SAME_SET

    def _levels(self, lhs: Mapping[str, Expr], rhs: Mapping[str, Expr], extent: Mapping[str, Expr]) -> list[Level]:
        """Loops over k, outermost first, neighbours merged where both operands walk on evenly."""
        merged: list[tuple[Level, int, int]] = []
        for a in reversed(self.roles.k):
            step = self.lhs_step[a], self.rhs_step[a]
            if merged:
                (size, n, sa, sb), inner_a, inner_b = merged[-1]
                if step == (inner_a * size, inner_b * size):
                    merged[-1] = (size * self.extent[a], n * extent[a], sa, sb), inner_a, inner_b
                    continue
            merged.append(((self.extent[a], extent[a], lhs[a], rhs[a]), *step))
        levels = [level for level, _, _ in reversed(merged)]
        one, zero = Const(1, I64), Const(0, I64)
        return levels or [(1, one, zero, zero)]

    def _slow(self, levels: Sequence[Level]) -> tuple[list[Loop], tuple[Loop, ...], int, int]:
        """Loops over k around the register tiles, those inside of them, and how many steps those are, here and at most.

        Long sums run in pieces: few steps of a matrix that is streamed; else a panel of the right operand takes at most
        an eighth of the second-level cache, and twice `PANEL` if its rows are apart: over one image, or a row of a
        large one, in the gradient of a convolution by its filter, whatever the number of images.
        """
        size = self.l2_bytes // 16 if self.packed is not None else min(PANEL, self.l2_bytes // 16)
        usual = STEPS if self.streamed else size // (self.columns * self.dtype.itemsize)
        total = math.prod(size for size, *_ in levels)
        others: tuple[int, ...] = (usual // 4, usual // 2, *(() if self.streamed else (2 * usual, 4 * usual)))
        others = () if is_size(total) else tuple(n for n in others if 0 < n < total)
        piece = self.pull.schedule.choose("piece", usual, *others)
        inside = min(len(levels), LEVELS + (self.node.op is conv))  # a filter's extents are the same at every call
        while inside > 1 and math.prod(size for size, *_ in levels[-inside:]) > 2 * piece:
            inside -= 1
        slow: list[Loop] = [(n, a, b) for _, n, a, b in levels[:-inside]]
        fast: list[Loop] = [(n, a, b) for _, n, a, b in levels[-inside:]]
        depth = math.prod(size for size, *_ in levels[-inside:])
        if levels[-1][0] > 2 * piece:  # even one level alone
            n, a, b = fast[0]
            pieces = self.pull.integer("pieces", -(-levels[-1][0] // piece))
            first = Var(f"slow{len(slow)}") * self.pull.integer("piece", piece)
            slow.append((pieces, Var("piece") * a, Var("piece") * b))
            fast[0] = SCALAR.minimum(Var("piece"), n - first), a, b
            depth = piece
        return slow, tuple(fast), depth, 2 * piece

    def _epilogue(
        self, c: Buffer, c_from: Expr, m: Expr, *, one_piece: bool
    ) -> tuple[list[Stmt], list[Stmt], Direct | None]:
        """Store what the region makes of the tile: a point for each of its rows, or for each window of rows; or how a
        tile whose sum is in `one_piece` does it.

        Also what asks for the lines of memory that this takes, where they would not come at once.
        """
        pull, window = self.pull, self.window
        dims = self.map.out
        names = {a: f"row_{a}" for a in self.roles.m if a not in self.inside}  # of their own: collapsing changes sizes

        def place(point: Mapping[str, int]) -> tuple[Expr, ...]:
            """Where an element of the contraction lies, at a point of its window."""
            first = [affine({names.get(a, a): k for a, k in dim.items() if a not in point}) for dim in dims]
            return tuple(x + sum(k * point.get(a, 0) for a, k in d.items()) for x, d in zip(first, dims, strict=True))

        ragged, r = not surely_divides(self.columns, self.n), Var("r")
        j = Var(self.column) - Var("column") if ragged else Var("lane")
        held = compute_dtype(self.dtype)
        points = itertools.product(*(range(self.extent[a]) for a in self.inside))
        row = {place(dict(zip(self.inside, p, strict=True))): r * window + t for t, p in enumerate(points)}
        pull.sources[self.node.result] = lambda at: Load(flat(c), (c_from + row[tuple(at)] * self.columns + j,), held)
        sizes = [math.prod(self.extent[a] for a in dim if a in self.inside) for dim in dims]
        windows = [
            {names.get(a, a): k // size for a, k in dim.items() if a not in self.inside}
            for dim, size in zip(dims, sizes, strict=True)
        ]
        stores = epilogue_stores(pull, tuple(map(affine, windows)))
        axes, _, stores = collapse([Axis(names[a], self.extent[a]) for a in names], [s.value for s in stores], stores)
        for axis in axes:
            pull.integer(f"n_{axis.var}", axis.size)

        def lets(row: Expr) -> list[Stmt]:
            return [Let(v, x) for v, x in unflatten(axes, row)]

        columns = over_columns(self.column, self.columns, Var(f"n_{self.column}") if ragged else None, stores)
        last = SCALAR.minimum(self.height() // window, (m - Var("row")) // window)

        def rowwise(text: str, inner: For) -> list[Stmt]:
            return [Comment(text), For("r", Const(0, I64), last, (*lets(Var("row") // window + r), inner))]

        lines = None if self.near_l3 else epilogue_lines(stores, self.column, self.columns, c)
        asked = rowwise("lines that the epilogue will need", lines) if lines else []
        padded = ragged and self.packed is not None  # of tiles with columns that no result has
        if one_piece and window == 1 and not padded and not self.registers:
            clamped = lets(SCALAR.minimum(Var("row") + r, m - 1))
            direct = Direct.of(stores, self.column, c, clamped, self.rows)
            if direct:
                return asked, [], direct
        return asked, rowwise("epilogue", columns), None
