"""What functions that become regions have in common: calls of functions of pytrees as graphs over tracers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import optree

from tgc.autodiff import backward, mark
from tgc.forward import forward
from tgc.ir import Graph, inline
from tgc.trace import Tracer, current, trace_region


@dataclass(slots=True)
class Outputs:
    """What a traced function returned: the structure, and which leaves are made of Python numbers alone."""

    structure: Any = None
    weak: list[bool] = field(default_factory=list)

    def take(self, tree: Any) -> list[Any]:
        """The leaves of a pytree, whose structure is kept."""
        leaves, self.structure = optree.tree_flatten(tree)
        self.weak = [getattr(x, "weak", isinstance(x, bool | int | float | complex)) for x in leaves]
        return list(leaves)

    def give(self, leaves: Sequence[Any]) -> Any:
        """The pytree with tracers for its leaves."""
        for x, weak in zip(leaves, self.weak, strict=True):
            x.weak = weak
        return optree.tree_unflatten(self.structure, leaves)


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments of a call; the tracers among their leaves are operands, all else is part of the function."""

    leaves: Sequence[Any]
    structure: Any

    @staticmethod
    def of(tree: Any) -> Arguments:
        leaves, structure = optree.tree_flatten(tree)
        return Arguments(leaves, structure)

    @property
    def operands(self) -> list[Tracer]:
        return [x for x in self.leaves if isinstance(x, Tracer)]

    def with_operands(self, operands: Sequence[Tracer]) -> Any:
        """The arguments with other tracers."""
        rest = iter(operands)
        leaves = [next(rest) if isinstance(x, Tracer) else x for x in self.leaves]
        for new, old in zip(leaves, self.leaves, strict=True):
            if isinstance(old, Tracer):
                new.weak = old.weak
        return optree.tree_unflatten(self.structure, leaves)


def region_of(f: Callable[[Any], Any], arguments: Arguments, name: str) -> tuple[Graph, tuple[Tracer, ...], Outputs]:
    """The graph of `f(arguments)` over the operands, then over the tracers that it closes over, which are returned."""
    out = Outputs()
    types = [x.value.type for x in arguments.operands]
    names = [x.value.name for x in arguments.operands]
    graph, captured = trace_region(lambda *xs: out.take(f(arguments.with_operands(xs))), types, names, name)
    return graph, captured, out


def inlined(graph: Graph, operands: Sequence[Tracer]) -> list[Tracer]:
    """The results of a graph, emitted into the current trace."""
    record = current()
    return [Tracer(record, v) for v in inline(graph, record.builder, [record.lift(x) for x in operands])]


def listed(results: Any) -> list[Any]:
    """The results of a node, however many they are."""
    return list(results) if isinstance(results, tuple | list) else [results]


def vjp_of(graph: Graph, cotangents: Sequence[Any], operands: Sequence[Tracer]) -> tuple[Any, ...]:
    """Cotangents of a graph's inputs by way of its nodes, given those of its outputs (None: zero)."""
    since = current().builder.count
    marked = [mark(x) for x in operands]
    pairs = [(y, g) for y, g in zip(inlined(graph, marked), cotangents, strict=True) if g is not None]
    return tuple(backward([y for y, _ in pairs], [g for _, g in pairs], marked, since))


def jvp_of(graph: Graph, tangents: Sequence[Any], operands: Sequence[Tracer]) -> tuple[Any, ...]:
    """Tangents of a graph's outputs by way of its nodes, given those of its inputs; None is zero."""
    since = current().builder.count
    marked = [mark(x) for x in operands]
    return tuple(forward(inlined(graph, marked), marked, tangents, since))
