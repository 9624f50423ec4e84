"""`tgc.numpy` of complex numbers against NumPy, eager and traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients
from test_numpy import compare, same
from traced import both, graph_of

import tgc
import tgc.numpy as tnp
from tgc.errors import DTypeError
from tgc.types import F8E5M2

RNG = np.random.default_rng(0)
Z = (RNG.uniform(-2, 2, (3, 4)) + 1j * RNG.uniform(-2, 2, (3, 4))).astype(np.complex64)
W = RNG.uniform(-2, 2, 4) + 1j * RNG.uniform(-2, 2, 4)
X = RNG.uniform(-2, 2, (3, 4))
I = RNG.integers(-3, 3, (3, 4))  # noqa: E741
SOME = np.arange(12).reshape(3, 4) % 5 > 0
PARTS = (0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan)
ODD = np.array([complex(x, y) for x in PARTS for y in PARTS])

UNARY = {
    "conj conjugate real imag angle iscomplex isreal": (Z, W, X, I, ODD),
    "isnan isinf isfinite nan_to_num": (Z, ODD),
    "exp expm1 log log10 log2 log1p sqrt": (Z, W),
    "sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh": (Z, W),
    "abs sign square reciprocal negative sinc rint logical_not round": (Z, W),
    "sum prod mean var std any all count_nonzero cumsum cumprod trace cov corrcoef": (Z,),
    "nansum nanmean ravel iscomplexobj isrealobj": (Z,),
}  # fmt: skip


@pytest.mark.parametrize(("name", "x"), [(n, x) for names, xs in UNARY.items() for n in names.split() for x in xs])
def test_unary(name: str, x: Any) -> None:
    if name.endswith("obj"):
        assert getattr(tnp, name)(x) == getattr(np, name)(x)
    else:
        compare(name, (x,))


BINARY = {
    "add subtract multiply divide power equal not_equal isclose": ((Z, W), (Z, X), (Z, 2j), (I, 1 + 2j), (Z, 2)),
    "vdot outer dot matmul": ((Z, Z.T),),
    "inner vecdot vecmat kron": ((Z, Z), (W, X)),
    "float_power": ((Z, 2),),
}


@pytest.mark.parametrize(
    ("name", "xs"), [(n, xs) for names, cases in BINARY.items() for n in names.split() for xs in cases]
)
def test_binary(name: str, xs: tuple[Any, Any]) -> None:
    compare(name, (xs[0], xs[1].T) if name == "vecmat" else xs)


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("angle", (Z,), {"deg": True}),
    ("round", (Z,), {"decimals": 2}),
    ("nan_to_num", (ODD,), {"nan": 3.0, "posinf": 1.0}),
    ("mean", (Z,), {"axis": 0, "where": SOME}),
    ("var", (Z,), {"axis": 1, "ddof": 1}),
    ("var", (Z,), {"axis": 0, "where": SOME}),
    ("std", (Z,), {"axis": 1, "keepdims": True}),
    ("average", (Z,), {"axis": 1, "weights": W}),
    ("cov", (Z,), {"aweights": np.arange(1.0, 5)}),
    ("where", (I > 0, Z, X), {}),
    ("linspace", (1 + 2j, 3.0), {"num": 5}),
    ("linspace", (Z, 3.0), {"num": 4, "axis": -1}),
    ("logspace", (0.5j, 1.0), {"num": 5}),
    ("gradient", (W,), {}),
    ("trapezoid", (W,), {}),
    ("pad", (W,), {"pad_width": 2, "mode": "linear_ramp"}),
]


@pytest.mark.parametrize(("name", "args", "attrs"), CALLS, ids=lambda v: v if isinstance(v, str) else "")
def test_call(name: str, args: tuple[Any, ...], attrs: dict[str, Any]) -> None:
    compare(name, args, **attrs)


AT_INFINITY = (
    "exp", "cosh", "tanh", "cos", "tan", "arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "sqrt", "log",
)  # fmt: skip


def test_kernels_agree_with_numpy_at_infinities_and_nan() -> None:
    got = tgc.jit(lambda z: [getattr(tnp, name)(z) for name in AT_INFINITY])(ODD)
    with np.errstate(all="ignore"):
        for name, g in zip(AT_INFINITY, got, strict=True):
            want = getattr(np, name)(ODD)
            np.testing.assert_allclose(g.real, want.real, rtol=1e-12, atol=1e-12, err_msg=name)
            np.testing.assert_allclose(g.imag, want.imag, rtol=1e-12, atol=1e-12, err_msg=name)


def test_attributes_of_tracers() -> None:
    got = both(lambda z, x: (z.real, z.imag, z.conj(), x.real, x.imag, x.conj()), Z, X)
    for g, w in zip(got, (Z.real, Z.imag, Z.conj(), X, 0 * X, X), strict=True):
        same(g, np.abs(w) if not w.any() else w)


REAL = [
    "floor", "ceil", "trunc", "cbrt", "fabs", "degrees", "radians", "isposinf", "isneginf", "signbit", "spacing",
    "frexp", "modf", "median",
]  # fmt: skip
REAL_TWO = [
    "floor_divide", "remainder", "maximum", "minimum", "arctan2", "hypot", "logaddexp", "heaviside", "copysign",
    "nextafter", "less",
]  # fmt: skip


@pytest.mark.parametrize("name", REAL + REAL_TWO)
def test_functions_of_real_numbers_refuse_complex_ones(name: str) -> None:
    with pytest.raises(DTypeError):
        getattr(tnp, name)(*[Z] * (1 if name in REAL else 2))


@pytest.mark.parametrize("f", [tnp.var, tnp.std, lambda z: tnp.real(tnp.vdot(z, z)), lambda z: tnp.sum(tnp.angle(z))])
def test_gradients(f: Any) -> None:
    check_gradients(lambda x, y: f(x + 1j * y), X, X[::-1] + 0.3)


def test_complex_values_do_not_fit_real_tensors() -> None:
    with pytest.raises(DTypeError, match="cannot take values of complex64"):
        graph_of(lambda x, z: x.at[0].set(z[0]), X, Z)


@pytest.mark.parametrize(
    "convert",
    [
        lambda z: tnp.astype(z, np.float32),
        lambda z: tnp.astype(z, F8E5M2),
        lambda z: tnp.asarray(z, dtype=np.int64),
    ],
)
def test_imaginary_parts_are_not_dropped(convert: Callable[[Any], Any]) -> None:
    z = np.ones(3, np.complex64)
    for f in (convert, tgc.jit(convert)):
        with pytest.raises(DTypeError, match="take real or abs"):
            f(z)
