"""Groups of nodes that become kernels, kept in an order in which they can run while they are merged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tgc.ir import Node


@dataclass(eq=False)
class Group:
    """Nodes that become one kernel.

    Attributes:
        nodes: those that it computes for all, in graph order.
        after: groups that read from this one; changed by `follow` and `replace` alone.
        before: groups that this one reads from.
        again: nodes of other groups that it computes for itself.
        rank: less than that of the groups in `after`.
    """

    nodes: list[Node]
    after: set[Group] = field(default_factory=set)
    before: set[Group] = field(default_factory=set)
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
        for g in self.after:
            g.before -= parts
            g.before.add(self)
        for g in self.before:
            g.after -= parts
            g.after.add(self)


class Ranks:
    """The groups of a graph, each at the index that is its rank.

    Merging two groups changes the ranks of those between them alone (Pearce and Kelly, "A Dynamic Topological Sort
    Algorithm for Directed Acyclic Graphs", 2007). The order of nodes says nothing of merged groups, whose nodes may be
    far apart.
    """

    def __init__(self, groups: Iterable[Group]) -> None:
        self.ranked: list[Group | None] = list(groups)
        for rank, group in enumerate(self.ranked):
            assert group is not None
            group.rank = rank

    def merge(self, merged: Group, a: Group, b: Group) -> None:
        """Put `merged` where the last of its parts was, and what runs after the first one behind it."""
        first, last = sorted((a, b), key=lambda g: g.rank)
        behind: set[Group] = set()
        stack = [first]
        while stack:
            for g in stack.pop().after - behind:
                if g.rank < last.rank:
                    behind.add(g)
                    stack.append(g)
        between = [g for g in self.ranked[first.rank : last.rank + 1] if g is not None and g not in (first, last)]
        order = [*(g for g in between if g not in behind), merged, *(g for g in between if g in behind)]
        free = last.rank + 1 - first.rank - len(order)
        self.ranked[first.rank : last.rank + 1] = [*order, *[None] * free]
        for rank, g in enumerate(order, first.rank):
            g.rank = rank


def path_around(producer: Group, consumer: Group) -> bool:
    """Whether the consumer depends on the producer by way of other groups: merged they would wait for themselves."""
    seen: set[Group] = set()
    stack = [g for g in producer.after if g is not consumer]
    while stack:
        g = stack.pop()
        if g is consumer:
            return True
        if g not in seen and g.rank < consumer.rank:
            seen.add(g)
            stack.extend(g.after)
    return False


__all__ = ["Group", "Ranks", "path_around"]
