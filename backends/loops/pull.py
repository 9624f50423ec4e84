"""Pull-style evaluation: the expression of one element of any value of a region, back to the region's inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tgc.backends.loops.complex_rules import Complex, imag, pair, real
from tgc.backends.loops.ir import Apply, Buffer, Const, Expr, Guard, Load, Var
from tgc.backends.loops.ir import number as integer
from tgc.backends.loops.schedule import Schedule
from tgc.errors import BackendError
from tgc.ir import Graph, Node, Value
from tgc.ops.creation import number
from tgc.ops.kinds import Elementwise, Movement
from tgc.ops.scalar import COMPARISONS, PREDICATES, PRIMITIVES
from tgc.sizes import is_size, key_of
from tgc.types import (
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    NARROW,
    U8,
    U16,
    U32,
    DType,
    TensorType,
    is_complex,
    real_dtype,
)  # fmt: skip

NEAR = frozenset({I8, U8, I16, U16, I32})  # integers to which floats are cast by way of int32


def compute_dtype(dtype: DType) -> DType:
    """The dtype in which scalars of `dtype` are held: narrower floats than float32 are computed in it."""
    return F32 if dtype in NARROW else dtype


def rounded(x: Expr, dtype: DType) -> Expr:
    """`x` as a tensor of `dtype` would hold it: narrow floats are rounded after every op, as NumPy does."""
    return Apply(f"round_{dtype.name}", (x,), F32) if dtype in NARROW else x


class Scalar:
    """`tgc.ops.scalar.Scalars` over expressions."""

    def const(self, value: Any, dtype: DType) -> Expr:
        if is_complex(dtype):
            return pair(*(Const(float(x), real_dtype(dtype)) for x in (np.real(value), np.imag(value))))
        value = np.asarray(value).astype(dtype).item() if dtype in NARROW else value
        held = compute_dtype(dtype)
        return Const(bool(value) if held == BOOL else float(value) if held.kind == "f" else int(value), held)

    def dtype(self, x: Expr) -> DType:
        return x.dtype

    def cast(self, x: Expr, dtype: DType) -> Expr:
        held = compute_dtype(dtype)
        if is_complex(x.dtype):
            return x if x.dtype == held else COMPLEX.cast(x, dtype)
        if is_complex(dtype):
            return pair(self.cast(x, real_dtype(dtype)), Const(0.0, real_dtype(dtype)))
        if x.dtype == held or (x.dtype == F64 and dtype in NARROW):
            return rounded(x, dtype)  # from float64 in one step
        if isinstance(x, Const) and x.dtype == I64 and held.kind in "iuf" and 0 <= x.value < 128:
            return Const(float(x.value) if held.kind == "f" else x.value, held)
        if held in NEAR and isinstance(x, Apply) and x.primitive == "round":  # one operation
            x = Apply("nearest", x.operands, I32)
            return x if held == I32 else Apply("cast", (x,), held)
        return rounded(Apply("cast", (x,), held), dtype)

    def guard(self, condition: Expr, then: Callable[[], Expr], otherwise: Any) -> Expr:
        if isinstance(condition, Const):
            return then() if condition.value else otherwise() if callable(otherwise) else otherwise
        a, b = then(), otherwise() if callable(otherwise) else otherwise
        return Guard(condition, a, b, a.dtype)

    def index(self, i: Expr, n: Expr) -> Expr:
        return Apply("index", (i, n), I64)

    def philox(self, key0: Expr, key1: Expr, counter: Expr) -> Expr:
        return Apply("philox", (key0, key1, counter), U32)

    def __getattr__(self, name: str) -> Callable[..., Expr]:
        if name not in PRIMITIVES:
            raise AttributeError(f"{name} is no scalar primitive")

        def apply(*xs: Expr) -> Expr:
            if name == "complex" or any(is_complex(x.dtype) for x in xs):
                rule = COMPLEX.rule(name)
                if rule is None:
                    raise BackendError(f"{name} is not defined for complex numbers")
                return rule(*xs)
            result = BOOL if name in COMPARISONS or name in PREDICATES else xs[-1].dtype
            return Apply(name, xs, result)

        return apply


class _Fold(Scalar):
    """Scalars of a reduction's step: sums and products of many terms, in any fixed order."""

    def add(self, total: Expr, x: Expr) -> Expr:
        if is_complex(x.dtype):
            return pair(self.add(real(total), real(x)), self.add(imag(total), imag(x)))
        return Apply("fold_add", (total, x), total.dtype)

    def mul(self, total: Expr, x: Expr) -> Expr:
        if is_complex(x.dtype):
            product: Expr = SCALAR.mul(total, x)
            return product
        return Apply("fold_mul", (total, x), total.dtype)


