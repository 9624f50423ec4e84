"""Less work in loops: what is the same at each step, or can be done for all steps at once, moves out of them.

Of while loops, which may run not even once, only what cannot fail moves out, and nothing behind them.

- Results that nobody reads, and carries that only they need, are dropped; carries that never change are consts.
- What depends on consts alone is computed once, in front of the loop; fills and constants become the body's own.
- Products of rows of the xs with consts become one large product in front of the loop (the input projections of
  recurrent networks), products with consts that only the ys hold one behind it.
- Carries that are stacked both before and after each step are stacked once; behind the loop, the second stack is made
  of the first one and the last carry.
- Sums over the steps of products, and of sums, which gradients by weights are, become one product behind the loop, over
  the stacks of their operands: a weight's gradient is written once rather than at each step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tgc.ir import Attr, Builder, Constant, Graph, Node, Value, transform
from tgc.ops.contraction import dot
from tgc.ops.control import while_loop
from tgc.ops.creation import full
from tgc.ops.elementwise import add
from tgc.ops.movement import broadcast, concat, reshape, slice_, transpose
from tgc.ops.reduce import reduce_sum
from tgc.ops.scan import scan
from tgc.passes.hoist_while import FREE, hoist_while
from tgc.passes.manager import Target, register


@register
@dataclass(frozen=True)
class Hoist:
    """Move out of loops what need not be done at each step."""

    name: ClassVar[str] = "hoist"

    def __call__(self, graph: Graph, target: Target) -> Graph:
        read = {*graph.outputs, *graph.uses}
        constants: dict[Value, Constant] = {}

        def rewrite(builder: Builder, node: Node, new: tuple[Value, ...]) -> Sequence[Value] | None:
            for old, value in zip(node.operands, new, strict=True):
                if old in graph.data:
                    constants[value] = graph.data[old]
            wanted = [r in read for r in node.results]
            if node.op is while_loop:
                return hoist_while(builder, node, new, wanted)
            if node.op is not scan or node.attrs["length"] == 0:
                return None
            return _Loop(builder, node, new, constants, wanted).emit()

        return transform(graph, rewrite)


class _Loop:
    """One scan on its way to another; `outer` is the builder of the graph around it, `inner` that of its new body."""

    def __init__(
        self,
        outer: Builder,
        node: Node,
        operands: Sequence[Value],
        constants: Mapping[Value, Constant],
        read: Sequence[bool],
    ) -> None:
        self.outer, self.node, self.operands, self.constants = outer, node, operands, constants
        self.body, self.inner = node.body, Builder(node.body.name)
        self.length: int = node.attrs["length"]
        self.lanes: int = node.attrs.get("lanes", 1)
        n, m = node.attrs["carries"], node.attrs["xs"]
        inputs, outputs = self.body.inputs, self.body.outputs
        self.carries = {v: k for k, v in enumerate(inputs[:n]) if outputs[k] is not v or self.lanes > 1}
        self.rows = {v: operands[n + j] for j, v in enumerate(inputs[n : n + m])}
        # values of the body that are the same at each step -> the value around the loop
        self.fixed = {
            v: x for v, x in zip(inputs, operands, strict=True) if v not in self.carries and v not in self.rows
        }
        # consts that each lane has its own part of
        self.parts = {v for v, x in self.fixed.items() if self.lanes > 1 and v.shape != x.shape}
        for v, stack in list(self.rows.items()):
            if stack.node is not None and stack.node.op is full:
                attrs = {**stack.node.attrs, "shape": v.shape}
                self.fixed[v] = outer.emit(full, (), attrs, stack.node.loc)[0]
                del self.rows[v]
        self._find_live(read)
        self._find_products()
        self._find_places()

    # ------------------------------------------------------------------------------------------------------ analysis

    def _find_live(self, read: Sequence[bool]) -> None:
        """The outputs that anybody needs, the nodes that these need, and the values that are the same at each step."""
        n = self.node.attrs["carries"]
        outputs = self.body.outputs
        self.outputs = {
            k for k, wanted in enumerate(read) if wanted and (k >= n or self.body.inputs[k] in self.carries)
        }
        while True:
            needed = {outputs[k] for k in self.outputs}
            live = []
            for node in reversed(self.body.nodes):
                if any(r in needed for r in node.results):
                    live.append(node)
                    needed.update(node.operands)
            more = {k for v, k in self.carries.items() if v in needed} - self.outputs
            if not more:
                break
            self.outputs |= more
        self.live = live[::-1]
        self.uses: dict[Value, int] = {}
        for v in [v for node in self.live for v in node.operands] + [outputs[k] for k in self.outputs]:
            self.uses[v] = self.uses.get(v, 0) + 1
        self.still = {*self.fixed, *self.body.data} - self.parts
        for node in self.live:
            if all(v in self.still for v in node.operands):
                self.still.update(node.results)

    def _varies(self, *values: Value) -> bool:
        return not any(v in self.still for v in values)

    def _around(self, v: Value) -> bool:
        """Whether the rows of a y are made around the loop: those of lanes are not, whose parts they join."""
        return v in self.still and self.lanes == 1

    def _find_products(self) -> None:
        """Products in front of the loop, and those behind it: of ys, and of sums in carries."""
        n, outputs = self.node.attrs["carries"], self.body.outputs
        self.before = {
            node
            for node in self.live
            if self.lanes == 1  # else it has been done before there were lanes
            and _plain(node)
            and any(v in self.rows for v in node.operands)
            and any(v in self.still for v in node.operands)
        }
        self.behind: dict[int, Node] = {}  # output -> what is done behind the loop instead
        for k in self.outputs if self.lanes == 1 else ():
            made = outputs[k].node
            if made is None or self.uses[outputs[k]] != 1:
                continue
            if k >= n:
                if _plain(made) and made not in self.before:
                    x, y = made.operands
                    if self._varies(x) and y in self.still:
                        self.behind[k] = made
            elif made.op is add and self.body.inputs[k] in made.operands and self.uses[self.body.inputs[k]] == 1:
                (term,) = (v for v in made.operands if v is not self.body.inputs[k])
                folded = term.node is not None and (_plain(term.node) or _sums(term.node))
                if folded and self.uses[term] == 1 and term.node is not None and self._varies(*term.node.operands):
                    self.behind[k] = term.node

    def _find_places(self) -> None:
        """Which nodes are emitted in the body, and which around it."""
        n, outputs = self.node.attrs["carries"], self.body.outputs
        inner: set[Value] = set()
        outer: set[Value] = set()
        for k in self.outputs:
            v = outputs[k]
            if k in self.behind:
                for operand in self.behind[k].operands:
                    (outer if operand in self.still else inner).add(operand)
            elif k >= n and self._around(v):
                outer.add(v)
            else:
                inner.add(v)
        self.inside: set[Node] = set()
        self.outside: set[Node] = set()
        for node in reversed(self.live):
            if any(r in inner for r in node.results):
                if node in self.before:
                    outer.update(v for v in node.operands if v in self.still)
                elif self._varies(node.results[0]) or node.op in FREE:
                    self.inside.add(node)
                    inner.update(node.operands)
                else:
                    outer.update(node.results)
            if any(r in outer for r in node.results):
                self.outside.add(node)
                outer.update(node.operands)

    # ------------------------------------------------------------------------------------------------------ emission

    def emit(self) -> list[Value]:
        """The new scan, and what is done before and behind it; the values of the old results."""
        n, outputs = self.node.attrs["carries"], self.body.outputs
        carried = [k for k in sorted(self.outputs) if k < n and k not in self.behind]
        self.env: dict[Value, Value] = {}
        self.around: dict[Value, Value] = dict(self.fixed)
        self.xs: dict[Value, Value] = {}  # around the loop -> in the body
        self.consts: dict[Value, Value] = {}
        self.own: dict[Value, Value] = {}  # the same of consts that lanes have parts of
        carries = [self.inner.input(v.type, v.name) for v in (self.body.inputs[k] for k in carried)]
        self.env.update(zip((self.body.inputs[k] for k in carried), carries, strict=True))
        for c in self.body.constants:
            self.around[c.value], self.env[c.value] = self.outer.adopt(c), self.inner.adopt(c)
        for node in self.live:
            self._emit_node(node)
        stacked: dict[Value, None] = {}  # values of the old body that the new one returns at each step
        for k in sorted(self.outputs):
            values = self.behind[k].operands if k in self.behind else outputs[k : k + 1] if k >= n else ()
            stacked.update(dict.fromkeys(v for v in values if not self._around(v) and v not in self.rows))
        # carries that are stacked both before and after each step are stacked once
        both = ((outputs[k], k) for k in carried if outputs[k] in stacked and self.body.inputs[k] in stacked)
        shifted = {v: k for v, k in both if v.node is not None}
        stacked = {v: None for v in stacked if v not in shifted}
        results = [self._inside(outputs[k]) for k in carried] + [self._inside(v) for v in stacked]
        body = self.inner.build(results)
        used = {v for node in body.nodes for v in node.operands} | set(body.outputs)
        xs, *consts = ([(x, v) for x, v in found.items() if v in used] for found in (self.xs, self.consts, self.own))
        more = [*xs, *itertools.chain(*consts)]
        body = Graph(body.name, (*carries, *(v for _, v in more)), body.constants, body.nodes, body.outputs)
        made: tuple[Value, ...] = ()
        if results:
            attrs = {**self.node.attrs, "body": body, "carries": len(carries), "xs": len(xs)}
            first = [self.operands[k] for k in carried]
            made = self.outer.emit(scan, [*first, *(x for x, _ in more)], attrs, self.node.loc)
        stacks = {**self.rows, **dict(zip(stacked, made[len(carried) :], strict=True))}
        final = dict(zip(carried, made, strict=False))
        stacks |= {v: self._after(stacks[self.body.inputs[k]], final[k]) for v, k in shifted.items()}
        return [self._result(k, final, stacks) for k in range(len(outputs))]

    def _after(self, before: Value, final: Value) -> Value:
        """The stack of what a carry is after each step, by that of what it is before, and the last one."""
        loc, shape = self.node.loc, before.shape
        (row,) = self.outer.emit(reshape, (final,), {"shape": (1, *final.shape)}, loc)
        first = 0 if self.node.attrs["reverse"] else 1
        attrs = {"start": (first, *(0 for _ in final.shape)), "step": (1,) * len(shape)}
        attrs["stop"] = (self.length - 1 + first, *final.shape)
        (others,) = self.outer.emit(slice_, (before,), attrs, loc)
        both = (others, row) if first else (row, others)
        return self.outer.emit(concat, both, {"axis": 0}, loc)[0]

    def _emit_node(self, node: Node) -> None:
        types = [r.type for r in node.results]
        if node in self.outside:
            operands = [self.around[v] for v in node.operands]
            made = self.outer.emit(node.op, operands, node.attrs, node.loc, types=types)
            self.around.update(zip(node.results, made, strict=True))
        if node in self.inside:
            operands = [self._inside(v) for v in node.operands]
            made = self.inner.emit(node.op, operands, node.attrs, node.loc, types=types)
            self.env.update(zip(node.results, made, strict=True))

    def _inside(self, v: Value) -> Value:
        """A value of the old body in the new one."""
        if v in self.env:
            return self.env[v]
        if v in self.rows:
            self.env[v] = self._input(self.xs, self.rows[v], v)
        elif v in self.parts:
            self.env[v] = self._input(self.own, self.fixed[v], v)
        elif v.node in self.before:
            self.env[v] = self._input(self.xs, self._product_of_rows(v.node), v)
        else:
            x = self.around[v]
            if x in self.constants:
                self.env[v] = self.inner.adopt(self.constants[x])
            elif x.node is not None and x.node.op is full:
                self.env[v] = self.inner.emit(full, (), x.node.attrs, x.node.loc)[0]
            else:
                self.env[v] = self._input(self.consts, x, v)
        return self.env[v]

    def _input(self, inputs: dict[Value, Value], x: Value, v: Value) -> Value:
        if x not in inputs:
            t = x.type if inputs is self.consts else v.type
            inputs[x] = self.inner.input(t, v.name or (v.node.op.name if v.node else ""))
        return inputs[x]

    def _product_of_rows(self, node: Node) -> Value:
        """The products at all steps, stacked."""
        lhs, rhs = (self.rows[v] if v in self.rows else self.around[v] for v in node.operands)
        rowwise = node.operands[0] in self.rows
        made = self._dot(node, lhs, rhs, stacked=(rowwise, not rowwise))
        if rowwise:
            return made
        axis = node.operands[0].type.rank - len(node.attrs["contract"][0])  # where the axis of the steps is
        perm = (axis, *(a for a in range(made.type.rank) if a != axis))
        return self.outer.emit(transpose, (made,), {"perm": perm}, node.loc)[0]

    def _dot(self, node: Node, lhs: Value, rhs: Value, stacked: tuple[bool, bool], summed: bool = False) -> Value:
        """A product of operands of which some have the axis of the steps in front, over which it may be summed."""
        contract = [
            (*((0,) if summed else ()), *(a + s for a in axes))
            for axes, s in zip(node.attrs["contract"], stacked, strict=True)
        ]
        attrs: dict[str, Attr] = {"batch": ((), ()), "contract": tuple(contract)}
        return self.outer.emit(dot, (lhs, rhs), attrs, node.loc)[0]

    def _result(self, k: int, final: Mapping[int, Value], stacks: Mapping[Value, Value]) -> Value:
        """What stands for result `k` of the old scan."""
        v, n = self.body.outputs[k], self.node.attrs["carries"]
        if k < n and v is self.body.inputs[k]:
            return self.operands[k]
        if k not in self.outputs:
            return Value(self.node.results[k].type)  # nobody reads it
        if k in final:
            return final[k]
        if k in self.behind:
            return self._behind(k, stacks)
        if v in stacks:
            return stacks[v]
        shape = (self.length, *v.shape)
        attrs: dict[str, Attr] = {"axes": tuple(range(1, len(shape))), "shape": shape}
        return self.outer.emit(broadcast, (self.around[v],), attrs, self.node.loc)[0]

    def _behind(self, k: int, stacks: Mapping[Value, Value]) -> Value:
        node = self.behind[k]
        if k >= self.node.attrs["carries"]:
            return self._dot(node, stacks[node.operands[0]], self.around[node.operands[1]], stacked=(True, False))
        if node.op is dot:
            lhs, rhs = (stacks[v] for v in node.operands)
            total = self._dot(node, lhs, rhs, stacked=(True, True), summed=True)
        else:
            attrs: dict[str, Any] = {"axes": (0, *(a + 1 for a in node.attrs["axes"])), "chunks": 0}
            total = self.outer.emit(reduce_sum, (stacks[node.operands[0]],), attrs, node.loc)[0]
        return self.outer.emit(add, (self.operands[k], total), {}, node.loc)[0]


def _plain(node: Node) -> bool:
    """Whether a node is a product without batch axes, of operands of an ordinary layout."""
    return node.op is dot and node.attrs["batch"] == ((), ()) and _row_major(node.operands)


def _sums(node: Node) -> bool:
    return node.op is reduce_sum and not node.attrs["chunks"] and _row_major(node.operands)


def _row_major(values: Iterable[Value]) -> bool:
    return all(v.type.layout is None for v in values)


__all__ = ["Hoist"]
