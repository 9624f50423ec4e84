"""The algebra of `tgc.passes.rules`: each rule holds bit for bit on the oracle, and fires where it should."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fuzz_draft import OPS

from tgc.backends.cpu.target import CpuTarget
from tgc.errors import TgcError
from tgc.interpret import interpret
from tgc.ir import Builder, Graph, Node, Value, transform
from tgc.ops.kinds import Elementwise
from tgc.passes.rules import COMMUTATIVE, RULES, Rule
from tgc.passes.simplify import Simplify
from tgc.types import BOOL, SHORT_NAMES, DType, is_complex, is_float, real_dtype

TARGET = CpuTarget.of("x86_64-unknown-linux-gnu", frozenset())
RANDOM = 61  # values of each dtype, beside the special ones
# Ops whose results NumPy does not always round correctly, and by how many units in the last place they may be wrong.
ROUNDED_OTHERWISE, ROUNDING = frozenset({"pow"}), 1

rules = pytest.mark.parametrize("rule", [pytest.param(r, id=r.name) for r in RULES])
each_dtype = pytest.mark.parametrize(
    ("rule", "dtype"),
    [pytest.param(r, d, id=f"{r.name} {s}") for r in RULES for d, s in SHORT_NAMES.items() if d in r.dtypes],
)


def special(dtype: DType) -> np.ndarray:
    """Every value at which algebra is known to go wrong, and random bit patterns: NaNs and subnormals among them."""
    if dtype == BOOL:
        return np.array([False, True])
    rng = np.random.default_rng(dtype.num)
    if is_complex(dtype):
        parts = rng.choice(special(real_dtype(dtype)), (RANDOM, 2))
        return parts.view(dtype)[:, 0].copy()
    if not is_float(dtype):
        low, high = (int(getattr(np.iinfo(dtype), end)) for end in ("min", "max"))
        known = {low, low + 1, low // 2, 0, 1, 2, 3, 7, high // 2, high - 1, high} | ({-1, -2, -3} if low else set())
        return np.concatenate([np.array(sorted(known), dtype), rng.integers(low, high, RANDOM, dtype, endpoint=True)])
    bits = np.dtype(f"u{dtype.itemsize}")
    one, infinity = (int(np.array(x, dtype).view(bits)) for x in (1, np.inf))
    normal = infinity & -infinity  # the smallest one: its exponent is 1, its fraction 0
    patterns = [
        0,
        1,
        normal - 1,
        normal,
        one - 1,
        one,
        one + 1,
        infinity - 1,
        infinity,
        infinity + 1,
        infinity | normal >> 1,
    ]
    positive = np.array(patterns, bits).view(dtype)
    small = np.array([0.5, 1.5, 2, 2.5, 3, 4, 100, 0.1], dtype)
    anything = np.frombuffer(rng.bytes(RANDOM * bits.itemsize), bits).view(dtype)
    both = np.concatenate([positive, small])
    return np.concatenate([both, -both, anything])


def grid(values: np.ndarray, n: int) -> list[np.ndarray]:
    """Every combination of `n` of the values, as `n` vectors."""
    if n > 2:
        values = values[:: -(-len(values) // 24)]
    return [np.ascontiguousarray(a.ravel()) for a in np.meshgrid(*[values] * n, indexing="ij")]


def assert_same_bits(got: np.ndarray, want: np.ndarray, operands: list[np.ndarray], ulps: int = 0) -> None:
    """Equal bit patterns, or floats of one sign at most `ulps` apart; any NaN equals any other."""
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if is_complex(got.dtype):
        parts = real_dtype(got.dtype)
        assert_same_bits(got[..., None].view(parts), want[..., None].view(parts), [x.repeat(2) for x in operands], ulps)
        return
    bits = np.dtype(f"i{got.dtype.itemsize}")
    a, b = got.view(bits), want.view(bits)
    differ = a != b
    if is_float(got.dtype):
        nan = [(x & np.iinfo(bits).max) > np.array(np.inf, got.dtype).view(bits) for x in (a, b)]
        near = ((a < 0) == (b < 0)) & (np.abs(a - b) <= ulps)
        differ &= ~((nan[0] & nan[1]) | near)
    where = np.flatnonzero(differ)[:5]
    examples = [f"{[x.ravel()[i] for x in operands]}: {got.ravel()[i]} is not {want.ravel()[i]}" for i in where]
    assert not examples, f"{differ.sum()} of {differ.size} differ: {'; '.join(examples)}"


def side(graph: Graph, k: int) -> Graph:
    """The graph of one of two outputs."""
    alone = replace(graph, outputs=(graph.outputs[k],))
    return transform(alone, lambda builder, node, new: None)


def simplified(graph: Graph) -> Graph:
    return Simplify()(graph, TARGET)


def swapped(graph: Graph) -> Graph:
    """The operands of commutative ops in the other order."""

    def swap(builder: Builder, node: Node, new: tuple[Value, ...]) -> tuple[Value, ...] | None:
        return builder.emit(node.op, new[::-1], node.attrs) if node.op.name in COMMUTATIVE else None

    return transform(graph, swap)


# ------------------------------------------------------------------------------------------------------- the rules


@each_dtype
def test_both_sides_agree(rule: Rule, dtype: DType) -> None:
    """On all combinations of special values, together and one by one: NumPy has code of its own for either."""
    scalars = rule.graph(dtype)
    ulps = ROUNDING if any(node.op.name in ROUNDED_OTHERWISE for node in scalars.nodes) else 0
    operands = grid(special(dtype), len(scalars.inputs))
    left, right = interpret(rule.graph(dtype, operands[0].shape), *operands)
    assert_same_bits(right, left, operands, ulps)
    for values in list(zip(*operands, strict=True))[:200]:
        arrays = [np.asarray(v, dtype) for v in values]
        left, right = interpret(scalars, *arrays)
        assert_same_bits(right, left, arrays, ulps)


@pytest.mark.parametrize("shape", [(), (3,), (2, 0)], ids=str)
@pytest.mark.parametrize("reorder", [lambda g: g, swapped], ids=["as written", "swapped"])
@each_dtype
def test_rule_fires(rule: Rule, dtype: DType, reorder: Callable[[Graph], Graph], shape: tuple[int, ...]) -> None:
    """Simplifying the pattern gives what simplifying the replacement gives, whatever the order of its operands."""
    graph = rule.graph(dtype, shape)
    right = simplified(side(graph, 1))
    assert simplified(reorder(side(graph, 0))) in (right, swapped(right))


@each_dtype
def test_rule_fires_inside_of_a_graph(rule: Rule, dtype: DType) -> None:
    """Also when the pattern's variables are results, and its own result is read."""
    graph = rule.graph(dtype, (3,))

    def embedded(k: int) -> Graph:
        builder = Builder("around")
        inputs = [builder.input(v.type) for v in graph.inputs]
        reverse = lambda v: builder.emit(OPS["reverse"], [v], {"axes": (0,)})[0]  # noqa: E731
        env = dict(zip(graph.inputs, map(reverse, inputs), strict=True))
        for node in graph.nodes:
            made = builder.emit(node.op, [env[v] for v in node.operands], node.attrs)
            env.update(zip(node.results, made, strict=True))
        return builder.build([reverse(env[graph.outputs[k]])])

    assert simplified(embedded(0)) == simplified(embedded(1))


