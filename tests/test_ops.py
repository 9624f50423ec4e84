"""Every op, tested from its definition: forward on every backend, gradient, dtypes, special values, bad input."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tgc.autodiff import backward, mark
from tgc.errors import AttributeSpecError, DTypeError, GradientError, OutOfRangeError, ShapeError, TgcError
from tgc.interpret import interpret
from tgc.ir import Builder, Graph, Value
from tgc.ops import REGISTRY, contraction, creation, elementwise, movement, reduce, scatter, window
from tgc.ops.kinds import Elementwise, Primitive, Reduce, no_gradient
from tgc.ops.region import fused
from tgc.ops.samples import Case, case, distinct
from tgc.ops.scalar import MATH
from tgc.runtime.lowered import Lowered
from tgc.trace import Tracer, trace
from tgc.types import (
    ALL,
    BF16,
    BOOL,
    F16,
    F32,
    F64,
    I32,
    I64,
    INTS,
    SHORT_NAMES,
    U8,
    U32,
    DType,
    Layout,
    TensorType,
    is_float,
    tensor_type,
    type_of,
)  # fmt: skip

OPS = {name: op for name, op in REGISTRY.items() if isinstance(op, Primitive) and op is not fused}
ELEMENTWISE = {name: op for name, op in OPS.items() if isinstance(op, Elementwise)}
EPSILON = {F16: 2.0**-10, BF16: 2.0**-7, F32: 2.0**-23, F64: 2.0**-52}
TINY = {F16: 2.0**-14, BF16: 2.0**-126, F32: 2.0**-126, F64: 2.0**-1022}
SHAPES = ((3, 37), (), (0, 4))
BACKENDS = ("cpu",)
every_op = pytest.mark.parametrize("op", [pytest.param(op, id=name) for name, op in OPS.items()])


def cases(op: Primitive) -> tuple[Case, ...]:
    """The op's cases; an elementwise op has operands of one shape."""
    return op.samples.cases or tuple(case(*([shape] * op.arity)) for shape in SHAPES)  # type: ignore[attr-defined]


def domain(op: Primitive, k: int) -> frozenset[DType]:
    """The dtypes that operand `k` may have."""
    if isinstance(op, Elementwise):
        return op.mixed[k] if op.mixed else op.domain
    if isinstance(op, Reduce):
        return op.domain
    if op is creation.random_bits:
        return frozenset({U32})
    if k == 1 and op in (movement.take, scatter.scatter_add, window.window_scatter, window.window_gather):
        return frozenset({I32})
    return ALL


def operands(op: Primitive, c: Case, dtype: DType, seed: int = 0) -> list[np.ndarray] | None:
    """Sample operands, those whose dtype is free in `dtype`; None if the op is not defined for it."""
    rng = np.random.default_rng(seed)
    domains = [domain(op, k) for k in range(len(c.shapes))]
    dtypes = [dtype if dtype in d else min(d, key=str) for d in domains]
    draws = zip(op.samples.draws, dtypes, c.shapes, strict=False)  # concat takes any number of operands
    arrays = [draw(rng, d, shape) for draw, d, shape in draws]
    if domains and not any(dtype in d for d in domains):
        return None
    try:
        op.infer([type_of(a) for a in arrays], op.check_attrs(c.attrs))
    except DTypeError:
        return None
    return arrays


def applications() -> Iterator[Any]:
    """Ops and dtypes, with cases: all of them in one dtype; in the others every third, elementwise ones just once."""
    for name, op in OPS.items():
        usable = {d: found for d in SHORT_NAMES if (found := [c for c in cases(op) if operands(op, c, d) is not None])}
        most = F32 if F32 in usable else next(iter(usable))
        for k, (dtype, chosen) in enumerate(usable.items()):
            if dtype != most and not op.samples.draws:
                continue
            if dtype != most and op is not elementwise.cast:
                chosen = chosen[k % 3 :: 3] if op.samples.cases and len(chosen) > 2 else chosen[:1]
            yield pytest.param(op, dtype, chosen, id=f"{name}-{SHORT_NAMES[dtype]}")


