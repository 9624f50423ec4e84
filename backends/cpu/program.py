"""What runs a plan: the arrays of each call, and the errors of its launches."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tgc.backends.cpu.callback import Callback
from tgc.backends.cpu.driver import STEERING, Driver, Frame
from tgc.backends.cpu.flatten import ARENA
from tgc.backends.cpu.plan import Plan
from tgc.errors import BackendError, OutOfMemoryError, OutOfRangeError
from tgc.passes.arena import ALIGNMENT
from tgc.runtime.address import address_of
from tgc.runtime.available import available_bytes

LARGE = 1 << 28  # bytes from which on it is worth a look whether there is as much memory


@dataclass(slots=True)
class _Call:
    """What one call in progress owns."""

    frame: Frame
    bases: np.ndarray
    arena: np.ndarray


class CpuProgram:
    """Runs a plan. Thread-safe: calls in progress at the same time have an arena each.

    Args:
        plan: what to run.
        addresses: of its kernels, and of the callbacks behind them.
        driver: what runs it.
        callbacks: by number among the kernels.
    """

    def __init__(
        self, plan: Plan, addresses: Sequence[int], driver: Driver, callbacks: Mapping[int, Callback] | None = None
    ) -> None:
        self.plan, self.driver = plan, driver
        self._callbacks = callbacks or {}
        self._idle: deque[_Call] = deque()
        self._launches = plan.launches(addresses)
        self._first_result = 2 + plan.inputs
        self._fresh = [(k, t.shape, t.dtype) for k, t in plan.fresh]
        self._need = plan.arena + sum(t.nbytes for _, t in plan.fresh)  # bytes, of the first call
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
        arena = np.empty(plan.arena + ALIGNMENT, np.uint8)
        bases = np.zeros(plan.words, np.int64)
        bases[ARENA] = arena.ctypes.data + (-arena.ctypes.data) % ALIGNMENT
        for base, c in plan.constants.items():
            bases[base] = c.ctypes.data
        return _Call(self.driver.frame(self._launches, plan.arguments, bases), bases, arena)

    def _check_memory(self, available: int) -> None:
        """Systems grant memory that they do not have, and end the process that uses it."""
        if self._need > available:
            raise OutOfMemoryError(
                f"{self.plan.name} needs {_gib(self._need)}, and {_gib(available)} can be had; {self.plan.largest}"
            )

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Results for inputs of exactly the graph's types; donated inputs are overwritten.

        Raises:
            OutOfMemoryError: there is not enough memory for what lies between the operands and the results.
            OutOfRangeError: an index computed in the graph lies outside of its axis.
            LinearAlgebraError: a matrix has no such factorization or inverse.
        """
        call = self._call()
        try:
            bases = call.bases
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
            self._idle.append(call)

    def _fail(self, row: int) -> None:
        if callback := self._callbacks.get(int(self.plan.rows[row, 0]) - STEERING):
            callback.fail()
        fact = self.plan.facts[self.plan.owners[row]]
        where = f" at {', '.join(fact.loc)}" if fact.loc else ""
        if not fact.checked:
            raise BackendError(f"kernel {fact.kernel}{where} raised an exception")
        raise OutOfRangeError(f"an index is out of range in kernel {fact.kernel}({fact.operands}){where}")


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
