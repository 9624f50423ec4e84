"""Random orders and choices."""

from __future__ import annotations

import math

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, as_array, axis_of, sizes
from tgc.numpy.elementwise import log
from tgc.numpy.indexing import take
from tgc.numpy.reductions import sum
from tgc.numpy.sorting import argsort
from tgc.ops import creation
from tgc.ops.arithmetic import add, as_tensor, broadcast_to, equal, shape_of, where
from tgc.random.continuous import gumbel
from tgc.random.discrete import categorical, randint
from tgc.random.draws import NOT_NEGATIVE, parameter
from tgc.random.keys import Size, bits, checked
from tgc.trace import Tracer
from tgc.types import F32, I64, is_float

__all__ = ["choice", "permutation", "shuffle"]


def _ranks(words: Array) -> Array:
    """i64[n]: the rank of each of n numbers, the smallest first; equal ones are ranked in order."""
    return argsort(argsort(words))


def _shuffled(key: Array, n: int) -> Array:
    """i64[n]: the numbers below n in random order."""
    return _ranks(bits(key, n))


def permutation(key: Array, x: int | ArrayLike, axis: int = 0) -> Array:
    """The numbers 0 .. x-1 (int64), or the slices of a tensor along `axis`, in random order."""
    if isinstance(x, int):
        return _shuffled(checked(key), x)
    x = as_array(x)
    at = axis_of("permutation", x, axis)
    return take(x, _shuffled(checked(key), x.shape[at]), at)


def shuffle(key: Array, x: ArrayLike, axis: int = 0) -> Array:
    """The slices of a tensor along `axis` in random order: Keras's name of `permutation`."""
    return permutation(key, as_array(x), axis)


def choice(
    key: Array,
    a: int | ArrayLike,
    shape: Size = (),
    replace: bool = True,
    p: ArrayLike | None = None,
    axis: int = 0,
) -> Array:
    """Slices of `a` along `axis` (or numbers below the int `a`), with the probabilities `p` [n] if given.

    Without replacement they come in decreasing order of log(p) + Gumbel noise, which is distributed as the order in
    which they would be drawn one after the other (Efraimidis and Spirakis, 2006).

    Raises:
        AttributeSpecError: more elements than there are without replacement, probabilities that are negative or do not
            fit.
    """
    at = 0 if isinstance(a, int) else axis_of("choice", as_array(a), axis)
    n = a if isinstance(a, int) else as_array(a).shape[at]
    shape = sizes(shape)
    count = math.prod(shape)
    if (not replace and count > n) or (n == 0 and count):
        raise AttributeSpecError(f"choice: cannot choose {count} of {n}" + (" without replacement" if n else ""))
    weights = None
    if p is not None:
        p = p if isinstance(p, Tracer) else np.asarray(p)
        if shape_of(p) != (n,):
            raise AttributeSpecError(f"choice: p has the shape {shape_of(p)}, not {(n,)}")
        weights = log(parameter("choice", "p", p, NOT_NEGATIVE, p.dtype if is_float(p.dtype) else F32))
    if replace:
        places = randint(key, shape, 0, n, I64) if weights is None else categorical(key, weights, shape=shape)
    elif weights is None:
        places = permutation(key, n)[:count].reshape(shape)
    else:
        scores = add(weights, gumbel(key, (n,), weights.dtype))
        places = _sorted(-scores)[:count].reshape(shape)
    return places if isinstance(a, int) else take(a, places, at)


def _sorted(x: Array) -> Array:
    """i64[n]: the places of the numbers in increasing order."""
    if isinstance(x, np.ndarray):
        return np.argsort(x, kind="stable")
    (n,) = x.shape
    ranks = broadcast_to(_ranks(x).reshape(1, n), (n, n))
    row, column = (creation.iota(shape=(n, n), dtype=I64, axis=axis) for axis in (0, 1))
    return sum(where(equal(ranks, row), column, as_tensor(0, I64)), axis=1)
