"""Loop nests for regions without contraction: elementwise maps, and reductions with what comes before and after them.

A region iterates over one domain. Values of it are *full* (one element a point of the domain) or *kept* (one a point
of the kept axes). Reductions of reductions run in stages, one sweep over the reduced axes each:

    softmax:  for row: | for j: m = max(m, x)            stage 0
                       | for j: s += exp(x - m)          stage 1
                       | for j: out = exp(x - m) / s     stage 2, full outputs

If the fastest axis is reduced, accumulators are scalars and one tile is one kept point. If it is kept, a block of it
is swept together and accumulators are arrays on the stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tgc.backends.loops.axes import Axis, ceil_div, collapse, nest, unflatten
from tgc.backends.loops.ir import (
    Buffer, Const, Expr, For, Kernel, Let, Load, Stack, Stmt, Store, Var, integer, number,
)  # fmt: skip
from tgc.backends.loops.kernel import finish
from tgc.backends.loops.pull import FOLD, SCALAR, Pull, compute_dtype, logical, rounded
from tgc.ir import Graph, Node, Value
from tgc.ops.kinds import Reduce
from tgc.types import I64, Layout, TensorType

FLAT_BLOCK = 4096  # elements of a tile of a one-axis map
COLUMN_BLOCK = 256  # kept elements that share a sweep over reduced rows


def lower_map(body: Graph, name: str) -> list[Kernel]:
    """The kernel of a region whose outputs have one type and need no reduction."""
    pull = Pull(body)
    out = body.outputs[0].type
    axes = [Axis(f"i{k}", n) for k, n in enumerate(out.storage)]
    place = tuple(Var(a.var) for a in axes)
    index = logical(out, place)
    stores = []
    for k, v in enumerate(body.outputs):
        inside: Expr | None = None
        for axis, size in out.layout.tiles if out.layout else ():
            if out.shape[axis] % size:
                check = index[axis] < pull.size(v, axis)
                inside = check if inside is None else SCALAR.bit_and(inside, check)
        fill = SCALAR.const(0, v.dtype)
        value = pull.at(v, index) if inside is None else SCALAR.guard(inside, lambda v=v: pull.at(v, index), fill)
        stores.append(Store(pull.buffer(f"y{k}", v.type), place, value))
    axes, _, stores = collapse(axes, [s.value for s in stores], stores)
    for axis in axes:
        pull.integer(f"n_{axis.var}", axis.size)
    tile = Var("tile")
    if len(axes) == 1:
        (axis,) = axes
        end = SCALAR.minimum(axis.extent, (tile + 1) * FLAT_BLOCK)
        loop: tuple[Stmt, ...] = (For(axis.var, tile * FLAT_BLOCK, end, tuple(stores)),)
        tiles = -(-axis.size // FLAT_BLOCK)
    else:
        outer = axes[: -2 if len(axes) > 2 else -1]
        lets = [Let(var, value) for var, value in unflatten(outer, tile)]
        loop = (*lets, *nest(axes[len(outer) :], stores))
        tiles = math.prod(a.size for a in outer)
    work = math.prod(out.storage) * max(1, len(body.nodes))
    return [finish(name, body, pull, loop, tiles=tiles, work=work)]


def stages(body: Graph) -> dict[Value, int]:
    """How many sweeps over the reduced axes must be over before a value is known."""
    stage: dict[Value, int] = dict.fromkeys(body.inputs, 0)
    for node in body.nodes:
        before = max((stage[v] for v in node.operands), default=0)
        stage.update(dict.fromkeys(node.results, before + isinstance(node.op, Reduce)))
    return stage


def lower_reduce(body: Graph, name: str) -> list[Kernel]:
    """The kernel of a region whose reductions all fold the same axes of the same shape."""
    return [_Reduction(body, name).kernel()]


class _Reduction:
    def __init__(self, body: Graph, name: str) -> None:
        self.body, self.name, self.pull = body, name, Pull(body)
        self.reduces = [n for n in body.nodes if isinstance(n.op, Reduce)]
        domain = self.reduces[0].operands[0].type
        self.shape = domain.shape
        self.folded: tuple[int, ...] = self.reduces[0].attrs["axes"]  # type: ignore[assignment]
        self.chunks: int = self.reduces[0].attrs["chunks"]  # type: ignore[assignment]
        self.stage = stages(body)
        self.kept_shape = self.reduces[0].result.shape
        self.order = _order(domain, body.inputs)
        self.index = [Var(f"i{a}") for a in range(domain.rank)]
        self.kept_index = [Var("chunk")] * bool(self.chunks) + [v for a, v in enumerate(self.index) if a not in self.folded]

    # ------------------------------------------------------------------------------------------------------- axes

    def _axes(self) -> list[Axis]:
        """Every axis of the domain in memory order, and the chunk as the outermost kept one."""
        axes = []
        for a in self.order:
            axis = Axis(f"i{a}", self.shape[a], a in self.folded)
            if self.chunks and a == self.folded[0]:
                count = self.pull.integer("chunks", self.chunks)
                n, c = axis.extent, Var("chunk")
                axis = Axis(axis.var, axis.size, True, c * n // count, (c + 1) * n // count, whole=False)
            axes.append(axis)
        return [Axis("chunk", self.chunks)] * bool(self.chunks) + axes

    # ------------------------------------------------------------------------------------------------- the kernel

    def kernel(self) -> Kernel:
        full = [v for v in self.body.outputs if v.shape == self.shape and v.shape != self.kept_shape]
        kept = [v for v in self.body.outputs if v.shape == self.kept_shape]
        outs = {v: self.pull.buffer(f"y{k}", v.type) for k, v in enumerate(self.body.outputs)}
        last = max(self.stage[n.result] for n in self.reduces)
        sweeps = max([last, *(self.stage[v] + 1 for v in full)])
        boundary = self._boundary(kept)
        # what each sweep computes, on uncollapsed axes; local sources stand for what earlier sweeps have left behind
        work: list[tuple[list[tuple[Node, Expr]], list[Store]]] = []
        ends: list[list[tuple[Value, Expr]]] = []
        for v in (*(n.result for n in self.reduces), *boundary):
            self.pull.sources[v] = lambda index, v=v: Var(self._local(v), compute_dtype(v.dtype))
        for s in range(sweeps):
            folds = [(n, self.pull.at(n.operands[0], self.index)) for n in self.reduces if self.stage[n.result] == s + 1]
            place = lambda v: tuple(self.index)  # noqa: E731
            stores = [Store(outs[v], _place(v.type, place(v)), self.pull.at(v, self.index)) for v in full if self.stage[v] == s]
            work.append((folds, stores))
        for s in range(sweeps + 1):
            ends.append([(v, self._kept_value(v)) for v in boundary if self.stage[v] == s])
        kept_stores = [Store(outs[v], _place(v.type, tuple(self.kept_index)), self.pull.at(v, self.kept_index)) for v in kept]
        return self._assemble(work, ends, kept_stores)

    def _boundary(self, kept: Sequence[Value]) -> list[Value]:
        """Kept values, no reductions themselves, that full values or outputs need: computed once a kept point."""
        made = []
        for node in self.body.nodes:
            v = node.results[0]
            if v.shape != self.kept_shape or isinstance(node.op, Reduce) or self.stage[v] == 0:
                continue
            users = self.body.uses.get(v, ())
            if v in kept or any(u.result.shape != self.kept_shape or isinstance(u.op, Reduce) for u in users):
                made.append(v)
        return made

    def _kept_value(self, v: Value) -> Expr:
        """The expression of a boundary value itself, not of the local that holds it."""
        source = self.pull.sources.pop(v)
        self.pull.forget()
        value = self.pull.at(v, self.kept_index)
        self.pull.sources[v] = source
        self.pull.forget()
        return value

    def _local(self, v: Value) -> str:
        return f"r{self.pull.number(v)}"

    def _assemble(
        self,
        work: list[tuple[list[tuple[Node, Expr]], list[Store]]],
        ends: list[list[tuple[Value, Expr]]],
        kept_stores: list[Store],
    ) -> Kernel:
        every = [s for _, stores in work for s in stores] + kept_stores
        roots = [x for folds, _ in work for _, x in folds] + [s.value for s in every] + [x for e in ends for _, x in e]
        positions = any(len(n.op.init(SCALAR, compute_dtype(n.operands[0].dtype))) > 1 for n in self.reduces)  # type: ignore[attr-defined]
        if positions:
            roots = [*roots, *(self.index[a] + 0 * self.index[a] for a in self.folded), *(self.index[a] for a in self.folded)]
        axes, rewrite, _ = collapse(self._axes(), roots, every)
        for a, n in enumerate(self.shape):
            self.pull.integer(f"n_i{a}", n)
        for axis in axes:
            self.pull.integer(f"n_{axis.var}", axis.size)
        fix = lambda s: Store(s.buffer, tuple(map(rewrite, s.index)), rewrite(s.value))  # noqa: E731
        work = [([(n, rewrite(x)) for n, x in folds], [fix(s) for s in stores]) for folds, stores in work]
        ends = [[(v, rewrite(x)) for v, x in e] for e in ends]
        kept_stores = [fix(s) for s in kept_stores]
        columns = bool(axes) and not axes[-1].reduced
        build = self._columns if columns else self._rows
        body, tiles = build(axes, work, ends, kept_stores)
        size = math.prod(self.shape) * max(1, len(self.body.nodes))
        return finish(self.name, self.body, self.pull, body, tiles=tiles, work=size)

    def _position(self) -> Expr:
        position: Expr = Const(0, I64)
        for a in self.folded:
            position = position * Var(f"n_i{a}") + self.index[a]
        return position

    # --------------------------------------------------------------------------------------- fastest axis reduced

    def _rows(self, axes, work, ends, kept_stores):  # type: ignore[no-untyped-def]
        outer = [a for a in axes if not a.reduced]
        inner = [a for a in axes if a.reduced]
        body: list[Stmt] = [Let(var, value) for var, value in unflatten(outer, Var("tile"))]
        for s, (folds, stores) in enumerate(work):
            body += [Let(self._local(v), x) for v, x in ends[s]]
            step: list[Stmt] = []
            after: list[Stmt] = []
            for node, x in folds:
                names, init, new, result = self._fold(node, x)
                body += [Let(name, value) for name, value in zip(names, init, strict=True)]
                step += _assign(names, new)
                after.append(Let(self._local(node.result), result))
            body += [*nest(inner, [*step, *stores]), *after]
        body += [Let(self._local(v), x) for v, x in ends[len(work)]]
        return (*body, *kept_stores), math.prod(a.size for a in outer)

    def _fold(self, node: Node, x: Expr) -> tuple[list[str], tuple[Expr, ...], tuple[Expr, ...], Expr]:
        op = node.op
        assert isinstance(op, Reduce)
        held = compute_dtype(node.operands[0].dtype)
        init = op.init(SCALAR, held)
        names = [f"acc{self.pull.number(node.result)}_{k}" for k in range(len(init))]
        state = tuple(Var(name, i.dtype) for name, i in zip(names, init, strict=True))
        new = op.step(FOLD, state, x, self._position())
        return names, init, new, rounded(op.finish(SCALAR, state), node.result.dtype)

    # ------------------------------------------------------------------------------------------ fastest axis kept

    def _columns(self, axes, work, ends, kept_stores):  # type: ignore[no-untyped-def]
        column = axes[-1]
        outer = [a for a in axes[:-1] if not a.reduced]
        inner = [a for a in axes if a.reduced]
        blocks = ceil_div(column.extent, COLUMN_BLOCK)
        tile = Var("tile")
        block = integer("mod", tile, blocks)
        body: list[Stmt] = [Let(var, value) for var, value in unflatten(outer, integer("floor_div", tile, blocks))]
        body += [Let("first", block * COLUMN_BLOCK), Let("end", SCALAR.minimum(column.extent, (block + 1) * COLUMN_BLOCK))]
        local: dict[str, Buffer] = {}
        stacks: list[Stmt] = []

        def stack(name: str, dtype) -> Buffer:  # type: ignore[no-untyped-def]
            if name not in local:
                local[name] = Buffer(name, dtype, (COLUMN_BLOCK,), (1,))
                stacks.append(Stack(local[name], COLUMN_BLOCK))
            return local[name]

        at = Var(column.var) - Var("first")
        held = {self._local(v): compute_dtype(v.dtype) for v in (*(n.result for n in self.reduces), *(v for e in ends for v, _ in e))}

        def localize(x: Expr, memo: dict[Expr, Expr]) -> Expr:
            from tgc.backends.loops.ir import substitute

            def replace(y: Expr) -> Expr | None:
                if isinstance(y, Var) and (y.name in held or y.name in accumulators):
                    return Load(stack(y.name, y.dtype), (at,), y.dtype)
                return None

            return substitute(x, replace, memo)

        accumulators: set[str] = set()
        memo: dict[Expr, Expr] = {}
        sweep = lambda stmts: For(column.var, Var("first"), Var("end"), tuple(stmts))  # noqa: E731
        fix = lambda s: Store(s.buffer, s.index, localize(s.value, memo))  # noqa: E731
        for s, (folds, stores) in enumerate(work):
            if ends[s]:
                body.append(sweep([Store(stack(self._local(v), x.dtype), (at,), localize(x, memo)) for v, x in ends[s]]))
            start: list[Stmt] = []
            step: list[Stmt] = []
            after: list[Stmt] = []
            for node, x in folds:
                names, init, new, result = self._fold(node, x)
                accumulators.update(names)
                start += [Store(stack(n, i.dtype), (at,), i) for n, i in zip(names, init, strict=True)]
                fresh = [f"new_{n}" for n in names]
                step += [Let(f, localize(v, memo)) for f, v in zip(fresh, new, strict=True)]
                step += [Store(stack(n, v.dtype), (at,), Var(f, v.dtype)) for n, f, v in zip(names, fresh, new, strict=True)]
                after.append(Store(stack(self._local(node.result), result.dtype), (at,), localize(result, memo)))
            if start:
                body.append(sweep(start))
            body += nest(inner, [sweep([*step, *map(fix, stores)])])
            if after:
                body.append(sweep(after))
        tail: list[Stmt] = [Store(stack(self._local(v), x.dtype), (at,), localize(x, memo)) for v, x in ends[len(work)]]
        tail += map(fix, kept_stores)
        if tail:
            body.append(sweep(tail))
        tiles = math.prod(a.size for a in outer) * -(-column.size // COLUMN_BLOCK)
        return (*stacks, *body), tiles


def _assign(names: Sequence[str], values: Sequence[Expr]) -> list[Stmt]:
    """names = values, all at once."""
    if len(names) == 1:
        return [Let(names[0], values[0])]
    fresh = [Let(f"new_{n}", v) for n, v in zip(names, values, strict=True)]
    return [*fresh, *(Let(n, Var(f"new_{n}", v.dtype)) for n, v in zip(names, values, strict=True))]


def _place(type: TensorType, index: Sequence[Expr]) -> tuple[Expr, ...]:
    from tgc.backends.loops.pull import physical

    return physical(type, index)


def _order(domain: TensorType, inputs: Sequence[Value]) -> tuple[int, ...]:
    """The domain's axes from slowest to fastest, as the inputs of its shape lie in memory."""
    for v in inputs:
        if v.shape == domain.shape and v.type.layout is not None and not v.type.layout.tiles:
            return v.type.layout.order
    layout: Layout | None = domain.layout
    return layout.order if layout and not layout.tiles else tuple(range(domain.rank))


__all__ = ["COLUMN_BLOCK", "FLAT_BLOCK", "lower_map", "lower_reduce", "number", "stages"]
