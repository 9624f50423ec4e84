"""What runs a plan: the arrays of each call, and the errors of its launches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgc.backends.cpu.driver import STEERING, Driver, Frame
from tgc.backends.cpu.plan import ARENA, Plan, laid_out
from tgc.errors import BackendError, OutOfMemoryError, OutOfRangeError
from tgc.runtime.address import address_of
from tgc.runtime.available import available_bytes
from tgc.types import ALIGNMENT

if TYPE_CHECKING:
    from tgc.backends.cpu.callback import Callback
    from tgc.backends.cpu.present import Present

LARGE = 1 << 28  # bytes from which on it is worth a look whether there is as much memory


@dataclass(slots=True)
class _Call:
    """What one call in progress owns."""

    frame: Frame
    bases: np.ndarray
    arena: np.ndarray | None


class Arenas:
    """Memory between operands and results that several programs share: as many pieces as there have been calls of them
    at once, each as large as the largest program needs that has used it.
    """

    def __init__(self) -> None:
        self._free: deque[np.ndarray] = deque()

    def take(self, size: int) -> np.ndarray:
        """A piece of at least `size` bytes."""
        try:
            arena = self._free.pop()
        except IndexError:
            return np.empty(size, np.uint8)
        if arena.nbytes >= size:
            return arena
        del arena  # before there is a larger one
        return np.empty(size, np.uint8)

    def give(self, arena: np.ndarray) -> None:
        """Give back what `take` gave."""
        self._free.append(arena)


class CpuProgram:
    """Runs a plan. Thread-safe: calls in progress at the same time have an arena each.

    Args:
        plan: what to run.
        addresses: of its kernels, and of the callbacks behind them.
        driver: what runs it.
        callbacks: by number among the kernels.
        arenas: where calls take memory from; it is the program's own if there are none.
        told: makes the plan with what errors and profiles tell, where that is not in it.
    """

    def __init__(
        self,
        plan: Plan,
        addresses: Sequence[int],
        driver: Driver,
        callbacks: Mapping[int, Callback] | None = None,
        arenas: Arenas | None = None,
        told: Callable[[], Plan] | None = None,
    ) -> None:
        self.plan, self.driver, self._arenas = plan, driver, arenas
        self.told = told or (lambda: plan)
        self._callbacks = callbacks or {}
        self._idle: deque[_Call] = deque()
        self._launches = plan.launches(addresses)
        self._present: Present | None = None
        self._first_result = 2 + plan.inputs
        # results to be moved lie behind the arena; bytes that a call needs between arguments and results
        places, self.arena = laid_out(plan.arena, {k: plan.results[k].nbytes for k in plan.moved})
        self._aside = [(self._first_result + k, begin) for k, begin in places.items()]  # their bases, and where
        self._fresh = [(k, t.shape, t.dtype) for k, t in plan.fresh]
        self._need = self.arena + sum(t.nbytes for _, t in plan.fresh)  # bytes, of the first call
        self._donations = [(k, i, plan.results[k].shape) for k, i in plan.donations.items()]

    # ------------------------------------------------------------------------------------------------------- calls

    def _call(self) -> _Call:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        plan = self.plan
        if self._need >= LARGE:
            self._check_memory(available_bytes())
        bases = np.zeros(plan.words, np.int64)
        arena = None
        if self._arenas is None:
            present, self._present = self._present, None
            arena = np.empty(self.arena, np.uint8) if present is None else present.take(self.arena)
            self._lay(bases, arena)
        for base, c in plan.constants.items():
            bases[base] = c.ctypes.data
        return _Call(self.driver.frame(self._launches, plan.arguments, bases), bases, arena)

    def expect(self, present: Present) -> None:
        """Use that memory in the first call."""
        self._present = present

    def _lay(self, bases: np.ndarray, arena: np.ndarray) -> None:
        """Set the bases of what lies in an arena, from its first byte on that is aligned."""
        begin = address_of(arena)
        bases[ARENA] = begin = begin + -begin % ALIGNMENT
        for base, at in self._aside:
            bases[base] = begin + at

    def _check_memory(self, available: int) -> None:
        """Systems grant memory that they do not have, and end the process that uses it."""
        if self._need > available:
            raise OutOfMemoryError(
                f"{self.plan.name} needs {_gib(self._need)}, and {_gib(available)} can be had; {self.told().largest}"
            )

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Results for inputs of exactly the graph's types; donated inputs are overwritten.

        Raises:
            OutOfMemoryError: there is not enough memory for what lies between the operands and the results.
            OutOfRangeError: an index computed in the graph lies outside of its axis.
            LinearAlgebraError: a matrix has no such factorization or inverse.
        """
        call, arenas, taken = self._call(), self._arenas, None
        try:
            bases = call.bases
            if arenas is not None:
                taken = arenas.take(self.arena)
                self._lay(bases, taken)
            held = []
            for base, a in enumerate(arrays, 2):
                flags = a.flags
                if not (flags.c_contiguous and flags.aligned and isinstance(a, np.ndarray)):  # NumPy's scalars are none
                    a = np.ascontiguousarray(a)
                    if not a.flags.aligned:
                        a = a.copy()
                    held.append(a)
                bases[base] = address_of(a)
            results: list[np.ndarray | None] = [None] * len(self.plan.results)
            for k, shape, dtype in self._fresh:
                results[k] = out = np.empty(shape, dtype)
                bases[self._first_result + k] = address_of(out)
            if failed := self.driver.run(call.frame):
                self._fail(failed - 1)
            for k, source, shape in self._donations:
                results[k] = arrays[source].reshape(shape)
            return results  # type: ignore[return-value]
        finally:
            if arenas is not None and taken is not None:
                arenas.give(taken)
            self._idle.append(call)

    def _fail(self, row: int) -> None:
        if callback := self._callbacks.get(int(self.plan.rows[row, 0]) - STEERING):
            callback.fail()
        told = self.told()
        fact = told.facts[told.owners[row]]
        where = f" at {', '.join(fact.loc)}" if fact.loc else ""
        if not fact.checked:
            raise BackendError(f"kernel {fact.kernel}{where} raised an exception")
        raise OutOfRangeError(f"an index is out of range in kernel {fact.kernel}({fact.operands}){where}")


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
