"""Kernels of maps: regions whose results have one shape and need no reduction."""

from __future__ import annotations

import math

from tgc.backends.loops.axes import Axis, collapse, nest, unflatten
from tgc.backends.loops.ir import Expr, For, Kernel, Let, Stmt, Store, Var
from tgc.backends.loops.kernel import finish
from tgc.backends.loops.pull import SCALAR, Pull, logical
from tgc.ir import Value

BLOCK = 4096  # elements of a tile of a map that has one axis left


def lower_map(pull: Pull, name: str) -> list[Kernel]:
    """One loop nest over the results' storage; tiles are its outer axes, or blocks of its only one."""
    body = pull.body
    out = body.outputs[0].type
    axes = [Axis(f"i{k}", n) for k, n in enumerate(out.storage)]
    place = tuple(Var(a.var) for a in axes)
    stores = [Store(pull.result(k), place, _element(pull, v, place)) for k, v in enumerate(body.outputs)]
    axes, _, stores = collapse(axes, [s.value for s in stores], stores)
    for axis in axes:
        pull.integer(f"n_{axis.var}", axis.size)
    tile = Var("tile")
    if len(axes) == 1:
        (axis,) = axes
        end = SCALAR.minimum(axis.extent, (tile + 1) * BLOCK)
        loop: tuple[Stmt, ...] = (For(axis.var, tile * BLOCK, end, tuple(stores)),)
        tiles = -(-axis.size // BLOCK)
    else:
        outer = axes[: -2 if len(axes) > 2 else -1]
        lets = [Let(var, value) for var, value in unflatten(outer, tile)]
        loop = (*lets, *nest(axes[len(outer) :], stores))
        tiles = math.prod(a.size for a in outer)
    work = math.prod(out.storage) * max(1, len(body.nodes))
    return [finish(name, pull, loop, tiles=tiles, work=work)]


def _element(pull: Pull, v: Value, place: tuple[Expr, ...]) -> Expr:
    """The element of `v` at a place in its storage; zero where the storage is padding."""
    index = logical(v.type, place)
    inside: Expr | None = None
    for axis, size in v.type.layout.tiles if v.type.layout else ():
        if v.shape[axis] % size:
            check = index[axis] < pull.size(v, axis)
            inside = check if inside is None else SCALAR.bit_and(inside, check)
    if inside is None:
        return pull.at(v, index)
    return SCALAR.guard(inside, lambda: pull.at(v, index), SCALAR.const(0, v.dtype))
