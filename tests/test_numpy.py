"""`tgc.numpy` against NumPy, eager and traced."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from traced import both, graph_of

import tgc.numpy as tnp
from tgc.errors import AttributeSpecError, AxisError, DTypeError, OutOfRangeError, ShapeError
from tgc.interpret import interpret
from tgc.trace import trace
from tgc.types import tensor_type

RNG = np.random.default_rng(0)
F = RNG.uniform(-3, 3, (3, 4, 5)).astype(np.float32)
G = RNG.uniform(-3, 3, (4, 1)).astype(np.float32)
POSITIVE = np.abs(F) + 0.5
UNIT = F / 3.1
A, J = RNG.integers(-9, 9, (3, 4)).astype(np.int32), RNG.integers(1, 9, (3, 1)).astype(np.int64)
U, V = RNG.integers(0, 9, (3, 4)).astype(np.uint8), RNG.integers(0, 9, 4).astype(np.uint32)
SMALL, LONG = RNG.integers(-9, 9, (3, 4)).astype(np.int8), RNG.integers(0, 9, 4).astype(np.uint64)
B, C = A > 0, np.array([True, False, True, False])
HALF, BRAIN = F.astype(np.float16), F.astype(ml_dtypes.bfloat16)
ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.5, 0.5], np.float32)
M, N, K, S = (RNG.uniform(-1, 1, s) for s in ((2, 3, 4), (2, 4, 5), (4,), (3, 3)))
TOLERANCE = {
    np.dtype(np.float16): 2e-3, np.dtype(ml_dtypes.bfloat16): 1e-2, np.dtype(np.float32): 2e-6,
    np.dtype(np.complex64): 2e-6,
}  # fmt: skip


def same(got: Any, want: Any, dtype: Any = None) -> None:
    """Equal up to rounding, in shape and in dtype (NumPy's unless given)."""
    want = np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, np.dtype(dtype or want.dtype))
    tolerance = TOLERANCE.get(got.dtype, 1e-12)
    wide = complex if got.dtype.kind == "c" else float
    np.testing.assert_allclose(got.astype(wide), want.astype(wide), rtol=tolerance, atol=tolerance)


def compare(name: str, arrays: tuple[Any, ...], **attrs: Any) -> None:
    """One function, called alike in tgc and in NumPy."""
    with np.errstate(all="ignore"):
        want = getattr(np, name)(*arrays, **attrs)
        tensors = [x for x in arrays if isinstance(x, np.ndarray | np.generic)]  # Python numbers stay as they are

        def call(*xs: Any) -> Any:
            rest = iter(xs)
            given = (next(rest) if isinstance(x, np.ndarray | np.generic) else x for x in arrays)
            return getattr(tnp, name)(*given, **attrs)

        got = both(call, *map(np.asarray, tensors))
    wanted = want if isinstance(want, list | tuple) else [want]
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        same(g, w)


UNARY = {
    "exp exp2 expm1 sin cos tan sinh cosh tanh arcsinh arctan": (F, A, F.astype(float), HALF),
    "log log2 log10 log1p sqrt reciprocal": (POSITIVE, HALF * HALF + np.float16(0.5)),
    "arcsin arccos arctanh": (UNIT, 0.5, 0),
    "arccosh": (POSITIVE + 1,),
    "square abs sign negative": (F, A, ODD, -0.0),
    "floor ceil trunc rint isnan isinf isfinite": (F * 3, ODD, A, HALF),
    "floor ceil trunc isfinite logical_not": (U, B, 3),
    "degrees radians": (F, A),
    "round": (F, ODD, A),
    "invert": (A, U, B),
    "logical_not": (F, ODD, A, B),
    "nan_to_num": (ODD, A),
}


@pytest.mark.parametrize(("name", "x"), [(n, x) for names, xs in UNARY.items() for n in names.split() for x in xs])
def test_unary(name: str, x: Any) -> None:
    compare(name, (x,))


