"""`tgc.numpy.erf`, `erfc` and `erfinv` against Python's `math` and `statistics`, eager and traced, with gradients."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from gradients import check_gradients
from traced import both

import tgc
import tgc.numpy as tnp
from tgc.errors import DTypeError

ROUNDING = {np.float32: 4e-7, np.float64: 1e-13}


def inverse(y: float) -> float:
    """erfinv(y), by the distribution function of the tail, whose argument is exact."""
    return math.copysign(NormalDist().inv_cdf((1 - abs(y)) / 2) / math.sqrt(2), y)


@pytest.mark.parametrize("dtype", ROUNDING)
def test_values(dtype: type[np.floating]) -> None:
    x = np.linspace(-5, 9 if dtype is np.float32 else 26, 501).astype(dtype)
    for function, reference in ((tnp.erf, math.erf), (tnp.erfc, math.erfc)):
        (got,) = both(function, x)
        np.testing.assert_allclose(got, [reference(float(v)) for v in x], rtol=ROUNDING[dtype])
    steps = np.finfo(dtype).eps * 2.0 ** np.arange(-1, 20)
    y = np.concatenate([np.linspace(-0.99, 0.99, 99), 1 - steps, steps - 1]).astype(dtype)
    (got,) = both(tnp.erfinv, y)
    np.testing.assert_allclose(got, [inverse(float(v)) for v in y], rtol=ROUNDING[dtype], atol=1e-16)


def test_ends() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0])
    np.testing.assert_allclose(tnp.erfc(x), [0, 2, np.nan, 1], rtol=1e-15)
    np.testing.assert_array_equal(tnp.erf(x), [1, -1, np.nan, 0])
    np.testing.assert_array_equal(tnp.erfinv(np.array([1, -1, 1.5, np.nan, 0])), [np.inf, -np.inf, np.nan, np.nan, 0])


def test_gradients() -> None:
    x = np.array([-1.5, -0.3, 0.0, 0.4, 2.0])
    for function in (tnp.erf, tnp.erfc, lambda x: tnp.erfinv(x / 2.5)):
        check_gradients(function, x)
        check_gradients(tgc.grad(lambda x, f=function: f(x).sum()), x)


def test_dtypes() -> None:
    for function in (tnp.erf, tnp.erfc, tnp.erfinv):
        assert function(np.float16([0.5])).dtype == np.float16
        assert function(np.array([0])).dtype == np.float64
        with pytest.raises(DTypeError, match=f"{function.__name__}.*is not defined for complex numbers"):
            function(1j)
