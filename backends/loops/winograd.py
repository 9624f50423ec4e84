"""Convolution in Winograd's domain: windows transformed to memory; products of them transformed back in registers.

A tile of the product is a group of blocks of windows by one panel of channels: for each block 36 register tiles (16 in
F(2x2)), one for each element of the transformed window, into a scratch that stays in the caches, from which the outputs
are made.
The filters of a panel stay in the second-level cache while all windows pass by, or go by once for each group.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tgc.backends.loops.axes import ZERO, Axis, unflatten
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
    number,
)
from tgc.backends.loops.kernel import finish
from tgc.backends.loops.pull import SCALAR, Pull
from tgc.backends.loops.schedule import Schedule
from tgc.backends.loops.tiled import TileTarget, block_step, epilogue_stores, even, flat, over_columns, table
from tgc.backends.loops.units import SHARES
from tgc.errors import BackendError
from tgc.ir import Node
from tgc.ops.window import POOLS
from tgc.ops.winograd import FILTERINGS, TransformedProduct, WindowTransform, filtering_of
from tgc.passes.tiles import LOW, tile_shape
from tgc.sizes import call, surely_divides
from tgc.types import F32, F64, I64, DType

CHUNK, SPAN = 32, 4  # channels, and windows side by side, that are transformed at once
GROUP = 6  # blocks of windows whose products are held while transformed filters go by


def transformed(matrix: np.ndarray, xs: Sequence[Expr], dtype: DType) -> list[Expr]:
    """matrix @ xs. Rows that differ in signs alone share the sums of the terms that agree and of those that do not."""

    def term(coefficient: float, x: Expr) -> Expr:
        return x if coefficient == 1 else SCALAR.mul(x, SCALAR.const(coefficient, dtype))

    def total(terms: Sequence[tuple[float, Expr]]) -> Expr:
        """The sum of the terms, those with the coefficient -1 subtracted."""
        terms = sorted(terms, key=lambda t: t[0] == -1)
        found: Expr | None = None
        for c, x in terms:
            if found is None:
                found = term(c, x)
            else:
                found = SCALAR.sub(found, x) if c == -1 else SCALAR.add(found, term(c, x))
        return SCALAR.const(0, dtype) if found is None else found

    matrix, xs = _paired(matrix, xs)
    out: dict[int, Expr] = {}
    for i, j in itertools.pairwise(range(len(matrix))):
        same = [k for k in range(len(xs)) if matrix[i, k] == matrix[j, k] != 0]
        other = [k for k in range(len(xs)) if matrix[i, k] == -matrix[j, k] != 0]
        mirrored = len(same) + len(other) == np.count_nonzero(matrix[i]) == np.count_nonzero(matrix[j])
        if mirrored and same and other and i not in out:
            even, odd = (total([(float(matrix[i, k]), xs[k]) for k in ks]) for ks in (same, other))
            out[i], out[j] = SCALAR.add(even, odd), SCALAR.sub(even, odd)
    rows = ([(float(c), x) for c, x in zip(row, xs, strict=True) if c] for row in matrix)
    return [out.get(i) or total(row) for i, row in enumerate(rows)]


def _paired(matrix: np.ndarray, xs: Sequence[Expr]) -> tuple[np.ndarray, list[Expr]]:
    """The same transform of sums and differences of neighbours whose columns differ in signs alone."""
    columns, made, k = [], [], 0
    while k < len(xs):
        a = matrix[:, k]
        b = matrix[:, k + 1] if k + 1 < len(xs) else None
        if b is not None and (abs(a) == abs(b)).all() and (a != b).any():
            columns += [np.where(a == b, a, 0), np.where(a == b, 0, a)]
            made += [SCALAR.add(xs[k], xs[k + 1]), SCALAR.sub(xs[k], xs[k + 1])]
            k += 2
        else:
            columns.append(a)
            made.append(xs[k])
            k += 1
    return np.stack(columns, 1), made


def both_sides(matrix: np.ndarray, xs: Sequence[Expr], dtype: DType) -> list[Expr]:
    """matrix @ x @ matrix.T for a square x, row-major."""
    n, m = matrix.shape[1], len(matrix)
    columns = [transformed(matrix, [xs[k * n + l] for k in range(n)], dtype) for l in range(n)]  # noqa: E741
    rows = [transformed(matrix, [column[a] for column in columns], dtype) for a in range(m)]
    return [x for row in rows for x in row]


def lower_tiles(pull: Pull, name: str) -> list[Kernel]:
    """The kernel of a region that is one `WindowTransform`.

    For some windows side by side and some channels: columns first, which neighbours have in common, then rows.
    """
    (node,) = pull.body.nodes
    assert isinstance(node.op, WindowTransform)
    (x,) = node.operands
    _, n, rows, columns, channels = node.result.shape
    step = node.attrs["tile"]
    matrix = FILTERINGS[step].matrices[node.attrs["matrix"]]
    size, elements = matrix.shape[1], len(matrix)
    wide = (SPAN - 1) * step + size  # pixels of a line that SPAN windows cover
    source, target = pull.buffers[x], pull.result(0)
    lines = Buffer("lines", x.dtype, (elements, wide, CHUNK), (wide * CHUNK, CHUNK, 1))
    made = Buffer("made", x.dtype, (elements, SPAN, CHUNK), (SPAN * CHUNK, CHUNK, 1))
    chunks = -(-channels // CHUNK)
    parts = call(_parts, pull.schedule, chunks, n * rows, least=1)
    for axis, count in (("row", rows), ("part", parts)):
        pull.integer(f"n_{axis}", count)
    outer = unflatten([Axis("image", n), Axis("row", rows), Axis("part", parts)], Var("tile"))
    lane, pixel, i, j, window, first, begin = map(Var, ("lane", "pixel", "i", "j", "window", "first", "begin"))

    def each(var: str, count: Expr | int, *body: Stmt) -> For:
        return For(var, ZERO, number(count), body)

    def put(to: Buffer, k: Expr | int, at: Expr, x: Expr) -> Store:
        return Store(flat(to), (number(k) * to.strides[0] + at * CHUNK + lane,), x)

    def held(of: Buffer, k: Expr, at: Expr) -> Expr:
        return Load(flat(of), (k * of.strides[0] + at * CHUNK + lane,), x.dtype)

    column = [
        Load(source, (Var("image"), Var("row") * step + k, begin * step + pixel, first + lane), x.dtype)
        for k in range(size)
    ]
    line = [held(lines, i, window * step + k) for k in range(size)]
    place = (i * elements + j, Var("image"), Var("row"), begin + window, first + lane)
    windows, channel = Var("windows"), Var("channels")
    columns_first = (put(lines, k, pixel, v) for k, v in enumerate(transformed(matrix, column, x.dtype)))
    rows_then = (put(made, k, window, v) for k, v in enumerate(transformed(matrix, line, x.dtype)))
    stored = Store(target, place, held(made, j, window))
    span = (
        Let("begin", Var("span") * SPAN),
        Let("windows", SCALAR.minimum(Const(SPAN, I64), pull.integer("columns", columns) - begin)),
        each("pixel", (windows - 1) * step + size, each("lane", channel, *columns_first)),
        each(
            "i", elements,
            each("window", windows, each("lane", channel, *rows_then)),
            each("j", elements, each("window", windows, each("lane", channel, stored))),
        ),
    )  # fmt: skip
    chunk = (
        Let("first", Var("chunk") * CHUNK),
        Let("channels", SCALAR.minimum(Const(CHUNK, I64), pull.integer("n_c", channels) - first)),
        each("span", pull.integer("spans", -(-columns // SPAN)), *span),
    )
    share = pull.integer("share", -(-chunks // parts))
    last = SCALAR.minimum((Var("part") + 1) * share, pull.integer("chunks", chunks))
    body: list[Stmt] = [
        Stack(flat(lines), math.prod(lines.sizes)),
        Stack(flat(made), math.prod(made.sizes)),
        *(Let(name, x) for name, x in outer),
        For("chunk", Var("part") * share, last, chunk),
    ]
    work = node.result.type.size * 8
    return [finish(name, pull, body, tiles=n * rows * parts, work=work)]


def _parts(schedule: Schedule, chunks: int, lines: int) -> int:
    """In how many parts the chunks of channels are shared out: few windows have many channels."""
    usual = max(1, min(chunks, SHARES // max(1, lines)))
    return schedule.choose("channel_parts", usual, *(k for k in (1, 2, 4, 8) if k <= chunks))


def _group(schedule: Schedule, blocks: int, panels: int, stays: bool) -> int:
    """Blocks of windows that meet a panel of filters together."""
    group = even(blocks, min(GROUP, blocks * panels // SHARES) if stays else GROUP)
    return schedule.choose("group", group, *range(1, min(GROUP, blocks) + 1))


def lower_product(pull: Pull, name: str, target: TileTarget) -> list[Kernel]:
    """The kernel of a region with one `TransformedProduct`, elementwise ops behind it, transposes of its results."""
    (node,) = (n for n in pull.body.nodes if isinstance(n.op, TransformedProduct))
    return [_Product(pull, node, name, target).kernel()]


class _Product:
    def __init__(self, pull: Pull, node: Node, name: str, target: TileTarget) -> None:
        self.pull, self.node, self.name = pull, node, name
        v, u = (x.type for x in node.operands)
        self.dtype = v.dtype
        if self.dtype not in (F32, F64):
            raise BackendError(f"{node.op.name} of {v} reached the tiled lowering; only f32 and f64 are tiled")
        self.elements, self.images, self.tile_rows, self.tile_columns, self.depth = v.shape
        filtering = filtering_of(self.elements)
        assert filtering is not None
        self.size, self.back = filtering.tile, filtering.matrices["cotangent"].T
        self.windows, self.n = self.images * self.tile_rows * self.tile_columns, u.shape[2]
        choose = pull.schedule.choose
        rows, self.columns = tile_shape(target, self.dtype, self.windows, self.n)
        self.rows = choose("rows", rows, *range(LOW, rows)) if self.windows > 1 else rows
        self.packed = u.layout is not None and u.layout.tiles == ((2, self.columns),)
        if u.layout is not None and not self.packed:
            raise BackendError(f"{node.op.name}: layout {u.layout} of {u} does not pack panels of {self.columns}")
        self.held = self.rows * self.columns  # elements of a register tile
        filters = self.elements * self.depth * self.columns * self.dtype.itemsize  # bytes of a panel's
        self.blocks, self.panels = -(-self.windows // self.rows), -(-self.n // self.columns)
        self.stays = 2 * filters <= target.l2_bytes
        self.group = call(_group, pull.schedule, self.blocks, self.panels, self.stays, least=1)
        self.products = Buffer("products", self.dtype, (GROUP * self.elements * self.held,), (1,))
        self.sums = Buffer("sums", self.dtype, (self.size**2 * self.columns,), (1,))
        self.rows_at = Buffer("rows_at", I64, (GROUP * self.rows,), (1,))
        self.c_rows = Buffer("c_rows", I64, (self.rows,), (1,))

    def kernel(self) -> Kernel:
        pull, tile, r = self.pull, Var("tile"), Var("r")
        groups = -(-self.blocks // self.group)
        count = pull.integer("windows", self.windows)
        first = Var("first_block")
        last = SCALAR.minimum(Var("group"), pull.integer("blocks", self.blocks) - first)
        row = Let("row", (first + Var("block")) * self.rows)
        place = SCALAR.minimum(Var("row") + r, count - 1) * pull.integer("n_c", self.depth)
        places = For("r", ZERO, Const(self.rows, I64), (Store(self.rows_at, (Var("block") * self.rows + r,), place),))
        windows = For("r", ZERO, SCALAR.minimum(Const(self.rows, I64), count - Var("row")), self._window())
        body: list[Stmt] = [
            Stack(self.rows_at, GROUP * self.rows),
            Stack(self.products, GROUP * self.elements * self.held),
            Stack(self.sums, self.size**2 * self.columns),
            *table(self.c_rows, self.columns),
            Let("first_block", tile % pull.integer("groups", groups) * pull.integer("group", self.group)),
            Let("panel", tile // Var("groups")),
            Let("column", Var("panel") * self.columns),
            Comment("places of the group's windows; beyond the last one it is repeated"),
            For("block", ZERO, last, (row, places)),
            For("q", ZERO, Const(self.elements, I64), (For("block", ZERO, last, (self._tiles(),)),)),
            Comment("outputs of each window, and the epilogue"),
            For("block", ZERO, last, (row, windows)),
        ]
        work = 2 * self.windows * self.elements * self.depth * self.n // 8
        return finish(self.name, pull, body, tiles=groups * self.panels, work=work)

    def _tiles(self) -> If:
        """The sums over channels of one element of the transformed windows. What is next from memory are windows, or
        filters where those of a panel do not stay: for either the kernel is the same.
        """
        pull, q = self.pull, Var("q")
        v, u = self.node.operands
        depth, width = pull.integer("n_c", self.depth), pull.integer("n_o", self.n)
        b_row = pull.integer("b_row", self.columns if self.packed else self.n)
        b_panel = pull.integer("b_panel", block_step(u.type, 2) if self.packed else self.columns)
        whole = self.packed or surely_divides(self.columns, self.n)
        valid = Const(self.columns, I64) if whole else width - Var("column")
        a_q = pull.integer("a_q", self.windows * self.depth)
        levels = ((depth, Const(1, I64), b_row),)
        block, x, w = Var("block"), pull.buffers[v], pull.buffers[u]
        b_at = Var("panel") * b_panel + q * depth * b_row
        rows, step = Const(self.rows, I64), pull.integer("ahead_step", -(-self.columns // self.group))
        tile = Tile(
            self.rows, self.columns, x, q * a_q, self.rows_at, w, b_at, self.products, valid, levels, self.c_rows,
            (block * self.elements + q) * self.held, rows_from=block * self.rows,
        )  # fmt: skip
        of_windows = x, q * a_q + (Var("first_block") + block + Var("group")) * depth * rows, rows
        of_filters = w, b_at + depth * b_row + block * depth * step, step
        stays = SCALAR.ne(pull.integer("stays", int(self.stays)), ZERO)
        return If(stays, *((replace(tile, ahead=ahead),) for ahead in (of_windows, of_filters)))

    def _window(self) -> tuple[Stmt, ...]:
        """Transform a window's sums back to outputs, and store what the region makes of those inside of the image."""
        pull, r, lane = self.pull, Var("r"), Var("lane")
        at = Var("block") * (self.elements * self.held) + r * self.columns
        terms = [Load(self.products, (at + lane + k * self.held,), self.dtype) for k in range(self.elements)]
        found = both_sides(self.back, terms, self.dtype)
        gather = tuple(Store(self.sums, (lane + k * self.columns,), x) for k, x in enumerate(found))

        pools = [n.attrs["window"] for n in pull.body.nodes if n.op in POOLS]
        _, height, width, _ = pools[0] if pools else (1,) * 4  # of windows of outputs, which divide the tiles
        _, h, w, _ = self.node.result.shape
        across = self.size // width
        corner = Var("pixel_row") * height, Var("pixel_column") * width
        at_line = Var("pixel") // Const(across, I64) * (height * self.size)
        at_first = at_line + Var("pixel") % Const(across, I64) * width
        points: dict[tuple[Expr, ...], Expr] = {
            (Var("image"), corner[0] + k, corner[1] + l, Var("channel")): at_first + (k * self.size + l)
            for k, l in itertools.product(range(height), range(width))  # noqa: E741
        }
        ragged = not surely_divides(self.columns, self.n)
        j = Var("channel") - Var("column") if ragged else Var("lane")
        pull.sources[self.node.result] = lambda at: Load(self.sums, (points[tuple(at)] * self.columns + j,), self.dtype)
        stores = epilogue_stores(pull, (Var("image"), Var("pixel_row"), Var("pixel_column"), Var("channel")))
        finished = over_columns("channel", self.columns, pull.integer("n_o", self.n) if ragged else None, stores)
        inside = SCALAR.bit_and(
            Var("pixel_row") < pull.integer("n_row", h // height),
            Var("pixel_column") < pull.integer("n_column", w // width),
        )
        pixel = (
            Let("pixel_row", Var("tile_row") * (self.size // height) + Var("pixel") // Const(across, I64)),
            Let("pixel_column", Var("tile_column") * across + Var("pixel") % Const(across, I64)),
            If(inside, (finished,)),
        )
        axes = [Axis("image", self.images), Axis("tile_row", self.tile_rows), Axis("tile_column", self.tile_columns)]
        for axis in axes[1:]:
            pull.integer(f"n_{axis.var}", axis.size)
        return (
            *(Let(name, x) for name, x in unflatten(axes, Var("row") + r)),
            For("lane", ZERO, Const(self.columns, I64), gather),
            For("pixel", ZERO, Const(self.size // height * across, I64), pixel),
        )


__all__ = ["lower_product", "lower_tiles"]
