"""A compiled graph as data: the rows of the launch loop, and all that is known of them. It can be kept and read again.

graph --flatten--> Plan --addresses of its kernels--> CpuProgram
                   Plan <--> bytes in the cache
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import safetensors.numpy

from tgc.backends.cpu.callback import Callback
from tgc.backends.cpu.driver import STEERING, Int64s
from tgc.backends.cpu.flatten import Flattener, Numbered
from tgc.backends.loops.ir import Kernel
from tgc.errors import BackendError
from tgc.ir import Graph, Node, Value
from tgc.ops.work import flops, traffic
from tgc.passes.arena import ALIGNMENT
from tgc.passes.memory import arena_bytes, match_donations, root
from tgc.runtime.address import aligned
from tgc.runtime.profile import itemsize
from tgc.types import BY_SHORT_NAME, SHORT_NAMES, TensorType

Kernels = tuple[tuple[str, str], ...]  # cache key and symbol of each


@dataclass(frozen=True, slots=True)
class Fact:
    """What errors and profiles tell of a launch.

    Attributes:
        node: a number of the fused node that it belongs to; some nodes have several launches.
        kernel, kind, loc: the kernel's name, the kind of its region, the user's lines.
        operands: types of the node's operands.
        checked: whether it may report an index out of range.
        again: whether the node runs a second time because its results were not kept.
        flops, bytes, itemsize: the node's work (`tgc.ops.work`), bytes of its widest float.
    """

    node: int
    kernel: str
    kind: str
    loc: tuple[str, ...]
    operands: str
    checked: bool
    again: bool
    flops: int
    bytes: int
    itemsize: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything of a program but the addresses of its kernels.

    Attributes:
        name: of the graph.
        kernels: where the machine code of the kernels is kept.
        rows: the launches of a frame (`Driver`), with `STEERING` + number of the kernel for its address. Callbacks are
            numbered behind the kernels.
        arguments: of the frame.
        facts: of the launches; `owners` has for each row the index of its own, -1 for rows that steer.
        words: bases of the frame.
        arena: bytes.
        inputs: how many there are; their bases begin at 2, those of results behind them.
        constants: base -> array as it lies in memory.
        results: their types.
        donations: result -> the input in whose memory it is returned; `moved` are those computed elsewhere before.
        largest: which value takes most memory, in words.
    """

    name: str
    kernels: Kernels
    rows: Int64s
    arguments: Int64s
    owners: Int64s
    facts: tuple[Fact, ...]
    words: int
    arena: int
    inputs: int
    constants: Mapping[int, np.ndarray]
    results: tuple[TensorType, ...]
    donations: Mapping[int, int]
    moved: frozenset[int]
    largest: str

    @property
    def fresh(self) -> list[tuple[int, TensorType]]:
        """Results that a call returns in new arrays."""
        return [(k, t) for k, t in enumerate(self.results) if k not in self.donations or k in self.moved]

    @property
    def nbytes(self) -> int:
        """Of its constants and tables."""
        return sum(a.nbytes for a in (self.rows, self.arguments, self.owners, *self.constants.values()))

    def launches(self, addresses: Sequence[int]) -> Int64s:
        """The rows with the addresses of kernels and callbacks."""
        rows = self.rows.copy()
        launching = rows[:, 0] >= STEERING
        rows[launching, 0] = np.array(addresses, np.int64)[rows[launching, 0] - STEERING]
        return rows

    def to_bytes(self) -> bytes:
        """The plan as a file of safetensors: tables, the constants' bytes, and JSON for the rest."""
        rest = {
            "name": self.name,
            "kernels": self.kernels,
            "facts": [asdict(f) for f in self.facts],
            "words": self.words,
            "arena": self.arena,
            "inputs": self.inputs,
            "results": [(SHORT_NAMES[t.dtype], t.shape) for t in self.results],
            "donations": list(self.donations.items()),
            "moved": list(self.moved),
            "largest": self.largest,
        }
        arrays = {"rows": self.rows, "arguments": self.arguments, "owners": self.owners}
        arrays |= {str(base): np.frombuffer(c, np.uint8) for base, c in self.constants.items()}
        arrays["rest"] = np.frombuffer(json.dumps(rest).encode(), np.uint8)
        return safetensors.numpy.save(arrays)

    @staticmethod
    def of_bytes(data: bytes) -> Plan:
        """What `to_bytes` made."""
        arrays = safetensors.numpy.load(data)
        rest = json.loads(arrays.pop("rest").tobytes())
        tables = {name: arrays.pop(name) for name in ("rows", "arguments", "owners")}
        return Plan(
            **tables,
            name=rest["name"],
            kernels=tuple((key, symbol) for key, symbol in rest["kernels"]),
            facts=tuple(Fact(**{**f, "loc": tuple(f["loc"])}) for f in rest["facts"]),
            words=rest["words"],
            arena=rest["arena"],
            inputs=rest["inputs"],
            constants={int(base): aligned(a, ALIGNMENT) for base, a in arrays.items()},
            results=tuple(TensorType(BY_SHORT_NAME[d], tuple(shape)) for d, shape in rest["results"]),
            donations=dict(rest["donations"]),
            moved=frozenset(rest["moved"]),
            largest=rest["largest"],
        )


