"""Control flow inside of compiled programs, with the signatures and the meaning of `jax.lax`.

Bodies are traced once and become graphs of their own (`tgc.ops.control`); loops and branches run in native code without
returning to Python, nested to any depth. Bodies may close over tensors of enclosing traces and over arrays. Outside of
any trace the functions run compiled: programs are kept by the graphs of their bodies, so that calling again with
another function of the same meaning compiles nothing.

All take and return pytrees of tensors. `scan`, `fori_loop` with bounds that are Python ints, `map`, `cond`, `switch`
and `associative_scan` have gradients; `while_loop` has none.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from tgc import numpy as tnp
from tgc.errors import DTypeError, ShapeError, TraceError
from tgc.ir import Builder, Graph, rebuild, recorder
from tgc.ops import control
from tgc.ops import scan as scanning
from tgc.ops.arithmetic import as_tensor, astype, dtype_of, is_weak, result_type, shape_of
from tgc.ops.elementwise import ne
from tgc.trace import Tracer, trace, trace_region
from tgc.types import BOOL, I32, I64, DType, TensorType, as_dtype, is_float


@dataclass(slots=True)
class _Leaves:
    """A pytree in pieces; a leaf is weak if it is made of Python numbers alone."""

    tensors: list[Any]
    types: list[TensorType]
    weak: list[bool]
    names: list[str]
    structure: Any

    @staticmethod
    def of(tree: Any, root: str) -> _Leaves:
        paths, tensors, structure = optree.tree_flatten_with_path(tree)
        names = [root + "".join(f"[{p!r}]" for p in path) for path in paths]
        for name, x in zip(names, tensors, strict=True):
            if not isinstance(x, Tracer | np.ndarray | np.generic | bool | int | float):
                raise TraceError(f"{name} is a {type(x).__name__}, no tensor: {x!r:.80}")
        types = [TensorType(dtype_of(x), tuple(shape_of(x))) for x in tensors]
        arrays = [x if isinstance(x, Tracer) else np.asarray(x, t.dtype) for x, t in zip(tensors, types, strict=True)]
        return _Leaves(arrays, types, [is_weak(x) for x in tensors], names, structure)

    def rows(self) -> _Leaves:
        """One row of each tensor, as types alone."""
        names = [f"x{name.removeprefix('xs')}" for name in self.names]
        types = [TensorType(t.dtype, t.shape[1:]) for t in self.types]
        return _Leaves([], types, [False] * len(types), names, self.structure)

    def first(self, n: int, structure: Any) -> _Leaves:
        """The first `n` leaves, which are a pytree of their own."""
        return _Leaves(self.tensors[:n], self.types[:n], self.weak[:n], self.names[:n], structure)


class _Body:
    """A function of pytrees, traced as a region; what it returned is kept in `out`."""

    def __init__(self, f: Callable[..., Any], arguments: Sequence[_Leaves], root: str) -> None:
        self.f, self.arguments, self.root = f, arguments, root
        self.out: _Leaves
        self.graph: Graph
        self.captured: tuple[Tracer, ...] = ()
        self.trace()

    def trace(self, dtypes: Sequence[DType | None] = ()) -> None:
        """Trace `f`, its results converted to `dtypes` where they are given."""

        def flat(*tracers: Tracer) -> list[Any]:
            rest = iter(tracers)
            trees = []
            for leaves in self.arguments:
                mine = [next(rest) for _ in leaves.types]
                for t, weak in zip(mine, leaves.weak, strict=True):
                    t.weak = weak
                trees.append(optree.tree_unflatten(leaves.structure, mine))
            self.out = _Leaves.of(self.f(*trees), self.root)
            made = self.out.tensors
            wanted = dtypes or [None] * len(made)
            return [x if d is None else as_tensor(x, d) for x, d in zip(made, wanted, strict=True)]

        types = [t for leaves in self.arguments for t in leaves.types]
        names = [n for leaves in self.arguments for n in leaves.names]
        name = getattr(self.f, "__name__", "body").strip("<>")
        if recorder() is None:
            self.graph, self.captured = trace(flat, types, names, name), ()
        else:
            self.graph, self.captured = trace_region(flat, types, names, name)


def _fit(op: str, carry: _Leaves, body: _Body, out: _Leaves, mend: str) -> bool:
    """Check that the carry that a body returns is like the one that it gets, up to weak types.

    Returns:
        Whether the body must be traced again: weak leaves of `carry` have got the dtype that the body returns.
    """
    if out.structure != carry.structure:
        raise TraceError(
            f"{op}: the carry has the structure {carry.structure}, but the body returns {out.structure}; {mend}"
        )
    again = False
    dtypes: list[DType | None] = [None] * len(body.out.tensors)
    for k, (before, after) in enumerate(zip(carry.types, out.types, strict=True)):
        if before == after:
            continue
        if before.shape == after.shape and carry.weak[k] and not out.weak[k] and _promotes(before.dtype, after.dtype):
            carry.tensors[k] = astype(carry.tensors[k], after.dtype)
            carry.types[k], carry.weak[k] = after, False
            again = True
        elif before.shape == after.shape and out.weak[k] and _promotes(after.dtype, before.dtype):
            dtypes[k] = before.dtype
        else:
            error = ShapeError if before.shape != after.shape else DTypeError
            raise error(
                f"{op}: {carry.names[k]} is {before}{' (weak)' if carry.weak[k] else ''}, but the body returns {after} "
                f"in its place; {mend}"
                + (f", for example with .astype({before.dtype.name!r})" if before.shape == after.shape else "")
            )
    if not again and any(dtypes):
        body.trace(dtypes)
    return again


def _promotes(weak: DType, dtype: DType) -> bool:
    """Whether a Python number of dtype `weak` takes on `dtype`."""
    kinds = [0 if d == BOOL else 2 if is_float(d) else 1 for d in (weak, dtype)]
    return kinds[0] <= kinds[1]


def _results(structure: Any, made: Any, weak: Sequence[bool]) -> Any:
    """A pytree of an op's results."""
    tensors = list(made) if isinstance(made, tuple) else [made]
    for t, w in zip(tensors, weak, strict=True):
        if isinstance(t, Tracer):
            t.weak = w
    return optree.tree_unflatten(structure, tensors)


