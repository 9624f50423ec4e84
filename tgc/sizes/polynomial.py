"""Polynomials with integer coefficients over numbered atoms, in one form each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Monomial: TypeAlias = tuple[int, ...]  # numbers of atoms, sorted, each as often as it is a factor
Polynomial: TypeAlias = tuple[tuple[Monomial, int], ...]  # monomials with their coefficients, sorted, none of them zero


def plus(p: Polynomial, q: Polynomial, factor: int = 1) -> Polynomial:
    """p + factor * q."""
    terms = dict(p)
    for m, c in q:
        terms[m] = terms.get(m, 0) + factor * c
    return tuple(sorted((m, c) for m, c in terms.items() if c))


def times(p: Polynomial, q: Polynomial) -> Polynomial:
    """p * q."""
    terms: dict[Monomial, int] = {}
    for m, c in p:
        for n, d in q:
            key = tuple(sorted(m + n)) if m and n else m or n
            terms[key] = terms.get(key, 0) + c * d
    return tuple(sorted((m, c) for m, c in terms.items() if c))


def constant(n: int) -> Polynomial:
    """The polynomial of a number."""
    return (((), n),) if n else ()


def _without(m: Monomial, n: Monomial) -> Monomial | None:
    """The monomial by which `n` must be multiplied to give `m`."""
    rest = list(m)
    for a in n:
        if a not in rest:
            return None
        rest.remove(a)
    return tuple(rest)


def divided(p: Polynomial, q: Polynomial) -> tuple[Polynomial, Polynomial]:
    """A quotient and what is left: p = quotient * q + rest; all that `q`, if it has one term, divides is taken out."""
    if len(q) != 1:
        factor, inexact = divmod(p[0][1], q[0][1]) if len(p) == len(q) else (0, 1)
        return (constant(factor), ()) if not inexact and p == times(constant(factor), q) else ((), p)
    ((divisor, d),) = q
    quotient: Polynomial = ()
    for m, c in p:
        left, factor = _without(m, divisor), abs(c) // abs(d) * (1 if (c > 0) == (d > 0) else -1)
        if left is not None and factor:
            quotient = plus(quotient, ((left, factor),))
    return quotient, plus(p, times(quotient, q), -1)


def is_constant(p: Polynomial) -> bool:
    """Whether a polynomial has no atoms."""
    return not p or (len(p) == 1 and not p[0][0])


def least(p: Polynomial, lows: Callable[[int], int | None]) -> int | None:
    """What a polynomial is at least, as far as can be told from what its atoms are at least.

    Each atom is its least value and a number above it; where no product of those numbers has a negative coefficient,
    the constant that is left is the least value.
    """
    total = 0
    above: dict[Monomial, int] = {}
    for monomial, c in p:
        expanded: dict[Monomial, int] = {(): c}
        for a in monomial:
            low = lows(a)
            if low is None:
                return None
            grown: dict[Monomial, int] = {}
            for m, k in expanded.items():
                raised = tuple(sorted((*m, a)))
                grown[raised] = grown.get(raised, 0) + k
                if low:
                    grown[m] = grown.get(m, 0) + k * low
            expanded = grown
        total += expanded.pop((), 0)
        for m, k in expanded.items():
            above[m] = above.get(m, 0) + k
    return total if all(k >= 0 for k in above.values()) else None
