"""Ops of the Keras backend: what they record computes what they compute of arrays, and dtypes are Keras's.

Their values are tested by Keras's own tests (`tests/keras_suite.py`).
"""

# ruff: noqa: E501 (a table: one function a row)
from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from traced import both

import tgc
from tgc import keras
from tgc.errors import ConcretizationError
from tgc.frontends.keras.ops import numpy as knp
from tgc.frontends.keras.ops import promotion
from tgc.trace import trace
from tgc.types import tensor_type

RNG = np.random.default_rng(0)
F = RNG.uniform(-3, 3, (3, 4)).astype(np.float32)
U = RNG.uniform(0.1, 0.9, (3, 4)).astype(np.float32)
V, W = F[0], U[1]
H = F.astype("bfloat16")
A = RNG.integers(-9, 9, (3, 4)).astype(np.int32)
B = RNG.integers(1, 5, 4).astype(np.int8)
M = RNG.uniform(size=(3, 4)) > 0.5
N = np.where(M, F, np.float32(np.nan))
X = RNG.uniform(-1, 1, (2, 3, 4)).astype(np.float32)
S = X[:, :3, :3]
C = (F + 1j * U).astype(np.complex64)

REDUCED: list[tuple[Any, ...]] = [(F,), (H, {"axis": 1, "keepdims": True}), (A, {"axis": [0, 1]}), (M, {"axis": -1})]
UNARY: list[tuple[Any, ...]] = [(U,), (H + 3,), (np.abs(A) % 2,), (M,)]
BINARY: list[tuple[Any, ...]] = [(F, W), (A, B), (F, 2), (A, 1.5), (H, V), (3, F)]
BITS: list[tuple[Any, ...]] = [(A, B), (A, 2), (B, B)]
OF_TWO: list[tuple[Any, ...]] = [(F, V), (A, B), (S, S)]

