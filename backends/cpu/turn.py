"""Square blocks of memory transposed in vector registers.

A block of lanes x lanes elements takes log2(lanes) rounds, each of which interleaves the lower half of its rows with
the upper half (a perfect shuffle; Stone, "Parallel Processing with the Perfect Shuffle", 1971): what then is row c held
column c. That is fewer instructions than elements, and reads of many lines of memory are under way at once.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from tgc.backends.cpu.pointers import NUMPY, device
from tgc.backends.loops.ir import SQUARE


def _rule(block: Any, source: Any, step: Any, lanes: Any) -> tuple[Any, Callable[..., Any]] | None:
    if not (isinstance(lanes, types.IntegerLiteral) and isinstance(source, types.CPointer) and block == source):
        return None
    width = NUMPY[source.dtype](0).itemsize
    n = min(SQUARE, lanes.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, origin, stride, _ = arguments
        i64, vector = ir.IntType(64), ir.VectorType(ir.IntType(8 * width), n)

        def place(base: Any, row: int, row_step: Any, column: int) -> Any:
            at = builder.add(builder.mul(row_step, i64(row)), i64(column))
            return builder.bitcast(builder.gep(base, [at]), vector.as_pointer())

        for row in range(0, SQUARE, n):
            for column in range(0, SQUARE, n):
                rows = [builder.load(place(origin, row + r, stride, column), align=width) for r in range(n)]
                for c, turned in enumerate(_transposed(builder, rows)):
                    builder.store(turned, place(to, column + c, i64(SQUARE), row), align=width * n)
        return context.get_dummy_value()

    return types.void(block, source, types.int64, lanes), codegen


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    n = len(rows)
    indices = ir.VectorType(ir.IntType(32), n)
    halves = [[x for i in range(n // 2) for x in (at + i, n + at + i)] for at in (0, n // 2)]
    masks = [ir.Constant(indices, half) for half in halves]
    for _ in range(n.bit_length() - 1):
        pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
        rows = [builder.shuffle_vector(low, high, mask) for low, high in pairs for mask in masks]
    return rows


@device(_rule)
def turn(block: Any, source: Any, step: int, lanes: int) -> None:
    """``block[c * SQUARE + r] = source[r * step + c]`` for r and c below ``SQUARE``.

    Both are pointers to the same kind of elements, real ones; ``block`` is 64-byte aligned. ``lanes``, a constant and
    a power of two, is the number of such elements in a vector register of the target.
    """
    for r in range(SQUARE):
        for c in range(SQUARE):
            block[c * SQUARE + r] = source[r * step + c]


__all__ = ["turn"]
