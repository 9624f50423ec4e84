"""Memory whose pages are made present ahead of its first use, by a thread of its own and without the GIL.

A page that is touched for the first time is cleared by the system, which takes longer than most kernels take to fill
it. What a call has needed in an earlier process is cleared while Python still traces the call; what it needs for the
first time, while its kernels compile. Pages are touched one by one: a system that is asked for many at once
(MADV_POPULATE_WRITE) lets no other thread map memory meanwhile.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from tgc.runtime.available import available_bytes

LEAST = 1 << 24  # bytes from which on a thread is worth it
CHUNK = 1 << 25  # bytes between two looks whether the memory is wanted; a look may wait for the GIL, some 5 ms


class Present:
    """Some bytes of memory; `take` hands them over, with as many pages present as there was time for."""

    def __init__(self, size: int) -> None:
        self._memory = np.empty(size, np.uint8)
        self._wanted = False
        self._thread = threading.Thread(target=self._touch, daemon=True)
        self._thread.start()

    def take(self, size: int) -> np.ndarray:
        """The memory, or other memory if it has less than `size` bytes."""
        self._wanted = True
        self._thread.join()
        return self._memory if self._memory.nbytes >= size else np.empty(size, np.uint8)

    def _touch(self) -> None:
        for at in range(0, self._memory.nbytes, CHUNK):
            if self._wanted:
                return
            self._memory[at : at + CHUNK : mmap.PAGESIZE] = 0


@dataclass(slots=True)
class Expected:
    """What is being made ready for a program that is on its way."""

    memory: Present | None = None


_expected: ContextVar[Expected | None] = ContextVar("tgc_expected", default=None)


@contextmanager
def expecting(expected: Expected | None) -> Iterator[None]:
    """Let what is found to be needed inside of a with block be made ready; None: nothing is."""
    token = _expected.set(expected)
    try:
        yield
    finally:
        _expected.reset(token)


def need(size: int) -> None:
    """Begin to make that much memory present for the program that is expected, if there is one and it has none yet."""
    expected = _expected.get()
    if expected is not None and expected.memory is None and LEAST <= size <= available_bytes() // 2:
        expected.memory = Present(size)
