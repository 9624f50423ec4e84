"""A random graph in the making: values of the types that ops need, with the numbers they take on its arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from tgc.ir import Builder, Graph, Value
from tgc.ops import REGISTRY
from tgc.ops.kinds import Primitive
from tgc.types import (
    BF16,
    BOOL,
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    INTS,
    U8,
    U16,
    U32,
    U64,
    UNSIGNED,
    DType,
    Shape,
    is_float,
    type_of,
)

T = TypeVar("T")

OPS: dict[str, Primitive] = {name: op for name, op in REGISTRY.items() if isinstance(op, Primitive)}
SIZES = (3, 1, 2, 4, 5, 7, 16, 17, 33, 0)
MOST = 2048  # elements of a value
LARGE = 50.0  # magnitude above which floats are scaled
CAST_TO: dict[DType, tuple[int, int]] = {
    d: (max(-999, np.iinfo(d).min), min(999, np.iinfo(d).max)) for d in sorted(INTS, key=str)
}


class Unfit(Exception):  # noqa: N818  # nothing is wrong
    """There are no operands for an op, or its results could not be compared: it is left out."""


@dataclass(frozen=True)
class Program:
    """A graph with arguments; with `gradient` a scalar function, whose gradient is to be checked."""

    graph: Graph
    arrays: tuple[np.ndarray, ...]
    donated: tuple[int, ...] = ()
    gradient: bool = False

    def __str__(self) -> str:
        known = {f"%{v.name}": a for v, a in zip(self.graph.inputs, self.arrays, strict=True)}
        known |= {c.digest: np.asarray(c.data) for c in self.graph.constants}
        lines = [f"{name} = {a.ravel()[:64].tolist()}{' ...' * (a.size > 64)}" for name, a in known.items()]
        return "\n".join([str(self.graph), *lines, f"donated: {self.donated}"])

    def __repr__(self) -> str:
        return f"<program of {len(self.graph.nodes)} nodes>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis would print every field


class Draft:
    """A graph that grows op by op. `smooth`: its floats are float64, and it can be differentiated."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], smooth: bool) -> None:
        self.draw, self.smooth = draw, smooth
        self.builder = Builder("fuzz")
        self.values: dict[Value, np.ndarray] = {}
        self.arguments: dict[Value, np.ndarray] = {}
        self.rng = np.random.default_rng(self.number(0, 999))
        self.sizes = [self.one_of(SIZES) for _ in range(3)]
        main = F64 if smooth else self.one_of((F32, F32, F32, F64, F16, BF16))
        other = () if smooth else (self.one_of((F32, F64, F16)),)
        whole = I32, I64, U8, U32, self.one_of((I8, I16, U16, U64))
        self.dtypes: tuple[DType, ...] = (main, main, main, *other, BOOL, *whole)
        self.leaf(main, self.shape())

    # --------------------------------------------------------------------------------------------------- choices

    def number(self, lo: int, hi: int) -> int:
        return self.draw(st.integers(lo, hi))  # type: ignore[no-any-return]

    def one_of(self, options: Sequence[T]) -> T:
        if not options:
            raise Unfit
        return options[self.number(0, len(options) - 1)]

    def rarely(self) -> bool:
        return self.number(0, 7) == 7

    def subset(self, n: int) -> tuple[int, ...]:
        return tuple(a for a in range(n) if self.number(0, 1))

    def shape(self, least: int = 0, most: int = 4) -> Shape:
        shape = tuple(self.one_of((*self.sizes, 1)) for _ in range(self.number(least, most)))
        while math.prod(shape) > MOST:
            shape = tuple(n // 2 if n == max(shape) else n for n in shape)
        return shape

    def operand(self, domain: frozenset[DType], least: int = 0, most: int = 5) -> Value:
        """A value, recent ones first, or a new argument."""
        found = [v for v in self.values if v.dtype in domain and least <= v.type.rank <= most]
        if found and not self.rarely():
            return self.one_of(found[::-1])
        return self.leaf(
            self.one_of([d for d in self.dtypes if d in domain]), self.shape(least, max(least, min(most, 4)))
        )

    def like(self, dtype: DType, shape: Shape) -> Value:
        """A value of this type: an old one, one made of an old one, or a new argument."""
        ways: list[Callable[[], Value]] = [lambda: self.leaf(dtype, shape)]
        if found := [v for v in self.values if (v.dtype, v.shape) == (dtype, shape)]:
            ways = [lambda: self.one_of(found[::-1])] * 4 + ways
        if spread := [(v, axes) for v in self.values if v.dtype == dtype and (axes := placed(v.shape, shape))]:
            ways.append(lambda: self.broadcast(*self.one_of(spread[::-1]), shape))
        rounds = self.smooth and is_float(dtype)
        if casts := [v for v in self.values if v.shape == shape and v.dtype != dtype and not rounds]:
            ways.append(lambda: self.cast(self.one_of(casts[::-1]), dtype))
        ways.append(lambda: self.full(dtype, shape, self.number(-2, 3)))
        return self.one_of(ways)()

    # --------------------------------------------------------------------------------------------------- emission

    def emit(self, name: str, *operands: Value, **attrs: Any) -> Value:
        """Apply an op and compute its result, which is scaled where it is large.

        Raises:
            Unfit: the result is too long, or not finite.
        """
        op = OPS[name]
        checked = op.check_attrs(attrs)
        if op.infer([v.type for v in operands], checked)[0].size > MOST:
            raise Unfit
        (v,) = self.builder.emit(op, operands, checked, (f"fuzz.py:{len(self.values)}",))
        if v not in self.values:
            result = reference(op, [self.values[x] for x in operands], checked)
            if is_float(v.dtype) and not np.isfinite(result.astype(F64)).all():
                raise Unfit
            self.values[v] = result
        return self._scaled(v)

    def _scaled(self, v: Value) -> Value:
        largest = float(np.abs(self.values[v].astype(F64)).max(initial=0)) if is_float(v.dtype) else 0.0
        if largest <= LARGE:
            return v
        if largest > 1e6:
            return self.emit("tanh", v)
        return self.emit("mul", v, self.full(v.dtype, v.shape, 2.0 ** -math.ceil(math.log2(largest) - 2)))

    def leaf(self, dtype: DType, shape: Shape) -> Value:
        """A new argument, or sometimes a constant."""
        if dtype == BOOL:
            array = self.rng.integers(0, 2, shape).astype(dtype)
        elif is_float(dtype):
            array = self.rng.uniform(-2, 2, shape)
            array = (np.round(array * 4) / 4 if self.rarely() and not self.smooth else array).astype(dtype)
        else:
            info = np.iinfo(dtype)
            low, high = (info.min, info.max) if self.rarely() else (max(info.min, -9), 9)
            array = self.rng.integers(low, high, shape, dtype, endpoint=True)
        array = np.asarray(array)
        if self.rarely() and self.arguments:
            v = self.builder.constant(array)
        else:
            v = self.builder.input(type_of(array))
            self.arguments[v] = array
        self.values[v] = array
        return v

    def full(self, dtype: DType, shape: Shape, value: float) -> Value:
        kind = bool if dtype == BOOL else int if dtype in INTS else float
        return self.emit("full", shape=shape, dtype=dtype, value=kind(max(value, 0) if dtype in UNSIGNED else value))

    def cast(self, x: Value, dtype: DType) -> Value:
        if is_float(x.dtype) and dtype in CAST_TO:
            x = self.fit(x, *CAST_TO[dtype])
        return self.emit("cast", x, dtype=dtype)

    def broadcast(self, x: Value, axes: Sequence[int], shape: Shape) -> Value:
        return self.emit("broadcast", x, axes=axes, shape=shape)

    def fit(self, x: Value, lo: float, hi: float) -> Value:
        """`x`, or a function of it that lies between lo and hi."""
        array = self.values[x].astype(F64)
        if array.size == 0 or (array.min() >= lo and array.max() <= hi):
            return x

        def fill(value: float) -> Value:
            return self.full(x.dtype, x.shape, value)

        if x.dtype in INTS:
            lo = max(lo, np.iinfo(x.dtype).min)
            return self.emit("add", self.emit("mod", x, fill(hi - lo + 1)), fill(lo))
        if self.rarely():
            return self.emit("minimum", self.emit("maximum", x, fill(lo)), fill(hi))
        return self.emit("add", self.emit("mul", self.emit("sigmoid", x), fill(hi - lo)), fill(lo))

    def index(self, n: int) -> Value:
        """Integers that address an axis of `n`, from either end."""
        found = [v for v in self.values if v.dtype in INTS and v.type.rank <= 3]
        old = found and self.number(0, 1)
        x = self.one_of(found) if old else self.leaf(self.one_of((I32, I64, self.dtypes[-1])), self.shape(0, 2))
        if n == 0 and x.type.size:
            raise Unfit
        return self.fit(x, -n, n - 1)


def placed(inner: Shape, outer: Shape) -> tuple[int, ...] | None:
    """Axes of `outer` that `inner` has, in order, if they are not all."""
    axes: list[int] = []
    for n in inner:
        after = range(axes[-1] + 1 if axes else 0, len(outer))
        axis = next((a for a in after if outer[a] == n), None)
        if axis is None:
            return None
        axes.append(axis)
    return tuple(axes) if len(axes) < len(outer) else None


def reference(op: Primitive, operands: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(op.reference(*operands, **attrs))