FLOATS = (
    (F, G),
    (F.astype(float), G),
    (ODD, ODD[:, None]),
    (A, F[0, :3, :4]),
    (HALF, F),
    (2.5, np.float32(2)),
    (SMALL, LONG),
)
INTS = ((A, J), (U, V), (A, U), (A, J.astype(np.uint32)), (B, A), (SMALL, U.astype(np.uint16)), (LONG, LONG + 1))
BINARY = {
    "add multiply maximum minimum subtract": FLOATS + INTS,
    "add multiply maximum minimum": ((B, C),),
    "divide hypot logaddexp arctan2 heaviside": (*FLOATS, (A, J)),
    "floor_divide remainder fmod": (*FLOATS[:4], *INTS[:4], (A, 0)),
    "equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor": (
        *FLOATS,
        *INTS,
        (B, C),
    ),
    "bitwise_and bitwise_or bitwise_xor": (*INTS, (B, C)),
    "left_shift right_shift": ((A, 3), (V, V % 5), (A, J)),
    "power": ((POSITIVE, F), (F, np.int64(3)), (U, U % 3), (ODD, ODD[:, None])),
    "fmax fmin isclose": FLOATS,
}


@pytest.mark.parametrize(
    ("name", "xs"), [(n, xs) for names, cases in BINARY.items() for n in names.split() for xs in cases]
)
def test_binary(name: str, xs: tuple[Any, Any]) -> None:
    compare(name, xs)


def test_fmod_of_the_least_integer() -> None:
    x, y = np.array([-128, -128, 127, -128], np.int8), np.array([3, -1, -7, 127], np.int8)
    compare("fmod", (x, y))


@pytest.mark.parametrize(
    ("f", "want"),
    [
        (lambda m, x: m.add(x, 1), np.float32),
        (lambda m, x: m.multiply(m.astype(x, np.int32), 2.5), np.float64),
        (lambda m, x: m.add(x, np.float64(1)), np.float64),
        (lambda m, x: m.where(m.greater(x, 0), x, 0), np.float32),
        (lambda m, x: m.power(x, 2), np.float32),
        (lambda m, x: m.clip(x, -1, 1), np.float32),
        (lambda m, x: m.add(m.greater(x, 0), 1), np.int64),
    ],
)
def test_python_numbers_are_weak(f: Callable[..., Any], want: Any) -> None:
    (got,) = both(lambda x: f(tnp, x), F)
    same(got, f(np, F), want)


def test_bfloat16_promotes() -> None:
    pairs = {np.float32: np.float32, np.float16: np.float32, np.int32: np.float64, np.uint8: ml_dtypes.bfloat16}
    for other, want in pairs.items():
        (got,) = both(tnp.add, BRAIN, np.ones(5, other))
        same(got, BRAIN.astype(np.float32) + 1, want)
    assert tnp.result_type(tnp.bfloat16, 1.0) == ml_dtypes.bfloat16
    assert (tnp.finfo(tnp.bfloat16).bits, tnp.finfo("f16").bits, tnp.iinfo(np.uint8).max) == (16, 16, 255)


@pytest.mark.parametrize("x", [A, U, V, SMALL, LONG, B, F, HALF, np.float64(2)])
@pytest.mark.parametrize("attrs", [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (), "keepdims": True}])
def test_reductions(x: Any, attrs: dict[str, Any]) -> None:
    if np.ndim(x) == 0 and "axis" in attrs:
        attrs = {**attrs, "axis": ()}
    for name in ("mean", "var", "std", "max", "min", "any", "all"):
        if attrs.get("axis") == () and np.asarray(x).dtype == bool and name in ("max", "min"):
            continue  # NumPy 2.4 gives an error
        if attrs.get("axis") == () and name in ("any", "all"):
            continue  # NumPy returns the operand's own elements
        with np.errstate(all="ignore"):
            compare(name, (x,), **attrs)
    for name in ("sum", "prod"):
        with np.errstate(all="ignore"):
            want = getattr(np, name)(x, **attrs)
        (got,) = both(lambda x: getattr(tnp, name)(x, **attrs), x)  # noqa: B023
        same(got, want, want.dtype)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_of_extremes(name: str) -> None:
    for x, attrs in (
        (F, {}),
        (F, {"axis": 1}),
        (A, {"axis": 0, "keepdims": True}),
        (B, {"axis": 1}),
        (ODD[1:], {}),
        (ODD, {}),
        (2.0, {}),
    ):
        compare(name, (x,), **attrs)


