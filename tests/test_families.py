"""Which programs there are for the sizes of calls, and that their errors and profiles are those of the calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optree
import pytest
from dynamic_programs import block, ones, programs

import tgc
from tgc import numpy as tnp
from tgc.errors import OutOfRangeError, ShapeError
from tgc.families import RecompilationWarning
from tgc.sizes import Size


def test_sizes_that_vary_become_symbols() -> None:
    """One more program for each set of axes that vary, then none; equal axes share a symbol until they differ."""
    f = tgc.jit(lambda x, y: (x.sum(1), y + 1))

    def serves(*shapes: tuple[int, int]) -> int:
        a, b = f(*(ones(*s) for s in shapes))
        assert (a.shape, b.shape) == (shapes[0][:1], shapes[1])
        assert (a == shapes[0][1]).all()
        return programs(f)

    assert serves((4, 5), (4, 6)) == 0  # for these sizes alone
    assert serves((7, 5), (7, 6)) == 1  # the first axes, one symbol
    assert serves((9, 5), (9, 6)) == 1
    assert serves((9, 5), (8, 6)) == 2  # two symbols
    assert serves((3, 5), (30, 6)) == 2
    assert serves((3, 8), (30, 6)) == 3
    assert serves((40, 9), (2, 6)) == 3
    assert serves((1, 9), (2, 6)) == 4  # sizes of one are none
    assert serves((1, 7), (5, 6)) == 4
    assert serves((0, 7), (5, 6)) == 5


def test_guards_that_fail_make_another_program() -> None:
    traced: list[Any] = []

    @tgc.jit
    def f(x: Any) -> Any:
        traced.append(x.shape[0])
        return x * 2 if x.shape[0] > 10 else x[::-1] + x.shape[0]

    for n in (4, 5, 9, 10, 11, 30, 7, 12, 3):
        x = np.arange(n, dtype=np.float32)
        assert np.array_equal(f(x), x * 2 if n > 10 else x[::-1] + n)
    assert len(traced) == 3
    assert programs(f) == 2
    assert [isinstance(n, Size) for n in traced] == [False, True, True]


def test_dictionaries_of_users_are_right() -> None:
    """A size is found among plain numbers, and not taken for another one."""
    table = {6: 10.0, 8: 20.0}
    f = tgc.jit(lambda x: x * table.get(x.shape[0], 0.0) if x.shape[0] in table else x - 1)
    for n in (5, 6, 7, 8, 9, 6, 5):
        expected = np.full(n, table.get(n, 0))
        assert np.array_equal(f(ones(n)), expected.astype(np.float32))


class Sized:
    """A node of the user's with a number beside its array."""

    def __init__(self, array: Any, n: int) -> None:
        self.array, self.n = array, n


def test_sizes_in_structures_are_right() -> None:
    """What a structure of results keeps beside arrays is the plain number of the call."""
    everywhere = optree.registry.__GLOBAL_NAMESPACE  # type: ignore[attr-defined]
    optree.register_pytree_node(
        Sized, lambda s: ((s.array,), s.n, None), lambda n, a: Sized(a[0], n), namespace=everywhere
    )
    try:
        f = tgc.jit(lambda x: {f"of {x.shape[0]}": Sized(x + 1, x.shape[0])})
        g = tgc.jit(lambda x: Sized(x * 2, x.shape[0]))

        def check(n: int) -> None:
            ((name, made),) = f(ones(n)).items()
            assert (name, made.n, type(made.n)) == (f"of {n}", n, int)
            assert type(g(ones(n)).n) is int

        check(4)
        with pytest.warns(RecompilationWarning, match="what the results are structured by holds sizes"):
            check(5)
        for n in (6, 7):
            check(n)
    finally:
        optree.unregister_pytree_node(Sized, namespace=everywhere)


