"""Random orders and choices."""

from __future__ import annotations

import math

import numpy as np

from tgc.errors import AttributeSpecError
from tgc.numpy.base import Array, ArrayLike, as_array, axis_of, sizes
from tgc.numpy.elementwise import log
from tgc.numpy.indexing import take
from tgc.numpy.sorting import argsort
from tgc.ops.arithmetic import add, shape_of
from tgc.random.continuous import gumbel
from tgc.random.discrete import categorical, randint
from tgc.random.draws import NOT_NEGATIVE, parameter
from tgc.random.keys import Size, bits
from tgc.trace import Tracer
from tgc.types import F32, I64, is_float

__all__ = ["choice", "permutation", "shuffle"]


def permutation(key: Array, x: int | ArrayLike, axis: int = 0) -> Array:
    """The numbers 0 .. x-1 (int64), or the slices of a tensor along `axis`, in random order."""
    if isinstance(x, int):
        return argsort(bits(key, x))
    x = as_array(x)
    at = axis_of("permutation", x, axis)
    return take(x, argsort(bits(key, x.shape[at])), at)


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
        places = argsort(-scores)[:count].reshape(shape)
    return places if isinstance(a, int) else take(a, places, at)
