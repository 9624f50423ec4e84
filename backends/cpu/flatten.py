"""A planned graph -> the rows of a frame: launches, and what steers the loops and branches around them (`driver.py`).

Every value lies at a place: the number of a base, and an offset in bytes. Bases are addresses that do not change (the
arena, constants, inputs, results of the program) or words of the frame that rows change: where the rows of scanned
tensors are, which of two buffers holds a carry, how often a loop has run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from tgc.backends.cpu.callback import Callback
from tgc.backends.cpu.driver import BRANCH, COPY, FORK, LANE, LAUNCH_WORDS, LOAD, SET, STEERING, SWAP, Int64s
from tgc.backends.cpu.plan import ARENA, ZERO
from tgc.backends.loops.ir import Const, Kernel
from tgc.errors import BackendError
from tgc.ir import Constant, Graph, Node, Value
from tgc.ops import control, scan
from tgc.ops.kinds import Control
from tgc.ops.movement import reshape
from tgc.passes.memory import Scratch, in_place, kind_and_number
from tgc.sizes import call, hints_of, is_size, key_of
from tgc.types import DType, TensorType

Place: TypeAlias = tuple[int, int]
Numbered: TypeAlias = tuple[Kernel | Callback, int]  # a kernel or what stands for one, and its number

GRAIN = 1 << 14  # work (elementary operations) below which a launch is not shared by threads
PARTS = 4  # parts of a shared launch per thread, at least, so that a thread that is held up delays the others little
MORE, SHARE = 128, 1 << 18  # and so many at most where each still has so much work
LINE = 8  # words of a line of the cache


def parts_of(kernel: Kernel | Callback, threads: int) -> int:
    """How many parts of a launch so many threads take."""
    return call(_parts, kernel.parts, kernel.work, kernel.tiles, threads)


def _parts(given: int, work: int, tiles: int, threads: int) -> int:
    parts = 1
    if threads > 1 and given:
        parts = given
    elif threads > 1 and work >= GRAIN:
        parts = max(PARTS * threads, min(MORE, work // SHARE))
    return max(min(parts, tiles), 1)


@dataclass(frozen=True)
class Table:
    """Rows of integers, some of which may be sizes that are symbols.

    Attributes:
        rows: as they are in this compilation.
        sizes: those integers; `places` says where they are, counted through all rows.
    """

    rows: Int64s
    sizes: tuple[int, ...]
    places: Int64s

    @staticmethod
    def of(rows: Sequence[Sequence[int]], width: int) -> Table:
        numbers = tuple(n for row in rows for n in row)
        places = [k for k, n in enumerate(numbers) if is_size(n)]
        found = np.array(hints_of(numbers) if places else numbers, np.int64).reshape(-1, width)
        return Table(found, tuple(numbers[k] for k in places), np.array(places, np.int64))

    def at(self, values: Sequence[int]) -> Int64s:
        """The rows for values of the sizes."""
        rows = self.rows.copy()
        rows.reshape(-1)[self.places] = values
        return rows


class Flattener:
    """Collects rows, arguments and bases.

    Attributes:
        words: bases so far.
        constants: those of the graph and of its bodies, with the bases that are their addresses.
        owners: for each row the node and the kernel that it launches, None where it steers.
    """

    def __init__(self, kernels: Mapping[Node, Sequence[Numbered]], words: int, threads: int) -> None:
        self.kernels, self.words, self.threads = kernels, words, threads
        self.constants: dict[tuple[str, TensorType], tuple[int, Constant]] = {}
        self.owners: list[tuple[Node, Kernel | Callback] | None] = []
        self._rows: list[list[int]] = []
        self._arguments: list[Place] = []

    def tables(self) -> tuple[Table, Table]:
        """Rows and arguments of the frame; kernels are given by `STEERING` and their number."""
        return Table.of(self._rows, LAUNCH_WORDS), Table.of(self._arguments, 2)

    def graph(
        self,
        graph: Graph,
        inputs: Sequence[Place],
        outputs: Sequence[Place],
        arena: int = 0,
        last: tuple[int, int, int] | None = None,
    ) -> None:
        """The rows of a graph whose inputs and outputs lie at the given places, its memory at byte `arena`.

        `last` is the number of a node, a word and an integer: nodes from that one on run while the word is less.
        """
        first, *least = last or (len(graph.nodes), ZERO, 1)
        place: dict[Value, Place] = dict(zip(graph.inputs, inputs, strict=True))
        read = {*graph.outputs, *graph.uses}
        skips: list[int] = []
        for c in graph.constants:
            place[c.value] = self._constant(c)
        for k, node in enumerate(graph.nodes):
            if k == first:
                self._row(BRANCH, *least, len(self._rows) + 2)
                skips.append(self._row(BRANCH, ZERO, 1))
            operands = [place[v] for v in node.operands]
            if node.op is reshape:
                place[node.result] = operands[0]
                continue
            places = []
            for where in node.attrs["places"]:
                kind, number = kind_and_number(where)
                match kind:
                    case "arena":
                        places.append((ARENA, arena + number))
                    case "out":
                        places.append(outputs[number])
                    case "in":
                        places.append(inputs[number])
                    case _:
                        raise BackendError(f"{where!r} is no place in memory")
            place.update(zip(node.results, places, strict=False))
            if isinstance(node.op, Control):
                unread = {k for k, v in enumerate(node.results) if v not in read}
                _CONTROL[node.op](self, node, operands, places[:-1], places[-1][1], unread)
            else:
                self.launch(node, operands, places)
        for row in skips:
            self._rows[row][3] = len(self._rows)
        for v, target in zip(graph.outputs, outputs, strict=True):
            self.copy(place[v], target, v.type)

    def copy(self, source: Place, target: Place, type: TensorType) -> None:
        """Copy a tensor, unless it is there."""
        if source != target and type.nbytes:
            self._row(COPY, len(self._arguments), type.nbytes)
            self._arguments += [target, source]

    # ------------------------------------------------------------------------------------------------------- internals

    def _row(self, *words: int) -> int:
        self._rows.append([*words, *[0] * (LAUNCH_WORDS - len(words))])
        self.owners.append(None)
        return len(self._rows) - 1

    def _constant(self, c: Constant) -> Place:
        key = c.digest, c.value.type
        if key not in self.constants:
            self.constants[key] = self._word(), c
        return self.constants[key][0], 0

    def _word(self) -> int:
        self.words += 1
        return self.words - 1

    def _pointer(self, to: Place) -> int:
        """A new word that holds the address of a place."""
        word = self._word()
        self._row(SET, word, *to)
        return word

    def _load(self, type: TensorType, at: Place) -> int:
        """A new word that holds the number at a place."""
        word = self._word()
        self._row(LOAD, word, len(self._arguments), type.dtype.itemsize)
        self._arguments.append(at)
        return word

    def launch(self, node: Node, operands: Sequence[Place], results: Sequence[Place]) -> None:
        """The rows of a region's kernels."""
        for kernel, number in self.kernels[node]:
            first = len(self._arguments)
            self._arguments += [operands[k] if kind == "in" else results[k] for kind, k in kernel.bindings]
            self._arguments += [(ZERO, value) for value in kernel.values.values()]
            self._arguments += [(ZERO, _bits(c)) for c in kernel.scalars.values()]
            tiles = kernel.tiles, parts_of(kernel, self.threads)
            self._row(STEERING + number, first, *tiles, len(self._arguments) - first)
            self.owners[-1] = node, kernel

    def _carries(
        self,
        node: Node,
        first: Sequence[Place],
        results: Sequence[Place],
        arena: int,
        steps: int,
        kept: Mapping[int, Place] = MappingProxyType({}),
        stacked: Mapping[int, Place] = MappingProxyType({}),
    ) -> tuple[list[Place], list[Place], list[tuple[int, int]]]:
        """Where each step of a loop finds its carries and leaves them, and the words to exchange after it.

        After `steps` steps, if it is their number modulo two, the carries lie where the results belong; except those in
        `kept`, which each step leaves at these places for the next one. Those in `stacked` each step finds at these
        places, and leaves them where a word points to.
        """
        found: list[Place] = []
        left: list[Place] = []
        swaps: list[tuple[int, int]] = []
        scratch = Scratch.of(node)
        for k, target in enumerate(results):
            if k in kept:
                found.append((self._pointer(first[k]), 0))
                left.append(kept[k])
                continue
            if k in stacked:
                self.copy(first[k], stacked[k], node.body.inputs[k].type)
                found.append(stacked[k])
                left.append((self._pointer(target), 0))
                continue
            if k not in scratch.buffers:
                self.copy(first[k], target, node.body.inputs[k].type)
                found.append(target)
                left.append(target)
                continue
            buffers = [target, (ARENA, arena + scratch.buffers[k])]
            if steps % 2:
                buffers.reverse()
            self.copy(first[k], buffers[0], node.body.inputs[k].type)
            one, other = map(self._pointer, buffers)
            found.append((one, 0))
            left.append((other, 0))
            swaps.append((one, other))
        return found, left, swaps

    def lanes(self, lanes: Sequence[Callable[[], None]]) -> None:
        """The rows that each of some functions adds, for threads that do not meet before all of them are done."""
        self._row(FORK, len(lanes))
        headers = [self._row(LANE) for _ in lanes]
        threads, self.threads = self.threads, 1
        for header, lane in zip(headers, lanes, strict=True):
            self._rows[header][1] = len(self._rows)
            lane()
            self._rows[header][2] = len(self._rows)
            self.words += LINE  # what different threads write lies in different lines of the cache
            self._arguments += [(ZERO, 0)] * LINE
        self.threads = threads

    def scan(
        self, node: Node, operands: Sequence[Place], results: Sequence[Place], arena: int, unread: Collection[int]
    ) -> None:
        """All steps; those of each lane by themselves. In the end nobody reads the `unread` results."""
        n, m, length = (node.attrs[key] for key in ("carries", "xs", "length"))
        if length == 0:
            for first, target, v in zip(operands[:n], results[:n], node.results[:n], strict=True):
                self.copy(first, target, v.type)
            return
        taken, made = ([v.type.nbytes for v in values] for values in (node.body.inputs, node.body.outputs))
        lanes = node.attrs.get("lanes", 1)
        if lanes == 1:
            self._steps(node, operands, results, arena, [*taken[n : n + m], *made[n:]], unread)
            return
        cut = scan.cut_inputs([v.type for v in node.operands], node.body, length, n, m)
        own = [size * mine for size, mine in zip(taken, cut, strict=True)]
        strides = [size * (lanes if mine else 1) for size, mine in zip(taken, cut, strict=True)][n : n + m]
        strides += [size * lanes for size in made[n:]]
        scratch = Scratch.of(node)

        def part(places: Sequence[Place], sizes: Sequence[int], k: int) -> list[Place]:
            return [(base, offset + k * size) for (base, offset), size in zip(places, sizes, strict=True)]

        def lane(k: int) -> None:
            self._steps(node, part(operands, own, k), part(results, made, k), arena + k * scratch.lane, strides, unread)

        self.lanes([partial(lane, k) for k in range(lanes)])

    def _steps(
        self,
        node: Node,
        operands: Sequence[Place],
        results: Sequence[Place],
        arena: int,
        strides: Sequence[int],
        unread: Collection[int],
    ) -> None:
        """Counts in a word; words that point to rows of xs and ys move on by their strides after each step: one word
        for all that lie in one buffer and have rows of one size. The last step leaves out what is at the end of the
        body for carries alone that are `unread` then.
        """
        body, n, m = node.body, node.attrs["carries"], node.attrs["xs"]
        length, reverse = node.attrs["length"], node.attrs["reverse"]
        pointers: dict[object, tuple[int, int]] = {}
        rows: list[Place] = []
        for (base, offset), stride in zip((*operands[n : n + m], *results[n:]), strides, strict=True):
            key = base, key_of(stride)
            if key not in pointers:
                pointers[key] = self._pointer((base, stride * (length - 1) * reverse)), stride
            rows.append((pointers[key][0], offset))
        made = dict(zip(body.outputs[n:], rows[m:], strict=True))
        buffers = Scratch.of(node).buffers
        kept = {k: made[body.outputs[k]] for k in buffers if body.outputs[k] in made}
        stacked = {k: made[v] for k, v in enumerate(body.inputs[:n]) if v in made and k in buffers and k not in kept}
        found, left, swaps = self._carries(node, operands, results[:n], arena, length, kept, stacked)
        counter = self._pointer((ZERO, 0))
        # each step leaves a stacked carry in the row where the next one finds it, the last one where the result belongs
        step = dict(pointers.values())
        following = {k: (word, at + (-step[word] if reverse else step[word])) for k, (word, at) in stacked.items()}
        if length > 1:
            for k, row in following.items():
                self._row(SET, left[k][0], *row)
        top = len(self._rows)
        last = _needed(body, [k for k in range(len(body.outputs)) if k not in unread or k >= n]), counter, length - 1
        self.graph(body, [*found, *rows[:m], *operands[n + m :]], [*left, *rows[m:]], arena, last)
        for k, row in kept.items():
            self._row(SET, found[k][0], *row)
        for pair in swaps:
            self._row(SWAP, *pair)
        for word, stride in pointers.values():
            self._row(SET, word, word, -stride if reverse else stride)
        self._row(SET, counter, counter, 1)
        for k, row in following.items():
            self._row(SET, left[k][0], *row)
        if stacked:
            self._row(BRANCH, counter, length - 1, len(self._rows) + 1 + len(stacked))
            for k in stacked:
                self._row(SET, left[k][0], *results[k])
        self._row(BRANCH, counter, length, top)
        for k in kept:
            self.copy(found[k], results[k], body.inputs[k].type)

    def while_loop(
        self, node: Node, operands: Sequence[Place], results: Sequence[Place], arena: int, unread: Collection[int]
    ) -> None:
        """The condition's flag decides before each step; in the end, carries may lie in either of their buffers."""
        n, flag = node.attrs["carries"], (ARENA, arena + Scratch.of(node).flag)
        found, left, swaps = self._carries(node, operands, results, arena, 0)
        inputs = [*found, *operands[n:]]
        top = len(self._rows)
        self.graph(node.attrs["cond"], inputs, [flag], arena)
        end = self._row(BRANCH, self._load(node.attrs["cond"].outputs[0].type, flag), 1)
        self.graph(node.body, inputs, left, arena)
        for pair in swaps:
            self._row(SWAP, *pair)
        self._row(BRANCH, ZERO, 1, top)
        self._rows[end][3] = len(self._rows)
        for k, target in enumerate(results):
            if not in_place(node.body, k):
                self.copy(found[k], target, node.results[k].type)

    def switch(
        self, node: Node, operands: Sequence[Place], results: Sequence[Place], arena: int, unread: Collection[int]
    ) -> None:
        """Branch k runs if the index is below k + 1, the last one otherwise: the index is clamped on the way."""
        branches: tuple[Graph, ...] = node.attrs["branches"]
        index = self._load(node.operands[0].type, operands[0])
        tests = [self._row(BRANCH, index, k + 1) for k in range(len(branches) - 1)]
        ends = []
        for k in (len(branches) - 1, *range(len(branches) - 1)):
            if k < len(tests):
                self._rows[tests[k]][3] = len(self._rows)
            self.graph(branches[k], operands[1:], results, arena)
            ends.append(self._row(BRANCH, ZERO, 1))
        for row in ends:
            self._rows[row][3] = len(self._rows)


_CONTROL: Mapping[Any, Any] = {
    scan.scan: Flattener.scan,
    control.while_loop: Flattener.while_loop,
    control.switch: Flattener.switch,
}


def _needed(graph: Graph, outputs: Sequence[int]) -> int:
    """How many nodes there are until the last one that some of the outputs need."""
    needed = {graph.outputs[k] for k in outputs}
    return max((k + 1 for k, node in enumerate(graph.nodes) if not needed.isdisjoint(node.results)), default=0)


def _bits(number: Const) -> int:
    """The bits of a number, as a kernel's argument holds them."""
    return call(_bits_of, number.value, number.dtype)


def _bits_of(value: bool | int | float, dtype: DType) -> int:
    array = np.asarray(value, dtype)
    return int(array.view(f"i{array.itemsize}"))
