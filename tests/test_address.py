"""Addresses of arrays agree with NumPy's own account of them."""

import numpy as np
import pytest

from tgc.runtime.address import address_of

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
