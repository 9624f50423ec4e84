"""Functions of `tgc.numpy` beyond its core, from one table: against NumPy, eager and traced; and compiled together."""

# ruff: noqa: E501 (a table: one function a row)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest
from gradients import check_gradients
from traced import both, graph_of

import tgc
import tgc.numpy as tnp
from tgc.errors import AttributeSpecError, ConcretizationError, DTypeError, NoElementError, ShapeError
from tgc.interpret import interpret
from tgc.trace import trace
from tgc.types import tensor_type

RNG = np.random.default_rng(0)
F = RNG.uniform(-3, 3, (3, 4))
V, W, P = F[0], F[1], np.abs(F[2]) + 0.5
S = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e-320, 2.2e-308, 4.5e-308, 1.7e308, 5e-324])
N = np.where(RNG.uniform(size=(3, 4)) > 0.3, F, np.nan)
A, B = RNG.integers(-40, 40, (3, 4)), RNG.integers(-9, 9, 4)
M = RNG.uniform(size=(3, 4)) > 0.5
Q = np.array([0, 0.1, 0.125, 0.25, 0.3, 0.375, 0.5, 0.625, 0.75, 0.8, 0.875, 1])
T = np.sort(RNG.uniform(-3, 3, 6))
X = RNG.uniform(-1, 1, (3, 4, 5))
C = np.stack([F[0], F[1]])

