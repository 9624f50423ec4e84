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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from tgc.errors import OutOfMemoryError
from tgc.ir import Graph, Node, transform
from tgc.ops.control import while_loop
from tgc.ops.kinds import Control
from tgc.ops.region import fused
from tgc.ops.work import flops, traffic
from tgc.passes.arena import ALIGNMENT
from tgc.passes.lifetimes import Life, Sequencer, Usage
from tgc.passes.manager import Target, register
from tgc.passes.memory import arena_bytes, bodies, match_donations, planned, with_planned_bodies
from tgc.passes.reorder import reordered

BALANCE = 8  # FLOPs that take about as long as reading or writing a byte: CPUs have 5 to 15
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
    usage, goal = search.start(), limit
    while True:
        usage = search.shrunk(usage, goal)
        made = search.sequencer.emitted(usage.steps)
        size = arena_bytes(planned(made, pairs, limit))
        least = min(least, size)
        if size <= limit:
            return made
        if usage.peak > goal:
            smaller = _with_smaller_bodies(graph, usage.steps[usage.highest], usage.peak - goal)
            if smaller is None:
                raise _error(search.sequencer, usage, limit, least)
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


def _error(sequencer: Sequencer, usage: Usage, limit: int, least: int) -> OutOfMemoryError:
    """Why a graph does not fit of which a sequence that needs the least is known."""
    node = usage.steps[usage.highest]
    needs = [(life.value.type.nbytes, f"{life.value.type}", life.value.node) for life in usage.across(usage.highest)]
    if node in sequencer.scratch:
        needs.append((sequencer.scratch[node], f"the bodies of {node.op.name}", node))
    needs.sort(key=lambda need: -need[0])
    listed = "; ".join(f"{what}, {_readable(size)}{_place(maker)}" for size, what, maker in needs[:LISTED])
    return OutOfMemoryError(
        f"{sequencer.graph.name} does not fit memory_limit={limit} ({_readable(limit)}): with values computed again "
        f"where that helps, its arena takes {least} bytes ({_readable(least)}); the largest at the peak: {listed}"
    )


class _Search:
    """Looks for sequences that need less memory."""

    def __init__(self, sequencer: Sequencer) -> None:
        self.sequencer = sequencer
        self.work = {node: _work(node) for node in sequencer.nodes}
        self.once = {node for node in sequencer.nodes if node in sequencer.results or _unknown(node)}

    def start(self) -> Usage:
        """The better one of the orders without repetitions."""
        return min(map(self.sequencer.usage, (reordered(self.sequencer), self.sequencer.nodes)), key=lambda u: u.peak)

    def shrunk(self, usage: Usage, goal: int) -> Usage:
        """A sequence that needs `goal` bytes at most, or the least that was found."""
        while usage.peak > goal:
            found = self._better(usage)
            if found is None:
                return usage
            usage = found
        return self._spared(usage, goal)

    def _better(self, usage: Usage) -> Usage | None:
        """The sequence that drops the best value over the step that needs most, without another one needing as much."""
        at_peak = int((usage.live == usage.peak).sum())
        for step, again in self._candidates(usage):
            found = self.sequencer.usage([*usage.steps[:step], *again, *usage.steps[step:]])
            if found.peak < usage.peak or (found.peak == usage.peak and (found.live == usage.peak).sum() < at_peak):
                return found
        return None

    def _candidates(self, usage: Usage) -> Iterator[tuple[int, list[Node]]]:
        """Steps, and nodes to run again right before them so that some values need not lie in memory at the peak."""
        dropped: dict[Node, list[tuple[Life, int, int]]] = {}
        for life in usage.across(usage.highest):
            node = life.value.node
            if (gap := life.around(usage.highest)) and node is not None and node not in self.once:
                dropped.setdefault(node, []).append((life, *gap))
        ranked: list[tuple[float, int, list[Node]]] = []
        for node, lives in dropped.items():
            step = min(after for _, _, after in lives)
            size = sum(self.sequencer.size[life.value] for life, _, _ in lives)
            saved = sum(self.sequencer.size[life.value] * (after - before) for life, before, after in lives)
            ways = (self._again(node, step, usage, size, lean) for lean in (False, True))
            ranked += [(saved / sum(self.work[n] for n in again), step, again) for again in ways if again]
        ranked.sort(key=lambda entry: -entry[0])
        return ((step, again) for _, step, again in ranked)

    def _again(self, node: Node, step: int, usage: Usage, size: int, lean: bool) -> list[Node] | None:
        """The nodes that must run before `step` to have the results of `node` there, it last; None if they cannot.

        What they read is there, or is kept until then: what lies in memory at the peak or is made later (unless
        `lean`), and what is small beside the `size` bytes that are won. The rest is computed again, too.
        """
        chain: dict[Node, None] = {}
        pending = [node]
        while pending:
            top = pending[-1]
            if len(chain) + len(pending) > LONGEST:
                return None
            if any(late in usage.steps[:step] for late in self.sequencer.overwriters[top]):
                return None
            missing = []
            for v in self.sequencer.reads[top]:
                maker, last, bytes = v.node, usage.before(v, step).last, self.sequencer.size[v]
                small = bytes < size if maker in self.once else bytes * SMALL <= size
                kept = small or last >= step or (last >= usage.highest and not lean)
                if not kept and maker is not None and maker not in chain:
                    missing.append(maker)
            if any(maker in self.once for maker in missing):
                return None
            if missing:
                pending += missing
            else:
                chain[pending.pop()] = None
        return list(chain)

    def _spared(self, usage: Usage, goal: int) -> Usage:
        """The sequence without repetitions that it does as well without, the costliest left out first."""
        seen: set[Node] = set()
        repeated = []
        for step, node in enumerate(usage.steps):
            if node in seen:
                repeated.append(step)
            seen.add(node)
        out: set[int] = set()
        best = usage
        for step in sorted(repeated, key=lambda step: -self.work[usage.steps[step]]):
            rest = self.sequencer.usage([n for k, n in enumerate(usage.steps) if k != step and k not in out])
            if rest.peak <= goal:
                out.add(step)
                best = rest
        return best


def _unknown(node: Node) -> bool:
    """Whether nobody knows how long a node takes."""
    return node.op is while_loop or node.attrs.get("kind") == "opaque" or any(map(_unknown, _inner(node)))


def _work(node: Node) -> float:
    """The time that a node takes, in FLOPs."""
    if node.op is fused:
        return 1 + flops(node.body) + BALANCE * traffic(node)
    times: int = node.attrs.get("length", 1)
    return 1 + times * sum(map(_work, _inner(node)))


def _inner(node: Node) -> list[Node]:
    """The nodes of the bodies of control flow."""
    return [inner for body in node.regions for inner in body.nodes] if isinstance(node.op, Control) else []


def _readable(size: float) -> str:
    """A number of bytes in a unit that suits it."""
    for unit in ("KiB", "MiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} GiB"


def _place(node: Node | None) -> str:
    return f" at {', '.join(node.loc)}" if node is not None and node.loc else ""