def together(op: Primitive, applied: list[tuple[Case, list[np.ndarray]]]) -> Graph:
    """The graph of several applications, so that one compilation serves them all."""
    builder = Builder(op.name)
    outputs: list[Value] = []
    for c, arrays in applied:
        inputs = [builder.input(type_of(a)) for a in arrays]
        outputs += builder.emit(op, inputs, op.check_attrs(c.attrs))
    return builder.build(outputs)


def widened(a: np.ndarray) -> np.ndarray:
    return a.astype(F64) if is_float(a.dtype) else a


def reference(op: Primitive, arrays: list[np.ndarray], attrs: dict[str, Any]) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(op.reference(*arrays, **attrs))


def assert_near(got: np.ndarray, want: np.ndarray, ulps: float, what: str) -> None:
    """Within `ulps` of the result's magnitude, or of the largest magnitude for ops that sum."""
    assert got.shape == want.shape, what
    if not is_float(got.dtype) or not ulps:
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    wide, exact = got.astype(F64), want.astype(got.dtype).astype(F64)
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(wide[~finite], exact[~finite], err_msg=what)
    exact = want.astype(F64)[finite]
    scale = np.maximum(np.abs(exact), TINY[got.dtype])
    if ulps > 2 and scale.size:
        scale = np.maximum(scale, scale.max())
    error = np.abs(wide[finite] - exact) / (EPSILON[got.dtype] * scale)
    assert error.size == 0 or error.max() <= ulps, f"{what}: {error.max():.2f} ulp"


@pytest.mark.parametrize(("op", "dtype", "chosen"), list(applications()))
@pytest.mark.parametrize("backend", BACKENDS)
def test_forward(op: Primitive, dtype: DType, chosen: list[Case], backend: str) -> None:
    """The compiled op agrees with its reference, evaluated in float64 for float32 and float64."""
    applied = [(c, arrays) for c in chosen if (arrays := operands(op, c, dtype)) is not None]
    graph = together(op, applied)
    inputs = [a for _, arrays in applied for a in arrays]
    results = Lowered(graph, backend=backend).compile()(inputs)
    for (c, arrays), got, oracle, out in zip(applied, results, interpret(graph, *inputs), graph.outputs, strict=True):
        assert got.dtype == out.dtype
        wide = dtype in (F32, F64) and is_float(out.dtype)
        want = reference(op, [widened(a) for a in arrays], op.check_attrs(c.attrs)) if wide else oracle
        assert_near(got, want, op.samples.ulps, f"{op.name} {[*map(type_of, arrays)]} {dict(c.attrs)}")


# -------------------------------------------------------------------------------------------------------- gradients


def gradients() -> Iterator[Any]:
    for name, op in OPS.items():
        if op.grad is not no_gradient and op.samples.smooth and op is not movement.relayout:
            yield pytest.param(op, id=name)


def differentiable(op: Primitive) -> Iterator[tuple[dict[str, Any], list[np.ndarray], list[int]]]:
    """The cases that have a result in float64: attributes, operands, and which of them are real numbers."""
    for c in cases(op):
        arrays, attrs = operands(op, c, F64), op.check_attrs(c.attrs)
        assert arrays is not None
        (out,) = op.infer([*map(type_of, arrays)], attrs)
        if out.dtype == F64 and not attrs.get("chunks"):
            yield attrs, arrays, [k for k, a in enumerate(arrays) if a.dtype == F64]


