"""Kernels that do as much as the machine can: multiply-adds in registers, and reading and writing memory.

This file is a kernel source (see `compile.py`), of what `roofline.py` measures.
"""

from __future__ import annotations

from llvmlite import ir
from numba import float32 as f32
from numba import types
from numba.extending import intrinsic

from tgc.backends.cpu.target import CpuTarget
from tgc.types import F32

# mypy: ignore-errors

TARGET = CpuTarget.host()
CHAINS = 12  # more than a multiply-add's latency times the units, and fewer than the registers of any machine
BLOCK = 1 << 16  # elements of a tile of memory


@intrinsic
def multiply_add(typing_context, turns):
    """The sum of what `CHAINS` vectors are after `turns` multiply-adds each, which depend on the one before."""

    def codegen(context, builder, signature, arguments):
        vector = ir.VectorType(ir.FloatType(), TARGET.lanes(F32))
        name = f"llvm.fmuladd.v{vector.count}f32"  # a target without multiply-adds multiplies and adds
        found = builder.module.globals.get(name)
        fma = found or ir.Function(builder.module, ir.FunctionType(vector, [vector] * 3), name)

        def filled(x):
            return ir.Constant(vector, [x] * vector.count)

        word, before = ir.IntType(64), builder.block
        loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
        builder.branch(loop)
        builder.position_at_end(loop)
        turn = builder.phi(word)
        chains = [builder.phi(vector) for _ in range(CHAINS)]
        turn.add_incoming(word(0), before)
        new = [builder.call(fma, [x, filled(0.999), filled(0.001)]) for x in chains]
        for k, (x, y) in enumerate(zip(chains, new, strict=True)):
            x.add_incoming(filled(2.0 + k), before)  # not 1: that stays 1, as LLVM finds out
            x.add_incoming(y, loop)
        following = builder.add(turn, word(1))
        turn.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, arguments[0]), loop, after)
        builder.position_at_end(after)
        total = new[0]
        for y in new[1:]:
            total = builder.fadd(total, y)
        result = builder.extract_element(total, ir.IntType(32)(0))
        for lane in range(1, vector.count):
            result = builder.fadd(result, builder.extract_element(total, ir.IntType(32)(lane)))
        return result

    return types.float32(types.int64), codegen


def arithmetic(out: f32[:], turns: i64, lo, hi, part):  # noqa: F821
    """`turns` multiply-adds of each chain for each tile."""
    for tile in range(lo, hi):
        out[tile] = multiply_add(turns)


def memory(x: f32[:], y: f32[:], lo, hi, part):
    """A block of reading and writing for each tile."""
    for i in range(lo * BLOCK, hi * BLOCK):
        y[i] = x[i] + f32(1)
