"""Every op, tested from its definition: forward on every backend, gradient, dtypes, bad input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tgc.autodiff import backward, mark
from tgc.errors import AttributeSpecError, DTypeError, ShapeError, TgcError
from tgc.interpret import interpret
from tgc.ir import Builder, Graph
from tgc.ops import REGISTRY
from tgc.ops.kinds import Elementwise, Primitive, Reduce, no_gradient
from tgc.ops.movement import relayout
from tgc.ops.region import fused
from tgc.ops.samples import Case, case
from tgc.runtime.lowered import Lowered
from tgc.trace import trace
from tgc.types import ALL, BF16, BOOL, F16, F32, F64, SHORT_NAMES, DType, TensorType, is_float, type_of

OPS = {name: op for name, op in REGISTRY.items() if isinstance(op, Primitive) and op is not fused}
EPSILON = {F16: 2.0**-10, BF16: 2.0**-7, F32: 2.0**-23, F64: 2.0**-52}
SHAPES = ((5,), (3, 37), (), (0, 4))
BACKENDS = ("cpu",)


def cases(op: Primitive) -> tuple[Case, ...]:
    """The op's cases; an elementwise op has operands of one shape."""
    if op.samples.cases:
        return op.samples.cases
    assert isinstance(op, Elementwise)
    attrs = {"dtype": F32} if "dtype" in op.attrs else {}
    return tuple(case(*([shape] * op.arity), **attrs) for shape in SHAPES)


def operands(op: Primitive, c: Case, dtype: DType, seed: int = 0) -> list[np.ndarray] | None:
    """Sample operands, those whose dtype is free in `dtype`; None if the op is not defined for it."""
    rng = np.random.default_rng(seed)
    arrays = []
    for k, (draw, shape) in enumerate(zip(op.samples.draws, c.shapes, strict=False)):
        domain = _domain(op, k)
        own = dtype if dtype in domain else sorted(domain, key=str)[0] if len(domain) == 1 else None
        arrays.append(draw(rng, own if own is not None else np.dtype(np.int32), shape))
    types = [type_of(a) for a in arrays]
    try:
        op.infer(types, op.check_attrs(c.attrs))
    except DTypeError:
        return None
    free = [a for k, a in enumerate(arrays) if dtype in _domain(op, k)]
    return arrays if not arrays or any(a.dtype == dtype for a in free) else None


def _domain(op: Primitive, k: int) -> frozenset[DType]:
    if isinstance(op, Elementwise):
        return op.mixed[k] if op.mixed else op.domain
    if isinstance(op, Reduce):
        return op.domain
    if op.name == "random_bits":
        return frozenset({np.dtype(np.uint32)})
    if k == 1 and op.name in ("take", "scatter_add", "window_scatter", "window_gather"):
        return frozenset({np.dtype(np.int32)})
    return ALL


def single(op: Primitive, c: Case, arrays: list[np.ndarray]) -> Graph:
    """The graph of one application."""
    builder = Builder(op.name)
    inputs = [builder.input(type_of(a)) for a in arrays]
    return builder.build(builder.emit(op, inputs, op.check_attrs(c.attrs)))


def applications() -> Iterator[Any]:
    for name, op in OPS.items():
        for dtype, short in SHORT_NAMES.items():
            usable = [c for c in cases(op) if operands(op, c, dtype) is not None]
            if usable and (op.samples.draws or dtype == F32):
                yield pytest.param(op, dtype, usable, id=f"{name}-{short}")


def widened(a: np.ndarray, dtype: DType) -> np.ndarray:
    return a.astype(F64) if a.dtype == dtype and is_float(dtype) else a


def assert_near(got: np.ndarray, want: np.ndarray, ulps: float, what: str) -> None:
    """Within `ulps` of the result's magnitude, or of the largest magnitude for ops that sum."""
    assert got.dtype == want.dtype or is_float(got.dtype), what
    assert got.shape == want.shape, what
    if not is_float(got.dtype):
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    wide, exact = got.astype(F64), want.astype(F64)
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(wide[~finite], exact[~finite], err_msg=what)
    scale = np.abs(exact[finite])
    if ulps > 2 and scale.size:
        scale = np.maximum(scale, scale.max())
    tiny = {F16: 2.0**-14, BF16: 2.0**-126, F32: 2.0**-126, F64: 2.0**-1022}[got.dtype]
    error = np.abs(wide[finite] - exact[finite]) / (EPSILON[got.dtype] * np.maximum(scale, tiny))
    assert error.size == 0 or error.max() <= ulps, f"{what}: {error.max():.2f} ulp"


