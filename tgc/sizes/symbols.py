"""Symbols, the guards of what was asked of them, and the sizes that are made of them."""

from __future__ import annotations

import math
import numbers
import operator
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex, TypeAlias

import numpy as np

from tgc.sizes.evaluate import Atom, Call, Expression, Writer, interpreter
from tgc.sizes.polynomial import Polynomial, constant, divided, is_constant, least, plus, times

Term: TypeAlias = tuple[Polynomial, int]  # an expression and its value in this compilation

LEAST = 2  # of a symbol
_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Guard:
    """`polynomial >= 0`, `== 0` or `!= 0`, as `relation` says, and the line of code that asked for it."""

    relation: str
    polynomial: Polynomial
    place: str


class Symbols:
    """The symbols of one compilation, what has been computed from them, and what has been found true of them.

    Attributes:
        hints: the values of the symbols in this compilation.
        guards: what the compilation relies on, in the order in which it was asked.
        asked: how often something has been asked that only holds for some values.
    """

    def __init__(self) -> None:
        self.hints: list[int] = []
        self.asked = 0
        self._guards: dict[tuple[str, Polynomial], Guard] = {}
        self._atoms: list[Atom] = []
        self._symbols: list[int] = []
        self._calls: list[Call] = []
        self._known: dict[Hashable, tuple[int, ...]] = {}
        self._sizes: dict[Polynomial, Size] = {}
        self._open = True

    @property
    def guards(self) -> tuple[Guard, ...]:
        return tuple(self._guards.values())

    @property
    def pinned(self) -> list[bool]:
        """For each symbol whether it can have no other value."""
        alone = {p[-1][0] for relation, p in self._guards if relation == "==" and is_constant(p[:-1])}
        return [(a,) in alone for a in self._symbols]

    def new(self, hint: int) -> int:
        """A symbol whose value in this compilation is `hint`, at least 2."""
        if hint < LEAST:
            raise ValueError(f"a size of {hint} is no symbol")
        self.hints.append(hint)
        self._symbols.append(len(self._atoms))
        made: int = self._atom(Atom(hint, LEAST))
        return made

    def close(self) -> None:
        """End the compilation: questions that are asked later, of sizes that user code has kept, guard nothing."""
        self._open = False

    def describe(self, p: Polynomial) -> str:
        """A polynomial in words: symbols are s0, s1, ..., what functions give is t and a number."""
        names = {a: f"s{k}" for k, a in enumerate(self._symbols)}
        terms = ["*".join([str(c), *(names.get(a, f"t{a}") for a in m)]) for m, c in p]
        return " + ".join(terms) or "0"

    # ------------------------------------------------------------------------------------------------------ evaluation

    def checker(self) -> Callable[..., bool]:
        """A function of the symbols' values: whether all guards hold for them."""
        writer = Writer(self._symbols, self._atoms, self._calls)
        for guard in self._guards.values():
            text = writer.polynomial(guard.polynomial)
            writer.lines.append(f"if not {text} {guard.relation} 0: return False")
        return writer.function("True")

    def evaluator(self, numbers: Sequence[int]) -> Callable[..., list[int]]:
        """A function of the symbols' values: the values of `numbers`, sizes of these symbols and plain integers."""
        writer = Writer(self._symbols, self._atoms, self._calls)
        return writer.function(f"[{', '.join([writer.argument(self._key(n)) for n in numbers])}]")

    def at(self, values: Sequence[int]) -> Callable[[int], int]:
        """A function that gives the value of any size for values of the symbols; for few of them, not in a hurry."""
        polynomial = interpreter(dict(zip(self._symbols, values, strict=True)), self._atoms, self._calls)
        return lambda n: polynomial(n.polynomial) if isinstance(n, Size) else n  # type: ignore[redundant-expr]

    # ------------------------------------------------------------------------------------------------------- internals

    def _atom(self, atom: Atom) -> Any:
        self._atoms.append(atom)
        return self.size((((len(self._atoms) - 1,), 1),), atom.hint)

    def size(self, p: Polynomial, hint: int) -> Any:
        """The size of an expression, or its value where it has no symbols."""
        if is_constant(p):
            return hint
        found = self._sizes.get(p)
        if found is None:
            found = self._sizes[p] = Size(self, p, hint)
        return found

    def value(self, p: Polynomial) -> int:
        """What a polynomial is in this compilation."""
        return sum(c * math.prod(self._atoms[a].hint for a in m) for m, c in p)

    def guard(self, relation: str, p: Polynomial) -> None:
        """Note what has been found true."""
        self.asked += 1
        if relation != ">=" and p[-1][1] < 0:
            p = plus((), p, -1)
        if self._open and (relation, p) not in self._guards:
            self._guards[relation, p] = Guard(relation, p, _asked_at())

    def apply(self, f: Callable[..., Any], args: tuple[Any, ...], count: int | None, least: int | None) -> Any:
        """See `calls` and `call`."""
        key = f, self._key(args)
        if key not in self._known:
            found = f(*hints_of(args))
            self._calls.append((f, key[1]))
            call = len(self._calls) - 1
            numbers = [found] if count is None else list(found)
            start = len(self._atoms)
            for k, n in enumerate(numbers):
                self._atom(Atom(int(n), least, call, None if count is None else k))
            self._known[key] = tuple(range(start, len(self._atoms)))
        made = tuple(self.size((((a,), 1),), self._atoms[a].hint) for a in self._known[key])
        return made[0] if count is None else made

    def _key(self, x: Any) -> Any:
        """An argument with sizes replaced by their expressions."""
        if isinstance(x, Size):
            return Expression(x.polynomial) if x.symbols is self else int(x)
        return tuple(map(self._key, x)) if isinstance(x, tuple) else x

    def least(self, p: Polynomial) -> int | None:
        """What a polynomial is at least, as far as can be told."""
        return least(p, lambda a: self._atoms[a].least)


