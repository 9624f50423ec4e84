"""The shapes of register tiles: what layouts pack for, and what kernels compute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from tgc.ops.kinds import AxisMap
from tgc.sizes import is_size, surely_divides
from tgc.types import I32, DType, TensorType


class Shaped(Protocol):
    """What tile shapes depend on."""

    def lanes(self, dtype: DType) -> int: ...

    @property
    def vector_registers(self) -> int: ...

    @property
    def tile_registers(self) -> bool: ...


ROWS = 8  # of a tile, at most: rows a power of two apart share a set of the first-level cache, which has 8 ways or more
WIDTHS = (4, 3, 2)  # vectors of columns, where 6 rows of them fit in registers
NARROWER = 0.02  # what each vector fewer costs: more tiles, and lines that are read in smaller pieces
LEAST = 6
LOW = 4  # rows of the lower tiles that take what rows are left, where that pads fewer
TILED = 16  # rows of a tile register, and columns of 32-bit sums in it
LINE = 64  # bytes of a row of one, and of a line of any cache
QUAD = 4  # 8-bit integers that lie together along what is summed: as many as a lane of 32 bits holds
COST = 1.1  # of a row of a low tile, beside that of one of a high tile, where vectors of columns serve more rows


def tile_shape(target: Shaped, dtype: DType, m: int, n: int) -> tuple[int, int]:
    """Rows and columns of a register tile.

    As many rows as accumulators leave room (beside the vectors of rhs and one broadcast), and one alone. Columns depend
    on `n` alone. So another batch size does not mean another kernel. Sums of 8-bit integers fill four tile registers,
    on machines that have them.
    """
    if dtype == I32 and target.tile_registers:
        return 1 if m == 1 else 2 * TILED, TILED if not is_size(n) and n <= TILED else 2 * TILED
    lanes = target.lanes(dtype)
    wide = [v for v in WIDTHS if most_rows(target, v) >= LEAST]
    if is_size(n):  # one kernel for all of them
        vectors = wide[0]
    else:
        padded = {v: -(-n // (v * lanes)) * v for v in wide}
        vectors = 1 if n <= lanes else min(wide, key=lambda v: padded[v] * (1 + NARROWER * (wide[0] - v)))
    return 1 if m == 1 else most_rows(target, vectors), vectors * lanes


def most_rows(target: Shaped, vectors: int) -> int:
    """Rows of a tile whose columns are so many vectors."""
    return min(ROWS, (target.vector_registers - vectors - 1) // vectors)


def heights(m: int, rows: int, few: int = LOW) -> tuple[int, int]:
    """How many tiles of `rows` rows and how many of `few` rows behind them compute `m` rows soonest."""
    mixed = ((max(0, -(-(m - low * few) // rows)), low) for low in range(rows + 1))
    return min(mixed, key=lambda tiles: tiles[0] * rows + tiles[1] * few * COST)


def row_bytes(quads: int) -> int:
    """Bytes from a row of so many quads to the next, where they are gathered for tile registers.

    They are an odd number of lines, so that rows spread over the sets of the cache.
    """
    return (-(-quads * QUAD // LINE) | 1) * LINE


def channelwise(axes: AxisMap) -> AxisMap | None:
    """The axes of a contraction of each channel by itself, as in depthwise convolution; None for any other.

    The channels are the fastest axis of both operands and of the result. The last axes of rows and of what is summed go
    along one axis of the left operand. Axes of one point beside the channels are left out.
    """
    last = axes.lhs[-1:] + axes.rhs[-1:] + axes.out[-1:]
    common = {a for dim in last[:1] for a, step in dim.items() if step == 1 and all(d.get(a) == 1 for d in last)}
    wide = [a for a in common if axes.extents[a] > 1]
    idle = {a for dim in last for a in dim if axes.extents[a] == 1}
    if len(last) != 3 or len(wide) != 1 or any({*dim} - idle != {*wide} for dim in last):
        return None
    lhs, rhs, out = (
        tuple({a: step for a, step in dim.items() if a not in idle} for dim in dims)
        for dims in (axes.lhs, axes.rhs, axes.out)
    )
    left, right, kept = ([a for dim in dims for a in dim] for dims in (lhs, rhs, out))
    rows, taps = [a for a in kept if a not in right], [a for a in right if a not in kept]
    if not {*right} <= {*left} or not any(rows and taps and rows[-1] in dim and taps[-1] in dim for dim in lhs):
        return None
    extents = {a: n for a, n in axes.extents.items() if a not in idle}
    return AxisMap(extents, lhs, rhs, out, axes.low)


def quad_axis(axes: AxisMap, lhs: TensorType) -> str | None:
    """The axis that is summed in quads: one of the right operand's along which the left one is contiguous, in whole
    quads.
    """
    kept = {name for dim in axes.out for name in dim}
    for a in reversed(lhs.layout.order if lhs.layout else range(lhs.rank)):
        for name, step in axes.lhs[a].items():
            if step == 1 and name not in kept and {name: 1} in axes.rhs and surely_divides(QUAD, axes.extents[name]):
                return name
        if lhs.shape[a] != 1:
            break
    return None


def in_quads(axes: AxisMap, name: str) -> AxisMap:
    """The axes of a contraction whose right operand holds quads along one of them: steps along it are of so many.

    Axes of one element that are summed are left out.
    """
    kept = {a for dim in axes.out for a in dim} | {name} | {a for a, n in axes.extents.items() if n != 1}
    lhs, rhs = (tuple({a: step for a, step in d.items() if a in kept} for d in dims) for dims in (axes.lhs, axes.rhs))
    lhs = tuple({a: step * (QUAD if a == name else 1) for a, step in dim.items()} for dim in lhs)
    extents = {a: n // (QUAD if a == name else 1) for a, n in axes.extents.items() if a in kept}
    return AxisMap(extents, lhs, rhs, axes.out, axes.low)


def windowed(axes: AxisMap, window: Sequence[int]) -> AxisMap | None:
    """The axes of a contraction whose result is pooled by windows side by side; None for what tiles do not pool.

    An axis of the result that windows go along becomes two: one of windows, and one, named with "_in", of the places in
    each. What lies beyond the last whole window is left out. Windows have few enough points that each tile of more than
    one row holds whole ones.
    """
    extents, inner = dict(axes.extents), {}
    for dim, w in zip(axes.out, window, strict=True):
        if w > 1:
            (name, step), *others = dim.items()
            if others or step != 1 or any(name in d for d in axes.rhs) or any(axes.low):
                return None
            extents[name] //= w
            extents[f"{name}_in"] = inner[name] = w
    if not 1 < math.prod(inner.values()) <= LOW or 0 in extents.values():
        return None

    def split(dim: Mapping[str, int]) -> dict[str, int]:
        places = {f"{a}_in": step for a, step in dim.items() if a in inner}
        return {a: step * inner.get(a, 1) for a, step in dim.items()} | places

    lhs, out = (tuple(map(split, dims)) for dims in (axes.lhs, axes.out))
    return AxisMap(extents, lhs, axes.rhs, out)