# Name: argument tuples, each with keywords as a last dict if it has any.
TABLE: dict[str, list[tuple[Any, ...]]] = {
    # elementwise
    "cbrt": [(F,), (S,)], "fabs": [(F,), (S,)], "sinc": [(F,), (np.zeros(2),)], "i0": [(F * 9,), (np.float32([0, 8, -8.5, 80]),)],
    "unwrap": [(F * 5,), (F * 5, {"axis": 0, "discont": 4.0}), (A, {"period": 7}), (A, {"period": 6}), (F[:0], {"axis": 0}), (A,)], "fix": [(F,), (S,)],
    "isposinf": [(S,)], "isneginf": [(S,)], "signbit": [(S,), (A,)], "copysign": [(S, S[::-1]), (F, -1.0)],
    "nextafter": [(S[:, None], S), (np.float32([[0], [-1], [1e-40], [2e-38], [3e38], [np.nan], [np.inf]]), np.float32([0, 1, np.inf, -np.inf]))],
    "spacing": [(S,), (F,)], "frexp": [(S,), (F,), (np.float32([3, 1e-45, 1e38]),)], "modf": [(F,), (S,)],
    "ldexp": [(F, B), (S, 3), (1.0, np.array([-1074, 1023, 2000, -2000]))], "logaddexp2": [(F, V)],
    "float_power": [(np.abs(F), V)], "divmod": [(F, V), (A, 7)], "gcd": [(A, B), (A, 6)], "lcm": [(A, B)],
    "bitwise_count": [(A,), (A.astype(np.int32),), (np.uint32([0, 1, 2**32 - 1]),)],
    "round": [(F, 1), (A, -1), (np.array([15, 25, -15, -25, 4]), {"decimals": -1})],
    "clip": [(F, V, None), (F, {"min": -1, "max": W}), (F, {"a_min": -1.0, "a_max": 1.0})],
    # reductions
    "ptp": [(F,), (F, {"axis": 1, "keepdims": True})],
    "sum": [(F, {"where": M, "axis": 0}), (A, {"initial": 5, "axis": 1})],
    "prod": [(F, {"where": M}), (F, {"initial": 2.0, "axis": 0, "keepdims": True})],
    "max": [(F, {"initial": 1.0, "axis": 0}), (F, {"where": M, "initial": -1.0, "axis": 1}), (F[:0], {"initial": 3.0})],
    "min": [(A, {"initial": 1, "axis": 0}), (F, {"where": M, "initial": 9.0}), (F[:0], {"initial": 3.0, "axis": 0})],
    "any": [(M, {"where": F > 0, "axis": 0})], "all": [(M, {"where": F > 0, "axis": 0})],
    "mean": [(F, {"where": F > -2, "axis": 0})], "std": [(F, {"where": F > -2, "axis": 0}), (F, {"correction": 1})],
    "var": [(F, {"where": F > -2, "axis": 1, "ddof": 1}), (F, {"axis": 0, "correction": 1.5})],
    "array_equal": [(F, F), (F, V), (N, N, True)], "array_equiv": [(F, F), (F, np.zeros(3)), (np.ones((2, 4)), np.ones(4))],
    **{f"nan{n}": [(N,), (N, {"axis": 0, "keepdims": True}), (A, {"axis": 1})]
       for n in ("sum", "prod", "mean", "var", "std", "max", "min")},
    "nanargmax": [(N,), (N, {"axis": 1})], "nanargmin": [(N,), (N, {"axis": 1})],
    "average": [(F,), (F, {"axis": 1, "weights": P}), (F, {"weights": np.abs(F), "returned": True})],
    "cov": [(F,), (V, W), (F, {"rowvar": False, "bias": True}), (F, {"fweights": np.array([1, 2, 3, 1])}),
            (F, {"aweights": P, "fweights": np.array([1, 2, 3, 1])}), (V,)],
    "corrcoef": [(F,), (V, W)], "bincount": [(np.abs(B),), (np.abs(B), {"weights": V, "minlength": 12})],
    "histogram": [(F,), (F, 4, (-1, 2)), (F, T), (F, {"density": True, "bins": 3}), (A, {"bins": 3, "weights": F})],
    "histogram2d": [(V, W), (V, W, 3, ((-2, 2), (-1, 1))), (V, W, [2, T], {"density": True}), (F[:, 0], F[:, 1], T, {"weights": F[:, 2]})],
    "histogram_bin_edges": [(F, 5)], "digitize": [(F, T), (F, T[::-1], True), (F, T[::-1]), (N, T), (A, B[:1])],
    **{n: [(F,), (N,), (F, {"axis": 1, "keepdims": True}), (N, {"axis": 0}), (A, {"axis": (0, 1)})] for n in ("median", "nanmedian")},
    **{n: [(N, 0.3), (N, np.array([[0.0, 0.25], [0.5, 1.0]]), {"axis": 1}), (F, [0.1, 0.9], {"axis": 0, "keepdims": True}),
           *((F, 0.37, {"axis": 1, "method": m}) for m in ("lower", "higher", "nearest", "midpoint", "hazen", "weibull",
             "median_unbiased", "normal_unbiased", "interpolated_inverted_cdf")), (A, 0.5),
           *((x, Q, {"axis": 1, "method": m}) for x in (F, N, X[0, :, :1]) for m in ("inverted_cdf", "averaged_inverted_cdf", "closest_observation"))] for n in ("quantile", "nanquantile")},
    "percentile": [(F, 30, {"axis": 1}), (F.astype(np.float32), 75.0)], "nanpercentile": [(N, [10, 90], {"axis": 1})],
    # arranging
    "unstack": [(F,), (F, {"axis": -1})], "rot90": [*((X, k) for k in range(4)), (X, 1, (2, 0))],
    "atleast_3d": [(1.0,), (V,), (F,), (X,)], "rollaxis": [(X, 2), (X, 0, 3), (X, 1, -1)],
    "flipud": [(F,)], "fliplr": [(F,)], "vsplit": [(F, 3)], "hsplit": [(F, 2), (V, [1])], "dsplit": [(X, 5)],
    "append": [(F, V), (F, C, 0)], "delete": [(F, 1, 0), (F, [0, -1], 1), (F, slice(1, 3), 1), (F, 5), (F, M[0], 1)],
    "insert": [(F, 1, V, 0), (F, [0, 4], 7.0, 1), (F, 2, 3.0), (F, [1, 1, 3], F[:, :3], 1), (F, 1, [1.0, 2, 3], 1),
               (V, [-1, 0], [8.0, 9.0])],
    "resize": [(F, (2, 3)), (V, (3, 5)), (V, (0, 2))], "diagflat": [(C,), (V, -1)],
    "kron": [(F, C), (V, F), (2.0, F), (X, V)], "column_stack": [((V, F.T),)], "dstack": [((F, F),), ((V, W),)],
    "block": [([[C, C], [V, W]],), ([V, 1.0],)], "repeat": [(F, [1, 0, 2], {"axis": 0}), (V, np.array([2]))],
    "pad": [*((F, ((2, 1), (0, 3)), {"mode": mode}) for mode in ("maximum", "minimum", "mean", "median", "linear_ramp")),
            (F, 2, {"mode": "reflect", "reflect_type": "odd"}), (F, 3, {"mode": "symmetric", "reflect_type": "odd"}),
            (F, 1, {"mode": "linear_ramp", "end_values": ((1, 2), (3, 4))}), (F, 2, {"mode": "mean", "stat_length": 2}),
            (F, 2, {"mode": "maximum", "stat_length": ((1, 2), (2, 1))}),
            (F, 1, {"constant_values": ((1, 2), (3, 4))}), (A, 2, {"mode": "mean"})],
    # searching
    "nonzero": [(M,)], "argwhere": [(M,)], "flatnonzero": [(M,)], "extract": [(M, F)], "compress": [([0, 1, 1], F, 0)],
    "select": [([F > 1, F > 0], [F, -F], 9.0), ([M], [A])], "piecewise": [(F, [F < 0, F > 1], [-1.0, lambda x: x * 2, 3.0])],
    "choose": [(M.astype(int), (F, V)), (A, (F, V, W), {"mode": "wrap"}), (A, (F, V), {"mode": "clip"})],
    "isin": [(A, B), (A, B, {"invert": True})], "union1d": [(A, B)], "intersect1d": [(A, B)], "setdiff1d": [(A, B)],
    "setxor1d": [(A, B)],
    "packbits": [(M,), (M, 0), (A, {"axis": 1, "bitorder": "little"}), (RNG.integers(0, 2, 19),), (M[:0], 0)],
    "unpackbits": [(A.astype(np.uint8),), *((A.astype(np.uint8), 1, n, "little") for n in (None, 5, -7, 40, 0)), (A.astype(np.uint8), 0, 9)],
    # calculus and polynomials
    "diff": [(F,), (F, 2, 0), (M,), (F, {"prepend": 0.0, "append": C[:, :1].repeat(2, 0)[:3]}), (V, 9)],
    "ediff1d": [(F,), (F, [1.0, 2.0], 3.0)], "trapezoid": [(F,), (F, V), (F, {"dx": 0.5, "axis": 0}), (A,)],
    "gradient": [(F,), (F, 0.5), (V, T[:4]), (F, {"axis": 1, "edge_order": 2}), (F, [0.0, 1, 3], 2.0)],
    "interp": [(F, T, RNG.uniform(size=6)), (F, T, T**2, -1.0, 9.0), (S, T, T), (F, T[::-1], T, {"period": 2.0})],
    "convolve": [(V, W, m) for m in ("full", "same", "valid")] + [(V, T), (T, V, "same"), (A[0], B)],
    "correlate": [(T, V, m) for m in ("full", "same", "valid")] + [(V, T, m) for m in ("full", "same", "valid")],
    "polyval": [(V, F), (B, 2.0)], "polyadd": [(V, T)], "polysub": [(V, T)], "polymul": [(V, T)],
    "polyfit": [(V, W, 2), (V, F.T, 1), (T, np.cos(T), 3, {"w": P.repeat(2)[:6]}), (B, A[0], 1), (V, W, 0)],
    "polyder": [(T,), (T, 3)], "polyint": [(V,), (V, 2, [1.0, 2.0])],
    "vander": [(V,), (V, 3), (V, {"increasing": True}), (B, 3)],
    # grids
    "indices": [((2, 3),), ((2, 3), {"sparse": True})], "ix_": [(B, B[:2])], "tril_indices": [(3, 1)],
    "triu_indices": [(3, -1, 4)], "diag_indices": [(3,)], "tril_indices_from": [(F,)], "triu_indices_from": [(F, 1)],
    "diag_indices_from": [(np.zeros((2, 2)),)], "unravel_index": [(np.array([0, 7, 11]), (3, 4))],
    "ravel_multi_index": [((np.array([0, 2]), np.array([1, 3])), (3, 4)), ((A[0], B), (3, 4), {"mode": "wrap"}),
                          ((A[0], B), (3, 4), {"mode": "clip"})],
    # creation
    "logspace": [(0, 2, 5), (1, 3, {"base": 2.0, "endpoint": False})], "geomspace": [(1, 1000, 4), (-1.0, -8.0, 4)],
    "linspace": [(V, W, 3), (V, W, 3, {"axis": 1}), (0, 1, 4, {"retstep": True})],
    **{n: [(7,)] for n in ("bartlett", "blackman", "hamming", "hanning")}, "kaiser": [(7, 5.0)],
    # products
    "cross": [(X[0, :3, :3], X[1, :3, :3]), (X[0, 0, :3], X[0, :, :3]), (C[:, :3], V[:3]), (X[:, 0, :3], X[:, 1, :3], {"axis": 0})],
    "matvec": [(X, RNG.uniform(size=5))], "vecmat": [(V, X)],
}  # fmt: skip
# What depends on numbers, and what needs no tensors at all, is not traced.
CONCRETE = {"nonzero", "argwhere", "flatnonzero", "extract", "compress", "union1d", "intersect1d", "setdiff1d", "setxor1d",
            "bincount", "tril_indices", "triu_indices"}  # fmt: skip
