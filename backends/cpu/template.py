"""Plans of graphs whose sizes are symbols: what is evaluated for the values of the symbols is a plan like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from tgc.backends.cpu.flatten import Numbered
from tgc.backends.cpu.plan import Kernels, Plan
from tgc.backends.cpu.planning import constants_of, facts_of, flattened, largest_of
from tgc.ir import Graph, Node, with_sizes
from tgc.ops.control import every_node
from tgc.passes.memory import arena_bytes
from tgc.sizes import Symbols
from tgc.types import TensorType


class Template:
    """What plans for all values of the symbols have in common. Their constants are the same arrays.

    Args:
        graph, donated, launched, kernels, threads: as for `make_plan`.
        symbols: those of the graph's sizes.
    """

    def __init__(
        self, graph: Graph, donated: Sequence[int], launched: Mapping[Node, Sequence[Numbered]], kernels: Kernels,
        threads: int, symbols: Symbols,
    ) -> None:  # fmt: skip
        flat, donations, moved = flattened(graph, donated, launched, threads)
        self._rows, self._arguments = flat.tables()
        self._types = [v.type for v in graph.outputs]
        numbers = [arena_bytes(graph), *(n for t in self._types for n in t.shape)]
        self._evaluate = symbols.evaluator([*numbers, *self._rows.sizes, *self._arguments.sizes])
        self._symbols, self._owners = symbols, flat.owners
        # the arrays that constants were made from take as much memory again
        self._graph = replace(graph, constants=tuple(replace(c, data=None) for c in graph.constants))
        self._common = Plan(
            graph.name, kernels, self._rows.rows, self._arguments.rows, np.empty(0, np.int64), (), flat.words, 0,
            len(graph.inputs), constants_of(flat), (), donations, moved, "",
        )  # fmt: skip

    def plan(self, values: Sequence[int]) -> Plan:
        """The plan for values of the symbols, without what errors and profiles tell."""
        numbers = iter(self._evaluate(*values))
        arena = next(numbers)
        results = tuple(TensorType(t.dtype, tuple(islice(numbers, t.rank)), t.layout) for t in self._types)
        rows = self._rows.at(list(islice(numbers, len(self._rows.sizes))))
        arguments = self._arguments.at(list(numbers))
        return replace(self._common, rows=rows, arguments=arguments, arena=arena, results=results)

    def told(self, plan: Plan, values: Sequence[int]) -> Plan:
        """The plan with what errors and profiles tell."""
        graph = with_sizes(self._graph, self._symbols.at(values))
        same = dict(zip(every_node(self._graph), every_node(graph), strict=True))
        owners = [None if owner is None else (same[owner[0]], owner[1]) for owner in self._owners]
        facts, indices = facts_of(owners)
        return replace(plan, facts=facts, owners=indices, largest=largest_of(graph))
