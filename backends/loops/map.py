"""Kernels of maps: regions whose results have one shape and need no reduction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tgc.backends.loops.axes import Axis, collapse, nest, unflatten
from tgc.backends.loops.guards import cut
from tgc.backends.loops.ir import (
    SQUARE,
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
    Turn,
    Var,
    substitute,
    walk,
)
from tgc.backends.loops.kernel import finish
from tgc.backends.loops.pull import SCALAR, Pull, logical
from tgc.backends.loops.schedule import Schedule
from tgc.backends.loops.strips import loops
from tgc.ir import Node, Value
from tgc.passes.templates import joined
from tgc.sizes import call, surely_divides
from tgc.types import I64, TensorType, is_complex

BLOCK = 2048  # elements of a tile of a map that has one axis left
OTHER_BLOCKS = 512, 1024, 4096, 8192, 16384
STRIP, SHARES = 4, 16  # blocks side by side that one tile transposes, tiles from which on it does
ROWS = 8  # of panels that are filled together: more of them would not stay in the first-level cache side by side


def lower_map(pull: Pull, name: str) -> list[Kernel]:
    """One loop nest over the results' storage; tiles are its outer axes, or blocks of its only one."""
    body = pull.body
    out = body.outputs[0].type
    work = math.prod(out.storage) * max(1, len(body.nodes))
    if (node := joined(body.nodes, body.outputs)) is not None:
        loop, tiles = _piecewise(pull, node)
        return [finish(name, pull, loop, tiles=tiles, work=work)]
    axes = [Axis(f"i{k}", n) for k, n in enumerate(out.storage)]
    place = tuple(Var(a.var) for a in axes)
    stores = [Store(pull.result(k), place, _element(pull, v, place)) for k, v in enumerate(body.outputs)]
    axes, _, stores = collapse(axes, [s.value for s in stores], stores)
    for axis in axes:
        pull.integer(f"n_{axis.var}", axis.size)
    tile = Var("tile")
    if (across := _across(axes, stores)) is not None:
        loop, tiles = _blockwise(pull, axes, across, stores, tile)
    elif _panels(out) and len(axes) > 2:
        loop, tiles = _panelwise(pull, axes, stores, tile)
    elif len(axes) == 1:
        (axis,) = axes
        block = pull.schedule.choose("block", BLOCK, *OTHER_BLOCKS)
        end = SCALAR.minimum(axis.extent, (tile + 1) * block)
        loop = (For(axis.var, tile * block, end, tuple(stores)),)
        tiles = -(-axis.size // block)
    else:
        inner = pull.schedule.choose("inner", 2 if len(axes) > 2 else 1, *range(1, len(axes)))
        outer = axes[:-inner]
        lets = [Let(var, value) for var, value in unflatten(outer, tile)]
        strips: list[Stack] = []

        def innermost(axes: Sequence[Axis], stores: Sequence[Store]) -> tuple[Stmt, ...]:
            for axis in axes:
                pull.integer(f"n_{axis.var}", axis.size)
            made, strip = loops(axes, stores)
            if strip is not None and not strips:
                strips.append(Stack(strip, strip.sizes[0]))
            return made

        inside = cut(axes[len(outer) :], stores, innermost)
        loop = (*strips, *lets, *inside)
        tiles = math.prod(a.size for a in outer)
    return [finish(name, pull, loop, tiles=tiles, work=work)]


def _piecewise(pull: Pull, node: Node) -> tuple[tuple[Stmt, ...], int]:
    """A loop for each piece of a row that `node` joins, rather than a question at each element; one loop for all of
    them and the other results, if there are any.
    """
    rows = [Axis(f"i{k}", n) for k, n in enumerate(node.result.shape[:-1])]
    for axis in rows:
        pull.integer(f"n_{axis.var}", axis.size)
    row = tuple(Var(a.var) for a in rows)
    loops: list[Stmt] = []
    start: Expr = Const(0, I64)
    outputs = pull.body.outputs
    whole = pull.result(outputs.index(node.result))
    others = [(pull.result(k), v) for k, v in enumerate(outputs) if v is not node.result]
    together = [Store(y, (*row, Var("j")), pull.at(v, (*row, Var("j")))) for y, v in others]
    for k, piece in enumerate(node.operands):
        j, size = Var("j" if others else f"j{k}"), pull.size(piece, len(rows))
        store = Store(whole, (*row, start + j), pull.at(piece, (*row, j)))
        if others:
            together.append(store)
        else:
            loops.append(For(j.name, Const(0, I64), size, (store,)))
        start = start + size
    if others:
        loops.append(For("j", Const(0, I64), pull.size(node.operands[0], len(rows)), _reading_first(together, whole)))
    lets = [Let(var, value) for var, value in unflatten(rows, Var("tile"))]
    return (*lets, *loops), math.prod(a.size for a in rows)


def _reading_first(stores: Sequence[Store], whole: Buffer) -> tuple[Stmt, ...]:
    """Stores behind the loads of operands in whose place `whole` may be stored: they are as large."""
    every = walk([s.value for s in stores])
    guarded = {x for g in every if isinstance(g, Guard) for x in walk([g.then, g.otherwise])}
    found = [x for x in every if isinstance(x, Load) and x.buffer.sizes == whole.sizes and x not in guarded]
    names: dict[Expr, Expr] = {x: Var(f"piece{k}", x.dtype) for k, x in enumerate(found)}
    memo: dict[Expr, Expr] = {}
    lets = [Let(f"piece{k}", x) for k, x in enumerate(found)]
    return (*lets, *(replace(s, value=substitute(s.value, names.get, memo)) for s in stores))


def _panels(out: TensorType) -> bool:
    """Whether the result is stored in panels: its slowest axis in memory is also the one that is cut."""
    return out.layout is not None and [axis for axis, _ in out.layout.tiles] == [out.layout.order[0]]


def _panelwise(pull: Pull, axes: Sequence[Axis], stores: Sequence[Store], tile: Expr) -> tuple[tuple[Stmt, ...], int]:
    """Loops that fill some rows of all panels before the next rows, and the number of tiles.

    What a row of the panels holds lies side by side in the operand: the lines of the cache and the pages that are read
    for one panel serve the next.
    """
    out = pull.body.outputs[0]
    assert out.type.layout is not None
    ((cut, width),) = out.type.layout.tiles
    panel, *outer, row, column = axes
    rows = pull.schedule.choose("rows", ROWS, ROWS // 2, 2 * ROWS, 4 * ROWS)
    blocks = Axis(f"{row.var}_block", -(-row.size // rows))
    pull.integer(f"n_{blocks.var}", blocks.size)
    lets = [Let(var, value) for var, value in unflatten([*outer, blocks], tile)]

    def copy(stores: Sequence[Store]) -> tuple[Stmt, ...]:
        first = Var(blocks.var) * rows
        inner = For(column.var, column.lo, Const(width, I64), tuple(stores))
        return (For(row.var, first, SCALAR.minimum(row.extent, first + rows), (inner,)),)

    body = copy(stores)
    if not surely_divides(width, out.shape[cut]):  # only the last panel has places beyond the end
        inside = [Store(s.buffer, s.index, s.value.then) for s in stores if isinstance(s.value, Guard)]
        whole = pull.size(out, cut) >= (Var(panel.var) + 1) * width
        body = (If(whole, copy(inside), body),)
    return (*lets, *nest([panel], body)), math.prod(a.size for a in [*outer, blocks])


def _across(axes: Sequence[Axis], stores: Sequence[Store]) -> Axis | None:
    """The axis along which most operands are contiguous, if that is not the last one and both are long."""
    if len(axes) < 2 or axes[-1].size < SQUARE:
        return None
    loads = [x.index for x in walk([s.value for s in stores]) if isinstance(x, Load)]
    along = {a.var: [i for i in loads if Var(a.var) in walk(i[-1:])] for a in axes}
    moving = [i for i in loads if Var(axes[-1].var) in walk(i)]
    for axis in axes[:-1]:
        across = [i for i in along[axis.var] if i in moving and i not in along[axes[-1].var]]
        if 2 * len(across) >= max(1, len(moving)) and axis.size >= SQUARE:
            return axis
    return None


def _blockwise(
    pull: Pull, axes: Sequence[Axis], across: Axis, stores: Sequence[Store], tile: Expr
) -> tuple[tuple[Stmt, ...], int]:
    """Loops over square blocks of the last axis and the one across, and the number of tiles.

    The lines of the cache that are read for one row of a block serve the next. They pass through a local block: lines
    that lie a power of two apart would displace one another. A strip of blocks side by side, where there are many,
    reads more of a page before the next one.
    """
    last = axes[-1]
    others = [a for a in axes[:-1] if a is not across]
    beside, apart = -(-across.size // SQUARE), math.prod(a.size for a in others)
    strip = call(_strip, pull.schedule, apart, beside, least=1)
    strips = Axis(f"{across.var}_strip", -(-beside // strip))
    pull.integer(f"n_{strips.var}", strips.size)
    lets = [Let(var, value) for var, value in unflatten([*others, strips], tile)]

    squares, blocks = pull.integer("squares", -(-last.size // SQUARE)), pull.integer("blocks", beside)
    row, column = Var("block") * SQUARE, Var("square") * SQUARE
    end, last_end = row + SQUARE, column + SQUARE
    inside = SCALAR.bit_and(SCALAR.le(end, across.extent), SCALAR.le(last_end, last.extent))
    local, turns, turned = _turned(across.var, row, last.var, column, stores)
    lane = For("lane", Const(0, I64), Const(SQUARE, I64), (Let(last.var, column + Var("lane")), *turned))
    lines = For("line", Const(0, I64), Const(SQUARE, I64), (Let(across.var, row + Var("line")), lane))
    whole = (*turns, lines)
    rest = For(last.var, column, SCALAR.minimum(last.extent, last_end), tuple(stores))
    cut = For(across.var, row, SCALAR.minimum(across.extent, end), (rest,))
    first = Var(strips.var) * pull.integer("strip", strip)
    along = For("block", first, SCALAR.minimum(blocks, first + Var("strip")), (If(inside, whole, (cut,)),))
    loop = For("square", Const(0, I64), squares, (along,))
    return (*(Stack(b, SQUARE * SQUARE) for b in local), *lets, loop), apart * strips.size


def _strip(schedule: Schedule, apart: int, beside: int) -> int:
    """How many of the blocks that lie `beside` each other, `apart` times, one tile transposes."""
    usual = STRIP if apart * beside >= STRIP * SHARES else 1
    return schedule.choose("strip", usual, *(n for n in (1, 2, 4, 8, 16) if n <= beside))


def _turned(
    across: str, row: Expr, last: str, column: Expr, stores: Sequence[Store]
) -> tuple[list[Buffer], list[Stmt], list[Store]]:
    """Local blocks, what fills them with what lies contiguous along `across`, and the stores that read them instead."""
    blocks: list[Buffer] = []
    fill: list[Stmt] = []

    def replace(x: Expr) -> Expr | None:
        if isinstance(x, Guard):
            return x  # not known to be read
        if not isinstance(x, Load) or x.dtype != x.buffer.dtype or is_complex(x.dtype):
            return None
        crosses = Var(across) in walk(x.index[-1:]) and Var(last) not in walk(x.index[-1:])
        if not crosses or not all(_affine(i, {across, last}) for i in x.index):
            return None
        place = sum((i * x.buffer.stride(a) for a, i in enumerate(x.index)), Const(0, I64))
        first, second = (_with(place, {across: row, last: at}) for at in (column, column + 1))
        block = Buffer(f"block{len(blocks)}", x.dtype, (SQUARE * SQUARE,), (1,))
        blocks.append(block)
        fill.append(Turn(block, x.buffer, first, second - first))
        return Load(block, (Var("line") * SQUARE + Var("lane"),), x.dtype)

    memo: dict[Expr, Expr] = {}
    return blocks, fill, [Store(s.buffer, s.index, substitute(s.value, replace, memo)) for s in stores]


def _with(x: Expr, values: Mapping[str, Expr]) -> Expr:
    """`x` with these variables replaced."""
    return substitute(x, lambda y: values.get(y.name) if isinstance(y, Var) else None, {})


def _affine(x: Expr, variables: set[str]) -> bool:
    """Whether a place is a sum of multiples of these variables and of what does not depend on them."""
    found = [y for y in walk([x]) if isinstance(y, Var) and y.name in variables]
    if not found or isinstance(x, Var):
        return True
    if not isinstance(x, Apply) or x.primitive not in ("add", "sub", "mul"):
        return False
    moving = [o for o in x.operands if any(v in walk([o]) for v in found)]
    return (x.primitive != "mul" or len(moving) == 1) and all(_affine(o, variables) for o in moving)


def _element(pull: Pull, v: Value, place: tuple[Expr, ...]) -> Expr:
    """The element of `v` at a place in its storage; zero where the storage is padding."""
    index = logical(v.type, place)
    inside: Expr | None = None
    for axis, size in v.type.layout.tiles if v.type.layout else ():
        if not surely_divides(size, v.shape[axis]):
            check = index[axis] < pull.size(v, axis)
            inside = check if inside is None else SCALAR.bit_and(inside, check)
    if inside is None:
        return pull.at(v, index)
    return SCALAR.guard(inside, lambda: pull.at(v, index), SCALAR.const(0, v.dtype))
