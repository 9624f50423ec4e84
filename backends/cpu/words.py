"""Words of Philox4x32-10 in vector registers (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

The four words of a block lie side by side in a register, as they do in memory. Those that a round multiplies, the first
and the third, are then the low halves of two 64-bit lanes, and the whole products fill these:

    (c0, c1 | c2, c3)  ->  (hi1 ^ c1 ^ key0, lo1 | hi0 ^ c3 ^ key1, lo0)    where  c0 * M0 = (lo0, hi0), c2 * M1 = ...

So a round is a product, the words of the products in reverse order, a shift and two exclusive ors, for all the blocks
that a register holds; and no word is computed that is not stored.
"""

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from tgc.backends.cpu.micro import I32, I64, micro_kernel
from tgc.backends.cpu.scalars import philox
from tgc.backends.cpu.tile import variable, while_at_least
from tgc.ops.creation import PHILOX_MULTIPLIERS, PHILOX_WEYL

ROUNDS = 10
TOGETHER = 4  # registers whose rounds take turns: a product takes some cycles


@functools.cache
def words(lanes: int) -> Callable[..., None]:
    """The micro-kernel that draws words in a row, a device function::

        words(out, key0, key1, first, count)

        out[i] = word first + i of the key

    for i in [0, count), where `first` is a multiple of four; up to ``lanes - 1`` words behind these are written, too.
    ``out`` is a pointer to u32, the words of the key are integers; ``lanes`` is the number of 32-bit elements in a
    vector register of the target, 4 or more.
    """
    index = types.int64

    def twin(out: Any, key0: int, key1: int, first: int, count: int) -> None:
        for i in range(count):
            out[i] = philox(key0, key1, first + i)

    signature = types.void(types.CPointer(types.uint32), index, index, index, index)
    return micro_kernel(f"words_u32.v{lanes}", signature, twin, functools.partial(_body, lanes))


def _body(lanes: int, function: Any) -> None:
    """Append the code to an LLVM function."""
    out, key0, key1, first, count = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    wide, narrow = ir.VectorType(ir.IntType(64), lanes // 2), ir.VectorType(I32, lanes)
    each = range(lanes // 2)
    low = ir.Constant(wide, [0xFFFFFFFF] * len(each))
    factors = ir.Constant(wide, [PHILOX_MULTIPLIERS[i % 2] for i in each])
    half = ir.Constant(wide, [32] * len(each))
    weyl = ir.Constant(wide, [PHILOX_WEYL[i % 2] for i in each])
    swapped = ir.Constant(narrow, [i ^ 3 for i in range(lanes)])
    blocks = lanes // 4

    def alternating(even: Any, odd: Any) -> Any:
        """A register of two numbers in turn."""
        made = ir.Constant(wide, None)
        for i in each:
            made = builder.insert_element(made, odd if i % 2 else even, I32(i))
        return made

    keys = [alternating(key0, key1)]
    for _ in range(ROUNDS - 1):
        keys.append(builder.and_(builder.add(keys[-1], weyl), low))
    numbers = ir.Constant(wide, [0 if i % 2 else i // 2 for i in each])
    further = ir.Constant(wide, [0 if i % 2 else blocks for i in each])
    counters = variable(builder, builder.add(alternating(builder.lshr(first, I64(2)), I64(0)), numbers))
    left, place = variable(builder, count), variable(builder, I64(0))

    def round_of(c: Any, key: Any) -> Any:
        product = builder.mul(builder.and_(c, low), factors)
        turned = builder.shuffle_vector(builder.bitcast(product, narrow), ir.Constant(narrow, None), swapped)
        return builder.xor(builder.bitcast(turned, wide), builder.xor(builder.lshr(c, half), key))

    for size in (TOGETHER, 1):  # registers in a turn of the loop
        with while_at_least(builder, left, 1 if size == 1 else size * lanes):
            drawn = [builder.load(counters)]
            for _ in range(size):
                drawn.append(builder.add(drawn[-1], further))
            builder.store(drawn.pop(), counters)
            for key in keys:
                drawn = [round_of(c, key) for c in drawn]
            at = builder.load(place)
            for k, c in enumerate(drawn):
                here = builder.gep(out, [builder.add(at, I64(k * lanes))], source_etype=I32)
                builder.store(builder.bitcast(c, narrow), here, align=4)
            builder.store(builder.add(at, I64(size * lanes)), place)
            builder.store(builder.sub(builder.load(left), I64(size * lanes)), left)
    builder.ret_void()
