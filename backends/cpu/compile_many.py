"""Many kernels at once, in forks of this process; few, or where there are no forks, in the process itself."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

from tgc.backends.cpu.target import CpuTarget
from tgc.backends.cpu.workers import KERNELS_PER_PROCESS, Workers
from tgc.errors import BackendError

UNSEEN = 2.0  # seconds that a compilation lasts before the terminal tells of it


def compile_kernels(
    kernels: Iterable[tuple[str, str]], target: CpuTarget, workers: Workers | None = None
) -> list[bytes]:
    """The object code of all `(source, name)`, compiled as they come.

    On Linux up to `target.threads` forks of this process share the work. TGC_COMPILE_PROCESSES sets another number.
    What a fork does not deliver, for whatever reason, is compiled here.

    Args:
        workers: that have been started before; they are at an end afterwards.

    Raises:
        BackendError: a kernel does not compile, or TGC_COMPILE_PROCESSES is no positive integer.
    """
    all_kernels: list[tuple[str, str]] = []
    done: dict[tuple[str, str], bytes] = {}
    progress = _Progress()
    try:
        count = processes(target)
        for kernel in kernels:
            all_kernels.append(kernel)
            if workers is None and count > 1 and len(all_kernels) == 2 * KERNELS_PER_PROCESS:
                with suppress(OSError):  # no more processes, or no memory for one
                    workers = Workers(target, count)
                    for earlier in all_kernels[:-1]:
                        workers.give(*earlier)
            if workers is not None:
                workers.give(*kernel)
        if workers is not None:
            gc.collect(0)  # what lowering has left, while there is nothing else to do here
            for taken in workers.finish():
                progress.at(taken, len(all_kernels))
            done = workers.codes()
        for k, kernel in enumerate(all_kernels):
            if kernel not in done:
                progress.at(k, len(all_kernels))
                done[kernel] = _compiled_here(*kernel, target)
    finally:
        progress.end()
        if workers is not None:
            workers.close()
    return [done[kernel] for kernel in all_kernels]


def processes(target: CpuTarget) -> int:
    """How many processes compile at once.

    Raises:
        BackendError: TGC_COMPILE_PROCESSES is no positive integer.
    """
    text = os.environ.get("TGC_COMPILE_PROCESSES")
    if text is None:
        return target.threads if sys.platform == "linux" else 1
    if not text.isdecimal() or int(text) < 1:
        raise BackendError(f"TGC_COMPILE_PROCESSES must be a positive integer, not {text!r}")
    return int(text) if sys.platform == "linux" else 1


def _compiled_here(source: str, name: str, target: CpuTarget) -> bytes:
    from tgc.backends.cpu.compile import compile_kernel  # imports Numba

    return compile_kernel(source, name, target).code


class _Progress:
    """A line on the terminal about a compilation that lasts, gone when it ends."""

    def __init__(self) -> None:
        self._shown, self._due = False, time.monotonic() + UNSEEN

    def at(self, k: int, count: int) -> None:
        """Number `k` of `count` kernels is next."""
        if time.monotonic() >= self._due and sys.stderr.isatty():
            self._shown = True
            sys.stderr.write(f"\rtgc: compiling kernel {min(k + 1, count)} of {count} ")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
