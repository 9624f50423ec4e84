"""Algebra on elementwise ops, one line a rule: a function that returns what to look for and what to put in its place.

A rule holds for every shape and for the dtypes it names, for all numbers including NaN, infinities and -0; the tests
evaluate both sides of each on the oracle to prove it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tgc.ir import Builder, Graph, Loc, Op, Value, attr_key
from tgc.ops import elementwise as e
from tgc.ops.creation import fill, full
from tgc.trace import trace
from tgc.types import ALL, BOOLS, FLOATS, INTS, REALS, DType, TensorType

COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "eq", "ne", "bit_and", "bit_or", "bit_xor"})


@dataclass(frozen=True)
class Rule:
    """`sides(*variables)` returns (pattern, replacement); `dtypes` are those of all its variables."""

    sides: Callable[..., tuple[Any, Any]]
    dtypes: frozenset[DType]

    @property
    def name(self) -> str:
        return self.sides.__doc__ or self.sides.__name__

    def graph(self, dtype: DType, shape: tuple[int, ...] = ()) -> Graph:
        """Both sides, traced: a graph with two outputs."""
        n = len(inspect.signature(self.sides).parameters)
        return trace(self.sides, [TensorType(dtype, shape)] * n, name="rule")

    @cached_property
    def _graphs(self) -> dict[DType, Graph]:
        return {}

    @cached_property
    def head(self) -> Op:
        """The op at the root of the pattern."""
        node = self._scalar(min(self.dtypes, key=str)).outputs[0].node
        assert node is not None
        return node.op

    @cached_property
    def _inner(self) -> frozenset[Op]:
        """The ops whose results the root of the pattern reads."""
        node = self._scalar(min(self.dtypes, key=str)).outputs[0].node
        return frozenset(v.node.op for v in node.operands if v.node) if node is not None else frozenset()

    def _scalar(self, dtype: DType) -> Graph:
        if dtype not in self._graphs:
            self._graphs[dtype] = self.graph(dtype)
        return self._graphs[dtype]

    def apply(self, builder: Builder, root: Value) -> Value | None:
        """What replaces `root`, emitted into the builder, or None where the pattern does not match."""
        assert root.node is not None
        if _dtype(root) not in self.dtypes or not self._inner <= {v.node.op for v in root.node.operands if v.node}:
            return None
        graph = self._scalar(_dtype(root))
        env: dict[Value, Value] = {}
        if not _match(graph.outputs[0], root, set(graph.inputs), env):
            return None
        return _emit(graph.outputs[1], env, builder, root, root.node.loc)


def _dtype(root: Value) -> DType:
    """The dtype of a rule's variables, given a value that its pattern may match."""
    assert root.node is not None
    return root.node.operands[-1].dtype if root.node.operands else root.dtype


def _match(pattern: Value, value: Value, variables: set[Value], env: dict[Value, Value]) -> bool:
    if pattern in variables:
        return env.setdefault(pattern, value) is value and pattern.dtype == value.dtype
    a, b = pattern.node, value.node
    if a is None or b is None or a.op is not b.op or pattern.dtype != value.dtype:
        return False
    if a.op is full:
        return attr_key(a.attrs["value"]) == attr_key(b.attrs["value"])
    if dict(a.attrs) != dict(b.attrs):
        return False
    orders = [b.operands, b.operands[::-1]] if a.op.name in COMMUTATIVE else [b.operands]
    for operands in orders:
        attempt = dict(env)
        if all(_match(p, v, variables, attempt) for p, v in zip(a.operands, operands, strict=True)):
            env.update(attempt)
            return True
    return False


def _emit(side: Value, env: dict[Value, Value], builder: Builder, root: Value, loc: Loc) -> Value:
    if side in env:
        return env[side]
    node = side.node
    assert node is not None
    if node.op is full:
        attrs = {**node.attrs, "shape": root.shape}
        return builder.emit(full, (), attrs, loc)[0]
    operands = [_emit(v, env, builder, root, loc) for v in node.operands]
    return builder.emit(node.op, operands, node.attrs, loc)[0]


RULES: list[Rule] = []


