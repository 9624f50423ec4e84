"""Contraction of 8-bit integers in tile registers (x86's AMX): up to 32 rows of A by 32 columns of B at a time.

A tile register holds 16 rows of 64 bytes. Of A these are 16 rows of 64 consecutive k; of B 16 quads of k (see
`byte_tile.py`), each for 16 columns; of C 16 rows of 16 sums. One instruction multiplies a register of A by one of B
and adds to one of C, for all signs of the operands. C takes registers 0 to 3, A 4 and 5, B 6 and 7: each that is loaded
is used twice.

Rows of A lie anywhere, and what is summed is in pieces: so `byte_rows` puts them in a block first, one behind the
other, each with zeros behind it up to whole registers. A thread has tile registers from `tile_config` to
`tile_release`.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from tgc.backends.cpu.micro import I32, I64, POINTER, micro_kernel
from tgc.backends.cpu.tile import intrinsic, variable, while_at_least
from tgc.passes.tiles import LINE, QUAD, TILED, row_bytes

QUADS = LINE // QUAD  # in a row of a tile register
AHEAD = 2  # steps of 64 k by which B is asked for: it comes from the second-level cache, 2 KiB a step
_I8 = ir.IntType(8)
_A, _B = 4, 6  # the first tile registers of both operands; those of C come before
_WIDE = ir.VectorType(I32, QUADS)


# ----------------------------------------------------------------------------------------------------------- state


@functools.cache
def tile_config(rows: int) -> Callable[[], None]:
    """The micro-kernel that gives a thread tile registers for tiles of up to `rows` rows, a device function.

    ValueError for rows that cannot be: they are 1 to 32.
    """
    heights = _heights(rows)

    def body(function: Any) -> None:
        config = bytearray(LINE)
        config[0] = 1  # the palette
        for register in range(8):
            group = register // 2 if register < _A else register - _A if register < _B else 0
            height = TILED if register >= _B else heights[group] if group < len(heights) else 0
            config[16 + 2 * register] = LINE if height else 0
            config[48 + register] = height
        kind = ir.ArrayType(_I8, LINE)
        table = ir.GlobalVariable(function.module, kind, f"{function.name}.table")
        table.linkage, table.global_constant, table.align = "private", True, LINE
        table.initializer = ir.Constant(kind, config)
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        _emit(builder, "ldtilecfg", table)
        builder.ret_void()

    def twin() -> None:
        pass  # Python has nothing to configure

    twin.__doc__ = f"Configures tile registers for {rows} rows; see ``tile_config``."
    return micro_kernel(f"tile_config_{rows}", types.void(), twin, body)


@functools.cache
def tile_release() -> Callable[[], None]:
    """The micro-kernel that gives a thread's tile registers back, which are then not saved when it is interrupted."""

    def body(function: Any) -> None:
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        _emit(builder, "tilerelease")
        builder.ret_void()

    def twin() -> None:
        """Releases tile registers; see ``tile_release``."""

    return micro_kernel("tile_release", types.void(), twin, body)


def _heights(rows: int) -> list[int]:
    """The rows of a tile in each register."""
    if not 1 <= rows <= 2 * TILED:
        raise ValueError(f"no tile has {rows} rows: they are 1 to {2 * TILED}")
    return [min(TILED, rows - first) for first in range(0, rows, TILED)]


def _emit(builder: Any, name: str, *operands: Any) -> None:
    """Call an instruction; integers are numbers of tile registers."""
    values = [_I8(x) if isinstance(x, int) else x for x in operands]
    function = intrinsic(builder.module, f"llvm.x86.{name}", ir.VoidType(), [v.type for v in values])
    builder.call(function, values)


# ------------------------------------------------------------------------------------------------------ rows of A