# Name: argument tuples, each with keywords as a last dict if it has any.
TABLE: dict[str, list[tuple[Any, ...]]] = {
    **dict.fromkeys(("abs", "absolute", "arcsin", "arccos", "arcsinh", "arctan", "cbrt", "ceil", "cos", "cosh", "deg2rad", "exp", "exp2", "expm1", "fabs", "floor", "i0", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "log1p", "logical_not", "rad2deg", "signbit", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "copy", "round", "nan_to_num", "isreal"), UNARY),
    **{n: [(U,), (H * H + 1,), (np.abs(A) + 1,)] for n in ("log", "log10", "log2", "reciprocal", "negative", "sign")},
    "arccosh": [(U + 1,), (B,)], "arctanh": [(U,)], "round ": [(F, 1), (A, -1)],
    **{n: [(C,), (F,)] for n in ("angle", "conj", "conjugate", "imag", "real")},
    **dict.fromkeys(("add", "subtract", "multiply", "maximum", "minimum", "fmax", "fmin", "floor_divide", "mod", "fmod", "arctan2", "divide", "true_divide", "divide_no_nan", "heaviside", "hypot", "logaddexp", "logaddexp2", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "isclose", "allclose"), BINARY),
    "power": [(U, W), (U, 2), (H, 3), (B, 2), (2, B), (U, 0.5)], "nextafter": [(F, V)], "ldexp": [(F, B), (A, B)],
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm"), BITS), "bitwise_invert": [(A,), (M,)], "bitwise_not": [(A,)],
    **{n: [(A, np.abs(B)), (A, 2)] for n in ("bitwise_left_shift", "bitwise_right_shift", "left_shift", "right_shift")},
    "clip": [(F, -1, 1), (A, 0, 3), (H, -1.0, 1.0), (M, 0, 1), (F, -W, W)], "where": [(M, F, 0.0), (M, A, B), (M, 1, 2)],
    "select": [([F > 1, F > 0], [F, A], 9)],
    # reductions
    **dict.fromkeys(("all", "any", "max", "amax", "min", "amin", "mean", "median", "std", "var", "sum", "prod", "nanmax", "nanmin", "nanmean", "nanmedian", "nanstd", "nanvar", "nansum", "nanprod"), REDUCED),
    "max ": [(F, {"axis": 0, "initial": 1.0})], "ptp": [(F,), (A, {"axis": 1})], "count_nonzero": [(A,), (F, {"axis": 0})],
    **{n: [(F,), (A, {"axis": 1, "keepdims": True}), (N, {"axis": 0}), (M,)] for n in ("argmax", "argmin", "nanargmax", "nanargmin")},
    **{n: [(F,), (A, 0), (M, 1), (H, -1, "float32")] for n in ("cumsum", "cumprod", "nancumsum", "nancumprod")},
    "quantile": [(F, 0.3), (A, np.array([0.1, 0.9]), {"axis": [0, 1], "keepdims": True}), (H, 0.5, 0)], "percentile": [(F, 30, 0)],
    "nanquantile": [(N, 0.3, {"axis": 1})], "nanpercentile": [(N, 30.0, {"axis": 0, "method": "lower"})],
    "average": [(F,), (A, {"axis": 1, "weights": B}), (F, 0)], "corrcoef": [(F,), (A,)], "trace": [(F,), (M,), (X, {"offset": 1, "axis1": 1, "axis2": 2})],
    "trapezoid": [(F,), (A, {"dx": 0.5, "axis": 0}), (F, V)], "histogram": [(V,), (B, 3), (V, {"bins": 4, "range": (-1, 2)})],
    # shapes
    "append": [(F, V), (A, F, 0)], "array_split": [(V, 3)], "broadcast_to": [(V, (2, 4))], "concatenate": [([A, F], 1), ([M, H],)],
    "stack": [([V, B], 1)], "vstack": [([F, V],)], "hstack": [([V, B],)], "dstack": [([F, A],)],
    "diag": [(F,), (V, 1)], "diagflat": [(V,)], "diagonal": [(X, 0, 1, 2)], "diff": [(F,), (A, 2, 0), (M,)], "expand_dims": [(F, [0, 2])],
    "flip": [(F,), (F, [0])], "fliplr": [(F,)], "flipud": [(F,)], "moveaxis": [(X, 0, -1)], "pad": [(F, ((1, 0), (2, 1))), (F, 1, "reflect"), (A, 1, {"constant_values": 7})],
    "ravel": [(F,)], "repeat": [(F, 2, 1), (F, [1, 2, 0], 0)], "reshape": [(F, (2, -1)), (F, [12])], "roll": [(F, 1), (F, (1, 2), (0, 1))], "rot90": [(F,), (X, 2, (1, 2))],
    "split": [(F, 2, 1), (F, [1], 0)], "vsplit": [(F, 3)], "hsplit": [(F, 2)], "dsplit": [(X, 2)], "squeeze": [(F[:1],), (F[:1], [0])], "swapaxes": [(X, 0, 2)],
    "tile": [(F, [2, 1])], "transpose": [(X,), (X, [1, 0, 2])], "tril": [(F,), (F, -1)], "triu": [(F, 1)], "ndim": [(X,)], "size": [(X,)],
    # products
    **dict.fromkeys(("dot", "inner", "outer", "kron"), OF_TWO), "matmul": [(F, V), (X, F.T), (B[:3, None], B[None]), (M, M.T), (H, V)],
    "tensordot": [(X, F, [[1, 2], [0, 1]]), (F, F.T, 1)], "vdot": [(F, A)], "einsum": [("ij,kj->ik", F, A), ("ij->j", B[None]), ("ij,ij", M, M)],
    "cross": [(S, S[0]), (S[..., :2], S)], "correlate": [(V, W), (V, B[:2], "full")], "slogdet": [(S.astype(np.float64),)],
    # searching
    "argsort": [(F,), (A, None)], "argpartition": [(F, 1)], "sort": [(F, 0), (H,)], "digitize": [(F, np.sort(V)), (A, B[:1])], "isin": [(A, B), (F, V, {"invert": True})],
    "searchsorted": [(np.sort(V), F, "right"), (np.sort(B), A)], "take": [(F, B - 1), (F, [0, -1], 1), (X, np.array([[0, 2]]), -2)],
    "take_along_axis": [(F, np.argsort(F), 1)], "unravel_index": [(B, (3, 4))], "unique": [(A, {"size": 5}), (F, {"size": 20, "return_counts": True, "return_inverse": True, "return_index": True})],
    "vander": [(V,), (B, 3)],
    # creation
    "array": [(F, "int32")], "empty_like": [(F,)], "ones_like": [(A, "bool")], "zeros_like": [(H,)], "full_like": [(A, 3)], "full": [((2, 2), W[0])],
    "linspace": [(V, 9, 4), (B, 7, {"dtype": "int32", "axis": -1})], "logspace": [(V, W, 3)], "geomspace": [(W, 9, 3)], "meshgrid": [(V, B), (V, B, {"indexing": "ij"})],
    "view": [(F, "uint8"), (A, "float32"), (A, "int64")],
}  # fmt: skip
# What depends on numbers, and what needs no tensors at all, is not traced.
CONCRETE: dict[str, tuple[Any, ...]] = {"nonzero": (A,), "bincount": (B,), "where": (M,), "unique": (A,)}
STATIC = {
    "arange",
    "bartlett",
    "blackman",
    "empty",
    "eye",
    "hamming",
    "hanning",
    "identity",
    "kaiser",
    "ones",
    "tri",
    "zeros",
}


