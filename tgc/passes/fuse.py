"""Operator fusion: every node ends up in a `fused` region that becomes one kernel.

Regions grow along edges, producer into consumer, while a template can still lower the union:

    map          elementwise ops and movements, any number of results of one shape
    reduce       folds of one shape along the same axes, what feeds them, and what uses their results along the kept
                 axes or, broadcast back, over the whole shape (softmax, normalizations, losses)
    contraction  one contraction, elementwise ops behind it, and transposes of their results
    scatter      one scatter
    cumulative   one fold that keeps its intermediate results
    opaque       one routine of a library

Control flow stays as it is, between regions; its bodies are graphs that are fused by themselves.
Cheap movements (fills, broadcasts, slices, ...) belong to no region: each region that reads one has a copy of it.
Reshapes of row-major tensors are views and stay between regions too; so do barriers, which are done with once the
order of the kernels is settled.

What a region would store for others, though they can compute it again from values that are in memory anyway, it does
not store (`recompute.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tgc.ir import Builder, Graph, Node, Value
from tgc.ops import movement
from tgc.ops.cumulative import Cumulative
from tgc.ops.kinds import Contraction, Control, Elementwise, Movement, Reduce, Scatter
from tgc.ops.opaque import Opaque
from tgc.ops.region import fused
from tgc.passes.manager import Target, refuse, register
from tgc.passes.recompute import inputs_of, recompute


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
        return Partition(graph, self).run()


ALONE = {Scatter: "scatter", Cumulative: "cumulative", Opaque: "opaque"}  # kinds of ops that nothing is fused with
FROM_MEMORY = Contraction | Scatter | Cumulative | Opaque | Control  # kinds of ops that read their operands from memory
Places = frozenset[tuple[object, ...]]  # where nodes are evaluated for one element: the movements looked through, node


def _places(node: Node, known: Mapping[Node, Places]) -> Places:
    """The places of a node and of those below it that are `known`."""
    made = [v.node for v in node.operands if v.node is not None]
    below: Places = frozenset().union(*(known[n] for n in made if n in known))
    if isinstance(node.op, Movement):
        looks = range(node.op.loads(**node.attrs)) if node.operands else ()
        below = frozenset((id(node), k, *place) for k in looks for place in below)
    return below | {(id(node),)}


@dataclass(eq=False)
class Group:
    """Nodes that become one kernel.

    Attributes:
        nodes: those that it computes for all, in graph order.
        after: groups that read from this one.
        again: nodes of other groups that it computes for itself.
    """

    nodes: list[Node]
    after: set[Group] = field(default_factory=set)
    again: frozenset[Node] = frozenset()


VIEWS = (movement.reshape, movement.barrier)  # their results lie where operand 0 lies


def free(node: Node) -> bool:
    """Whether readers compute the node's elements themselves rather than load them.

    Views are not read through, and what `take` checks must not end up behind a guard.
    """
    return isinstance(node.op, Movement) and node.op.cheap and node.op not in (*VIEWS, movement.take)


def stays(node: Node) -> bool:
    """Whether a node is no part of any region: views, and control flow."""
    return node.op in VIEWS or isinstance(node.op, Control)


class Partition:
    """A graph's nodes in groups.

    Attributes:
        group: the group of each node; cheap movements have none, unless they must lie in memory.
        copies: node -> groups that compute it again.
    """

    def __init__(self, graph: Graph, options: Fuse) -> None:
        self.graph, self.options = graph, options
        self.order = {node: i for i, node in enumerate(graph.nodes)}
        self.group: dict[Node, Group] = {}
        self.copies: dict[Node, set[Group]] = {}
        self.materialized = self._materialized()
        self.materialized |= self._too_wide()
        for node in graph.nodes:
            if not free(node) or node in self.materialized:
                self.group[node] = Group([node])  # reshapes too: views that nothing is merged with
        for node in self.group:
            for source in self.sources(node):
                if source in self.group:
                    self.group[source].after.add(self.group[node])

    def _materialized(self) -> set[Node]:
        """Cheap movements that must lie in memory: for contractions, scatters, control flow, reshapes, as results."""
        needed = {v.node for v in self.graph.outputs if v.node is not None}
        for node in self.graph.nodes:
            if isinstance(node.op, FROM_MEMORY) or node.op in VIEWS:
                read = node.operands[:1] if node.op in VIEWS else node.operands
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
        for node in self.graph.nodes:
            if node not in self.group or stays(node):
                continue
            # nearest producers first; contractions before others, since they can only be joined, never joined to two
            sources = sorted(self.sources(node), key=lambda s: (not isinstance(s.op, Contraction), -self.order[s]))
            for source in sources:
                producer, consumer = self.group[source], self.group[node]
                if producer is not consumer and not stays(source):
                    self._try(producer, consumer)
        self._join_siblings()
        while self.options.again and recompute(self):  # readers of what is dropped read other values
            self._join_siblings()
        return self._emit()

    def _join_siblings(self) -> None:
        """Merge maps of one shape, and folds of one shape along the same axes, that read the same tensor: once."""
        for v in (*self.graph.inputs, *(r for n in self.graph.nodes for r in n.results)):
            alike: dict[tuple[object, ...], list[Group]] = {}
            for g in self.readers(v) if v.type.size > 1 else ():
                if key := self._likeness(g):
                    alike.setdefault(key, []).append(g)
            for groups in alike.values():
                for g in groups[1:]:
                    first, second = self.group[groups[0].nodes[0]], self.group[g.nodes[0]]
                    if first is not second and not self._path_around(second, first):
                        self._try(first, second)

    def _likeness(self, group: Group) -> tuple[object, ...]:
        """What siblings must have in common; empty for groups that do not join any."""
        kind = self.kind(group.nodes)
        if kind == "reduce":
            fold = next(n for n in group.nodes if isinstance(n.op, Reduce))
            return fold.operands[0].shape, fold.attrs["axes"], fold.attrs["chunks"]
        return (kind,) if kind == "map" else ()

    def _try(self, producer: Group, consumer: Group) -> None:
        what = (
            f"{'+'.join(n.op.name for n in producer.nodes[-3:])} into {'+'.join(n.op.name for n in consumer.nodes[:3])}"
        )
        nodes = sorted({*producer.nodes, *consumer.nodes}, key=self.order.__getitem__)
        again = (producer.again | consumer.again) - set(nodes)
        reason = self._path_around(producer, consumer) or self.unfit(nodes, again)
        if reason:
            refuse("fuse", what, reason)
            return
        merged = Group(nodes, (producer.after | consumer.after) - {producer, consumer})
        for node in nodes:
            self.group[node] = merged
        for old in (producer, consumer):
            self.compute_again(old, ())
        self.compute_again(merged, again)
        for other in set(self.group.values()):
            if producer in other.after or consumer in other.after:
                other.after -= {producer, consumer}
                other.after.add(merged)

    def _path_around(self, producer: Group, consumer: Group) -> str:
        last = self.order[consumer.nodes[-1]]
        seen: set[Group] = set()
        stack = [g for g in producer.after if g is not consumer]
        while stack:
            g = stack.pop()
            if g is consumer:
                return "another kernel runs between the two"
            if g in seen or self.order[g.nodes[0]] > last:
                continue
            seen.add(g)
            stack.extend(g.after)
        return ""

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
        stack = [v for n in own if not isinstance(n.op, FROM_MEMORY) for v in n.operands]
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
        outputs = set(self.graph.outputs)

        def elsewhere(r: Value) -> bool:
            return any(g.nodes[0] not in own and r.node not in g.again for g in self.readers(r))

        return [r for node in nodes for r in node.results if r in outputs or elsewhere(r)]

    def readers(self, v: Value) -> dict[Group, None]:
        """The groups that compute something from `v`, cheap movements looked through."""
        found: dict[Group, None] = {}
        for user in self.graph.uses.get(v, ()):
            if user in self.group:
                found[self.group[user]] = None
                found.update(dict.fromkeys(sorted(self.copies.get(user, ()), key=self._first)))
            else:
                for r in user.results:
                    found.update(self.readers(r))
        return found

    def _first(self, group: Group) -> int:
        return self.order[group.nodes[0]]

    def parts(self, group: Group) -> tuple[list[Node], list[Value]]:
        """The nodes that a group's results need, in order, and the results."""
        results = self.results(group.nodes)
        needed: dict[Node, None] = {}
        inside = self.closure([*group.nodes, *group.again])
        own = set(inside)
        stack = [v.node for v in results]
        while stack:
            node = stack.pop()
            if node in own and node not in needed and node is not None:
                needed[node] = None
                if not isinstance(node.op, FROM_MEMORY):
                    stack += [v.node for v in node.operands]
        return [n for n in inside if n in needed], results

    # ---------------------------------------------------------------------------------------------------- templates

    def unfit(self, nodes: Sequence[Node], again: Iterable[Node]) -> str:
        """Why no template lowers these nodes as one region; empty if one does."""
        closure = self.closure([*nodes, *again])
        if len(closure) > self.options.size:
            return f"the region would have {len(closure)} ops"
        if len(inputs_of(closure)) > self.options.limit:
            return f"the region would have {len(inputs_of(closure))} operands"
        places: dict[Node, Places] = {}
        for n in closure:
            places[n] = _places(n, places)
            if len(places[n]) > self.options.places:
                return f"{n.op.name} would look at more than {self.options.places} places for each element"
        kinds = [type(n.op) for n in nodes]
        results = self.results(nodes)
        if alone := next((ALONE[k] for k in kinds if k in ALONE), None):
            return f"{alone} ops stay alone"
        if kinds.count(Contraction) > 1:
            return "two contractions"
        if kinds.count(Contraction):
            return _unfit_contraction(nodes, closure)
        if kinds.count(Reduce):
            return _unfit_reduce(nodes, closure, results)
        return _unfit_map(closure, results)

    def kind(self, nodes: Sequence[Node]) -> str:
        """The template of a region; none for what stays between regions."""
        for op, kind in ({Contraction: "contraction", Reduce: "reduce"} | ALONE).items():
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
            for node in self.parts(group)[0] or group.nodes:
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
            else:
                self._region(builder, env, group)

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

    def _region(self, builder: Builder, env: dict[Value, Value], group: Group) -> None:
        closure, results = self.parts(group)
        if not results:
            return  # nobody needs it
        inputs = inputs_of(closure)
        body = Builder(_name(closure))
        local: dict[Value, Value] = {v: body.input(v.type, f"x{k}") for k, v in enumerate(inputs)}
        for node in closure:
            operands = [local[v] for v in node.operands]
            made = body.emit(node.op, operands, node.attrs, node.loc, types=[r.type for r in node.results])
            local.update(zip(node.results, made, strict=True))
        graph = body.build([local[r] for r in results])
        loc = tuple(dict.fromkeys(place for node in closure for place in node.loc))[:4]
        attrs: dict[str, Any] = {"body": graph, "kind": self.kind(closure), "places": ()}
        made = builder.emit(fused, [env[v] for v in inputs], attrs, loc)
        env.update(zip(results, made, strict=True))