def _asked_at() -> str:
    """The "file:line" that asked a question of a size."""
    frame: Any = sys._getframe(2)
    while frame.f_back is not None and Path(frame.f_code.co_filename).parent == _FOLDER:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.removeprefix(f'{_FOLDER.parents[1]}/')}:{frame.f_lineno}"


def is_size(x: object) -> bool:
    """Whether an integer is a size that depends on symbols. (It stands for an int, but its class derives from none.)"""
    return isinstance(x, Size)


def key_of(x: Any) -> Hashable:
    """A key by which a size, or a tuple of integers and sizes, is found in a dictionary; nothing is pinned."""
    if isinstance(x, Size):
        return "size", id(x.symbols), x.polynomial
    return tuple(map(key_of, x)) if isinstance(x, tuple) else x


def hints_of(x: Any) -> Any:
    """Arguments as they are in this compilation; nothing is pinned."""
    if isinstance(x, Size):
        return x.hint
    return tuple(map(hints_of, x)) if isinstance(x, tuple) else x


class Size:
    """An integer with an expression: see the module. It stands wherever an int does and is made by `Symbols` alone."""

    __slots__ = ("hint", "polynomial", "symbols")

    def __init__(self, symbols: Symbols, polynomial: Polynomial, hint: int) -> None:
        self.symbols, self.polynomial, self.hint = symbols, polynomial, hint

    # ------------------------------------------------------------------------------------------------------ arithmetic

    def _other(self, other: Any) -> tuple[Polynomial, int] | None:
        """The expression and the value of an operand; None for what is no integer."""
        if type(other) is int:
            return constant(other), other
        if isinstance(other, Size):
            if other.symbols is self.symbols:
                return other.polynomial, other.hint
            other = int(other)
        if isinstance(other, int | np.integer):
            return constant(int(other)), int(other)
        return None

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        if modulus is not None or not isinstance(other, int) or not 0 <= other <= 4:
            return pow(int(self), other, modulus)
        return math.prod([self] * other)

    def __rpow__(self, other: Any) -> Any:
        return pow(other, int(self))

    def __neg__(self) -> Any:
        return self.symbols.size(plus((), self.polynomial, -1), -self.hint)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def __invert__(self) -> Any:
        return self.symbols.size(plus(constant(-1), self.polynomial, -1), -1 - self.hint)

    def __round__(self, digits: SupportsIndex | None = None) -> Any:
        return self if digits is None else round(int(self), digits)

    __trunc__ = __floor__ = __ceil__ = __pos__

    # ------------------------------------------------------------------------------------------------------- questions

    def _above(self, other: Any, by: int, sign: int) -> Any:
        """Whether `sign * (self - other) >= by`."""
        if (found := self._other(other)) is None:
            return sign * (int(self) - other) >= by if isinstance(other, float) else NotImplemented
        p = plus(self.polynomial, found[0], -1) if sign > 0 else plus(found[0], self.polynomial, -1)
        return _ask(self.symbols, plus(p, constant(-by)), sign * (self.hint - found[1]) - by)

    def __ge__(self, other: Any) -> Any:
        return self._above(other, 0, 1)

    def __gt__(self, other: Any) -> Any:
        return int(self) > other if isinstance(other, float) else self._above(other, 1, 1)

    def __le__(self, other: Any) -> Any:
        return self._above(other, 0, -1)

    def __lt__(self, other: Any) -> Any:
        return int(self) < other if isinstance(other, float) else self._above(other, 1, -1)

    def __eq__(self, other: Any) -> Any:
        if self is other:
            return True
        if (found := self._other(other)) is None:
            return int(self) == other if isinstance(other, float | complex) else NotImplemented
        p, equal = plus(self.polynomial, found[0], -1), self.hint == found[1]
        if is_constant(p):
            return equal
        if any(low is not None and low > 0 for low in map(self.symbols.least, (p, plus((), p, -1)))):
            return False
        self.symbols.guard("==" if equal else "!=", p)
        return equal

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __hash__(self) -> int:
        return hash(int(self))  # dictionaries of user code have plain numbers for keys

    # --------------------------------------------------------------------------------------------------- plain numbers

    def __index__(self) -> int:
        self.symbols.guard("==", plus(self.polynomial, constant(-self.hint)))
        return self.hint

    __int__ = __index__

    def __float__(self) -> float:
        return float(int(self))

    def __complex__(self) -> complex:
        return complex(int(self))

    def __repr__(self) -> str:
        return repr(int(self))

    __str__ = __repr__

    def __format__(self, form: str) -> str:
        return format(int(self), form)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(int(self), dtype)

    def __reduce__(self) -> Any:
        return int, (int(self),)

    def bit_length(self) -> int:
        """The bits of the number, which is pinned."""
        return int(self).bit_length()