SIZES = {"repeat": (1,), "delete": (1,), "insert": (1,)}  # operands that are static


def calls() -> list[Any]:
    return [pytest.param(name, args, id=f"{name}-{i}") for name, rows in TABLE.items() for i, args in enumerate(rows)]


def split(name: str, args: tuple[Any, ...]) -> tuple[list[np.ndarray], Callable[..., Any]]:
    """The arrays among the arguments, and the call as a function of a namespace and these arrays."""
    attrs = args[-1] if isinstance(args[-1], dict) else {}
    given = args[: len(args) - bool(attrs)]
    static = SIZES.get(name, ())
    given = tuple((x.tolist() if k in static and isinstance(x, np.ndarray) else x) for k, x in enumerate(given))
    leaves, structure = optree.tree_flatten((given, attrs), none_is_leaf=True)  # type: ignore[arg-type]
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray)]

    def call(namespace: Any, *arrays: Any) -> Any:
        full = list(leaves)
        for i, a in zip(places, arrays, strict=True):
            full[i] = a
        positional, named = optree.tree_unflatten(structure, full)
        return getattr(namespace, name)(*positional, **named)

    return [leaves[i] for i in places], call


def close(got: Any, want: Any) -> None:
    want = np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    rounding = 0 if want.dtype.kind in "biu" else 1e-6 if want.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(got, want, rtol=rounding, atol=rounding if rounding > 1e-9 else 1e-13)


