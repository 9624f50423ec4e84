"""Which parts of a graph are compiled, which run on the host, and what each must know before it is traced.

Stages alternate: the arguments are stage 0, compiled stages have odd numbers, and between them, on the host, run nodes
whose results have shapes that depend on numbers, or that hold strings. A node whose static operand is computed by a
compiled stage belongs to a later one, which is specialized on that operand's value; so is the first on arguments that
are static. What depends on constants alone belongs to every stage that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from tgc.frontends.onnx.schema import rule_for
from tgc.frontends.onnx.structure import Node, OnnxGraph

KNOWN = frozenset({"Shape", "Size", "SequenceLength", "OptionalHasElement"})  # results are, if operands are not


@dataclass(frozen=True)
class Stage:
    """Nodes that are computed together.

    Attributes:
        compiled: whether in one program, else one by one with NumPy.
        values: names of what it reads of earlier stages and is specialized on.
        arrays: names of what else it reads of these.
        outputs: names of what later stages, or readers of the graph, read of it.
        exact: names of results that must be known while it is traced.
    """

    compiled: bool
    nodes: tuple[Node, ...]
    values: tuple[str, ...]
    arrays: tuple[str, ...]
    outputs: tuple[str, ...]
    exact: frozenset[str]


def plan(graph: OnnxGraph, host: Collection[Node] = (), wanted: Collection[str] = ()) -> list[Stage]:
    """The stages of a graph, all of whose arguments are unknown.

    Args:
        host: nodes that must run on the host, besides those whose rules say so.
        wanted: names of values that must be known where they are read, besides static operands.
    """
    nodes = _live(graph)
    level = dict.fromkeys((*(v.name for v in graph.inputs), *graph.captures), 0)
    traced: set[str] = set()  # by the stage that computes them
    values: dict[int, dict[str, None]] = {}
    members: dict[int, list[Node]] = {}
    floating: dict[str, Node] = {}  # by output: what depends on constants alone
    for node in nodes:
        read = [n for n in node.reads if n in level]
        rule = rule_for(node)
        if not read and node not in host:
            floating.update(dict.fromkeys(node.outputs, node))
            continue
        static = _static(node, wanted) & set(read)
        if node in host or (rule is not None and rule.host):
            stage = max((level[n] + level[n] % 2 for n in read), default=2) or 2
        else:
            stage = max(level[n] + 1 - level[n] % 2 for n in read)
            stage = max(stage, *(level[n] + 2 for n in static if level[n] % 2 and n in traced), 0)
            early = [n for n in read if level[n] < stage and n in static]
            values.setdefault(stage, {}).update(dict.fromkeys(early))
            known = values[stage]
            if node.op not in KNOWN and any(n in traced if level[n] == stage else n not in known for n in read):
                traced.update(node.outputs)
        members.setdefault(stage, []).append(node)
        level.update(dict.fromkeys(node.outputs, stage))
    results = [v.name for v in graph.outputs]
    for name in results:  # what depends on constants alone is given by the first program
        if name in floating:
            level[name] = 1
            members.setdefault(1, [])
    return [_stage(s, members[s], values.get(s, {}), level, floating, _read_after(s, members, level, results), wanted)
            for s in sorted(members)]  # fmt: skip


def exact(graph: OnnxGraph) -> frozenset[str]:
    """Names of results that must be known while a graph is traced."""
    if "exact" not in graph.made:
        graph.made["exact"] = frozenset(name for stage in plan(graph) for name in stage.exact)
    return graph.made["exact"]  # type: ignore[no-any-return]


def _live(graph: OnnxGraph) -> list[Node]:
    """The nodes that outputs depend on."""
    needed = {v.name for v in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            kept.append(node)
            needed.update(node.reads)
    return kept[::-1]


def _static(node: Node, wanted: Collection[str]) -> set[str]:
    """Names of values that a node, or a graph among its attributes, must know."""
    rule = rule_for(node)
    flags = rule.positions(len(node.inputs)) if rule is not None else ()
    found = {n for n, static in zip(node.inputs, flags, strict=False) if static and n}
    for graph in node.graphs:
        if "static" not in graph.made:
            graph.made["static"] = {n for stage in plan(graph) for n in stage.values} & set(graph.captures)
        found |= graph.made["static"]
    return found | {n for n in node.reads if n in wanted}


def _read_after(
    stage: int, members: dict[int, list[Node]], level: dict[str, int], results: Iterable[str]
) -> Callable[[str], bool]:
    """Whether a result of a stage is read by a later one, or is one of the graph's."""
    later = {n for s, nodes in members.items() if s > stage for node in nodes for n in node.reads} | set(results)
    return lambda name: name in later and level.get(name) == stage


def _stage(
    number: int,
    own: Sequence[Node],
    values: Collection[str],
    level: dict[str, int],
    floating: dict[str, Node],
    read_after: Callable[[str], bool],
    wanted: Collection[str],
) -> Stage:
    outputs = [n for node in own for n in node.outputs if n and read_after(n)]
    outputs += [n for n in floating if n and read_after(n)]
    needed = {n for node in own for n in node.reads} | set(outputs)
    constants: dict[Node, None] = {}
    for node in reversed(list(dict.fromkeys(floating.values()))):
        if not needed.isdisjoint(node.outputs):
            constants[node] = None
            needed.update(node.reads)
    nodes = (*reversed(constants), *own)
    read = dict.fromkeys(n for node in own for n in node.reads if level.get(n, number) < number)
    exact: set[str] = set()
    for node in reversed(nodes):
        exact |= _static(node, wanted)
        if node.op not in KNOWN and not exact.isdisjoint(node.outputs):
            exact.update(node.reads)
    arrays = tuple(n for n in read if n not in values)
    return Stage(bool(number % 2), nodes, tuple(values), arrays, tuple(outputs), frozenset(exact))
