"""Control flow: loops and branches whose bodies are graphs.

    scan        (in `tgc.ops.scan`) a loop of known length, over the leading axis of operands and results
    while_loop  a loop that ends when its condition is false
    switch      one of several graphs, by an index

The graphs are pure and closed: what they read from outside is an operand of the node and an input of the graph.
`tgc.control` has the functions of functions that users call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from tgc.errors import GradientError, StepLimitError
from tgc.ir import Builder, Graph, Node, Value, rebuild
from tgc.ops.control_batch import switch_batch, while_batch
from tgc.ops.control_jvp import switch_jvp, while_jvp
from tgc.ops.creation import full
from tgc.ops.kinds import REPEATABLE, Control, integer, places, region, regions
from tgc.ops.samples import samples
from tgc.types import BOOL, I32, I64, TensorType

Run = Callable[..., tuple[np.ndarray, ...]]


Joint = Callable[..., tuple[Graph, tuple[int, ...]]]


def listed(types: Sequence[TensorType]) -> str:
    """Types in a message."""
    return f"({', '.join(map(str, types))})"


def input_types(graph: Graph) -> list[TensorType]:
    """What a body takes, layouts aside."""
    return [v.type.with_layout(None) for v in graph.inputs]


def output_types(graph: Graph) -> list[TensorType]:
    """What a body returns, layouts aside."""
    return [v.type.with_layout(None) for v in graph.outputs]


def fit(
    op: Control, operands: Sequence[TensorType], what: str, got: list[TensorType], wanted: list[TensorType]
) -> None:
    """Check the types of a body's inputs or outputs."""
    if got != wanted:
        raise op.refuse(f"{what} are {listed(got)}, expected {listed(wanted)}", operands)


# -------------------------------------------------------------------------------------------------------- while_loop


def _while_type(
    op: Control, operands: list[TensorType], cond: Graph, body: Graph, carries: int, **attrs: Any
) -> tuple[TensorType, ...]:
    if not 0 <= carries <= len(operands):
        raise op.refuse(f"{carries} carries", operands)
    fit(op, operands, f"the inputs of the condition @{cond.name}", input_types(cond), operands)
    fit(op, operands, f"the inputs of the body @{body.name}", input_types(body), operands)
    fit(op, operands, f"the results of the condition @{cond.name}", output_types(cond), [TensorType(BOOL, ())])
    fit(op, operands, f"the carries that the body @{body.name} returns", output_types(body), operands[:carries])
    return tuple(operands[:carries])


_limit: ContextVar[int | None] = ContextVar("tgc_step_limit", default=None)


@contextmanager
def step_limit(steps: int) -> Iterator[None]:
    """While loops that the oracle runs in the with block raise StepLimitError after so many steps."""
    token = _limit.set(steps)
    try:
        yield
    finally:
        _limit.reset(token)


def _while(run: Run, *operands: np.ndarray, cond: Graph, body: Graph, carries: int, **_: Any) -> Any:
    state, consts = operands[:carries], operands[carries:]
    limit, steps = _limit.get(), 0
    while run(cond, *state, *consts)[0]:
        state = run(body, *state, *consts)
        steps += 1
        if steps == limit:
            raise StepLimitError
    return tuple(state)


def _no_gradient_of_while(*operands: Any, **attrs: Any) -> Any:
    raise GradientError(
        "while_loop has no gradient: how often it runs, and so what would have to be kept, is unknown; use tgc.scan "
        "or tgc.fori_loop with bounds that are Python ints, and tgc.cond or tgc.numpy.where inside if it may end early"
    )


while_loop = Control(
    "while_loop",
    attrs={"cond": region, "body": region, "carries": integer, "places": places},
    type_rule=_while_type,
    reference=_while,
    grad=_no_gradient_of_while,
    batch=while_batch,
    jvp=while_jvp,
    samples=samples(),
)
"""`cond` and `body` take carries and consts; `cond` returns a boolean, `body` carries."""

# ------------------------------------------------------------------------------------------------------------ switch


def _switch_type(op: Control, operands: list[TensorType], branches: tuple[Graph, ...], **attrs: Any) -> Any:
    if not operands or operands[0].shape or operands[0].dtype not in (BOOL, I32, I64):
        raise op.refuse("operand 0 must be a scalar of dtype bool, i32 or i64: the number of a branch", operands)
    made = output_types(branches[0])
    for k, branch in enumerate(branches):
        fit(op, operands, f"the inputs of branch {k} @{branch.name}", input_types(branch), operands[1:])
        fit(op, operands, f"the results of branch {k} @{branch.name}", output_types(branch), made)
    return tuple(made)


def _switch(run: Run, index: np.ndarray, *operands: np.ndarray, branches: tuple[Graph, ...], **_: Any) -> Any:
    return tuple(run(branches[min(max(int(index), 0), len(branches) - 1)], *operands))


def zeros(builder: Builder, t: TensorType) -> Value:
    """A tensor of zeros."""
    zero = np.zeros((), t.dtype).item()
    (value,) = builder.emit(full, (), {"shape": t.shape, "dtype": t.dtype, "value": zero})
    return value


def _switch_gradient(
    joint: Joint, g: Any, index: Any, *operands: Any, out: Any, branches: tuple[Graph, ...], **_: Any
) -> tuple[Any, ...]:
    """A switch over the gradients of the branches, which compute again what they need of their forward parts."""
    gs = g if isinstance(g, tuple) else (g,)
    given = tuple(k for k, ct in enumerate(gs) if ct is not None)
    joints = [joint(branch, given) for branch in branches]
    reached = sorted({k for _, ks in joints for k in ks})
    if not reached:
        return (None,) * (1 + len(operands))
    backwards = []
    for graph, mine in joints:
        builder = Builder(f"{graph.name}_grad")
        inputs = [builder.input(v.type, v.name) for v in graph.inputs]
        made = rebuild(graph, builder, inputs)
        cotangents = dict(zip(mine, made[len(gs) :], strict=True))
        backwards.append(builder.build(cotangents.get(k) or zeros(builder, inputs[k].type) for k in reached))
    made = switch(index, *operands, *(gs[k] for k in given), branches=tuple(backwards), places=())
    cotangents = dict(zip(reached, made if isinstance(made, tuple) else (made,), strict=True))
    return (None, *(cotangents.get(k) for k in range(len(operands))))


switch = Control(
    "switch",
    attrs={"branches": regions, "places": places},
    optional=REPEATABLE,
    type_rule=_switch_type,
    reference=_switch,
    grad=_switch_gradient,
    batch=switch_batch,
    jvp=switch_jvp,
    samples=samples(),
)
"""branches[index](operands), the index clamped to those that there are."""


def every_node(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph and of the bodies of its control flow."""
    for node in graph.nodes:
        yield node
        for body in node.regions if isinstance(node.op, Control) else ():
            yield from every_node(body)
