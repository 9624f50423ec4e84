"""Sequences of kernels, and how many bytes of the arena their values take at each step.

A sequence names the nodes of a fused graph in the order in which they run; views are left out, they take no memory. It
may name a node several times: what reads its results reads those of the last time before. So a value that is computed
again need not lie in memory in between, and nothing else has to be said of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tgc.ir import Builder, Graph, Node, Value
from tgc.ops.kinds import Control
from tgc.ops.movement import reshape
from tgc.passes.arena import padded
from tgc.passes.memory import Planner, Scratch, alike, kind_and_number, may_overwrite, root, with_planned_bodies

Steps = Sequence[Node]


@dataclass(slots=True)
class Life:
    """One computation of a value in the arena: the steps at which it is made and read."""

    value: Value
    made: int
    reads: list[int] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The last step at which it takes memory."""
        return self.reads[-1] if self.reads else self.made

    def around(self, step: int) -> tuple[int, int] | None:
        """The steps at which it is used before and after `step`, where it only lies in memory; None if it does not."""
        if not self.made < step < self.last or step in self.reads:
            return None
        return max([self.made, *(r for r in self.reads if r < step)]), next(r for r in self.reads if r > step)


@dataclass(frozen=True)
class Usage:
    """What a sequence needs: the lives of each value, in order, and `live`, the bytes of all at each step.

    That is without the gaps that a plan leaves, so an arena is as large as the greatest of these numbers or larger.
    """

    steps: Steps
    lives: dict[Value, list[Life]]
    live: np.ndarray

    @property
    def peak(self) -> int:
        """The bytes at the step that needs most."""
        return int(self.live.max(initial=0))

    @property
    def highest(self) -> int:
        """The first step that needs most."""
        return int(self.live.argmax())

    def before(self, value: Value, step: int) -> Life:
        """The computation of `value` that `step` would read."""
        return next(life for life in reversed(self.lives[value]) if life.made < step)

    def across(self, step: int) -> list[Life]:
        """The lives of all values that lie in memory at `step`, its results and operands among them."""
        return [life for lives in self.lives.values() for life in lives if life.made <= step <= life.last]


class Sequencer:
    """What a graph asks of the sequences of its kernels; result k may take the memory of input `pairs[k]`.

    Attributes:
        nodes: the sequence in which the graph lists them.
        size: bytes in the arena of each value that lies there; results of the graph and its inputs do not.
        reads: node -> the values in the arena that it reads, each once.
        results: nodes that make a result of the graph: they run once.
        overwriters: node -> those that write over an input that it reads, and so must run after it.
        scratch: bytes that control nodes need for their bodies.
    """

    def __init__(self, graph: Graph, pairs: Mapping[int, int]) -> None:
        self.graph = graph
        self.nodes = tuple(node for node in graph.nodes if node.op is not reshape)
        ends = Planner(graph, pairs).place
        self.size = {r: padded(r.type.nbytes) for node in self.nodes for r in node.results if r not in ends}
        self.operands = {node: tuple(dict.fromkeys(map(root, node.operands))) for node in self.nodes}
        self.reads = {node: tuple(v for v in roots if v in self.size) for node, roots in self.operands.items()}
        self.results = {v.node for v in ends if v.node is not None}
        written: dict[Value, Node] = {}
        for v, place in ends.items():
            kind, number = kind_and_number(place)
            if kind == "in" and v.node is not None:
                written[graph.inputs[number]] = v.node
        self.overwriters = {
            node: tuple(written[v] for v in roots if v in written and written[v] is not node)
            for node, roots in self.operands.items()
        }
        loops = (node for node in self.nodes if isinstance(node.op, Control))
        self.scratch = {node: Scratch.of(with_planned_bodies(node, limit=1)).size for node in loops}
        self._over = {
            node: [(r, v) for r in node.results if r in self.size for v in reads if alike(v, r) and may_overwrite(r, v)]
            for node, reads in self.reads.items()
        }

    def usage(self, steps: Steps) -> Usage:
        """When values are made and read, and the bytes that they take."""
        lives: dict[Value, list[Life]] = {}
        for at, node in enumerate(steps):
            for v in self.reads[node]:
                lives[v][-1].reads.append(at)
            for r in node.results:
                if r in self.size:
                    lives.setdefault(r, []).append(Life(r, at))
        change = np.zeros(len(steps) + 1, np.int64)
        shared = np.zeros(len(steps), np.int64)  # bytes of operands that die under a result
        for v, computed in lives.items():
            for life in computed:
                change[life.made] += self.size[v]
                change[life.last + 1] -= self.size[v]
        usage = Usage(steps, lives, np.cumsum(change[:-1]))
        for at, node in enumerate(steps):
            usage.live[at] += self.scratch.get(node, 0)
            done: set[Value] = set()
            for r, v in self._over[node]:
                if not {r, v} & done and usage.before(v, at).last == at:
                    done |= {r, v}
                    shared[at] += self.size[r]
        usage.live[:] -= shared
        return usage

    def emitted(self, steps: Steps) -> Graph:
        """The graph that lists its kernels in this order."""
        builder = Builder(self.graph.name)
        made: dict[Value, Value] = {v: builder.input(v.type, v.name) for v in self.graph.inputs}
        made |= {c.value: builder.adopt(c) for c in self.graph.constants}
        times: Counter[Node] = Counter()

        def get(v: Value) -> Value:
            if v.node is not None and v.node.op is reshape:
                (new,) = builder.emit(reshape, (get(v.node.operands[0]),), v.node.attrs, v.node.loc, types=[v.type])
                return new
            return made[v]

        for node in steps:
            attrs = {**node.attrs, "again": times[node]} if times[node] else node.attrs
            times[node] += 1
            made.update(
                zip(node.results, builder.emit(node.op, list(map(get, node.operands)), attrs, node.loc), strict=True)
            )
        return builder.build(list(map(get, self.graph.outputs)))


__all__ = ["Life", "Sequencer", "Steps", "Usage"]