def test_reductions_more() -> None:
    compare("sum", (F,), axis=(0, 2), dtype=np.float64)
    compare("mean", (A,), dtype=np.float32)
    compare("var", (F,), axis=(1, 2), ddof=1, keepdims=True)
    compare("std", (F,), axis=0, ddof=1)
    compare("count_nonzero", (A,), axis=0)
    compare("allclose", (F, F + np.float32(1e-9)))
    compare("max", (ODD,))
    compare("sum", (np.zeros((0, 3)),), axis=0)
    compare("prod", (np.zeros((0, 3)),))
    big = np.full(5000, 100, np.float16)
    (mean,) = both(tnp.mean, big)
    assert mean == 100  # a sum in float16 would overflow
    with np.errstate(all="ignore"):
        assert np.isnan(both(lambda x: tnp.mean(x, 0), np.zeros((0, 2)))[0]).all()
        assert both(lambda x: tnp.var(x, ddof=3), np.ones(2) * [1, 2])[0] == np.inf


MANIPULATION: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("reshape", (F,), {"shape": (5, -1)}),
    ("reshape", (F,), {"shape": -1}),
    ("ravel", (F,), {}),
    ("ravel", (np.zeros((0, 2)),), {}),
    ("transpose", (F,), {}),
    ("transpose", (F,), {"axes": (1, -1, 0)}),
    ("permute_dims", (F,), {"axes": (2, 0, 1)}),
    ("matrix_transpose", (F,), {}),
    ("swapaxes", (F,), {"axis1": 0, "axis2": -1}),
    ("moveaxis", (F,), {"source": 0, "destination": -1}),
    ("moveaxis", (F,), {"source": (2, 0), "destination": (0, 1)}),
    ("expand_dims", (F,), {"axis": (0, -1)}),
    ("expand_dims", (F,), {"axis": 1}),
    ("squeeze", (F[:1, :, :1],), {}),
    ("squeeze", (F[:1, :, :1],), {"axis": -1}),
    ("atleast_1d", (2.0,), {}),
    ("atleast_2d", (K,), {}),
    ("broadcast_to", (G,), {"shape": (2, 4, 3)}),
    ("broadcast_to", (1.5,), {"shape": 3}),
    ("broadcast_arrays", (F, G, 1.0), {}),
    ("flip", (F,), {}),
    ("flip", (F,), {"axis": (0, -1)}),
    ("roll", (F,), {"shift": 7}),
    ("roll", (F,), {"shift": (1, -2), "axis": (0, 2)}),
    ("roll", (F,), {"shift": -1, "axis": 1}),
    ("tile", (F,), {"reps": 2}),
    ("tile", (K,), {"reps": (2, 1, 3)}),
    ("tile", (F,), {"reps": (2, 2)}),
    ("repeat", (F,), {"repeats": 3}),
    ("repeat", (F,), {"repeats": 2, "axis": 1}),
    ("repeat", (F,), {"repeats": 0, "axis": -1}),
    ("split", (F,), {"indices_or_sections": 2, "axis": 1}),
    ("split", (F,), {"indices_or_sections": [1, 3], "axis": -1}),
    ("array_split", (F,), {"indices_or_sections": 3, "axis": 2}),
    ("array_split", (K,), {"indices_or_sections": [2, 9]}),
    ("diagonal", (F,), {}),
    ("diagonal", (F,), {"offset": -1, "axis1": 2, "axis2": 1}),
    ("diagonal", (F,), {"offset": 2, "axis1": 1, "axis2": 2}),
    ("diagonal", (F,), {"offset": 9}),
    ("trace", (A,), {}),
    ("trace", (F,), {"offset": 1, "axis1": 2, "axis2": 0}),
    ("tril", (F,), {}),
    ("triu", (F,), {"k": -1}),
    ("tril", (B,), {"k": 1}),
    ("diag", (K,), {"k": 2}),
    ("diag", (K,), {"k": -1}),
    ("diag", (A,), {"k": 1}),
    ("pad", (F,), {"pad_width": 2}),
    ("pad", (A,), {"pad_width": ((1, 0), (0, 2)), "constant_values": 7}),
    *(("pad", (F,), {"pad_width": (2, 1), "mode": mode}) for mode in ("edge", "reflect", "symmetric", "wrap")),
    ("take", (F, A % 4), {"axis": 1}),
    ("take", (F, A), {"axis": 1, "mode": "wrap"}),
    ("take", (F, U), {"axis": -1, "mode": "clip"}),
    ("take", (F, V), {}),
    ("take_along_axis", (F, RNG.integers(-4, 4, (3, 6, 5))), {"axis": 1}),
    ("take_along_axis", (F, RNG.integers(0, 3, (2, 1, 5))), {"axis": 0}),
    ("take_along_axis", (F, RNG.integers(0, 60, 7)), {"axis": None}),
    ("clip", (F,), {"a_min": -1, "a_max": None}),
    ("clip", (F,), {"min": -1.5, "max": 2}),
    ("clip", (A,), {"a_min": 0, "a_max": 1.5}),
    ("round", (F,), {"decimals": 2}),
    ("round", (F * 100,), {"decimals": -1}),
    ("nan_to_num", (ODD,), {"nan": 2, "posinf": 3, "neginf": -3}),
    ("isclose", (ODD, ODD), {"equal_nan": True}),
    ("where", (B, A, 0.5), {}),
    ("where", (F, F, G), {}),
    ("where", (C, U, 7), {}),
    ("full_like", (F,), {"fill_value": 2}),
    ("ones_like", (F,), {"dtype": np.int32, "shape": (2,)}),
    ("zeros_like", (B,), {}),
]


