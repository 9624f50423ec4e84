"""How loops and branches map over one more axis: the rules for `Primitive.batch`.

Like the rules of gradients, these are told of graphs by a function that comes first:

    vectorized(graph, batched, size, wanted) -> (graph', batched outputs)

is `graph` for inputs of which those that are `batched` have the mapped axis, of that size, in front; outputs have it
if they depend on one of these, or if they are `wanted` to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tgc.ir import Builder, Graph, Value, inline, rebuild, recorder
from tgc.ops.batch import in_front, size_of
from tgc.ops.creation import full
from tgc.ops.elementwise import eq, ge, select
from tgc.ops.kinds import REGISTRY
from tgc.ops.movement import broadcast, transpose
from tgc.ops.reduce import reduce_any
from tgc.types import BOOL

Flags: TypeAlias = Sequence[bool]
Vectorized: TypeAlias = Callable[[Graph, Flags, int, Flags], tuple[Graph, tuple[bool, ...]]]


def _exchanged(x: Any) -> Any:
    """`x` with its first two axes exchanged: the mapped one and that of the steps."""
    return transpose(x, perm=(1, 0, *range(2, len(x.shape))))


def _apply(op: str, *operands: Any, **attrs: Any) -> tuple[Any, ...]:
    """The results of the op of that name, which is defined where these rules are used."""
    primitive: Any = REGISTRY[op]
    made = primitive(*operands, **attrs)
    return made if isinstance(made, tuple) else (made,)


def _alone(results: Sequence[Any]) -> Any:
    return results[0] if len(results) == 1 else tuple(results)


def scan_batch(
    vectorized: Vectorized, operands: Sequence[Any], batched: Flags, *, body: Graph, carries: int, xs: int, **attrs: Any
) -> Any:
    """A scan of the mapped body; a carry is mapped if it is at first or becomes so in any step."""
    size = size_of(operands, batched)
    mapped = list(batched[:carries])
    while True:
        ys = [False] * (len(body.outputs) - carries)
        graph, made = vectorized(body, [*mapped, *batched[carries:]], size, [*mapped, *ys])
        if list(made[:carries]) == mapped:
            break
        mapped = list(made[:carries])
    first = [in_front(x, was or not now, size) for x, was, now in zip(operands, batched, mapped, strict=False)]
    rows = [_exchanged(x) if b else x for x, b in zip(operands[carries:], batched[carries:], strict=True)][:xs]
    consts = operands[carries + xs :]
    found = _apply("scan", *first, *rows, *consts, body=graph, carries=carries, xs=xs, **attrs)
    results = [in_front(x, b, size) for x, b in zip(found[:carries], mapped, strict=True)]
    for y, b in zip(found[carries:], made[carries:], strict=True):
        results.append(_exchanged(y) if b else in_front(y, False, size))
    return _alone(results)


def while_batch(
    vectorized: Vectorized,
    operands: Sequence[Any],
    batched: Flags,
    *,
    cond: Graph,
    body: Graph,
    carries: int,
    **attrs: Any,
) -> Any:
    """A loop until all elements are done, in which those that are done stay as they are."""
    size = size_of(operands, batched)
    mapped, consts = list(batched[:carries]), list(batched[carries:])
    while True:
        test, (several,) = vectorized(cond, [*mapped, *consts], size, [False])
        wanted = [True] * carries if several else mapped
        step, made = vectorized(body, [*mapped, *consts], size, wanted)
        if list(made) == mapped:
            break
        mapped = list(made)
    if several:
        test, step = _any_of(test), _where(test, step, carries, size)
    first = [in_front(x, was or not now, size) for x, was, now in zip(operands, batched, mapped, strict=False)]
    found = _apply("while_loop", *first, *operands[carries:], cond=test, body=step, carries=carries, **attrs)
    return _alone([in_front(x, b, size) for x, b in zip(found, mapped, strict=True)])


def _any_of(test: Graph) -> Graph:
    """The condition that any element's is true."""
    builder = Builder(test.name)
    inputs = [builder.input(v.type, v.name) for v in test.inputs]
    return builder.build(builder.emit(reduce_any, rebuild(test, builder, inputs), {"axes": (0,), "chunks": 0}))


def _where(test: Graph, step: Graph, carries: int, size: int) -> Graph:
    """A step for those elements whose condition is true."""
    builder = Builder(step.name)
    inputs = [builder.input(v.type, v.name) for v in step.inputs]
    (going,) = rebuild(test, builder, inputs)

    def chosen(new: Value, old: Value) -> Value:
        (mask,) = builder.emit(broadcast, (going,), {"axes": (0,), "shape": new.shape})
        return builder.emit(select, (mask, new, old))[0]

    made = rebuild(step, builder, inputs)
    return builder.build(chosen(new, old) for new, old in zip(made, inputs[:carries], strict=True))


def switch_batch(
    vectorized: Vectorized, operands: Sequence[Any], batched: Flags, *, branches: tuple[Graph, ...], places: Any
) -> Any:
    """The mapped branches by the same index; if the index is mapped, all branches, and a selection of their results."""
    size = size_of(operands, batched)
    rest = list(batched[1:])
    none = [False] * len(branches[0].outputs)
    if batched[0]:
        return _alone(_selected(vectorized, operands, rest, branches, size))
    flags = [vectorized(branch, rest, size, none)[1] for branch in branches]
    wanted = [any(each) for each in zip(*flags, strict=True)]
    graphs = tuple(vectorized(branch, rest, size, wanted)[0] for branch in branches)
    found = _apply("switch", *operands, branches=graphs, places=places)
    return _alone([in_front(x, b, size) for x, b in zip(found, wanted, strict=True)])


def _selected(
    vectorized: Vectorized, operands: Sequence[Any], rest: Flags, branches: tuple[Graph, ...], size: int
) -> list[Any]:
    index, record = operands[0], recorder()
    results: list[Any] = []
    last = len(branches) - 1
    for k, branch in enumerate(branches):
        graph, _ = vectorized(branch, rest, size, [True] * len(branch.outputs))
        values = [record.lift(x) for x in operands[1:]]  # type: ignore[union-attr]
        made = [record.tracer(v) for v in inline(graph, record.builder, values)]  # type: ignore[union-attr]
        number = full(shape=index.shape, dtype=index.dtype, value=bool(k) if index.dtype == BOOL else k)
        mine = (ge if k == last else eq)(index, number)  # branch 0 is what is left, if the index is clamped
        masks = [broadcast(mine, axes=(0,), shape=x.shape) for x in made]
        results = [select(*each) for each in zip(masks, made, results, strict=True)] if k else made
    return results
