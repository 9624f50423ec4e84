"""Every op with sample operands, from its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tgc.errors import DTypeError
from tgc.ir import Builder, Graph, Value
from tgc.ops import REGISTRY, creation, movement, scatter, window
from tgc.ops.attention import FLOATS, Attention
from tgc.ops.cumulative import Cumulative
from tgc.ops.kinds import Control, Elementwise, Primitive, Reduce, Region, Scatter
from tgc.ops.opaque import Opaque
from tgc.ops.samples import Case, case
from tgc.types import (
    ALL,
    BF16,
    BOOL,
    C64,
    C128,
    F8E4M3,
    F8E5M2,
    F16,
    F32,
    F64,
    I32,
    INTS,
    REALS,
    U32,
    DType,
    is_complex,
    is_inexact,
    type_of,
)

OPS = {name: op for name, op in REGISTRY.items() if isinstance(op, Primitive) and not isinstance(op, Region | Control)}
ELEMENTWISE = {name: op for name, op in OPS.items() if isinstance(op, Elementwise)}
EPSILON = {F8E4M3: 2.0**-3, F8E5M2: 2.0**-2, F16: 2.0**-10, BF16: 2.0**-7, F32: 2.0**-23, F64: 2.0**-52}
TINY = {F8E4M3: 2.0**-6, F8E5M2: 2.0**-14, F16: 2.0**-14, BF16: 2.0**-126, F32: 2.0**-126, F64: 2.0**-1022}
EPSILON |= {C64: EPSILON[F32], C128: EPSILON[F64]}
TINY |= {C64: TINY[F32], C128: TINY[F64]}
SHAPES = ((3, 37), (), (0, 4))
BACKENDS = ("cpu",)
every_op = pytest.mark.parametrize("op", [pytest.param(op, id=name) for name, op in OPS.items()])


STARTS = {"dynamic_slice": 1, "dynamic_update_slice": 2}  # the first operand that is a start


def cases(op: Primitive) -> tuple[Case, ...]:
    """The op's cases; an elementwise op has operands of one shape."""
    return op.samples.cases or tuple(case(*([shape] * op.arity)) for shape in SHAPES)  # type: ignore[attr-defined]


def domain(op: Primitive, k: int) -> frozenset[DType]:
    """The dtypes that operand `k` may have."""
    if isinstance(op, Elementwise):
        return op.mixed[k] if op.mixed else op.domain
    if isinstance(op, Reduce | Cumulative | Opaque):
        return op.domain
    if isinstance(op, Attention):
        return FLOATS if k < op.arity else frozenset({BOOL})
    if op is creation.random_bits:
        return frozenset({U32})
    indexed = op in (movement.take, window.window_scatter, window.window_gather) or isinstance(op, Scatter)
    if k == 1 and indexed:
        return INTS
    if k >= STARTS.get(op.name, k + 1):
        return frozenset({I32})
    return REALS if isinstance(op, Scatter) and op is not scatter.scatter_set else ALL


def operands(op: Primitive, c: Case, dtype: DType, seed: int = 0) -> list[np.ndarray] | None:
    """Sample operands, those whose dtype is free in `dtype`; None if the op is not defined for it."""
    rng = np.random.default_rng(seed)
    domains = [domain(op, k) for k in range(len(c.shapes))]
    dtypes = [dtype if dtype in d else I32 if I32 in d else min(d, key=str) for d in domains]
    draws = zip(op.samples.draws, dtypes, c.shapes, strict=False)  # concat takes any number of operands
    arrays = [draw(rng, d, shape) for draw, d, shape in draws]
    if domains and not any(dtype in d for d in domains):
        return None
    try:
        op.infer([type_of(a) for a in arrays], op.check_attrs(c.attrs))
    except DTypeError:
        return None
    return arrays


def together(op: Primitive, applied: list[tuple[Case, list[np.ndarray]]]) -> Graph:
    """The graph of several applications, so that one compilation serves them all."""
    builder = Builder(op.name)
    outputs: list[Value] = []
    for c, arrays in applied:
        inputs = [builder.input(type_of(a)) for a in arrays]
        outputs += builder.emit(op, inputs, op.check_attrs(c.attrs))
    return builder.build(outputs)


def widened(a: np.ndarray) -> np.ndarray:
    return a.astype(C128 if is_complex(a.dtype) else F64) if is_inexact(a.dtype) else a


def references(op: Primitive, arrays: list[np.ndarray], attrs: dict[str, Any]) -> list[np.ndarray]:
    """The results of the op."""
    with np.errstate(all="ignore"):
        found = op.reference(*arrays, **attrs)
    return [np.asarray(r) for r in (found if isinstance(found, tuple) else (found,))]


def reference(op: Primitive, arrays: list[np.ndarray], attrs: dict[str, Any]) -> np.ndarray:
    """The only result of the op."""
    (result,) = references(op, arrays, attrs)
    return result
