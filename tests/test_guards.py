"""Padding: loops that are cut where it begins and ends, so that no element asks whether it is some."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_other_targets import launches
from test_passes import TARGET

import tgc
import tgc.numpy as tnp
from tgc.ops import movement

RNG = np.random.default_rng(3)


def padded(low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...] | None = None, value: int = 0) -> Any:
    attrs = {"low": low, "high": high, "interior": interior or (0,) * len(low), "value": value}
    return lambda x: movement.pad(x, **attrs)


PADDINGS: list[tuple[tuple[int, ...], Any]] = [
    ((2, 5, 6, 7), padded((0, 1, 1, 0), (0, 1, 1, 0))),
    ((2, 5, 6, 7), padded((0, 3, 0, 2), (0, 0, 4, 1), value=9)),
    ((3, 4, 5), padded((0, 0, 2), (0, 0, 7))),
    ((3, 4, 5), padded((1, 2, 0), (0, 1, 0))),
    ((3, 4, 5), padded((0, -1, 2), (0, -2, -3))),
    ((3, 4, 5), padded((0, 9, 1), (1, -6, 0))),
    ((3, 4, 5), padded((0, 1, 1), (0, 1, 1), (0, 1, 0), 4)),
    ((3, 4, 5), padded((0, 1, 1), (0, 1, 1), (0, 0, 2))),
    ((2, 1, 1, 3), padded((0, 4, 4, 0), (0, 4, 4, 0))),
    ((6, 4), padded((2, 1), (1, 2))),
]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("shape", "f"), PADDINGS)
def test_values(shape: tuple[int, ...], f: Any, dtype: Any) -> None:
    x = RNG.integers(1, 200, shape).astype(dtype)
    np.testing.assert_array_equal(tgc.jit(f)(x), f(x))


def test_what_is_computed_of_padded_values() -> None:
    """Before and behind, two paddings of one element, and one around the other."""
    x, y = (RNG.integers(1, 50, shape).astype(np.float32) for shape in ((2, 5, 6, 3), (2, 3, 8, 3)))
    a, b = padded((0, 1, 1, 0), (0, 1, 1, 0)), padded((0, 2, 0, 0), (0, 2, 0, 0), value=3)
    for f, args in (
        (lambda x: a(x * 2) + 1, (x,)),
        (lambda x, y: a(x) + b(y), (x, y)),
        (lambda x: padded((0, 2, 3, 0), (0, 1, 1, 0), value=7)(a(x) - 1), (x,)),
        (lambda x: a(tnp.transpose(x, (0, 2, 1, 3))), (x,)),
    ):
        np.testing.assert_array_equal(tgc.jit(f)(*args), np.asarray(f(*args)))


def test_rows_of_padded_images_are_copied_at_once() -> None:
    """Pixels of a row, and their channels, are one loop without a question."""
    f = tgc.jit(padded((0, 1, 1, 0), (0, 1, 1, 0)))
    (found,) = launches(f.lower(np.zeros((2, 20, 20, 64), np.uint8)), TARGET)
    lines = found.source.splitlines()
    (copy,) = (k for k, line in enumerate(lines) if "x0[" in line)
    assert " if " not in lines[copy]
    assert lines[copy - 1].strip() == "for i2_3 in range((i2_first * n_i3), (i2_end * n_i3)):"
    other = launches(f.lower(np.zeros((5, 9, 31, 16), np.uint8)), TARGET)
    assert [x.source for x in other] == [found.source]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float16, np.bool_])
@pytest.mark.parametrize("width", [16, 64, 150])
def test_few_channels_are_put_last_in_strips(width: int, dtype: Any) -> None:
    shape = (2, 3, 5, width)
    x = (RNG.integers(0, 2, shape) * RNG.integers(1, 99, shape)).astype(dtype)

    def f(x: Any) -> Any:
        last = tnp.transpose(tnp.where(x > 0, x, x + x), (0, 2, 3, 1))
        return last, padded((0, 1, 2, 0), (0, 0, 3, 0))(last), padded((0, 0, 0, 1), (0, 0, 0, 2))(last)

    for found, want in zip(tgc.jit(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(found, want)
    sources = [k.source for k in launches(tgc.jit(f).lower(x), TARGET)]
    assert any("strip[" in source for source in sources)
    assert any("strip[moved + 1024]" in source for source in sources)  # in their order, side by side
