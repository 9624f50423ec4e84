"""Tangents of loops and branches: the rules for `Primitive.jvp`.

Like the rules of gradients, these are told of graphs by a function that comes first:

    pushed(graph, moving, wanted) -> (graph', moving outputs)

takes the inputs of `graph` and a tangent for each of those that are `moving`; it returns the outputs and a tangent for
each of those that move: that depend on a moving input, or that are `wanted` to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from tgc.ir import Builder, Graph, rebuild
from tgc.ops.creation import full
from tgc.ops.kinds import REGISTRY

Flags: TypeAlias = Sequence[bool]
Pushed: TypeAlias = Callable[[Graph, Flags, Flags], tuple[Graph, tuple[bool, ...]]]


def _interleaved(flags: Flags, *groups: int) -> list[int]:
    """Numbers of values, then of tangents of those with a flag, in groups: the values of one, then their tangents.

    `groups` are the sizes of the groups of values. The tangents are numbered behind all values.
    """
    order: list[int] = []
    start, tangent = 0, sum(groups)
    for size in groups:
        count = sum(flags[start : start + size])
        order += [*range(start, start + size), *range(tangent, tangent + count)]
        start, tangent = start + size, tangent + count
    return order


def _reordered(graph: Graph, like: Graph, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
    """`graph`, whose inputs are the first ones of `like`, with the inputs of `like` and its own outputs in an order."""
    builder = Builder(graph.name)
    given = {k: builder.input(like.inputs[k].type, like.inputs[k].name) for k in inputs}
    made = rebuild(graph, builder, [given[k] for k in range(len(graph.inputs))])
    return builder.build(made[k] for k in outputs)


def _filled(operands: Sequence[Any], tangents: Sequence[Any], moving: Flags) -> list[Any]:
    """The tangents of operands that move: zeros where there is none."""

    def zeros(x: Any) -> Any:
        return full(shape=x.shape, dtype=x.dtype, value=np.zeros((), x.dtype).item())

    return [zeros(x) if t is None else t for x, t, m in zip(operands, tangents, moving, strict=True) if m]


def _steady(pushed: Pushed, body: Graph, moving: list[bool], carries: int) -> tuple[Graph, tuple[bool, ...]]:
    """The pushed body, once all carries that move in any step are among the `moving` inputs, which it adds."""
    while True:
        others = [False] * (len(body.outputs) - carries)
        graph, made = pushed(body, moving, [*moving[:carries], *others])
        if list(made[:carries]) == moving[:carries]:
            return graph, made
        moving[:carries] = made[:carries]


def _apply(op: str, operands: Sequence[Any], **attrs: Any) -> Iterator[Any]:
    """The results of the op of that name, which is defined where these rules are used."""
    primitive: Any = REGISTRY[op]
    made = primitive(*operands, **attrs)
    return iter(made if isinstance(made, tuple) else (made,))


def _scattered(tangents: Iterator[Any], moving: Flags) -> tuple[Any, ...]:
    return tuple(next(tangents) if m else None for m in moving)


def while_jvp(
    pushed: Pushed,
    tangents: Sequence[Any],
    *operands: Any,
    out: Any,
    cond: Graph,
    body: Graph,
    carries: int,
    places: Any,
) -> tuple[Any, ...]:
    """The tangents of the last carries, by a loop that carries them along."""
    moving = [t is not None for t in tangents]
    graph, made = _steady(pushed, body, moving, carries)
    order = _interleaved(moving, carries, len(operands) - carries)
    given = [*operands, *_filled(operands, tangents, moving)]
    step = _reordered(graph, graph, order, range(len(graph.outputs)))
    test = _reordered(cond, graph, order, [0])
    n = carries + sum(made)
    results = _apply("while_loop", [given[k] for k in order], cond=test, body=step, carries=n, places=places)
    return _scattered(iter(list(results)[carries:]), made)


def scan_jvp(
    pushed: Pushed,
    tangents: Sequence[Any],
    *operands: Any,
    out: Any,
    body: Graph,
    carries: int,
    xs: int,
    **attrs: Any,
) -> tuple[Any, ...]:
    """The tangents of the last carries and of the ys, by a scan that carries them along."""
    moving = [t is not None for t in tangents]
    graph, made = _steady(pushed, body, moving, carries)
    groups = carries, xs, len(operands) - carries - xs
    order, back = _interleaved(moving, *groups), _interleaved(made, carries, len(body.outputs) - carries)
    given = [*operands, *_filled(operands, tangents, moving)]
    step = _reordered(graph, graph, order, back)
    n, m = carries + sum(moving[:carries]), xs + sum(moving[carries : carries + xs])
    results = _apply("scan", [given[k] for k in order], body=step, carries=n, xs=m, **attrs)
    found = dict(zip(back, results, strict=True))
    return _scattered((found[k] for k in range(len(body.outputs), len(back))), made)


def switch_jvp(
    pushed: Pushed, tangents: Sequence[Any], *operands: Any, out: Any, branches: tuple[Graph, ...], places: Any
) -> tuple[Any, ...]:
    """The tangents of the results, by a switch over branches that make them."""
    moving = [t is not None for t in tangents[1:]]
    none = [False] * len(branches[0].outputs)
    flags = [pushed(branch, moving, none)[1] for branch in branches]
    wanted = [any(each) for each in zip(*flags, strict=True)]
    graphs = tuple(pushed(branch, moving, wanted)[0] for branch in branches)
    given = [*operands, *_filled(operands[1:], tangents[1:], moving)]
    results = _apply("switch", given, branches=graphs, places=places)
    return _scattered(iter(list(results)[len(none) :]), wanted)
