"""Register-tiled contraction of 8-bit integers into int32: `tile.py`'s micro-kernel, four steps of k at a time.

Four consecutive k, a quad, lie together in both operands: for each column of B, and in each row of A. Per step the
tile loads vectors of B, each the quads of as many columns as there are lanes, broadcasts a quad of each row of A, and
adds the inner product of both to the sum in every lane. All forms of a step are exact and wrap around:

    vpdpbusd   one instruction of AVX512-VNNI or AVX-VNNI, where one operand is unsigned and the other is not
    pmaddwd    x86 without it: products of the even and of the odd bytes, widened to 16 bits, summed in pairs
    mul        any machine: products of each of the four bytes, widened to 32 bits

Machines with tile registers have other micro-kernels (`amx.py`), of the same operands.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from llvmlite import ir
from numba import types

from tgc.backends.cpu.micro import I32, micro_kernel
from tgc.backends.cpu.tile import OPTIONS, Columns, Shape, Step, body, intrinsic, splat
from tgc.passes.tiles import QUAD

By = Literal["vpdpbusd", "pmaddwd", "mul"]
_MADD = {512: "llvm.x86.avx512.pmaddw.d.512", 256: "llvm.x86.avx2.pmadd.wd", 128: "llvm.x86.sse2.pmadd.wd"}


@dataclass(frozen=True, slots=True)
class ByteShape(Shape):
    """The compile-time parameters of ``byte_tile``: whether A and B are signed, and the form of a step."""

    signed: tuple[bool, bool] = (False, True)
    by: By = "mul"

    def __post_init__(self) -> None:
        if min(self.rows, self.vectors, self.lanes) < 1 or not 1 <= self.levels <= 3 or self.masked:
            raise ValueError(f"no tile has {self}: sizes are positive, levels 1 to 3, columns are not masked")
        if self.by == "vpdpbusd" and self.signed[0] == self.signed[1]:
            raise ValueError(f"no tile has {self}: vpdpbusd multiplies unsigned integers by signed ones")

    @property
    def operand(self) -> ir.Type:
        return ir.IntType(8)

    @property
    def name(self) -> str:
        kinds = "".join("i8" if signed else "u8" for signed in self.signed)
        return f"tile_{self.rows}x{self.width}_k{self.levels}_{kinds}"

    @property
    def symbol(self) -> str:
        return f"{self.name}.v{self.lanes}.{self.by}"


@functools.cache
def byte_tile(
    rows: int, vectors: int, lanes: int, levels: int, a_signed: bool, b_signed: bool, by: By
) -> Callable[..., None]:
    """The micro-kernel of one shape, a device function (see ``pointers.device``)::

        byte_tile(a, rows_at, a_strides, b, b_strides, extents, c, c_rows, onto, onto_rows, n_valid, add, ahead,
                  ahead_step)

        c[c_rows[m] + n] = (add: onto[onto_rows[m] + n]) + sum over k, i of a[rows_at[m] + k . a_strides + i]
                                                                            * b[k . b_strides + n * QUAD + i]

    for m in [0, rows), n in [0, vectors * lanes), i in [0, QUAD) and k in the box ``extents``. ``a`` and ``b`` are
    pointers to int8 or uint8, ``c`` and ``onto`` are some to int32, whose sums wrap around. The other parameters are
    those of ``tile``; offsets and strides count elements, ``n_valid`` is ignored, and no operand need be aligned.

    ``lanes`` is the number of int32 in the target's vector register. ValueError for a shape that cannot be.
    """
    shape = ByteShape(rows, vectors, lanes, levels, dtype="i32", signed=(a_signed, b_signed), by=by)  # type: ignore[arg-type]
    a_type, b_type = (types.CPointer(types.int8 if signed else types.uint8) for signed in shape.signed)
    index, sums = types.int64, types.CPointer(types.int32)
    table, levelled = types.CPointer(index), types.UniTuple(index, levels)
    signature = types.void(
        a_type, table, levelled, b_type, levelled, levelled, sums, table, sums, table, index, types.boolean, b_type,
        index,
    )  # fmt: skip

    def twin(
        a: Any, rows_at: Any, a_strides: tuple[int, ...], b: Any, b_strides: tuple[int, ...],
        extents: tuple[int, ...], c: Any, c_rows: Any, onto: Any, onto_rows: Any, n_valid: int, add: bool, ahead: Any,
        ahead_step: int,
    ) -> None:  # fmt: skip
        places = itertools.product(range(rows), range(shape.width))
        first = {(m, n): int(onto[onto_rows[m] + n]) if add else 0 for m, n in places}
        for (m, n), total in first.items():
            for *k, i in itertools.product(*map(range, extents), range(QUAD)):
                a_at, b_at = (sum(x * stride for x, stride in zip(k, s, strict=True)) for s in (a_strides, b_strides))
                total += int(a[rows_at[m] + a_at + i]) * int(b[b_at + n * QUAD + i])
            c[c_rows[m] + n] = total

    twin.__doc__ = f"The micro-kernel of {shape}; see ``byte_tile``."
    return micro_kernel(shape.symbol, signature, twin, functools.partial(body, shape, _STEPS[by]), OPTIONS)


def _fused_step(columns: Columns, quads_at: list[Any], row_of_b: Any, sums: list[Any]) -> None:
    """A step by `vpdpbusd`, whose first factor is the unsigned one."""
    builder, shape, vector = columns.builder, columns.shape, columns.vector
    assert isinstance(shape, ByteShape)
    name = f"llvm.x86.avx512.vpdpbusd.{32 * shape.lanes}"
    add_product = intrinsic(builder.module, name, vector, [vector] * 3)
    factors = [columns.load(row_of_b, i) for i in range(shape.vectors)]
    for m, address in enumerate(quads_at):
        quad = splat(builder, builder.load(address, align=1, typ=I32), shape.lanes)
        for factor, total in zip(factors, sums[m * shape.vectors : (m + 1) * shape.vectors], strict=True):
            pair = (factor, quad) if shape.signed[0] else (quad, factor)
            builder.store(builder.call(add_product, [builder.load(total), *pair]), total)


def _widened_step(width: int, columns: Columns, quads_at: list[Any], row_of_b: Any, sums: list[Any]) -> None:
    """A step by products of integers of `width` bits, which are summed in lanes of 32 bits."""
    builder, shape = columns.builder, columns.shape
    assert isinstance(shape, ByteShape)
    a_signed, b_signed = shape.signed
    number = 32 // width  # of products in a lane
    wide = ir.VectorType(ir.IntType(width), number * shape.lanes)

    def part(quads: Any, signed: bool, low: int) -> Any:
        """The bytes of lanes of `width` bits that begin at bit `low`, widened."""
        lanes = builder.bitcast(quads, wide)
        above = builder.shl(lanes, _filled(wide, width - 8 - low)) if low < width - 8 else lanes
        return (builder.ashr if signed else builder.lshr)(above, _filled(wide, width - 8))

    def product(x: Any, y: Any) -> Any:
        if number == 1:
            return builder.mul(x, y)
        return builder.call(intrinsic(builder.module, _MADD[32 * shape.lanes], columns.vector, [wide] * 2), [x, y])

    for low in range(0, width, 8):
        factors = [part(columns.load(row_of_b, i), b_signed, low) for i in range(shape.vectors)]
        for m, address in enumerate(quads_at):
            quad = splat(builder, builder.load(address, align=1, typ=I32), shape.lanes)
            spread = part(quad, a_signed, low)
            for factor, total in zip(factors, sums[m * shape.vectors : (m + 1) * shape.vectors], strict=True):
                builder.store(builder.add(product(spread, factor), builder.load(total)), total)


def _filled(vector: ir.VectorType, value: int) -> ir.Constant:
    return ir.Constant(vector, [value] * vector.count)


_STEPS: dict[str, Step] = {
    "vpdpbusd": _fused_step,
    "pmaddwd": functools.partial(_widened_step, 16),
    "mul": functools.partial(_widened_step, 32),
}
