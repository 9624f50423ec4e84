"""Runs lists of kernel launches: Python is entered once per call of a program, however many kernels it has.

The loop over the launches, and the sharing of a launch by threads, are native code (`launch.py`), compiled once per
machine and kept in the kernel cache. The threads are Python threads that live in that code without the GIL: asleep, or
for a moment after each launch awake and waiting for the next. They need no OpenMP, whose GNU version hangs in forked
processes, and no import of Numba. A launch costs some 30 ns, one that two threads share 0.2 to 0.5 us.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tgc.backends.cpu.loader import Loader, load_kernels
from tgc.backends.cpu.target import CpuTarget
from tgc.errors import BackendError
from tgc.locks import Lock
from tgc.runtime.cache import KernelCache

Int64s = npt.NDArray[np.int64]

LAUNCH_WORDS = 5  # kernel address, index of the first argument, tiles, most parts, number of arguments

# Rows with one of these numbers for an address steer the loop (the four words that follow it, unused ones 0):
SET = 1  # word, base, number: bases[word] = bases[base] + number
SWAP = 2  # word, word: exchange two bases
COPY = 3  # index of the first of two arguments, bytes: copy from the second's address to the first's
LOAD = 4  # word, index of an argument, bytes (1, 4 or 8): bases[word] = the integer at the argument's address
BRANCH = 5  # word, number, row: go on at that row if bases[word] < number
FORK = 6  # n: the n rows that follow are lanes, whose rows threads run at the same time
LANE = 7  # row, row: the lane is the rows from the first to the second
STEERING = 8  # the first number that is none of them

# Words of a team; what different threads write lies in different cache lines of eight words.
BUSY = 0
TICKET, KERNEL, ARGUMENTS, TILES, PARTS, THREADS = 8, 9, 10, 11, 12, 13
DONE, STATUS = 16, 17
STOP, ACQUIRE, RELEASE, YIELD, CLAIMS = 24, 25, 26, 27, 28  # set from Python: a flag, functions, where claims begin
HELPERS, HELPER_WORDS = 32, 8  # per helper:
ASLEEP, LOCK, PRESENT = 0, 1, 2  # whether it sleeps, the lock that it sleeps on, whether a thread is there
MAX_PARTS = 4096  # claims of a team

# of `run` and `lane` in launch.py, which are those of a frame; ROW is the row at which the lanes that run begin
PARAMETERS, ROW = 10, 9

SPINS = 1 << 14  # turns that a helper waits for the next launch before it sleeps: some 0.5 ms
PATIENCE = 64  # turns of waiting after which a thread offers its core to others

_Kernel = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


class Frame:
    """A list of launches with its arguments, bound to a driver and ready to run.

    Attributes:
        launches: int64 [n, 5], a row per launch: address of the kernel, index of its first argument, tiles (none: it
            is passed over), most parts, number of arguments. The tiles are split into min(parts, tiles) contiguous
            ranges, whatever threads run them: with n parts of m tiles, part p is the tiles p * m // n to
            (p + 1) * m // n. Rows that begin with `SET`, `SWAP`, `COPY`, `LOAD` or `BRANCH` instead of an address make
            loops and branches of the launches between them. Behind a `FORK` and its `LANE`s the rows of the lanes
            follow, one lane after the other: that is how one thread runs them. Lanes have words and arguments of
            their own.
        arguments: int64 [m, 2], a row per argument, those of a launch in sequence: base and offset. The kernel gets
            bases[base] + offset.
        bases: int64 [b], addresses of buffers, read at each launch, and words that steer loops. bases[0] is 0, so base
            0 makes a number of an offset.
        address: of the native form of the frame.

    A frame serves one run at a time; threads that run the same launches at once have a frame each.
    """

    __slots__ = ("_failure", "_resolved", "_words", "address", "arguments", "bases", "launches")

    def __init__(self, launches: Int64s, arguments: Int64s, bases: Int64s, team: int, threads: int, lane: int) -> None:
        _check(launches, arguments, bases)
        self.launches, self.arguments, self.bases = launches, arguments, bases
        self._resolved = np.zeros(len(arguments) + 1, np.int64)
        self._failure = np.zeros(1, np.int64)
        self._words = np.zeros(PARAMETERS, np.int64)
        self.address: int = self._words.ctypes.data
        self._words[:] = (
            launches.ctypes.data,
            arguments.ctypes.data,
            bases.ctypes.data,
            self._resolved.ctypes.data,
            team,
            threads,
            self._failure.ctypes.data,
            lane,
            self.address,
            0,
        )

    @property
    def failure(self) -> int:
        """The status of the launch that failed in the last run that did."""
        return int(self._failure[0])


class Driver:
    """The native launch loop and its threads. One serves a process: any number of threads may run frames at once.

    A launch of several parts is shared by as many threads as the driver has. While one Python thread has their help,
    others run their launches without. Results do not depend on it: how a launch is split is fixed by its frame.

    A forked child gets threads of its own when it first runs a frame.

    Args:
        target: the machine; `target.threads` is the number of threads, that of the caller included. With one, none is
            ever started.
        cache: where the machine code of the loop is kept.
        loader: what links it into the process.
    """

    def __init__(self, target: CpuTarget, cache: KernelCache, loader: Loader) -> None:
        run, lane, helper = load_kernels(launch_loop(), target, cache, loader)
        self._run, self._lane = _Kernel(run), lane
        self._team = _Team(_Kernel(helper), target.threads)

    @property
    def threads(self) -> int:
        return self._team.threads

    def frame(self, launches: Int64s, arguments: Int64s, bases: Int64s) -> Frame:
        """A frame of these tables, which it keeps and does not copy.

        Raises:
            BackendError: a table has a wrong shape or dtype, or an entry that lies outside another table.
        """
        return Frame(launches, arguments, bases, self._team.address, self._team.threads, self._lane)

    def run(self, frame: Frame, first: int = 0, last: int | None = None) -> int:
        """Run the launches first..last (all by default) of a frame, in order, without the GIL.

        Returns:
            0, or one more than the number of the launch whose kernel returned a status other than 0, which is then
            `frame.failure`: the greatest among its parts. Launches after it have not run.
        """
        if self._team.dormant:
            self._team.start()
        return self._run(frame.address, first, len(frame.launches) if last is None else last, 0)  # type: ignore[no-any-return]


def launch_loop() -> list[tuple[str, str]]:
    """The native half, as kernels `(source, name)`: the launch loop, that of lanes, and where its helpers live."""
    source = Path(__file__).with_name("launch.py").read_text(encoding="utf-8")
    return [(source, "run"), (source, "lane"), (source, "helper")]


class _Team:
    """The words that a driver's threads meet in, and those threads."""

    def __init__(self, helper: ctypes._FuncPointer, threads: int) -> None:
        self.threads = threads
        self._helper = helper
        claims = HELPERS + HELPER_WORDS * (threads - 1)
        memory = np.zeros(claims + MAX_PARTS + 8, np.int64)
        start = -memory.ctypes.data % 64 // 8
        self._words = memory[start : start + claims + MAX_PARTS]
        self.address: int = self._words.ctypes.data
        self._words[CLAIMS] = claims
        self._words[[ACQUIRE, RELEASE, YIELD]] = [_address(f) for f in _system_functions()]
        self._lock = Lock()
        self._members: list[threading.Thread] = []
        self._arguments: list[Int64s] = []
        self.dormant = threads > 1
        if threads > 1:
            _teams.add(self)
            weakref.finalize(self, _stop, self._words, self._members)  # at the latest when the interpreter exits

    def start(self) -> None:
        """Start the helpers, unless they are there.

        Where this is interrupted (Ctrl-C), it is done again: a second thread for a helper that is there ends at once.
        """
        with self._lock:
            if not self.dormant:
                return
            for member in range(1, self.threads):
                own = HELPERS + HELPER_WORDS * (member - 1)
                if not self._words[own + LOCK]:
                    self._words[own + LOCK] = _new_lock()
                arguments = np.array([self.address, member], np.int64)
                self._arguments.append(arguments)
                thread = threading.Thread(
                    target=self._helper, args=(arguments.ctypes.data, 0, 0, 0), name=f"tgc-{member}", daemon=True
                )
                self._members.append(thread)
                thread.start()
            self.dormant = False

    def forget(self) -> None:
        """In a forked child: the threads were not forked, and the words are as they were at some moment."""
        self._members.clear()
        self._arguments.clear()
        self._words[[BUSY, DONE, STATUS]] = 0
        self._words[HELPERS:] = 0  # nor is a claim open: what is left of a launch is the parent's to run
        self.dormant = True