@pytest.mark.parametrize(("name", "xs", "attrs"), MANIPULATION)
def test_manipulation(name: str, xs: tuple[Any, ...], attrs: dict[str, Any]) -> None:
    compare(name, xs, **attrs)


def test_joining() -> None:
    for name, parts, attrs in (
        ("concatenate", (F, F[:, :1]), {"axis": 1}),
        ("concatenate", (A, J), {"axis": None}),
        ("concatenate", (A, F[0, :3, :4]), {"axis": -2}),
        ("concatenate", (A, U), {"dtype": np.float32}),
        ("concat", (F, F), {}),
        ("stack", (F, F, F), {"axis": -1}),
        ("stack", (A, U), {}),
        ("vstack", (K, N[0, :, :4]), {}),
        ("hstack", (K, K[:2]), {}),
        ("hstack", (A, J), {}),
    ):
        (got,) = both(lambda *xs: getattr(tnp, name)(xs, **attrs), *parts)  # noqa: B023
        same(got, getattr(np, name)(parts, **attrs))


CREATION: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("zeros", ((2, 3),), {}),
    ("ones", (3,), {"dtype": np.uint8}),
    ("full", ((2,), 2), {}),
    ("full", ((2, 2), [1.5, 2]), {"dtype": np.float32}),
    ("full", ((), True), {}),
    ("arange", (5,), {}),
    ("arange", (2, 9, 3), {}),
    ("arange", (5, 0, -2), {}),
    ("arange", (3, 3), {}),
    ("arange", (0.5, 2, 0.3), {}),
    ("arange", (0, 1, 0.1), {"dtype": np.float32}),
    ("arange", (0, 20, 0.7), {"dtype": np.float16}),
    ("arange", (np.float32(3),), {}),
    ("arange", (255, 256), {"dtype": np.uint8}),
    ("linspace", (0, 1), {}),
    ("linspace", (-1.5, 2, 7), {}),
    ("linspace", (0, 1, 4), {"endpoint": False, "dtype": np.float32}),
    ("linspace", (0, 9, 4), {"dtype": np.int32}),
    ("linspace", (3, 1, 1), {}),
    ("linspace", (3, 1, 0), {}),
    ("eye", (3,), {}),
    ("eye", (3, 5), {"k": 1, "dtype": np.int32}),
    ("identity", (2,), {"dtype": np.float32}),
    ("tri", (3, 4, -1), {}),
]


@pytest.mark.parametrize(("name", "args", "attrs"), CREATION)
def test_creation(name: str, args: tuple[Any, ...], attrs: dict[str, Any]) -> None:
    (got,) = both(lambda: getattr(tnp, name)(*args, **attrs))
    same(got, getattr(np, name)(*args, **attrs))


