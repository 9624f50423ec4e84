"""Python's garbage collector stands still while graphs are made, and goes over what was made once, at the end.

Graphs are large and live until then: looking through them over and over, as it does while objects are made, took a
quarter of the time of a compilation, and half of that of a large one. A node and its results refer to each other, so
that the stages of a compilation, with their constants, wait for the collector. The memory that they leave is given
back: the allocator would keep it for a process that may never need as much again.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tgc.locks import Lock

_lock = Lock()
_within = 0  # nested and in other threads
_resumes = False  # whether it ran before


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collection inside of a with block, or of a function that this decorates; the process's other threads wait for
    theirs as well.
    """
    global _within, _resumes
    with _lock:
        if _within == 0:
            _resumes = gc.isenabled()
            gc.disable()
        _within += 1
    try:
        yield
    finally:
        with _lock:
            last = _within == 1 and _resumes
        if last:  # before it runs on its own, which would go over all objects there are
            gc.collect(0)  # the youngest objects: all that has been made inside, and nothing older
            if _trim is not None:
                _trim(0)
        with _lock:
            _within -= 1
            if _within == 0 and _resumes:
                gc.enable()


def _trim_function() -> Callable[[int], int] | None:
    """The GNU C library's; None where there is another one."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


_trim = _trim_function()


def _after_fork() -> None:
    """A child has none of the threads that would let the collector go on."""
    global _within
    if _within and _resumes:
        gc.enable()
    _within = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

__all__ = ["collector_paused"]