SCALAR, FOLD = Scalar(), _Fold()
COMPLEX = Complex(SCALAR)


class _Element(Scalar):
    """The `s` of one movement node: it also loads from the node's operands."""

    def __init__(self, pull: Pull, node: Node, index: Sequence[Expr]) -> None:
        self._pull, self._node, self._index = pull, node, tuple(index)
        self.arity = len(node.operands)
        self.out_dtype = node.result.dtype

    def operand_dtype(self, operand: int) -> DType:
        return self._node.operands[operand].dtype

    def fill(self, value: Any, dtype: DType) -> Expr:
        """A number of the graph: floats other than zero become parameters, so that 1/batch is no other kernel."""
        if is_size(value):
            name = f"const{self._pull.number(self._node.result)}"
            self._pull.scalars[name] = Const(value, dtype)
            return Var(name, dtype)
        constant = self.const(number(value), dtype)
        if is_complex(dtype):
            return constant
        assert isinstance(constant, Const)
        if constant.dtype.kind != "f" or constant.value == 0 or not math.isfinite(constant.value):
            return constant
        name = f"const{self._pull.number(self._node.result)}"
        self._pull.scalars[name] = constant
        return Var(name, constant.dtype)

    def rank(self, operand: int) -> int:
        return self._node.operands[operand].type.rank

    def load(self, operand: int, index: Sequence[Any]) -> Expr:
        return self._pull.at(self._node.operands[operand], [integer(i) for i in index])

    def dim(self, operand: int, axis: int) -> Expr:
        return self._pull.size(self._node.operands[operand], axis)

    def size(self, axis: int) -> Expr:
        return self._pull.size(self._node.result, axis)

    def given(self, number: int, axis: int | None = None) -> Any:
        if axis is not None:
            return self._pull.integer(f"p{self._pull.number(self._node.result)}_{axis}", number)
        return self._pull.given(self._node.result, number) if is_size(number) else number

    def load_flat(self, operand: int, index: Sequence[Expr]) -> Expr:
        """The element with the same row-major position as `index` has in the result."""
        value = self._node.operands[operand]
        position: Expr = Const(0, I64)
        for axis, i in enumerate(index):
            position = position * self.size(axis) + i
        places: list[Expr] = []
        for axis in reversed(range(value.type.rank)):
            n = self.dim(operand, axis)
            places.append(position % n if axis else position)
            position = position // n
        return self.load(operand, places[::-1])


