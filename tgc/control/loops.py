"""`scan` and what is made of it, and `while_loop`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tgc.control.bodies import Body, Leaves, fit, results, shared, truth
from tgc.errors import ShapeError, TraceError
from tgc.ops import control
from tgc.ops import scan as scanning
from tgc.ops.arithmetic import as_tensor, result_type
from tgc.sizes import is_size


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """A loop that carries state over the leading axis of `xs`: `carry, ys[i] = f(carry, xs[i])` for each i in order.

    Args:
        f: (carry, x) -> (carry, y). The carry keeps its structure, shapes and dtypes; leaves of `init` that are Python
            numbers take on the dtypes that `f` returns.
        init: the first carry, a pytree of tensors.
        xs: a pytree of tensors of shapes (length, ...), or None.
        length: the number of steps; needed where `xs` holds no tensor.
        reverse: whether to go from the last row to the first; ys[i] still belongs to xs[i].

    Returns:
        (the last carry, ys): leaves of ys have the shapes (length, ...).
    Raises:
        ShapeError, DTypeError, TraceError: lengths differ, or `f` returns another kind of carry than it gets.
    """
    carry, rows = Leaves.of(init, "init"), Leaves.of(xs, "xs")
    n = _length(rows, length)
    while True:
        body = Body(f, (carry, rows.rows()), "f(carry, x)")
        parts = body.out.structure.children()
        if body.out.structure.type is not tuple or len(parts) != 2:
            raise TraceError(f"scan: f must return a pair (carry, y), not {body.out.structure}")
        first = body.out.first(parts[0].num_leaves, parts[0])
        if not fit("scan", carry, body, first, "f must return a carry like the one that it gets: change f or init"):
            break
    attrs = {"length": n, "reverse": bool(reverse), "carries": len(carry.types), "xs": len(rows.types)}
    made = scanning.scan(*carry.tensors, *rows.tensors, *body.captured.values(), body=body.graph, places=(), **attrs)
    return results(body.out.structure, made, [*carry.weak, *[False] * parts[1].num_leaves])  # type: ignore[no-any-return]


def _length(rows: Leaves, length: int | None) -> int:
    """The number of steps of a loop over `rows`."""
    for name, t in zip(rows.names, rows.types, strict=True):
        if not t.shape:
            raise ShapeError(f"scan: {name} is {t}; a loop over it needs a leading axis")
    lengths = [t.shape[0] for t in rows.types]
    if length is not None:
        lengths.append(length if is_size(length) else int(length))
    if not lengths or any(n != lengths[0] for n in lengths):
        named = {t.shape[0]: name for name, t in zip(rows.names, rows.types, strict=True)}
        if length is not None:
            named.setdefault(lengths[-1], "length")
        found = ", ".join(f"{name} has {n} rows" if name != "length" else f"length={n}" for n, name in named.items())
        raise ShapeError(f"scan: {found or 'xs holds no tensor: length must be given'}")
    return lengths[0]


def while_loop(cond: Callable[[Any], Any], body: Callable[[Any], Any], init: Any) -> Any:
    """`while cond(carry): carry = body(carry)`, from `init`; the last carry.

    Args:
        cond: carry -> scalar, true as long as the loop goes on.
        body: carry -> carry of the same structure, shapes and dtypes.
        init: the first carry, a pytree of tensors; leaves that are Python numbers take on the dtypes
            that `body` returns.

    Raises:
        ShapeError, DTypeError, TraceError: `cond` returns no scalar, or `body` another kind of carry than it gets.
    """
    carry = Leaves.of(init, "init")
    mend = "it must return a carry like the one that it gets: change body or init"
    while True:
        step = Body(body, (carry,), "body(carry)")
        if not fit("while_loop", carry, step, step.out, mend):
            break
    test = Body(lambda carry: truth(cond(carry), "while_loop: cond"), (carry,), "cond(carry)")
    graphs, captured = shared([test, step])
    n = len(carry.types)
    made = control.while_loop(*carry.tensors, *captured, cond=graphs[0], body=graphs[1], carries=n, places=())
    return results(carry.structure, made, carry.weak)


def fori_loop(lower: Any, upper: Any, body: Callable[[Any, Any], Any], init: Any) -> Any:
    """`for i in range(lower, upper): carry = body(i, carry)`, from `init`; the last carry.

    With bounds that are Python ints it is a `scan` and has a gradient, else a `while_loop`. The counter is weak (as a
    Python int) if both bounds are Python ints, else of their common dtype.
    """
    if isinstance(lower, int) and isinstance(upper, int):

        def step(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
            i, state = carry
            return (i + 1, body(i, state)), None

        return scan(step, (lower, init), None, max(upper - lower, 0))[0][1]
    dtype = result_type(lower, upper)
    bounds = [as_tensor(x, dtype) for x in (lower, upper)]
    one = np.ones((), dtype)
    return while_loop(lambda c: c[0] < c[1], lambda c: (c[0] + one, c[1], body(c[0], c[2])), (*bounds, init))[2]


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """`f` applied to each row of the tensors of `xs` by itself, results stacked: a `scan` without a carry."""
    return scan(lambda carry, x: (carry, f(x)), None, xs)[1]
