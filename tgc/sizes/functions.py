"""Functions of integers that may be sizes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

from tgc.sizes.symbols import Size, Symbols, is_size


def integer(x: SupportsIndex) -> int:
    """`operator.index` that lets sizes be.

    Raises:
        TypeError: `x` is no integer.
    """
    found: Any = x if is_size(x) else operator.index(x)
    return found  # type: ignore[no-any-return]


def _symbols_of(x: Any) -> Symbols | None:
    """The symbols of the first size among arguments."""
    if isinstance(x, Size):
        return x.symbols
    return next((s for y in x if (s := _symbols_of(y)) is not None), None) if isinstance(x, tuple) else None


def call(f: Callable[..., int], *args: Any, least: int | None = None) -> int:
    """f(*args), an integer of at least `least`: a size if there are some among the arguments, or in tuples of these.

    `f` is a pure function of plain numbers, which is called for other values of the symbols too. Its other arguments
    are hashable.
    """
    symbols = _symbols_of(args)
    found: int = f(*args) if symbols is None else symbols.apply(f, args, None, least)
    return found


def calls(f: Callable[..., Sequence[int]], *args: Any, count: int, least: int | None = None) -> tuple[int, ...]:
    """The same for a function that gives `count` integers."""
    symbols = _symbols_of(args)
    found: tuple[int, ...] = tuple(f(*args)) if symbols is None else symbols.apply(f, args, count, least)
    return found


def least_of(x: int) -> int | None:
    """What an integer is at least, whatever the symbols are; None if that cannot be told."""
    return x.symbols.least(x.polynomial) if isinstance(x, Size) else x  # type: ignore[redundant-expr]


def pin(shape: Sequence[int]) -> None:
    """Let the program be one for just these sizes."""
    for n in shape:
        int(n)


def surely_equal(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether two shapes are equal whatever the symbols are; nothing is guarded."""
    return len(a) == len(b) and all(m is n or (type(m - n) is int and m - n == 0) for m, n in zip(a, b, strict=True))


def equal_shapes(a: Sequence[int], b: Sequence[int]) -> bool:
    """a == b, of which sizes that differ in any case are asked first: no others must be guarded then."""
    if len(a) != len(b) or (any(map(is_size, (*a, *b))) and any(map(_surely_differ, a, b))):
        return False
    return tuple(a) == tuple(b)


def _surely_differ(m: int, n: int) -> bool:
    apart = m - n
    if not is_size(apart):
        return apart != 0
    return any(low is not None and low > 0 for low in map(least_of, (apart, -apart)))


def surely_divides(d: int, n: int) -> bool:
    """Whether `n` is a multiple of `d` whatever the symbols are."""
    rest = n % d
    return type(rest) is int and rest == 0


def smaller(a: int, b: int) -> int:
    """The smaller of two integers, decided at run time unless it is always the same one."""
    return _extreme(min, a, b)


def larger(a: int, b: int) -> int:
    """The larger of two integers, likewise."""
    return _extreme(max, a, b)


def _extreme(f: Callable[..., int], a: int, b: int) -> int:
    if not is_size(a) and not is_size(b):
        return f(a, b)
    for low, high in ((a, b), (b, a)):
        apart = least_of(high - low)
        if apart is not None and apart >= 0:
            return low if f is min else high
    known = [n for n in map(least_of, (a, b)) if n is not None]
    return call(f, a, b, least=f(known) if len(known) == 2 else None)