_teams: weakref.WeakSet[_Team] = weakref.WeakSet()


def _after_fork() -> None:
    for team in _teams:
        team.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _stop(words: Int64s, members: list[threading.Thread]) -> None:
    words[STOP] = 1
    for lock in words[HELPERS + LOCK : words[CLAIMS] : HELPER_WORDS].tolist():
        if lock:
            ctypes.pythonapi.PyThread_release_lock(ctypes.c_void_p(lock))
    for thread in members:
        if thread.ident is not None:  # it was started
            thread.join()


def _new_lock() -> int:
    """A lock of the interpreter's, held. Unlike those of `threading` it can be used without the GIL."""
    allocate, acquire = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_acquire_lock
    allocate.restype = ctypes.c_void_p
    lock: int | None = allocate()
    if lock is None:
        raise BackendError("the system has no lock left for a helper thread")
    acquire(ctypes.c_void_p(lock), 0)
    return lock


def _system_functions() -> tuple[ctypes._FuncPointer, ...]:
    api = ctypes.pythonapi
    if sys.platform == "win32":
        return api.PyThread_acquire_lock, api.PyThread_release_lock, ctypes.windll.kernel32.SwitchToThread
    return api.PyThread_acquire_lock, api.PyThread_release_lock, ctypes.CDLL(None).sched_yield