@functools.cache
def byte_rows(levels: int, signed: bool) -> Callable[..., None]:
    """The micro-kernel that gathers rows of A, a device function::

        byte_rows(a, rows_at, rows, a_strides, extents, block)

        block[m * row_bytes(quads) + at] = a[rows_at[m] + k . a_strides + i]

    for m in [0, rows), k in the box ``extents``, of ``quads`` points, and i in [0, QUAD), in this order. ``a`` and
    ``block`` are pointers to int8 or uint8; zeros fill the last line of each row, and less than a line is written
    behind the last row.
    """
    index = types.int64
    byte, levelled = types.CPointer(types.int8 if signed else types.uint8), types.UniTuple(index, levels)
    signature = types.void(byte, types.CPointer(index), index, levelled, levelled, byte)

    def twin(a: Any, rows_at: Any, rows: int, a_strides: tuple[int, ...], extents: tuple[int, ...], block: Any) -> None:
        steps = [sum(x * s for x, s in zip(k, a_strides, strict=True)) for k in itertools.product(*map(range, extents))]
        for m in range(rows):
            for at in range(-(-len(steps) // QUADS) * LINE):
                inside = at < len(steps) * QUAD
                value = a[rows_at[m] + steps[at // QUAD] + at % QUAD] if inside else 0
                block[m * row_bytes(len(steps)) + at] = value

    twin.__doc__ = f"Gathers rows of bytes, {levels} levels of them; see ``byte_rows``."
    name = f"byte_rows_k{levels}_{'i8' if signed else 'u8'}"
    return micro_kernel(name, signature, twin, functools.partial(_gather, levels))


def _gather(levels: int, function: Any) -> None:
    arguments = iter(function.args)
    a, rows_at, rows = itertools.islice(arguments, 3)
    strides, extents = (list(itertools.islice(arguments, levels)) for _ in range(2))
    (block,) = arguments
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    quads = functools.reduce(builder.mul, extents)
    pitch = _pitch(builder, quads)
    missing = builder.and_(builder.neg(quads), I64(QUADS - 1))
    row, left_rows, table = variable(builder, block), variable(builder, rows), variable(builder, rows_at)
    to = variable(builder, block)
    contiguous = builder.icmp_signed("==", strides[-1], I64(QUAD))
    rest = builder.and_(extents[-1], I64(QUADS - 1))
    ragged, mask = builder.icmp_signed("!=", rest, I64(0)), _mask(builder, rest)

    def runs(level: int, place: Any) -> None:
        """Copy what lies from a place in A on, from a level inwards."""
        if level == levels - 1:
            with builder.if_else(contiguous) as (together, apart):
                with together:
                    end = _copy(builder, place, extents[level], to)
                    with builder.if_then(ragged):
                        there = builder.load(to)
                        builder.store(_masked_load(builder, builder.load(end), mask), there, align=1)
                        builder.store(_after(builder, there, builder.mul(rest, I64(QUAD))), to)
                with apart:
                    _copy_quads(builder, place, strides[level], extents[level], to)
            return
        left, at = variable(builder, extents[level]), variable(builder, place)
        with while_at_least(builder, left, 1):
            here = builder.load(at)
            runs(level + 1, here)
            builder.store(_after(builder, here, strides[level]), at)
            builder.store(builder.sub(builder.load(left), I64(1)), left)

    with while_at_least(builder, left_rows, 1):
        start, entry = builder.load(row), builder.load(table)
        builder.store(start, to)
        runs(0, _after(builder, a, builder.load(entry, typ=I64)))
        _store(builder, ir.Constant(_WIDE, None), builder.load(to), missing)
        builder.store(_after(builder, start, pitch), row)
        builder.store(_after(builder, entry, I64(8)), table)
        builder.store(builder.sub(builder.load(left_rows), I64(1)), left_rows)
    builder.ret_void()


def _copy(builder: Any, place: Any, quads: Any, to: Any) -> Any:
    """Move quads that lie side by side, as many as fill lines, and `to` behind them; a variable with the place of the
    others.
    """
    left, at = variable(builder, quads), variable(builder, place)
    with while_at_least(builder, left, QUADS):
        here, there = builder.load(at), builder.load(to)
        builder.store(builder.load(here, align=1, typ=_WIDE), there, align=1)
        builder.store(_after(builder, here, I64(LINE)), at)
        builder.store(_after(builder, there, I64(LINE)), to)
        builder.store(builder.sub(builder.load(left), I64(QUADS)), left)
    return at


def _masked_load(builder: Any, place: Any, mask: Any) -> Any:
    """A line of which only some quads are read; the others are zeros."""
    load = intrinsic(builder.module, "llvm.masked.load.v16i32.p0", _WIDE, [POINTER, I32, mask.type, _WIDE])
    return builder.call(load, [place, I32(1), mask, ir.Constant(_WIDE, None)])


def _copy_quads(builder: Any, place: Any, stride: Any, quads: Any, to: Any) -> None:
    """Move quads that lie apart, and `to` behind them."""
    left, at = variable(builder, quads), variable(builder, place)
    with while_at_least(builder, left, 1):
        here, there = builder.load(at), builder.load(to)
        builder.store(builder.load(here, align=1, typ=I32), there, align=1)
        builder.store(_after(builder, here, stride), at)
        builder.store(_after(builder, there, I64(QUAD)), to)
        builder.store(builder.sub(builder.load(left), I64(1)), left)


def _mask(builder: Any, lanes: Any) -> Any:
    """The first `lanes` of a line, of 16 at most."""
    ones = builder.sub(builder.shl(I32(1), builder.trunc(lanes, I32)), I32(1))
    return builder.bitcast(builder.trunc(ones, ir.IntType(QUADS)), ir.VectorType(ir.IntType(1), QUADS))


def _store(builder: Any, line: Any, to: Any, quads: Any) -> None:
    mask = _mask(builder, quads)
    store = intrinsic(builder.module, "llvm.masked.store.v16i32.p0", ir.VoidType(), [_WIDE, POINTER, I32, mask.type])
    builder.call(store, [line, to, I32(1), mask])


def _after(builder: Any, place: Any, offset: Any) -> Any:
    """A place so many bytes behind another one."""
    return builder.gep(place, [offset], source_etype=_I8)


def _pitch(builder: Any, quads: Any) -> Any:
    """`row_bytes` as LLVM computes it."""
    lines = builder.lshr(builder.add(quads, I64(QUADS - 1)), I64(QUADS.bit_length() - 1))
    return builder.mul(builder.or_(lines, I64(1)), I64(LINE))


# ------------------------------------------------------------------------------------------------------------ tiles


@functools.cache
def matrix_tile(rows: int, vectors: int, levels: int, a_signed: bool, b_signed: bool) -> Callable[..., None]:
    """The micro-kernel of one shape, a device function (see ``pointers.device``)::

        matrix_tile(block, b, b_strides, extents, c, c_row, accumulate)

        c[m * c_row + n] (+)= sum over k, i of block[m * row_bytes(quads) + k * QUAD + i] * b[k * step + n * QUAD + i]

    for m in [0, rows), n in [0, 16 * vectors), i in [0, QUAD) and k in [0, quads), ``quads`` being the number of points
    in the box ``extents`` and ``step`` the last of ``b_strides``: the others are such that quads of B lie evenly.
    ``block`` is what `byte_rows` has made for the same extents, a pointer to int8 or uint8 as ``b``, ``c`` is one to
    int32, whose sums wrap around. Tile registers must be configured, for more rows than 16 if there are more.

    ValueError for a shape that cannot be: rows are 1 to 32, vectors 1 or 2, levels 1 to 3.
    """
    heights = _heights(rows)
    if not 1 <= vectors <= 2 or not 1 <= levels <= 3:
        raise ValueError(f"no tile has {vectors} vectors, {levels} levels: they are 1 or 2, and 1 to 3")
    kinds = "".join("i8" if signed else "u8" for signed in (a_signed, b_signed))
    a_type, b_type = (types.CPointer(types.int8 if signed else types.uint8) for signed in (a_signed, b_signed))
    index = types.int64
    levelled = types.UniTuple(index, levels)
    c_type = types.CPointer(types.int32)
    signature = types.void(a_type, b_type, levelled, levelled, c_type, index, types.boolean)

    def twin(
        block: Any, b: Any, b_strides: tuple[int, ...], extents: tuple[int, ...], c: Any, c_row: int, accumulate: bool
    ) -> None:
        quads = len(list(itertools.product(*map(range, extents))))
        for m, n in itertools.product(range(rows), range(vectors * TILED)):
            total = int(c[m * c_row + n]) if accumulate else 0
            for k, i in itertools.product(range(quads), range(QUAD)):
                at = m * row_bytes(quads) + k * QUAD + i
                total += int(block[at]) * int(b[k * b_strides[-1] + n * QUAD + i])
            c[m * c_row + n] = total

    name = f"matrix_tile_{rows}x{vectors * TILED}_k{levels}_{kinds}"
    twin.__doc__ = f"Tiles of {rows}x{vectors * TILED} in tile registers; see ``matrix_tile``."
    multiply = "tdpb" + "".join("s" if signed else "u" for signed in (a_signed, b_signed)) + "d"
    return micro_kernel(name, signature, twin, functools.partial(_multiply, len(heights), vectors, levels, multiply))


def _multiply(groups: int, vectors: int, levels: int, multiply: str, function: Any) -> None:
    arguments = iter(function.args)
    block, b = itertools.islice(arguments, 2)
    b_strides, extents = (list(itertools.islice(arguments, levels)) for _ in range(2))
    c, c_row, accumulate = arguments
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    quads, step = functools.reduce(builder.mul, extents), b_strides[-1]
    pitch, c_pitch = _pitch(builder, quads), builder.mul(c_row, I64(4))
    sums = [
        (2 * g + v, _after(builder, c, builder.add(builder.mul(c_pitch, I64(TILED * g)), I64(LINE * v))))
        for g, v in itertools.product(range(groups), range(vectors))
    ]
    with builder.if_else(accumulate) as (more, anew):
        with more:
            for register, place in sums:
                _emit(builder, "tileloadd64", register, place, c_pitch)
        with anew:
            for register, _ in sums:
                _emit(builder, "tilezero", register)

    def products(left: Any, right: Any, right_pitch: Any) -> None:
        """What 64 k add to the sums."""
        below = _after(builder, left, builder.mul(pitch, I64(TILED)))
        for g, place in enumerate((left, below)[:groups]):
            _emit(builder, "tileloadd64", _A + g, place, pitch)
            for v in range(vectors):
                if g == 0:
                    _emit(builder, "tileloadd64", _B + v, _after(builder, right, I64(LINE * v)), right_pitch)
                _emit(builder, multiply, 2 * g + v, _A + g, _B + v)

    left, a_at, b_at = (variable(builder, value) for value in (quads, block, b))
    fetch = intrinsic(function.module, "llvm.prefetch.p0", ir.VoidType(), [POINTER, I32, I32, I32])
    with while_at_least(builder, left, QUADS):
        here, there = builder.load(a_at), builder.load(b_at)
        for quad, v in itertools.product(range(QUADS), range(vectors)):
            row = _after(builder, there, builder.mul(step, I64(QUADS * AHEAD + quad)))
            builder.call(fetch, [_after(builder, row, I64(LINE * v)), I32(0), I32(3), I32(1)])  # to the first level
        products(here, there, step)
        builder.store(_after(builder, here, I64(LINE)), a_at)
        builder.store(_after(builder, there, builder.mul(step, I64(QUADS))), b_at)
        builder.store(builder.sub(builder.load(left), I64(QUADS)), left)
    with builder.if_then(builder.icmp_signed(">", builder.load(left), I64(0)), likely=False):
        # fewer quads than a register has rows: B may end behind them, and what is beside them meets zeros of A
        with builder.goto_entry_block():
            held = builder.alloca(_WIDE, size=I32(TILED * vectors))
            held.align = LINE
        to = variable(builder, held)
        with while_at_least(builder, left, 1):
            there, here = builder.load(b_at), builder.load(to)
            for v in range(vectors):
                line = builder.load(_after(builder, there, I64(LINE * v)), align=1, typ=_WIDE)
                builder.store(line, _after(builder, here, I64(LINE * v)), align=LINE)
            builder.store(_after(builder, there, step), b_at)
            builder.store(_after(builder, here, I64(LINE * vectors)), to)
            builder.store(builder.sub(builder.load(left), I64(1)), left)
        products(builder.load(a_at), held, I64(LINE * vectors))
    for register, place in sums:
        _emit(builder, "tilestored64", register, place, c_pitch)
    builder.ret_void()
