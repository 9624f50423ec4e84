"""Kernels that free memory run as soon as they can.

Results of a fused graph appear in the order in which the user's function lists them, so that updates of parameters may
wait behind the whole backward pass, and activations and gradients with them. Here, a kernel that leaves no more memory
taken than it found (a weight's gradient and its update, a bias's sum) runs as soon as what it reads is there, together
with the kernels that work for it alone (packed operands). This is list scheduling with the bytes that a step frees as
its priority, as in XLA's `HloMemoryScheduler`; where nothing frees memory the order stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tgc.ir import Node, Value
from tgc.passes.lifetimes import Sequencer


def reordered(sequencer: Sequencer) -> Sequence[Node]:
    """The sequence in that order, or as it is where donated inputs would be overwritten too early."""
    units = _units(sequencer)
    unit = {node: k for k, members in enumerate(units) for node in members}
    waits: dict[int, set[int]] = {k: set() for k in range(len(units))}  # unit -> those that must run before it
    for node in sequencer.nodes:
        made = {v.node for v in sequencer.operands[node] if v.node is not None}
        waits[unit[node]] |= {unit[m] for m in made}
        for late in sequencer.overwriters[node]:
            waits[unit[late]].add(unit[node])
    behind: dict[int, list[int]] = {k: [] for k in range(len(units))}
    for k, others in waits.items():
        others.discard(k)
        for other in others:
            behind[other].append(k)
    readers = Counter(v for reads in sequencer.reads.values() for v in reads)
    ready = [k for k, others in waits.items() if not others]
    order: list[Node] = []
    while ready:
        k = next((k for k in ready if _growth(sequencer, units[k], readers) <= 0), ready[0])
        ready.remove(k)
        order += units[k]
        readers.subtract(v for node in units[k] for v in sequencer.reads[node])
        for other in behind[k]:
            waits[other].discard(k)
            if not waits[other]:
                ready.append(other)
        ready.sort()
    return order if len(order) == len(sequencer.nodes) else sequencer.nodes


def _units(sequencer: Sequencer) -> list[list[Node]]:
    """The nodes, each behind those whose results it alone reads, in the order of the last of each unit.

    What makes less than it reads, as a sum, is better run by itself and early.
    """
    size = sequencer.size
    readers: dict[Node, set[Node]] = {}
    for node in sequencer.nodes:
        for v in sequencer.operands[node]:
            if v.node is not None:
                readers.setdefault(v.node, set()).add(node)
    head: dict[Node, Node] = {}
    for node in reversed(sequencer.nodes):
        users = readers.get(node, set())
        heads = {head[user] for user in users}
        shrinks = sum(size.get(r, 0) for r in node.results) < sum(size[v] for v in sequencer.reads[node])
        joins = len(heads) == 1 and not shrinks and node not in sequencer.results
        head[node] = heads.pop() if joins else node
    units: dict[Node, list[Node]] = {node: [] for node in sequencer.nodes if head[node] is node}
    for node in sequencer.nodes:
        units[head[node]].append(node)
    return list(units.values())


def _growth(sequencer: Sequencer, unit: Sequence[Node], readers: Counter[Value]) -> int:
    """Bytes that are taken behind a unit and were not before it."""
    reads = Counter(v for node in unit for v in sequencer.reads[node])
    made = {r for node in unit for r in node.results if r in sequencer.size}
    kept = sum(sequencer.size[r] for r in made if readers[r] > reads[r])
    return kept - sum(sequencer.size[v] for v in reads if v not in made and readers[v] == reads[v])


__all__ = ["reordered"]