def test_no_op_is_missing() -> None:
    """`vectorize` takes functions, and is tested with `tgc.numpy`."""
    tested = {name.strip() for name in TABLE} | STATIC | CONCRETE.keys() | {"vectorize"}
    modules = (knp.creation, knp.elementwise, knp.manipulation, knp.products, knp.reductions, knp.searching)
    assert {name for module in modules for name in module.__all__} == tested


@pytest.mark.parametrize("name", sorted({name.strip() for name in TABLE} | STATIC | CONCRETE.keys()))
def test_signature(name: str) -> None:
    """Names, order and defaults of parameters are those of the function that Keras exports."""

    def plain(function: Any) -> list[Any]:
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    assert plain(getattr(knp, name)) == plain(getattr(keras.src.ops.numpy, name))


def test_arguments_by_name() -> None:
    np.testing.assert_array_equal(knp.subtract(x2=F, x1=V), V - F)
    np.testing.assert_array_equal(knp.take(F, axis=1, indices=[0]), F[:, :1])
    np.testing.assert_array_equal(knp.reshape(newshape=(12,), x=F), F.ravel())
    np.testing.assert_array_equal(knp.max(A, 0, initial=5), np.max(A, 0, initial=5))
    assert knp.prod(A, dtype="float32").dtype == knp.prod(A, None, False, "float32").dtype == np.float32
    with pytest.raises(TypeError, match="x1"):
        knp.add(x2=F)


@pytest.mark.parametrize(
    ("name", "args"), [pytest.param(n, args, id=f"{n}-{i}") for n, rows in TABLE.items() for i, args in enumerate(rows)]
)
def test_traced(name: str, args: tuple[Any, ...]) -> None:
    """Arrays among the arguments are traced; those in lists remain, unless a list holds nothing else."""
    named = args[-1] if isinstance(args[-1], dict) else {}
    given = list(args[: len(args) - bool(named)])
    flat = [x for arg in given for x in (arg if isinstance(arg, list) else [arg])] + list(named.values())
    arrays = [x for x in flat if isinstance(x, np.ndarray)]

    def call(*tensors: Any) -> Any:
        rest = iter(tensors)

        def filled(x: Any) -> Any:
            return [filled(v) for v in x] if isinstance(x, list) else next(rest) if isinstance(x, np.ndarray) else x

        positional = [filled(x) for x in given]
        return getattr(knp, name.strip())(*positional, **{key: filled(x) for key, x in named.items()})

    both(call, *arrays)


def test_gradients_stop_at_what_is_divided_by_zero() -> None:
    x, y = np.float32([1, 2, 3]), np.float32([2, 0, 4])
    by_x, by_y = tgc.grad(lambda x, y: knp.sum(knp.divide_no_nan(x, y)), argnums=(0, 1))(x, y)
    np.testing.assert_allclose(by_x, [0.5, 0, 0.25])
    np.testing.assert_allclose(by_y, [-0.25, 0, -3 / 16])


@pytest.mark.parametrize("name", CONCRETE)
def test_what_depends_on_numbers_names_itself_when_traced(name: str) -> None:
    args = CONCRETE[name]
    op = getattr(knp, name)
    op(*args)
    with pytest.raises(ConcretizationError, match="nonzero" if name == "where" else name):
        trace(lambda *xs: [op(*xs)], [tensor_type(x.dtype, x.shape) for x in args])


@pytest.mark.parametrize(
    ("kinds", "want"),
    [
        (("int32", float), "float32"), (("bfloat16", float), "bfloat16"), (("float16", "bfloat16"), "float32"),
        (("uint8", int), "uint8"), (("bool", int), "int32"), (("uint32", "int32"), "int32"), (("int64", float), "float32"),
        (("float64",), "float64"), (("float64", float), "float64"), (("float64", "int32"), "float64"),
        (("float64", "float32"), "float32"), (("int64", "int64"), "int64"), (("int64", "int32"), "int32"),
        (("complex128", "float32"), "complex128"), (("bfloat16", "float64"), "float32"), (("complex128", "complex64"), "complex64"),
    ],
)  # fmt: skip
def test_result_type(kinds: tuple[Any, ...], want: str) -> None:
    """64 bits stay where all tensors of a kind have them; else Keras has 32."""
    assert promotion.result_type(*kinds) == want


def test_double_precision_as_floatx() -> None:
    keras.config.set_floatx("float64")
    try:
        assert knp.exp(np.int32(1)).dtype == knp.divide(A, 3).dtype == knp.zeros(2).dtype == np.float64
    finally:
        keras.config.set_floatx("float32")


def test_numbers_stay_weak() -> None:
    """So that a square is a product, and constants fit what they meet."""
    squared = trace(lambda x: [knp.power(x, 2)], [tensor_type("bf16", (3,))])
    assert [node.op.name for node in squared.nodes] == ["mul"]
    assert knp.add(H, 0.1).dtype == H.dtype
    assert knp.add(1, 2).dtype == np.int32
    assert knp.greater(np.uint8([1]), -1).all()
