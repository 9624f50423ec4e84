"""Control flow: loops and branches whose bodies are graphs.

    scan        a loop of known length, over the leading axis of operands and results
    while_loop  a loop that ends when its condition is false
    switch      one of several graphs, by an index

The graphs are pure and closed: what they read from outside is an operand of the node and an input of the graph.
`tgc.control` has the functions of functions that users call, and `tgc.ops.control_rules` the rules of gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tgc.errors import GradientError
from tgc.ir import Graph
from tgc.ops import control_rules as rules
from tgc.ops.kinds import Control, integer, region, regions, texts
from tgc.ops.kinds import scalar as number
from tgc.ops.samples import samples
from tgc.types import BOOL, I32, I64, TensorType

Run = Callable[..., tuple[np.ndarray, ...]]


def _listed(types: Sequence[TensorType]) -> str:
    return f"({', '.join(map(str, types))})"


def _inputs(graph: Graph) -> list[TensorType]:
    return [v.type.with_layout(None) for v in graph.inputs]


def _outputs(graph: Graph) -> list[TensorType]:
    return [v.type.with_layout(None) for v in graph.outputs]


def _fit(
    op: Control, operands: Sequence[TensorType], what: str, got: list[TensorType], wanted: list[TensorType]
) -> None:
    if got != wanted:
        raise op.refuse(f"{what} are {_listed(got)}, expected {_listed(wanted)}", operands)


def flag(x: Any) -> bool:
    """Attribute check: true or false."""
    if not isinstance(number(x), bool):
        raise TypeError(f"expected true or false, got {x!r}")
    return bool(x)


# -------------------------------------------------------------------------------------------------------------- scan


def stacked(t: TensorType, length: int) -> TensorType:
    """The type of `length` tensors of type `t` along a new leading axis."""
    return TensorType(t.dtype, (length, *t.shape))


def _scan_type(
    op: Control, operands: list[TensorType], body: Graph, length: int, carries: int, xs: int, **attrs: Any
) -> tuple[TensorType, ...]:
    taken, made = _inputs(body), _outputs(body)
    if length < 0 or carries < 0 or xs < 0 or carries + xs > len(taken) or carries > len(made):
        raise op.refuse(f"{carries} carries, {xs} xs and length {length} do not fit the body @{body.name}", operands)
    each = [stacked(t, length) if carries <= k < carries + xs else t for k, t in enumerate(taken)]
    _fit(op, operands, "the operands", operands, each)
    _fit(op, operands, f"the carries that the body @{body.name} returns", made[:carries], taken[:carries])
    return (*made[:carries], *(stacked(t, length) for t in made[carries:]))


def _scan(
    run: Run, *operands: np.ndarray, body: Graph, length: int, reverse: bool, carries: int, xs: int, **_: Any
) -> Any:
    state = operands[:carries]
    rows, consts = operands[carries : carries + xs], operands[carries + xs :]
    ys = [np.empty((length, *v.shape), v.dtype) for v in body.outputs[carries:]]
    for i in reversed(range(length)) if reverse else range(length):
        made = run(body, *state, *(x[i] for x in rows), *consts)
        state = made[:carries]
        for y, row in zip(ys, made[carries:], strict=True):
            y[i] = row
    return (*state, *ys)


scan = Control(
    "scan",
    attrs={"body": region, "length": integer, "reverse": flag, "carries": integer, "xs": integer, "places": texts},
    type_rule=_scan_type,
    reference=_scan,
    grad=rules.scan_gradient,
    samples=samples(),
)
"""`body` takes carries, one row of each of the xs, consts; it returns carries and one row of each of the ys.

Operands: initial carries, xs, consts. Results: final carries, ys. Step i reads and writes row i; with `reverse` the
last step comes first.
"""

# -------------------------------------------------------------------------------------------------------- while_loop


def _while_type(
    op: Control, operands: list[TensorType], cond: Graph, body: Graph, carries: int, **attrs: Any
) -> tuple[TensorType, ...]:
    if not 0 <= carries <= len(operands):
        raise op.refuse(f"{carries} carries", operands)
    _fit(op, operands, f"the inputs of the condition @{cond.name}", _inputs(cond), operands)
    _fit(op, operands, f"the inputs of the body @{body.name}", _inputs(body), operands)
    _fit(op, operands, f"the results of the condition @{cond.name}", _outputs(cond), [TensorType(BOOL, ())])
    _fit(op, operands, f"the carries that the body @{body.name} returns", _outputs(body), operands[:carries])
    return tuple(operands[:carries])


def _while(run: Run, *operands: np.ndarray, cond: Graph, body: Graph, carries: int, **_: Any) -> Any:
    state, consts = operands[:carries], operands[carries:]
    while run(cond, *state, *consts)[0]:
        state = run(body, *state, *consts)
    return tuple(state)


def _no_gradient_of_while(*operands: Any, **attrs: Any) -> Any:
    raise GradientError(
        "while_loop has no gradient: how often it runs, and so what would have to be kept, is unknown; use tgc.scan "
        "or tgc.fori_loop with bounds that are Python ints, and tgc.cond or tgc.numpy.where inside if it may end early"
    )


while_loop = Control(
    "while_loop",
    attrs={"cond": region, "body": region, "carries": integer, "places": texts},
    type_rule=_while_type,
    reference=_while,
    grad=_no_gradient_of_while,
    samples=samples(),
)
"""`cond` and `body` take carries and consts; `cond` returns a boolean, `body` carries."""

# ------------------------------------------------------------------------------------------------------------ switch


def _switch_type(op: Control, operands: list[TensorType], branches: tuple[Graph, ...], **attrs: Any) -> Any:
    if not operands or operands[0].shape or operands[0].dtype not in (BOOL, I32, I64):
        raise op.refuse("operand 0 must be a scalar of dtype bool, i32 or i64: the number of a branch", operands)
    made = _outputs(branches[0])
    for k, branch in enumerate(branches):
        _fit(op, operands, f"the inputs of branch {k} @{branch.name}", _inputs(branch), operands[1:])
        _fit(op, operands, f"the results of branch {k} @{branch.name}", _outputs(branch), made)
    return tuple(made)


def _switch(run: Run, index: np.ndarray, *operands: np.ndarray, branches: tuple[Graph, ...], **_: Any) -> Any:
    return tuple(run(branches[min(max(int(index), 0), len(branches) - 1)], *operands))


switch = Control(
    "switch",
    attrs={"branches": regions, "places": texts},
    type_rule=_switch_type,
    reference=_switch,
    grad=rules.switch_gradient,
    samples=samples(),
)
"""branches[index](operands), the index clamped to those that there are."""
