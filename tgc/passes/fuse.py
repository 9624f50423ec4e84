"""Operator fusion: every node ends up in a `fused` region that becomes one kernel.

Regions grow along edges, producer into consumer, while a template can still lower the union:

    map          elementwise ops and movements, any number of results of one shape
    reduce       folds of one shape along the same axes, what feeds them, and what uses their results along the kept
                 axes or, broadcast back, over the whole shape (softmax, normalizations, losses)
    contraction  one contraction, elementwise ops behind it, pools and transposes of their results
    product      the same behind a product in Winograd's domain
    scatter      one scatter
    cumulative   one fold that keeps its intermediate results
    attention    one attention, or its gradient, and slices of tensors in memory that it reads
    opaque       one routine of a library
    tiles        one transform of windows

Control flow stays as it is, between regions; its bodies are graphs that are fused by themselves.
Cheap movements (fills, broadcasts, slices, ...) belong to no region: each region that reads one has a copy of it.
Reshapes of row-major tensors are views and stay between regions too; so do barriers, which are done with once the
order of the kernels is settled.

What a region would store for others, though they can compute it again from values that are in memory anyway, it does
not store (`recompute.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tgc.errors import PassError
from tgc.ir import Builder, Graph, Node, Value
from tgc.ops import movement
from tgc.ops.kinds import Movement, Reduce, Region
from tgc.ops.region import fused
from tgc.ops.window import POOLS
from tgc.passes.groups import Group, merge, path_around, rank
from tgc.passes.manager import Target, refuse, register
from tgc.passes.reads import ALONE, FIRST, FROM_MEMORY, VIEWS, computed, free, stays
from tgc.passes.recompute import inputs_of, recompute
from tgc.passes.templates import unfit_contraction, unfit_map, unfit_reduce
from tgc.sizes import key_of


@register
@dataclass(frozen=True)
class Fuse:
    """Partition the graph into regions of at most `limit` operands and `size` ops.

    An element of a region is one expression: ops that look at several places multiply, at most to `places` places.
    Values are computed again in the regions that read them where that moves fewer bytes and costs at most about `again`
    operations an element; 0 turns it off.
    """

    name: ClassVar[str] = "fuse"
    limit: int = 24
    size: int = 96
    places: int = 256
    again: int = 24

    def __call__(self, graph: Graph, target: Target) -> Graph:
        if held := next((n for n in graph.nodes if isinstance(n.op, Region) and n.op.transparent), None):
            raise PassError(f"fuse: {held.op.name} @{held.body.name} is still whole: `inline` must come before")
        return Partition(graph, self).run()


Places = frozenset[tuple[object, ...]]  # where nodes are evaluated for one element: the movements looked through, node


def _places(node: Node, known: Mapping[Node, Places]) -> Places:
    """The places of a node and of those below it that are `known`."""
    made = [v.node for v in node.operands if v.node is not None]
    below: Places = frozenset().union(*(known[n] for n in made if n in known))
    if isinstance(node.op, Movement):
        looks = range(node.op.loads(**node.attrs)) if node.operands else ()
        below = frozenset((id(node), k, *place) for k in looks for place in below)
    return below | {(id(node),)}


class Partition:
    """A graph's nodes in groups.

    Attributes:
        group: the group of each node; cheap movements have none, unless they must lie in memory.
        copies: node -> groups that compute it again.
        outputs: the graph's.
    """

    def __init__(self, graph: Graph, options: Fuse) -> None:
        self.graph, self.options = graph, options
        self.order: dict[Node, int] = {}
        for i, node in enumerate(graph.nodes):
            if any(v.node is not None and v.node not in self.order for v in node.operands):
                raise PassError(f"fuse: node {i} of @{graph.name}, {node!r}, reads what is computed later")
            self.order[node] = i
        self.outputs = frozenset(graph.outputs)
        self.group: dict[Node, Group] = {}
        self.copies: dict[Node, set[Group]] = {}
        self._likenesses: dict[Group, tuple[object, ...]] = {}
        self.materialized = self._materialized()
        self.materialized |= self._too_wide()
        for node in graph.nodes:
            if not free(node) or node in self.materialized:
                self.group[node] = Group([node])  # reshapes too: views that nothing is merged with
        rank(self.group.values())
        for node, group in self.group.items():
            for source in self.sources(node):
                if source in self.group:
                    group.follow(self.group[source])

    def _materialized(self) -> set[Node]:
        """Cheap movements that must lie in memory: for contractions, scatters, control flow, reshapes, as results."""
        needed = {v.node for v in self.graph.outputs if v.node is not None}
        for node in self.graph.nodes:
            if isinstance(node.op, FROM_MEMORY) or node.op in VIEWS:
                read = node.operands[:1] if node.op in VIEWS else [v for v in node.operands if v not in computed(node)]
                needed.update(v.node for v in read if v.node is not None)
        return {n for n in needed if free(n)}

    def _too_wide(self) -> set[Node]:
        """Cheap movements of movements that look at too many places to be computed by their readers."""
        wide: set[Node] = set()
        places: dict[Node, Places] = {}
        for node in self.graph.nodes:
            if free(node) and node not in self.materialized:
                places[node] = _places(node, places)
                if len(places[node]) > self.options.places:
                    wide.add(node)
                    del places[node]
        return wide

    def sources(self, node: Node) -> list[Node]:
        """The nodes whose results a node reads, cheap movements looked through, nearest first."""
        found: dict[Node, None] = {}
        stack = list(node.operands)
        while stack:
            made = stack.pop(0).node
            if made is None:
                continue
            if made in self.group:
                found[made] = None
            else:
                stack.extend(made.operands)
        return list(found)

    # -------------------------------------------------------------------------------------------------- partition

    def run(self) -> Graph:
        self._join_pools()
        for node in self.graph.nodes:
            if node not in self.group or stays(node):
                continue
            # nearest producers first; contractions before others, since they can only be joined, never joined to two
            sources = sorted(self.sources(node), key=lambda s: (not isinstance(s.op, tuple(FIRST)), -self.order[s]))
            for source in sources:
                producer, consumer = self.group[source], self.group[node]
                if producer is not consumer and not stays(source):
                    self._try(producer, consumer)
        self._join_siblings()
        while self.options.again and recompute(self):  # readers of what is dropped read other values
            self._join_siblings()
        return self._emit()

    def _join_pools(self) -> None:
        """Merge what pools the same tensor by the same windows, so that all of it can be pooled where it is made."""
        for v in (r for n in self.graph.nodes for r in n.results):
            first: dict[tuple[object, ...], Node] = {}
            for node in self.graph.uses.get(v, ()):
                if node.op in POOLS:
                    windows = tuple(node.attrs[key] for key in ("window", "stride", "padding", "dilation"))
                    other = self.group[first.setdefault(windows, node)]
                    if other is not self.group[node]:
                        self._try(other, self.group[node])

    def _join_siblings(self) -> None:
        """Merge maps of one shape, and folds of one shape along the same axes, that read the same memory: once."""
        made = (r for n in self.graph.nodes if n in self.group for r in n.results)
        for v in (*self.graph.inputs, *made):
            alike: dict[tuple[object, ...], list[Group]] = {}
            for g in self.readers(v) if v.type.size > 1 else ():
                if key := self._likeness(g):
                    alike.setdefault(key, []).append(g)
            for groups in alike.values():
                for g in groups[1:]:
                    first, second = self.group[groups[0].nodes[0]], self.group[g.nodes[0]]
                    if first is not second and not path_around(second, first):
                        self._try(first, second)

    def _likeness(self, group: Group) -> tuple[object, ...]:
        """What siblings must have in common; empty for groups that do not join any."""
        if group not in self._likenesses:
            kind = self.kind(group.nodes)
            found: tuple[object, ...] = (kind,) if kind == "map" else ()
            if kind == "reduce":
                fold = next(n for n in group.nodes if isinstance(n.op, Reduce))
                found = key_of(fold.operands[0].shape), fold.attrs["axes"], fold.attrs["chunks"]
            self._likenesses[group] = found
        return self._likenesses[group]

    def _try(self, producer: Group, consumer: Group) -> None:
        nodes = sorted({*producer.nodes, *consumer.nodes}, key=self.order.__getitem__)
        again = (producer.again | consumer.again) - set(nodes)
        around = path_around(producer, consumer)
        reason = "another kernel runs between the two" if around else self.unfit(nodes, again)
        if reason:
            last, first = producer.nodes[-3:], consumer.nodes[:3]
            refuse("fuse", f"{'+'.join(n.op.name for n in last)} into {'+'.join(n.op.name for n in first)}", reason)
            return
        merged = Group(nodes)
        merge(merged, producer, consumer)
        for node in nodes:
            self.group[node] = merged
        for old in (producer, consumer):
            self.compute_again(old, ())
        self.compute_again(merged, again)

    def computes(self, group: Group) -> bool:
        """Whether a group becomes a kernel rather than a view or control flow."""
        return not stays(group.nodes[0])

    def compute_again(self, group: Group, nodes: Iterable[Node]) -> None:
        """Let `nodes`, of other groups, be computed by `group` for itself, and no others."""
        for node in group.again:
            self.copies[node].discard(group)
        group.again = frozenset(nodes)
        for node in group.again:
            self.copies.setdefault(node, set()).add(group)

    def closure(self, nodes: Iterable[Node]) -> list[Node]:
        """The nodes of a region with the cheap movements that it reads through, in order."""
        own = set(nodes)
        found = dict.fromkeys(own)
        stack = [v for n in own for v in computed(n)]
        while stack:
            made = stack.pop().node
            if made is None or made in found or made in own or made in self.materialized or not free(made):
                continue
            found[made] = None
            stack.extend(made.operands)
        return sorted(found, key=self.order.__getitem__)

    def results(self, nodes: Sequence[Node]) -> list[Value]:
        """Values made by `nodes` (no copies of movements) that something else needs."""
        own = set(nodes)

        def elsewhere(r: Value) -> bool:
            return any(g.nodes[0] not in own and r.node not in g.again for g in self._each_reader(r))

        return [r for node in nodes for r in node.results if r in self.outputs or elsewhere(r)]

    def readers(self, v: Value) -> dict[Group, None]:
        """The groups that compute something from `v`, cheap movements looked through."""
        return dict.fromkeys(self._each_reader(v))

    def _each_reader(self, v: Value) -> Iterator[Group]:
        """The readers of `v`, some of them several times: one at a time, since a scalar may have very many."""
        for user in self.graph.uses.get(v, ()):
            if user in self.group:
                yield self.group[user]
                if copies := self.copies.get(user):
                    yield from sorted(copies, key=lambda g: self.order[g.nodes[0]])
            else:
                for r in user.results:
                    yield from self._each_reader(r)

    def parts(self, group: Group) -> tuple[list[Node], list[Value]]:
        """The nodes that a group's results need, and the results.

        Nodes come right before what reads them first, wherever in the graph they are: regions that are alike are equal.
        """
        results = self.results(group.nodes)
        own = set(self.closure([*group.nodes, *group.again]))
        needed: dict[Node, None] = {}
        stack = [v.node for v in reversed(results)]
        while stack:
            node = stack[-1]
            assert node is not None
            below = next((v.node for v in computed(node) if v.node in own and v.node not in needed), None)
            if below is None:
                needed[node] = None
                stack.pop()
            else:
                stack.append(below)
        return list(needed), results

    # ---------------------------------------------------------------------------------------------------- templates

    def unfit(self, nodes: Sequence[Node], again: Iterable[Node]) -> str:
        """Why no template lowers these nodes as one region; empty if one does."""
        kinds = [type(n.op) for n in nodes]
        if alone := next((ALONE[k] for k in kinds if k in ALONE), None):
            return f"{alone} ops stay alone"
        first = [n for n in nodes if type(n.op) in FIRST]
        if len(first) > 1:
            return "two contractions"
        closure = self.closure([*nodes, *again])
        if len(closure) > self.options.size:
            return f"the region would have {len(closure)} ops"
        if len(inputs_of(closure)) > self.options.limit:
            return f"the region would have {len(inputs_of(closure))} operands"
        if wide := self._wide(closure):
            return f"{wide.op.name} would look at more than {self.options.places} places for each element"
        results = self.results(nodes)
        if first:
            return unfit_contraction(first[0], nodes, closure, results)
        if Reduce in kinds:
            return unfit_reduce(nodes, closure, results)
        return unfit_map(closure, results)

    def _wide(self, closure: Sequence[Node]) -> Node | None:
        """The first node of a region that looks at too many places."""
        looks = (n.op.loads(**n.attrs) for n in closure if isinstance(n.op, Movement) and n.operands)
        if len(closure) <= self.options.places and all(k <= 1 for k in looks):
            return None  # each node is one place
        places: dict[Node, Places] = {}
        for n in closure:
            places[n] = _places(n, places)
            if len(places[n]) > self.options.places:
                return n
        return None

    def kind(self, nodes: Sequence[Node]) -> str:
        """The template of a region; none for what stays between regions."""
        for op, kind in (FIRST | {Reduce: "reduce"} | ALONE).items():
            if any(isinstance(n.op, op) for n in nodes):
                return kind
        return "" if stays(nodes[0]) else "map"

    # ------------------------------------------------------------------------------------------------------ emission

    def _emit(self) -> Graph:
        done: set[Group] = set()
        builder = Builder(self.graph.name)
        env: dict[Value, Value] = {v: builder.input(v.type, v.name) for v in self.graph.inputs}
        for c in self.graph.constants:
            env[c.value] = builder.adopt(c)

        def emit(group: Group) -> None:
            if group in done:
                return
            done.add(group)
            closure, results = self.parts(group)
            for node in sorted(closure, key=self.order.__getitem__) or group.nodes:
                for v in node.operands:
                    provide(v, {*group.nodes, *group.again})
            if not self.kind(group.nodes):
                (node,) = group.nodes
                if node.op in VIEWS:
                    t = node.result.type
                    made = builder.emit(
                        movement.reshape, (env[node.operands[0]],), {"shape": t.shape}, node.loc, types=[t]
                    )
                else:
                    made = builder.emit(node.op, [env[v] for v in node.operands], node.attrs, node.loc)
                env.update(zip(node.results, made, strict=True))
            elif results:  # somebody needs it
                _region(builder, env, closure, results, self.kind(closure))

        def provide(v: Value, own: set[Node]) -> None:
            """Make sure that `v` is in memory, if a region reads it from there."""
            if v not in env and v.node is not None and v.node not in own and v.node in self.group:
                emit(self.group[v.node])

        for node in self.graph.nodes:
            if node in self.group:
                emit(self.group[node])
        for v in self.graph.outputs:
            provide(v, set())
        return builder.build([env[v] for v in self.graph.outputs])


def _region(
    builder: Builder, env: dict[Value, Value], closure: Sequence[Node], results: Sequence[Value], kind: str
) -> None:
    """Emit a region of the nodes of a closure; `env` has what it reads, and gets its results."""
    inputs = inputs_of(closure)
    body = Builder(_name(closure))
    local: dict[Value, Value] = {v: body.input(v.type, f"x{k}") for k, v in enumerate(inputs)}
    for node in closure:
        local.update(zip(node.results, body.again(node, tuple(local[v] for v in node.operands)), strict=True))
    graph = body.build([local[r] for r in results])
    loc = tuple(dict.fromkeys(place for node in closure for place in node.loc))[:4]
    attrs: dict[str, Any] = {"body": graph, "kind": kind, "places": ()}
    env.update(zip(results, builder.emit(fused, [env[v] for v in inputs], attrs, loc), strict=True))


def _name(closure: Sequence[Node]) -> str:
    """A kernel's name: its ops, the weightiest first where there are many."""
    quiet = {"full", "broadcast", "iota", "cast"}
    names = [n.op.name for n in closure if n.op.name not in quiet] or [n.op.name for n in closure]
    heavy = [n.op.name for n in closure if isinstance(n.op, FROM_MEMORY | Reduce)]
    light = [n for n in names if n not in heavy]
    kept = list(dict.fromkeys([*heavy, *light]))
    return "_".join(kept[:4]) + (f"_and_{len(kept) - 4}" if len(kept) > 4 else "")


__all__ = ["Fuse", "free"]