def rule(*dtypes: frozenset[DType]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a rule for the union of `dtypes`."""

    def add(sides: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
        RULES.append(Rule(sides, frozenset().union(*dtypes)))
        return sides

    return add


def _k(x: Any, value: float) -> Any:
    return fill(x.shape, x.dtype, value)


def _define() -> None:
    """The rules. Docstrings are their names; a rule that is wrong for -0 or NaN has no place here."""
    two = np.float32(2).item()

    @rule(REALS)
    def _(x: Any) -> Any:
        "relu(relu(x)) -> relu(x)"
        return e.relu(e.relu(x)), e.relu(x)

    @rule(REALS)
    def _(x: Any) -> Any:
        "-(-x) -> x"
        return e.neg(e.neg(x)), x

    @rule(REALS)
    def _(x: Any) -> Any:
        "abs(abs(x)) -> abs(x)"
        return e.absolute(e.absolute(x)), e.absolute(x)

    @rule(FLOATS)
    def _(x: Any) -> Any:
        "abs(-x) -> abs(x)"
        return e.absolute(e.neg(x)), e.absolute(x)

    @rule(REALS)
    def _(x: Any) -> Any:
        "x * 1 -> x"
        return e.mul(x, _k(x, 1)), x

    @rule(FLOATS)
    def _(x: Any) -> Any:
        "x * -1 -> -x"
        return e.mul(x, _k(x, -1)), e.neg(x)

    @rule(INTS)
    def _(x: Any) -> Any:
        "x * 0 -> 0, integers only: NaN * 0 is NaN"
        return e.mul(x, _k(x, 0)), _k(x, 0)

    @rule(FLOATS)
    def _(x: Any) -> Any:
        "x / 1 -> x"
        return e.div(x, _k(x, 1)), x

    @rule(INTS)
    def _(x: Any) -> Any:
        "x + 0 -> x, integers only: -0 + 0 is 0"
        return e.add(x, _k(x, 0)), x

    @rule(FLOATS)
    def _(x: Any) -> Any:
        "x + -0 -> x"
        return e.add(x, _k(x, -0.0)), x

    @rule(REALS)
    def _(x: Any) -> Any:
        "x - 0 -> x"
        return e.sub(x, _k(x, 0)), x

    @rule(FLOATS)
    def _(x: Any, y: Any) -> Any:
        "x + -y -> x - y"
        return e.add(x, e.neg(y)), e.sub(x, y)

    @rule(FLOATS)
    def _(x: Any, y: Any) -> Any:
        "x - -y -> x + y"
        return e.sub(x, e.neg(y)), e.add(x, y)

    @rule(FLOATS)
    def _(x: Any, y: Any) -> Any:
        "-x * -y -> x * y"
        return e.mul(e.neg(x), e.neg(y)), e.mul(x, y)

    @rule(FLOATS)
    def _(x: Any) -> Any:
        "x ** 2 -> x * x"
        return e.power(x, _k(x, two)), e.mul(x, x)

    @rule(REALS)
    def _(x: Any) -> Any:
        "max(x, x) -> x"
        return e.maximum(x, x), x

    @rule(REALS)
    def _(x: Any) -> Any:
        "min(x, x) -> x"
        return e.minimum(x, x), x

    @rule(BOOLS, INTS)
    def _(x: Any) -> Any:
        "x & x -> x"
        return e.bit_and(x, x), x

    @rule(BOOLS, INTS)
    def _(x: Any) -> Any:
        "x | x -> x"
        return e.bit_or(x, x), x

    @rule(BOOLS, INTS)
    def _(x: Any, y: Any) -> Any:
        "y ^ (x ^ y) -> x"
        return e.bit_xor(y, e.bit_xor(x, y)), x

    @rule(BOOLS, INTS)
    def _(x: Any) -> Any:
        "~~x -> x"
        return e.bit_not(e.bit_not(x)), x

    @rule(INTS)
    def _(x: Any) -> Any:
        "x - x -> 0, integers only"
        return e.sub(x, x), _k(x, 0)

    @rule(ALL)
    def _(x: Any, y: Any) -> Any:
        "x if true else y -> x"
        return e.select(fill(x.shape, np.dtype(bool), True), x, y), x

    @rule(ALL)
    def _(x: Any, y: Any) -> Any:
        "x if false else y -> y"
        return e.select(fill(x.shape, np.dtype(bool), False), x, y), y

    @rule(FLOATS)
    def _(x: Any) -> Any:
        "floor(floor(x)) -> floor(x)"
        return e.floor(e.floor(x)), e.floor(x)

    @rule(FLOATS)
    def _(x: Any) -> Any:
        "relu(x) > 0 -> x > 0"
        return e.gt(e.relu(x), _k(x, 0)), e.gt(x, _k(x, 0))


_define()
