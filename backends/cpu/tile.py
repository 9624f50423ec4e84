"""Register-tiled contraction: the micro-kernel of every matmul, batched matmul, convolution and convolution gradient.

A tile computes ``rows`` x ``vectors * lanes`` elements of C while all of them stay in vector registers: per step of k
it loads ``vectors`` vectors of B, broadcasts ``rows`` scalars of A and does ``rows * vectors`` multiply-adds (Goto and
van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008). Up to three nested k loops and a table of row
offsets replace im2col: the k levels walk (kernel row, kernel column, channel), the table says where each output pixel
starts, so pixels may wrap around image rows, skip by strides or repeat a clamped last one.

The machine code is one function of its own per tile shape, not inlined (`micro.py`): its register allocation does not
depend on the code around the call, all kernels share it, and it shows up by name in profiles.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from llvmlite import ir
from numba import types

from tgc.backends.cpu.micro import I32, I64, POINTER, micro_kernel

SCALARS = {"f32": (types.float32, ir.FloatType(), 4), "f64": (types.float64, ir.DoubleType(), 8)}  # ..., bytes
ELEMENTS = SCALARS | {"i32": (types.int32, ir.IntType(32), 4)}  # of what tiles accumulate
STEPS = 4  # of k in a turn of the innermost loop: where a core runs two threads, each decodes half as much
FETCH = 2  # steps of k for which one line is asked for
# optsize keeps LLVM from unrolling the k loop further: it would hoist the broadcasts of several steps and spill the
# accumulators (measured: 12x32 at 49 instead of 115 GFLOP/s).
OPTIONS = ("noinline", "nounwind", "optsize")

Step: TypeAlias = Callable[["Columns", list[Any], Any, list[Any]], None]  # columns, places in rows of A, one in B, sums


@dataclass(frozen=True, slots=True)
class Shape:
    """The compile-time parameters of ``tile``."""

    rows: int
    vectors: int
    lanes: int
    levels: int
    dtype: Literal["f32", "f64"] = "f32"
    masked: bool = False

    def __post_init__(self) -> None:
        if min(self.rows, self.vectors, self.lanes) < 1 or not 1 <= self.levels <= 3 or self.dtype not in SCALARS:
            raise ValueError(f"no tile has {self}: sizes are positive, levels 1 to 3, dtype is 'f32' or 'f64'")

    @property
    def width(self) -> int:
        return self.vectors * self.lanes

    @property
    def operand(self) -> ir.Type:
        """The type by which places in A and B are counted."""
        return ELEMENTS[self.dtype][1]

    @property
    def name(self) -> str:
        suffix = ("_f64" if self.dtype == "f64" else "") + ("_masked" if self.masked else "")
        return f"tile_{self.rows}x{self.width}_k{self.levels}{suffix}"

    @property
    def symbol(self) -> str:
        """The name of its function in a module."""
        return f"{self.name}.v{self.lanes}"


@functools.cache
def tile(
    rows: int, vectors: int, lanes: int, levels: int, dtype: Literal["f32", "f64"] = "f32", masked: bool = False
) -> Callable[..., None]:
    """The micro-kernel of one shape, a device function (see ``pointers.device``) named like ``tile_14x32_k2``::

        tile(a, rows_at, a_strides, b, b_strides, extents, c, c_rows, onto, onto_rows, n_valid, add, ahead, ahead_step)

        c[c_rows[m] + n] = (add: onto[onto_rows[m] + n]) + sum over k of a[rows_at[m] + k . a_strides]
                                                                         * b[k . b_strides + n]

    for m in [0, rows), n in [0, vectors * lanes) and k in the box ``extents``. ``a``, ``b``, ``c`` and ``onto`` are
    pointers to ``dtype``; ``rows_at``, ``c_rows`` and ``onto_rows`` point to ``rows`` int64 offsets. ``a_strides``,
    ``b_strides`` and ``extents`` are tuples of ``levels`` (1 to 3) integers, outermost level first. All offsets and
    strides count elements and may be zero or negative; B and C need no alignment; C must not overlap A, B or a table.

    ``add`` (boolean) adds the sums to the rows of ``onto``, all of which are read before C is written: it may be C
    itself, or only one row, again and again. With an extent of zero the sum is zero. A ``masked`` tile neither reads
    nor writes the columns n >= ``n_valid`` (not negative) of B, C and ``onto``; other tiles ignore it.

    Every other step of k asks for a line of memory to come to the second-level cache: the one at ``ahead``, a pointer,
    and ``ahead_step`` elements further for each step. It may point anywhere.

    ``lanes`` is the width of the target's vector register in elements (float32: 16 for AVX-512, 8 for AVX2, 4 for
    NEON). The accumulators stay in registers where rows * vectors + vectors + 1 of them exist; masks take ``vectors``
    more on AVX2. ValueError for a shape that cannot be.
    """
    shape = Shape(rows, vectors, lanes, levels, dtype, masked)
    element, index = types.CPointer(SCALARS[dtype][0]), types.int64
    table, levelled = types.CPointer(index), types.UniTuple(index, levels)
    signature = types.void(
        element, table, levelled, element, levelled, levelled, element, table, element, table, index, types.boolean,
        element, index,
    )  # fmt: skip

    def twin(
        a: Any, rows_at: Any, a_strides: tuple[int, ...], b: Any, b_strides: tuple[int, ...],
        extents: tuple[int, ...], c: Any, c_rows: Any, onto: Any, onto_rows: Any, n_valid: int, add: bool, ahead: Any,
        ahead_step: int,
    ) -> None:  # fmt: skip
        columns = min(n_valid, shape.width) if masked else shape.width
        first = {(m, n): onto[onto_rows[m] + n] if add else 0.0 for m in range(rows) for n in range(columns)}
        for m, n in first:
            total = 0.0
            for k in itertools.product(*map(range, extents)):
                a_at, b_at = (sum(i * stride for i, stride in zip(k, s, strict=True)) for s in (a_strides, b_strides))
                total += a[rows_at[m] + a_at] * b[b_at + n]
            c[c_rows[m] + n] = first[m, n] + total

    twin.__doc__ = f"The micro-kernel of {shape}; see ``tile``."
    return micro_kernel(shape.symbol, signature, twin, functools.partial(body, shape, _step), OPTIONS)


def body(shape: Shape, step_of: Step, function: Any) -> None:
    """Append the code of a tile to its LLVM function (llvmlite.ir); `step_of` appends that of one step of k.

    The parameters are those of the tile with the tuples spread out: (a, rows_at, a_strides..., b, b_strides...,
    extents..., c, c_rows, onto, onto_rows, n_valid, add, ahead, ahead_step). Accumulators and places are variables on
    the stack, which LLVM turns into registers.
    """
    arguments = iter(function.args)
    a, rows_at = itertools.islice(arguments, 2)
    a_strides = list(itertools.islice(arguments, shape.levels))
    b = next(arguments)
    b_strides = list(itertools.islice(arguments, shape.levels))
    extents = list(itertools.islice(arguments, shape.levels))
    c, c_rows, onto, onto_rows, n_valid, add, ahead, ahead_step = arguments

    builder = ir.IRBuilder(function.append_basic_block("entry"))
    columns = Columns(builder, shape, n_valid)
    row_starts = [columns.place(a, offset) for offset in offsets(builder, rows_at, shape.rows)]
    sums = [variable(builder, ir.Constant(columns.vector, None)) for _ in range(shape.rows * shape.vectors)]
    line = variable(builder, ahead)
    fetch = intrinsic(function.module, "llvm.prefetch.p0", ir.VoidType(), [POINTER, I32, I32, I32])

    def over(level: int, a_from: Any, b_from: Any) -> None:
        """The loops from `level` inwards, from these places in A and B on."""
        left, *places = (variable(builder, value) for value in (extents[level], a_from, b_from))
        inner = level == shape.levels - 1
        for size in (STEPS, 1) if inner else (1,):  # whole groups of steps, then single ones
            with while_at_least(builder, left, size):
                for step in range(size):
                    at = [builder.load(place) for place in places]
                    if inner:
                        if step % FETCH == 0:
                            ahead = builder.load(line)
                            builder.call(fetch, [ahead, I32(0), I32(2), I32(1)])  # to read, to the second level, data
                            further = builder.mul(ahead_step, I64(min(size, FETCH)))
                            builder.store(columns.place(ahead, further), line)
                        scalars_at = [columns.place(start, at[0]) for start in row_starts]
                        step_of(columns, scalars_at, columns.place(b, at[1]), sums)
                    else:
                        over(level + 1, *at)
                    for place, here, stride in zip(places, at, (a_strides[level], b_strides[level]), strict=True):
                        builder.store(opaque(builder, builder.add(here, stride)), place)
                builder.store(builder.sub(builder.load(left), I64(size)), left)

    over(0, I64(0), I64(0))
    with builder.if_then(add):
        add_rows(columns, [columns.address(onto, offset) for offset in offsets(builder, onto_rows, shape.rows)], sums)
    write_rows(columns, [columns.address(c, offset) for offset in offsets(builder, c_rows, shape.rows)], sums)
    builder.ret_void()


def offsets(builder: Any, table: Any, rows: int) -> list[Any]:
    """The integers in a table of rows."""
    return [builder.load(builder.gep(table, [I64(m)], source_etype=I64), typ=I64) for m in range(rows)]


def variable(builder: Any, value: Any) -> Any:
    """A variable on the stack with a first value; in the entry block, since others are not turned into registers."""
    with builder.goto_entry_block():
        made = builder.alloca(value.type)
    builder.store(value, made)
    return made


def opaque(builder: Any, value: Any) -> Any:
    """An integer that LLVM knows nothing about: it would keep a pointer to each row for each step, in memory."""
    kind = ir.FunctionType(value.type, [value.type])
    return builder.asm(kind, "", "=r,0", [value], side_effect=False)


@contextmanager
def while_at_least(builder: Any, left: Any, least: int) -> Iterator[None]:
    """A loop around what is emitted inside, while a variable is not less than a number."""
    test, body, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(test)
    builder.position_at_end(test)
    builder.cbranch(builder.icmp_signed(">=", builder.load(left), I64(least)), body, after)
    builder.position_at_end(body)
    yield
    builder.branch(test)
    builder.position_at_end(after)


def add_rows(columns: "Columns", rows: list[Any], sums: list[Any]) -> None:
    """Add what lies at the addresses of some rows to the sums, variables on the stack."""
    builder, places = columns.builder, itertools.product(rows, range(columns.shape.vectors))
    for place, total in zip(places, sums, strict=True):
        builder.store(columns.add(columns.load(*place), builder.load(total)), total)


def write_rows(columns: "Columns", rows: list[Any], sums: list[Any]) -> None:
    """Store the sums at the addresses of some rows."""
    places = itertools.product(rows, range(columns.shape.vectors))
    for place, total in zip(places, sums, strict=True):
        columns.store(columns.builder.load(total), *place)


def _step(columns: "Columns", scalars_at: list[Any], row_of_b: Any, sums: list[Any]) -> None:
    """One step of k: the outer product of a column of A and a row of B goes to the accumulators."""
    builder, lanes, vectors = columns.builder, columns.shape.lanes, columns.shape.vectors
    # fmuladd, not fma: a target without fused multiply-add multiplies and adds instead of calling libm.
    multiply_add = intrinsic(builder.module, f"llvm.fmuladd.{columns.suffix}", columns.vector, [columns.vector] * 3)
    factors = [columns.load(row_of_b, i) for i in range(vectors)]
    for m, address in enumerate(scalars_at):
        spread = splat(builder, builder.load(address, typ=columns.scalar), lanes)
        for factor, total in zip(factors, sums[m * vectors : (m + 1) * vectors], strict=True):
            builder.store(builder.call(multiply_add, [spread, factor, builder.load(total)]), total)


class Columns:
    """Vectors of a row of B or C in memory, aligned to the element only; masked where the shape is."""

    def __init__(self, builder: Any, shape: Shape, n_valid: Any) -> None:
        _, self.scalar, self.align = ELEMENTS[shape.dtype]
        self.builder, self.shape = builder, shape
        self.add = builder.add if isinstance(self.scalar, ir.IntType) else builder.fadd
        self.vector = ir.VectorType(self.scalar, shape.lanes)
        self.suffix = f"v{shape.lanes}{shape.dtype}"
        self.masks = self._masks(n_valid) if shape.masked else []

    def _masks(self, n_valid: Any) -> list[Any]:
        # Columns are numbered in integers as wide as the elements: on AVX2 the comparison then is the mask.
        lanes, integer, width = self.shape.lanes, ir.IntType(8 * self.align), I64(self.shape.width)
        clamped = self.builder.select(self.builder.icmp_signed("<", n_valid, width), n_valid, width)
        limit = splat(self.builder, self.builder.trunc(clamped, integer) if integer != I64 else clamped, lanes)
        numbers = (list(range(i * lanes, (i + 1) * lanes)) for i in range(self.shape.vectors))
        return [self.builder.icmp_signed("<", ir.Constant(limit.type, row), limit) for row in numbers]

    def address(self, base: Any, offset: Any) -> Any:
        return self.builder.gep(base, [offset], source_etype=self.scalar)

    def place(self, base: Any, offset: Any) -> Any:
        """The address of an element of A or B."""
        return self.builder.gep(base, [offset], source_etype=self.shape.operand)

    def load(self, row: Any, i: int) -> Any:
        """The ``i``-th vector of the row at address ``row``; zeros in the lanes that are masked off."""
        address = self.address(row, I64(i * self.shape.lanes))
        if not self.masks:
            return self.builder.load(address, align=self.align, typ=self.vector)
        parameters = [POINTER, I32, self.masks[i].type, self.vector]
        load = intrinsic(self.builder.module, f"llvm.masked.load.{self.suffix}.p0", self.vector, parameters)
        return self.builder.call(load, [address, I32(self.align), self.masks[i], ir.Constant(self.vector, None)])

    def store(self, value: Any, row: Any, i: int) -> None:
        address = self.address(row, I64(i * self.shape.lanes))
        if not self.masks:
            self.builder.store(value, address, align=self.align)
            return
        parameters = [self.vector, POINTER, I32, self.masks[i].type]
        store = intrinsic(self.builder.module, f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), parameters)
        self.builder.call(store, [value, address, I32(self.align), self.masks[i]])


def splat(builder: Any, scalar: Any, lanes: int) -> Any:
    """A vector whose lanes all hold a scalar."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first_lane = ir.Constant(ir.VectorType(I32, lanes), None)
    return builder.shuffle_vector(builder.insert_element(undefined, scalar, I32(0)), undefined, first_lane)


def intrinsic(module: Any, name: str, result: Any, parameters: list[Any]) -> Any:
    """The declaration of an LLVM intrinsic in a module."""
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, parameters), name)