def make_plan(
    graph: Graph, donated: Sequence[int], launched: Mapping[Node, Sequence[Numbered]], kernels: Kernels, threads: int
) -> Plan:
    """The plan of a planned graph whose launches share `threads` threads.

    Args:
        launched: the kernels or the callback of each fused node, with the number of each.
        kernels: where they are kept, by number.
    """
    flat, donations, moved = flattened(graph, donated, launched, threads)
    rows, arguments = (table.rows for table in flat.tables())
    facts, owners = facts_of(flat.owners)
    return Plan(
        graph.name, kernels, rows, arguments, owners, facts, flat.words, arena_bytes(graph), len(graph.inputs),
        constants_of(flat), tuple(v.type for v in graph.outputs), donations, moved, largest_of(graph),
    )  # fmt: skip


def flattened(
    graph: Graph, donated: Sequence[int], launched: Mapping[Node, Sequence[Numbered]], threads: int
) -> tuple[Flattener, Mapping[int, int], frozenset[int]]:
    """The rows of a graph, and the donations and the moved results of its plan."""
    # bases: zero, the arena, inputs, results; then constants, and the words that steer loops
    inputs = [(2 + i, 0) for i in range(len(graph.inputs))]
    results = [(2 + len(inputs) + k, 0) for k in range(len(graph.outputs))]
    donations = match_donations(graph, donated)
    # results that could not be computed in place are moved to the donated array when all is done
    moved = {k for k, i in donations.items() if not _lies_in(graph.outputs[k], i, graph)}
    flat = Flattener(launched, 2 + len(inputs) + len(results), threads)
    places = [inputs[donations[k]] if k in donations and k not in moved else r for k, r in enumerate(results)]
    flat.graph(graph, inputs, places)
    for k in sorted(moved):
        flat.copy(results[k], inputs[donations[k]], graph.outputs[k].type)
    return flat, donations, frozenset(moved)


def constants_of(flat: Flattener) -> dict[int, np.ndarray]:
    """Base -> array as it lies in memory."""
    return {
        base: aligned(to_storage(_data(c.digest, c.data), c.value.type), ALIGNMENT)
        for base, c in flat.constants.values()
    }


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


def facts_of(owners: Sequence[tuple[Node, Kernel | Callback] | None]) -> tuple[tuple[Fact, ...], Int64s]:
    """The facts of each launch, and the index of its own for each row."""
    facts: list[Fact] = []
    indices = np.full(len(owners), -1, np.int64)
    numbers: dict[Node, int] = {}
    for row, owner in enumerate(owners):
        if owner is None:
            continue
        node, kernel = owner
        indices[row] = len(facts)
        operands = ", ".join(str(v.type) for v in node.operands)
        work = flops(node.body), traffic(node), itemsize(node)
        number, again = numbers.setdefault(node, len(numbers)), "again" in node.attrs
        facts.append(Fact(number, kernel.name, node.attrs["kind"], node.loc, operands, kernel.checked, again, *work))
    return tuple(facts), indices


def _lies_in(result: Value, donated: int, graph: Graph) -> bool:
    """Whether a result of the graph is computed in the memory of a donated input, or is that input."""
    v = root(result)
    return v is graph.inputs[donated] if v.node is None else v.node.attrs["places"][v.index] == f"in:{donated}"


def largest_of(graph: Graph) -> str:
    """The value that takes most memory, where that is said."""
    made = [v for node in graph.nodes for v in node.results]
    if not made and not graph.outputs:
        return ""
    v = max((*made, *graph.outputs), key=lambda v: v.type.nbytes)  # results may be copies of operands
    where = f" at {', '.join(v.node.loc)}" if v.node is not None and v.node.loc else ""
    return f"the largest value is {v.type}, {v.type.nbytes / (1 << 30):.1f} GiB{where}"


def _data(digest: str, data: np.ndarray | None) -> np.ndarray:
    if data is None:
        raise BackendError(f"constant {digest} has no data; parse the text with its constants")
    return data