@pytest.mark.parametrize(("name", "args"), calls())
@pytest.mark.filterwarnings("ignore")  # of NumPy, about NaN and overflow
def test_against_numpy(name: str, args: tuple[Any, ...]) -> None:
    arrays, call = split(name, args)
    want = call(np, *arrays)
    if name in CONCRETE:
        out = call(tnp, *arrays)
        got = list(out) if isinstance(out, list | tuple) else [out]
    else:
        got = both(lambda *xs: call(tnp, *xs), *arrays)
    wanted = list(want) if isinstance(want, list | tuple) else [want]
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        close(g, w)


@pytest.mark.filterwarnings("ignore")  # of NumPy, about NaN and overflow
def test_compiled() -> None:
    """Some of the rows, in one program."""
    rows = [
        (n, TABLE[n][0]) for n in ("cbrt", "copysign", "nextafter", "gcd", "lcm", "bitwise_count", "interp", "choose")
    ]
    parts = [split(name, args) for name, args in rows]

    def f(*groups: Any) -> list[Any]:
        return [call(tnp, *arrays) for (_, call), arrays in zip(parts, groups, strict=True)]

    for got, (arrays, call) in zip(tgc.jit(f)(*(arrays for arrays, _ in parts)), parts, strict=True):
        close(got, call(np, *arrays))