class Pull:
    """Expressions of the values of a region's body.

    Args:
        body: the region.
        overwrites: result -> operand for results that are written over an operand: they share one buffer.
        schedule: takes the decisions of the template.
        alone: whether all of a launch is one thread's: nothing has to be cut in parts.

    Attributes:
        sources: where values that are not inlined come from: the region's inputs, and whatever a template keeps in
            registers or local buffers; called with the place of an element.
    """

    def __init__(
        self,
        body: Graph,
        overwrites: Mapping[int, int] = MappingProxyType({}),
        schedule: Schedule | None = None,
        *,
        alone: bool = False,
    ) -> None:
        self.body, self.overwrites, self.schedule, self.alone = body, overwrites, schedule or Schedule(), alone
        self.values: dict[str, int] = {}
        self.scalars: dict[str, Const] = {}
        self.buffers: dict[Value, Buffer] = {}
        self.sources: dict[Value, Callable[[Sequence[Expr]], Expr]] = {}
        self._memo: dict[tuple[Value, tuple[Expr, ...]], Expr] = {}
        self._given: dict[Value, dict[Hashable, int]] = {}
        self._numbers: dict[Value, int] = {}
        for k, v in enumerate(body.inputs):
            self.buffers[v] = self.buffer(f"x{k}", v.type)

    def result(self, k: int) -> Buffer:
        """The buffer of a result of the region."""
        if k in self.overwrites:
            return self.buffers[self.body.inputs[self.overwrites[k]]]
        return self.buffer(f"y{k}", self.body.outputs[k].type)

    def buffer(self, name: str, type: TensorType) -> Buffer:
        """A buffer for a tensor, its strides among the run-time integers."""
        made = Buffer.row_major(name, type.dtype, type.storage)
        for axis, stride in enumerate(made.strides[:-1]):
            self.values[f"{name}_s{axis}"] = stride
        return made

    def integer(self, name: str, value: int) -> Expr:
        """A run-time integer of the kernel."""
        self.values[name] = value
        return Var(name)

    def size(self, value: Value, axis: int) -> Expr:
        """A size of a tensor as a run-time integer."""
        return self.integer(f"d{self.number(value)}_{axis}", value.shape[axis])

    def given(self, value: Value, size: int) -> Expr:
        """A size among the attributes of the node that makes `value`, as a run-time integer."""
        known = self._given.setdefault(value, {})
        return self.integer(f"q{self.number(value)}_{known.setdefault(key_of(size), len(known))}", size)

    def number(self, value: Value) -> int:
        """A number for names. They are given as they are asked for, so that regions of the same form, whose nodes are
        in another order, have the same kernel.
        """
        return self._numbers.setdefault(value, len(self._numbers))

    def forget(self) -> None:
        """Drop memoized expressions, after `sources` changed."""
        self._memo.clear()

    def at(self, value: Value, index: Sequence[Expr]) -> Expr:
        """The element of `value` at a logical index, in its compute dtype."""
        key = value, tuple(index)
        if key not in self._memo:
            self._memo[key] = self._evaluate(value, key[1])
        return self._memo[key]

    def _evaluate(self, value: Value, index: tuple[Expr, ...]) -> Expr:
        if value in self.sources:
            return self.sources[value](index)
        if value in self.buffers:
            return Load(self.buffers[value], physical(value.type, index), compute_dtype(value.dtype))
        node = value.node
        if node is None:
            raise BackendError(f"a constant is bound inside of region @{self.body.name}; it must be an operand")
        match node.op:
            case Elementwise() as op:
                operands = [self.at(v, index) for v in node.operands]
                return rounded(op.scalar(SCALAR, *operands, **node.attrs), value.dtype)
            case Movement() as op:
                element: Expr = op.element(_Element(self, node, index), index, **node.attrs)
                return element if op.cheap else rounded(element, value.dtype)  # cheap movements do not compute
            case _:
                raise BackendError(f"{node.op.name} cannot be evaluated element by element")


def physical(type: TensorType, index: Sequence[Expr]) -> tuple[Expr, ...]:
    """The place in storage of the element at a logical index."""
    if type.layout is None:
        return tuple(index)
    sizes = dict(type.layout.tiles)
    blocks = [index[a] // sizes[a] if a in sizes else index[a] for a in type.layout.order]
    return (*blocks, *(index[a] % size for a, size in type.layout.tiles))


def logical(type: TensorType, place: Sequence[Expr]) -> tuple[Expr, ...]:
    """The logical index of a place in storage; beyond the logical size where a tile is padded."""
    if type.layout is None:
        return tuple(place)
    order, tiles = type.layout.order, type.layout.tiles
    index: dict[int, Expr] = dict(zip(order, place, strict=False))
    for (axis, size), inner in zip(tiles, place[len(order) :], strict=True):
        index[axis] = index[axis] * size + inner
    return tuple(index[a] for a in range(type.rank))
