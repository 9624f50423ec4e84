"""Elementwise ops on special values, and other numbers for which an op's rule and its reference could differ."""

from __future__ import annotations

import numpy as np
import pytest
from opcases import BACKENDS, ELEMENTWISE, EPSILON, TINY, domain, reference, together, widened

from tgc.autodiff import backward, mark
from tgc.interpret import interpret
from tgc.ops import elementwise, window
from tgc.ops.kinds import Elementwise
from tgc.ops.samples import case
from tgc.ops.scalar import MATH
from tgc.runtime.lowered import Lowered
from tgc.trace import Tracer, trace
from tgc.types import BF16, BOOL, F16, F32, F64, I32, INTS, SHORT_NAMES, UNSIGNED, DType, is_float, is_inexact, type_of

UNSIGNED_ZEROS = {"maximum", "minimum", "relu"}  # which of 0 and -0 they return is open, as in NumPy
ACTIVATIONS = {"silu", "gelu", "gelu_gate", "gelu_tanh", "gelu_tanh_gate"}
WIDER = {*MATH, *ACTIVATIONS, "pow", "atan2"}  # functions that are judged in float64


def special_floats(dtype: DType) -> np.ndarray:
    info = np.finfo(dtype)
    positive = [0.0, info.smallest_subnormal, info.tiny, 0.5, 1, 1 + info.eps, 1.5, 2, 2.5, 3, 100, info.max, np.inf]
    return np.array([np.nan, *positive, *(-x for x in positive)], dtype)


def special_integers(dtype: DType) -> np.ndarray:
    info = np.iinfo(dtype)
    near = [0, 1, 2, 3, 7, info.bits - 1, info.bits, info.max // 2, info.max // 3, info.max - 1, info.max]
    return np.array([*near, *([-x for x in near[1:]] + [info.min] if info.min else [])], dtype)


def special_operands(op: Elementwise, dtype: DType) -> list[np.ndarray]:
    """Every combination of special values, as matrices: kernels of vectors are others."""
    values = special_floats(dtype) if is_float(dtype) else special_integers(dtype)
    pools = [values if dtype in domain(op, k) else np.array([False, True]) for k in range(op.arity)]
    return [a.reshape(1, -1) for a in np.meshgrid(*pools)]


@pytest.mark.parametrize("op", [pytest.param(op, id=name) for name, op in ELEMENTWISE.items() if name != "cast"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_special_values(op: Elementwise, backend: str) -> None:
    """NaN, infinities, zeros of both signs, subnormal and extreme numbers: compiled ops do what their references do.

    Results in floats are the same NaNs aside, to the sign of zeros; those of mathematical functions are near.
    """
    applied = [
        (case(), special_operands(op, dtype))
        for dtype in (F32, F64, *sorted(INTS, key=str)) if any(dtype in domain(op, k) for k in range(op.arity))
    ]  # fmt: skip
    graph = together(op, applied)
    results = Lowered(graph, backend=backend).compile()([a for _, arrays in applied for a in arrays])
    for (_, arrays), got in zip(applied, results, strict=True):
        dtype = arrays[-1].dtype
        wide = op.name in WIDER and is_float(dtype)
        want = reference(op, [widened(a) for a in arrays] if wide else arrays, {})
        with np.errstate(over="ignore"):
            want = want.astype(got.dtype)
        what = f"{op.name} {dtype}"
        for at in zip(*(a.ravel() for a in (*arrays, got, want)), strict=True):
            *xs, g, w = at
            close = bool(g == w) or (is_inexact(got.dtype) and bool(g != g) and bool(w != w))
            if not close and wide and np.isfinite(w):
                close = abs(float(g) - float(w)) <= op.samples.ulps * EPSILON[dtype] * max(abs(float(w)), TINY[dtype])
            assert close, f"{what}{tuple(map(str, xs))} is {g}, not {w}"
            if is_float(got.dtype) and w == 0 and op.name not in UNSIGNED_ZEROS:
                assert np.signbit(g) == np.signbit(w), f"{what}{tuple(map(str, xs))} is {g}, not {w}"


@pytest.mark.parametrize("source", [pytest.param(d, id=SHORT_NAMES[d]) for d in SHORT_NAMES])
def test_casts(source: DType) -> None:
    """Casts follow NumPy: rounding, wrapping of integers, truth of NaN and -0. Out-of-range floats are left out."""
    few = [-2.75, -2.5, -1.5, -1, -0.5, -0.0, 0, 0.25, 0.5, 1.5, 2.5, 99.9]
    ties = [1 + 2**-11, 1 + 2**-11 + 2**-40, 65504, 65519, 65520]  # of float16
    many = [*few, *ties, np.nan, np.inf, -np.inf, 1e-7, 3e-8, 1e30, 3.4e38]
    applied = []
    for target in SHORT_NAMES:
        if source == BOOL or source in INTS:
            x = np.array([False, True]) if source == BOOL else special_integers(source)
        else:
            with np.errstate(over="ignore"):
                x = np.array(many if target not in INTS else few, F64).astype(source)
            x = x[x > -1] if target in UNSIGNED else x
        applied.append((case(dtype=target), [x.reshape(1, -1)]))
    graph = together(elementwise.cast, applied)
    results = Lowered(graph).compile()([a for _, arrays in applied for a in arrays])
    for (c, (x,)), got in zip(applied, results, strict=True):
        want = reference(elementwise.cast, [x], dict(c.attrs))
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(widened(got), widened(want), err_msg=f"{source} to {want.dtype}")
        if is_float(got.dtype):
            np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_padding_never_is_the_largest(value: float) -> None:
    """The gradient of a maximum reaches an operand element even if no element is more than the padding."""
    attrs = {"window": (2,), "stride": (2,), "padding": ((1, 1),), "dilation": (1,)}
    x, g = np.full(4, value, F32), np.array([1, 2, 3], F32)

    def pullback(x: Tracer, g: Tracer) -> list[Tracer]:
        x = mark(x)
        return [window.window_argmax(x, **attrs), *backward([window.window_max(x, **attrs)], [g], [x])]

    graph = trace(pullback, [type_of(x), type_of(g)])
    for at, grad in (interpret(graph, x, g), Lowered(graph).compile()([x, g])):
        np.testing.assert_array_equal(at, np.array([1, 0, 0], I32))
        np.testing.assert_array_equal(grad, np.array([1, 2, 0, 3], F32))


@pytest.mark.parametrize(("dtype", "large", "total"), [(F16, 2048, 2052), (BF16, 256, 260)])
def test_half_precision_sums_windows_in_float32(dtype: DType, large: int, total: int) -> None:
    """1 is half a unit in the last place of `large`: rounded after each addition it would be lost thrice."""
    x = np.array([[large], [1], [1], [1]], dtype) * np.ones(3, dtype)
    attrs = {"window": (4, 1), "stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1)}
    graph = together(window.window_sum, [(case(**attrs), [x])])
    for got in (window.window_sum(x, **attrs), *Lowered(graph).compile()([x])):
        np.testing.assert_array_equal(widened(got), total)
