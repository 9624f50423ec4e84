"""The shapes of register tiles: what layouts pack for, and what kernels compute."""

from __future__ import annotations

from typing import Protocol

from tgc.types import DType


class Shaped(Protocol):
    """What tile shapes depend on."""

    def lanes(self, dtype: DType) -> int: ...

    @property
    def vector_registers(self) -> int: ...


def tile_shape(target: Shaped, dtype: DType, m: int, n: int) -> tuple[int, int]:
    """Rows and columns of a register tile.

    Two vectors of columns and as many rows as accumulators leave room (beside two of rhs and one broadcast); fewer
    for small results. Sizes only choose among few shapes, so that another batch size seldom means another kernel.
    """
    lanes = target.lanes(dtype)
    vectors = 1 if n <= lanes else 2
    most = (target.vector_registers - vectors - 1) // vectors
    most = min(most, 14)
    rows = next((r for r in (1, 4, 8) if m <= r <= most), most)
    return rows, vectors * lanes