GRADIENTS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "cbrt": (tnp.cbrt, (P,)),
    "copysign": (lambda x: tnp.copysign(x, -W), (V,)),
    "sinc": (tnp.sinc, (F,)),
    "var where": (lambda x: tnp.var(x, 0, where=F > -2), (F,)),
    "nanmean": (lambda x: tnp.nanmean(tnp.where(M, x, np.nan), 1), (F,)),
    "cov": (tnp.cov, (F,)),
    "corrcoef": (tnp.corrcoef, (F,)),
    "median": (lambda x: tnp.median(x, 1), (F,)),
    "quantile": (lambda x: tnp.quantile(x, 0.3, 0), (F,)),
    "interp": (lambda x, y: tnp.interp(x, T, y), (V, T**2)),
    "convolve": (tnp.convolve, (V, T)),
    "gradient": (lambda x: tnp.gradient(x, axis=1, edge_order=2), (F,)),
    "trapezoid": (tnp.trapezoid, (F, V)),
    "polyval": (tnp.polyval, (V, F)),
    "polyfit": (lambda x, y: tnp.polyfit(x, y, 2), (V, W)),
    "polydiv": (lambda x, y: tnp.concatenate(tnp.polydiv(x, y)), (T, V)),
    "closest_observation": (lambda x: tnp.quantile(x, 0.3, 0, method="closest_observation"), (F,)),
    "apply_along_axis": (lambda x: tnp.apply_along_axis(tnp.cumprod, 0, x), (F,)),
    "kron": (tnp.kron, (F, C)),
    "cross": (tnp.cross, (F[:, :3], C[0, :3])),
    "pad": (lambda x: tnp.pad(x, 2, mode="reflect", reflect_type="odd"), (F,)),
    "insert": (lambda x, y: tnp.insert(x, 1, y, 0), (F, V)),
}


@pytest.mark.parametrize(("f", "arrays"), GRADIENTS.values(), ids=GRADIENTS)
def test_gradients(f: Callable[..., Any], arrays: tuple[np.ndarray, ...]) -> None:
    check_gradients(f, *arrays)


def counted(namespace: Any, points: Any, **kwargs: Any) -> list[Any]:
    counts, edges = namespace.histogramdd(points, **kwargs)
    return [counts, *edges]


@pytest.mark.parametrize(
    "kwargs", [{}, {"bins": 2, "density": True}, {"bins": (2, 3, 4), "range": (None, (-1, 1), (0, 0.5)), "weights": T}]
)
def test_histogramdd(kwargs: dict[str, Any]) -> None:
    points = RNG.uniform(-1, 1, (6, 3))
    for got, want in zip(both(lambda x: counted(tnp, x, **kwargs), points), counted(np, points, **kwargs), strict=True):
        close(got, want)
    separate = both(lambda *xs: counted(tnp, xs, **kwargs), *points.T)
    close(separate[0], counted(np, points, **kwargs)[0])


def test_polydiv() -> None:
    for u, v in ((T, V), (V, T), (T, T[:1]), (np.array([1, 5, 6, 1]), np.array([2, 4]))):
        quotient, rest = both(tnp.polydiv, u, v)
        want = np.polydiv(u, v)
        close(quotient, want[0])
        assert len(rest) == max(min(len(u), len(v) - 1), 1)
        np.testing.assert_allclose(rest[len(rest) - len(want[1]) :], want[1], atol=1e-13)


def test_roots() -> None:
    for p in ([1.0, -6, 11, -6], [0.0, 0, 2, 0, 8, 0, 0], [3.0], [0.0], [5, 1], [1j, 2, 3]):
        want = np.roots(p).astype(complex)
        got = tnp.roots(np.array(p))
        np.testing.assert_allclose(np.sort_complex(got), np.sort_complex(want), atol=1e-12)
    (got,) = both(lambda p: tnp.roots(p, strip_zeros=False), np.array([1.0, -6, 11, -6]))
    np.testing.assert_allclose(np.sort_complex(got), [1, 2, 3], atol=1e-12)
    with pytest.raises(ConcretizationError, match="give strip_zeros=False"):
        trace(lambda p: [tnp.roots(p)], [tensor_type("f32", (3,))])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["mean", "sort", "diag"])
