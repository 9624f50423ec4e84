"""A compiled graph: tables for the native launch loop, and the arrays of each call."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tgc.backends.cpu.driver import LAUNCH_WORDS, Driver, Frame
from tgc.backends.loops.ir import Const, Kernel
from tgc.errors import BackendError, OutOfRangeError
from tgc.ir import Graph, Node, Value
from tgc.ops.movement import reshape
from tgc.passes.memory import ALIGNMENT, arena_bytes, match_donations
from tgc.types import TensorType

GRAIN = 1 << 14  # work (elementary operations) below which a launch is not shared by threads
PARTS = 4  # parts of a shared launch per thread, so that a thread that is held up delays the others little


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
        self, graph: Graph, donated: Sequence[int], launches: Sequence[tuple[Node, Kernel, int]], driver: Driver
    ) -> None:
        self.graph, self.donated, self.driver = graph, tuple(donated), driver
        self._launched = launches
        self._idle: deque[_Call] = deque()
        self._arena = arena_bytes(graph)
        self._inputs = len(graph.inputs)
        self._constants = [to_storage(_data(c.digest, c.data), c.value.type) for c in graph.constants]
        # bases: zero, the arena, inputs, constants, results
        self._first_result = 2 + self._inputs + len(self._constants)
        self._place: dict[Value, tuple[int, int]] = {v: (2 + k, 0) for k, v in enumerate(graph.inputs)}
        self._place |= {c.value: (2 + self._inputs + k, 0) for k, c in enumerate(graph.constants)}
        self._written: dict[int, int] = {}  # result -> donated input that holds it
        self._fresh: list[int] = []  # results that kernels write to new arrays
        for node in graph.nodes:
            if node.op is reshape:
                self._place[node.result] = self._place[node.operands[0]]
                continue
            for r, place in zip(node.results, node.attrs["places"], strict=True):
                self._place[r] = self._parse(str(place))
        self._collect_results()
        # results that could not be computed in place are moved to the donated array when all is done
        self._moves = [(k, i) for k, i in match_donations(graph, self.donated).items() if self._written.get(k) != i]
        self._launches, self._arguments = self._tables()

    def _parse(self, place: str) -> tuple[int, int]:
        kind, _, number = place.partition(":")
        match kind:
            case "arena":
                return 1, int(number)
            case "out":
                return self._first_result + int(number), 0
            case "in":
                return 2 + int(number), 0
        raise BackendError(f"{place!r} is no place in memory")

    def _collect_results(self) -> None:
        """How each result of the graph comes about: written in place, to a fresh array, or copied at the end."""
        self._copies: list[tuple[int, int]] = []
        owner: dict[int, int] = {}
        for k, v in enumerate(self.graph.outputs):
            base, _ = self._place[v]
            if base == self._first_result + k:
                self._fresh.append(k)
            elif base in owner or base < 2 or base >= self._first_result:
                self._copies.append((k, owner.get(base, base - self._first_result)))
                continue
            elif v.node is not None and 2 <= base < 2 + self._inputs and self._made_in_place(v, base - 2):
                self._written[k] = base - 2
            else:
                self._copies.append((k, -base))
                continue
            owner[base] = k

    def _made_in_place(self, v: Value, source: int) -> bool:
        while v.node is not None and v.node.op is reshape:
            v = v.node.operands[0]
        return v.node is not None and f"in:{source}" in v.node.attrs["places"]

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        rows: list[tuple[int, ...]] = []
        arguments: list[tuple[int, int]] = []
        threads = self.driver.threads
        for node, kernel, address in self._launched:
            first = len(arguments)
            for kind, k in kernel.bindings:
                value = node.operands[k] if kind == "in" else node.results[k]
                arguments.append(self._place[value])
            arguments += [(0, value) for value in kernel.values.values()]
            arguments += [(0, _bits(c)) for c in kernel.scalars.values()]
            parts = min(kernel.tiles, PARTS * threads) if kernel.work >= GRAIN and threads > 1 else 1
            rows.append((address, first, kernel.tiles, max(parts, 1), 0))
        return np.array(rows, np.int64).reshape(-1, LAUNCH_WORDS), np.array(arguments, np.int64).reshape(-1, 2)

    # ------------------------------------------------------------------------------------------------------- calls

    def _call(self) -> _Call:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        arena = np.empty(self._arena + ALIGNMENT, np.uint8)
        bases = np.zeros(self._first_result + len(self.graph.outputs), np.int64)
        bases[1] = arena.ctypes.data + (-arena.ctypes.data) % ALIGNMENT
        for k, c in enumerate(self._constants):
            bases[2 + self._inputs + k] = c.ctypes.data
        return _Call(self.driver.frame(self._launches, self._arguments, bases), bases, arena)

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Results for inputs of exactly the graph's types; donated inputs are overwritten.

        Raises:
            OutOfRangeError: an index computed in the graph lies outside of its axis.
        """
        call = self._call()
        try:
            bases = call.bases
            held = []
            for k, a in enumerate(arrays):
                if not (a.flags.c_contiguous and a.flags.aligned):
                    a = np.ascontiguousarray(a)
                    if not a.flags.aligned:
                        a = a.copy()
                    held.append(a)
                bases[2 + k] = a.__array_interface__["data"][0]
            results: list[np.ndarray | None] = [None] * len(self.graph.outputs)
            for k in self._fresh:
                t = self.graph.outputs[k].type
                out = np.empty(t.shape, t.dtype)
                results[k] = out
                bases[self._first_result + k] = out.__array_interface__["data"][0]
            if failed := self.driver.run(call.frame):
                self._fail(failed - 1)
            for k, source in self._written.items():
                results[k] = arrays[source].reshape(self.graph.outputs[k].shape)
            for k, source in self._copies:
                results[k] = self._copy(k, source, arrays, results)
            for k, source in self._moves:
                arrays[source][...] = results[k]
                results[k] = arrays[source]
            return results  # type: ignore[return-value]
        finally:
            self._idle.append(call)

    def _copy(
        self, k: int, source: int, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray | None]
    ) -> np.ndarray:
        v = self.graph.outputs[k]
        if source >= 0:
            found = results[source]
            assert found is not None
        elif -source - 2 < self._inputs:
            found = arrays[-source - 2]
        else:
            data = self.graph.constants[-source - 2 - self._inputs].data
            assert data is not None
            found = data
        return np.array(found).reshape(v.shape)

    def _fail(self, launch: int) -> None:
        node, kernel, _ = self._launched[launch]
        where = f" at {', '.join(node.loc)}" if node.loc else ""
        if not kernel.checked:
            raise BackendError(f"kernel {kernel.name}{where} raised an exception")
        sizes = ", ".join(str(v.type) for v in node.operands)
        raise OutOfRangeError(f"an index is out of range in kernel {kernel.name}({sizes}){where}")


def _bits(number: Const) -> int:
    """The bits of a number, as a kernel's argument holds them."""
    array = np.asarray(number.value, number.dtype)
    return int(array.view(f"i{array.itemsize}"))


def _data(digest: str, data: np.ndarray | None) -> np.ndarray:
    if data is None:
        raise BackendError(f"constant {digest} has no data; parse the text with its constants")
    return data
