"""Loops over a short last axis, such as the channels of an image, along which operands are not contiguous."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tgc.backends.loops.axes import ZERO, Axis, ceil_div, nest
from tgc.backends.loops.ir import SQUARE, Buffer, Const, For, Let, Load, Stmt, Store, Var, walk
from tgc.backends.loops.pull import SCALAR, compute_dtype
from tgc.types import I64, is_complex

STRIP = 64  # elements along the axis before the last one


def loops(axes: Sequence[Axis], stores: Sequence[Store]) -> tuple[tuple[Stmt, ...], Buffer | None]:
    """Loops around stores, and the local buffer that they use, if any.

    Elements are computed in strips along the axis before the last one, where operands are contiguous along that, and
    put in their places from a local buffer: a loop over few elements is not vectorized, one that only moves is short.
    Where the places of a strip follow each other in memory, its elements are first brought into their order in the
    other half of the buffer, by steps that are numbers: such loops are permutations of vectors.
    """
    if not _short(axes, stores):
        return nest(axes, stores), None
    *outer, wide, last = axes
    (store,) = stores
    kind = compute_dtype(store.buffer.dtype)
    strip = Buffer("strip", store.buffer.dtype, (2 * SQUARE * STRIP,), (1,))
    place, lane = Var(last.var) * STRIP + Var("lane"), Let(wide.var, Var("strip_first") + Var("lane"))
    count = SCALAR.minimum(wide.end - Var("strip_first"), Const(STRIP, I64))

    def over_lanes(s: Store) -> For:
        return For(last.var, last.lo, last.end, (For("lane", ZERO, count, (lane, s)),))

    parts = [over_lanes(Store(strip, (place,), store.value))]
    if _dense(wide, last, store):
        ordered, n = SQUARE * STRIP, last.size
        turned = [
            Store(strip, (Var("lane") * n + (ordered + k),), Load(strip, (Var("lane") + k * STRIP,), kind))
            for k in range(n)
        ]
        parts.append(For("lane", ZERO, Const(STRIP, I64), tuple(turned)))
        index = (*store.index[:-2], Var("strip_first"), Var("moved"))
        moved = replace(store, index=index, value=Load(strip, (Var("moved") + ordered,), kind))
        parts.append(For("moved", ZERO, count * n, (moved,)))
    else:
        parts.append(over_lanes(replace(store, value=Load(strip, (place,), kind))))
    first = Let("strip_first", wide.lo + Var("strip_number") * STRIP)
    strips = For("strip_number", ZERO, ceil_div(wide.end - wide.lo, STRIP), (first, *parts))
    return nest(outer, (strips,)), strip


def _dense(wide: Axis, last: Axis, store: Store) -> bool:
    """Whether what is stored along both axes lies side by side, and the length of the last one is a plain number."""
    known = type(last.size) is int and last.whole
    places = Var(wide.var), Var(last.var)
    return known and store.buffer.strides[-2:] == (last.size, 1) and store.index[-2:] == places


def _short(axes: Sequence[Axis], stores: Sequence[Store]) -> bool:
    """Whether the last axis is short, and most operands that move along it are contiguous along the one before."""
    if len(axes) < 2 or len(stores) != 1 or not 1 < axes[-1].size < SQUARE or is_complex(stores[0].buffer.dtype):
        return False
    wide, last = (Var(a.var) for a in axes[-2:])
    loads = [x.index for x in walk([stores[0].value]) if isinstance(x, Load)]
    moving = [i for i in loads if last in walk(i)]
    across = [i for i in moving if wide in walk(i[-1:]) and last not in walk(i[-1:])]
    return axes[-2].size >= SQUARE and 2 * len(across) >= max(1, len(moving)) and bool(across)


__all__ = ["loops"]
