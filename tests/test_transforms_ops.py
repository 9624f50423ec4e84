"""Every op under the transforms, from its definition: mapped over an axis, and differentiated in both modes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from opcases import OPS, cases, operands, references
from traced import graph_of

from tgc.errors import OutOfRangeError
from tgc.interpret import interpret
from tgc.ops import movement, scatter
from tgc.ops.kinds import Primitive, no_gradient
from tgc.runtime.lowered import Lowered
from tgc.transforms import jvp, vjp, vmap
from tgc.types import C128, F32, F64, SHORT_NAMES, DType, is_float

SIZE = 3
WIDE = (F64, C128)
mapped_ops = pytest.mark.parametrize("op", [pytest.param(op, id=n) for n, op in OPS.items() if op.samples.draws])


def batches(op: Primitive) -> Iterator[tuple[dict[str, Any], list[list[np.ndarray]], tuple[bool, ...]]]:
    """Attributes, operands of each element of a batch, and which of them differ; every choice of these."""
    for c in cases(op):
        dtype = next(d for d in (F32, *SHORT_NAMES) if operands(op, c, d) is not None)
        elements: list[list[np.ndarray]] = [operands(op, c, dtype, seed) or [] for seed in range(SIZE)]
        for chosen in itertools.product((True, False), repeat=len(c.shapes)):
            if any(chosen):
                mixed = [[x if own else y for x, y, own in zip(e, elements[0], chosen, strict=True)] for e in elements]
                yield op.check_attrs(c.attrs), mixed, chosen


def stacked(elements: list[list[np.ndarray]], chosen: tuple[bool, ...], axis: int = 0) -> list[np.ndarray]:
    return [
        np.stack(xs, axis if own else 0) if own else xs[0]
        for xs, own in zip(zip(*elements, strict=True), chosen, strict=True)
    ]


@mapped_ops
def test_vmap(op: Primitive) -> None:
    """The op mapped over an axis is the op of each element, whichever operands have the axis, and wherever."""
    applied = list(batches(op))
    places = [-1 if k % 2 else 0 for k in range(len(applied))]
    inputs = [stacked(e, own, at) for (_, e, own), at in zip(applied, places, strict=True)]

    def whole(*arrays: Any) -> list[Any]:
        rest, made = iter(arrays), []
        for (attrs, _, own), at in zip(applied, places, strict=True):
            axes = tuple(at if here else None for here in own)
            mapped = vmap(lambda *xs, attrs=attrs: op(*xs, **attrs), axes, at)
            results = mapped(*itertools.islice(rest, len(own)))
            made += results if isinstance(results, tuple) else [results]
        return made

    flat = [a for arrays in inputs for a in arrays]
    found = iter(interpret(graph_of(whole, *flat), *flat))
    wanted = [
        (attrs, own, np.stack(ys, at))
        for (attrs, elements, own), at in zip(applied, places, strict=True)
        for ys in zip(*(references(op, e, attrs) for e in elements), strict=True)
    ]
    for (attrs, own, want), got in zip(wanted, found, strict=True):
        assert got.dtype == want.dtype
        rounding = op.samples.ulps * 2.0**-23 if is_float(got.dtype) and op.samples.ulps > 2 else 0
        scale = np.max(np.abs(want), initial=1) if rounding else 1
        np.testing.assert_allclose(got, want, rtol=0, atol=rounding * scale, err_msg=f"{op.name} {own} {attrs}")


def test_ops_without_operands_have_nothing_to_map() -> None:
    assert {name for name, op in OPS.items() if not op.samples.draws} == {"full", "iota"}
    for name in ("full", "iota"):
        with pytest.raises(AssertionError, match="without operands"):
            OPS[name].batch((), ())  # type: ignore[misc]


def test_vmap_compiled() -> None:
    """Batch rules that gather, scatter and contract, and keys of many draws, compiled as one program."""
    names = ("take", "scatter_add", "dot", "conv", "conv_kernel_grad", "random_bits", "window_max", "pad", "barrier")
    applied = [(OPS[n], attrs, e, own) for n in names for attrs, e, own in itertools.islice(batches(OPS[n]), 3)]
    flat = [a for _, _, e, own in applied for a in stacked(e, own)]

    def whole(*arrays: Any) -> list[Any]:
        rest, made = iter(arrays), []
        for op, attrs, _, own in applied:
            axes = tuple(0 if here else None for here in own)
            made.append(vmap(lambda *xs, op=op, attrs=attrs: op(*xs, **attrs), axes)(*itertools.islice(rest, len(own))))
        return made

    graph = graph_of(whole, *flat)
    for got, want in zip(Lowered(graph).compile()(flat), interpret(graph, *flat), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrong", [4, -5, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("which", [0, 1])
def test_indices_of_mapped_axes_are_checked(wrong: int, which: int) -> None:
    """An index past the end of one element's axis does not reach the next element."""
    x, index = np.ones((2, 4, 3), np.float32), np.zeros((2, 5), np.int32)
    index[which, 1] = wrong
    takes = graph_of(vmap(movement.take), x, index)
    adds = graph_of(vmap(scatter.scatter_add), x, index, np.ones((2, 5, 3), np.float32))
    with pytest.raises(OutOfRangeError):
        interpret(takes, x, index)
    with pytest.raises(OutOfRangeError):
        interpret(adds, x, index, np.ones((2, 5, 3), np.float32))


