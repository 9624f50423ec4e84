"""Register-tiled sums of windows, each channel by itself: the micro-kernel of depthwise convolution and its gradients.

A tile computes ``rows`` x ``vectors * lanes`` elements of C while they stay in vector registers. Its columns are
channels, along which A and B both run; its rows are evenly spaced places along a line of A, as are the taps, the
innermost steps of the sum. A vector of A that several rows read, at different taps, is loaded once for all of them: a
load for each multiply-add would otherwise be the limit, and most of these cross cache lines. Forward, rows are pixels
and taps elements of the filter; in the gradient by the filter it is the other way round.

At the ends of a line A has zeros that are not in memory. A tile there is one of a shape of its own, whose code leaves
out what it would multiply by them.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from llvmlite import ir
from numba import types

from tgc.backends.cpu.micro import I64, micro_kernel
from tgc.backends.cpu.tile import (
    OPTIONS,
    SCALARS,
    Columns,
    Shape,
    add_rows,
    intrinsic,
    variable,
    while_at_least,
    write_rows,
)


@dataclass(frozen=True, slots=True)
class WindowShape(Shape):
    """The compile-time parameters of ``window_tile``."""

    taps: int = 1
    row_step: int = 1
    tap_step: int = 1
    left: int = 0
    right: int = 0

    def __post_init__(self) -> None:
        Shape.__post_init__(self)
        if min(self.taps, self.row_step, self.tap_step) < 1 or min(self.left, self.right) < 0:
            raise ValueError(f"no tile has {self}: taps and steps are positive, and not less than none is left out")

    @property
    def inside(self) -> range:
        """The places along the line that are in memory, those of all rows and taps being counted from 0."""
        places = (self.rows - 1) * self.row_step + (self.taps - 1) * self.tap_step + 1
        return range(self.left, places - self.right)

    @property
    def name(self) -> str:
        ends = f"_{self.left}_{self.right}" if self.left or self.right else ""
        of_rows = Shape.name.fget(self)  # type: ignore[attr-defined]
        return f"window_{of_rows}_{self.taps}_{self.row_step}_{self.tap_step}{ends}"


@functools.cache
def window_tile(
    rows: int, vectors: int, lanes: int, levels: int, taps: int, row_step: int = 1, tap_step: int = 1,
    left: int = 0, right: int = 0, dtype: Literal["f32", "f64"] = "f32", masked: bool = False,
) -> Callable[..., None]:  # fmt: skip
    """The micro-kernel of one shape, a device function (see ``pointers.device``)::

        window_tile(a, unit, a_strides, b, b_strides, extents, c, c_row, n_valid, accumulate)

        c[m * c_row + n] (+)= sum over k, t of a[(m * row_step + t * tap_step) * unit + k . a_strides + n]
                                               * b[k . b_strides[:-1] + t * b_strides[-1] + n]

    for m in [0, rows), n in [0, vectors * lanes), t in [0, extents[-1]) and k in the box of the other ``extents``.
    ``a``, ``b`` and ``c`` are pointers to ``dtype``. ``b_strides`` and ``extents`` are tuples of ``levels`` (1 to 3)
    integers, outermost level first, ``a_strides`` one of as many of which the last is ignored. All strides count
    elements and may be zero or negative; no operand need be aligned; C must not overlap A or B.

    ``taps`` of t at a time are unrolled; what is left over goes one by one. Of the places m * row_step + t * tap_step
    of all m and of t < taps, the first ``left`` and the last ``right`` are taken to hold zeros and not read; there must
    be ``taps`` of t then. ``accumulate`` (boolean) adds to C instead
    of overwriting it. With an extent of zero or less the sum is zero. A ``masked`` tile touches no columns n >=
    ``n_valid`` (not negative); other tiles ignore it. ``lanes`` is the width of the target's vector register in
    elements. ValueError for a shape that cannot be.
    """
    shape = WindowShape(rows, vectors, lanes, levels, dtype, masked, taps, row_step, tap_step, left, right)
    element, index = types.CPointer(SCALARS[dtype][0]), types.int64
    levelled = types.UniTuple(index, levels)
    signature = types.void(
        element, index, levelled, element, levelled, levelled, element, index, index, types.boolean
    )  # fmt: skip

    def twin(
        a: Any, unit: int, a_strides: tuple[int, ...], b: Any, b_strides: tuple[int, ...],
        extents: tuple[int, ...], c: Any, c_row: int, n_valid: int, accumulate: bool,
    ) -> None:  # fmt: skip
        strides = (*a_strides[:-1], tap_step * unit)
        for m, n in itertools.product(range(rows), range(min(n_valid, shape.width) if masked else shape.width)):
            total = 0.0
            for k in itertools.product(*map(range, extents)):
                if (left or right) and m * row_step + k[-1] * tap_step not in shape.inside:
                    continue
                a_at, b_at = (sum(i * stride for i, stride in zip(k, s, strict=True)) for s in (strides, b_strides))
                total += a[m * row_step * unit + a_at + n] * b[b_at + n]
            c[m * c_row + n] = c[m * c_row + n] + total if accumulate else total

    twin.__doc__ = f"The micro-kernel of {shape}; see ``window_tile``."
    return micro_kernel(shape.symbol, signature, twin, functools.partial(_body, shape), OPTIONS)


def _body(shape: WindowShape, function: Any) -> None:
    """Append the code of a tile to its LLVM function (llvmlite.ir), whose parameters are those of the tile with the
    tuples spread out. Accumulators and places are variables on the stack, which LLVM turns into registers.
    """
    arguments = iter(function.args)
    a, unit = itertools.islice(arguments, 2)
    a_strides = list(itertools.islice(arguments, shape.levels))
    b = next(arguments)
    b_strides = list(itertools.islice(arguments, shape.levels))
    extents = list(itertools.islice(arguments, shape.levels))
    c, c_row, n_valid, accumulate = arguments

    builder = ir.IRBuilder(function.append_basic_block("entry"))
    columns = Columns(builder, shape, n_valid)
    sums = [variable(builder, ir.Constant(columns.vector, None)) for _ in range(shape.rows * shape.vectors)]

    def over(level: int, a_from: Any, b_from: Any) -> None:
        """The loops from `level` inwards, from these places in A and B on."""
        left, *at = (variable(builder, value) for value in (extents[level], a_from, b_from))
        inner = level == shape.levels - 1
        a_step = builder.mul(unit, I64(shape.tap_step)) if inner else a_strides[level]
        whole = bool(shape.left or shape.right)
        for size in dict.fromkeys((shape.taps, 1)[: 2 - whole] if inner else (1,)):  # groups of taps, then single ones
            with while_at_least(builder, left, size):
                places = [builder.load(x) for x in at]
                if inner:
                    line, filters = (columns.address(x, place) for x, place in zip((a, b), places, strict=True))
                    _taps(columns, size, line, unit, filters, b_strides[-1], sums)
                else:
                    over(level + 1, *places)
                for x, step in zip((left, *at), (I64(-1), a_step, b_strides[level]), strict=True):
                    builder.store(builder.add(builder.load(x), builder.mul(step, I64(size))), x)

    over(0, I64(0), I64(0))
    rows_of_c = [columns.address(c, builder.mul(c_row, I64(m))) for m in range(shape.rows)]
    with builder.if_then(accumulate):
        add_rows(columns, rows_of_c, sums)
    write_rows(columns, rows_of_c, sums)
    builder.ret_void()


def _taps(columns: Columns, taps: int, line: Any, unit: Any, filters: Any, step: Any, sums: list[Any]) -> None:
    """``taps`` steps of the sums: each vector of the line is loaded once, and goes to all rows that read it."""
    builder, shape = columns.builder, columns.shape
    assert isinstance(shape, WindowShape)
    multiply_add = intrinsic(builder.module, f"llvm.fmuladd.{columns.suffix}", columns.vector, [columns.vector] * 3)
    readers: dict[int, list[tuple[int, int]]] = {}
    for m, t in itertools.product(range(shape.rows), range(taps)):
        place = m * shape.row_step + t * shape.tap_step
        if taps < shape.taps or place in shape.inside:
            readers.setdefault(place, []).append((m, t))
    rows_of_b = [columns.address(filters, builder.mul(step, I64(t))) for t in range(taps)]
    factors = [[columns.load(at, i) for i in range(shape.vectors)] for at in rows_of_b]
    for place, pairs in sorted(readers.items()):
        at = columns.address(line, builder.mul(unit, I64(place)))
        for i in range(shape.vectors):
            vector = columns.load(at, i)
            for m, t in pairs:
                total = sums[m * shape.vectors + i]
                builder.store(builder.call(multiply_add, [vector, factors[t][i], builder.load(total)]), total)
