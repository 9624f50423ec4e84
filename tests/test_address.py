"""Addresses of arrays agree with NumPy's own account of them."""

from typing import Any

import numpy as np
import pytest

import tgc
from tgc.backends.cpu import planning as cpu_planning
from tgc.runtime.address import address_of, aligned
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


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 7)])
@pytest.mark.parametrize("dtype", [np.dtype("f4"), np.dtype("i1"), np.dtype("c16")], ids=str)
def test_aligned_arrays(shape: tuple[int, ...], dtype: np.dtype) -> None:
    size = int(np.prod(shape))
    source: np.ndarray = np.arange(size + 1).astype(dtype)[1:].reshape(shape)  # an element after a boundary
    copy = aligned(source, 64)
    assert address_of(copy) % 64 == 0
    assert copy.dtype == source.dtype
    np.testing.assert_array_equal(copy, source)
    assert aligned(copy, 64) is copy
    turned = aligned(source.T, 64)
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, source.T)


def test_constants_of_programs_are_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[np.ndarray] = []

    def recorded(array: np.ndarray, alignment: int) -> np.ndarray:
        kept.append(aligned(array, alignment))
        return kept[-1]

    monkeypatch.setattr(cpu_planning, "aligned", recorded)
    weights = np.arange(9, dtype=np.float32)[1:].reshape(2, 4)
    product = tgc.jit(lambda x: x @ weights)(np.ones((3, 2), np.float32))
    np.testing.assert_array_equal(product, np.ones((3, 2), np.float32) @ weights)
    assert kept
    assert all(address_of(array) % 64 == 0 for array in kept)
