"""Many kernels at once: a process compiles them no faster on more cores, since Numba holds the GIL; its forks do."""

from __future__ import annotations

import gc
import os
import signal
import struct
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress

from tgc.backends.cpu.compile import KernelObject, compile_kernel
from tgc.backends.cpu.loader import kernel_symbol
from tgc.backends.cpu.target import CpuTarget
from tgc.errors import BackendError

KERNELS_PER_PROCESS = 3  # at least: a fork costs about as much as compiling one of them
UNSEEN = 2.0  # seconds that a compilation lasts before the terminal tells of it
PATIENCE = 30.0  # seconds that forks may take for their next kernel; then the rest is compiled here
TURN = 0.002  # seconds between looks at how far they are

_NUMBER = struct.Struct("<q")
_RESULT = struct.Struct("<qq")  # number of the kernel, bytes of its object code, which follow


def compile_kernels(kernels: Sequence[tuple[str, str]], target: CpuTarget) -> list[KernelObject]:
    """Compile all `(source, name)`.

    On Linux up to `target.threads` forks of this process share the work, and end with it: what compilers leave behind
    goes with them. TGC_COMPILE_PROCESSES sets another number. What a fork does not deliver, for whatever reason, is
    compiled here.

    Raises:
        BackendError: a kernel does not compile, or TGC_COMPILE_PROCESSES is no positive integer.
    """
    processes = min(_processes(target), len(kernels) // KERNELS_PER_PROCESS)
    done: dict[int, KernelObject] = {}
    with _Progress(len(kernels)) as progress:
        if processes > 1:
            *others, least = sorted(range(len(kernels)), key=lambda k: _weight(kernels[k][0]), reverse=True)
            # what Numba sets up for its first function, the forks inherit
            done[least] = compile_kernel(*kernels[least], target)
            codes = _share(others, kernels, target, processes, progress)
            done |= {k: KernelObject(kernel_symbol(*kernels[k], target), code) for k, code in codes.items()}
        for k, kernel in enumerate(kernels):
            if k not in done:
                progress.at(k)
                done[k] = compile_kernel(*kernel, target)
    return [done[k] for k in range(len(kernels))]


def _weight(source: str) -> tuple[bool, int]:
    """The heaviest kernels come first, so that forks end together. Micro-kernels are long, whatever their text."""
    return "def " not in source, len(source)


class _Progress:
    """A line on the terminal about a compilation that lasts, gone when it ends."""

    def __init__(self, count: int) -> None:
        self._count, self._shown = count, False
        self._due = time.monotonic() + UNSEEN

    def __enter__(self) -> _Progress:
        return self

    def at(self, k: int) -> None:
        """Number `k` of the kernels is next."""
        if time.monotonic() >= self._due and sys.stderr.isatty():
            self._shown = True
            sys.stderr.write(f"\rtgc: compiling kernel {k + 1} of {self._count} ")
            sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def _processes(target: CpuTarget) -> int:
    text = os.environ.get("TGC_COMPILE_PROCESSES")
    if text is None:
        return target.threads if sys.platform == "linux" else 1
    if not text.isdecimal() or int(text) < 1:
        raise BackendError(f"TGC_COMPILE_PROCESSES must be a positive integer, not {text!r}")
    return int(text) if hasattr(os, "fork") else 1


def _share(
    numbers: Sequence[int],
    kernels: Sequence[tuple[str, str]],
    target: CpuTarget,
    processes: int,
    progress: _Progress,
) -> dict[int, bytes]:
    """Object code by number of the kernel, from forks of this process; not of those that failed."""
    jobs, write_end = os.pipe()
    forks: list[tuple[int, int]] = []
    try:
        # The processes take numbers from one pipe until it is empty. A pipe holds at least 64 KiB.
        os.write(write_end, b"".join(_NUMBER.pack(k) for k in numbers[: (1 << 16) // _NUMBER.size]))
        os.close(write_end)
        forks = _fork_workers(jobs, kernels, target, processes)
        _wait(jobs, [process for process, _ in forks], len(kernels), progress)
        found: dict[int, bytes] = {}
        for _, results in forks:
            found |= _read(results)
        return found
    finally:
        os.close(jobs)
        for process, results in forks:
            os.close(results)
            _end(process)


def _fork_workers(
    jobs: int, kernels: Sequence[tuple[str, str]], target: CpuTarget, count: int
) -> list[tuple[int, int]]:
    """Forks that compile what they read from the pipe `jobs`: process number, and the file with its results."""
    forks = []
    often = gc.get_threshold()
    gc.set_threshold(0)  # in the forks: a collection would touch, and so copy, all objects of this process
    try:
        for _ in range(count):
            results = os.memfd_create("tgc-kernels")
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forks of threaded processes
                    process = os.fork()
            except OSError:  # no more processes, or no memory for one
                os.close(results)
                break
            if process == 0:
                _work(jobs, results, kernels, target)
            forks.append((process, results))
    finally:
        gc.set_threshold(*often)
    return forks


def _work(jobs: int, results: int, kernels: Sequence[tuple[str, str]], target: CpuTarget) -> None:
    """In a fork: compile kernels until none is left, and end. The parent deals with those that do not compile."""
    status = 1
    try:
        while record := os.read(jobs, _NUMBER.size):
            k: int = _NUMBER.unpack(record)[0]
            with suppress(BackendError):
                code = compile_kernel(*kernels[k], target).code
                os.write(results, _RESULT.pack(k, len(code)) + code)
        status = 0
    finally:
        os._exit(status)


def _wait(jobs: int, processes: Sequence[int], count: int, progress: _Progress) -> None:
    """Wait for forks to end, unless they take no next job for too long."""
    import fcntl  # here, for no other systems have them
    import termios

    running, waiting, taken = set(processes), bytearray(4), -1
    while running:
        fcntl.ioctl(jobs, termios.FIONREAD, waiting)
        k = count - int.from_bytes(waiting, sys.byteorder) // _NUMBER.size - 1  # the last that was taken
        if k != taken:
            taken, deadline = k, time.monotonic() + PATIENCE
        if time.monotonic() > deadline:
            return
        progress.at(k)
        time.sleep(TURN)
        running = {process for process in running if not _ended(process, os.WNOHANG)}


def _ended(process: int, options: int = 0) -> bool:
    """Whether a fork has ended, or another handler of SIGCHLD has collected its status."""
    try:
        return os.waitpid(process, options) != (0, 0)
    except ChildProcessError:
        return True


def _end(process: int) -> None:
    """End a fork that runs."""
    if not _ended(process, os.WNOHANG):
        os.kill(process, signal.SIGKILL)
        _ended(process)


def _read(results: int) -> dict[int, bytes]:
    """The whole results in a file; a fork that was killed may have left a part of one."""
    os.lseek(results, 0, os.SEEK_SET)
    with os.fdopen(os.dup(results), "rb") as file:
        data = file.read()
    found, at = {}, 0
    while at + _RESULT.size <= len(data):
        k, size = _RESULT.unpack_from(data, at)
        code = data[at + _RESULT.size : at + _RESULT.size + size]
        if len(code) == size:
            found[k] = code
        at += _RESULT.size + size
    return found
