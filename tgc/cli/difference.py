"""The structural difference of two graphs: which nodes have no counterpart, and which read other values.

Numbers of values, the order of independent nodes and places in user code do not count. Nodes that compute the same of
the same inputs correspond wherever they stand. What is left is aligned in order, as lines of a text
are: first by op, attributes and types, so that only the operands of pairs differ; then by op and types alone. Regions
of such pairs are compared in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from tgc.ir import Graph, Node, Value
from tgc.text import print_node, value_names


@dataclass(frozen=True)
class Change:
    """A line of the difference.

    Attributes:
        sign: `-` only in the first graph, `+` only in the second, `~` in both, with other operands or attributes.
        text: the input, constant, node or output, as the graph that has it prints it.
        was: for `~`, the same as the first graph prints it.
    """

    sign: str
    text: str
    was: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.text}" if self.sign != "~" else f"~ {self.text}    (was {self.was})"


def difference(a: Graph, b: Graph) -> list[Change]:
    """How `b` differs from `a`; empty if they are the same program."""
    names = value_names(a), value_names(b)
    leaves = _leaves(a), _leaves(b)
    partner: dict[Value, Value] = {}  # value of a -> value of b
    changes = []
    for key, v in leaves[0].items():
        if key in leaves[1]:
            partner[v] = leaves[1][key]
        else:
            changes.append(Change("-", _leaf(key, v, names[0][v])))
    changes += [Change("+", _leaf(key, v, names[1][v])) for key, v in leaves[1].items() if key not in leaves[0]]
    pairs = _pairs(a, b, leaves)
    for one, other in pairs.items():
        partner.update(zip(one.results, other.results, strict=True))
    matched = set(pairs.values())
    gone = (node for node in b.nodes if node not in matched)
    following = next(gone, None)
    order = {node: k for k, node in enumerate(b.nodes)}
    for node in a.nodes:  # in the order of a, what is new before what comes behind it in b
        pair = pairs.get(node)
        if pair is None:
            changes.append(Change("-", print_node(node, names[0])))
            continue
        while following is not None and order[following] < order[pair]:
            changes.append(Change("+", print_node(following, names[1])))
            following = next(gone, None)
        if [partner.get(v) for v in node.operands] != list(pair.operands) or node.attrs_key != pair.attrs_key:
            changes.append(Change("~", print_node(pair, names[1]), print_node(node, names[0])))
            for before, after in zip(node.regions, pair.regions, strict=False):
                changes += [replace(c, text=f"    {c.text}") for c in difference(before, after)]
    while following is not None:
        changes.append(Change("+", print_node(following, names[1])))
        following = next(gone, None)
    if [partner.get(v) for v in a.outputs] != list(b.outputs):
        said = [f"return {', '.join(f'%{n[v]}' for v in g.outputs)}" for g, n in zip((a, b), names, strict=True)]
        changes.append(Change("~", said[1], said[0]))
    return changes


Key = tuple[str, object, str]


def _leaves(graph: Graph) -> dict[Key, Value]:
    """Inputs by position, constants by what they hold."""
    found: dict[Key, Value] = {("input", k, str(v.type)): v for k, v in enumerate(graph.inputs)}
    return found | {("const", c.digest, str(c.value.type)): c.value for c in graph.constants}


def _leaf(key: Key, v: Value, name: str) -> str:
    return f"{key[0]} %{name}: {v.type}" + (f" = {key[1]}" if key[0] == "const" else "")


def _local(node: Node) -> object:
    """What a node is, whatever it reads."""
    return node.op.name, node.attrs_key, tuple(r.type for r in node.results)


def _outer(node: Node) -> object:
    """The same without attributes."""
    return node.op.name, tuple(r.type for r in node.results)


def _deep(graph: Graph, leaves: dict[Key, Value], numbers: dict[object, int]) -> dict[Node, int]:
    """Node -> a number that it shares with those that compute the same; `numbers` is common to both graphs."""
    of: dict[Value, tuple[object, int]] = {v: (key, 0) for key, v in leaves.items()}
    found = {}
    for node in graph.nodes:
        key = _local(node), tuple(of[v] for v in node.operands)
        found[node] = numbers.setdefault(key, len(numbers))
        of.update((r, (found[node], k)) for k, r in enumerate(node.results))
    return found


def _pairs(a: Graph, b: Graph, leaves: tuple[dict[Key, Value], dict[Key, Value]]) -> dict[Node, Node]:
    """Node of a -> the node of b that corresponds to it."""
    numbers: dict[object, int] = {}
    deep = _deep(a, leaves[0], numbers), _deep(b, leaves[1], numbers)
    waiting: dict[int, list[Node]] = {}
    for node in reversed(b.nodes):
        waiting.setdefault(deep[1][node], []).append(node)
    pairs = {node: waiting[n].pop() for node, n in deep[0].items() if waiting.get(n)}
    taken = set(pairs.values())
    rest = [node for node in a.nodes if node not in pairs], [node for node in b.nodes if node not in taken]
    for key in (_local, _outer):
        pairs.update(_aligned(*rest, key))
        taken = set(pairs.values())
        rest = [node for node in a.nodes if node not in pairs], [node for node in b.nodes if node not in taken]
    return pairs


def _aligned(a: Sequence[Node], b: Sequence[Node], key: Callable[[Node], object]) -> Iterator[tuple[Node, Node]]:
    """Nodes of two sequences that are alike by a key, in order."""
    keys = [hash(key(n)) for n in a], [hash(key(n)) for n in b]
    for i, j, n in SequenceMatcher(None, *keys, autojunk=False).get_matching_blocks():
        yield from zip(a[i : i + n], b[j : j + n], strict=True)


__all__ = ["Change", "difference"]