def test_apply_along_axis(name: str, axis: int) -> None:
    (got,) = both(lambda x: tnp.apply_along_axis(getattr(tnp, name), axis, x), X)
    close(got, np.apply_along_axis(getattr(np, name), axis, X))


def test_apply_along_axis_of_a_function_that_ignores_its_argument() -> None:
    (got,) = both(lambda x: tnp.apply_along_axis(lambda v, k: np.arange(k), 0, x, 2), F)
    close(got, np.apply_along_axis(lambda v: np.arange(2), 0, F))


def test_axes_and_sizes_are_integers_of_any_kind() -> None:
    one, both_axes = np.int64(1), np.array([0, 1])
    close(tnp.expand_dims(F, one), F[:, None])
    close(tnp.expand_dims(F, both_axes), F[None, None])
    close(tnp.moveaxis(X, one, np.int8(0)), np.moveaxis(X, 1, 0))
    close(tnp.reshape(F, np.array([2, -1])), F.reshape(2, 6))
    close(tnp.roll(F, one, one), np.roll(F, 1, 1))
    close(tnp.sum(X, both_axes), X.sum((0, 1)))
    close(tnp.stack([F, F], one), np.stack([F, F], 1))


def test_cross_products_of_two_components() -> None:
    flat, full = F[:, :2], X[0, :3, :3]
    padded = np.pad(flat, ((0, 0), (0, 1)))
    close(both(tnp.cross, flat, full)[0], np.cross(padded, full))
    close(both(tnp.cross, full, flat)[0], np.cross(full, padded))
    close(both(tnp.cross, flat, V[:2])[0], np.cross(padded, [*V[:2], 0])[:, 2])


@pytest.mark.parametrize(
    ("name", "signature", "arrays"),
    [
        ("add", None, (F, V)), ("hypot", "(),()->()", (F, V)), ("trace", "(m,m)->()", (X[:, :3, :3],)),
        ("matmul", "(m, n),(n)->(m)", (X, X[0, 0])), ("modf", None, (F,)), ("diag", "(m,m)->(m)", (F[:, :3],)),
    ],
)  # fmt: skip
def test_vectorize(name: str, signature: str | None, arrays: tuple[np.ndarray, ...]) -> None:
    got = both(tnp.vectorize(getattr(tnp, name), signature=signature), *arrays)
    want = np.vectorize(getattr(np, name), signature=signature)(*arrays)
    for a, b in zip(got, want if isinstance(want, tuple) else [want], strict=True):
        close(a, b)


def test_vectorize_hands_on_what_is_excluded() -> None:
    power = tnp.vectorize(lambda x, by, plus=0.0: x**by + plus, excluded={1, "plus"})
    close(both(lambda x: power(x, 2, plus=1.0), F)[0], F**2 + 1)
    with pytest.raises(AttributeSpecError, match="not one of 1 operands"):
        trace(lambda x: [tnp.vectorize(tnp.add, signature="(),()->()")(x)], [tensor_type("f32", (3,))])


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.complex128, np.int64, np.float16])
def test_view(dtype: Any) -> None:
    x = np.arange(16.0).reshape(2, 8)
    got, back = both(lambda x: (tnp.view(x, dtype), tnp.view(tnp.view(x, dtype), np.float64)), x)
    np.testing.assert_array_equal(got, x.view(dtype))
    np.testing.assert_array_equal(back, x)


def test_places_of_elements_that_are_all_nan() -> None:
    x = np.array([[np.nan, 2, 3], [np.nan] * 3])
    for function in (tnp.nanargmax, tnp.nanargmin):
        with pytest.raises(NoElementError, match=r"nanarg.*\(f64\[2,3\]\): all elements along axis 1 are NaN"):
            function(x, axis=1)
        assert list(interpret(graph_of(lambda x, f=function: f(x, axis=1), x), x)[0])[1] == -1