def _name(closure: Sequence[Node]) -> str:
    """A kernel's name: its ops, the weightiest first where there are many."""
    quiet = {"full", "broadcast", "iota", "cast"}
    names = [n.op.name for n in closure if n.op.name not in quiet] or [n.op.name for n in closure]
    heavy = [n.op.name for n in closure if isinstance(n.op, FROM_MEMORY | Reduce)]
    light = [n for n in names if n not in heavy]
    kept = list(dict.fromkeys([*heavy, *light]))
    return "_".join(kept[:4]) + (f"_and_{len(kept) - 4}" if len(kept) > 4 else "")


def _dependents(closure: Iterable[Node], roots: set[Node]) -> set[Node]:
    """The nodes behind `roots`, those included."""
    reached: set[Node] = set(roots)
    for node in closure:
        if any(v.node in reached for v in node.operands):
            reached.add(node)
    return reached


def _recomputed(closure: Sequence[Node], exempt: Iterable[Node] = ()) -> str:
    """Why reading through the movements of a region would compute elements several times; empty if it would not."""
    own, exempt = set(closure), set(exempt)
    for node in closure:
        if not isinstance(node.op, Movement) or node in exempt or not node.operands:
            continue
        reads = node.op.reads(*(v.type for v in node.operands), **node.attrs)
        for v in node.operands:
            if reads > 1 and v.node in own and _costs(v, own):
                return f"{node.op.name} reads each element {reads:g} times, which would compute it as often"
            if v.node in own and _checked(v, own) and node.op.name in _GUARDED:
                return f"{node.op.name} cannot guard an index check"
    return ""


