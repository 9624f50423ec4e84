"""The shapes of register tiles: what layouts pack for, and what kernels compute."""

from __future__ import annotations

from typing import Protocol

from tgc.types import DType


class Shaped(Protocol):
    """What tile shapes depend on."""

    def lanes(self, dtype: DType) -> int: ...

    @property
    def vector_registers(self) -> int: ...


ROWS = 8  # of a tile, at most: rows a power of two apart share a set of the first-level cache, which has 8 ways or more
WIDTHS = (4, 3, 2)  # vectors of columns, where 6 rows of them fit in registers; the first that pads fewest columns
LEAST = 6
FEW, LOW = 32, 4  # rows of a product whose tiles are lower where that pads fewer, and how low


def tile_shape(target: Shaped, dtype: DType, m: int, n: int) -> tuple[int, int]:
    """Rows and columns of a register tile.

    As many rows as accumulators leave room (beside the vectors of rhs and one broadcast); fewer for small results.
    Columns depend on `n` alone. Sizes only choose among few shapes, so that another batch size seldom means another
    kernel.
    """
    lanes = target.lanes(dtype)

    def most(vectors: int) -> int:
        return min(ROWS, (target.vector_registers - vectors - 1) // vectors)

    wide = [v for v in WIDTHS if most(v) >= LEAST]
    vectors = 1 if n <= lanes else min(wide, key=lambda v: -(-n // (v * lanes)) * v)
    few = FEW if vectors > 1 else LOW  # one vector in each of 4 rows hardly hides how long a multiply-add takes
    heights = [1] if m == 1 else [most(vectors), LOW] if m <= few else [most(vectors)]
    return min(heights, key=lambda rows: -(-m // rows) * rows), vectors * lanes