def test_sizes_of_tracers() -> None:
    for size in (3, 20):
        (got,) = both(lambda x, size=size: tnp.flatnonzero(x, size=size, fill_value=-1), M)
        want = np.flatnonzero(M)[:size]
        np.testing.assert_array_equal(got, np.pad(want, (0, size - len(want)), constant_values=-1))
    (got,) = both(lambda x: tnp.argwhere(x, size=2), M)
    np.testing.assert_array_equal(got, np.argwhere(M)[:2])
    (got,) = both(lambda x: tnp.bincount(x, length=3), np.array([0, 2, 2, 7]))
    np.testing.assert_array_equal(got, [1, 0, 2])


def test_data_dependent_shapes_are_refused() -> None:
    for name in ("nonzero", "flatnonzero", "argwhere"):
        with pytest.raises(ConcretizationError, match=f"{name}.*give `size`"):
            trace(lambda x, name=name: [getattr(tnp, name)(x)], [tensor_type("f32", (3,))])
    for name in ("union1d", "intersect1d", "setdiff1d", "setxor1d"):
        with pytest.raises(ConcretizationError, match=f"{name}.*call it outside of jit"):
            trace(lambda x, name=name: [getattr(tnp, name)(x, x)], [tensor_type("f32", (3,))])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tnp.gcd(F, F), DTypeError, "gcd.*needs integers"),
        (lambda: tnp.ldexp(F, F), DTypeError, "exponents must be integers"),
        (lambda: tnp.max(F, where=M), AttributeSpecError, "needs `initial`"),
        (lambda: tnp.sum(F, where=A), DTypeError, "must be boolean"),
        (lambda: tnp.quantile(F, 0.5, method="middle"), AttributeSpecError, "'middle' is not supported"),
        (lambda: tnp.average(F, weights=V[:3], axis=1), ShapeError, "weights have neither"),
        (lambda: tnp.cross(V, V), ShapeError, "three components"),
        (lambda: tnp.vectorize(tnp.trace, signature="(d,d->()"), AttributeSpecError, "is no signature"),
        (lambda: tnp.view(V[:3].astype(np.float32), np.float64), ShapeError, "whole elements of float64"),
        (lambda: tnp.zeros(3, device="gpu"), AttributeSpecError, "no device 'gpu'"),
        (lambda: tnp.isdtype(np.float32, "real"), AttributeSpecError, "is no kind"),
        (lambda: tnp.delete(F, 7, 0), ShapeError, "out of bounds"),
        (lambda: tnp.interp(V, T, V), ShapeError, "vectors of one size"),
        (lambda: tnp.packbits(F), DTypeError, r"packbits\(f64\[3,4\]\) needs integers or booleans"),
        (lambda: tnp.packbits(A, bitorder="middle"), AttributeSpecError, "'middle' is neither"),
        (lambda: tnp.unpackbits(A), DTypeError, "needs uint8"),
        (lambda: tnp.unpackbits(M.view(np.uint8), count=-97), AttributeSpecError, "leaves out more than 96 bits"),
        (lambda: tnp.apply_along_axis(tnp.sum, 0, F[:, :0]), ShapeError, "no vectors along axis 0"),
        (lambda: tnp.apply_along_axis(tnp.sum, 2, F), ShapeError, "out of bounds"),
        (lambda: tnp.polyfit(V, T, 1), ShapeError, "as many values"),
        (lambda: tnp.polyfit(V, V, -1), AttributeSpecError, "degree is negative"),
        (lambda: tnp.polydiv(V, []), ShapeError, "at least one coefficient"),
        (lambda: tnp.histogramdd(V), ShapeError, "or D vectors"),
        (lambda: tnp.histogramdd(F, weights=V), ShapeError, "one weight a point"),
        (lambda: tnp.histogram2d(V, W, [2, 3], [None]), AttributeSpecError, "1 ranges for 2 axes"),
        (lambda: tnp.select([], []), AttributeSpecError, "0 conditions"),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
