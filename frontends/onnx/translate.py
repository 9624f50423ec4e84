"""Graphs applied to values: node by node, by the rules, in a trace or on NumPy arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from tgc.errors import TgcError
from tgc.frontends.onnx import objects, scaled
from tgc.frontends.onnx.errors import InvalidModelError, OnnxError, UntraceableError
from tgc.frontends.onnx.formats import MOVEMENT, Coded, by_codes, enter
from tgc.frontends.onnx.plan import exact
from tgc.frontends.onnx.registry import Rule
from tgc.frontends.onnx.scaled import settled
from tgc.frontends.onnx.schema import expansion, rule_for
from tgc.frontends.onnx.structure import Node, OnnxGraph
from tgc.frontends.onnx.values import Sequence
from tgc.ir import recorder, recording

SMALL = 2**20  # elements up to which nodes without traced operands are computed at once, with NumPy

Runner = Callable[[OnnxGraph, Mapping[str, Any], tuple[Any, ...]], tuple[Any, ...]]
_run: Runner


def set_runner(run: Runner) -> None:
    """Install what applies a graph, given what it captures, to arguments outside of any trace."""
    global _run
    _run = run


class Subgraph:
    """A graph among a node's attributes, or the body of a function: a function of values that returns a tuple of them.

    In a trace its nodes become part of the trace; on NumPy arrays it runs compiled.
    """

    def __init__(self, graph: OnnxGraph, outer: Mapping[str, Any]) -> None:
        self.graph = graph
        self.captured = {name: settled(outer[name]) for name in graph.captures}

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        inputs = self.graph.inputs
        if len(values) > len(inputs):
            raise InvalidModelError(f'graph "{self.graph.name}" has {len(inputs)} inputs, but gets {len(values)}')
        values += (None,) * (len(inputs) - len(values))
        if recorder() is None:
            return _run(self.graph, self.captured, values)
        return inlined(self.graph, self.captured, values)


def inlined(graph: OnnxGraph, captured: Mapping[str, Any], values: Iterable[Any]) -> tuple[Any, ...]:
    """The outputs of a graph whose nodes become part of the current trace.

    Raises:
        UntraceableError: a node needs numbers that are unknown.
    """
    env = {**captured, **{name: enter(x) for name, x in graph.initializers.items()}}
    env.update((v.name, x) for v, x in zip(graph.inputs, values, strict=True))
    walk(graph.nodes, env, exact(graph))
    return tuple(settled(env[v.name]) for v in graph.outputs)


def walk(nodes: Iterable[Node], env: dict[str, Any], known: Collection[str] = frozenset()) -> None:
    """Apply nodes in order; `env` gains their results by name.

    Args:
        known: names of results that must be known, however large the operands are that they are computed from.

    Raises:
        OnnxError: a node cannot be applied, which the message names.
    """
    for node in nodes:
        try:
            results = apply(node, env, any(name in known for name in node.outputs))
        except OnnxError as error:
            if error.node is None:
                error.node, error.args = node, (f"{node}: {error}", *error.args[1:])
            if isinstance(error, UntraceableError):
                error.outer = node
            raise
        except Exception as error:  # rules meet operands that the standard forbids in every way
            kind = "" if isinstance(error, TgcError) else f"{type(error).__name__}: "
            named = OnnxError(f"{node}: {kind}{error}")
            named.node = node
            raise named from error
        env.update((name, value) for name, value in zip(node.outputs, results, strict=False) if name)
        if missing := [n for n in node.outputs[len(results) :] if n]:
            raise InvalidModelError(f"{node} has no output for {', '.join(missing)}")


def apply(node: Node, env: Mapping[str, Any], must: bool = False) -> tuple[Any, ...]:
    """The outputs of a node."""
    operands = [env[n] if n else None for n in node.inputs]
    rule = rule_for(node)
    if rule is None:
        operands = [*map(settled, operands)]
        return Subgraph(node.function or expansion(node, operands), {})(*operands)
    attributes: dict[str, Any] = {}
    for name, value in node.attributes.items():
        attributes[name] = Subgraph(value, env) if isinstance(value, OnnxGraph) else value
    if rule.wants_outputs:
        attributes["outputs"] = max((k for k, n in enumerate(node.outputs, 1) if n), default=0)
    bound(rule, node, operands, attributes)
    result = NotImplemented
    if not (node.domain or must or recorder() is None):

        def computed(values: Iterable[Any]) -> Any:
            return _result(rule, node, [*map(settled, values)], attributes, must)

        result = scaled.apply(node.op, computed, operands, attributes)
    if result is NotImplemented:
        result = _result(rule, node, [*map(settled, operands)], attributes, must)
    return result if isinstance(result, tuple) and not isinstance(result, Sequence) else (result,)


def bound(rule: Rule, node: Node, operands: list[Any], attributes: Mapping[str, Any]) -> None:
    """Check operands and attributes against the rule's parameters.

    Raises:
        InvalidModelError: one is missing, or there is none such.
    """
    while operands and not node.inputs[len(operands) - 1]:
        operands.pop()
    try:
        rule.signature.bind(*operands, **attributes)
    except TypeError as error:
        raise InvalidModelError(f"{node} does not fit the operator: {error}") from error
    for parameter, name in zip(rule.signature.parameters.values(), node.inputs, strict=False):
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty and not name:
            raise InvalidModelError(f"{node} lacks its operand {parameter.name}")


def check(graph: OnnxGraph) -> None:
    """Check that all nodes have rules, and operands and attributes as these take them.

    Raises:
        UnsupportedOperatorError, InvalidModelError: a node has none, or other ones.
    """
    if "checked" in graph.made:
        return
    graph.made["checked"] = True
    for node in graph.nodes:
        rule = rule_for(node)
        if rule is not None:
            extra = {"outputs": 1} if rule.wants_outputs else {}
            bound(rule, node, list(node.inputs), {**node.attributes, **extra})
        for inner in (*node.graphs, *([node.function] if node.function else [])):
            check(inner)


def is_known(x: Any) -> bool:
    """Whether the numbers of `x` are known: it holds no tracer."""
    if isinstance(x, Sequence):
        return all(map(is_known, x))
    return x is None or isinstance(x.codes if isinstance(x, Coded) else x, np.ndarray | np.generic)


def _size(x: Any) -> int:
    return sum(map(_size, x)) if isinstance(x, Sequence) else 0 if x is None else int(np.prod(x.shape))


def _result(rule: Rule, node: Node, operands: list[Any], attributes: dict[str, Any], must: bool) -> Any:
    """What a rule makes of operands; `must` it be known, it is computed with NumPy."""
    for k, static in enumerate(rule.positions(len(operands))):
        if static:
            operands[k] = _static(node, k, operands[k])
    if rule.host:
        if not all(map(is_known, operands)):
            raise UntraceableError("computes on the host, with numbers that are unknown while tracing")
        operands, must = [objects.plain(x) for x in operands], True
    statics = rule.positions(len(operands))
    held = any(objects.has_objects(x) and not static for x, static in zip(operands, statics, strict=True))
    if held and not rule.host:
        if all(map(is_known, operands)):
            made = objects.apply(node.op, rule.function, operands, attributes)
            if made is not NotImplemented:
                return made
        settle = objects.plain if must or recorder() is None else objects.traced
        operands = [x if static else settle(x) for x, static in zip(operands, statics, strict=True)]
    coded = node.op in MOVEMENT and not node.domain and any(isinstance(x, Coded) for x in operands)
    function = functools.partial(by_codes, rule.function) if coded else rule.function
    if rule.random or not all(map(is_known, operands)):  # sizes of known operands are no symbols
        return function(*operands, **attributes)
    graphs = any(isinstance(a, Subgraph) for a in attributes.values())
    size = sum(map(_size, operands))
    if node.op in objects.GROWING:
        size += objects.growth(function, operands, attributes, must or recorder() is None)
    fold = must or not (graphs or size > SMALL)
    with recording(None) if fold else nullcontext():
        return function(*operands, **attributes)


def _static(node: Node, position: int, x: Any) -> Any:
    """An operand that must be known."""
    if not is_known(x):
        name = node.inputs[position]
        raise UntraceableError(f'its operand "{name}" must be known while tracing', name)
    return x
