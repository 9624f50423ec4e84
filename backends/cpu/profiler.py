"""Runs a program launch by launch and takes the time of each.

The program knows nothing of it: a copy of it gets a driver that runs the rows of a frame one at a time, following the
branches between them, so that a call that is not profiled pays nothing.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence

import numpy as np

from tgc.backends.cpu.driver import BRANCH, COPY, FORK, LANE, Driver, Frame, Int64s
from tgc.backends.cpu.program import CpuProgram
from tgc.runtime.profile import Profile, Roofline, Row

ROUNDS = 7


class _Stepper:
    """Stands for the driver of a program.

    Attributes:
        spent: for each row of the last run the nanoseconds of all its turns, and their number.
        total: nanoseconds of the last run.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.frame, self.threads = driver.frame, driver.threads
        self.spent: dict[int, tuple[int, int]] = {}
        self.total = 0

    def run(self, frame: Frame) -> int:
        """All rows, as `Driver.run` does it."""
        now, run = time.perf_counter_ns, self._driver.run
        began = now()
        self.spent = {}
        empty = min(self._empty(frame) for _ in range(20))
        k, rows, failed = 0, frame.launches.tolist(), 0
        while k < len(rows) and not failed:
            code, a, b, c, _ = rows[k]
            if code in (BRANCH, FORK, LANE):  # lanes run one after the other
                k = c if code == BRANCH and frame.bases[a] < b else k + 1
                continue
            start = now()
            failed = run(frame, k, k + 1)
            taken = now() - start
            before, turns = self.spent.get(k, (0, 0))
            self.spent[k] = before + max(taken - empty, 0), turns + 1
            k += 1
        self.total = now() - began
        return failed

    def _empty(self, frame: Frame) -> int:
        start = time.perf_counter_ns()
        self._driver.run(frame, 0, 0)
        return time.perf_counter_ns() - start


def profile(program: CpuProgram, arrays: Sequence[np.ndarray], roofline: Roofline) -> Profile:
    """The profile of calls with these arrays, of which none is overwritten.

    Raises:
        OutOfRangeError, LinearAlgebraError: as the program does.
    """
    stepper = _Stepper(program.driver)
    stepped = copy.copy(program)
    stepped.driver = stepper  # type: ignore[assignment]
    donated = set(program.plan.donations.values())
    walls: list[int] = []
    outside: list[int] = []
    rounds: list[dict[int, tuple[int, int]]] = []
    for _ in range(ROUNDS + 1):
        for run in (program, stepped):
            own = [a.copy() if k in donated else a for k, a in enumerate(arrays)]
            start = time.perf_counter_ns()
            results = run(own)
            taken = time.perf_counter_ns() - start
            del results
            if run is program:
                walls.append(taken)
        outside.append(taken - stepper.total)
        rounds.append(stepper.spent)
    del walls[0], outside[0], rounds[0]  # the first call warms caches and threads
    call = Row("(the call: arrays, dispatch)", "call", 1, statistics.median(outside) * 1e-9, 0, 0, 0.0)
    return Profile((call, *_rows(program, rounds, roofline)), statistics.median(walls) * 1e-9, roofline)


def _rows(program: CpuProgram, rounds: Sequence[dict[int, tuple[int, int]]], roofline: Roofline) -> list[Row]:
    """A row for each node that launched, one for all copies, one for the steering of loops.

    Lanes have been run one after the other; each has its share of the time of those that run side by side.
    """
    plan = program.told()
    beside = _beside(plan.rows, program.driver.threads)
    gathered: dict[int | str, list[int]] = {}  # rows of the frame, by the number of a node or what they do
    for k in sorted(rounds[0]):
        steering = "copy" if plan.rows[k, 0] == COPY else "loops and branches"
        owner = plan.owners[k]
        gathered.setdefault(plan.facts[owner].node if owner >= 0 else steering, []).append(k)
    found = []
    for what, rows in gathered.items():
        seconds = statistics.median(sum(r[k][0] / beside[k] for k in rows) for r in rounds) * 1e-9
        launches = sum(rounds[0][k][1] for k in rows)
        if isinstance(what, int):
            facts = {k: plan.facts[plan.owners[k]] for k in rows}
            fact = facts[rows[0]]
            times = sum(rounds[0][k][1] for k in rows if facts[k].kernel == fact.kernel)  # in all lanes
            work, data = fact.flops * times, fact.bytes * times
            limit = roofline.seconds(work, data, fact.itemsize)
            name = fact.kernel + " (again)" * fact.again
            found.append(Row(name, fact.kind, launches, seconds, work, data, limit, fact.loc))
        else:
            data = sum(2 * int(plan.rows[k, 2]) * rounds[0][k][1] for k in rows) if what == "copy" else 0
            limit = roofline.seconds(0, data)
            found.append(Row(f"({what})", "copy", launches, seconds, 0, data, limit))
    return found


def _beside(rows: Int64s, threads: int) -> Int64s:
    """For each row of a frame how many lanes run at the same time as its own, that one included."""
    found = np.ones(len(rows), np.int64)
    for k in np.flatnonzero(rows[:, 0] == FORK):
        lanes = rows[k + 1 : k + 1 + rows[k, 1]]
        found[lanes[0, 1] : lanes[-1, 2]] = min(threads, len(lanes))
    return found
