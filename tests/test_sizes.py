"""Sizes that are symbols: arithmetic beside Python's integers, what is known of them, guards and evaluation."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tgc.errors import ShapeError
from tgc.ops.indexing import places
from tgc.sizes import (
    Size,
    Symbols,
    call,
    calls,
    equal_shapes,
    hints_of,
    key_of,
    larger,
    least_of,
    pin,
    smaller,
    surely_divides,
    surely_equal,
)

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv, "%": operator.mod}
QUESTIONS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
LEAVES = st.sampled_from(["s0", "s1", "s2"]) | st.integers(-12, 48)
Tree = Any  # a leaf, or (operator, tree, tree)
TREES = st.recursive(LEAVES, lambda t: st.tuples(st.sampled_from(sorted(OPERATORS)), t, t), max_leaves=8)
VALUES = st.tuples(*[st.integers(2, 24)] * 3)


def evaluated(tree: Tree, values: Any) -> Any:
    """A tree of operators over integers or sizes."""
    if isinstance(tree, tuple):
        name, left, right = tree
        return OPERATORS[name](evaluated(left, values), evaluated(right, values))
    return values[int(tree[1])] if isinstance(tree, str) else tree


@given(TREES, TREES, st.sampled_from(sorted(QUESTIONS)), VALUES, st.lists(VALUES, max_size=4))
def test_arithmetic_and_questions_beside_integers(a: Tree, b: Tree, asked: str, hints: Any, others: Any) -> None:
    """Values and answers are those of integers, at the hints and wherever the guards hold."""
    symbols = Symbols()
    sizes = [symbols.new(n) for n in hints]
    ask = QUESTIONS[asked]
    try:
        expected = evaluated(a, hints), evaluated(b, hints)
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            evaluated(a, sizes), evaluated(b, sizes)
        return
    x, y = evaluated(a, sizes), evaluated(b, sizes)
    assert hints_of((x, y)) == expected
    assert ask(x, y) is ask(*expected)
    both = x, y, smaller(x, y), larger(x, y)
    check, evaluate = symbols.checker(), symbols.evaluator(both)
    assert check(*hints)
    for values in (hints, *others):
        if not check(*values):
            continue
        m, n = evaluated(a, values), evaluated(b, values)
        assert evaluate(*values) == [m, n, min(m, n), max(m, n)]
        assert [symbols.at(values)(z) for z in both] == [m, n, min(m, n), max(m, n)]
        assert ask(m, n) is ask(*expected)
        assert all(low is None or low <= k for low, k in zip(map(least_of, (x, y)), (m, n), strict=True))


def new(*hints: int) -> tuple[Any, ...]:
    """Symbols, and a size for each hint."""
    symbols = Symbols()
    return symbols, *(symbols.new(n) for n in hints)


ALWAYS: dict[str, Callable[[Any, Any], Any]] = {
    "not negative": lambda m, n: m >= 0 and not m < 0,
    "not one": lambda m, n: m != 1 and m * n > 1,
    "itself": lambda m, n: m == m and m + n == n + m and (m, 3) == (m, 3),
    "more of it": lambda m, n: m * n >= m and m * n * 4 > n,
    "a product divides": lambda m, n: m * n * 6 // (n * 2) == 3 * m and m * n % n == 0,
    "of a quotient": lambda m, n: -(-m // 4) >= 1 and m // 4 >= 0 and (m + 5) // 6 >= 1,
    "rest below": lambda m, n: (8 * m + 3) // 8 == m and (m * n + 1) // m == n,
    "kept multiple": lambda m, n: surely_divides(8, 8 * m * n) and not surely_divides(8, m),
    "shapes": lambda m, n: surely_equal((m, 2), (m, 2)) and not equal_shapes((m, 3), (m, 4)),
    "other ranks": lambda m, n: not equal_shapes((m,), (m, n)) and not surely_equal((m,), (n,)),
    "another than none": lambda m, n: m is not None and m != None and m != "m",  # noqa: E711
}


@pytest.mark.parametrize("name", ALWAYS)
def test_what_always_holds_guards_nothing(name: str) -> None:
    symbols, m, n = new(8, 5)
    assert ALWAYS[name](m, n)
    assert symbols.guards == ()


PINNING: dict[str, Callable[[Any], Any]] = {
    "range": lambda n: list(range(n)),
    "index": lambda n: "abcdefghi"[n],
    "slice": lambda n: np.arange(20)[:n].tolist(),
    "repeat": lambda n: [0] * n,
    "float": float,
    "complex": complex,
    "quotient": lambda n: n / 3,
    "float sum": lambda n: (n + 0.5, 0.5 + n, n - 0.5, 0.5 - n, n * 0.5, 0.5 * n),
    "float questions": lambda n: (n > 2.5, n >= 2.5, n < 2.5, n <= 2.5, n == 8.0, n > 2.5),
    "float division": lambda n: (n // 0.5, 9.5 // n, n % 0.5, 9.5 % n, divmod(n, 0.5), divmod(9.5, n)),
    "powers": lambda n: (n**0.5, n**9, 2**n, pow(n, 2, 5)),
    "bits": lambda n: (n & 3, n | 3, n ^ 3, n << 1, n >> 1, 3 & n, 1 << n, n.bit_length()),
    "text": lambda n: (str(n), repr(n), f"{n:03d}", "%d" % n),  # noqa: UP031
    "key": lambda n: ({8: "eight"}[n], n in {8, 9}, hash(n)),
    "array": lambda n: (np.zeros(n).tolist(), (np.arange(3) * n).tolist(), np.float32(n), np.int64(3) * n),
    "rounded": lambda n: round(n, -1),
    "copy": copy.deepcopy,
    "math": math.sqrt,
}


@pytest.mark.parametrize("name", PINNING)
def test_plain_numbers_are_pinned(name: str) -> None:
    """What makes a plain number of a size has the number's result, and holds for that size alone."""
    symbols, n = new(8)
    found = PINNING[name](n)
    assert found == PINNING[name](8)
    assert not isinstance(found, Size)
    check = symbols.checker()
    assert check(8)
    assert not any(check(k) for k in (2, 7, 9, 16))