# ---------------------------------------------------------------------------------------------------- derivatives


def smooth_ops() -> list[Any]:
    smooth = [op for op in OPS.values() if op.grad is not no_gradient and op.samples.smooth]
    return [
        pytest.param(op, dtype, id=f"{op.name}-{SHORT_NAMES[dtype]}")
        for op, dtype in itertools.product(smooth, WIDE)
        if op is not movement.relayout and any(operands(op, c, dtype) is not None for c in cases(op))
    ]


def noise(rng: np.random.Generator, like: np.ndarray) -> np.ndarray:
    made = rng.standard_normal(like.shape)
    return np.asarray(made + 1j * rng.standard_normal(like.shape) if like.dtype == C128 else made)


@pytest.mark.parametrize(("op", "dtype"), smooth_ops())
def test_forward_and_reverse_mode_agree(op: Primitive, dtype: DType) -> None:
    """<J v, u> = <v, J^T u>, and J v is what central differences of the reference say.

    The product of a complex tangent and a cotangent is the real part of the sum of their products.
    """
    rng = np.random.default_rng(0)
    for c in cases(op):
        arrays, attrs = operands(op, c, dtype), op.check_attrs(c.attrs)
        if arrays is None or attrs.get("chunks"):
            continue
        real = [k for k, a in enumerate(arrays) if a.dtype == dtype]
        real_results = [k for k, y in enumerate(references(op, arrays, attrs)) if y.dtype in WIDE]
        if not real or not real_results:
            continue
        ways = [noise(rng, arrays[k]) for k in real]

        def values(xs: Any, attrs: Any = attrs, which: Any = real_results) -> list[np.ndarray]:
            """The results in double precision."""
            return [references(op, xs, attrs)[k] for k in which]

        weights = [noise(rng, y) for y in values(arrays)]

        def applied(
            *xs: Any, arrays: Any = arrays, attrs: Any = attrs, real: Any = real, which: Any = real_results
        ) -> Any:
            new = dict(enumerate(arrays)) | dict(zip(real, xs, strict=True))
            made = op(*new.values(), **attrs)
            return tuple(made[k] for k in which) if isinstance(made, tuple) else (made,)

        def both(*flat: Any, n: int = len(real), applied: Any = applied) -> list[Any]:
            xs, vs, us = flat[:n], flat[n : 2 * n], flat[2 * n :]
            outs, tangents = jvp(applied, xs, vs)
            _, pullback = vjp(applied, *xs)
            return [*outs, *tangents, *pullback(us)]

        flat = [*(arrays[k] for k in real), *ways, *weights]
        found, m = interpret(graph_of(both, *flat), *flat), len(weights)
        outs, tangents, cotangents = found[:m], found[m : 2 * m], found[2 * m :]
        for out, want in zip(outs, values(arrays), strict=True):
            np.testing.assert_array_equal(out, want)
        left = sum(float(np.real(t * w).sum()) for t, w in zip(tangents, weights, strict=True))
        right = sum(float(np.real(g * v).sum()) for g, v in zip(cotangents, ways, strict=True))
        assert left == pytest.approx(right, rel=1e-10, abs=1e-10), f"{op.name} {attrs}"
        if op.samples.phases and any(y.dtype == C128 for y in outs):
            continue
        moved = []
        for h in (1e-6, -1e-6):
            new = dict(enumerate(arrays)) | {k: arrays[k] + h * v for k, v in zip(real, ways, strict=True)}
            moved.append(values(list(new.values())))
        for tangent, high, low in zip(tangents, *moved, strict=True):
            slope = (high - low) / 2e-6
            np.testing.assert_allclose(tangent, slope, rtol=2e-5, atol=2e-5, err_msg=f"{op.name} {attrs}")