def _address(function: ctypes._FuncPointer) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _check(launches: Int64s, arguments: Int64s, bases: Int64s) -> None:
    tables = {"launches": (launches, (LAUNCH_WORDS,)), "arguments": (arguments, (2,)), "bases": (bases, ())}
    for name, (table, row) in tables.items():
        if table.dtype != np.int64 or table.ndim != 1 + len(row) or table.shape[1:] != row:
            raise BackendError(f"{name} must be int64 with rows of shape {row}, not {table.dtype} {table.shape}")
        if not table.flags.c_contiguous:
            raise BackendError(f"{name} must be contiguous")
    every = np.arange(len(launches))
    last, most = len(bases) - 1, len(arguments)
    steering = (launches[:, 0] > 0) & (launches[:, 0] < STEERING)
    limits: list[tuple[str, Int64s, Int64s, int, int | None]] = [
        ("an address of a kernel", every, launches[:, 0], 1, None),
        ("a base", np.arange(most), arguments[:, 0], 0, last),
        ("bases[0]", every[:1], bases[:1], 0, 0),
    ]
    for what, column, low, high in (
        ("an index of a first argument", 1, 0, most), ("a number of tiles", 2, 0, None),
        ("a number of parts", 3, 1, MAX_PARTS), ("a number of arguments", 4, 0, None),
    ):  # fmt: skip
        limits.append((what, every[~steering], launches[~steering, column], low, high))
    limits.append(("an end of arguments", every[~steering], launches[~steering, 1] + launches[~steering, 4], 0, most))
    for code, operands in _OPERANDS.items():
        rows = every[launches[:, 0] == code]
        for column, (what, low) in enumerate(operands, 1):
            high = {"a word": last, "a base": last, "a row": len(launches), "an argument": most - 1}.get(what)
            high = most - 2 if what == "an index of two arguments" else 8 if what == "a size" else high
            limits.append((what, rows, launches[rows, column], low, high))
    for name, at, values, low, high in limits:
        outside = (values < low) | ((values > high) if high is not None else False)
        if outside.any():
            first = int(outside.argmax())
            raise BackendError(
                f"{name} is {values[first]}, in row {at[first]}: it must be at least {low} and at most {high}"
            )


_ANY = -(2**63)
_OPERANDS = {
    SET: (("a word", 1), ("a base", 0), ("a number", _ANY)),
    SWAP: (("a word", 1), ("a word", 1)),
    COPY: (("an index of two arguments", 0), ("a number of bytes", 0)),
    LOAD: (("a word", 1), ("an argument", 0), ("a size", 1)),
    BRANCH: (("a word", 0), ("a number", _ANY), ("a row", 0)),
    FORK: (("a number of lanes", 1),),
    LANE: (("a row", 0), ("a row", 0)),
}  # what the words of a row are, and the least that each may be
