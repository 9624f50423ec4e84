"""What the explorer shows, as JSON: stages, kernels, the arena and the profile.

    {"name", "graphs", "stages": [[name, number of its graph]], "records", "types", "kernels": {name: source},
     "arena": {"bytes", "steps", "buffers"}, "profile": {"wall", "explained", "flops", "bandwidth", "rows"} | null,
     "remarks": [[pass, what, why]]}

A graph is `{"name", "inputs", "constants", "nodes", "outputs"}`; its values are numbered: inputs, constants, results.
A node is `[record, lineage, operands, kernels, regions]`: the record is what it has in common with others like it,
the lineage the number under which all stages know it (see `lineage.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tgc.ir import Attr, Graph, Node, Op, Value
from tgc.ops.attention import Attention
from tgc.ops.control import every_node
from tgc.ops.cumulative import Cumulative
from tgc.ops.kinds import Contraction, Control, Elementwise, Movement, Reduce, Scatter
from tgc.ops.region import fused
from tgc.passes.manager import Refusal
from tgc.passes.memory import Scratch, arena_bytes, kind_and_number, root
from tgc.runtime.lowered import Lowered
from tgc.runtime.profile import Profile
from tgc.runtime.registry import get_backend
from tgc.sizes import hints_of
from tgc.text import print_attribute, value_names
from tgc.types import TensorType
from tgc.view.lineage import Lineages

Json = Any


@dataclass(frozen=True)
class Model:
    """A model to be looked at.

    Attributes:
        name: of its function.
        stages: the graph as traced and after each pass; the last one is planned.
        kernels: name -> source.
        owned: fused node of the last stage -> the names of its kernels.
        profile: of a call, if one was measured.
        refusals: what passes declined.
    """

    name: str
    stages: Mapping[str, Graph]
    kernels: Mapping[str, str] = field(default_factory=dict)
    owned: Mapping[Node, Sequence[str]] = field(default_factory=dict)
    profile: Profile | None = None
    refusals: Sequence[Refusal] = ()

    @staticmethod
    def of(lowered: Lowered, profile: Profile | None = None) -> Model:
        """A graph on its way to machine code."""
        made = lowered.compilation
        return Model.planned(lowered.graph.name, made.stages, lowered.kernels, lowered.backend, profile, made.refusals)

    @staticmethod
    def planned(
        name: str, stages: Mapping[str, Graph], kernels: Mapping[str, str], backend: str,
        profile: Profile | None = None, refusals: Sequence[Refusal] = (),
    ) -> Model:  # fmt: skip
        """Stages of which the last one is planned for a backend."""
        owned = get_backend(backend).kernels_of(list(stages.values())[-1])
        return Model(name, stages, kernels, owned, profile, refusals)

    def data(self) -> Json:
        """As JSON data."""
        tables = _Tables(self.owned)
        graphs: list[Json] = []
        stages: list[tuple[str, int]] = []
        before: Graph | None = None
        for name, graph in self.stages.items():
            if before is None or not _shared(before, graph):
                graphs.append(tables.stage(graph))
            stages.append((name, len(graphs) - 1))
            before = graph
        last = list(self.stages.values())[-1]
        return {
            "name": self.name,
            "graphs": graphs,
            "stages": [list(stage) for stage in stages],
            "types": [_type(t) for t in tables.types],
            "records": list(tables.records),
            "kernels": dict(self.kernels),
            "arena": _arena(last, tables.lineages.of),
            "profile": self._profile(last, tables.lineages.of),
            "remarks": [[r.by, r.what, r.reason] for r in self.refusals],
        }

    def _profile(self, last: Graph, lineage: Mapping[Node, int]) -> Json:
        if self.profile is None:
            return None
        waiting: dict[str, list[Node]] = {}  # rows and nodes of one kernel come in the same order
        for node in every_node(last):
            if node.op is fused:
                waiting.setdefault(f"{node.body.name}_{node.attrs['kind']}", []).append(node)
        rows = []
        for row in self.profile.rows:
            nodes = waiting.get(row.name.removesuffix(" (again)"))
            rows.append(
                {
                    "name": row.name,
                    "kind": row.kind,
                    "launches": row.launches,
                    "seconds": row.seconds,
                    "flops": row.flops,
                    "bytes": row.bytes,
                    "share": row.share if row.limit and math.isfinite(row.share) else None,
                    "loc": list(row.loc),
                    "node": lineage[nodes.pop(0)] if nodes else None,
                }
            )
        limits = self.profile.roofline
        return {
            "wall": self.profile.wall,
            "explained": self.profile.explained,
            "flops": limits.flops,
            "bandwidth": limits.bandwidth,
            "rows": rows,
        }


def _shared(a: Graph, b: Graph) -> bool:
    """Whether two graphs are the same values and nodes, as where a pass found nothing to do."""
    return a is b or (a.inputs, a.constants, a.nodes, a.outputs) == (b.inputs, b.constants, b.nodes, b.outputs)


class _Tables:
    """Numbers for what graphs have in common: types, and all of a node but its operands and regions."""

    def __init__(self, owned: Mapping[Node, Sequence[str]]) -> None:
        self.types: dict[TensorType, int] = {}
        self.records: list[Json] = []
        self.lineages = Lineages()
        self._owned = owned
        self._known: dict[object, int] = {}

    def stage(self, graph: Graph) -> Json:
        self.lineages.follow(graph)
        return self._graph(graph)

    def _graph(self, graph: Graph) -> Json:
        number: dict[Value, int] = {}
        for v in (*graph.inputs, *(c.value for c in graph.constants), *(r for n in graph.nodes for r in n.results)):
            number[v] = len(number)
        names = value_names(graph)
        return {
            "name": graph.name,
            "inputs": [[names[v], self._type(v)] for v in graph.inputs],
            "constants": [[names[c.value], self._type(c.value), c.digest] for c in graph.constants],
            "nodes": [
                [
                    self._record(node),
                    self.lineages.of[node],
                    [number[v] for v in node.operands],
                    list(self._owned.get(node, ())),
                    [[name, self._graph(region)] for name, region in named_regions(node)],
                ]
                for node in graph.nodes
            ],
            "outputs": [number[v] for v in graph.outputs],
        }

    def _type(self, value: Value) -> int:
        return self.types.setdefault(value.type, len(self.types))

    def _record(self, node: Node) -> int:
        key = node.op.name, node.attrs_key, tuple(r.type for r in node.results), node.loc
        if key not in self._known:
            self._known[key] = len(self.records)
            regions = dict(named_regions(node))
            self.records.append(
                {
                    "op": node.op.name,
                    "family": _family(node),
                    "label": node.body.name if node.op is fused else "",
                    "attrs": [[k, print_attribute(a)] for k, a in sorted(node.attrs.items()) if not _holds(a, regions)],
                    "types": [self._type(r) for r in node.results],
                    "loc": list(node.loc),
                }
            )
        return self._known[key]


# What ops, and fused regions by their kinds, are drawn as.
_FAMILIES: tuple[tuple[type[Op], str], ...] = (
    (Contraction, "contraction"),
    (Attention, "contraction"),
    (Reduce, "reduction"),
    (Cumulative, "reduction"),
    (Scatter, "reduction"),
    (Elementwise, "elementwise"),
    (Movement, "movement"),
    (Control, "control"),
)
_KINDS = {"map": "elementwise", "reduce": "reduction", "cumulative": "reduction", "scatter": "reduction"}
_KINDS |= dict.fromkeys(("contraction", "attention", "tiles", "product"), "contraction")


def _family(node: Node) -> str:
    if node.op is fused:
        return _KINDS.get(node.attrs["kind"], "other")
    return next((family for kind, family in _FAMILIES if isinstance(node.op, kind)), "other")


def _holds(attr: Attr, regions: Mapping[str, Graph]) -> bool:
    return any(attr is g or (isinstance(attr, tuple) and g in attr) for g in regions.values())


def named_regions(node: Node) -> Iterator[tuple[str, Graph]]:
    """The graphs among a node's attributes, with their names; those of a tuple are numbered."""
    for name, attr in sorted(node.attrs.items()):
        if isinstance(attr, Graph):
            yield name, attr
        elif isinstance(attr, tuple):
            yield from ((f"{name} {k}", a) for k, a in enumerate(attr) if isinstance(a, Graph))