def test_axes_that_are_pinned_stay_plain() -> None:
    """The other axis is a symbol in the programs that follow."""
    traced: list[tuple[bool, ...]] = []

    @tgc.jit
    def f(x: Any) -> Any:
        traced.append(tuple(type(n) is int for n in x.shape))
        return sum(x[:, k] for k in range(x.shape[1]))

    for shape in ((4, 3), (5, 2), (6, 2), (7, 4), (8, 4), (9, 2), (9, 5), (8, 5)):
        assert np.array_equal(f(ones(*shape)), np.full(shape[0], shape[1], np.float32))
    assert traced == [(True, True), (False, False), (False, False), (False, True)]


def test_a_size_that_happens_to_equal_another_is_not_pinned_for_good() -> None:
    f = tgc.jit(lambda x: x + 1 if x.shape[0] == 3 else x * 2)
    for n in (5, 3, 6, 7, 3, 9):
        assert np.array_equal(f(ones(n)), np.full(n, 2, np.float32))
    assert programs(f) == 2


def test_functions_that_need_plain_numbers_get_programs_of_their_own() -> None:
    @tgc.jit
    def f(x: Any) -> Any:
        if type(x.shape[0]) is not int:
            raise TypeError("no plain number")
        return x + x.shape[0]

    assert np.array_equal(f(ones(3)), ones(3) + 3)
    with pytest.warns(RecompilationWarning, match=r"^f is compiled for each size .*no plain number") as caught:
        assert np.array_equal(f(ones(4)), ones(4) + 4)
    assert [Path(w.filename).name for w in caught] == ["test_families.py"]
    assert np.array_equal(f(ones(5)), ones(5) + 5)  # it is not tried again
    assert programs(f) == 0


def test_errors_of_functions_are_raised_as_ever() -> None:
    f = tgc.jit(lambda x: x @ ones(4, 3))
    assert f(ones(2, 4)).shape == (2, 3)
    for n in (5, 6):
        with pytest.raises(ShapeError, match=rf"\(2, {n}\)"):
            f(ones(2, n))
    assert f(ones(3, 4)).shape == (3, 3)


def test_memory_limits_have_programs_for_one_size() -> None:
    f = tgc.jit(lambda x: (x @ x.T).sum(0), memory_limit=1 << 20)
    for n in (4, 5, 6):
        assert np.array_equal(f(ones(n, 2)), np.full(n, 2 * n, np.float32))
    assert programs(f) == 0


def test_donated_arguments() -> None:
    f = tgc.jit(lambda x, y: (x + y, x.sum()), donate=0)
    for n in (4, 5, 6, 7):
        x = ones(n)
        made, total = f(x, ones(n))
        assert np.shares_memory(made, x)
        assert total == n
        assert (x == 2).all()
    assert programs(f) == 1


def test_static_arguments_and_dtypes_have_families_of_their_own() -> None:
    f = tgc.jit(lambda x, k: x * k, static="k")
    for dtype in (np.float32, np.float64):
        for k in (2, 3):
            for n in (3, 4, 5):
                assert np.array_equal(f(np.ones(n, dtype), k), np.full(n, k, dtype))
    assert (len(f._families), programs(f)) == (4, 4)


def test_errors_name_the_sizes_of_the_call() -> None:
    f = tgc.jit(lambda x, index: tnp.take(x, index, 0))
    for n in (6, 7, 8, 9):
        with pytest.raises(OutOfRangeError, match=rf"f32\[{n},3\]"):
            f(ones(n, 3), np.array([n]))
    assert programs(f) == 1


def test_profiles_count_the_work_of_the_call() -> None:
    f = tgc.jit(block)
    for n in (5, 6, 9):
        f(ones(n, 2 * n, 16))
    profiles = f.profile(ones(9, 18, 16)), tgc.jit(block).profile(ones(9, 18, 16))
    found, expected = ([(r.name, r.kind, r.launches, r.flops, r.bytes) for r in p.rows] for p in profiles)
    assert found == expected
    assert programs(f) == 1
