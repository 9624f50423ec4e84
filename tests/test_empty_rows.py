"""Products of no rows with packed constants, and how work is divided where there is none."""

import numpy as np
import pytest

import tgc
from tgc.backends.loops.tiled import even


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_packed_constants_meet_any_number_of_rows(rows: int) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((40, 300), dtype=np.float32)
    x = rng.standard_normal((rows, 40), dtype=np.float32)
    product = tgc.jit(lambda x: x @ weights)(x)
    np.testing.assert_allclose(product, x @ weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("most", range(6))
def test_parts_are_nearly_equal_and_few(number: int, most: int) -> None:
    size = even(number, most)
    assert 1 <= size <= max(1, most)
    parts = -(-number // size)
    assert parts == -(-number // max(1, most))