_GUARDED = frozenset({"pad", "concat", "window_sum", "window_max", "window_argmax", "window_scatter"})


def _costs(v: Value, own: set[Node]) -> bool:
    """Whether an element of `v` is more than a few loads inside of a region."""
    node = v.node
    if node is None or node not in own:
        return False
    return not isinstance(node.op, Movement) or not node.op.cheap or any(_costs(o, own) for o in node.operands)


def _checked(v: Value, own: set[Node]) -> bool:
    node = v.node
    if node is None or node not in own:
        return False
    return node.op is movement.take or any(_checked(o, own) for o in node.operands)


def _unfit_map(closure: Sequence[Node], results: Sequence[Value]) -> str:
    types = {(v.shape, v.type.layout) for v in results}
    if len(types) > 1:
        return f"results of different shapes: {', '.join(sorted(str(v.type) for v in results))}"
    return _recomputed(closure)


def _unfit_contraction(nodes: Sequence[Node], closure: Sequence[Node]) -> str:
    (root,) = (n for n in nodes if isinstance(n.op, Contraction))
    shape = root.result.shape
    behind = _dependents(closure, {root})
    for node in nodes:
        if node is root or _transposed(node, shape, closure):
            continue
        if not isinstance(node.op, Elementwise):
            return f"{node.op.name} is not elementwise"
        if node.result.shape != shape:
            return f"the epilogue has shape {shape}, {node.op.name} {node.result.shape}"
    if any(v.node in closure for v in root.operands):
        return "a contraction reads its operands from memory"
    for node in behind:
        if node is not root and not isinstance(node.op, Elementwise) and not _transposed(node, shape, closure):
            return f"{node.op.name} moves the contraction's elements"
    return _recomputed(closure)


