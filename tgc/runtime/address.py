"""Where arrays lie in memory, at a price that a call of a small program can pay."""

import ctypes

import numpy as np

# NumPy's array object (PyArrayObject in its C API) is the header of any object of the interpreter, then `char *data`.
_HEADER = object.__basicsize__
_Word = ctypes.c_size_t


def address_of(array: np.ndarray) -> int:
    """The address of an array's first element, which holds while the array is alive.

    `array.ctypes.data` and `array.__array_interface__` have it too, and take 1 us; this takes a fifth.

    Raises:
        TypeError: it is no array, and has no such address (scalars of NumPy are none).
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{array!r:.80} of type {type(array).__name__} is no array")
    return _Word.from_address(id(array) + _HEADER).value


def aligned(array: np.ndarray, alignment: int) -> np.ndarray:
    """The array, or a copy of it, contiguous and beginning at a multiple of `alignment` bytes; NumPy's own begin at 16.

    A vector register that is read or written across the end of a cache line costs two accesses.
    """
    if array.flags.c_contiguous and address_of(array) % alignment == 0:
        return array
    memory = np.empty(array.nbytes + alignment, np.uint8)
    copy: np.ndarray = np.ndarray(array.shape, array.dtype, memory, -address_of(memory) % alignment)
    copy[...] = array
    return copy
