"""A compiled graph: tables for the native launch loop, and the arrays of each call."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tgc.backends.cpu.callback import Callback
from tgc.backends.cpu.driver import Driver, Frame
from tgc.backends.cpu.flatten import ARENA, Flattener, Launched
from tgc.errors import BackendError, OutOfMemoryError, OutOfRangeError
from tgc.ir import Graph, Node, Value
from tgc.passes.arena import ALIGNMENT
from tgc.passes.memory import arena_bytes, match_donations, root
from tgc.runtime.address import address_of, aligned
from tgc.runtime.available import available_bytes
from tgc.types import TensorType

LARGE = 1 << 28  # bytes from which on it is worth a look whether there is as much memory


def to_storage(array: np.ndarray, type: TensorType) -> np.ndarray:
    """The array as it lies in memory under the type's layout."""
    if type.layout is None:
        return np.ascontiguousarray(array)
    order, tiles = type.layout.order, dict(type.layout.tiles)
    padded = np.pad(array, [(0, -n % tiles.get(a, 1)) for a, n in enumerate(array.shape)])
    split: list[int] = []
    outer: dict[int, int] = {}
    inner: dict[int, int] = {}
    for a, n in enumerate(padded.shape):
        outer[a] = len(split)
        split.append(n // tiles.get(a, 1))
        if a in tiles:
            inner[a] = len(split)
            split.append(tiles[a])
    axes = [outer[a] for a in order] + [inner[a] for a, _ in type.layout.tiles]
    return np.ascontiguousarray(padded.reshape(split).transpose(axes))


@dataclass(slots=True)
class _Call:
    """What one call in progress owns."""

    frame: Frame
    bases: np.ndarray
    arena: np.ndarray


class CpuProgram:
    """Runs a planned graph. Thread-safe: calls in progress at the same time have an arena each."""

    def __init__(
        self, graph: Graph, donated: Sequence[int], kernels: Mapping[Node, Sequence[Launched]], driver: Driver
    ) -> None:
        self.donated, self.driver = tuple(donated), driver
        self._idle: deque[_Call] = deque()
        self._arena = arena_bytes(graph)
        # bases: zero, the arena, inputs, results; then constants, and the words that steer loops
        inputs = [(2 + i, 0) for i in range(len(graph.inputs))]
        self._first_result = 2 + len(inputs)
        results = [(self._first_result + k, 0) for k in range(len(graph.outputs))]
        pairs = match_donations(graph, self.donated)
        self._written = {
            k: i for k, i in pairs.items() if _made_at(graph.outputs[k]) == f"in:{i}"
        }  # in the donated input's memory
        types = [v.type for v in graph.outputs]
        self._fresh = [(k, t.shape, t.dtype) for k, t in enumerate(types) if k not in self._written]  # in new arrays
        self._need = self._arena + sum(types[k].nbytes for k, _, _ in self._fresh)  # bytes, of the first call
        # results that could not be computed in place are moved to the donated array when all is done
        moved = {k: i for k, i in pairs.items() if k not in self._written}
        self._donations = [(k, i, types[k].shape) for k, i in pairs.items()]
        flat = Flattener(kernels, self._first_result + len(results), driver.threads)
        flat.graph(
            graph, inputs, [inputs[self._written[k]] if k in self._written else r for k, r in enumerate(results)]
        )
        for k, i in moved.items():
            flat.copy(results[k], inputs[i], graph.outputs[k].type)
        self._owners, self._words = flat.owners, flat.words
        self._constants = {
            base: aligned(to_storage(_data(c.digest, c.data), c.value.type), ALIGNMENT)
            for base, c in flat.constants.values()
        }
        self._launches, self._arguments = flat.tables()
        # the arrays that constants were made from take as much memory again
        self.graph = replace(graph, constants=tuple(replace(c, data=None) for c in graph.constants))

    # ------------------------------------------------------------------------------------------------------- calls

    def _call(self) -> _Call:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        if self._need >= LARGE:
            self._check_memory(available_bytes())
        arena = np.empty(self._arena + ALIGNMENT, np.uint8)
        bases = np.zeros(self._words, np.int64)
        bases[ARENA] = arena.ctypes.data + (-arena.ctypes.data) % ALIGNMENT
        for base, c in self._constants.items():
            bases[base] = c.ctypes.data
        return _Call(self.driver.frame(self._launches, self._arguments, bases), bases, arena)

    def _check_memory(self, available: int) -> None:
        """Systems grant memory that they do not have, and end the process that uses it."""
        if self._need <= available:
            return
        made = (v for node in self.graph.nodes for v in node.results)
        largest = max((*made, *self.graph.outputs), key=lambda v: v.type.nbytes)  # results may be copies of operands
        where = f" at {', '.join(largest.node.loc)}" if largest.node is not None and largest.node.loc else ""
        raise OutOfMemoryError(
            f"{self.graph.name} needs {_gib(self._need)}, and {_gib(available)} can be had; the largest value is "
            f"{largest.type}, {_gib(largest.type.nbytes)}{where}"
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
            results: list[np.ndarray | None] = [None] * len(self.graph.outputs)
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
        owner = self._owners[row]
        assert owner is not None, "only launches fail"
        node, kernel = owner
        if isinstance(kernel, Callback):
            kernel.fail()
        where = f" at {', '.join(node.loc)}" if node.loc else ""
        if not kernel.checked:
            raise BackendError(f"kernel {kernel.name}{where} raised an exception")
        sizes = ", ".join(str(v.type) for v in node.operands)
        raise OutOfRangeError(f"an index is out of range in kernel {kernel.name}({sizes}){where}")


def _made_at(result: Value) -> str:
    """The place at which a result of the graph is computed."""
    v = root(result)
    return str(v.node.attrs["places"][v.index]) if v.node is not None else ""


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def _data(digest: str, data: np.ndarray | None) -> np.ndarray:
    if data is None:
        raise BackendError(f"constant {digest} has no data; parse the text with its constants")
    return data
