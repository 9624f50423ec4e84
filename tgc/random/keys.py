"""Keys and random bits: the counter-based generator Philox4x32-10 (Salmon et al., SC 2011)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgc.errors import DTypeError
from tgc.numpy.base import Array, ArrayLike, as_array, refuse, sizes
from tgc.numpy.manipulation import stack
from tgc.ops import creation
from tgc.ops.arithmetic import as_tensor, bitwise_xor
from tgc.types import I64, INTS, U32

__all__ = ["bits", "fold_in", "key", "key_data", "split", "wrap_key_data"]

Size = int | Sequence[int]

_WORD = 2**32
_SPLIT = np.array([0x53504C49, 0x54544753], np.uint32)
_FOLD = np.array([0x464F4C44, 0x494E5447], np.uint32)


def _words(x: ArrayLike) -> Array:
    """u32[2]: the low and the high half of a 64-bit integer."""
    if isinstance(x, int):
        return np.array([x % _WORD, x // _WORD % _WORD], np.uint32)
    x = as_array(x)
    if x.dtype not in INTS or x.shape != ():
        raise DTypeError(f"a seed is one integer, got {x!r:.80}")
    wide = as_tensor(x, I64)
    return stack([as_tensor(wide & (_WORD - 1), U32), as_tensor(wide >> 32, U32)])


def checked(key: Array) -> Array:
    """A key, or ShapeError."""
    key = as_array(key)
    if key.dtype != U32 or key.shape != (2,):
        raise refuse("random", [key], "a key is u32[2], as made by tgc.random.key(seed)")
    return key


def key(seed: ArrayLike) -> Array:
    """u32[2]: the key of an integer, whose 64 bits it holds (low word first)."""
    return _words(seed)


def key_data(key: Array) -> Array:
    """u32[2]: the words of a key, to store it by; a key is an array of its own words."""
    return checked(key)


def wrap_key_data(data: ArrayLike) -> Array:
    """u32[2]: the key of the words that `key_data` returned."""
    return checked(data)


def bits(key: Array, shape: Size = ()) -> Array:
    """u32[shape]: word i (row-major) is word i % 4 of Philox block i // 4.

    Raises:
        ShapeError: `key` is no key.
    """
    return creation.random_bits(checked(key), shape=sizes(shape))


def split(key: Array, n: Size = 2) -> Array:
    """u32[*n, 2]: `n` new keys, or as many as a shape `n` has elements."""
    return bits(bitwise_xor(checked(key), _SPLIT), (*sizes(n), 2))


def fold_in(key: Array, data: ArrayLike) -> Array:
    """u32[2]: a new key for each integer `data`, such as the number of a step, a layer or a device."""
    mixed = bits(bitwise_xor(checked(key), _FOLD), 2)
    return bits(bitwise_xor(mixed, _words(data)), 2)
