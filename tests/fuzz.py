"""Random graphs over all ops: oracle against every stage of the pipeline and against the compiled program.

A graph is drawn op by op together with the numbers that its values take on its arguments, so that each op gets operands
in its domain and results stay small enough to compare. Run by hand, for long:

    python tests/fuzz.py --examples 10000 --seed 1 [--minutes 60]

Each failure is reduced to a small program and printed as `.tgir` text with its arguments.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tgc.autodiff import differentiate
from tgc.errors import ShapeError
from tgc.interpret import interpret, interpret_values
from tgc.ir import Builder, Graph, Value
from tgc.ops import REGISTRY
from tgc.ops.contraction import conv_shape
from tgc.ops.kinds import Elementwise, Primitive, Reduce, Scatter
from tgc.runtime.lowered import Lowered, same
from tgc.text import parse
from tgc.types import (
    ALL,
    BF16,
    BOOL,
    F16,
    F32,
    F64,
    I32,
    I64,
    INTS,
    NUMBERS,
    U8,
    U32,
    DType,
    Shape,
    is_float,
    type_of,
)
from tgc.verify import verify

T = TypeVar("T")

OPS: dict[str, Primitive] = {name: op for name, op in REGISTRY.items() if isinstance(op, Primitive)}
INTERNAL = frozenset({"fused", "relayout"})  # made by passes, never traced
SIZES = (3, 1, 2, 4, 5, 7, 16, 17, 33, 0)
MOST = 2048  # elements of a value
LARGE = 50.0  # magnitude of floats above which they are scaled

# Where an op of floats is defined, smooth and well-conditioned: (lowest, highest) of each operand.
DOMAINS: dict[str, tuple[tuple[float, float], ...]] = {
    **dict.fromkeys(("exp", "exp2", "expm1", "sinh", "cosh"), ((-3, 3),)),
    **dict.fromkeys(("log", "log2", "log10", "sqrt", "rsqrt"), ((0.1, 20),)),
    **dict.fromkeys(("asin", "acos", "atanh"), ((-0.9, 0.9),)),
    "log1p": ((-0.9, 9),), "acosh": ((1.2, 9),), "tan": ((-1.2, 1.2),), "atan2": ((-3, 3), (0.3, 3)),
    "div": ((-20, 20), (0.5, 4)), "mod": ((-9, 9), (1, 5)), "floor_div": ((-9, 9), (1, 5)), "pow": ((0.3, 3), (-2, 2)),
    "prod": ((0.5, 1.5),),
}  # fmt: skip
CAST_TO: dict[DType, tuple[float, float]] = {U8: (0, 200), U32: (0, 1000), I32: (-999, 999), I64: (-999, 999)}


class Unfit(Exception):  # noqa: N818
    """No operands for an op, or results that nothing could be compared with: the op is left out."""


@dataclass(frozen=True)
class Program:
    """A graph with arguments; with `gradient` a scalar function, whose gradient is to be checked."""

    graph: Graph
    arrays: tuple[np.ndarray, ...]
    donated: tuple[int, ...] = ()
    gradient: bool = False

    def __str__(self) -> str:
        known = {f"%{v.name}": a for v, a in zip(self.graph.inputs, self.arrays, strict=True)}
        known |= {c.digest: np.asarray(c.data) for c in self.graph.constants}
        lines = [f"{name} = {a.ravel()[:64].tolist()}{' ...' if a.size > 64 else ''}" for name, a in known.items()]
        return "\n".join([str(self.graph), *lines, f"donated: {self.donated}"])

    def __repr__(self) -> str:
        return f"<program of {len(self.graph.nodes)} nodes>"


# ------------------------------------------------------------------------------------------------------ generation


class Draft:
    """A graph in the making, and the numbers of all its values. `smooth`: in float64, to be differentiated."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], smooth: bool) -> None:
        self.draw, self.smooth = draw, smooth
        self.builder = Builder("fuzz")
        self.values: dict[Value, np.ndarray] = {}
        self.arguments: dict[Value, np.ndarray] = {}
        self.rng = np.random.default_rng(self.number(0, 999))
        self.sizes = [self.one_of(SIZES) for _ in range(3)]
        main = F64 if smooth else self.one_of((F32, F32, F32, F64, F16, BF16))
        other = () if smooth else (self.one_of((F32, F64, F16)),)
        self.dtypes: tuple[DType, ...] = (main, main, main, *other, I32, I64, BOOL, U8, U32)
        self.leaf(main, self.shape())

    # --------------------------------------------------------------------------------------------------- choices

    def number(self, lo: int, hi: int) -> int:
        return self.draw(st.integers(lo, hi))  # type: ignore[no-any-return]

    def one_of(self, options: Sequence[T]) -> T:
        if not options:
            raise Unfit
        return options[self.number(0, len(options) - 1)]

    def rarely(self) -> bool:
        return self.number(0, 7) == 7

    def subset(self, n: int) -> tuple[int, ...]:
        return tuple(a for a in range(n) if self.number(0, 1))

    def shape(self, least: int = 0, most: int = 4) -> Shape:
        shape = tuple(self.one_of((*self.sizes, 1)) for _ in range(self.number(least, most)))
        while math.prod(shape) > MOST:
            shape = tuple(n // 2 if n == max(shape) else n for n in shape)
        return shape

    def operand(self, domain: frozenset[DType], least: int = 0, most: int = 5) -> Value:
        """A value, recent ones first, or a new argument where there is none."""
        found = [v for v in self.values if v.dtype in domain and least <= v.type.rank <= most][::-1]
        if found and not self.rarely():
            return self.one_of(found)
        return self.leaf(self.one_of([d for d in self.dtypes if d in domain]), self.shape(least, min(most, 4)))

    def like(self, dtype: DType, shape: Shape) -> Value:
        """Some value of this type: an old one, one made of an old one, or a new argument."""
        ways: list[Callable[[], Value]] = [lambda: self.leaf(dtype, shape)]
        if found := [v for v in self.values if (v.dtype, v.shape) == (dtype, shape)]:
            ways = [lambda: self.one_of(found[::-1])] * 4 + ways
        if spread := [(v, axes) for v in self.values if v.dtype == dtype and (axes := placed(v.shape, shape))]:
            ways.append(lambda: self.broadcast(*self.one_of(spread[::-1]), shape))
        casts = [v for v in self.values if v.shape == shape and v.dtype != dtype and not (self.smooth and is_float(dtype))]
        if casts:
            ways.append(lambda: self.cast(self.one_of(casts[::-1]), dtype))
        ways.append(lambda: self.full(dtype, shape, self.number(-2, 3)))
        return self.one_of(ways)()

    # --------------------------------------------------------------------------------------------------- emission

    def emit(self, name: str, *operands: Value, **attrs: Any) -> Value:
        """Emit an op and compute its result, which is scaled where it is large."""
        op = OPS[name]
        attrs = op.check_attrs(attrs)
        if math.prod(op.infer([v.type for v in operands], attrs)[0].shape) > MOST:
            raise Unfit
        (v,) = self.builder.emit(op, operands, attrs, (f"fuzz.py:{len(self.values)}",))
        if v not in self.values:
            result = reference(op, [self.values[x] for x in operands], attrs)
            if is_float(v.dtype) and not np.isfinite(result.astype(F64)).all():
                raise Unfit
            self.values[v] = result
        return self.scaled(v)

    def scaled(self, v: Value) -> Value:
        largest = float(np.abs(self.values[v].astype(F64)).max(initial=0)) if is_float(v.dtype) else 0.0
        if largest <= LARGE:
            return v
        if largest > 1e6:
            return self.emit("tanh", v)
        return self.emit("mul", v, self.full(v.dtype, v.shape, 2.0 ** -math.ceil(math.log2(largest) - 2)))

    def leaf(self, dtype: DType, shape: Shape) -> Value:
        """A new argument or constant."""
        if dtype == BOOL:
            array = self.rng.integers(0, 2, shape).astype(dtype)
        elif is_float(dtype):
            array = self.rng.uniform(-2, 2, shape)
            array = (np.round(array * 4) / 4 if self.rarely() and not self.smooth else array).astype(dtype)
        else:
            info = np.iinfo(dtype)
            low, high = (info.min, info.max) if self.rarely() else (max(info.min, -9), 9)
            array = self.rng.integers(low, high, shape, dtype, endpoint=True)
        array = np.asarray(array)
        if self.rarely() and self.arguments:
            v = self.builder.constant(array)
        else:
            v = self.builder.input(type_of(array))
            self.arguments[v] = array
        self.values[v] = array
        return v

    def full(self, dtype: DType, shape: Shape, value: float) -> Value:
        kind = bool if dtype == BOOL else int if dtype in INTS else float
        return self.emit("full", shape=shape, dtype=dtype, value=kind(max(value, 0) if dtype in (U8, U32) else value))

    def cast(self, x: Value, dtype: DType) -> Value:
        if is_float(x.dtype) and dtype in CAST_TO:
            x = self.fit(x, *CAST_TO[dtype])
        return self.emit("cast", x, dtype=dtype)

    def broadcast(self, x: Value, axes: Sequence[int], shape: Shape) -> Value:
        return self.emit("broadcast", x, axes=axes, shape=shape)

    def fit(self, x: Value, lo: float, hi: float) -> Value:
        """`x`, or a function of it with numbers between lo and hi."""
        array = self.values[x].astype(F64)
        if array.size == 0 or (array.min() >= lo and array.max() <= hi):
            return x
        if x.dtype in INTS:
            lo = max(lo, np.iinfo(x.dtype).min)
            return self.emit("add", self.emit("mod", x, self.full(x.dtype, x.shape, hi - lo + 1)), self.full(x.dtype, x.shape, lo))
        if self.rarely():
            return self.emit("minimum", self.emit("maximum", x, self.full(x.dtype, x.shape, lo)), self.full(x.dtype, x.shape, hi))
        inside = self.emit("mul", self.emit("sigmoid", x), self.full(x.dtype, x.shape, hi - lo))
        return self.emit("add", inside, self.full(x.dtype, x.shape, lo))

    def index(self, n: int, shape: Shape | None = None) -> Value:
        """Integers that address an axis of `n`."""
        if shape is None:
            found = [v for v in self.values if v.dtype in (I32, I64) and v.type.rank <= 3]
            x = self.one_of(found) if found and self.number(0, 1) else self.leaf(self.one_of((I32, I64)), self.shape(0, 2))
        else:
            x = self.like(self.one_of((I32, I64)), shape)
        if n == 0 and x.type.size:
            raise Unfit
        return self.fit(x, -n, n - 1)


def placed(inner: Shape, outer: Shape) -> tuple[int, ...] | None:
    """Axes of `outer` that `inner` has, in order, if it is not all of them."""
    axes: list[int] = []
    for n in inner:
        after = range(axes[-1] + 1 if axes else 0, len(outer))
        axis = next((a for a in after if outer[a] == n), None)
        if axis is None:
            return None
        axes.append(axis)
    return tuple(axes) if len(axes) < len(outer) else None


def reference(op: Primitive, operands: Sequence[np.ndarray], attrs: Any) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(op.reference(*operands, **attrs))


# ------------------------------------------------------------------------------------------------- one op of a kind


def elementwise(d: Draft, name: str) -> None:
    op = OPS[name]
    assert isinstance(op, Elementwise)
    if name == "cast":
        x = d.operand(ALL)
        d.cast(x, d.one_of([t for t in d.dtypes if not (d.smooth and is_float(t) and is_float(x.dtype))]))
        return
    domains = op.mixed or (op.domain,) * op.arity
    first = d.operand(domains[-1])
    rest = [d.like(BOOL if domain == {BOOL} else first.dtype, first.shape) for domain in domains[:-1]]
    operands = [*rest, first]
    if is_float(first.dtype) and name in DOMAINS:
        operands = [d.fit(x, *bounds) for x, bounds in zip(operands, DOMAINS[name], strict=True)]
    if name.startswith("shift") and not d.rarely():
        operands[1] = d.fit(operands[1], 0, 8 * first.dtype.itemsize - 1)
    d.emit(name, *operands)


def reduction(d: Draft, name: str) -> None:
    op = OPS[name]
    assert isinstance(op, Reduce)
    x = d.operand(op.domain)
    axes = d.subset(x.type.rank)
    if not axes and x.type.rank and not d.rarely():
        axes = (x.type.rank - 1,)
    if not op.empty and any(x.shape[a] == 0 for a in axes):
        raise Unfit
    chunked = op.splits and axes and not d.smooth and d.rarely()  # gradients are taken before anything is chunked
    chunks = d.number(1, max(1, x.shape[axes[0]] if not op.empty else 3)) if chunked else 0
    if name == "prod" and is_float(x.dtype):
        x = d.fit(x, *DOMAINS[name][0])
    d.emit(name, x, axes=axes, chunks=chunks)


def reshape(d: Draft, name: str) -> None:
    x = d.operand(ALL)
    shape = list(x.shape)
    for _ in range(d.number(1, 2)):
        merge = [a for a in range(len(shape) - 1)]
        split = [(a, k) for a, n in enumerate(shape) for k in (2, 3, 1) if n and n % k == 0 and len(shape) < 6]
        way = d.one_of([w for w, some in (("merge", merge), ("split", split), ("one", [1])) if some])
        if way == "merge":
            a = d.one_of(merge)
            shape[a : a + 2] = [shape[a] * shape[a + 1]]
        elif way == "split":
            a, k = d.one_of(split)
            shape[a : a + 1] = [shape[a] // k, k]
        elif len(shape) < 6:
            shape.insert(d.number(0, len(shape)), 1)
    d.emit("reshape", x, shape=shape)


def broadcast(d: Draft, name: str) -> None:
    x = d.operand(ALL, most=4)
    shape = list(x.shape)
    axes = list(range(len(shape)))
    for _ in range(d.number(1, 2)):
        at = d.number(0, len(shape))
        shape.insert(at, d.one_of(d.sizes))
        axes = [a + (a >= at) for a in axes]
    d.broadcast(x, axes, tuple(shape))


def transpose(d: Draft, name: str) -> None:
    x = d.operand(ALL, least=1)
    d.emit("transpose", x, perm=d.draw(st.permutations(range(x.type.rank))))


def slice_(d: Draft, name: str) -> None:
    x = d.operand(ALL)
    stop = [n - d.number(0, min(n, 2)) for n in x.shape]
    start = [d.number(0, min(n, 2)) for n in stop]
    d.emit("slice", x, start=start, stop=stop, step=[d.one_of((1, 1, 2, 3)) for _ in start])


def pad(d: Draft, name: str) -> None:
    x = d.operand(ALL)
    low, high = ([d.one_of((0, 1, 0, 2, -1)) for _ in x.shape] for _ in range(2))
    interior = [d.one_of((0, 0, 1, 2)) for _ in x.shape]
    value = d.number(0, 1) if x.dtype == BOOL or x.dtype in INTS else d.one_of((0, 1.5, -1.0))
    d.emit("pad", x, low=low, high=high, interior=interior, value=value)


def concat(d: Draft, name: str) -> None:
    x = d.operand(ALL, least=1)
    others = [d.like(x.dtype, x.shape) for _ in range(d.number(0, 2))]
    axis = d.number(0, x.type.rank - 1)
    if others and d.rarely():
        others[-1] = d.emit("slice", others[-1], start=[0] * x.type.rank, step=[1] * x.type.rank,
                            stop=[n // 2 if a == axis else n for a, n in enumerate(x.shape)])  # fmt: skip
    d.emit("concat", *d.draw(st.permutations([x, *others])), axis=axis)


def reverse(d: Draft, name: str) -> None:
    x = d.operand(ALL)
    d.emit("reverse", x, axes=d.subset(x.type.rank))


def take(d: Draft, name: str) -> None:
    x = d.operand(ALL, least=1)
    d.emit("take", x, d.index(x.shape[0]))


def scatter(d: Draft, name: str) -> None:
    x = d.operand(NUMBERS, least=1)
    index = d.index(x.shape[0])
    d.emit("scatter_add", x, index, d.like(x.dtype, index.shape + x.shape[1:]))


def creation(d: Draft, name: str) -> None:
    if name == "full":
        d.full(d.one_of(d.dtypes), d.shape(), d.number(-2, 3))
    elif name == "iota":
        shape = d.shape(1)
        d.emit("iota", shape=shape, dtype=d.one_of([t for t in d.dtypes if t != BOOL]), axis=d.number(0, len(shape) - 1))
    else:
        words = d.emit("random_bits", d.leaf(U32, (2,)), shape=d.shape())
        high = d.emit("shift_right", words, d.full(U32, words.shape, 21))
        real = d.emit("cast", high, dtype=d.dtypes[0])
        d.emit("mul", real, d.full(real.dtype, real.shape, 2.0**-11))


def window(d: Draft, name: str) -> None:
    x = d.operand(NUMBERS, least=1)
    slides = [a for a in range(x.type.rank) if d.number(0, 1)][:2]
    each = range(x.type.rank)
    size = [d.one_of((2, 3, 1)) if a in slides else 1 for a in each]
    dilation = [d.one_of((1, 1, 2)) if a in slides else 1 for a in each]
    reach = [(w - 1) * k for w, k in zip(size, dilation, strict=True)]
    padding = [(d.number(0, r), d.number(0, r)) for r in reach]
    stride = [d.one_of((1, 2, 3)) if a in slides else 1 for a in each]
    attrs = {"window": size, "stride": stride, "padding": padding, "dilation": dilation}
    if name in ("window_sum", "window_max", "window_argmax"):
        d.emit(name, x, **attrs)
        return
    at = d.emit("window_argmax", x, **attrs)
    if name == "window_gather":
        d.emit(name, d.like(x.dtype, x.shape), at, **attrs)
    else:
        d.emit(name, d.like(x.dtype, at.shape), at, shape=x.shape, **attrs)


def dot(d: Draft, name: str) -> None:
    x = d.operand(NUMBERS, most=4)
    y = d.like(x.dtype, tuple(d.one_of((*x.shape, *d.sizes)) for _ in range(d.number(0, 3))))
    batch, contract = ([], []), ([], [])  # type: tuple[list[int], list[int]], tuple[list[int], list[int]]
    for i, n in enumerate(x.shape):
        free = [j for j, m in enumerate(y.shape) if m == n and j not in (*batch[1], *contract[1])]
        side = d.one_of((contract, contract, batch, None))
        if free and side is not None:
            side[0].append(i)
            side[1].append(d.one_of(free))
    d.emit("dot", x, y, batch=batch, contract=contract)


def convolution(d: Draft, name: str) -> None:
    rank = d.number(1, 2)
    x = d.operand(NUMBERS, rank + 2, rank + 2)
    groups = d.one_of([g for g in (1, 1, 2, 3) if x.shape[-1] % g == 0])
    kernel = [d.one_of((1, 2, 3)) for _ in range(rank)]
    attrs = {
        "stride": [d.one_of((1, 2)) for _ in kernel],
        "padding": [(d.number(0, 2), d.number(0, 2)) for _ in kernel],
        "dilation": [d.one_of((1, 1, 2)) for _ in kernel],
    }
    filters = d.one_of((1, 2, 5, 17)) * groups
    if name == "conv":
        d.emit(name, x, d.like(x.dtype, (*kernel, x.shape[-1] // groups, filters)), groups=groups, **attrs)
        return
    grid = conv_shape(x.shape[1:-1], kernel, **attrs)
    if min(grid) < 1:
        raise Unfit
    d.emit(name, x, d.like(x.dtype, (x.shape[0], *grid, filters)), kernel=kernel, groups=groups, **attrs)


DRAWS: dict[str, Callable[[Draft, str], None]] = {
    **{name: elementwise for name, op in OPS.items() if isinstance(op, Elementwise)},
    **{name: reduction for name, op in OPS.items() if isinstance(op, Reduce)},
    **{name: scatter for name, op in OPS.items() if isinstance(op, Scatter)},
    "reshape": reshape, "broadcast": broadcast, "transpose": transpose, "slice": slice_, "pad": pad, "concat": concat,
    "reverse": reverse, "take": take, "full": creation, "iota": creation, "random_bits": creation,
    **{name: window for name in OPS if name.startswith("window_")},
    "dot": dot, "conv": convolution, "conv_kernel_grad": convolution,
}  # fmt: skip
MOVES = ("transpose", "reshape", "broadcast", "slice", "pad", "concat", "reverse")
KINDS: tuple[tuple[str, ...], ...] = (  # each is as likely as any other
    *[tuple(n for n, f in DRAWS.items() if f is elementwise)] * 3,
    *[("add", "mul", "sub", "tanh", "relu", "maximum", "select")] * 3,
    *[MOVES] * 4,
    *[tuple(n for n, f in DRAWS.items() if f is reduction), ("sum", "max")] * 2,
    ("dot",),
    ("conv", "conv_kernel_grad"),
    tuple(n for n, f in DRAWS.items() if f is window),
    ("take", "scatter_add"),
    ("full", "iota", "random_bits"),
)


def drafted(draw: Any, smooth: bool, most: int) -> Draft:
    d = Draft(draw, smooth)
    for _ in range(max(d.number(1, most), d.number(1, most))):
        name = d.one_of(d.one_of(KINDS))
        if smooth and name in ("stop_gradient", "random_bits"):
            continue
        try:
            DRAWS[name](d, name)
        except (Unfit, ShapeError):
            continue
    return d


def results(d: Draft) -> list[Value]:
    """What nothing reads, at most four, and sometimes something that is read or is a result already."""
    read = {v for node in d.builder.nodes for v in node.operands}
    ends = [node.result for node in d.builder.nodes if node.result not in read][-4:] or [next(iter(d.values))]
    return [*ends, d.one_of(list(d.values))] if d.rarely() else ends


@st.composite
def programs(draw: Any, most: int = 10) -> Program:
    """Graphs of about 1 to `most` ops with arguments, some of which are donated."""
    d = drafted(draw, False, most)
    graph = d.builder.build(results(d))
    donated = d.subset(len(graph.inputs)) if d.rarely() else ()
    return Program(graph, tuple(d.arguments.values()), donated)


@st.composite
def gradients(draw: Any, most: int = 7) -> Program:
    """Gradients of weighted sums of a graph's results, in float64."""
    d = drafted(draw, True, most)
    total = d.full(F64, (), 0)
    for v in results(d):
        if v.dtype == F64:
            weights = d.builder.constant(np.asarray(np.cos(np.arange(v.type.size) + 1.0)).reshape(v.shape))
            (product,) = d.builder.emit(OPS["mul"], (v, weights))
            (part,) = d.builder.emit(OPS["sum"], (product,), {"axes": tuple(range(v.type.rank)), "chunks": 0})
            (total,) = d.builder.emit(OPS["add"], (total, part))
    return Program(d.builder.build([total]), tuple(d.arguments.values()), gradient=True)


# --------------------------------------------------------------------------------------------------------- checks

LINEAR = frozenset({"sum", "window_sum", "dot", "conv", "conv_kernel_grad", "scatter_add", "window_scatter"})
ROUNDED = LINEAR | {"add", "sub", "mul", "div", "sqrt", "prod", "cast"}  # exact wherever more digits change nothing
WIDER = {F16: F32, BF16: F32, F32: F64, F64: np.dtype(np.longdouble)}
EPSILON = {F16: 2.0**-11, BF16: 2.0**-8, F32: 2.0**-24, F64: 2.0**-53}
RUNS, ULPS = 8, 8.0


def perturbed(graph: Graph, arrays: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """The oracle with an error of some units in the last place in every result that is not exact.

    What such errors do to the results of the graph is what rounding may do to them: stochastic arithmetic (Vignes,
    "A stochastic arithmetic for reliable scientific computation", 1993).
    """
    env = dict(zip(graph.inputs, arrays, strict=True)) | {c.value: np.asarray(c.data) for c in graph.constants}
    for node in graph.nodes:
        op, operands = node.op, [env[v] for v in node.operands]
        assert isinstance(op, Primitive)
        result = reference(op, operands, node.attrs)
        if is_float(result.dtype) and (op.name in ROUNDED or (isinstance(op, Elementwise) and op.name not in EXACT)):
            size = np.abs(result.astype(F64))
            if op.name in LINEAR:
                size = reference(op, [np.abs(x) if is_float(x.dtype) else x for x in operands], node.attrs).astype(F64)
            error = rng.uniform(-ULPS, ULPS, result.shape) * EPSILON[result.dtype] * size
            if op.name in ROUNDED and op.name != "cast":
                wide = [x.astype(WIDER[x.dtype]) if is_float(x.dtype) else x for x in operands]
                error = np.where(reference(op, wide, node.attrs) == result, 0, error)
            result = (result.astype(F64) + error).astype(result.dtype)
        env[node.result] = result
    return [env[v] for v in graph.outputs]


EXACT = frozenset({
    "neg", "abs", "sign", "relu", "maximum", "minimum", "select", "floor", "ceil", "round", "trunc", "identity",
    "stop_gradient",
})  # fmt: skip


class Failure(AssertionError):
    """Where what went wrong, with the program."""

    def __init__(self, where: str, what: str, program: Program) -> None:
        super().__init__(f"{where}: {what}\n{program}")
        self.kind, self.program = (where, what.partition(":")[0]), program


def disagreement(want: np.ndarray, got: np.ndarray, noisy: Callable[[], list[np.ndarray]]) -> str:
    """How two results differ by more than rounding may explain; empty if they do not."""
    if same(want, got):
        return ""
    if (want.dtype, want.shape) != (got.dtype, got.shape):
        return f"{got.dtype}{list(got.shape)} is not {want.dtype}{list(want.shape)}"
    wide = F64 if is_float(want.dtype) else I64
    a, b = want.astype(wide), got.astype(wide)
    others = np.stack([x.astype(wide) for x in noisy()])
    with np.errstate(all="ignore"):
        spread = np.abs(others - a).max(0)
        scale = np.abs(a).max(initial=0)
        off = ~(np.abs(a - b) <= 4 * spread + (512 * EPSILON[want.dtype] * scale if is_float(want.dtype) else 0))
        off &= ~((np.isnan(a) & np.isnan(b)) | (a == b))
    where = np.argwhere(off)
    if not len(where):
        return ""
    at = tuple(where[0])
    return f"{len(where)} of {a.size} elements differ, such as {at}: {got[at]} is not {want[at]} (rounding: {spread[at]:.3g})"


def check(program: Program) -> None:
    """Compare the oracle with every stage, the text form and the compiled program.

    Raises:
        Failure: names the stage.
    """
    graph, arrays = program.graph, program.arrays

    @contextmanager
    def doing(what: str) -> Iterator[None]:
        try:
            yield
        except Failure:
            raise
        except Exception as error:
            raise Failure(what, f"{type(error).__name__}: {error}", program) from error

    if program.gradient:
        with doing("differentiation"):
            graph = differentiate(graph)
    with doing("oracle"):
        verify(graph)
        want = interpret(graph, *arrays)

    def compare(what: str, got: Sequence[np.ndarray]) -> None:
        for k, (a, b) in enumerate(zip(want, got, strict=True)):
            noisy = lambda k=k: [perturbed(graph, arrays, np.random.default_rng(r))[k] for r in range(RUNS)]  # noqa: E731
            if difference := disagreement(a, b, noisy):
                raise Failure(what, f"results differ: number {k}: {difference}", program)

    lowered = Lowered(graph, program.donated)
    with doing("passes"):
        stages = lowered.stages
    for name, stage in stages.items():
        with doing(f"stage {name}"):
            compare(f"stage {name}", interpret(stage, *arrays))
            again = parse(str(stage), data_of(stage))
            if again != stage or str(again) != str(stage):
                raise Failure(f"stage {name}", "its text means another graph", program)
    with doing("compile"):
        executable = lowered.compile()
    first: list[np.ndarray] = []
    for what in ("compiled", "compiled, second call"):
        given_arrays = [a.copy() for a in arrays]
        with doing(what):
            got = executable(given_arrays)
        compare(what, got)
        for k, (a, b) in enumerate(zip(given_arrays, arrays, strict=True)):
            if k not in program.donated and a.tobytes() != b.tobytes():
                raise Failure(what, f"an argument was overwritten: number {k}", program)
        if first and any(a.tobytes() != b.tobytes() for a, b in zip(first, got, strict=True)):
            raise Failure(what, "other bits than the first", program)
        first = [a.copy() for a in got]
    if program.gradient:
        check_gradient(program, want)


def data_of(graph: Graph) -> dict[str, np.ndarray]:
    """The data of the constants of a graph and its regions, by digest."""
    found = {c.digest: c.data for c in graph.constants if c.data is not None}
    for node in graph.nodes:
        for attr in node.attrs.values():
            found |= data_of(attr) if isinstance(attr, Graph) else {}
    return found


def check_gradient(program: Program, results: Sequence[np.ndarray]) -> None:
    """The gradient in a random direction against differences of the function, where it is smooth there."""
    arrays = program.arrays
    rng = np.random.default_rng(0)
    direction = [rng.standard_normal(a.shape) if a.dtype == F64 else None for a in arrays]
    grads = iter(results[1:])
    slopes = [(next(grads), v) for a, v in zip(arrays, direction, strict=True) if is_float(a.dtype)]
    got = sum(float((g * v).sum()) for g, v in slopes if v is not None)

    def value(t: float) -> float:
        moved = [a if v is None else a + t * v for a, v in zip(arrays, direction, strict=True)]
        return float(interpret(program.graph, *moved)[0])

    estimates = []
    for h in (1e-4, 1e-5):
        a, b, c, e, f = (value(k * h) for k in (-2, -1, 0, 1, 2))
        sides = (c - b) / h, (e - c) / h
        curved = abs(f - 2 * e + c) + abs(a - 2 * b + c) + abs(b - 2 * c + e)
        estimates.append((8 * (e - b) - (f - a)) / (12 * h))
        scale = max(1.0, abs(got), *map(abs, sides))
        if curved / h > 0.01 * scale:  # a kink or a step is near
            return
    if abs(estimates[0] - estimates[1]) > 1e-5 * scale:
        return
    if not abs(got - estimates[0]) <= 1e-4 * scale:
        raise Failure("gradient", f"wrong slope: {got:.9g}, differences give {estimates[0]:.9g}", program)


# ------------------------------------------------------------------------------------------------------- reduction


def rebuilt(program: Program, outputs: Sequence[Value], cut: Value | None = None, stand_in: Value | None = None) -> Program:
    """What of a program computes `outputs`, with `cut` replaced by `stand_in`, or by an argument that has its numbers."""
    numbers = interpret_values(program.graph, *program.arrays)
    needed = set(outputs)
    for node in reversed(program.graph.nodes):
        if node.result in needed:
            needed.update(node.operands if node.result is not cut else [stand_in] if stand_in else ())
    builder, env, arrays = Builder(program.graph.name), {}, []
    for v in numbers:  # sources, then results, in order
        if v not in needed:
            continue
        if v is cut and stand_in is not None:
            env[v] = env[stand_in]
        elif v.node is None and v in program.graph.data:
            env[v] = builder.adopt(program.graph.data[v])
        elif v.node is None or v is cut:
            env[v] = builder.input(v.type)
            arrays.append(np.array(numbers[v]))
        else:
            (env[v],) = builder.emit(v.node.op, [env[x] for x in v.node.operands], v.node.attrs, v.node.loc)
    graph = builder.build([env[v] for v in outputs])
    return Program(graph, tuple(arrays), tuple(range(len(arrays))) if program.donated else (), program.gradient)


def smaller(program: Program) -> Iterator[Program]:
    """Programs with less in them."""
    graph = program.graph
    if program.gradient:
        whole = differentiate(graph)
        yield Program(whole, program.arrays)
    else:
        for v in graph.outputs if len(graph.outputs) > 1 else [x for v in graph.outputs if v.node for x in v.node.operands]:
            yield rebuilt(program, [v])
    for node in graph.nodes:
        yield rebuilt(program, graph.outputs, node.result)
        for v in node.operands:
            if v.type == node.result.type:
                yield rebuilt(program, graph.outputs, node.result, v)
    for c in graph.constants:
        yield rebuilt(program, graph.outputs, c.value)


def reduced(failure: Failure, seconds: float = 60.0) -> Failure:
    """The failure of the smallest program found in some time that fails in the same way."""
    end = time.monotonic() + seconds
    while True:
        for program in smaller(failure.program):
            if time.monotonic() > end:
                return failure
            try:
                check(program)
            except Failure as other:
                if other.kind == failure.kind:
                    failure = other
                    break
            except Exception:  # noqa: BLE001, S112  # cutting made a program that cannot be: leave it
                continue
        else:
            return failure


# ---------------------------------------------------------------------------------------------------- the long run


def run(examples: int, first_seed: int, kinds: Sequence[st.SearchStrategy[Program]], report: Callable[[str], None]) -> int:
    """Check `examples` programs of each kind; failures are reduced and reported. Returns how many there were."""
    failures = 0
    for k, strategy in enumerate(kinds):
        example = settings(
            max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,), report_multiple_bugs=False, derandomize=False, print_blob=False,
        )(given(strategy)(lambda program: check(program)))  # fmt: skip
        try:
            seed(first_seed * len(kinds) + k)(example)()
        except Exception as failure:  # noqa: BLE001  # whatever it is, it is to be reported and the run to go on
            failures += 1
            failure = reduced(failure) if isinstance(failure, Failure) else failure
            cause = failure.__cause__ if isinstance(failure, Failure) else failure
            where = "".join(traceback.format_tb(cause.__traceback__)[-3:]) if cause else ""
            report(f"---- seed {first_seed} kind {k}\n{failure}\n{where}")
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1000, help="programs to check (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first batch; the next has the next (default: 0)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after the batch in which they are over")
    parser.add_argument("--batch", type=int, default=50, help="programs in a batch, which ends at a failure (default: 50)")
    options = parser.parse_args()
    start, failures, done = time.monotonic(), 0, 0
    for number in itertools.count(options.seed):
        failures += run(options.batch // 2, number, (programs(), gradients()), print)
        done += options.batch
        spent = time.monotonic() - start
        print(f"{done} programs, {failures} failures, {spent:.0f} s", file=sys.stderr, flush=True)
        if done >= options.examples or spent > 60 * options.minutes:
            return int(failures > 0)
    raise AssertionError("unreachable")


if __name__ == "__main__":
    sys.exit(main())
