"""`scan`: a loop of known length over the leading axis of operands and results, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tgc.ir import Builder, Graph, Node, Value, rebuild, recorder
from tgc.ops import creation, movement
from tgc.ops.control import Joint, Run, fit, input_types, output_types, zeros
from tgc.ops.control_batch import scan_batch
from tgc.ops.control_jvp import scan_jvp
from tgc.ops.elementwise import add, cast, mul, neg, select, sub
from tgc.ops.kinds import REPEATABLE, Control, Elementwise, flag, integer, places, region
from tgc.ops.samples import samples
from tgc.sizes import is_size
from tgc.types import TensorType, is_inexact, type_of


def stacked(t: TensorType, length: int) -> TensorType:
    """The type of `length` tensors of type `t` along a new leading axis."""
    return TensorType(t.dtype, (length, *t.shape))


def _type(
    op: Control, operands: list[TensorType], body: Graph, length: int, carries: int, xs: int, lanes: int = 1, **_: Any
) -> tuple[TensorType, ...]:
    taken, made = input_types(body), output_types(body)
    if length < 0 or carries < 0 or xs < 0 or carries + xs > len(taken) or carries > len(made):
        raise op.refuse(f"{carries} carries, {xs} xs and length {length} do not fit the body @{body.name}", operands)
    if lanes != 1:
        cut = cut_inputs(operands, body, length, carries, xs)
        if lanes < 1 or not all(cut[:carries]) or not all(t.shape for t in made):
            raise op.refuse(f"{lanes} lanes do not fit the body @{body.name}", operands)
        taken = [joined(t, lanes) if cut[k] else t for k, t in enumerate(taken)]
        made = [joined(t, lanes) for t in made]
    each = [stacked(t, length) if carries <= k < carries + xs else t for k, t in enumerate(taken)]
    fit(op, operands, "the operands", operands, each)
    fit(op, operands, f"the carries that the body @{body.name} returns", made[:carries], taken[:carries])
    return (*made[:carries], *(stacked(t, length) for t in made[carries:]))


def joined(t: TensorType, lanes: int) -> TensorType:
    """The type of what lanes have of type `t` each, together."""
    return TensorType(t.dtype, (t.shape[0] * lanes, *t.shape[1:]))


def cut_inputs(operands: Sequence[TensorType], body: Graph, length: int, carries: int, xs: int) -> list[bool]:
    """Which operands of a scan with lanes each lane has a part of: those that are not as the body takes them."""
    each = [stacked(t, length) if carries <= k < carries + xs else t for k, t in enumerate(input_types(body))]
    return [t.rank > 0 and a.shape != t.shape for a, t in zip(operands, each, strict=True)]


def _reference(
    run: Run,
    *operands: np.ndarray,
    body: Graph,
    length: int,
    reverse: bool,
    carries: int,
    xs: int,
    lanes: int = 1,
    **_: Any,
) -> Any:
    if lanes > 1:
        cut = cut_inputs([type_of(a) for a in operands], body, length, carries, xs)
        axes = [int(carries <= k < carries + xs) if c else None for k, c in enumerate(cut)]
        pairs = zip(operands, axes, strict=True)
        parts = [[a] * lanes if axis is None else np.split(a, lanes, axis) for a, axis in pairs]
        found = zip(
            *(
                _reference(run, *mine, body=body, length=length, reverse=reverse, carries=carries, xs=xs)
                for mine in zip(*parts, strict=True)
            ),
            strict=True,
        )
        return tuple(np.concatenate(r, int(k >= carries)) for k, r in enumerate(found))
    state = operands[:carries]
    rows, consts = operands[carries : carries + xs], operands[carries + xs :]
    ys = [np.empty((length, *v.shape), v.dtype) for v in body.outputs[carries:]]
    for i in reversed(range(length)) if reverse else range(length):
        made = run(body, *state, *(x[i] for x in rows), *consts)
        state = made[:carries]
        for y, row in zip(ys, made[carries:], strict=True):
            y[i] = row
    return (*state, *ys)


# ----------------------------------------------------------------------------------------------------------- gradient

# Ops that are applied again in the backward part rather than that their results are kept: those that hold no more than
# their operands do, and those that cost less than to load a result, where all that they read is at hand.
RECOMPUTED = (creation.full, creation.iota, movement.broadcast, movement.reshape, movement.transpose)
CHEAP = (add, sub, mul, neg, select, cast)


@dataclass(frozen=True)
class _Cut:
    """The joint graph of a body, cut in two: what its primal results need, and the rest.

    Attributes:
        kept: values of the first part, computed from carries or rows, that the second part reads.
        inputs: inputs of the body that the second part reads.
        nodes: those of the second part, those of the first that it recomputes included, in order.
    """

    kept: tuple[Value, ...]
    inputs: frozenset[Value]
    nodes: tuple[Node, ...]

    @staticmethod
    def of(joint: Graph, results: int, carries: Sequence[Value], rows: Sequence[Value]) -> _Cut:
        """The cut of `joint`, whose first `results` outputs are primal, and whose inputs carries and rows vary."""
        forward = _ancestors(joint, joint.outputs[:results])
        varies = {*carries, *rows}
        for node in joint.nodes:
            if any(v in varies for v in node.operands):
                varies.update(node.results)
        needed = set(joint.outputs[results:])

        def again(node: Node) -> bool:
            """Whether to compute a node again rather than to keep its result."""
            at_hand = all(v in needed or v in rows or v not in varies for v in node.operands)
            return node.op in RECOMPUTED or (node.op in CHEAP and at_hand)

        kept: list[Value] = []
        mine: list[Node] = []
        for node in reversed(joint.nodes):
            read = [r for r in node.results if r in needed]
            if read and node in forward and read[0] in varies and not again(node):
                kept += read
            elif read:
                mine.append(node)
                needed.update(node.operands)
        return _Cut(tuple(kept), frozenset(needed.intersection(joint.inputs)), tuple(reversed(mine)))


def _ancestors(graph: Graph, values: Sequence[Value]) -> set[Node]:
    needed = set(values)
    found = set()
    for node in reversed(graph.nodes):
        if any(r in needed for r in node.results):
            found.add(node)
            needed.update(node.operands)
    return found


def _gradient(
    joint: Joint,
    g: Any,
    *operands: Any,
    out: Any,
    body: Graph,
    length: int,
    reverse: bool,
    carries: int,
    xs: int,
    **_: Any,
) -> tuple[Any, ...]:
    """The cotangents, by a scan in the other direction over what the forward scan keeps of each step.

    That scan is the one whose gradient this is: it gets further ys. Cotangents of carries are carried backwards, those
    of consts summed up, those of xs are the ys of the backward scan. Nothing is kept that is at hand already: xs and
    consts, what depends on consts alone, what is among the ys.
    """
    gs = list(g) if isinstance(g, tuple) else [g]
    node: Node = (out if isinstance(out, list) else [out])[0].value.node
    gs += [None] * (len(body.outputs) - len(gs))
    real = [k for k in range(carries) if is_inexact(body.inputs[k].dtype)]
    given = [*real, *(k for k in range(carries, len(gs)) if gs[k] is not None)]
    both, reached = joint(body, given)
    inputs, cotangents = both.inputs[: len(body.inputs)], both.inputs[len(body.inputs) :]
    primal, pulled = both.outputs[: len(gs)], dict(zip(reached, both.outputs[len(gs) :], strict=True))
    cut = _Cut.of(both, len(gs), inputs[:carries], inputs[carries : carries + xs])
    groups = _parts(cut.kept, primal)
    kept: list[tuple[Value, ...]] = [(v,) for v in inputs[:carries] if v in cut.inputs]
    kept += [*groups, *((v,) for v in cut.kept if not any(v in group for group in groups))]
    wholes = {Value(TensorType(group[0].dtype, _joined_shape(group)), name="parts"): group for group in groups}
    stands = {group: whole for whole, group in wholes.items()}
    rows = dict(zip((stands.get(k, k[0]) for k in kept), _keep(node, both, kept, primal, carries), strict=True))
    rows |= {v: operands[carries + j] for j, v in enumerate(inputs[carries : carries + xs]) if v in cut.inputs}
    rows |= {ct: gs[k] for k, ct in zip(given, cotangents, strict=True) if k >= carries}
    consts = {v: operands[carries + xs + j] for j, v in enumerate(inputs[carries + xs :]) if v in cut.inputs}
    sums = [k for k in reached if k >= carries + xs]

    builder = Builder(f"{body.name}_grad")
    env = {ct: builder.input(ct.type, f"g{k}") for k, ct in zip(given, cotangents, strict=True) if k < carries}
    totals = [builder.input(inputs[k].type, f"sum{k}") for k in sums]
    env |= {v: builder.input(v.type, v.name if v.node is None else v.node.op.name) for v in (*rows, *consts)}
    env |= {c.value: builder.adopt(c) for c in both.constants}
    for whole, group in wholes.items():
        at = 0
        for v in group:
            start, stop = ((*(0 for _ in v.shape[1:]), at), (*v.shape[:-1], at + v.shape[-1]))
            attrs = {"start": start, "stop": stop, "step": (1,) * v.type.rank}
            (env[v],) = builder.emit(movement.slice_, (env[whole],), attrs)
            at += v.shape[-1]
    for inner in cut.nodes:
        types = [r.type for r in inner.results]
        made = builder.emit(inner.op, [env[v] for v in inner.operands], inner.attrs, inner.loc, types=types)
        env.update(zip(inner.results, made, strict=True))
    results = [env[pulled[k]] if k in pulled else zeros(builder, inputs[k].type) for k in real]
    results += [builder.emit(add, (total, env[pulled[k]]))[0] for k, total in zip(sums, totals, strict=True)]
    stacks = [k for k in reached if carries <= k < carries + xs]
    results += [env[pulled[k]] for k in stacks]
    first = [gs[k] if gs[k] is not None else creation.fill(inputs[k].shape, inputs[k].dtype, 0) for k in real]
    first += [creation.fill(inputs[k].shape, inputs[k].dtype, 0) for k in sums]
    made = scan(
        *first, *rows.values(), *consts.values(), body=builder.build(results), length=length, reverse=not reverse,
        carries=len(first), xs=len(rows), places=(),
    )  # fmt: skip
    found = dict(zip((*real, *sums, *stacks), made if isinstance(made, tuple) else (made,), strict=True))
    return tuple(found.get(k) for k in range(len(operands)))


def _joined_shape(group: Sequence[Value]) -> tuple[int, ...]:
    """Of the values of a group side by side."""
    return (*group[0].shape[:-1], sum(v.shape[-1] for v in group))


def _parts(kept: Sequence[Value], primal: Sequence[Value]) -> list[tuple[Value, ...]]:
    """Values that are functions of the parts of one value along its last axis, as gates are, each by itself: kept side
    by side, they have its shape, and may lie where it, or what it was computed from, was.
    """
    found: dict[Value, dict[int, Value]] = {}
    for v in kept:
        x = v
        while x.node is not None and isinstance(x.node.op, Elementwise) and len(x.node.operands) == 1:
            (x,) = x.node.operands
        if x.node is None or x.node.op is not movement.slice_ or v in primal or v.dtype != x.dtype or not x.type.rank:
            continue
        (whole,), attrs = x.node.operands, x.node.attrs
        if is_size(whole.shape[-1]) or is_size(attrs["start"][-1]) or is_size(x.shape[-1]):
            continue
        if attrs["step"] == (1,) * x.type.rank and x.shape[:-1] == whole.shape[:-1]:
            found.setdefault(whole, {}).setdefault(attrs["start"][-1], v)
    groups = []
    for whole, at in found.items():
        group = tuple(at[start] for start in sorted(at))
        even = {v.shape for v in group} == {group[0].shape} and len({*group}) == len(group) > 1
        if even and _joined_shape(group) == whole.shape:
            groups.append(group)
    return groups


def _keep(
    node: Node, both: Graph, kept: Sequence[tuple[Value, ...]], primal: Sequence[Value], carries: int
) -> list[Any]:
    """Tracers of the stacks of values of a body, which scan `node` returns already or from now on; of several values
    side by side.
    """
    record: Any = recorder()
    listed: list[Any] = [(v,) for v in primal]
    new = [v for v in kept if v not in listed[carries:]]
    if new:
        builder = Builder(node.body.name)
        inputs = [builder.input(v.type, v.name) for v in node.body.inputs]
        extra = [
            builder.input(v.type, v.name) for v in both.inputs[len(inputs) :]
        ]  # cotangents, which none of it reads
        values: dict[Value, Value] = dict(zip(both.inputs, inputs, strict=False))

        def noted(inner: Node, operands: tuple[Value, ...]) -> tuple[Value, ...]:
            types = [r.type for r in inner.results]
            made = builder.emit(inner.op, operands, inner.attrs, inner.loc, types=types)
            values.update(zip(inner.results, made, strict=True))
            return made

        outputs = rebuild(both, builder, [*inputs, *extra], noted)[: len(primal)]
        more = [
            values[group[0]]
            if len(group) == 1
            else builder.emit(movement.concat, [values[v] for v in group], {"axis": group[0].type.rank - 1}, node.loc)[
                0
            ]
            for group in new
        ]
        body = builder.build([*outputs, *more])
        body = Graph(body.name, tuple(inputs), body.constants, body.nodes, body.outputs)
        types = node.op.infer([v.type for v in node.operands], {**node.attrs, "body": body})
        record.builder.extend(node, {**node.attrs, "body": body}, types)
        listed += new
    return [record.tracer(node.results[listed.index(v, carries)]) for v in kept]


scan = Control(
    "scan",
    attrs={"body": region, "length": integer, "reverse": flag, "carries": integer, "xs": integer, "places": places},
    optional={**REPEATABLE, "lanes": integer},
    type_rule=_type,
    reference=_reference,
    grad=_gradient,
    batch=scan_batch,
    jvp=scan_jvp,
    samples=samples(),
)
"""`body` takes carries, one row of each of the xs, consts; it returns carries and one row of each of the ys.

Operands: initial carries, xs, consts. Results: final carries, ys. Step i reads and writes row i; with `reverse` the
last step comes first.

With n `lanes` (see the pass of that name) the carries are cut along their first axis in n equal parts, and so are rows
of the ys, and those rows of the xs and consts that the body takes a part of; the body computes one part.
"""