@pytest.mark.parametrize(("op", "dtype", "usable"), list(applications()))
@pytest.mark.parametrize("backend", BACKENDS)
def test_forward(op: Primitive, dtype: DType, usable: list[Case], backend: str) -> None:
    """The compiled op agrees with its reference, evaluated in float64 for floats."""
    for c in usable:
        arrays = operands(op, c, dtype)
        assert arrays is not None
        graph = single(op, c, arrays)
        (got,) = Lowered(graph, backend=backend).compile()(arrays)
        attrs = op.check_attrs(c.attrs)
        if dtype in (F16, BF16):
            (want,) = interpret(graph, *arrays)
        else:
            with np.errstate(all="ignore"):
                want = np.asarray(op.reference(*(widened(a, dtype) for a in arrays), **attrs))
        if not is_float(graph.outputs[0].dtype):
            (want,) = interpret(graph, *arrays)
        assert_near(got, want, max(op.samples.ulps, 1.0), f"{op.name} {[type_of(a) for a in arrays]} {dict(attrs)}")


def gradients() -> Iterator[Any]:
    for name, op in OPS.items():
        if op.grad is not no_gradient and op.samples.smooth and op is not relayout:
            yield pytest.param(op, id=name)


@pytest.mark.parametrize("op", list(gradients()))
def test_gradient(op: Primitive) -> None:
    """The gradient rule agrees with central differences of the reference in float64, in a random direction."""
    for c in cases(op):
        if c.attrs.get("chunks"):
            continue
        attrs = {k: (F64 if k == "dtype" and isinstance(op, Elementwise) else v) for k, v in c.attrs.items()}
        arrays = operands(op, case(*c.shapes, **attrs), F64)
        if arrays is None:
            continue
        real = [k for k, a in enumerate(arrays) if a.dtype == F64]
        rng = np.random.default_rng(1)
        directions = {k: rng.standard_normal(arrays[k].shape) for k in real}
        checked = op.check_attrs(attrs)

        def value(t: float, arrays: Any = arrays, directions: Any = directions, checked: Any = checked) -> np.ndarray:
            moved = [a + t * directions[k] if k in directions else a for k, a in enumerate(arrays)]
            with np.errstate(all="ignore"):
                return np.asarray(op.reference(*moved, **checked), F64)

        weight = rng.standard_normal(value(0.0).shape)
        step = 1e-6
        want = float(((value(step) - value(-step)) * weight).sum() / (2 * step))

        def pullback(*xs: Any, real: Any = real, checked: Any = checked) -> list[Any]:
            marked = [mark(x) if k in real else x for k, x in enumerate(xs[:-1])]
            out = op(*marked, **checked)
            return backward([out], [xs[-1]], [marked[k] for k in real])

        graph = trace(pullback, [*map(type_of, arrays), TensorType(F64, weight.shape)])
        for grads in (interpret(graph, *arrays, weight), Lowered(graph).compile()([*arrays, weight])):
            got = sum(float((g * directions[k]).sum()) for g, k in zip(grads, real, strict=True))
            assert got == pytest.approx(want, rel=2e-5, abs=2e-6), f"{op.name} {c}"


@pytest.mark.parametrize("op", [pytest.param(op, id=name) for name, op in OPS.items()])
def test_bad_input(op: Primitive) -> None:
    """Unknown attributes, wrong dtypes, shapes and numbers of operands raise errors that name the op."""
    c = cases(op)[0]
    arrays = operands(op, c, F32)
    if arrays is None:
        arrays = next(a for d in SHORT_NAMES if (a := operands(op, c, d)) is not None)
    types = [type_of(a) for a in arrays]
    attrs = op.check_attrs(c.attrs)
    with pytest.raises(AttributeSpecError, match=op.name):
        op.check_attrs({**c.attrs, "no_such_attribute": 1})
    for key in op.attrs:
        with pytest.raises(AttributeSpecError, match=key):
            op.check_attrs({**c.attrs, key: object()})
        with pytest.raises(AttributeSpecError, match=op.name):
            op.check_attrs({k: v for k, v in c.attrs.items() if k != key})
    with pytest.raises(TgcError, match=op.name):
        op.infer([*types, *types, TensorType(BOOL, (1, 2, 3, 4, 5, 6, 7))], attrs)
    if len(types) > 1:
        with pytest.raises(ShapeError, match=op.name):
            op.infer([TensorType(types[0].dtype, (2, 3, 4, 5, 6, 7)), *types[1:]], attrs)
    outside = [d for d in SHORT_NAMES if d not in _domain(op, 0)]
    if types and outside:
        with pytest.raises(DTypeError, match=op.name):
            op.infer([TensorType(outside[0], types[0].shape), *types[1:]], attrs)


def test_every_op_is_tested() -> None:
    """Each op has a forward test, and a gradient test unless its definition says that it has none."""
    forward = {p.values[0].name for p in applications()}
    assert forward == set(OPS)