@pytest.mark.parametrize("op", list(gradients()))
def test_gradient(op: Primitive) -> None:
    """The gradient rule agrees with central differences of the reference in float64, in a random direction."""
    rng = np.random.default_rng(1)
    applied = list(differentiable(op))
    weights = [rng.standard_normal(reference(op, arrays, attrs).shape) for attrs, arrays, _ in applied]

    def pullback(*inputs: Tracer) -> list[Any]:
        rest, grads = iter(inputs), []
        for attrs, arrays, real in applied:
            marked = [mark(x) if k in real else x for k, x in enumerate(itertools.islice(rest, len(arrays)))]
            out = op(*marked, **attrs)
            grads += backward([out], [next(rest)], [marked[k] for k in real])
        return grads

    inputs = [a for (_, arrays, _), w in zip(applied, weights, strict=True) for a in (*arrays, w)]
    graph = trace(pullback, [*map(type_of, inputs)])
    compiled, interpreted = iter(Lowered(graph).compile()(inputs)), iter(interpret(graph, *inputs))
    step = 1e-6
    for (attrs, arrays, real), weight in zip(applied, weights, strict=True):
        directions = [rng.standard_normal(a.shape) if k in real else None for k, a in enumerate(arrays)]
        high, low = (
            reference(op, [a if d is None else a + t * d for a, d in zip(arrays, directions, strict=True)], attrs)
            for t in (step, -step)
        )
        want = float(((high - low) * weight).sum() / (2 * step))
        for grads in (interpreted, compiled):
            got = sum(float((next(grads) * directions[k]).sum()) for k in real)
            assert got == pytest.approx(want, rel=2e-5, abs=2e-6), f"{op.name} {[*map(type_of, arrays)]} {attrs}"


def test_reductions_in_chunks_have_no_gradient() -> None:
    """Chunks are introduced after differentiation."""
    chunked = [op for op in OPS.values() if any(c.attrs.get("chunks") for c in cases(op)) and op.grad is not no_gradient]
    assert {op.name for op in chunked} == {"sum", "prod", "max", "min"}
    for op in chunked:

        def pullback(x: Tracer, g: Tracer, op: Primitive = op) -> list[Tracer]:
            x = mark(x)
            return backward([op(x, axes=(0,), chunks=2)], [g], [x])

        with pytest.raises(GradientError, match="chunks"):
            trace(pullback, [tensor_type(F32, (4, 3)), tensor_type(F32, (2, 3))])


def test_distinct_draws() -> None:
    """Far from zero and from each other, whatever the number of draws."""
    for shape in ((), (1,), (2,), (5,), (3, 37)):
        x = np.sort(distinct(-4, 4)(np.random.default_rng(0), F64, shape).ravel())
        assert np.abs(x).min() > 0.19
        assert np.abs(x).max() <= 4
        assert np.diff(x).min(initial=1) > 0.06


# --------------------------------------------------------------------------------------------------- special values

UNSIGNED_ZEROS = {"maximum", "minimum", "relu"}  # which of 0 and -0 they return is open, as in NumPy
WIDER = {*MATH, "pow", "atan2"}  # functions that are judged in float64


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


def exact(op: Elementwise) -> bool:
    return op.name not in WIDER


@pytest.mark.parametrize("op", [pytest.param(op, id=name) for name, op in ELEMENTWISE.items()])
@pytest.mark.parametrize("backend", BACKENDS)
def test_special_values(op: Elementwise, backend: str) -> None:
    """NaN, infinities, zeros of both signs, subnormal and extreme numbers: compiled ops do what their references do.

    Results in floats are the same NaNs aside, to the sign of zeros; those of mathematical functions are near.
    """
    if op is elementwise.cast:
        pytest.skip("what out-of-range numbers become is up to the machine; see test_casts")
    applied = [
        (case(), special_operands(op, dtype))
        for dtype in (F32, F64, U8, U32, I32, I64) if any(dtype in domain(op, k) for k in range(op.arity))
    ]  # fmt: skip
    graph = together(op, applied)
    results = Lowered(graph, backend=backend).compile()([a for _, arrays in applied for a in arrays])
    for (_, arrays), got in zip(applied, results, strict=True):
        dtype = arrays[-1].dtype
        wide = not exact(op) and is_float(dtype)
        want = reference(op, [widened(a) for a in arrays] if wide else arrays, {})
        with np.errstate(over="ignore"):
            want = want.astype(got.dtype)
        what = f"{op.name} {dtype}"
        for at in zip(*(a.ravel() for a in (*arrays, got, want)), strict=True):
            *xs, g, w = at
            close = bool(g == w) or (is_float(got.dtype) and bool(g != g) and bool(w != w))
            if not close and wide and np.isfinite(w):
                close = abs(float(g) - float(w)) <= op.samples.ulps * EPSILON[dtype] * max(abs(float(w)), TINY[dtype])
            assert close, f"{what}{tuple(map(str, xs))} is {g}, not {w}"
            if is_float(got.dtype) and w == 0 and op.name not in UNSIGNED_ZEROS:
                assert np.signbit(g) == np.signbit(w), f"{what}{tuple(map(str, xs))} is {g}, not {w}"


