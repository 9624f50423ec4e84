"""Addresses of arrays agree with NumPy's own account of them."""

from typing import Any

import numpy as np
import pytest

import tgc
from tgc.runtime.address import address_of
from tgc.runtime.lowered import Lowered

READ_ONLY = np.arange(3.0)
READ_ONLY.setflags(write=False)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3, np.float32),
        np.zeros((4, 5))[1:, ::2],
        np.zeros((4, 5))[::-1],
        np.zeros((0, 3)),
        np.array(1.5),
        np.zeros(3, ">f4"),
        np.frombuffer(bytearray(9), np.int32, 2, offset=1),
        READ_ONLY,
    ],
)
def test_an_address_is_that_of_the_first_element(array: np.ndarray) -> None:
    assert address_of(array) == array.ctypes.data == array.__array_interface__["data"][0]


@pytest.mark.parametrize("other", [np.float32(1.5), 1.5, memoryview(b"abc")])
def test_what_is_no_array_has_no_address(other: Any) -> None:
    with pytest.raises(TypeError, match="is no array"):
        address_of(other)


def test_programs_take_scalars_of_numpy() -> None:
    program = Lowered(tgc.jit(lambda x, y: x + y).lower(np.zeros(3), np.float64(0)).graph).compile()
    np.testing.assert_array_equal(program([np.arange(3.0), np.float64(2)])[0], [2, 3, 4])  # type: ignore[list-item]