def _shared(bodies: Sequence[_Body]) -> tuple[list[Graph], list[Tracer]]:
    """The graphs of bodies of the same parameters, all with the captured tensors of all, and these tensors."""
    captured = {t.value: t for body in bodies for t in body.captured}
    graphs = []
    for body in bodies:
        builder = Builder(body.graph.name)
        declared = len(body.graph.inputs) - len(body.captured)
        inputs = [builder.input(v.type, v.name) for v in body.graph.inputs[:declared]]
        shared = {v: builder.input(v.type, v.name) for v in captured}
        operands = [*inputs, *(shared[t.value] for t in body.captured)]
        graphs.append(builder.build(rebuild(body.graph, builder, operands)))
    return graphs, list(captured.values())


# --------------------------------------------------------------------------------------------------------------- loops


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
    carry, rows = _Leaves.of(init, "init"), _Leaves.of(xs, "xs")
    n = _length(rows, length)
    while True:
        body = _Body(f, (carry, rows.rows()), "f(carry, x)")
        parts = body.out.structure.children()
        if body.out.structure.type is not tuple or len(parts) != 2:
            raise TraceError(f"scan: f must return a pair (carry, y), not {body.out.structure}")
        first = body.out.first(parts[0].num_leaves, parts[0])
        if not _fit("scan", carry, body, first, "f must return a carry like the one that it gets: change f or init"):
            break
    attrs = {"length": n, "reverse": bool(reverse), "carries": len(carry.types), "xs": len(rows.types)}
    made = scanning.scan(*carry.tensors, *rows.tensors, *body.captured, body=body.graph, places=(), **attrs)
    return _results(body.out.structure, made, [*carry.weak, *[False] * parts[1].num_leaves])  # type: ignore[no-any-return]


