"""Cumulative folds: the axis in order; before it one tile a row or, with axes behind it, a block of columns."""

from __future__ import annotations

import math

from tgc.backends.loops.ir import Buffer, Const, Expr, For, Kernel, Let, Load, Stack, Stmt, Store, Var, integer
from tgc.backends.loops.kernel import finish
from tgc.backends.loops.pull import SCALAR, Pull, compute_dtype, rounded
from tgc.ops.cumulative import Cumulative
from tgc.types import I64

BLOCK = 256  # columns whose state a tile keeps


def lower_cumulative(pull: Pull, name: str) -> list[Kernel]:
    """The kernel of a region that is one `Cumulative`."""
    (node,) = pull.body.nodes
    op, x, axis = node.op, node.operands[0], node.attrs["axis"]
    assert isinstance(op, Cumulative)
    outer, n, width = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    pull.integer("n", n)

    def cube(name: str) -> Buffer:
        pull.values[f"{name}_s0"], pull.values[f"{name}_s1"] = n * width, width
        return Buffer(name, x.dtype, (outer, n, width), (n * width, width, 1))

    source, target = cube("x0"), cube("y0")
    tile, k = Var("tile"), Var("k")
    at = Var("n") - 1 - k if node.attrs["reverse"] else k
    init = op.init(SCALAR, compute_dtype(x.dtype))
    state = tuple(Var(f"acc{i}", v.dtype) for i, v in enumerate(init))

    def step(row: Expr, column: Expr) -> tuple[list[Stmt], Store]:
        """The next state from the scalars that hold the last one, and the store of what it amounts to."""
        element = Load(source, (row, at, column), compute_dtype(x.dtype))
        new = op.step(SCALAR, state, element)
        lets: list[Stmt] = [Let(f"new{i}", v) for i, v in enumerate(new)]
        fresh = tuple(Var(f"new{i}", v.dtype) for i, v in enumerate(new))
        return lets, Store(target, (row, at, column), rounded(op.finish(SCALAR, fresh), x.dtype))

    def names(values: tuple[Expr, ...], prefix: str) -> list[Stmt]:
        return [Let(f"{prefix}{i}", v) for i, v in enumerate(values)]

    zero = Const(0, I64)
    if width == 1:
        lets, store = step(tile, zero)
        keep = [Let(f"acc{i}", Var(f"new{i}", v.dtype)) for i, v in enumerate(init)]
        body: list[Stmt] = [*names(init, "acc"), For("k", zero, Var("n"), (*lets, store, *keep))]
        tiles = outer
    else:
        blocks = pull.integer("blocks", -(-width // BLOCK))
        held = [Buffer(f"state{i}", v.dtype, (BLOCK,), (1,)) for i, v in enumerate(init)]
        row, j = Var("row"), Var("j")
        place = (j - Var("first"),)
        lets, store = step(row, j)
        read: list[Stmt] = [Let(f"acc{i}", Load(b, place, b.dtype)) for i, b in enumerate(held)]
        keep = [Store(b, place, Var(f"new{i}", b.dtype)) for i, b in enumerate(held)]  # type: ignore[misc]

        def columns(*stmts: Stmt) -> Stmt:
            return For("j", Var("first"), Var("end"), stmts)

        body = [
            *(Stack(b, BLOCK) for b in held),
            Let("row", integer("floor_div", tile, blocks)),
            Let("first", integer("mod", tile, blocks) * BLOCK),
            Let("end", SCALAR.minimum(pull.integer("width", width), Var("first") + BLOCK)),
            columns(*(Store(b, place, v) for b, v in zip(held, init, strict=True))),
            For("k", zero, Var("n"), (columns(*read, *lets, store, *keep),)),
        ]
        tiles = outer * -(-width // BLOCK)
    return [finish(name, pull, body, tiles=tiles if n else 0, work=outer * n * width)]


__all__ = ["BLOCK", "lower_cumulative"]
