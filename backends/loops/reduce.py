"""Kernels of regions with reductions, what comes before them and what follows.

A region iterates over one domain. Values of it are *full* (one element a point of the domain) or *kept* (one a point
of the kept axes). Reductions of reductions run in sweeps over the reduced axes:

    softmax:  for row: | for j: m = max(m, x)                sweep 0
                       | for j: out = exp(x - m); s += out   sweep 1
                       | for j: out = out / s                sweep 2, a full result

A function that costs more than reading memory is evaluated once: until a full result is due, its place holds the value
(`_held`).

If the fastest axis is reduced, accumulators are scalars and one tile is one kept point, or some (`_Rows`). If it is
kept, a block of it is swept together and accumulators are arrays on the stack (`_Columns`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tgc.backends.loops.axes import Axis, collapse, nest, unflatten
from tgc.backends.loops.ir import (
    Buffer,
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
    Var,
    substitute,
    walk,
)  # fmt: skip
from tgc.backends.loops.kernel import finish
from tgc.backends.loops.panels import along
from tgc.backends.loops.pull import FOLD, SCALAR, Pull, compute_dtype, physical, rounded
from tgc.backends.loops.schedule import Schedule
from tgc.ir import Node, Value
from tgc.ops.kinds import Elementwise, Reduce
from tgc.ops.region import sweeps_before
from tgc.passes.recompute import cost
from tgc.sizes import call
from tgc.types import I64, DType, TensorType

STATE = 16 << 10  # bytes of state that a sweep over reduced rows keeps, at most: half of a first-level cache
LEAST, SHARES = 256, 16  # kept elements of a small block, pieces of work that justify larger ones
ROWS = 4  # that a sweep folds at once: the state is read and written once for them, and memory read in as many streams
SIMPLE = 16  # operations of a sweep that is short enough for that
HELD_COST = 8  # of a value (see `cost`) that is stored and read rather than computed twice


def lower_reduce(pull: Pull, name: str) -> list[Kernel]:
    """The kernel of a region whose reductions all fold the same axes of the same shape."""
    return [_Region(pull, name).kernel()]


@dataclass(frozen=True)
class _Fold:
    """One reduction: the names and first values of its state, the state after one more element, the result."""

    node: Node
    names: tuple[str, ...]
    init: tuple[Expr, ...]
    step: tuple[Expr, ...]
    result: Expr


@dataclass
class _Sweep:
    """What happens around and in one sweep: kept values that must be known, folds, stores of full results."""

    before: list[tuple[str, Expr]] = field(default_factory=list)
    folds: list[_Fold] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)

    def values(self) -> list[Expr]:
        folded = [x for f in self.folds for x in (*f.step, f.result)]
        return [*(x for _, x in self.before), *folded, *(s.value for s in self.stores)]

    def rewritten(self, rewrite: Callable[[Expr], Expr]) -> _Sweep:
        folds = [_Fold(f.node, f.names, f.init, tuple(map(rewrite, f.step)), rewrite(f.result)) for f in self.folds]
        return _Sweep([(n, rewrite(x)) for n, x in self.before], folds, [_moved(s, rewrite) for s in self.stores])


def _moved(s: Store, rewrite: Callable[[Expr], Expr]) -> Store:
    return Store(s.buffer, tuple(map(rewrite, s.index)), rewrite(s.value))


class _Region:
    """A region taken apart into sweeps."""

    def __init__(self, pull: Pull, name: str) -> None:
        self.pull, self.name, self.body = pull, name, pull.body
        body = pull.body
        self.reduces = [n for n in body.nodes if isinstance(n.op, Reduce)]
        domain = self.reduces[0].operands[0].type
        attrs = self.reduces[0].attrs
        self.shape, self.folded, self.chunks = domain.shape, attrs["axes"], attrs["chunks"]
        self.kept_shape = self.reduces[0].result.shape
        self.order = _order(domain, body.inputs)
        self.index = [Var(f"i{a}") for a in range(domain.rank)]
        kept = [v for a, v in enumerate(self.index) if a not in self.folded]
        self.kept_index = [Var("chunk"), *kept] if self.chunks else kept
        self.sweeps = sweeps_before(body)

    def kernel(self) -> Kernel:
        sweeps, stores = self._sweeps()
        roots = [x for s in sweeps for x in s.values()]
        every = [*(s for sweep in sweeps for s in sweep.stores), *stores]
        axes, rewrite, _ = collapse(self._axes(), [*roots, *(s.value for s in stores)], every)
        for axis in axes:
            self.pull.integer(f"n_{axis.var}", axis.size)
        sweeps, stores = [s.rewritten(rewrite) for s in sweeps], [_moved(s, rewrite) for s in stores]
        columns = bool(axes) and not axes[-1].reduced
        build = _Columns(axes, self.pull).build if columns else _Rows(axes, self.pull).build
        body, tiles = build(sweeps, stores)
        work = math.prod(self.shape) * max(1, len(self.body.nodes))
        return finish(self.name, self.pull, body, tiles=tiles, work=work)

    def _axes(self) -> list[Axis]:
        """Every axis of the domain in memory order, and the chunk as the outermost kept one."""
        axes = []
        for a in self.order:
            axis = Axis(f"i{a}", self.shape[a], a in self.folded)
            n = self.pull.integer(f"n_i{a}", self.shape[a])
            if self.chunks and a == self.folded[0]:
                count, c = self.pull.integer("chunks", self.chunks), Var("chunk")
                axis = Axis(axis.var, axis.size, True, c * n // count, (c + 1) * n // count, whole=False)
            axes.append(axis)
        return [Axis("chunk", self.chunks), *axes] if self.chunks else axes

    def _sweeps(self) -> tuple[list[_Sweep], list[Store]]:
        """The sweeps, the last of which may be empty but for kept values; and the stores of kept results."""
        pull, outs = self.pull, {v: self.pull.result(k) for k, v in enumerate(self.body.outputs)}
        full = [v for v in self.body.outputs if v.shape == self.shape and v.shape != self.kept_shape]
        kept = [v for v in self.body.outputs if v not in full]
        boundary = self._boundary(kept)
        for v in (*(n.result for n in self.reduces), *boundary):  # local variables, once their sweep is over
            pull.sources[v] = self._reader(v)
        last = max(self.sweeps[n.result] for n in self.reduces)
        sweeps = [_Sweep() for _ in range(max([last, *(self.sweeps[v] + 1 for v in full)]) + 1)]
        for v in boundary:
            sweeps[self.sweeps[v]].before.append((self._local(v), self._itself(v)))
        held = {v: out for k, out in enumerate(self.body.outputs) for v in self._held(k) if out in full}
        for k, sweep in enumerate(sweeps):
            sweep.folds += [self._fold(node) for node in self.reduces if self.sweeps[node.result] == k + 1]
            due = {v: v for v in full if self.sweeps[v] == k} | {v: o for v, o in held.items() if self.sweeps[v] == k}
            for v, out in due.items():
                sweep.stores.append(Store(outs[out], physical(v.type, self.index), pull.at(v, self.index)))
            for v in due.keys() & held.keys():
                pull.sources[v] = self._stored(v, outs[held[v]])
                pull.forget()
        stores = [Store(outs[v], physical(v.type, self.kept_index), pull.at(v, self.kept_index)) for v in kept]
        return sweeps, stores

    def _held(self, k: int) -> list[Value]:
        """What result `k` is made of that an earlier sweep has computed and that its place can hold until then.

        That is a value of its type which costs a function. Nothing else that is left to compute then may need it, nor
        an element of it elsewhere than where it is.
        """
        out = self.body.outputs[k]
        if k in self.pull.overwrites:
            return []
        for node in reversed(self.body.nodes):
            v = node.result
            if isinstance(node.op, Elementwise) and v.type == out.type and cost(node) >= HELD_COST:
                ends = self._ends(v)
                folds = [self.sweeps[n.result] - 1 for n in ends if isinstance(n, Node)]
                if out in ends and self.sweeps[v] in folds and max(folds) < self.sweeps[out]:
                    return [v] if sum(isinstance(end, Value) for end in ends) == 1 else []
        return []

    def _ends(self, v: Value) -> set[Node | Value]:
        """The reductions and results that elementwise ops make of a value; none if other ops read it."""
        found: set[Node | Value] = set()
        stack = [v]
        while stack:
            v = stack.pop()
            if v in self.body.outputs:
                found.add(v)
            for user in self.body.uses.get(v, ()):
                if isinstance(user.op, Reduce):
                    found.add(user)
                elif isinstance(user.op, Elementwise):
                    stack.append(user.result)
                else:
                    return set()
        return found

    def _stored(self, v: Value, buffer: Buffer) -> Callable[[Sequence[Expr]], Expr]:
        dtype = compute_dtype(v.dtype)
        return lambda place: Load(buffer, physical(v.type, place), dtype)

    def _boundary(self, kept: Iterable[Value]) -> list[Value]:
        """Kept values, no reductions themselves, that full values or results need: computed once a kept point."""
        made = []
        for node in self.body.nodes:
            v = node.results[0]
            if isinstance(node.op, Reduce) or self.sweeps[v] == 0 or v.shape != self.kept_shape:
                continue
            users = self.body.uses.get(v, ())
            if v in kept or any(u.result.shape != self.kept_shape or isinstance(u.op, Reduce) for u in users):
                made.append(v)
        return made

    def _reader(self, v: Value) -> Callable[[Sequence[Expr]], Expr]:
        local = Var(self._local(v), compute_dtype(v.dtype))
        return lambda place: local

    def _local(self, v: Value) -> str:
        return f"r{self.pull.number(v)}"

    def _itself(self, v: Value) -> Expr:
        """The expression of a boundary value, not the local variable that holds it."""
        source = self.pull.sources.pop(v)
        self.pull.forget()
        value = self.pull.at(v, self.kept_index)
        self.pull.sources[v] = source
        self.pull.forget()
        return value

    def _fold(self, node: Node) -> _Fold:
        op = node.op
        assert isinstance(op, Reduce)
        init = op.init(SCALAR, compute_dtype(node.operands[0].dtype))
        names = tuple(f"acc{self.pull.number(node.result)}_{k}" for k in range(len(init)))
        state = tuple(Var(name, i.dtype) for name, i in zip(names, init, strict=True))
        step = op.step(FOLD, state, self.pull.at(node.operands[0], self.index), self._position())
        return _Fold(node, names, init, step, rounded(op.finish(SCALAR, state), node.result.dtype))

    def _position(self) -> Expr:
        """Where an element lies along the reduced axes, counted row-major."""
        position: Expr = Const(0, I64)
        for a in self.folded:
            position = position * Var(f"n_i{a}") + self.index[a]
        return position


def _order(domain: TensorType, inputs: Sequence[Value]) -> tuple[int, ...]:
    """The domain's axes from slowest to fastest, as the inputs of its shape lie in memory."""
    for v in inputs:
        layout = v.type.layout
        if layout is not None and not layout.tiles and v.type.rank == domain.rank and v.shape == domain.shape:
            return layout.order
    return tuple(range(domain.rank))