def _length(rows: _Leaves, length: int | None) -> int:
    """The number of steps of a loop over `rows`."""
    for name, t in zip(rows.names, rows.types, strict=True):
        if not t.shape:
            raise ShapeError(f"scan: {name} is {t}; a loop over it needs a leading axis")
    lengths = {t.shape[0]: name for name, t in zip(rows.names, rows.types, strict=True)}
    if length is not None:
        lengths.setdefault(int(length), "length")
    if len(lengths) != 1:
        found = ", ".join(f"{name} has {n} rows" if name != "length" else f"length={n}" for n, name in lengths.items())
        raise ShapeError(f"scan: {found or 'xs holds no tensor: length must be given'}")
    (n,) = lengths
    return n


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
    carry = _Leaves.of(init, "init")
    mend = "it must return a carry like the one that it gets: change body or init"
    while True:
        step = _Body(body, (carry,), "body(carry)")
        if not _fit("while_loop", carry, step, step.out, mend):
            break
    test = _Body(lambda carry: _truth(cond(carry), "while_loop: cond"), (carry,), "cond(carry)")
    graphs, captured = _shared([test, step])
    n = len(carry.types)
    made = control.while_loop(*carry.tensors, *captured, cond=graphs[0], body=graphs[1], carries=n, places=())
    return _results(carry.structure, made, carry.weak)


def _truth(x: Any, what: str) -> Any:
    """A scalar as a boolean.

    Raises:
        ShapeError, TraceError: it is no scalar.
    """
    leaves = _Leaves.of(x, what)
    if len(leaves.types) != 1 or not leaves.structure.is_leaf():
        raise TraceError(f"{what} must be a scalar, not {leaves.structure}")
    if leaves.types[0].shape:
        raise ShapeError(f"{what} must be a scalar, not {leaves.types[0]}; reduce it, for example with tgc.numpy.all")
    (truth,) = leaves.tensors
    return truth if leaves.types[0].dtype == BOOL else ne(truth, np.zeros((), leaves.types[0].dtype))


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


# ------------------------------------------------------------------------------------------------------------ branches


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *operands: Any) -> Any:
    """`true_fn(*operands)` if the scalar `pred` is true (not zero), else `false_fn(*operands)`; only that one runs.

    Raises:
        ShapeError, DTypeError, TraceError: `pred` is no scalar, or the functions return different kinds of results.
    """
    return _switch("cond", _truth(pred, "cond: pred"), ("false_fn", "true_fn"), (false_fn, true_fn), operands)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """`branches[index](*operands)`; only that one runs. `index` is an integer scalar, clamped to 0..len(branches) - 1.

    Raises:
        ShapeError, DTypeError, TraceError: `index` is no integer scalar, there is no branch, or the branches return
            different kinds of results.
    """
    if not branches:
        raise TraceError("switch: there must be at least one branch")
    dtype = dtype_of(index)
    if shape_of(index) or dtype == BOOL or is_float(dtype):
        raise (ShapeError if shape_of(index) else DTypeError)(
            f"switch: the index must be an integer scalar, not {TensorType(dtype, tuple(shape_of(index)))}"
        )
    if len(branches) == 1:
        return branches[0](*operands)
    held = I32 if np.can_cast(dtype, I32) else I64
    return _switch("switch", as_tensor(index, held), [f"branch {k}" for k in range(len(branches))], branches, operands)


def _switch(op: str, index: Any, names: Sequence[str], branches: Sequence[Callable[..., Any]], operands: Any) -> Any:
    leaves = _Leaves.of(operands, "operands")
    bodies = [_Body(f, [_Leaves.of(x, f"operands[{k}]") for k, x in enumerate(operands)], name)
              for name, f in zip(names, branches, strict=True)]  # fmt: skip
    first = bodies[0].out
    for name, body in zip(names, bodies, strict=True):
        if body.out.structure != first.structure:
            raise TraceError(
                f"{op}: {names[0]} returns the structure {first.structure}, {name} {body.out.structure}; "
                "all must return the same"
            )
    dtypes = [_common(op, k, names, bodies) for k in range(len(first.types))]
    for body in bodies:
        if dtypes != [t.dtype for t in body.out.types]:
            body.trace(dtypes)
    graphs, captured = _shared(bodies)
    made = control.switch(index, *leaves.tensors, *captured, branches=tuple(graphs), places=())
    return _results(first.structure, made, [all(b.out.weak[k] for b in bodies) for k in range(len(dtypes))])