def _transposed(node: Node, shape: tuple[int, ...], closure: Sequence[Node]) -> bool:
    """Whether a node is a transpose of what an epilogue computes, and the last to use it: elements are stored so."""
    own = node.op is movement.transpose and node.operands[0].shape == shape and node.operands[0].type.layout is None
    return own and not any(v is node.result for n in closure for v in n.operands)


COLUMN_LIMIT = 1 << 14  # elements of a reduction along outer axes beyond which its consumers get kernels of their own


def _unfit_reduce(nodes: Sequence[Node], closure: Sequence[Node], results: Sequence[Value]) -> str:
    folds = [n for n in nodes if isinstance(n.op, Reduce)]
    first = folds[0]
    full, axes = first.operands[0].shape, first.attrs["axes"]
    kept = first.result.shape
    for n in folds:
        if n.operands[0].shape != full or n.attrs["axes"] != axes or n.attrs["chunks"] != first.attrs["chunks"]:
            return f"folds of {full} along {axes} and of {n.operands[0].shape} along {n.attrs['axes']}"
    behind = _dependents(closure, set(folds))
    back = tuple(a for a in range(len(full)) if a not in axes)
    spreads = set()
    for node in behind:
        if isinstance(node.op, Elementwise):
            if node.result.shape not in (full, kept):
                return f"{node.op.name} of shape {node.result.shape} behind a fold of {full}"
        elif node.op is movement.broadcast:
            if node.operands[0].shape != kept or node.attrs["axes"] != back or node.result.shape != full:
                return "a broadcast other than back along the folded axes"
            spreads.add(node)
        elif not isinstance(node.op, Reduce):
            return f"{node.op.name} moves what has been folded"
    if kept == full and len(behind) > len(folds):
        return "a fold over nothing"
    for v in results:
        if v.shape not in (full, kept):
            return f"a result of shape {v.shape} beside a fold of {full}"
    rank = len(full)
    size = first.operands[0].type.size
    if spreads and rank and rank - 1 in back and size > COLUMN_LIMIT:
        return "consumers of a fold along outer axes run in parallel only by themselves"
    return _recomputed(closure, spreads)


__all__ = ["Fuse", "free"]