@dataclass(frozen=True)
class _Row:
    """One of several rows folded at once: its place, and how its scalars are told from those of the others."""

    place: Mapping[Expr, Expr] = field(default_factory=dict)
    suffix: str = ""
    names: frozenset[str] = frozenset()
    memo: dict[Expr, Expr] = field(default_factory=dict)

    def let(self, name: str, x: Expr) -> Let:
        return Let(name + self.suffix, self.of(x))

    def of(self, x: Expr) -> Expr:
        def replace(y: Expr) -> Expr | None:
            if isinstance(y, Var) and y.name in self.names:
                return Var(y.name + self.suffix, y.dtype)
            return self.place.get(y)

        return substitute(x, replace, self.memo)


class _Rows:
    """The fastest axis is reduced: accumulators are scalars. A tile is one row, or `ROWS` of them in a short sweep."""

    def __init__(self, axes: Sequence[Axis], pull: Pull) -> None:
        self.outer, self.inner = [a for a in axes if not a.reduced], [a for a in axes if a.reduced]
        self.pull = pull

    def build(self, sweeps: Sequence[_Sweep], stores: Sequence[Store]) -> tuple[tuple[Stmt, ...], int]:
        points = math.prod(a.size for a in self.outer)
        one = self._points([_Row()], sweeps, stores)
        steps = [x for s in sweeps for f in s.folds for x in f.step]
        short = len(list(walk(steps))) <= SIMPLE and not any(s.stores or (k and s.folds) for k, s in enumerate(sweeps))
        bounds = [x for a in self.inner for x in (a.lo, a.end)]  # chunks are of their own
        if not self.outer or not short or Var(self.outer[-1].var) in walk(bounds):
            return (*(Let(var, value) for var, value in unflatten(self.outer, Var("tile"))), *one), points
        last = self.outer[-1]
        height = call(_height, self.pull.schedule, points, least=1)
        blocks = Axis("block", -(-last.size // height))
        self.pull.integer("n_block", blocks.size)
        names = frozenset(
            n for s in sweeps for n in (*(n for n, _ in s.before), *(n for f in s.folds for n in _names(f)))
        )
        rows = [_Row({Var(last.var): Var("first") + r}, f"_{r}", names) for r in range(ROWS)]
        end, single = Var("end"), For(last.var, Var("first"), Var("end"), tuple(one))
        body: list[Stmt] = [
            *(Let(var, value) for var, value in unflatten([*self.outer[:-1], blocks], Var("tile"))),
            Let("first", Var("block") * self.pull.integer("height", height)),
            Let("end", SCALAR.minimum(last.extent, Var("first") + Var("height"))),
            If(end - Var("first") < ROWS, (single,), tuple(self._points(rows, sweeps, stores))),
        ]
        return tuple(body), math.prod(a.size for a in self.outer[:-1]) * blocks.size

    def _points(self, rows: Sequence[_Row], sweeps: Sequence[_Sweep], stores: Sequence[Store]) -> list[Stmt]:
        """All sweeps of some kept points side by side."""
        body: list[Stmt] = []
        for sweep in sweeps:
            body += [row.let(name, x) for row in rows for name, x in sweep.before]
            body += [row.let(n, x) for row in rows for f in sweep.folds for n, x in zip(f.names, f.init, strict=True)]
            step = [s for row in rows for f in sweep.folds for s in _assign(row, f)]
            step += [_moved(s, row.of) for row in rows for s in sweep.stores]
            body += nest(self.inner, step) if step else ()
            body += [row.let(_result(f), f.result) for row in rows for f in sweep.folds]
        return [*body, *(_moved(s, row.of) for row in rows for s in stores)]


def _result(f: _Fold) -> str:
    return "r" + f.names[0].removeprefix("acc").split("_")[0]


def _names(f: _Fold) -> tuple[str, ...]:
    """The scalars of a fold: its state, the state after a step, its result."""
    return (*f.names, *(f"new_{n}" for n in f.names), _result(f))


def _assign(row: _Row, f: _Fold) -> list[Stmt]:
    """The state after one more element, all of it at once."""
    if len(f.names) == 1:
        return [row.let(f.names[0], f.step[0])]
    fresh = [row.let(f"new_{n}", v) for n, v in zip(f.names, f.step, strict=True)]
    return [*fresh, *(row.let(n, Var(f"new_{n}", v.dtype)) for n, v in zip(f.names, f.step, strict=True))]


class _Columns:
    """The fastest axis is kept: accumulators and kept values are arrays on the stack, one element a column."""

    def __init__(self, axes: Sequence[Axis], pull: Pull) -> None:
        self.column, self.pull = axes[-1], pull
        self.outer, self.inner = [a for a in axes[:-1] if not a.reduced], [a for a in axes if a.reduced]
        self.at = Var(self.column.var) - Var("first")
        self.arrays: dict[str, Buffer] = {}
        self.memo: dict[Expr, Expr] = {}

    def array(self, name: str, dtype: DType) -> Buffer:
        """The array that stands for a scalar of the row-wise form."""
        return self.arrays.setdefault(name, Buffer(name, dtype, (0,), (1,)))

    def load(self, x: Expr) -> Expr:
        """`x` with scalars of the row-wise form read from their arrays."""

        def replace(y: Expr) -> Expr | None:
            if isinstance(y, Var) and y.name in self.arrays:
                return Load(self.arrays[y.name], (self.at,), y.dtype)
            return None

        return substitute(x, replace, self.memo)

    def sweep(self, stmts: Sequence[Let | Store]) -> tuple[Stmt, ...]:
        """A loop over the block's columns."""
        return along(self.column.var, Var("first"), Var("end"), stmts) if stmts else ()

    def put(self, name: str, x: Expr) -> Store:
        return Store(self.arrays[name], (self.at,), self.load(x))

    def build(self, sweeps: Sequence[_Sweep], stores: Sequence[Store]) -> tuple[tuple[Stmt, ...], int]:
        for s in sweeps:  # all arrays first: expressions refer to those of earlier sweeps
            for name, x in s.before:
                self.array(name, x.dtype)
            for f in s.folds:
                for name, i in zip(f.names, f.init, strict=True):
                    self.array(name, i.dtype)
                self.array(_result(f), f.result.dtype)
        points = math.prod(a.size for a in self.outer)
        results = {_result(f) for s in sweeps for f in s.folds}  # needed when the sweeps are over
        state = sum(b.dtype.itemsize for name, b in self.arrays.items() if name not in results)
        most = max(LEAST, 1 << (STATE // max(1, state)).bit_length() - 1)
        width = call(_width, self.pull.schedule, most, points, self.column.size, least=1)
        blocks, tile = -(-self.column.size // width), Var("tile")
        count, block = self.pull.integer("blocks", blocks), self.pull.integer("block", width)
        body: list[Stmt] = [Let(v, x) for v, x in unflatten(self.outer, tile // count)]
        body += [
            Let("first", tile % count * block),
            Let("end", SCALAR.minimum(self.column.extent, Var("first") + block)),
        ]
        for s in sweeps:
            body += self.sweep([self.put(name, x) for name, x in s.before])
            body += self.sweep([self.put(n, i) for f in s.folds for n, i in zip(f.names, f.init, strict=True)])
            body += self._rows(s)
            body += self.sweep([self.put(_result(f), f.result) for f in s.folds])
        body += self.sweep([Store(x.buffer, x.index, self.load(x.value)) for x in stores])
        return (*(Stack(b, most) for b in self.arrays.values()), *body), points * blocks

    def _rows(self, s: _Sweep) -> tuple[Stmt, ...]:
        """The loops of a sweep over the reduced axes, innermost that over the block's columns."""
        one: list[Let | Store] = [stmt for f in s.folds for stmt in self._steps(f, [{}])]
        one += [Store(x.buffer, x.index, self.load(x.value)) for x in s.stores]
        if not one:
            return ()
        if s.stores or not self.inner or len(list(walk([x for f in s.folds for x in f.step]))) > SIMPLE:
            return nest(self.inner, self.sweep(one))
        last = self.inner[-1]
        rows: list[Mapping[Expr, Expr]] = [{Var(last.var): Var("row") + r} for r in range(ROWS)]
        several = [stmt for f in s.folds for stmt in self._steps(f, rows)]
        start = Let("row", last.lo + Var("group") * ROWS)
        loops: list[Stmt] = [
            Let("groups", (last.end - last.lo) // ROWS),
            For("group", Const(0, I64), Var("groups"), (start, *self.sweep(several))),
            For(last.var, last.lo + Var("groups") * ROWS, last.end, self.sweep(one)),
        ]
        return nest(self.inner[:-1], loops)

    def _steps(self, f: _Fold, rows: Sequence[Mapping[Expr, Expr]]) -> list[Let | Store]:
        """The state of a fold after the elements of these rows, each of which is given by what it replaces."""
        stmts: list[Let | Store] = []
        state: dict[Expr, Expr] = {}
        for r, row in enumerate(rows):
            here: dict[Expr, Expr] = {**state, **row}
            memo: dict[Expr, Expr] = {}
            steps = [self.load(substitute(x, here.get, memo)) for x in f.step]
            names = [f"new_{n}" if r == len(rows) - 1 else f"new{r}_{n}" for n in f.names]
            stmts += [Let(n, x) for n, x in zip(names, steps, strict=True)]
            state = {Var(n, x.dtype): Var(m, x.dtype) for n, m, x in zip(f.names, names, steps, strict=True)}
        return [*stmts, *(self.put(n, state[Var(n, x.dtype)]) for n, x in zip(f.names, f.step, strict=True))]


def _width(schedule: Schedule, most: int, points: int, columns: int) -> int:
    """Kept elements of a block, `most` or fewer, so that there are pieces of work to share."""
    width = most
    while width > LEAST and points * -(-columns // width) < SHARES:
        width //= 2
    return schedule.choose("width", width, *(n for n in (most // 8, most // 4, most // 2, most) if n))


def _height(schedule: Schedule, points: int) -> int:
    """Kept points that are folded side by side."""
    return schedule.choose("height", ROWS if points >= ROWS * SHARES else 1, 1, ROWS)
