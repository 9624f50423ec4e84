"""Einstein summation as a sequence of pairwise contractions."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from tgc.errors import ShapeError
from tgc.numpy.base import Array, ArrayLike, refuse
from tgc.numpy.matrices import diagonal
from tgc.numpy.products import operands
from tgc.ops import arithmetic, contraction, reduce

__all__ = ["einsum"]

Term = tuple[str, Array]  # one letter an axis, and the tensor


def _parse(subscripts: str, arrays: Sequence[Array]) -> tuple[list[str], str]:
    """Letters of each operand and of the result; an ellipsis becomes letters of its own.

    Raises:
        ShapeError: the subscripts are malformed or do not fit the operands.
    """

    def fail(reason: str) -> ShapeError:
        return refuse(f"einsum[{subscripts}]", arrays, reason)

    left, arrow, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(arrays):
        raise fail(f"there are {len(terms)} terms for {len(arrays)} operands")
    spare = [c for c in string.ascii_letters if c not in subscripts]
    ellipsis = 0
    for term, x in zip(terms, arrays, strict=True):
        named = term.replace("...", "", 1)
        if named and not (named.isascii() and named.isalpha()):
            raise fail(f"{term!r} is not made of letters and at most one '...'")
        extra = x.ndim - len(named)
        if extra < 0 or (extra > 0 and "..." not in term):
            raise fail(f"term {term!r} names {len(named)} axes of an operand of {x.ndim}")
        ellipsis = max(ellipsis, extra) if "..." in term else ellipsis
    dots = "".join(spare[:ellipsis])

    def fill(term: str, rank: int) -> str:
        named = len(term.replace("...", ""))
        return term.replace("...", dots[ellipsis - (rank - named) :] if rank > named else "")

    filled = [fill(term, x.ndim) for term, x in zip(terms, arrays, strict=True)]
    letters = "".join(terms).replace(".", "")
    once = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    out = right.replace("...", dots) if arrow else dots + once
    if len(set(out)) != len(out) or not set(out) <= set("".join(filled)):
        raise fail(f"the result's {right!r} repeats a letter or names one that no operand has")
    return filled, out


def _reduced(term: Term, keep: set[str], size: dict[str, int]) -> Term:
    """A term with repeated letters replaced by their diagonal, and letters that nothing else needs summed away."""
    names, x = term
    for c in dict.fromkeys(names):
        while names.count(c) > 1:
            i, j = names.index(c), names.rindex(c)
            names = "".join(n for k, n in enumerate(names) if k not in (i, j)) + c
            x = diagonal(x, 0, i, j)
    unit = [i for i, c in enumerate(names) if x.shape[i] == 1 and size[c] != 1]
    gone = [i for i, c in enumerate(names) if c not in keep and i not in unit]
    if gone:
        x = reduce.reduce_sum(x, axes=gone, chunks=0)
        unit = [i - sum(g < i for g in gone) for i in unit]
        names = "".join(c for i, c in enumerate(names) if i not in gone)
    if unit:
        x = arithmetic.reshape(x, [n for i, n in enumerate(x.shape) if i not in unit])
        names = "".join(c for i, c in enumerate(names) if i not in unit)
    return names, x


def _arranged(term: Term, names: str) -> Array:
    """The tensor with its axes in the order of `names`, of size one where it lacks one."""
    own, x = term
    x = arithmetic.transpose(x, [own.index(c) for c in names if c in own])
    sizes = iter(x.shape)
    return arithmetic.reshape(x, [next(sizes) if c in own else 1 for c in names])


def _pair(a: Term, b: Term, keep: set[str]) -> Term:
    (left, x), (right, y) = a, b
    shared = [c for c in left if c in right]
    batch, summed = [c for c in shared if c in keep], [c for c in shared if c not in keep]
    if not summed:
        names = left + "".join(c for c in right if c not in left)
        return names, arithmetic.multiply(_arranged(a, names), _arranged(b, names))
    axes = [[[term.index(c) for c in group] for term in (left, right)] for group in (batch, summed)]
    names = "".join([*batch, *(c for c in left + right if c not in shared)])
    return names, contraction.dot(x, y, batch=axes[0], contract=axes[1])


def _order(terms: Sequence[str], out: str, size: dict[str, int]) -> list[tuple[int, ...]]:
    """Which terms to contract at each step; the result of a step becomes the last term."""
    if len(terms) < 3:
        return [(0, 1)] * (len(terms) - 1)
    shapes = [np.broadcast_to(0.0, [size[c] for c in term]) for term in terms]
    _, *steps = np.einsum_path(f"{','.join(terms)}->{out}", *shapes, optimize="greedy")[0]
    return [tuple(sorted(step)) for step in steps]


def einsum(subscripts: str, /, *arrays: ArrayLike) -> Array:
    """Einstein summation, `einsum("bij,bjk->bik", x, y)`, of any number of operands.

    Letters name axes; those missing on the right (without `->`: that occur twice) are summed over. `...` stands for
    axes that broadcast; a letter that repeats within an operand takes its diagonal; axes of size one broadcast.
    Operands are contracted two at a time, in the greedy order of `numpy.einsum_path`.

    Raises:
        ShapeError: subscripts are malformed, do not fit the operands, or a letter has two sizes.
        DTypeError: the operands are boolean.
    """
    xs = operands("einsum", *arrays)
    names, out = _parse(subscripts, xs)
    size: dict[str, int] = {}
    for term, x in zip(names, xs, strict=True):
        for c, n in zip(term, x.shape, strict=True):
            if n != x.shape[term.index(c)]:
                raise refuse(f"einsum[{subscripts}]", xs, f"axis {c!r} of one operand has two sizes")
            if n != 1 and size.get(c, 1) not in (1, n):
                raise refuse(f"einsum[{subscripts}]", xs, f"axis {c!r} has the sizes {size[c]} and {n}")
            size[c] = n if size.get(c, 1) == 1 else size[c]

    def needed(skip: Sequence[int]) -> set[str]:
        return {*out, *(c for i, (term, _) in enumerate(terms) if i not in skip for c in term)}

    terms: list[Term] = list(zip(names, xs, strict=True))
    terms = [_reduced(term, needed([i]), size) for i, term in enumerate(terms)]
    for step in _order([term for term, _ in terms], out, size):
        keep = needed(step)
        first, *rest = (terms[i] for i in step)
        for k, other in enumerate(rest):
            later = {c for term, _ in rest[k + 1 :] for c in term}
            first = _pair(first, other, keep | later)
        terms = [t for i, t in enumerate(terms) if i not in step] + [_reduced(first, keep, size)]
    ((own, x),) = terms
    return arithmetic.transpose(x, [own.index(c) for c in out])
