"""Planned graph -> plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tgc.backends.cpu.callback import Callback
from tgc.backends.cpu.driver import Int64s
from tgc.backends.cpu.flatten import Flattener, Numbered
from tgc.backends.cpu.plan import Fact, Kernels, Plan, laid_out
from tgc.backends.loops.ir import Kernel
from tgc.errors import BackendError
from tgc.ir import Graph, Node, Value
from tgc.ops.work import flops, traffic
from tgc.passes.memory import arena_bytes, match_donations, root
from tgc.runtime.address import aligned
from tgc.runtime.profile import itemsize
from tgc.types import ALIGNMENT, TensorType


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
    moved = _moved(graph, donations)
    flat = Flattener(launched, 2 + len(inputs) + len(results), threads)
    places = [inputs[donations[k]] if k in donations and k not in moved else r for k, r in enumerate(results)]
    flat.graph(graph, inputs, places)
    for k in sorted(moved):
        flat.copy(results[k], inputs[donations[k]], graph.outputs[k].type)
    return flat, donations, moved


def memory_needed(graph: Graph, donated: Sequence[int]) -> int:
    """Bytes that a call of a planned graph needs between arguments and results."""
    moved = _moved(graph, match_donations(graph, donated))
    return laid_out(arena_bytes(graph), {k: graph.outputs[k].type.nbytes for k in moved})[1]


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


def _moved(graph: Graph, donations: Mapping[int, int]) -> frozenset[int]:
    """The results that cannot be computed in place: they are moved to the donated array when all is done."""
    return frozenset(k for k, i in donations.items() if not _lies_in(graph.outputs[k], i, graph))


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
