"""Rewrites contractions to the forms that backends tile: in float32 or float64, or in int32 of 8-bit integers, with
columns on the right, unpadded.

Contractions of each channel by itself are the exception: their columns are the channels, and their padding is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tgc.ir import Builder, Graph, Loc, Node, Value, recording, transform
from tgc.ops import contraction, creation, elementwise, movement, reduce
from tgc.ops.creation import fill
from tgc.ops.kinds import Contraction, Primitive
from tgc.passes import quads
from tgc.passes.manager import Target, register
from tgc.passes.quads import Data
from tgc.passes.tiles import channelwise
from tgc.trace import Trace, Tracer
from tgc.types import BF16, F16, F32, F64, I32, I64, is_complex, is_float


def emit_traced(builder: Builder, values: Sequence[Value], f: Callable[..., Any], loc: Loc) -> Value:
    """Emit what `f` does to tracers of `values` into the builder of a pass, for nodes from `loc`."""
    return emit_results(builder, values, lambda *xs: (f(*xs),), loc)[0]


def emit_results(
    builder: Builder, values: Sequence[Value], f: Callable[..., Sequence[Any]], loc: Loc
) -> tuple[Value, ...]:
    """`emit_traced` for a function of several results."""
    record = Trace("rewrite", loc)
    record.builder = builder
    try:
        with recording(record):
            return tuple(record.lift(y) for y in f(*(Tracer(record, v) for v in values)))
    finally:
        record.open = False


@register
@dataclass(frozen=True)
class Decompose:
    """conv{padding} -> conv(pad), but conv(pad) -> conv{padding} if depthwise; half precision -> float32 inside;
    complex numbers -> their parts; dots without columns -> swapped, or mul and sum; argmax of rows -> max and min.
    """

    name: ClassVar[str] = "decompose"

    def __call__(self, graph: Graph, target: Target) -> Graph:
        constants, data = graph.data, {}

        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
            for old, value in zip(node.operands, new, strict=True):
                if old in constants and (array := constants[old].data) is not None:
                    data[value] = array
            return _rewrite(builder, node, new, data, target)

        return transform(graph, rewrite)


def _rewrite(
    builder: Builder, node: Node, new: tuple[Value, ...], data: Data, target: Target
) -> tuple[Value, ...] | None:
    if (extreme := _EXTREMES.get(node.op.name)) and node.attrs["axes"] == (new[0].type.rank - 1,):
        return (emit_traced(builder, new, lambda x: _first_extreme(x, extreme), node.loc),)
    if not isinstance(node.op, Contraction) or "dtype" in node.attrs:  # this pass has been here
        return None
    dtype = node.result.dtype
    if any(v.type.size == 0 for v in new):  # a sum over nothing, or nothing at all
        return (emit_traced(builder, (), lambda: fill(node.result.shape, dtype, 0), node.loc),)
    held = dtype if dtype in (F32, F64) else F32
    half = dtype in (F16, BF16)

    def compute(*operands: Tracer) -> Any:
        if dtype == I32 and (made := _of_bytes(node, operands, data, target)) is not None:
            return made
        if is_complex(dtype):
            return _of_parts(lambda x, y: _CANONICAL[node.op.name](x, y, exact=True, **node.attrs), *operands)
        if half:
            operands = tuple(elementwise.cast(x, dtype=held) for x in operands)
        result = _CANONICAL[node.op.name](*operands, exact=dtype in (F32, F64) or half, **node.attrs)
        return elementwise.cast(result, dtype=dtype) if half else result

    return (emit_traced(builder, new, compute, node.loc),)


def _of_bytes(node: Node, operands: Sequence[Tracer], data: Data, target: Target) -> Any:
    """A contraction of 8-bit integers, cast to int32, in the form that backends tile; None for others."""
    x, y = (quads.narrowed(v, data) for v in operands)
    if x is None or y is None:
        return None
    assert isinstance(node.op, Contraction)
    made = quads.product(node.op, x, y, both_signed=target.tile_registers, **node.attrs)
    if made is not None or node.op is not contraction.conv:
        return made
    held = quads.exact_float(x, y, math.prod(y.shape[:-1]))
    operands = [elementwise.cast(t, dtype=held) for t in (x, y)]
    return elementwise.cast(_CANONICAL["conv"](*operands, exact=True, **node.attrs), dtype=I32)


def _first_extreme(x: Any, extreme: Primitive) -> Any:
    """The first position of the extreme, or of a NaN, in rows: two folds of one number each are of vectors, and one of
    the extreme and its position is not.
    """
    *kept, n = range(len(x.shape))
    best = movement.broadcast(extreme(x, axes=(n,), chunks=0), axes=tuple(kept), shape=x.shape)
    hit = elementwise.eq(x, best)
    if is_float(x.dtype):
        hit = elementwise.bit_or(hit, elementwise.is_nan(x))
    narrow = x.shape[n] < 1 << 31
    there = creation.iota(dtype=I32 if narrow else I64, shape=x.shape, axis=n)
    beyond = fill(x.shape, there.dtype, (1 << 31 if narrow else 1 << 63) - 1)
    return elementwise.cast(reduce.reduce_min(elementwise.select(hit, there, beyond), axes=(n,), chunks=0), dtype=I64)


_EXTREMES: dict[str, Primitive] = {"argmax": reduce.reduce_max, "argmin": reduce.reduce_min}


def _of_parts(product: Callable[[Any, Any], Any], x: Any, y: Any) -> Any:
    """A product of complex tensors as four of their parts."""
    (a, b), (c, d) = ((elementwise.real(z), elementwise.imag(z)) for z in (x, y))
    re = elementwise.sub(product(a, c), product(b, d))
    return elementwise.complex_(re, elementwise.add(product(a, d), product(b, c)))


def _conv(op: Contraction, by_offsets: Callable[..., Any]) -> Callable[..., Any]:
    def canonical(x: Any, y: Any, *, exact: bool, padding: Any, **attrs: Any) -> Any:
        if exact and channelwise(op.axis_map(x.value.type, y.value.type, padding=padding, **attrs)):
            x, padding = _with_padding(x, padding)
            return op(x, y, padding=padding, **attrs)
        if any(p != (0, 0) for p in padding):
            low, high = ((0, *(p[side] for p in padding), 0) for side in (0, 1))
            x = movement.pad(x, low=low, high=high, interior=(0,) * len(low), value=0)
        if not exact:
            return by_offsets(x, y, **attrs)
        return op(x, y, padding=((0, 0),) * len(padding), **attrs)

    return canonical


def _with_padding(x: Any, padding: Any) -> tuple[Any, Any]:
    """The operand of a convolution without zeros around its pixels, and the padding with them."""
    made = x.value.node
    if made is None or made.op is not movement.pad or any(made.attrs["interior"]) or made.attrs["value"] != 0:
        return x, padding
    around = list(zip(made.attrs["low"], made.attrs["high"], strict=True))
    if around[0] != (0, 0) or around[-1] != (0, 0) or min(map(min, around)) < 0:
        return x, padding
    inner = Tracer(x.trace, made.operands[0])
    return inner, tuple((a + c, b + d) for (a, b), (c, d) in zip(padding, around[1:-1], strict=True))


def _under(x: Any, offset: Sequence[int], spatial: Sequence[int], stride: Any, dilation: Any, groups: int) -> Any:
    """[points, groups, channels]: what lies under one element of the kernel at each point of the result."""
    start = [o * d if n else 0 for o, d, n in zip(offset, dilation, spatial, strict=True)]
    stop = [a + max(n - 1, 0) * s + (n > 0) for a, n, s in zip(start, spatial, stride, strict=True)]
    part = movement.slice_(x, start=(0, *start, 0), stop=(x.shape[0], *stop, x.shape[-1]), step=(1, *stride, 1))
    return movement.reshape(part, shape=(x.shape[0] * math.prod(spatial), groups, x.shape[-1] // groups))


def _conv_by_offsets(x: Any, w: Any, *, stride: Any, dilation: Any, groups: int) -> Any:
    """A sum of products for each element of the kernel: convolution of dtypes without tiles."""
    kernel, (c, o) = w.shape[:-2], w.shape[-2:]
    spatial = contraction.conv_shape(x.shape[1:-1], kernel, stride, ((0, 0),) * len(kernel), dilation)
    flat = movement.reshape(w, shape=(math.prod(kernel), c, groups, o // groups))
    total = fill((groups, x.shape[0] * math.prod(spatial), o // groups), x.dtype, 0)
    for k, offset in enumerate(itertools.product(*map(range, kernel))):
        part = _under(x, offset, spatial, stride, dilation, groups)
        one = movement.slice_(flat, start=(k, 0, 0, 0), stop=(k + 1, *flat.shape[1:]), step=(1,) * 4)
        filters = movement.reshape(one, shape=flat.shape[1:])
        total = elementwise.add(total, _sum_of_products(part, filters, ((1,), (1,)), ((2,), (0,))))
    return movement.reshape(movement.transpose(total, perm=(1, 0, 2)), shape=(x.shape[0], *spatial, o))


def _kernel_grad_by_offsets(
    x: Any, y: Any, *, kernel: Any, stride: Any, dilation: Any, groups: int, chunks: int
) -> Any:
    """A sum of products for each element of the kernel."""
    c, o, spatial = x.shape[-1] // groups, y.shape[-1], y.shape[1:-1]
    points = max(chunks, 1), y.shape[0] // max(chunks, 1) * math.prod(spatial)
    cotangent = movement.reshape(y, shape=(*points, groups, o // groups))
    parts = []
    for offset in itertools.product(*map(range, kernel)):
        part = movement.reshape(_under(x, offset, spatial, stride, dilation, groups), shape=(*points, groups, c))
        product = _sum_of_products(part, cotangent, ((0, 2), (0, 2)), ((1,), (1,)))  # [chunks, groups, c, o / groups]
        parts.append(movement.reshape(movement.transpose(product, perm=(0, 2, 1, 3)), shape=(points[0], 1, c, o)))
    chunked = points[:1] if chunks else ()
    return movement.reshape(movement.concat(*parts, axis=1), shape=(*chunked, *kernel, c, o))


LARGE = 1 << 18  # elements of a matrix that go by in whole rows for a vector, rather than in tiles


def _dot(x: Any, y: Any, *, exact: bool, batch: Any, contract: Any) -> Any:
    columns = len(y.shape) - len(batch[1]) - len(contract[1])
    rows = len(x.shape) - len(batch[0]) - len(contract[0])
    for vector, matrix in ((0, 1), (1, 0)):
        if _points((x, y)[vector], batch[vector], contract[vector]) == 1:  # one pass over the matrix as it lies
            if quads.fastest_axis((x, y)[matrix]) in contract[matrix]:
                return _rows_by_vector((x, y), batch, contract, vector)
            if contract[0] and not batch[0] and math.prod((x, y)[matrix].shape) >= LARGE:
                return _sum_of_products(x, y, batch, contract, by_rows=True)
    if columns and contract[0] and exact:
        return contraction.dot(x, y, batch=batch, contract=contract)
    if rows and not columns and contract[0] and exact:  # no columns: the result's axes are the same after swapping
        return contraction.dot(y, x, batch=batch[::-1], contract=contract[::-1])
    return _sum_of_products(x, y, batch, contract)


def _rows_by_vector(operands: tuple[Any, Any], batch: Any, contract: Any, vector: int) -> Any:
    """dot of a vector and a matrix along its rows; axes of one element are no loops between a row and its elements."""
    x, y = operands
    own, t = sorted((*batch[vector], *contract[vector])), operands[vector]
    if len(own) == len(t.shape):
        return _sum_of_products(x, y, batch, contract)
    free = [[n for a, n in enumerate(t.shape) if a not in (*batch[k], *contract[k])] for k, t in enumerate(operands)]
    shape = (*(x.shape[a] for a in batch[0]), *free[0], *free[1])
    flat = movement.reshape(t, shape=tuple(t.shape[a] for a in own))
    x, y = (flat, y) if vector == 0 else (x, flat)
    batch, contract = (
        [tuple(map(own.index, axes)) if k == vector else axes for k, axes in enumerate(both)]
        for both in (batch, contract)
    )
    return movement.reshape(_sum_of_products(x, y, batch, contract), shape=shape)


def _points(x: Any, batch: Sequence[int], contract: Sequence[int]) -> int:
    """How many rows or columns an operand of a dot has."""
    return math.prod(n for a, n in enumerate(x.shape) if a not in batch and a not in contract)


def _sum_of_products(x: Any, y: Any, batch: Any, contract: Any, by_rows: bool = False) -> Any:
    """dot as broadcast, multiply and sum: for vectors, outer products, and dtypes without tiles.

    The axes that are summed are the fastest ones, or the slowest `by_rows`.
    """
    nb, nk = len(batch[0]), len(contract[0])
    free = [
        [a for a in range(len(t.shape)) if a not in b and a not in c]
        for t, b, c in zip((x, y), batch, contract, strict=True)
    ]
    rows = nb + len(free[0])
    kept = [*(x.shape[a] for a in batch[0]), *(x.shape[a] for a in free[0]), *(y.shape[a] for a in free[1])]
    summed = [x.shape[a] for a in contract[0]]
    shape = (*summed, *kept) if by_rows else (*kept, *summed)
    first_kept, first_summed = (nk, 0) if by_rows else (0, len(kept))
    outputs = ((*range(nb), *range(nb, rows)), (*range(nb), *range(rows, len(kept))))  # axes of the result of each
    spread = []
    for t, b, c, f, axes in zip((x, y), batch, contract, free, outputs, strict=True):
        own, over = tuple(first_kept + a for a in axes), tuple(range(first_summed, first_summed + nk))
        ordered = movement.transpose(t, perm=(*c, *b, *f) if by_rows else (*b, *f, *c))
        spread.append(movement.broadcast(ordered, axes=(*over, *own) if by_rows else (*own, *over), shape=shape))
    product = elementwise.mul(*spread)
    return reduce.reduce_sum(product, axes=tuple(range(first_summed, first_summed + nk)), chunks=0) if nk else product


_CANONICAL: dict[str, Callable[..., Any]] = {
    "dot": _dot,
    "conv": _conv(contraction.conv, _conv_by_offsets),
    "conv_kernel_grad": _conv(contraction.conv_kernel_grad, _kernel_grad_by_offsets),
}
