"""Square blocks of memory transposed in vector registers.

A block of lanes x lanes elements takes log2(lanes) rounds, each of which interleaves the lower half of its rows with
the upper half (a perfect shuffle; Stone, "Parallel Processing with the Perfect Shuffle", 1971): what then is row c held
column c. That is fewer instructions than elements, and reads of many lines of memory are under way at once.
"""

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from tgc.backends.cpu.micro import I64, micro_kernel
from tgc.backends.cpu.pointers import NUMPY, SCALARS
from tgc.backends.loops.ir import SQUARE


@functools.cache
def turn(lanes: int, code: str) -> Callable[..., None]:
    """The micro-kernel for elements of a type, such as `f32`, a device function::

        turn(block, row, source, step)

        block[c * row + r] = source[r * step + c]

    for r and c below ``SQUARE``. ``block`` and ``source`` are pointers to elements, real numbers; each row of ``block``
    is 64-byte aligned. ``lanes``, a power of two, is the number of such elements in a vector register of the target.
    """
    element = SCALARS[code][0]
    pointer = types.CPointer(element)

    def twin(block: Any, row: int, source: Any, step: int) -> None:
        for r in range(SQUARE):
            for c in range(SQUARE):
                block[c * row + r] = source[r * step + c]

    twin.__doc__ = f"Turns {SQUARE}x{SQUARE} elements of {code}; see ``turn``."
    body = functools.partial(_body, NUMPY[element](0).itemsize, min(SQUARE, lanes))
    return micro_kernel(f"turn_{code}.v{lanes}", types.void(pointer, types.int64, pointer, types.int64), twin, body)


def _body(width: int, n: int, function: Any) -> None:
    """Append the code to an LLVM function: elements of `width` bytes, `n` in a vector."""
    to, pitch, origin, stride = function.args
    element = ir.IntType(8 * width)
    vector = ir.VectorType(element, n)
    builder = ir.IRBuilder(function.append_basic_block("entry"))

    def place(base: Any, row: int, row_step: Any, column: int) -> Any:
        at = builder.add(builder.mul(row_step, I64(row)), I64(column))
        return builder.gep(base, [at], source_etype=element)

    for row in range(0, SQUARE, n):
        for column in range(0, SQUARE, n):
            rows = [builder.load(place(origin, row + r, stride, column), align=width, typ=vector) for r in range(n)]
            for c, turned in enumerate(_transposed(builder, rows)):
                builder.store(turned, place(to, column + c, pitch, row), align=width * n)
    builder.ret_void()


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    n = len(rows)
    indices = ir.VectorType(ir.IntType(32), n)
    halves = [[x for i in range(n // 2) for x in (at + i, n + at + i)] for at in (0, n // 2)]
    masks = [ir.Constant(indices, half) for half in halves]
    for _ in range(n.bit_length() - 1):
        pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
        rows = [builder.shuffle_vector(low, high, mask) for low, high in pairs for mask in masks]
    return rows