@pytest.mark.parametrize("source", [pytest.param(d, id=SHORT_NAMES[d]) for d in SHORT_NAMES])
def test_casts(source: DType) -> None:
    """Casts follow NumPy: rounding, wrapping of integers, truth of NaN and -0. Out-of-range floats are left out."""
    few = [-2.75, -2.5, -1.5, -1, -0.5, -0.0, 0, 0.25, 0.5, 1.5, 2.5, 99.9]
    many = [*few, np.nan, np.inf, -np.inf, 1e-7, 3e-8, 1 + 2**-11, 1 + 2**-11 + 2**-40, 65504, 65519, 65520, 1e30, 3.4e38]
    applied = []
    for target in SHORT_NAMES:
        if source == BOOL or source in INTS:
            x = np.array([False, True]) if source == BOOL else special_integers(source)
        else:
            with np.errstate(over="ignore"):
                x = np.array(many if target not in INTS else few, F64).astype(source)
            x = x[x > -1] if target in (U8, U32) else x
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


def test_half_precision_sums_windows_in_float32() -> None:
    """1 is less than half a unit in the last place of 2048, yet not lost."""
    x = np.array([2048, 1, 1, 1], F16)
    attrs = {"window": (4,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)}
    graph = together(window.window_sum, [(case(**attrs), [x])])
    assert window.window_sum(x, **attrs) == np.array([2052], F16)  # 2051, rounded to even
    assert Lowered(graph).compile()([x])[0] == np.array([2052], F16)


# -------------------------------------------------------------------------------------------------------- bad input

SCALAR, LARGE = (), (2, 3, 4, 5, 6, 7)
FIT = {  # shapes of an operand that fit the first case of an op after all
    ("take", 0): {LARGE}, ("take", 1): {SCALAR, LARGE}, ("reverse", 0): {LARGE},
    **{(op.name, 0): {LARGE} for op in OPS.values() if isinstance(op, Reduce)},
    **{(op.name, 0): {SCALAR, LARGE} for op in ELEMENTWISE.values() if op.arity == 1},
}  # fmt: skip


def first_types(op: Primitive) -> list[TensorType]:
    """Operand types of the op's first case."""
    found = (operands(op, cases(op)[0], d) for d in (F32, *SHORT_NAMES))
    return [type_of(a) for a in next(arrays for arrays in found if arrays is not None)]


@every_op
def test_bad_attributes(op: Primitive) -> None:
    """Unknown, missing and ill-typed attributes raise errors that name the op or the attribute."""
    attrs = cases(op)[0].attrs
    with pytest.raises(AttributeSpecError, match=op.name):
        op.check_attrs({**attrs, "no_such_attribute": 1})
    for key in op.attrs:
        with pytest.raises(AttributeSpecError, match=key):
            op.check_attrs({**attrs, key: object()})
        with pytest.raises(AttributeSpecError, match=op.name):
            op.check_attrs({k: v for k, v in attrs.items() if k != key})


