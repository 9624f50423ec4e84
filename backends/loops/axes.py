"""Loop axes: one variable an axis of the iteration space, adjacent axes collapsed where all accesses allow it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from tgc.backends.loops.ir import (
    Apply,
    Const,
    Expr,
    For,
    Load,
    Stmt,
    Store,
    Var,
    children,
    integer,
    number,
    read_by,
    substitute,
    walk,
)  # fmt: skip
from tgc.types import I64

ZERO = Const(0, I64)


@dataclass(frozen=True)
class Axis:
    """A loop `for var in range(lo, hi)` over a run-time `extent`; `reduced` axes fold, the others are kept."""

    var: str
    size: int  # its value in this launch
    reduced: bool = False
    lo: Expr = ZERO
    hi: Expr | None = None  # the extent, if None
    whole: bool = True  # whether the range is the whole extent

    @property
    def extent(self) -> Expr:
        return Var(f"n_{self.var}")

    @property
    def end(self) -> Expr:
        return self.extent if self.hi is None else self.hi


Access = tuple[tuple[int, ...], tuple[Expr, ...]]  # strides of a buffer's axes, and the place along each


def accesses(roots: Sequence[Expr], stores: Sequence[Store]) -> list[Access]:
    """Everything that reads or writes memory."""
    found = [(x.buffer.strides, x.index) for x in walk(roots) if isinstance(x, Load)]
    return found + [(s.buffer.strides, s.index) for s in stores]


def _moving(place: Expr, axes: Collection[str]) -> str:
    """The axis along which a place moves step by step, from some first one on; empty if that is not all it does."""
    if isinstance(place, Var):
        return place.name if place.name in axes else ""
    if not isinstance(place, Apply) or place.primitive not in ("add", "sub"):
        return ""
    found = _moving(place.operands[0], axes)
    return found if read_by(place.operands[1]).isdisjoint(axes) else ""


def _bare_uses(roots: Sequence[Expr], accessed: Sequence[Access], axes: Collection[str]) -> set[str]:
    """Variables used otherwise than to move step by step along a buffer's axis."""
    places = [i for _, index in accessed for i in index if not isinstance(i, Var)]
    below = [*roots, *(x for i in places if not _moving(i, axes) for x in children(i))]
    seen: set[Expr] = set()
    while below:
        x = below.pop()
        if x not in seen:
            seen.add(x)
            below += [] if isinstance(x, Load) else children(x)  # its places are among the accesses
    return {x.name for x in seen if isinstance(x, Var)}


def collapse(
    axes: Sequence[Axis], roots: Sequence[Expr], stores: Sequence[Store]
) -> tuple[list[Axis], Callable[[Expr], Expr], list[Store]]:
    """Merge neighbours that every access walks as one contiguous axis.

    Returns:
        the axes left, a function that rewrites an expression to them, and the stores rewritten.
    """
    accessed = accesses(roots, stores)
    limits = [x for a in axes for x in (a.lo, a.hi) if x is not None]
    names = {a.var for a in axes}
    bare = _bare_uses([*roots, *limits], accessed, names)
    became: dict[str, Expr] = {}
    extents: dict[str, Expr] = {}  # of merged axes, in terms of the axes as given
    left = list(axes)
    memo: dict[Expr, Expr] = {}

    def replacement(x: Expr) -> Expr | None:
        new = became.get(_name(x))
        while new is not None and _name(new) in became:
            new = became[_name(new)]
        return new

    def rewrite(x: Expr) -> Expr:
        return substitute(x, replacement, memo)

    at = len(left) - 2
    while at >= 0:
        outer, inner = left[at], left[at + 1]
        if outer.reduced == inner.reduced and inner.whole and _mergeable(outer, inner, accessed, bare):
            n = extents.get(inner.var, inner.extent)
            var = _joined(outer.var, inner.var)
            left[at : at + 2] = [
                replace(
                    inner,
                    var=var,
                    size=outer.size * inner.size,
                    lo=outer.lo * n if not outer.whole else outer.lo,
                    hi=None if outer.hi is None else outer.hi * n,
                    whole=outer.whole,
                )
            ]
            extents[var] = extents.get(outer.var, outer.extent) * n
            became[outer.var], became[inner.var] = Const(0, I64), Var(var)
            memo = {}
            accessed = [(strides, tuple(map(rewrite, index))) for strides, index in accessed]
        at -= 1
    new = [Store(s.buffer, tuple(rewrite(i) for i in s.index), rewrite(s.value)) for s in stores]
    return left, rewrite, new


def _name(x: Expr) -> str:
    return x.name if isinstance(x, Var) else ""


def _joined(outer: str, inner: str) -> str:
    """A name for two axes in one: i1 and i2_3 become i1_3."""
    if re.fullmatch(r"i\d+", outer) and re.fullmatch(r"i\d+(_\d+)?", inner):
        return f"{outer}_{inner[1:].split('_')[-1]}"
    return f"{outer}_{inner}"


def _mergeable(outer: Axis, inner: Axis, accessed: Sequence[Access], bare: set[str]) -> bool:
    if outer.var in bare or inner.var in bare:
        return False
    for strides, index in accessed:
        along = [_moving(i, (outer.var, inner.var)) for i in index]
        a, b = ([k for k, name in enumerate(along) if name == axis.var] for axis in (outer, inner))
        if not a and not b:
            continue
        if len(a) != 1 or len(b) != 1 or strides[a[0]] != strides[b[0]] * inner.size:
            return False
    return True


def nest(axes: Sequence[Axis], body: Sequence[Stmt]) -> tuple[Stmt, ...]:
    """Loops over `axes`, outermost first, around `body`."""
    inner = tuple(body)
    for axis in reversed(axes):
        inner = (For(axis.var, axis.lo, axis.end, inner),)
    return inner


def unflatten(axes: Sequence[Axis], tile: Expr) -> list[tuple[str, Expr]]:
    """The variables of `axes` from one flat counter over all of them, row-major."""
    found: list[tuple[str, Expr]] = []
    for k, axis in reversed(list(enumerate(axes))):
        found.append((axis.var, integer("mod", tile, axis.extent) if k else tile))
        tile = integer("floor_div", tile, axis.extent)
    return found[::-1]


def ceil_div(a: Expr, b: int) -> Expr:
    """ceil(a / b)."""
    return (a + (b - 1)) // number(b)
