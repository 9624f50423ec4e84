"""Every op, tested from its definition: forward on every backend and in every dtype, and its gradient."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from opcases import BACKENDS, ELEMENTWISE, EPSILON, OPS, TINY, cases, domain, operands, references, together, widened

from tgc.autodiff import backward, mark
from tgc.errors import GradientError
from tgc.interpret import interpret
from tgc.ops import elementwise, movement
from tgc.ops.kinds import Elementwise, Primitive, no_gradient
from tgc.ops.opaque import Opaque
from tgc.ops.samples import Case, distinct
from tgc.runtime.lowered import Lowered
from tgc.trace import Tracer, trace
from tgc.types import C64, C128, F32, F64, I32, INTS, SHORT_NAMES, DType, is_complex, is_inexact, tensor_type, type_of


def applications() -> Iterator[Any]:
    """Ops and dtypes, with cases: all of them in one dtype; in the others two, in most integers and elementwise one."""
    for name, op in OPS.items():
        usable = {d: found for d in SHORT_NAMES if (found := [c for c in cases(op) if operands(op, c, d) is not None])}
        most = F32 if F32 in usable else next(iter(usable))
        for k, (dtype, chosen) in enumerate(usable.items()):
            if dtype != most and not op.samples.draws:
                continue
            if dtype != most and op is not elementwise.cast:
                n = len(chosen)
                second = k if dtype in INTS - {I32} else k + n // 2
                chosen = [chosen[i] for i in sorted({k % n, second % n})] if op.samples.cases else chosen[:1]
            yield pytest.param(op, dtype, chosen, id=f"{name}-{SHORT_NAMES[dtype]}")


def assert_near(got: np.ndarray, want: np.ndarray, ulps: float, what: str) -> None:
    """Within `ulps` of the result's magnitude, or of the largest magnitude for ops that sum.

    Twice that for complex numbers, whose parts are the results of several functions each.
    """
    assert got.shape == want.shape, what
    if not is_inexact(got.dtype) or not ulps:
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    to = np.clongdouble if is_complex(got.dtype) else F64
    wide, exact = got.astype(to), want.astype(got.dtype).astype(to)
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(wide[~finite], exact[~finite], err_msg=what)
    exact = want.astype(to)[finite]
    scale = np.maximum(np.abs(exact), TINY[got.dtype])
    if ulps > 2 and scale.size:
        scale = np.maximum(scale, scale.max())
    ulps *= 1 + is_complex(got.dtype)
    error = np.abs(wide[finite] - exact) / (EPSILON[got.dtype] * scale)
    assert error.size == 0 or error.max() <= ulps, f"{what}: {error.max():.2f} ulp"


@pytest.mark.parametrize(("op", "dtype", "chosen"), list(applications()))
@pytest.mark.parametrize("backend", BACKENDS)
def test_forward(op: Primitive, dtype: DType, chosen: list[Case], backend: str) -> None:
    """The compiled op agrees with its reference, evaluated in float64 for float32 and float64.

    Elementwise ops on complex128 in a wider type, where the machine has one: NumPy's powers are off by more than ours.
    """
    longer = isinstance(op, Elementwise) and op is not elementwise.cast and dtype == C128
    applied = [(c, arrays) for c in chosen if (arrays := operands(op, c, dtype)) is not None]
    graph = together(op, applied)
    inputs = [a for _, arrays in applied for a in arrays]
    results = Lowered(graph, backend=backend).compile()(inputs)
    found = zip(results, interpret(graph, *inputs), graph.outputs, strict=True)
    for c, arrays in applied:
        exactly = [a.astype(np.clongdouble) if longer and a.dtype == C128 else widened(a) for a in arrays]
        exact = references(op, exactly, op.check_attrs(c.attrs))
        for want in exact:
            got, oracle, out = next(found)
            assert got.dtype == out.dtype
            wide = dtype in (F32, F64, C64, C128) and is_inexact(out.dtype) and not isinstance(op, Opaque)
            what = f"{op.name} {[*map(type_of, arrays)]} {dict(c.attrs)}"
            assert_near(got, want if wide else oracle, op.samples.ulps, what)
    assert next(found, None) is None


# -------------------------------------------------------------------------------------------------------- gradients


def gradients() -> Iterator[Any]:
    for name, op in OPS.items():
        if op.grad is not no_gradient and op.samples.smooth and op is not movement.relayout:
            for dtype in (F64, C128):
                if next(differentiable(op, dtype), None):
                    yield pytest.param(op, dtype, id=f"{name}-{SHORT_NAMES[dtype]}")


def differentiable(op: Primitive, dtype: DType) -> Iterator[tuple[dict[str, Any], list[np.ndarray], list[int]]]:
    """The cases with operands in `dtype` and such results: attributes, operands, and which of these are in `dtype`."""
    for c in cases(op):
        arrays, attrs = operands(op, c, dtype), op.check_attrs(c.attrs)
        if arrays is None or attrs.get("chunks"):
            continue
        real = [k for k, a in enumerate(arrays) if a.dtype == dtype]
        results = {t.dtype for t in op.infer([*map(type_of, arrays)], attrs)}
        if real and results & {F64, C128} and not (op.samples.phases and C128 in results):
            yield attrs, arrays, real


@pytest.mark.parametrize(("op", "dtype"), list(gradients()))
def test_gradient(op: Primitive, dtype: DType) -> None:
    """The gradient rule agrees with central differences of the reference in float64, in a random direction.

    A complex cotangent c is that of the real function: it changes by Re(c d) in the direction d.
    """
    rng = np.random.default_rng(1)

    def noise(like: np.ndarray) -> np.ndarray:
        made = rng.standard_normal(like.shape) + (1j * rng.standard_normal(like.shape) if is_complex(like.dtype) else 0)
        return np.asarray(made * is_inexact(like.dtype))

    applied = list(differentiable(op, dtype))
    weights = [[noise(y) for y in references(op, arrays, attrs)] for attrs, arrays, _ in applied]

    def pullback(*inputs: Tracer) -> list[Any]:
        rest, grads = iter(inputs), []
        for (attrs, arrays, real), weight in zip(applied, weights, strict=True):
            marked = [mark(x) if k in real else x for k, x in enumerate(itertools.islice(rest, len(arrays)))]
            made = op(*marked, **attrs)
            outs = [*made] if isinstance(made, tuple) else [made]
            pairs = [
                (y, g) for y, g in zip(outs, itertools.islice(rest, len(weight)), strict=True) if is_inexact(y.dtype)
            ]
            grads += backward([y for y, _ in pairs], [g for _, g in pairs], [marked[k] for k in real])
        return grads

    inputs = [a for (_, arrays, _), w in zip(applied, weights, strict=True) for a in (*arrays, *w)]
    graph = trace(pullback, [*map(type_of, inputs)])
    compiled, interpreted = iter(Lowered(graph).compile()(inputs)), iter(interpret(graph, *inputs))
    step = 1e-6
    for (attrs, arrays, real), weight in zip(applied, weights, strict=True):
        directions = [noise(a) if k in real else None for k, a in enumerate(arrays)]
        high, low = (
            references(op, [a if d is None else a + t * d for a, d in zip(arrays, directions, strict=True)], attrs)
            for t in (step, -step)
        )
        want = sum(float(np.real((h - m) * w).sum()) for h, m, w in zip(high, low, weight, strict=True)) / (2 * step)
        for grads in (interpreted, compiled):
            got = sum(float(np.real(next(grads) * directions[k]).sum()) for k in real)
            assert got == pytest.approx(want, rel=2e-5, abs=2e-6), f"{op.name} {[*map(type_of, arrays)]} {attrs}"


def test_sums_in_chunks_have_no_gradient() -> None:
    """Chunks are introduced after differentiation."""
    smooth = [op for op in OPS.values() if op.grad is not no_gradient]
    chunked = {op: c for op in smooth for c in cases(op) if c.attrs.get("chunks") and 0 not in c.shapes[0]}
    assert {op.name for op in chunked} == {"sum", "prod", "max", "min", "conv_kernel_grad"}
    for op, c in chunked.items():
        types, attrs = [tensor_type(F32, shape) for shape in c.shapes], op.check_attrs(c.attrs)

        def pullback(g: Tracer, *xs: Tracer, op: Primitive = op, attrs: Any = attrs) -> list[Tracer]:
            xs = tuple(map(mark, xs))
            return backward([op(*xs, **attrs)], [g], xs)

        with pytest.raises(GradientError, match="chunks"):
            trace(pullback, [*op.infer(types, attrs), *types])


def test_distinct_draws() -> None:
    """Far from zero and from each other, whatever the number of draws."""
    for shape in ((), (1,), (2,), (5,), (3, 37)):
        x = np.sort(distinct(-4, 4)(np.random.default_rng(0), F64, shape).ravel())
        assert np.abs(x).min() > 0.19
        assert np.abs(x).max() <= 4
        assert np.diff(x).min(initial=1) > 0.06


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