def _type(t: TensorType) -> Json:
    layout = str(t.layout) if t.layout else ""
    return {"text": str(t), "layout": layout, "bytes": int(hints_of(t.nbytes))}


def _arena(graph: Graph, lineage: Mapping[Node, int]) -> Json:
    """The buffers of a planned graph, by the steps between which they are in use; views take no step."""
    steps = [node for node in graph.nodes if "places" in node.attrs]
    at = {node: k for k, node in enumerate(steps)}
    last: dict[Value, int] = {}
    for node in steps:
        for v in node.operands:
            last[root(v)] = at[node]
    buffers: list[dict[str, Any]] = []
    for node in steps:
        results: list[tuple[str, int, int]] = [
            (f"result {r.index}", r.type.nbytes, last.get(r, at[node])) for r in node.results
        ]
        if isinstance(node.op, Control):
            results.append(("memory of its bodies", Scratch.of(node).size, at[node]))
        for (what, size, end), place in zip(results, node.attrs["places"], strict=False):
            kind, byte = kind_and_number(place)
            if kind == "arena":
                buffers.append(
                    {
                        "at": int(hints_of(byte)),
                        "size": int(hints_of(size)),
                        "first": at[node],
                        "last": end,
                        "node": lineage[node],
                        "what": what,
                    }
                )
    names = [[node.body.name if node.op is fused else node.op.name, lineage[node]] for node in steps]
    return {"bytes": int(hints_of(arena_bytes(graph))), "steps": names, "buffers": buffers}