def test_sizes() -> None:
    for x in (F, 3, [[1, 2]]):
        assert (tnp.ndim(x), tnp.shape(x), tnp.size(x)) == (np.ndim(x), np.shape(x), np.size(x))
    same(*both(lambda x: x[0, 0] + tnp.size(x, -1), F), F[0, 0] + 5)


def test_axes_that_do_not_exist_are_index_errors() -> None:
    for call in (lambda: tnp.sum(F, 3), lambda: tnp.expand_dims(F, 5), lambda: tnp.cumsum(F, -4)):
        with pytest.raises(AxisError, match="out of bounds for a tensor of"):
            call()
    assert issubclass(AxisError, IndexError)
    assert issubclass(AxisError, ShapeError)


def test_arrays() -> None:
    same(*both(lambda x: tnp.asarray([[x, 1], [2, x]]), np.float32(3)), [[3, 1], [2, 3]], np.float64)
    same(*both(lambda x: tnp.asarray([x, x], np.float32), np.float64(3)), [3, 3], np.float32)
    for kept in (F, F[:0]):
        assert tnp.asarray(kept, copy=False) is kept
    assert tnp.asarray(3, np.uint8).dtype == np.uint8
    with pytest.raises(OverflowError, match="300 out of bounds"):
        tnp.asarray(300, np.uint8)
    with pytest.raises(DTypeError, match="is not supported"):
        tnp.asarray(np.longdouble(1))
    for copied in (tnp.array(F), tnp.copy(F)):
        assert copied is not F
        assert not np.shares_memory(copied, F)
    assert tnp.empty((2,)).tolist() == [0, 0]
    assert tnp.broadcast_shapes((3, 1), (4,)) == (3, 4)
    for attrs in ({}, {"indexing": "ij"}, {"sparse": True}):
        got = both(lambda *xs: tnp.meshgrid(*xs, **attrs), K, K[:2], K[:3])  # noqa: B023
        for g, w in zip(got, np.meshgrid(K, K[:2], K[:3], **attrs), strict=True):
            same(g, w)


