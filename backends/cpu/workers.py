"""Forks of this process that compile kernels while it goes on, on cores that it leaves idle.

Numba holds the GIL, so that threads would compile no faster; and it takes a while to get ready. A first fork, made
before there is anything to compile, does that beside the passes, and is forked in turn for others. What compilers leave
behind goes with them.

Kernels travel as numbers: their text is in a file in memory that all share, and so are the results, a file for each.
"""

from __future__ import annotations

import gc
import heapq
import os
import select
import signal
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from llvmlite.binding import ffi

from tgc.backends.cpu.target import CpuTarget
from tgc.errors import BackendError

KERNELS_PER_PROCESS = 3  # at least: a fork costs about as much as compiling one of them
PATIENCE = 30.0  # seconds that workers may take for their next kernel, and wait for one; then they are given up
TURN = 0.002  # seconds between looks at how far they are
AHEAD = 2  # kernels for each worker that are told to all; the heaviest of the others comes next

_JOB = struct.Struct("<qqq")  # number of the kernel, where its text begins, and its length; or one of:
_FORK, _STOP = -1, -2  # fork worker number so and so; stop
_RESULT = struct.Struct("<qq")  # number of the kernel, bytes of its object code, which follow


class Workers:
    """Up to `count` processes that compile for `target`; the first begins at once to get ready.

    Raises:
        OSError: there can be no more processes or files.
    """

    def __init__(self, target: CpuTarget, count: int) -> None:
        self._count, self._forked, self._told = count, 1, 0
        self._given: dict[tuple[str, str], int] = {}  # number of each kernel
        self._waiting: list[tuple[tuple[bool, int], tuple[int, int, int]]] = []  # a heap of jobs
        self._files = _Files.open(count)
        try:
            self.process = _fork()
        except OSError:
            self._files.close()
            raise
        if self.process == 0:
            _begin(self._files, target)
        with suppress(OSError):  # it has ended, or done so itself: whoever is first
            os.setpgid(self.process, self.process)

    def give(self, source: str, name: str) -> None:
        """Have a kernel compiled, once."""
        if (source, name) in self._given:
            return
        number = self._given[source, name] = len(self._given)
        text = f"{name}\n{source}".encode()
        at = os.lseek(self._files.texts, 0, os.SEEK_END)
        os.write(self._files.texts, text)
        heapq.heappush(self._waiting, (_weight(source), (number, at, len(text))))
        if len(self._given) >= KERNELS_PER_PROCESS * (self._forked + 1) and self._forked < self._count:
            self._tell(_FORK, self._forked)
            self._forked += 1
        self._feed()

    def finish(self) -> Iterator[int]:
        """Wait for all that was given, and say now and then how many have been taken."""
        deadline, taken = time.monotonic() + PATIENCE, -1
        stopped = False
        while not self._ended():
            self._feed()
            if not self._waiting and not stopped:
                stopped = True
                for _ in range(self._forked):
                    self._tell(_STOP)
            if (now := self._told - self._untaken()) != taken:
                taken, deadline = now, time.monotonic() + PATIENCE
                yield max(taken, 0)
            if time.monotonic() > deadline:
                return
            time.sleep(TURN)

    def codes(self) -> dict[tuple[str, str], bytes]:
        """Object code of kernels; not of those that did not compile, or whose worker came to an end."""
        found: dict[int, bytes] = {}
        for file in self._files.results:
            found |= _read(file)
        return {kernel: found[k] for kernel, k in self._given.items() if k in found}

    def close(self) -> None:
        """End what still runs."""
        with suppress(ChildProcessError, ProcessLookupError):
            os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # still ours, dead or alive
            os.killpg(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        self._files.close()

    def _ended(self) -> bool:
        """Whether the first worker has, and so all; or another handler of SIGCHLD has collected its status."""
        try:
            return os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _feed(self) -> None:
        while self._waiting and self._untaken() < AHEAD * self._forked:
            os.write(self._files.jobs_in, _JOB.pack(*heapq.heappop(self._waiting)[1]))
            self._told += 1

    def _tell(self, what: int, number: int = 0) -> None:
        os.write(self._files.jobs_in, _JOB.pack(what, number, 0))

    def _untaken(self) -> int:
        """Jobs that wait in the pipe."""
        import fcntl  # here, for no other systems have them
        import termios

        waiting = bytearray(4)
        fcntl.ioctl(self._files.jobs, termios.FIONREAD, waiting)
        return int.from_bytes(waiting, sys.byteorder) // _JOB.size


def _weight(source: str) -> tuple[bool, int]:
    """The heaviest kernels come first, so that workers end together. Micro-kernels are long, whatever their text."""
    return "def " in source, -len(source)


@dataclass(frozen=True, slots=True)
class _Files:
    """What a process and its workers share: a pipe of jobs, the texts of kernels, a file of results for each worker."""

    jobs: int
    jobs_in: int
    texts: int
    results: tuple[int, ...]

    @staticmethod
    def open(count: int) -> _Files:
        made: list[int] = []
        try:
            made += os.pipe()
            for _ in range(1 + count):
                made.append(os.memfd_create("tgc-kernels"))
        except OSError:
            for file in made:
                os.close(file)
            raise
        return _Files(made[0], made[1], made[2], tuple(made[3:]))

    def close(self) -> None:
        for file in (self.jobs, self.jobs_in, self.texts, *self.results):
            os.close(file)


def _read(file: int) -> dict[int, bytes]:
    """The whole results in a file; a worker that was killed may have left a part of one."""
    data = os.pread(file, os.fstat(file).st_size, 0)
    found, at = {}, 0
    while at + _RESULT.size <= len(data):
        k, size = _RESULT.unpack_from(data, at)
        code = data[at + _RESULT.size : at + _RESULT.size + size]
        if len(code) == size:
            found[k] = code
        at += _RESULT.size + size
    return found


# --- in a worker -----------------------------------------------------------------------------------------------------


def _enter_compilers() -> None:
    numba = sys.modules.get("numba.core.compiler_lock")  # nothing imports it here
    if (lock := getattr(numba, "global_compiler_lock", None)) is not None:
        lock.acquire()
        _held.append(lock)
    ffi.lib._lock.__enter__()


def _leave_compilers() -> None:
    ffi.lib._lock.__exit__()
    while _held:
        _held.pop().release()


# A fork waits until no other thread is inside of Numba or LLVM, whose state and locks the child gets a copy of.
_held: list[Any] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_enter_compilers, after_in_parent=_leave_compilers, after_in_child=_leave_compilers)


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forks of threaded processes
        return os.fork()


