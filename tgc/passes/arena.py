"""Buffers in one arena: byte ranges that do not overlap while both are in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tgc.types import ALIGNMENT


@dataclass(slots=True)
class Buffer:
    """Memory that is in use from step `first` to step `last`, both included.

    Attributes:
        size: bytes, a multiple of the alignment.
        at: its first byte in the arena, once it is placed.
    """

    size: int
    first: int
    last: int
    at: int = 0


def padded(size: int) -> int:
    """Bytes that `size` bytes take in an arena."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def place(buffers: Sequence[Buffer], limit: int = 0) -> None:
    """Give all buffers, listed in the order of their first steps, their places.

    Each gets the smallest gap that is left when its turn comes: in the order of time, or, if that takes more than
    `limit` bytes (unless 0) and the other order takes less, the largest first (Pisarchyk and Lee, "Efficient memory
    management for deep neural net inference", 2020), which leaves fewer gaps and takes longer to find.
    """
    _in_time(buffers)
    if not limit or (needed := _end(buffers)) <= limit:
        return
    before = [b.at for b in buffers]
    _by_size(buffers)
    if _end(buffers) > needed:
        for b, at in zip(buffers, before, strict=True):
            b.at = at


def offsets(lives: Sequence[tuple[int, int]], sizes: Sequence[int], limit: int = 0) -> list[int]:
    """The places of buffers of these first and last steps and sizes: see `place`."""
    buffers = [Buffer(size, first, last) for (first, last), size in zip(lives, sizes, strict=True)]
    place(buffers, limit)
    return [b.at for b in buffers]


def _end(buffers: Sequence[Buffer]) -> int:
    return max((b.at + b.size for b in buffers), default=0)


def _in_time(buffers: Sequence[Buffer]) -> None:
    live: list[Buffer] = []
    for b in buffers:
        live = [other for other in live if other.last >= b.first]
        b.at = _first_fit([(other.at, other.size) for other in live], b.size)
        live.append(b)


def _by_size(buffers: Sequence[Buffer]) -> None:
    first, last = (np.array([getattr(b, name) for b in buffers], np.int64) for name in ("first", "last"))
    placed = np.zeros(len(buffers), np.bool_)
    for k in sorted(range(len(buffers)), key=lambda k: -buffers[k].size):
        b = buffers[k]
        meets = np.flatnonzero(placed & (first <= b.last) & (last >= b.first))
        b.at = _first_fit([(buffers[j].at, buffers[j].size) for j in meets.tolist()], b.size)
        placed[k] = True


def _first_fit(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The smallest gap that holds `size` bytes, or the end."""
    best: tuple[int, int] | None = None
    at = 0
    for first, length in sorted(taken):
        gap = first - at
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, at)
        at = max(at, first + length)
    return best[1] if best else at


__all__ = ["ALIGNMENT", "Buffer", "offsets", "padded", "place"]