def test_tracers_have_methods() -> None:
    def f(x: Any) -> list[Any]:
        return [
            x.sum(0), x.mean(axis=(1, 2), keepdims=True), x.var(), x.std(1), x.max(), x.min(-1), x.prod(0), x.argmax(1),
            (x > 0).any(0), (x > -9).all(), x.ravel(), x.flatten(), x[:1].squeeze(0), x.swapaxes(0, 1), x.clip(-1, 1),
            x.round(1), x.repeat(2, 0), x.diagonal(), x.dot(np.ones((5, 2))), x.take(np.array([0, 1]), 0), x.argmin(),
        ]  # fmt: skip

    for got, want in zip(interpret(graph_of(f, N), N), f(N), strict=True):
        same(got, want)


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: tnp.add(F, A), ShapeError, r"\(3, 4, 5\), \(3, 4\)"),
    (lambda: tnp.sum(F, 3), ShapeError, r"sum\(f32\[3,4,5\]\): axis 3 is out of bounds"),
    (lambda: tnp.max(F[:0], 0), ShapeError, r"max\(f32\[0,4,5\]\): cannot reduce an axis of size zero"),
    (lambda: tnp.mean(F, (0, 0)), ShapeError, r"mean\(f32\[3,4,5\]\).*repeat"),
    (lambda: tnp.reshape(F, (7, -1)), ShapeError, r"cannot reshape \(3, 4, 5\) to \(7, -1\)"),
    (lambda: tnp.transpose(F, (0, 1)), ShapeError, r"transpose\(f32\[3,4,5\]\)"),
    (lambda: tnp.squeeze(F, 0), ShapeError, r"squeeze\(f32\[3,4,5\]\): axis 0 has not size one"),
    (lambda: tnp.expand_dims(F, 5), ShapeError, r"expand_dims\(f32\[3,4,5\]\): axis 5"),
    (lambda: tnp.moveaxis(F, (0, 1), 0), ShapeError, "do not pair distinct axes"),
    (lambda: tnp.concatenate([]), ShapeError, "at least one array"),
    (lambda: tnp.concatenate([F, A]), ShapeError, r"concatenate\(f32\[3,4,5\], i32\[3,4\]\)"),
    (lambda: tnp.stack([F, A]), ShapeError, r"stack\(f32\[3,4,5\], i32\[3,4\]\): shapes differ"),
    (lambda: tnp.split(F, 2), ShapeError, r"split\(f32\[3,4,5\]\): axis 0 cannot be cut into 2 equal parts"),
    (lambda: tnp.pad(F, ((1, 2), (3, 4))), ShapeError, r"pad\(f32\[3,4,5\]\)"),
    (lambda: tnp.pad(F, -1), ShapeError, "negative"),
    (lambda: tnp.pad(F, 1, mode="mirror"), AttributeSpecError, "'mirror' is not supported; there are constant, empty"),
    (lambda: tnp.pad(F[:0], 1, mode="edge"), ShapeError, "no elements"),
    (lambda: tnp.take(F, F), DTypeError, r"take: indices must be integers, got f32\[3,4,5\]"),
    (lambda: tnp.take(F, A, 0, "up"), AttributeSpecError, "raise, clip and wrap"),
    (lambda: tnp.take_along_axis(F, A, 0), ShapeError, "same number of axes"),
    (lambda: tnp.subtract(B, B), DTypeError, "subtract is not defined for booleans"),
    (lambda: tnp.reciprocal(A), DTypeError, "use divide"),
    (lambda: tnp.arange(0, 5, 0), AttributeSpecError, "step is zero"),
    (lambda: tnp.linspace(0, 1, -1), AttributeSpecError, "num is negative"),
    (lambda: tnp.meshgrid(F), ShapeError, r"meshgrid\(f32\[3,4,5\]\)"),
    (lambda: tnp.zeros((2, -1)), ShapeError, "no negative sizes"),
    (lambda: tnp.diag(F), ShapeError, r"diag\(f32\[3,4,5\]\)"),
    (lambda: tnp.tril(K), ShapeError, r"tril\(f64\[4\]\)"),
    (lambda: trace(lambda x: [tnp.arange(x)], [tensor_type("i32", ())]), AttributeSpecError, "known while tracing"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_index_out_of_range_is_an_error_at_run_time() -> None:
    for index in (3, -4):
        graph = graph_of(lambda x, i: tnp.take_along_axis(x, i, 0), F, np.zeros((1, 4, 5), np.int32))
        with pytest.raises(OutOfRangeError):
            interpret(graph, F, np.full((1, 4, 5), index, np.int32))


def test_every_public_function_has_a_docstring() -> None:
    functions = [f for f in vars(tnp).values() if inspect.isfunction(f)]
    assert len(functions) > 120
    assert not [f.__name__ for f in functions if not f.__doc__]


EXTREMES = (
    np.array([-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1]),
    np.array([[0], [1], [2**53 + 1], [2**64 - 1]], np.uint64),
)


@pytest.mark.parametrize("name", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"])
def test_integers_compare_exactly(name: str) -> None:
    """Signed with unsigned numbers that float64 cannot hold, and with Python integers beyond their dtype."""
    signed, unsigned = EXTREMES
    compare(name, (signed, unsigned))
    compare(name, (unsigned, signed))
    for number in (-1, 300, 2**70):
        want = getattr(np, name)(SMALL, number)
        same(getattr(tnp, name)(SMALL, number), want, np.bool_)
        same(getattr(tnp, name)(number, SMALL), getattr(np, name)(number, SMALL), np.bool_)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint8, np.uint16, np.uint32, np.uint64])
def test_indices_of_any_integer_dtype(dtype: Any) -> None:
    """An index that int64 cannot hold is out of range; it does not count from the end."""
    index = np.array([2, 0, 1], dtype)
    same(tnp.take(F, index, 0), np.take(F, index.astype(np.int64), 0), np.float32)
    outside = np.array([np.iinfo(dtype).max], dtype)
    graph = graph_of(lambda x, i: tnp.take(x, i, 0), F, outside)
    with pytest.raises(OutOfRangeError):
        interpret(graph, F, outside)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.uint64])
def test_python_integers_must_fit(dtype: Any) -> None:
    with pytest.raises(OverflowError, match="out of bounds"):
        tnp.add(np.ones(2, dtype), np.iinfo(dtype).max + 1)
    same(tnp.add(np.ones(2, dtype), np.iinfo(dtype).max), np.full(2, np.iinfo(dtype).min, dtype), dtype)