def _common(op: str, k: int, names: Sequence[str], bodies: Sequence[_Body]) -> DType:
    """The dtype of result `k` of all branches: that of the strong ones, or the promoted one of weak ones."""
    types = [b.out.types[k] for b in bodies]
    weak = [b.out.weak[k] for b in bodies]
    strong = [t.dtype for t, w in zip(types, weak, strict=True) if not w]
    dtype = strong[0] if strong else as_dtype(np.result_type(*(t.dtype for t in types)))
    for t, w, name, body in zip(types, weak, names, bodies, strict=True):
        fits = t.shape == types[0].shape and (_promotes(t.dtype, dtype) if w else t.dtype == dtype)
        if not fits:
            error = ShapeError if t.shape != types[0].shape else DTypeError
            raise error(
                f"{op}: {bodies[0].out.names[k]} is {types[0]}, but {body.out.names[k]} of {name} is {t}; "
                "all must return the same shapes and dtypes: convert with .astype, reshape or tgc.numpy.broadcast_to"
            )
    return dtype


# ---------------------------------------------------------------------------------------------------- associative scan


def associative_scan(fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All partial results of an associative function along an axis, in a depth of 2 log2(n) applications.

    Args:
        fn: (a, b) -> c, associative, on pytrees of tensors like `elems` whose `axis` has any size: it works on each
            place of that axis by itself.
        elems: a pytree of tensors that agree in the size of `axis`.
        reverse: whether to go from the last place to the first.
        axis: counts from the end if negative.

    Returns:
        A pytree like `elems`: place i along `axis` is fn(... fn(elems[0], elems[1]) ..., elems[i]).

    Source: Blelloch, Prefix Sums and Their Applications, 1990.
    """
    leaves = _Leaves.of(elems, "elems")
    for name, t in zip(leaves.names, leaves.types, strict=True):
        if not -len(t.shape) <= axis < len(t.shape):
            raise ShapeError(f"associative_scan: {name} is {t}, which has no axis {axis}")
    axes = [axis % len(t.shape) for t in leaves.types]
    sizes = {t.shape[a] for t, a in zip(leaves.types, axes, strict=True)}
    if len(sizes) != 1:
        raise ShapeError(
            f"associative_scan: sizes along axis {axis} differ: {', '.join(builtins.map(str, leaves.types))}"
        )

    def part(xs: Sequence[Any], start: int, stop: int, step: int = 1) -> list[Any]:
        return [tnp.moveaxis(tnp.moveaxis(x, a, 0)[start:stop:step], 0, a) for x, a in zip(xs, axes, strict=True)]

    def apply(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        out = _Leaves.of(fn(*(optree.tree_unflatten(leaves.structure, x) for x in (a, b))), "fn(a, b)")
        if out.structure != leaves.structure:
            raise TraceError(f"associative_scan: fn returns {out.structure}, its operands are {leaves.structure}")
        return out.tensors

    def joined(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        return [tnp.concatenate(pair, axis=x) for *pair, x in zip(a, b, axes, strict=True)]

    def interleaved(a: Sequence[Any], b: Sequence[Any], n: int) -> list[Any]:
        """Places of `a` and `b` in turn; `a` may have one more."""
        pairs = []
        for x, y, axis in zip(part(a, 0, n // 2), b, axes, strict=True):
            both = tnp.stack([x, y], axis=axis + 1)
            pairs.append(tnp.reshape(both, (*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])))
        return joined(pairs, part(a, n // 2, n)) if n % 2 else pairs

    def partial(xs: list[Any], n: int) -> list[Any]:
        if n < 2:
            return xs
        odd = partial(apply(part(xs, 0, n - 1, 2), part(xs, 1, n, 2)), n // 2)
        even = part(xs, 0, 1)
        if n > 2:
            even = joined(even, apply(part(odd, 0, (n - 1) // 2), part(xs, 2, n, 2)))
        return interleaved(even, odd, n)

    (n,) = sizes
    flip = [tnp.flip(x, axis=a) for x, a in zip(leaves.tensors, axes, strict=True)] if reverse else leaves.tensors
    made = partial(list(flip), n)
    if reverse:
        made = [tnp.flip(x, axis=a) for x, a in zip(made, axes, strict=True)]
    return optree.tree_unflatten(leaves.structure, made)