@every_op
def test_bad_operands(op: Primitive) -> None:
    """Wrong numbers, shapes and dtypes of operands raise errors that name the op."""
    types, attrs = first_types(op), op.check_attrs(cases(op)[0].attrs)
    with pytest.raises(TgcError, match=op.name):
        op.infer([*types, *types, TensorType(BOOL, (1, 2, 3, 4, 5, 6, 7))], attrs)
    for k, t in enumerate(types):
        for shape in (SCALAR, LARGE):
            wrong = [*types[:k], TensorType(t.dtype, shape), *types[k + 1 :]]
            if shape in FIT.get((op.name, k), ()):
                op.infer(wrong, attrs)
            else:
                with pytest.raises(ShapeError, match=op.name):
                    op.infer(wrong, attrs)
        for outside in SHORT_NAMES.keys() - domain(op, k) - {I64}:  # indices may be in it
            with pytest.raises(DTypeError, match=op.name):
                op.infer([*types[:k], TensorType(outside, t.shape), *types[k + 1 :]], attrs)


@every_op
def test_operands_of_one_dtype(op: Primitive) -> None:
    """Operands whose domains are the same must agree on a dtype."""
    types, attrs = first_types(op), op.check_attrs(cases(op)[0].attrs)
    for (i, a), (k, b) in itertools.permutations(enumerate(types), 2):
        if domain(op, i) == domain(op, k) and a.dtype == b.dtype:
            other = next(d for d in domain(op, k) if d != b.dtype)
            with pytest.raises(DTypeError, match=op.name):
                op.infer([*types[:k], TensorType(other, b.shape), *types[k + 1 :]], attrs)


