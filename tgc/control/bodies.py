"""Functions of pytrees as bodies: traced graphs whose carries and results fit together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from tgc.errors import DTypeError, ShapeError, TraceError
from tgc.ir import Builder, Graph, rebuild, recorder
from tgc.ops.arithmetic import as_tensor, astype, dtype_of, is_weak, shape_of
from tgc.ops.elementwise import ne
from tgc.trace import Tracer, trace, trace_region
from tgc.types import BOOL, DType, TensorType, is_float


@dataclass(slots=True)
class Leaves:
    """A pytree in pieces; a leaf is weak if it is made of Python numbers alone."""

    tensors: list[Any]
    types: list[TensorType]
    weak: list[bool]
    names: list[str]
    structure: Any

    @staticmethod
    def of(tree: Any, root: str) -> Leaves:
        paths, tensors, structure = optree.tree_flatten_with_path(tree)
        names = [root + "".join(f"[{p!r}]" for p in path) for path in paths]
        for name, x in zip(names, tensors, strict=True):
            if not isinstance(x, Tracer | np.ndarray | np.generic | bool | int | float):
                raise TraceError(f"{name} is a {type(x).__name__}, no tensor: {x!r:.80}")
        types = [TensorType(dtype_of(x), tuple(shape_of(x))) for x in tensors]
        arrays = [x if isinstance(x, Tracer) else np.asarray(x, t.dtype) for x, t in zip(tensors, types, strict=True)]
        return Leaves(arrays, types, [is_weak(x) for x in tensors], names, structure)

    def rows(self) -> Leaves:
        """One row of each tensor, as types alone."""
        names = [f"x{name.removeprefix('xs')}" for name in self.names]
        types = [TensorType(t.dtype, t.shape[1:]) for t in self.types]
        return Leaves([], types, [False] * len(types), names, self.structure)

    def first(self, n: int, structure: Any) -> Leaves:
        """The first `n` leaves, which are a pytree of their own."""
        return Leaves(self.tensors[:n], self.types[:n], self.weak[:n], self.names[:n], structure)


class Body:
    """A function of pytrees, traced as a region.

    Attributes:
        graph: its inputs are the leaves of the arguments, then what `f` closes over.
        captured: what these last inputs stand for: tensors of the enclosing trace; outside of any trace arrays, so that
            a program serves for all their values.
        out: what `f` returned.
    """

    def __init__(self, f: Callable[..., Any], arguments: Sequence[Leaves], root: str) -> None:
        self.f, self.arguments, self.root = f, arguments, root
        self.out: Leaves
        self.graph: Graph
        self.captured: dict[object, Any] = {}  # by what it is: the value, or the digest and type
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
            self.out = Leaves.of(self.f(*trees), self.root)
            made = self.out.tensors
            wanted = dtypes or [None] * len(made)
            return [x if d is None else as_tensor(x, d) for x, d in zip(made, wanted, strict=True)]

        types = [t for leaves in self.arguments for t in leaves.types]
        names = [n for leaves in self.arguments for n in leaves.names]
        name = getattr(self.f, "__name__", "body").strip("<>")
        if recorder() is None:
            made = trace(flat, types, names, name)
            inputs = (*made.inputs, *(c.value for c in made.constants))
            self.graph = Graph(made.name, inputs, (), made.nodes, made.outputs)
            self.captured = {(c.digest, c.value.type): c.data for c in made.constants}
        else:
            self.graph, captured = trace_region(flat, types, names, name)
            self.captured = {t.value: t for t in captured}


def fit(op: str, carry: Leaves, body: Body, out: Leaves, mend: str) -> bool:
    """Check that the carry that a body returns is like the one that it gets, up to weak types.

    Returns:
        Whether the body must be traced again: weak leaves of `carry` have become what the body returns.
    """
    if out.structure != carry.structure:
        raise TraceError(
            f"{op}: the carry has the structure {carry.structure}, but the body returns {out.structure}; {mend}"
        )
    again = False
    dtypes: list[DType | None] = [None] * len(body.out.tensors)
    for k, (before, after) in enumerate(zip(carry.types, out.types, strict=True)):
        if before == after and carry.weak[k] <= out.weak[k]:
            continue
        if before.shape == after.shape and carry.weak[k] and promotes(before.dtype, after.dtype):
            carry.tensors[k] = astype(carry.tensors[k], after.dtype)
            carry.types[k], carry.weak[k] = after, out.weak[k]
            again = True
        elif before.shape == after.shape and out.weak[k] and promotes(after.dtype, before.dtype):
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


def promotes(weak: DType, dtype: DType) -> bool:
    """Whether a Python number of dtype `weak` takes on `dtype`."""
    kinds = [0 if d == BOOL else 2 if is_float(d) else 1 for d in (weak, dtype)]
    return kinds[0] <= kinds[1]


def results(structure: Any, made: Any, weak: Sequence[bool]) -> Any:
    """A pytree of an op's results."""
    tensors = list(made) if isinstance(made, tuple) else [made]
    for t, w in zip(tensors, weak, strict=True):
        if isinstance(t, Tracer):
            t.weak = w
    return optree.tree_unflatten(structure, tensors)


def shared(bodies: Sequence[Body]) -> tuple[list[Graph], list[Any]]:
    """The graphs of bodies of the same parameters, all with the captured tensors of all, and these tensors."""
    captured = {key: x for body in bodies for key, x in body.captured.items()}
    graphs = []
    for body in bodies:
        builder = Builder(body.graph.name)
        declared = len(body.graph.inputs) - len(body.captured)
        inputs = [builder.input(v.type, v.name) for v in body.graph.inputs[:declared]]
        more = {key: builder.input(type, f"c{k}") for k, (key, type) in enumerate(_types(bodies).items())}
        operands = [*inputs, *(more[key] for key in body.captured)]
        graphs.append(builder.build(rebuild(body.graph, builder, operands)))
    return graphs, list(captured.values())


def _types(bodies: Sequence[Body]) -> dict[object, TensorType]:
    """The types of all captured tensors."""
    found: dict[object, TensorType] = {}
    for body in bodies:
        inputs = body.graph.inputs[len(body.graph.inputs) - len(body.captured) :]
        found |= {key: v.type for key, v in zip(body.captured, inputs, strict=True)}
    return found


def truth(x: Any, what: str) -> Any:
    """A scalar as a boolean.

    Raises:
        ShapeError, TraceError: it is no scalar.
    """
    leaves = Leaves.of(x, what)
    if len(leaves.types) != 1 or not leaves.structure.is_leaf():
        raise TraceError(f"{what} must be a scalar, not {leaves.structure}")
    if leaves.types[0].shape:
        raise ShapeError(f"{what} must be a scalar, not {leaves.types[0]}; reduce it, for example with tgc.numpy.all")
    (truth,) = leaves.tensors
    return truth if leaves.types[0].dtype == BOOL else ne(truth, np.zeros((), leaves.types[0].dtype))
