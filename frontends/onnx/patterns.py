"""Operators that exporters have taken apart, put together again: softmax(q k) v becomes one node.

Nodes are matched by names alone; the rule of the node, `tgc.frontends.onnx.ops.attention.parts`, sees shapes and
numbers, and computes what the nodes would have where they are no attention.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tgc.frontends.onnx.structure import Node, OnnxGraph

STEPS = ("Mul", "Div", "Add")  # what may stand between the product and the softmax: scales and a mask
DOMAIN, ATTENTION = "tgc", "Attention"


def joined(graph: OnnxGraph) -> OnnxGraph:
    """The graph with attentions in place of the last of their nodes, and without the others."""
    made = {name: node for node in graph.nodes for name in node.outputs if name}
    uses = Counter(name for node in graph.nodes for name in node.reads)
    uses.update(v.name for v in graph.outputs)
    numbers = {name for name, x in graph.initializers.items() if x.size == 1}
    whole: dict[Node, Node] = {}
    gone: set[Node] = set()
    for node in graph.nodes:
        if found := _attention(node, made, uses, numbers):
            whole[node], parts = found
            gone.update(parts)
    if not whole:
        return graph
    return replace(graph, nodes=tuple(whole.get(n, n) for n in graph.nodes if n not in gone), made={})


def _attention(
    last: Node, made: dict[str, Node], uses: Counter[str], numbers: set[str]
) -> tuple[Node, list[Node]] | None:
    """The node of an attention that ends with the product `last`, and the nodes that it stands for but this one.

    `numbers` are the names of initializers of one element.
    """

    def inner(name: str, *ops: str) -> Node | None:
        """The node that makes a value that is read here alone, if it is one of these operators."""
        node = made.get(name)
        return node if node and not node.domain and node.op in ops and uses[name] == 1 else None

    if last.op != "MatMul" or last.domain:
        return None
    softmax = inner(last.inputs[0], "Softmax")
    if softmax is None or softmax.version < 13:  # earlier it was along all axes from the second on
        return None
    parts = [softmax]
    steps: list[str] = []
    operands: list[str] = []
    before = softmax.inputs[0]
    while (step := inner(before, *STEPS)) and len(steps) < 2:
        # the scores are the operand that comes from the product, which may be either but in a division
        sides = step.inputs[:1] if step.op == "Div" else step.inputs
        at = next((k for k, name in enumerate(sides) if inner(name, "MatMul", *STEPS)), None)
        if at is None:
            return None
        parts.append(step)
        steps.insert(0, step.op)
        operands.insert(0, step.inputs[1 - at])
        before = step.inputs[at]
    product = inner(before, "MatMul")
    if product is None:
        return None
    factors = list(product.inputs)
    for k, side in enumerate(("left", "right")):  # exporters scale both, each by a root
        scaled = inner(factors[k], "Mul")
        if scaled is not None and scaled.inputs[1] in numbers:
            parts.append(scaled)
            steps.insert(0, side)
            operands.insert(0, scaled.inputs[1])
            factors[k] = scaled.inputs[0]
    attributes = {"steps": tuple(steps), "axis": softmax.attributes.get("axis", -1)}
    inputs = (*factors, last.inputs[1], *operands)
    node = replace(last, domain=DOMAIN, op=ATTENTION, version=1, inputs=inputs, attributes=attributes)
    return node, [*parts, product]
