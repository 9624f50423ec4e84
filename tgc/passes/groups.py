"""Groups of nodes that become kernels, kept in an order in which they can run while they are merged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tgc.ir import Node


@dataclass(eq=False)
class Group:
    """Nodes that become one kernel.

    Attributes:
        nodes: those that it computes for all, in graph order.
        after: groups that read from this one; changed by `follow` and `replace` alone.
        before: groups that this one reads from.
        beyond: some of the groups that depend on this one by way of others: those that `path_around` found.
        again: nodes of other groups that it computes for itself.
        rank: less than that of the groups in `after`.
    """

    nodes: list[Node]
    after: set[Group] = field(default_factory=set)
    before: set[Group] = field(default_factory=set)
    beyond: set[Group] = field(default_factory=set)
    again: frozenset[Node] = frozenset()
    rank: int = 0

    def follow(self, producer: Group) -> None:
        """Note that this group reads from `producer`."""
        producer.after.add(self)
        self.before.add(producer)

    def replace(self, a: Group, b: Group) -> None:
        """Take the place of two groups between those that they read from and those that read from them."""
        parts = {a, b}
        self.after, self.before = (a.after | b.after) - parts, (a.before | b.before) - parts
        self.beyond = a.beyond | b.beyond
        for g in self.after:
            g.before -= parts
            g.before.add(self)
        for g in self.before:
            g.after -= parts
            g.after.add(self)


def rank(groups: Iterable[Group]) -> None:
    """Number groups, listed in an order in which they can run."""
    for k, group in enumerate(groups):
        group.rank = k


def merge(merged: Group, a: Group, b: Group) -> None:
    """Put `merged`, which is new, in the place of two groups that `path_around` finds no other group between.

    Where nothing that the later one waits for runs between the two, it can run when the earlier one does, and the other
    way round. Else what the later one waits for, the merged group, and what waits for the earlier one share out their
    ranks; all others keep theirs (Pearce and Kelly, "A Dynamic Topological Sort Algorithm for Directed Acyclic Graphs",
    2007). The order of nodes says nothing of merged groups, whose nodes may be far apart.
    """
    first, last = sorted((a, b), key=lambda g: g.rank)
    if next(_ahead(last, first.rank), None) is None:
        merged.rank = first.rank
    elif next(_behind(first, last.rank), None) is None:
        merged.rank = last.rank
    else:
        ahead = sorted(_ahead(last, first.rank), key=lambda g: g.rank)
        behind = sorted(_behind(first, last.rank), key=lambda g: g.rank)
        ranks = sorted(g.rank for g in (first, *ahead, *behind))  # that of `last`, the greatest, goes to none of them
        for g, k in zip((*ahead, merged, *behind), ranks, strict=True):
            g.rank = k
    merged.replace(a, b)


def path_around(producer: Group, consumer: Group) -> bool:
    """Whether the consumer depends on the producer by way of other groups: merged they would wait for themselves.

    Searched from both ends in turn, since often little lies beyond the one end, and much beyond the other. What has
    been found is kept: layer after layer is tried with the first one, and depends on it by way of the layer before.
    """
    behind: set[Group] = set()
    ahead: set[Group] = set()
    for g, h in zip(_behind(producer, consumer.rank), _ahead(consumer, producer.rank), strict=False):
        behind.add(g)
        ahead.add(h)
        if consumer in g.after or producer in h.before or g in ahead or h in behind or h in producer.beyond:
            producer.beyond.add(consumer)
            return True
    return False  # one side has been searched as far as there is anything


def _behind(group: Group, rank: int) -> Iterator[Group]:
    """The groups of less than a rank that depend on `group`, the nearest first."""
    seen: set[Group] = set()
    queue = deque([group])
    while queue:
        for g in queue.popleft().after:
            if g.rank < rank and g not in seen:
                seen.add(g)
                queue.append(g)
                yield g


def _ahead(group: Group, rank: int) -> Iterator[Group]:
    """The groups of more than a rank that `group` depends on, the nearest first."""
    seen: set[Group] = set()
    queue = deque([group])
    while queue:
        for g in queue.popleft().before:
            if g.rank > rank and g not in seen:
                seen.add(g)
                queue.append(g)
                yield g


__all__ = ["Group", "merge", "path_around", "rank"]