def definable() -> Iterator[Any]:
    """Every rule in every dtype that its pattern is defined for, named by the rule or not."""
    for rule in RULES:
        for dtype, name in SHORT_NAMES.items():
            try:
                rule.graph(dtype)
            except (TgcError, OverflowError):  # such as -1 as an unsigned integer
                continue
            yield pytest.param(rule, dtype, id=f"{rule.name} {name}")


@pytest.mark.parametrize(("rule", "dtype"), list(definable()))
def test_pattern_in_any_dtype(rule: Rule, dtype: DType) -> None:
    """Also in dtypes that the rule does not name: there it is left alone, or other rules give the same numbers."""
    operands = grid(special(dtype), len(inspect.signature(rule.sides).parameters))
    graph = side(rule.graph(dtype, operands[0].shape), 0)
    (want,) = interpret(graph, *operands)
    (got,) = interpret(simplified(graph), *operands)
    rounded = any(node.op.name in ROUNDED_OTHERWISE for node in graph.nodes)
    assert_same_bits(got, want, operands, ROUNDING if rounded else 0)


@rules
def test_rule_is_well_formed(rule: Rule) -> None:
    """A rule has a name, one type on both sides, and an elementwise op at the head of its pattern."""
    assert " -> " in rule.name
    assert isinstance(rule.head, Elementwise)
    for dtype in rule.dtypes:
        left, right = (v.type for v in rule.graph(dtype, (2,)).outputs)
        assert left == right
        assert {v.dtype for v in rule.graph(dtype).inputs} == {dtype}


def test_names_are_unique() -> None:
    assert len({r.name for r in RULES}) == len(RULES)