def test_other_methods_of_integers() -> None:
    symbols, n = new(8)
    made = (
        +n,
        abs(n),
        -abs(-n),
        ~n,
        round(n),
        math.floor(n),
        math.trunc(n),
        *divmod(n, 3),
        *divmod(50, n),
        n**2,
        9 % n,
    )
    assert symbols.evaluator(made)(20) == [20, 20, -20, -21, 20, 20, 20, 6, 2, 2, 10, 400, 9]
    assert bool(n)
    assert symbols.guards == ()


def test_guards_say_where_they_were_asked() -> None:
    symbols, n = new(8)
    assert n % 4 == 0
    assert n % 4 == 0
    (guard,) = symbols.guards
    assert guard.place.startswith("tests/test_sizes.py:")
    assert symbols.describe(guard.polynomial).count("s0") == 1
    assert [k for k in range(2, 20) if symbols.checker()(k)] == [4, 8, 12, 16]


def test_questions_after_the_end_guard_nothing() -> None:
    symbols, n = new(8)
    symbols.close()
    assert (int(n), n == 8, n > 100) == (8, True, False)
    assert symbols.guards == ()


def test_sizes_of_two_compilations_meet_as_numbers() -> None:
    _, m = new(8)
    symbols, n = new(5)
    total = n + m
    assert symbols.evaluator([total])(6) == [14]
    assert m != n
    assert key_of(m) != key_of(n)


@pytest.mark.parametrize("n", [1, 0, -3])
def test_small_sizes_are_no_symbols(n: int) -> None:
    with pytest.raises(ValueError, match="no symbol"):
        Symbols().new(n)


def test_functions_of_sizes() -> None:
    """They are called again for other values, once for all their results, and not at all without sizes."""
    asked: list[tuple[Any, ...]] = []

    def halves(n: int, more: tuple[int, ...], name: str) -> tuple[int, int]:
        asked.append((n, more, name))
        return n // 2, n - n // 2 + sum(more)

    symbols, n = new(8)
    low, high = calls(halves, n + 1, (n, 3), "x", count=2, least=0)
    again = calls(halves, n + 1, (n, 3), "x", count=2)
    assert asked == [(9, (8, 3), "x")]
    assert again == (low, high)
    assert hints_of((low, high)) == (4, 16)
    assert least_of(low) == 0
    assert symbols.evaluator([high, low, low + n, 7])(11) == [6 + 14, 6, 17, 7]
    assert asked[1:] == [(12, (11, 3), "x")]
    assert call(max, 3, 4) == 4
    assert calls(halves, 4, (), "y", count=2) == (2, 2)


def test_pinned_shapes() -> None:
    symbols, m, _ = new(8, 5)
    pin((m, 3))
    assert [symbols.checker()(*v) for v in ((8, 5), (8, 9), (7, 5))] == [True, True, False]


@given(st.builds(slice, *[st.none() | st.integers(-9, 9)] * 2, st.none() | st.sampled_from([-3, -2, -1, 1, 2, 3])),
       st.integers(2, 9), st.lists(st.integers(2, 9), max_size=3))  # fmt: skip
def test_places_of_slices(s: slice, hint: int, others: list[int]) -> None:
    """Those of `slice.indices`, but that an end before the start may be another one that leaves nothing as well."""
    symbols, n = new(hint)
    found = places(s, n)
    check, evaluate = symbols.checker(), symbols.evaluator(found)
    for k in (hint, *others):
        if check(k):
            assert range(*evaluate(k)) == range(*s.indices(k))


def test_slices_do_not_step_by_zero() -> None:
    with pytest.raises(ShapeError, match="zero"):
        places(slice(0, 4, 0), new(8)[1])
