"""What ops refuse, and that their errors say so."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from opcases import ELEMENTWISE, OPS, STARTS, cases, domain, every_op, operands

from tgc.errors import AttributeSpecError, DTypeError, OutOfRangeError, ShapeError, TgcError
from tgc.ops import elementwise, movement, scatter
from tgc.ops.cumulative import Cumulative
from tgc.ops.kinds import Primitive, Reduce
from tgc.types import BOOL, F16, F32, F64, I32, I64, SHORT_NAMES, U8, DType, Layout, TensorType, tensor_type, type_of

SCALAR, LARGE = (), (2, 3, 4, 5, 6, 7)
FIT = {  # shapes of an operand that fit the first case of an op after all
    ("take", 0): {LARGE}, ("take", 1): {SCALAR, LARGE}, ("reverse", 0): {LARGE},
    **{(name, 0): {LARGE} for name in ("sort", "argsort", "svd", "qr", "lu", "pinv", "fft", "rfft", "bitcast")},
    **{(name, k): {SCALAR} for name, first in STARTS.items() for k in (first, first + 1)},
    **{(op.name, 0): {LARGE} for op in OPS.values() if isinstance(op, Reduce | Cumulative)},
    **{(op.name, 0): {SCALAR, LARGE} for op in ELEMENTWISE.values() if op.arity == 1},
}  # fmt: skip


ANY = frozenset({"barrier"})  # ops that take tensors of any types, as many as there are


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
    if op.name in ANY:
        assert op.infer([*types, *types], attrs) == (types[0],)
        with pytest.raises(ShapeError, match=op.name):
            op.infer([], attrs)
        return
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
        for outside in SHORT_NAMES.keys() - domain(op, k):
            with pytest.raises(DTypeError, match=op.name):
                op.infer([*types[:k], TensorType(outside, t.shape), *types[k + 1 :]], attrs)


@every_op
def test_operands_of_one_dtype(op: Primitive) -> None:
    """Operands whose domains are the same must agree on a dtype."""
    types, attrs = first_types(op), op.check_attrs(cases(op)[0].attrs)
    for (i, a), (k, b) in itertools.permutations(enumerate(types), 2):
        if domain(op, i) == domain(op, k) and a.dtype == b.dtype and op.name not in ANY:
            for other in {*domain(op, k), I64} - {b.dtype}:
                with pytest.raises(DTypeError, match=op.name):
                    op.infer([*types[:k], TensorType(other, b.shape), *types[k + 1 :]], attrs)


WINDOW = {"window": (2,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)}
CONV = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}


REFUSED: tuple[tuple[str, list[tuple[int, ...]], dict[str, Any], str], ...] = (
    ("max", [(3,)], {"axes": (0,), "chunks": 4}, r"\(f32\[3\]\): cannot cut axis 0 of size 3 in 4 chunks"),
    ("min", [(0,)], {"axes": (0,), "chunks": 0}, "cannot reduce an axis of size zero"),
    ("sum", [(3,)], {"axes": (0,), "chunks": -1}, "cannot reduce in -1 chunks"),
    ("sum", [(3,)], {"axes": (), "chunks": 2}, "cannot reduce in 2 chunks"),
    ("argmax", [(3,)], {"axes": (0,), "chunks": 2}, "cannot reduce in 2 chunks"),
    ("broadcast", [(4,)], {"axes": (1,), "shape": (-3, 4)}, r"\(f32\[4\]\): .* no negative sizes, got \(-3, 4\)"),
    ("reshape", [(4,)], {"shape": (-2, -2)}, r"no negative sizes, got \(-2, -2\)"),
    ("full", [], {"shape": (-1,), "dtype": F32, "value": 1.0}, r"no negative sizes, got \(-1,\)"),
    ("iota", [], {"shape": (2, -1), "dtype": I32, "axis": 0}, r"no negative sizes, got \(2, -1\)"),
    ("relayout", [(4, 4)], {"order": (0, 1), "tiles": ((1, 2), (1, 2))}, "no layout"),
    ("relayout", [(4, 4)], {"order": (0, 1), "tiles": ((1, 2, 3),)}, "no layout"),
    ("relayout", [(4, 4)], {"order": (0, 0), "tiles": ()}, "no layout"),
    ("conv", [(1, 4, 2), (0, 2, 3)], CONV, "kernel.* must be positive"),
    ("conv", [(1, 4, 2), (5, 2, 3)], CONV, r"kernel \(5,\) is larger"),
    ("conv", [(1, 4, 2), (2, 2, 3)], CONV | {"padding": ((1,),)}, "padding is"),
    ("conv_kernel_grad", [(1, 4, 2), (1, 5, 3)], CONV | {"chunks": 0, "kernel": (0,)}, "kernel.* must be positive"),
    ("conv_kernel_grad", [(1, 4, 2), (1, 7, 3)], CONV | {"chunks": 0, "kernel": (-2,)}, "kernel.* must be positive"),
    ("conv_kernel_grad", [(1, 4, 2), (1, 3, 3)], CONV | {"chunks": 0, "kernel": (2, 2)}, "kernel.* need 1 entries"),
    ("conv_kernel_grad", [(1, 4, 2), (1, 4, 3)], CONV | {"chunks": 0, "kernel": (2,)}, "operand 1 is no result"),
    ("conv_kernel_grad", [(3, 4, 2), (3, 3, 3)], CONV | {"chunks": 2, "kernel": (2,)}, "3 images cannot be cut in 2"),
    ("window_sum", [(4,)], WINDOW | {"padding": ((1,),)}, "need one entry an axis"),
    ("window_max", [(4,)], WINDOW | {"padding": ((1, 0, 0),)}, "need one entry an axis"),
    ("window_max", [(4,)], WINDOW | {"padding": ((2, 0),)}, "padding 2, 0 is"),
    ("window_argmax", [(1,)], WINDOW, r"window \(2,\) is larger"),
)


@pytest.mark.parametrize(("op", "shapes", "attrs", "message"), REFUSED)
def test_shapes_that_do_not_fit(op: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=f"^{op}.*{message}"):
        OPS[op].infer([tensor_type(F32, s) for s in shapes], OPS[op].check_attrs(attrs))


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [(U8, 256, "256 does not fit uint8"), (U8, -1, "-1 does not fit"), (F32, 1, "1 is no float"), (BOOL, 1, "no bool")],
)
def test_fills_must_be_of_their_dtype(dtype: DType, value: float, message: str) -> None:
    with pytest.raises(AttributeSpecError, match=f"^full: .*{message}"):
        OPS["full"].infer([], {"shape": (), "dtype": dtype, "value": value})


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
