"""How long calls take."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WARMING = 0.2  # part of a measurement's time that is spent on calls that do not count, one at least


def timed(call: Callable[[], object], seconds: float) -> list[int]:
    """Nanoseconds of each call made in some `seconds`, one at least, after a few that warm caches and threads."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        now = time.perf_counter_ns
        end = now() + int(WARMING * seconds * 1e9)
        call()
        while now() < end:
            call()
        taken: list[int] = []
        end = now() + int(seconds * 1e9)
        while not taken or now() < end:
            start = now()
            call()
            taken.append(now() - start)
        return taken
    finally:
        if was_enabled:
            gc.enable()


@dataclass(frozen=True)
class Summary:
    """Samples of one figure.

    Attributes:
        median, least: of all samples.
        rounds: the median of each round, in order; how far they differ tells how quiet the machine was.
        samples: how many there are.
    """

    median: float
    least: float
    rounds: list[float]
    samples: int

    @classmethod
    def of(cls, rounds: Sequence[Sequence[float]], scale: float = 1.0) -> Summary:
        """The summary of rounds of samples, each multiplied by `scale`."""
        samples = [x * scale for r in rounds for x in r]
        medians = [statistics.median(r) * scale for r in rounds]
        return cls(statistics.median(samples), min(samples), medians, len(samples))
