"""Random applications of every op, and the programs made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fuzz_draft import OPS, Draft, Program, Unfit
from hypothesis import strategies as st

from tgc.errors import ShapeError
from tgc.ir import Value
from tgc.ops.attention import Attention
from tgc.ops.contraction import conv_shape
from tgc.ops.cumulative import Cumulative
from tgc.ops.kinds import Control, Elementwise, Reduce, Region, Scatter
from tgc.ops.opaque import Opaque
from tgc.ops.winograd import TransformedProduct, WindowTransform
from tgc.types import ALL, BOOL, F64, I64, REALS, U32, is_float

# Made by passes; of several results; or made of functions: these have programs of their own (`control_programs.py`).
INTERNAL = frozenset({"relayout", "barrier"})
INTERNAL |= {
    name
    for name, op in OPS.items()
    if isinstance(op, Control | Region | Attention | WindowTransform | TransformedProduct)
}
# Opaque ops jump where operands round otherwise; numbers of programs are real.
APART = frozenset({"complex", "conj", "imag", "real", *(name for name, op in OPS.items() if isinstance(op, Opaque))})
ROUGH = frozenset({"stop_gradient", "random_bits"})  # say nothing about slopes

# Where an op of floats is defined, smooth and well-conditioned: (lowest, highest) of each operand.
DOMAINS: dict[str, tuple[tuple[float, float], ...]] = {
    **dict.fromkeys(("exp", "exp2", "expm1", "sinh", "cosh"), ((-3, 3),)),
    **dict.fromkeys(("log", "log2", "log10", "sqrt", "rsqrt"), ((0.1, 20),)),
    **dict.fromkeys(("asin", "acos", "atanh"), ((-0.9, 0.9),)),
    "log1p": ((-0.9, 9),), "acosh": ((1.2, 9),), "tan": ((-1.2, 1.2),), "atan2": ((-3, 3), (0.3, 3)),
    "div": ((-20, 20), (0.5, 4)), "mod": ((-9, 9), (1, 5)), "floor_div": ((-9, 9), (1, 5)), "pow": ((0.3, 3), (-2, 2)),
    "prod": ((0.5, 1.5),),
}  # fmt: skip


def elementwise(d: Draft, name: str) -> None:
    op = OPS[name]
    assert isinstance(op, Elementwise)
    if name == "cast":
        x = d.operand(ALL)
        d.cast(x, d.one_of([t for t in d.dtypes if not (d.smooth and is_float(t) and is_float(x.dtype))]))
        return
    domains = op.mixed or (op.domain,) * op.arity
    first = d.operand(domains[-1])
    operands = [d.like(BOOL if domain == {BOOL} else first.dtype, first.shape) for domain in domains[:-1]] + [first]
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
    chunked = op.splits and axes and not d.smooth and d.rarely()  # gradients are taken before anything is chunked
    chunks = d.number(1, 3 if op.empty else max(1, x.shape[axes[0]])) if chunked else 0
    if name == "prod" and is_float(x.dtype):
        x = d.fit(x, *DOMAINS[name][0])
    d.emit(name, x, axes=axes, chunks=chunks)


def reshape(d: Draft, name: str) -> None:
    x = d.operand(ALL)
    shape = list(x.shape)
    for _ in range(d.number(1, 2)):
        at = d.number(0, max(len(shape) - 1, 0))
        factors = [k for k in (1, 2, 3) if shape and shape[at] % k == 0]
        if len(shape) > at + 1 and d.number(0, 1):
            shape[at : at + 2] = [shape[at] * shape[at + 1]]
        elif factors and len(shape) < 6:
            k = d.one_of(factors)
            shape[at : at + 1] = [shape[at] // k, k]
        else:
            shape = [n for n in shape if n != 1]
    d.emit("reshape", x, shape=shape)


def broadcast(d: Draft, name: str) -> None:
    x = d.operand(ALL, most=4)
    shape, axes = list(x.shape), list(range(x.type.rank))
    for _ in range(d.number(1, 2)):
        at = d.number(0, len(shape))
        shape.insert(at, d.one_of(d.sizes))
        axes = [a + (a >= at) for a in axes]
    d.broadcast(x, axes, tuple(shape))


def transpose(d: Draft, name: str) -> None:
    x = d.operand(ALL, least=1)
    d.emit(name, x, perm=d.draw(st.permutations(range(x.type.rank))))


def slice_(d: Draft, name: str) -> None:
    x = d.operand(ALL)
    stop = [n - d.number(0, min(n, 2)) for n in x.shape]
    start = [d.number(0, min(n, 2)) for n in stop]
    d.emit(name, x, start=start, stop=stop, step=[d.one_of((1, 1, 2, 3)) for _ in start])


def pad(d: Draft, name: str) -> None:
    x = d.operand(ALL)
    low, high = ([d.one_of((0, 1, 0, 2, -1)) for _ in x.shape] for _ in range(2))
    interior = [d.one_of((0, 0, 1, 2)) for _ in x.shape]
    value = d.one_of((0, 1.5, -1.0)) if is_float(x.dtype) else d.number(0, 1)
    d.emit(name, x, low=low, high=high, interior=interior, value=value)


def concat(d: Draft, name: str) -> None:
    x = d.operand(ALL, least=1)
    axis = d.number(0, x.type.rank - 1)
    parts = [x, *(d.like(x.dtype, x.shape) for _ in range(d.number(0, 2)))]
    if d.rarely():
        none, stop = [0] * x.type.rank, [n // 2 if a == axis else n for a, n in enumerate(x.shape)]
        parts[-1] = d.emit("slice", parts[-1], start=none, stop=stop, step=[1] * x.type.rank)
    d.emit(name, *d.draw(st.permutations(parts)), axis=axis)


def reverse(d: Draft, name: str) -> None:
    x = d.operand(ALL)
    d.emit(name, x, axes=d.subset(x.type.rank))


def take(d: Draft, name: str) -> None:
    x = d.operand(ALL, least=1)
    d.emit(name, x, d.index(x.shape[0]))


def scatter(d: Draft, name: str) -> None:
    x = d.operand(REALS, least=1)
    index = d.index(x.shape[0])
    d.emit(name, x, index, d.like(x.dtype, index.shape + x.shape[1:]))


def cumulative(d: Draft, name: str) -> None:
    x = d.operand(REALS, least=1)
    if name == "cumprod" and is_float(x.dtype):
        x = d.fit(x, *DOMAINS["prod"][0])
    d.emit(name, x, axis=d.number(0, x.type.rank - 1), reverse=d.rarely())


def dynamic(d: Draft, name: str) -> None:
    x = d.operand(ALL)
    sizes = tuple(d.number(0, n) for n in x.shape)
    starts = [d.full(I64, (), d.number(-2, 4)) for _ in sizes]
    if name == "dynamic_slice":
        d.emit(name, x, *starts, sizes=sizes)
    else:
        d.emit(name, x, d.like(x.dtype, sizes), *starts)


def creation(d: Draft, name: str) -> None:
    if name == "full":
        d.full(d.one_of(d.dtypes), d.shape(), d.number(-2, 3))
    elif name == "iota":
        shape = d.shape(1)
        numbers = [t for t in d.dtypes if t != BOOL]
        d.emit(name, shape=shape, dtype=d.one_of(numbers), axis=d.number(0, len(shape) - 1))
    else:
        words = d.emit(name, d.leaf(U32, (2,)), shape=d.shape())
        real = d.emit("cast", d.emit("shift_right", words, d.full(U32, words.shape, 21)), dtype=d.dtypes[0])
        d.emit("mul", real, d.full(real.dtype, real.shape, 2.0**-11))


def window(d: Draft, name: str) -> None:
    x = d.operand(REALS, least=1)
    slides = d.subset(x.type.rank)[:2]
    size, dilation, stride = (
        [d.one_of(options) if a in slides else 1 for a in range(x.type.rank)]
        for options in ((2, 3, 1), (1, 1, 2), (1, 2, 3))
    )
    reach = [(w - 1) * k for w, k in zip(size, dilation, strict=True)]
    padding = [(d.number(0, r), d.number(0, r)) for r in reach]
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
    x = d.operand(REALS, most=4)
    y = d.like(x.dtype, tuple(d.one_of((*x.shape, *d.sizes)) for _ in range(d.number(0, 3))))
    roles: dict[str, tuple[list[int], list[int]]] = {"batch": ([], []), "contract": ([], [])}
    for i, n in enumerate(x.shape):
        used = [j for _, right in roles.values() for j in right]
        free = [j for j, m in enumerate(y.shape) if m == n and j not in used]
        role = d.one_of(("contract", "contract", "batch", "free"))
        if free and role != "free":
            roles[role][0].append(i)
            roles[role][1].append(d.one_of(free))
    d.emit(name, x, y, **roles)


def convolution(d: Draft, name: str) -> None:
    rank = d.number(1, 2)
    x = d.operand(REALS, rank + 2, rank + 2)
    groups = d.one_of([g for g in (1, 1, 2, 3) if x.shape[-1] % g == 0])
    kernel = tuple(d.one_of((1, 2, 3)) for _ in range(rank))
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
    chunked = not d.smooth and d.rarely()  # gradients are taken before anything is chunked
    chunks = d.one_of([c for c in (1, 2, 3) if x.shape[0] % c == 0]) if chunked else 0
    cotangent = d.like(x.dtype, (x.shape[0], *grid, filters))
    d.emit(name, x, cotangent, kernel=kernel, groups=groups, chunks=chunks, **attrs)


DRAWS: dict[str, Callable[[Draft, str], None]] = {
    **{name: elementwise for name, op in OPS.items() if isinstance(op, Elementwise) and name not in APART},
    **{name: reduction for name, op in OPS.items() if isinstance(op, Reduce)},
    **{name: cumulative for name, op in OPS.items() if isinstance(op, Cumulative)},
    "dynamic_slice": dynamic, "dynamic_update_slice": dynamic,
    **{name: scatter for name, op in OPS.items() if isinstance(op, Scatter)},
    **{name: window for name in OPS if name.startswith("window_")},
    "reshape": reshape, "broadcast": broadcast, "transpose": transpose, "slice": slice_, "pad": pad, "concat": concat,
    "reverse": reverse, "take": take, "full": creation, "iota": creation, "random_bits": creation,
    "dot": dot, "conv": convolution, "conv_kernel_grad": convolution,
}  # fmt: skip


def _drawn_by(f: Callable[[Draft, str], None]) -> tuple[str, ...]:
    return tuple(name for name, draws in DRAWS.items() if draws is f)


KINDS: tuple[tuple[str, ...], ...] = (  # one is as likely as another
    *[_drawn_by(elementwise)] * 3,
    *[("add", "mul", "sub", "tanh", "relu", "maximum", "select")] * 3,
    *[("transpose", "reshape", "broadcast", "slice", "pad", "concat", "reverse")] * 4,
    *[_drawn_by(reduction), ("sum", "max")] * 2,
    _drawn_by(window),
    _drawn_by(convolution),
    _drawn_by(creation),
    ("dot",),
    ("take", "scatter_add", "scatter_set", "scatter_max", "dynamic_slice", "dynamic_update_slice"),
    _drawn_by(cumulative),
)


def _drafted(draw: Any, smooth: bool, most: int, kinds: Sequence[Sequence[str]] = KINDS) -> Draft:
    d = Draft(draw, smooth)
    for name in [d.one_of(d.one_of(kinds)) for _ in range(max(d.number(1, most), d.number(1, most)))]:
        if smooth and name in ROUGH:
            continue
        try:
            DRAWS[name](d, name)
        except (Unfit, ShapeError):
            continue
    return d


def _results(d: Draft) -> list[Value]:
    """What nothing reads, at most four, and sometimes something that is read or is a result already."""
    read = {v for node in d.builder.nodes for v in node.operands}
    ends = [node.result for node in d.builder.nodes if node.result not in read][-4:] or [next(iter(d.values))]
    return [*ends, d.one_of(list(d.values))] if d.rarely() else ends


@st.composite
def programs(draw: Any, most: int = 10, kinds: Sequence[Sequence[str]] = KINDS) -> Program:
    """Programs of up to `most` ops of some kinds, and of what these need; arguments are sometimes donated."""
    d = _drafted(draw, False, most, kinds)
    graph = d.builder.build(_results(d))
    return Program(graph, tuple(d.arguments.values()), d.subset(len(graph.inputs)) if d.rarely() else ())


@st.composite
def gradients(draw: Any, most: int = 7) -> Program:
    """Weighted sums of the results of such programs, in float64, to be differentiated."""
    d = _drafted(draw, True, most)
    total = d.full(F64, (), 0)
    for v in _results(d):
        if v.dtype == F64:
            weights = d.builder.constant(np.cos(np.arange(v.type.size) + 1.0).reshape(v.shape))
            (product,) = d.builder.emit(OPS["mul"], (v, weights))
            (part,) = d.builder.emit(OPS["sum"], (product,), {"axes": tuple(range(v.type.rank)), "chunks": 0})
            (total,) = d.builder.emit(OPS["add"], (total, part))
    return Program(d.builder.build([total]), tuple(d.arguments.values()), gradient=True)


__all__ = ["APART", "DRAWS", "INTERNAL", "gradients", "programs"]
