"""Expressions for values of the symbols: as the text of a function, or one by one."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tgc.sizes.polynomial import Polynomial

Call: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]  # a function and its arguments, sizes as `Expression`


@dataclass(frozen=True, slots=True)
class Atom:
    """A symbol, or one of the numbers that a function gives.

    Attributes:
        hint: its value in this compilation.
        least: what it is at least, None where that is not known.
        call: the number of the call that gives it, None for a symbol.
        index: which of the call's numbers it is, None where it gives only one.
    """

    hint: int
    least: int | None
    call: int | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """A polynomial among the arguments of a call."""

    polynomial: Polynomial


class Writer:
    """Writes the text of a function of the symbols' values.

    Args:
        symbols: the numbers of the atoms that are symbols, in order.
        atoms, calls: all of them.
    """

    def __init__(self, symbols: Sequence[int], atoms: Sequence[Atom], calls: Sequence[Call]) -> None:
        self.lines: list[str] = []
        self._atoms, self._calls = atoms, calls
        self._named = {a: f"s{k}" for k, a in enumerate(symbols)}
        self._parameters = ", ".join(self._named.values())
        self._held: dict[str, Any] = {}
        self._called: set[int] = set()

    def polynomial(self, p: Polynomial) -> str:
        """The text of a polynomial; what its atoms need is computed before."""
        terms = []
        for monomial, c in p:
            factors = [self._atom(a) for a in monomial]
            terms.append("*".join([str(c), *factors] if c != 1 or not factors else factors))
        return f"({' + '.join(terms) or '0'})"

    def argument(self, x: Any) -> str:
        """The text of an argument of a call, or of a number."""
        if isinstance(x, Expression):
            return self.polynomial(x.polynomial)
        if isinstance(x, tuple):
            return f"({''.join(self.argument(y) + ', ' for y in x)})"
        return repr(x) if type(x) is int else self._hold(x)

    def function(self, result: str) -> Callable[..., Any]:
        """The function of the lines written so far that returns `result`."""
        text = "\n    ".join([f"def f({self._parameters}):", *self.lines, f"return {result}"])
        space = dict(self._held)
        exec(compile(text, "<sizes>", "exec"), space)
        made: Callable[..., Any] = space["f"]
        return made

    def _atom(self, a: int) -> str:
        if a not in self._named:
            atom = self._atoms[a]
            assert atom.call is not None, "symbols are named"
            f, args = self._calls[atom.call]
            texts = [self.argument(x) for x in args]
            if atom.index is None:
                self._named[a] = f"t{a}"
                division = f is operator.floordiv
                made = " // ".join(texts) if division else f"{self._hold(f)}({', '.join(texts)})"
                self.lines.append(f"t{a} = {made}")
            else:
                self._named[a] = f"c{atom.call}[{atom.index}]"
                if atom.call not in self._called:
                    self._called.add(atom.call)
                    self.lines.append(f"c{atom.call} = {self._hold(f)}({', '.join(texts)})")
        return self._named[a]

    def _hold(self, x: Any) -> str:
        name = f"x{len(self._held)}"
        self._held[name] = x
        return name


def interpreter(values: Mapping[int, int], atoms: Sequence[Atom], calls: Sequence[Call]) -> Callable[[Polynomial], int]:
    """A function that evaluates polynomials for values of the atoms that are symbols."""
    known = dict(values)

    def argument(x: Any) -> Any:
        if isinstance(x, Expression):
            return polynomial(x.polynomial)
        return tuple(map(argument, x)) if isinstance(x, tuple) else x

    def atom(a: int) -> int:
        if a not in known:
            made = atoms[a]
            assert made.call is not None, "symbols have values"
            f, args = calls[made.call]
            found = f(*map(argument, args))
            known[a] = found if made.index is None else found[made.index]
        return known[a]

    def polynomial(p: Polynomial) -> int:
        return sum(c * math.prod(map(atom, m)) for m, c in p)

    return polynomial
