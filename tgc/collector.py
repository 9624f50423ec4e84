"""Python's cyclic garbage collector, out of the way while a graph is compiled."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Collect no cyclic garbage for the duration of a with block.

    Passes make many small objects that stay: every collection goes over all of them and finds next to nothing. Where
    blocks nest or threads overlap, the one that found the collector running sets it going again.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