def _begin(files: _Files, target: CpuTarget) -> NoReturn:
    """In the first worker: get ready, work, and end when all that it has forked have."""
    gc.disable()  # a collection would touch, and so copy, all objects of the process that was forked
    status, forks = 1, list[int]()
    try:
        os.setpgid(0, 0)  # apart from what interrupts the process; it ends its workers itself
        os.close(files.jobs_in)
        from tgc.backends.cpu.compile import compile_kernel

        compile_kernel("def kernel(x: f32[:], lo, hi, part):\n    x[lo] = x[hi]", "kernel", target)
        _work(files, 0, target, forks)
        for process in forks:
            os.waitpid(process, 0)
        status = 0
    finally:
        os._exit(status)


def _work(files: _Files, number: int, target: CpuTarget, forks: list[int]) -> None:
    """Compile what comes until told to stop. The parent deals with kernels that do not compile."""
    from tgc.backends.cpu.compile import compile_kernel

    while select.select([files.jobs], [], [], PATIENCE)[0] and (record := os.read(files.jobs, _JOB.size)):
        k, at, size = _JOB.unpack(record)
        if k == _STOP:
            return
        if k == _FORK:
            with suppress(OSError):  # no more processes: there will be fewer
                if (process := _fork()) == 0:
                    number = at
                    forks.clear()
                else:
                    forks.append(process)
            continue
        name, _, source = os.pread(files.texts, size, at).decode().partition("\n")
        with suppress(BackendError):
            code = compile_kernel(source, name, target).code
            os.write(files.results[number], _RESULT.pack(k, len(code)) + code)