WINDOW = {"window": (2,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)}
CONV = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "error", "message"),
    [
        (reduce.reduce_max, [(3,)], {"axes": (0,), "chunks": 4}, ShapeError, r"max\(f32\[3\]\): cannot cut axis 0 of size 3 in 4"),
        (reduce.reduce_min, [(0,)], {"axes": (0,), "chunks": 0}, ShapeError, "min.*cannot reduce an axis of size zero"),
        (reduce.reduce_sum, [(3,)], {"axes": (0,), "chunks": -1}, ShapeError, "sum.*cannot reduce in -1 chunks"),
        (reduce.reduce_sum, [(3,)], {"axes": (), "chunks": 2}, ShapeError, "sum.*cannot reduce in 2 chunks"),
        (reduce.argmax, [(3,)], {"axes": (0,), "chunks": 2}, ShapeError, "argmax.*cannot reduce in 2 chunks"),
        (movement.broadcast, [(4,)], {"axes": (1,), "shape": (-3, 4)}, ShapeError, r"broadcast\(f32\[4\]\): a shape holds no negative sizes, got \(-3, 4\)"),
        (movement.reshape, [(4,)], {"shape": (-2, -2)}, ShapeError, r"reshape.*no negative sizes, got \(-2, -2\)"),
        (movement.relayout, [(4, 4)], {"order": (0, 1), "tiles": ((1, 2), (1, 2))}, ShapeError, "relayout.*no layout"),
        (movement.relayout, [(4, 4)], {"order": (0, 1), "tiles": ((1, 2, 3),)}, ShapeError, "relayout.*no layout"),
        (movement.relayout, [(4, 4)], {"order": (0, 0), "tiles": ()}, ShapeError, "relayout.*no layout"),
        (creation.full, [], {"shape": (-1,), "dtype": F32, "value": 1.0}, ShapeError, r"full\(\): a shape holds no negative sizes, got \(-1,\)"),
        (creation.full, [], {"shape": (), "dtype": U8, "value": 256}, AttributeSpecError, "full: 256 does not fit uint8"),
        (creation.full, [], {"shape": (), "dtype": F32, "value": 1}, AttributeSpecError, "full: 1 is no float"),
        (creation.iota, [], {"shape": (2, -1), "dtype": I32, "axis": 0}, ShapeError, r"iota.*no negative sizes, got \(2, -1\)"),
        (contraction.conv, [(1, 4, 2), (0, 2, 3)], CONV, ShapeError, "conv.*kernel.* must be positive"),
        (contraction.conv, [(1, 4, 2), (5, 2, 3)], CONV, ShapeError, r"conv.*kernel \(5,\) is larger"),
        (contraction.conv, [(1, 4, 2), (2, 2, 3)], CONV | {"padding": ((1,),)}, ShapeError, "conv.*padding is"),
        (contraction.conv_kernel_grad, [(1, 4, 2), (1, 5, 3)], CONV | {"kernel": (0,)}, ShapeError, "kernel.* must be positive"),
        (contraction.conv_kernel_grad, [(1, 4, 2), (1, 7, 3)], CONV | {"kernel": (-2,)}, ShapeError, "kernel.* must be positive"),
        (contraction.conv_kernel_grad, [(1, 4, 2), (1, 3, 3)], CONV | {"kernel": (2, 2)}, ShapeError, "kernel.* need 1 entries"),
        (contraction.conv_kernel_grad, [(1, 4, 2), (1, 4, 3)], CONV | {"kernel": (2,)}, ShapeError, "operand 1 is no result"),
        (window.window_sum, [(4,)], WINDOW | {"padding": ((1,),)}, ShapeError, "window_sum.*need one entry an axis"),
        (window.window_max, [(4,)], WINDOW | {"padding": ((1, 0, 0),)}, ShapeError, "window_max.*need one entry an axis"),
        (window.window_max, [(4,)], WINDOW | {"padding": ((2, 0),)}, ShapeError, "window_max.*padding 2, 0 is"),
        (window.window_argmax, [(1,)], WINDOW, ShapeError, r"window_argmax.*window \(2,\) is larger"),
    ],
)  # fmt: skip
def test_refusals(
    op: Primitive, shapes: list[tuple[int, ...]], attrs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        op.infer([tensor_type(F32, s) for s in shapes], op.check_attrs(attrs))


def test_select_names_itself() -> None:
    types = [tensor_type(d, (2,)) for d in (BOOL, F32, F64)]
    with pytest.raises(DTypeError, match=r"select\(bool\[2\], f32\[2\], f64\[2\]\): operand dtypes differ"):
        elementwise.select.infer(types, {})
    assert elementwise.select.infer([types[0]] * 3, {}) == (types[0],)


def test_elementwise_keeps_the_layout_that_operands_share() -> None:
    packed = tensor_type(F32, (2, 3)).with_layout(Layout((1, 0)))
    assert elementwise.add.infer([packed, packed], {}) == (packed,)
    assert elementwise.add.infer([packed, packed.with_layout(None)], {}) == (packed.with_layout(None),)


def test_eager_application() -> None:
    """Outside of a trace ops take NumPy arrays, of any byte order; indices out of range are tgc's error."""
    x = np.arange(3, dtype=">f2")
    assert elementwise.exp(x).dtype == F16
    np.testing.assert_array_equal(elementwise.exp(x), elementwise.exp(x.astype(F16)))
    with pytest.raises(OutOfRangeError, match=r"take\(f32\[3\], i32\[1\]\): index 3"):
        movement.take(np.zeros(3, F32), np.array([3], I32))
    with pytest.raises(OutOfRangeError, match="scatter_add"):
        scatter.scatter_add(np.zeros(3, F32), np.array([-4], I32), np.zeros(1, F32))


def test_every_op_is_tested() -> None:
    """Each op has a forward test, elementwise ones in every dtype that they take, and each case is in one."""
    tested: dict[str, dict[DType, list[Case]]] = {}
    for p in applications():
        op, dtype, chosen = p.values
        tested.setdefault(op.name, {})[dtype] = chosen
    assert tested.keys() == OPS.keys()
    for name, elementwise_op in ELEMENTWISE.items():
        assert tested[name].keys() == {d for k in range(elementwise_op.arity) for d in domain(elementwise_op, k)}
    for name, op in OPS.items():
        run = [c for chosen in tested[name].values() for c in chosen]
        assert all(c in run for c in cases(op)), name
