"""Values that are dropped and computed again where a program would need more memory than it may.

Most of a training step's memory holds what its forward pass leaves for the backward pass. Under a limit, values that
only lie in memory while the program needs most are dropped and computed again right before their next use, by the same
kernels, from values that are there anyway or are computed again themselves. Their results are the same, bit for bit;
time is given for memory (Chen, Xu, Zhang, Guestrin: "Training deep nets with sublinear memory cost", 2016).

Which ones is decided one by one: of those that lie in memory at the step that needs most, the one with the most bytes x
steps of absence for the work of computing it again, which is the heuristic of Kirisame et al. ("Dynamic tensor
rematerialization", 2021) applied ahead of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from tgc.errors import OutOfMemoryError
from tgc.ir import Graph, Node, transform
from tgc.ops.control import while_loop
from tgc.ops.kinds import Control
from tgc.ops.region import fused
from tgc.ops.work import flops, traffic
from tgc.passes.arena import ALIGNMENT
from tgc.passes.lifetimes import Life, Sequencer, Steps, Usage
from tgc.passes.manager import Target, register
from tgc.passes.memory import arena_bytes, bodies, match_donations, planned, with_planned_bodies
from tgc.passes.reorder import reordered

BALANCE = 8  # FLOPs that take as long as reading or writing a byte
SMALL = 16  # times fewer bytes than a dropped value has what is kept for it
LISTED = 4  # values in an error
LONGEST = 64  # kernels that run again to have one value


@register
@dataclass(frozen=True)
class Rematerialize:
    """Let the arena of a fused graph have at most `limit` bytes; 0 is no limit.

    A graph that needs more gets another order of its kernels, and then some of them several times; and so do bodies of
    control flow whose memory is in the way.

    Raises:
        OutOfMemoryError: there is nothing left to drop.
    """

    name: ClassVar[str] = "rematerialize"
    whole: ClassVar[bool] = True
    limit: int = 0
    donated: tuple[int, ...] = ()

    def __call__(self, graph: Graph, target: Target) -> Graph:
        return _fitted(graph, match_donations(graph, self.donated), self.limit) if self.limit else graph


def _fitted(graph: Graph, pairs: Mapping[int, int], limit: int) -> Graph:
    """`graph` so that its arena has at most `limit` bytes; result k may take the memory of input `pairs[k]`."""
    least = arena_bytes(planned(graph, pairs, limit))
    if least <= limit:
        return graph
    search = _Search(Sequencer(graph, pairs))
    steps, goal = search.start(), limit
    while True:
        steps, fits = search.shrunk(steps, goal)
        made = search.sequencer.emitted(steps)
        size = arena_bytes(planned(made, pairs, limit))
        least = min(least, size)
        if size <= limit:
            return made
        if not fits:
            usage = search.sequencer.usage(steps)
            at = int(usage.live.argmax())
            smaller = _with_smaller_bodies(graph, steps[at], usage.peak - goal)
            if smaller is None:
                raise _error(search.sequencer, steps[at], usage.across(at), limit, least)
            return _fitted(smaller, pairs, limit)
        goal -= max(size - limit, ALIGNMENT)  # the plan has gaps


def _with_smaller_bodies(graph: Graph, node: Node, excess: int) -> Graph | None:
    """`graph`, the bodies of `node` with `excess` bytes less for their values; None if they cannot do with less."""
    if not isinstance(node.op, Control):
        return None
    most = max(map(arena_bytes, with_planned_bodies(node, limit=1).regions)) - excess
    if most <= 0:
        return None
    try:
        attrs = bodies(node, lambda body, pairs: _fitted(body, pairs, most))
    except OutOfMemoryError:
        return None
    return transform(graph, lambda b, n, new: b.emit(n.op, new, attrs, n.loc) if n is node else None)


def _error(sequencer: Sequencer, node: Node, lives: Sequence[Life], limit: int, least: int) -> OutOfMemoryError:
    """Why a graph whose memory is taken by `lives` while `node` runs does not fit."""
    needs = [(life.value.type.nbytes, f"{life.value.type}", life.value.node) for life in lives]
    if node in sequencer.scratch:
        needs.append((sequencer.scratch[node], f"the bodies of {node.op.name}", node))
    needs.sort(key=lambda need: -need[0])
    listed = "; ".join(f"{what}, {_mib(size)}{_place(maker)}" for size, what, maker in needs[:LISTED])
    return OutOfMemoryError(
        f"{sequencer.graph.name} does not fit memory_limit={limit} ({_mib(limit)}): with values computed again where "
        f"that helps, its arena takes {least} bytes ({_mib(least)}); the largest values at the peak: {listed}"
    )


class _Search:
    """Looks for sequences that need less memory."""

    def __init__(self, sequencer: Sequencer) -> None:
        self.sequencer = sequencer

    def start(self) -> Steps:
        """The better one of the orders that there are without repetitions."""
        asked, early = self.sequencer.nodes, reordered(self.sequencer)
        return min(early, asked, key=lambda steps: self.sequencer.usage(steps).peak)

    def shrunk(self, steps: Steps, goal: int) -> tuple[Steps, bool]:
        """A sequence that needs `goal` bytes at most, and whether there is one; else the least that was found."""
        usage = self.sequencer.usage(steps)
        while usage.peak > goal:
            found = self._better(steps, usage)
            if found is None:
                return steps, False
            steps, usage = found
        return self._spared(steps, goal), True

    def _better(self, steps: Steps, usage: Usage) -> tuple[Steps, Usage] | None:
        """The sequence that drops the best value over the step that needs most, without another one needing as much."""
        peak = usage.peak
        at, highest = int(usage.live.argmax()), int((usage.live == peak).sum())
        for step, again in self._candidates(steps, usage, at):
            new = [*steps[:step], *again, *steps[step:]]
            found = self.sequencer.usage(new)
            if found.peak < peak or (found.peak == peak and (found.live == peak).sum() < highest):
                return new, found
        return None

    def _candidates(self, steps: Steps, usage: Usage, at: int) -> Iterator[tuple[int, list[Node]]]:
        """Steps, and the nodes to run again right before them so that values need not lie in memory at step `at`."""
        dropped: dict[Node, list[tuple[Life, int, int]]] = {}
        for life in usage.across(at):
            node = life.value.node
            if (gap := life.around(at)) and node is not None and self._repeatable(node):
                dropped.setdefault(node, []).append((life, *gap))
        ranked = []
        for node, lives in dropped.items():
            step = min(after for _, _, after in lives)
            size = sum(self.sequencer.size[life.value] for life, _, _ in lives)
            for lean in (False, True):
                again = self._again(node, step, at, steps, usage, size, lean)
                if again:
                    saved = sum(self.sequencer.size[life.value] * (after - before) for life, before, after in lives)
                    ranked.append((saved / sum(map(_work, again)), -step, step, again))
        ranked.sort(key=lambda entry: entry[:2], reverse=True)
        return ((step, again) for _, _, step, again in ranked)

    def _again(
        self, node: Node, step: int, at: int, steps: Steps, usage: Usage, size: int, lean: bool
    ) -> list[Node] | None:
        """The nodes that must run before `step` to have the results of `node` there, it last; None if they cannot.

        What they read is there, or is kept until then: what lies in memory at step `at` or is made later (unless
        `lean`), and what is small beside the `size` bytes that are won. The rest is computed again, too.
        """
        chain: dict[Node, None] = {}
        open: list[Node] = [node]
        while open:
            top = open[-1]
            if top in chain:
                open.pop()
                continue
            if not self._repeatable(top) or len(chain) + len(open) > LONGEST:
                return None
            if any(other in steps[:step] for other in self.sequencer.overwriters[top]):
                return None
            missing = []
            for v in self.sequencer.reads[top]:
                life = usage.before(v, step)
                kept = life.last >= step or (life.last >= at and not lean) or self.sequencer.size[v] * SMALL <= size
                if not kept and v.node is not None and v.node not in chain:
                    missing.append(v.node)
            if missing:
                open += missing
            else:
                chain[open.pop()] = None
        return list(chain)

    def _spared(self, steps: Steps, goal: int) -> Steps:
        """The sequence without repetitions that it does as well without, the costliest left out first."""
        seen: set[Node] = set()
        repeated = []
        for step, node in enumerate(steps):
            if node in seen:
                repeated.append((-_work(node), step))
            seen.add(node)
        out: set[int] = set()
        for _, step in sorted(repeated):
            rest = [node for k, node in enumerate(steps) if k != step and k not in out]
            if self.sequencer.usage(rest).peak <= goal:
                out.add(step)
        return [node for k, node in enumerate(steps) if k not in out]

    def _repeatable(self, node: Node) -> bool:
        return node not in self.sequencer.results and node.attrs.get("kind") != "opaque" and node.op is not while_loop


@cache
def _work(node: Node) -> float:
    """The time that a node takes, in FLOPs."""
    if node.op is fused:
        return flops(node.body) + BALANCE * traffic(node)
    if isinstance(node.op, Control):
        times: int = node.attrs.get("length", 1)
        return 1 + times * sum(_work(inner) for body in node.regions for inner in body.nodes)
    return 1


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _place(node: Node | None) -> str:
    return f" at {', '.join(node.loc)}" if node is not None and node.loc else ""