def _ask(symbols: Symbols, p: Polynomial, hint: int) -> bool:
    """Whether p >= 0."""
    if is_constant(p):
        return hint >= 0
    below = plus(constant(-1), p, -1)  # where this is not negative, p is
    for holds, low in ((True, symbols.least(p)), (False, symbols.least(below))):
        if low is not None and low >= 0:
            return holds
    symbols.guard(">=", p if hint >= 0 else below)
    return hint >= 0


def _quotient(symbols: Symbols, a: Term, b: Term) -> Any:
    """a // b: what divides without a rest is taken out, and the rest is what a function gives."""
    if not b[1]:
        return a[1] // int(symbols.size(*b))  # raises
    divisor = symbols.size(*b)
    lowest = symbols.least(b[0])
    positive = lowest is not None and lowest > 0
    if not positive:
        _ = divisor == 0  # a guard: it is none
    quotient, rest = divided(a[0], b[0])
    whole = symbols.size(quotient, symbols.value(quotient))
    if not rest:
        return whole
    left = symbols.size(rest, symbols.value(rest))
    low = symbols.least(rest) if positive else None
    if low is not None and low >= 0:
        if (under := symbols.least(plus(b[0], rest, -1))) is not None and under > 0:  # rest < b
            return whole
        return (
            symbols.apply(operator.floordiv, (left, divisor), None, low // divisor if type(divisor) is int else 0)
            + whole
        )
    if positive and (most := symbols.least(plus((), rest, -1))) is not None and most >= 0:
        return whole - (divisor - 1 - left) // divisor  # a quotient that is not negative, of which more is known
    return symbols.apply(operator.floordiv, (left, divisor), None, None) + whole


def _sum(symbols: Symbols, a: Term, b: Term) -> Any:
    return symbols.size(plus(a[0], b[0]), a[1] + b[1])


def _difference(symbols: Symbols, a: Term, b: Term) -> Any:
    return symbols.size(plus(a[0], b[0], -1), a[1] - b[1])


def _product(symbols: Symbols, a: Term, b: Term) -> Any:
    return symbols.size(times(a[0], b[0]), a[1] * b[1])


def _rest(symbols: Symbols, a: Term, b: Term) -> Any:
    return symbols.size(*a) - _quotient(symbols, a, b) * symbols.size(*b)


def _both(symbols: Symbols, a: Term, b: Term) -> Any:
    return _quotient(symbols, a, b), _rest(symbols, a, b)


def _define(name: str, function: Callable[[Any, Any], Any], made: Callable[[Symbols, Term, Term], Any] | None) -> None:
    """Give sizes an operator, with operands in either order: `made` of integers, else `function` of a pinned number."""

    def of(self: Size, other: Any, apply: Callable[[Any, Any], Any], order: int) -> Any:
        found = self._other(other)
        if found is None and not isinstance(other, float | complex):
            return NotImplemented
        if found is None or made is None:
            return apply(int(self), other)
        return made(self.symbols, *((self.polynomial, self.hint), found)[::order])

    setattr(Size, f"__{name}__", lambda self, other: of(self, other, function, 1))
    setattr(Size, f"__r{name}__", lambda self, other: of(self, other, lambda a, b: function(b, a), -1))


_define("add", operator.add, _sum)
_define("sub", operator.sub, _difference)
_define("mul", operator.mul, _product)
_define("floordiv", operator.floordiv, _quotient)
_define("mod", operator.mod, _rest)
_define("divmod", divmod, _both)
for _name, _function in {
    "truediv": operator.truediv, "and": operator.and_, "or": operator.or_, "xor": operator.xor,
    "lshift": operator.lshift, "rshift": operator.rshift,
}.items():  # fmt: skip
    _define(_name, _function, None)
numbers.Integral.register(Size)
