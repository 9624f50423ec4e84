"""Contractions: matrix products of all shapes, convolution and its gradient by the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tgc.errors import DTypeError, GradientError
from tgc.ops.contraction_batch import batch_conv, batch_dot, batch_kernel_grad
from tgc.ops.conv_phases import conv_input_grad
from tgc.ops.kinds import AttrSpec, AxisMap, Contraction, Primitive, integer, integers, pairs
from tgc.ops.movement import transpose
from tgc.ops.samples import case, reals, samples
from tgc.types import BF16, F16, F32, I8, I32, NUMBERS, U8, DType, TensorType, as_dtype

WIDE: AttrSpec = MappingProxyType({"dtype": as_dtype})
"""Optional attribute of a contraction of 8-bit integers, whose signs may differ: that it multiplies and sums in int32.

Passes make such contractions of those in int32 whose operands are casts (`tgc.passes.quads`).
"""


def _wide(x: np.ndarray, dtype: DType | None = None) -> np.ndarray:
    """What is multiplied and summed: half precision in float32, anything in `dtype` if that is given."""
    return x.astype(dtype or (F32 if x.dtype in (F16, BF16) else x.dtype), copy=False)


def _operands(
    op: Primitive, operands: Sequence[TensorType], dtype: DType | None = None
) -> tuple[TensorType, TensorType, DType]:
    """The operands, and the dtype of the result."""
    op.expect(operands, NUMBERS, NUMBERS)
    lhs, rhs = operands
    if dtype is not None:
        if dtype != I32 or not {lhs.dtype, rhs.dtype} <= {I8, U8}:
            raise DTypeError(f"{op.name}({lhs}, {rhs}): only 8-bit integers are summed in another dtype, which is i32")
        return lhs, rhs, dtype
    if lhs.dtype != rhs.dtype:
        raise DTypeError(f"{op.name}({lhs}, {rhs}): operand dtypes differ")
    return lhs, rhs, lhs.dtype


# ------------------------------------------------------------------------------------------------------------- dot


def _free(rank: int, batch: Sequence[int], contract: Sequence[int]) -> list[int]:
    return [a for a in range(rank) if a not in batch and a not in contract]


def _dot_type(
    op: Primitive, operands: Sequence[TensorType], *, batch: Any, contract: Any, dtype: DType | None = None
) -> TensorType:
    lhs, rhs, result = _operands(op, operands, dtype)
    types = lhs, rhs
    if len(batch) != 2 or len(contract) != 2:
        raise op.refuse("batch and contract name axes of both operands", operands)
    for t, b, c in zip(types, batch, contract, strict=True):
        if len({*b, *c}) != len(b) + len(c) or any(not 0 <= a < t.rank for a in (*b, *c)):
            raise op.refuse(f"batch axes {b} and contracted axes {c} are not distinct axes of {t}", operands)
    for what, (left, right) in (("batch", batch), ("contracted", contract)):
        if [lhs.shape[a] for a in left] != [rhs.shape[a] for a in right]:
            raise op.refuse(f"sizes of the {what} axes {left} and {right} differ", operands)
    shape = [lhs.shape[a] for a in batch[0]]
    for t, b, c in zip(types, batch, contract, strict=True):
        shape += [t.shape[a] for a in _free(t.rank, b, c)]
    return TensorType(result, tuple(shape))


def _dot_names(ranks: tuple[int, int], batch: Any, contract: Any) -> tuple[list[str], list[str], list[str]]:
    lhs, rhs = [""] * ranks[0], [""] * ranks[1]
    out = []
    for k, (i, j) in enumerate(zip(*batch, strict=True)):
        lhs[i] = rhs[j] = f"b{k}"
        out.append(f"b{k}")
    for k, (i, j) in enumerate(zip(*contract, strict=True)):
        lhs[i] = rhs[j] = f"k{k}"
    for names, letter in ((lhs, "m"), (rhs, "n")):
        free = [a for a, name in enumerate(names) if not name]
        for k, a in enumerate(free):
            names[a] = f"{letter}{k}"
            out.append(names[a])
    return lhs, rhs, out


def _dot_axes(lhs: TensorType, rhs: TensorType, *, batch: Any, contract: Any, dtype: DType | None = None) -> AxisMap:
    left, right, out = _dot_names((lhs.rank, rhs.rank), batch, contract)
    extents = dict(zip(left + right, lhs.shape + rhs.shape, strict=True))
    lhs_dims, rhs_dims, out_dims = (tuple({name: 1} for name in names) for names in (left, right, out))
    return AxisMap(extents, lhs_dims, rhs_dims, out_dims)


def _dot_reference(
    lhs: np.ndarray, rhs: np.ndarray, *, batch: Any, contract: Any, dtype: DType | None = None
) -> np.ndarray:
    left, right, out = _dot_names((lhs.ndim, rhs.ndim), batch, contract)
    letters = {name: i for i, name in enumerate(dict.fromkeys(left + right))}
    numbers = ([letters[n] for n in names] for names in (left, right, out))
    l, r, o = numbers  # noqa: E741
    x, y = _wide(lhs, dtype), _wide(rhs, dtype)
    return np.asarray(np.einsum(x, l, y, r, o, optimize=True)).astype(dtype or lhs.dtype)


def _dot_side(g: Any, x: Any, y: Any, batch: Any, contract: Any, *, left: bool) -> Any:
    """Cotangent of the left operand x, or else of the right operand y: g contracted with the other over its free axes.

    The product has the batch axes first, then the free and the contracted axes of the operand, or these before those,
    by the order of the factors: whichever is the operand's own order, if one is.
    """
    free = [_free(len(t.shape), b, c) for t, b, c in zip((x, y), batch, contract, strict=True)]
    nb, nx = len(batch[0]), len(free[0])
    mine, other = (0, 1) if left else (1, 0)
    contracted = sorted(range(len(contract[other])), key=lambda k: contract[other][k])
    kept = [contract[mine][k] for k in contracted]  # the axes that `other` brings along, in its order
    over = range(nb + nx, nb + nx + len(free[1])) if left else range(nb, nb + nx)
    factors = (g, tuple(range(nb)), tuple(over)), ((y, x)[mine], batch[other], tuple(free[other]))
    orders = {True: [*batch[mine], *free[mine], *kept], False: [*batch[mine], *kept, *free[mine]]}  # is g first?
    own = sorted(orders[left])
    first = not left if orders[left] != own and orders[not left] == own else left
    (a, a_batch, a_over), (b, b_batch, b_over) = factors if first else factors[::-1]
    product = dot(a, b, batch=(a_batch, b_batch), contract=(a_over, b_over))
    places = orders[first]
    perm = tuple(places.index(k) for k in range(len(places)))
    return product if perm == tuple(range(len(perm))) else transpose(product, perm=perm)


dot = Contraction(
    "dot",
    attrs={"batch": pairs, "contract": pairs},
    optional=WIDE,
    type_rule=_dot_type,
    axis_map=_dot_axes,
    reference=_dot_reference,
    batch=batch_dot,
    grad=lambda g, x, y, *, out, batch, contract: (
        _dot_side(g, x, y, batch, contract, left=True),
        _dot_side(g, x, y, batch, contract, left=False),
    ),
    samples=samples(
        reals(-2, 2), reals(-2, 2), ulps=64,
        cases=(
            case((3, 4), (4, 5), batch=((), ()), contract=((1,), (0,))),
            case((4, 3), (5, 4), batch=((), ()), contract=((0,), (1,))),
            case((2, 3, 4), (2, 4, 5), batch=((0,), (0,)), contract=((2,), (1,))),
            case((3, 2, 4), (5, 2, 4), batch=((1,), (1,)), contract=((2,), (2,))),
            case((2, 3, 4), (4, 2, 5), batch=((), ()), contract=((0, 2), (1, 0))),
            case((17, 37), (37, 33), batch=((), ()), contract=((1,), (0,))),
            case((30, 5), (5, 70), batch=((), ()), contract=((1,), (0,))),
            case((15, 1024), (1024, 5), batch=((), ()), contract=((1,), (0,))),  # rows whole pages apart
            case((3,), (3,), batch=((), ()), contract=((0,), (0,))),
            case((2,), (3,), batch=((), ()), contract=((), ())),
            case((0, 4), (4, 3), batch=((), ()), contract=((1,), (0,))),
            case((3, 0), (0, 2), batch=((), ()), contract=((1,), (0,))),
        ),
    ),
)  # fmt: skip

# ------------------------------------------------------------------------------------------------------ convolution

_CONV_ATTRS = {"stride": integers, "padding": pairs, "dilation": integers, "groups": integer}


def conv_shape(
    spatial: Sequence[int], kernel: Sequence[int], stride: Any, padding: Any, dilation: Any
) -> tuple[int, ...]:
    """Spatial sizes of a convolution's result: floor((n + low + high - (k-1)*d - 1) / s) + 1, or 0 if that is less."""
    return tuple(
        max((n + p[0] + p[1] - (k - 1) * d - 1) // s + 1, 0)
        for n, k, s, p, d in zip(spatial, kernel, stride, padding, dilation, strict=True)
    )


def _check_conv(op: Primitive, operands: Sequence[TensorType], kernel: Sequence[int], attrs: Any) -> tuple[int, ...]:
    """The spatial sizes of the convolution of operand 0 with a kernel."""
    rank = operands[0].rank - 2
    if rank < 1 or operands[1].rank != rank + 2:
        raise op.refuse("operands need a batch, at least one spatial and a channel axis", operands)
    if len(kernel) != rank or any(len(attrs[name]) != rank for name in ("stride", "padding", "dilation")):
        raise op.refuse(f"kernel, stride, padding and dilation need {rank} entries", operands)
    if any(k < 1 for k in (*kernel, *attrs["stride"], *attrs["dilation"], attrs["groups"])):
        raise op.refuse("kernel, stride, dilation and groups must be positive", operands)
    if any(len(p) != 2 or min(p) < 0 for p in attrs["padding"]):
        raise op.refuse("padding is (low, high), not negative, for each spatial axis", operands)
    x = operands[0]
    spatial = conv_shape(x.shape[1:-1], kernel, attrs["stride"], attrs["padding"], attrs["dilation"])
    if 0 in spatial and x.size:
        raise op.refuse(f"the kernel {tuple(kernel)} is larger than the padded operand", operands)
    return spatial


def _conv_type(
    op: Primitive, operands: Sequence[TensorType], *, groups: int, dtype: DType | None = None, **attrs: Any
) -> TensorType:
    x, w, result = _operands(op, operands, dtype)
    spatial = _check_conv(op, operands, w.shape[:-2], {**attrs, "groups": groups})
    if x.shape[-1] != w.shape[-2] * groups or w.shape[-1] % groups:
        raise op.refuse(
            f"{x.shape[-1]} input channels do not fit {w.shape[-2]} channels a filter in {groups} groups", operands
        )
    return TensorType(result, (x.shape[0], *spatial, w.shape[-1]))


def _conv_names(rank: int) -> tuple[list[str], list[str]]:
    return [f"h{a}" for a in range(rank)], [f"k{a}" for a in range(rank)]


def _groups(groups: int, value: int | None = None) -> dict[str, int]:
    """An entry for the axis of groups, if there are several."""
    return {"g": groups if value is None else value} if groups > 1 else {}


def _conv_axes(
    x: TensorType, w: TensorType, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: DType | None = None
) -> AxisMap:
    """out[n,h,(g,o)] = sum over k, c of x[n, h*stride + k*dilation, (g,c)] * w[k, c, (g,o)], less the padding."""
    h, k = _conv_names(x.rank - 2)
    spatial = conv_shape(x.shape[1:-1], w.shape[:-2], stride, padding, dilation)
    c, o = w.shape[-2], w.shape[-1] // groups
    extents = {"n": x.shape[0], **dict(zip(h, spatial, strict=True)), **_groups(groups), "o": o}
    extents |= {**dict(zip(k, w.shape[:-2], strict=True)), "c": c}
    channels, filters = {**_groups(groups, c), "c": 1}, {**_groups(groups, o), "o": 1}
    places = tuple({i: s, j: d} for i, j, s, d in zip(h, k, stride, dilation, strict=True))
    return AxisMap(
        extents,
        lhs=({"n": 1}, *places, channels),
        rhs=(*({j: 1} for j in k), {"c": 1}, filters),
        out=({"n": 1}, *({i: 1} for i in h), filters),
        low=(0, *(p[0] for p in padding), 0),
    )


def _patches(x: np.ndarray, kernel: Sequence[int], stride: Any, padding: Any, dilation: Any) -> np.ndarray:
    """[N, *spatial, C, *kernel]: the elements under each place of the kernel."""
    shape = (x.shape[0], *conv_shape(x.shape[1:-1], kernel, stride, padding, dilation), x.shape[-1], *kernel)
    x = np.pad(_wide(x), ((0, 0), *padding, (0, 0)))
    if 0 in shape:
        return np.zeros(shape, x.dtype)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(1, x.ndim - 1)))
    return view[
        (slice(None), *(slice(None, None, s) for s in stride), slice(None), *(slice(None, None, d) for d in dilation))
    ]


def _conv_reference(
    x: np.ndarray, w: np.ndarray, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: DType | None = None
) -> np.ndarray:
    rank, c, o = x.ndim - 2, w.shape[-2], w.shape[-1] // groups
    made = dtype or x.dtype
    x, w = _wide(x, dtype), _wide(w, dtype)
    patches = _patches(x, w.shape[:-2], stride, padding, dilation)
    outs = []
    for g in range(groups):
        part = patches[(*[slice(None)] * (rank + 1), slice(g * c, (g + 1) * c))]
        kernel = np.moveaxis(w[..., g * o : (g + 1) * o], -2, 0)  # [c, *kernel, o]
        outs.append(np.tensordot(part, kernel, rank + 1))
    return np.concatenate(outs, -1).astype(made)


_CONV_CASES = (
    case((2, 5, 6, 3), (3, 3, 3, 4), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1),
    case((1, 7, 6, 2), (3, 2, 2, 5), stride=(2, 1), padding=((1, 1), (0, 1)), dilation=(1, 2), groups=1),
    case((2, 5, 5, 4), (3, 3, 2, 6), stride=(2, 2), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=2),
    case((1, 6, 6, 3), (3, 3, 1, 3), stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=3),
    case((2, 9, 2), (4, 2, 3), stride=(2,), padding=((2, 1),), dilation=(1,), groups=1),
    case(
        (1, 3, 4, 3, 2),
        (2, 2, 2, 2, 3),
        stride=(1, 1, 1),
        padding=((0, 0), (1, 0), (0, 1)),
        dilation=(1, 1, 1),
        groups=1,
    ),
    case((1, 12, 13, 5), (3, 3, 5, 37), stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1),
    case((0, 5, 5, 2), (3, 3, 2, 2), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1),
    case((2, 0, 5, 2), (3, 3, 2, 2), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1),
    case((2, 0, 5, 2), (2, 2, 2, 3), stride=(1, 2), padding=((1, 2), (0, 0)), dilation=(1, 1), groups=1),
    case((1, 4, 0), (2, 0, 3), stride=(1,), padding=((0, 0),), dilation=(1,), groups=1),
    case((1, 4, 2), (2, 2, 0), stride=(1,), padding=((0, 0),), dilation=(1,), groups=1),
)
conv = Contraction(
    "conv",
    attrs=_CONV_ATTRS,
    optional=WIDE,
    type_rule=_conv_type,
    axis_map=_conv_axes,
    reference=_conv_reference,
    batch=batch_conv,
    grad=lambda g, x, w, *, out, **attrs: (
        conv_input_grad(g, w, shape=x.shape, **attrs),
        conv_kernel_grad(x, g, kernel=w.shape[:-2], chunks=0, **attrs),
    ),
    samples=samples(reals(-2, 2), reals(-2, 2), cases=_CONV_CASES, ulps=64),
)


def _kernel_grad_type(
    op: Primitive, operands: Sequence[TensorType], *, kernel: Any, groups: int, chunks: int, **attrs: Any
) -> TensorType:
    x, g, _ = _operands(op, operands)
    spatial = _check_conv(op, operands, kernel, {**attrs, "groups": groups})
    if (x.shape[0], *spatial) != g.shape[:-1] or x.shape[-1] % groups or g.shape[-1] % groups:
        raise op.refuse(f"operand 1 is no result of convolving operand 0 with a {tuple(kernel)} kernel", operands)
    if chunks < 0 or (chunks and x.shape[0] % chunks):
        raise op.refuse(f"{x.shape[0]} images cannot be cut in {chunks} chunks of one size", operands)
    return TensorType(x.dtype, (*_chunked(chunks), *kernel, x.shape[-1] // groups, g.shape[-1]))


def _chunked(chunks: int) -> tuple[int, ...]:
    """The axis of chunks, if there are any."""
    return (chunks,) if chunks else ()


def _kernel_grad_axes(
    x: TensorType, y: TensorType, *, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int, chunks: int
) -> AxisMap:
    """out[p, k, c, (g,o)] = sum over n, h of x[n, h*stride + k*dilation, (g,c)] * y[n, h, (g,o)], less the padding."""
    h, k = _conv_names(x.rank - 2)
    c, o = x.shape[-1] // groups, y.shape[-1] // groups
    extents = {**dict(zip(k, kernel, strict=True)), "c": c, **_groups(groups), "o": o}
    channels, filters = {**_groups(groups, c), "c": 1}, {**_groups(groups, o), "o": 1}
    each = x.shape[0] // max(chunks, 1)
    extents |= {"n": each, **dict(zip(h, y.shape[1:-1], strict=True))}
    images = {"n": 1}
    if chunks:
        images, extents = {"p": each, **images}, {"p": chunks, **extents}
    places = tuple({i: s, j: d} for i, j, s, d in zip(h, k, stride, dilation, strict=True))
    return AxisMap(
        extents,
        lhs=(images, *places, channels),
        rhs=(images, *({i: 1} for i in h), filters),
        out=(*({"p": 1} for _ in _chunked(chunks)), *({j: 1} for j in k), {"c": 1}, filters),
        low=(0, *(p[0] for p in padding), 0),
    )


def _kernel_grad_reference(
    x: np.ndarray, y: np.ndarray, *, kernel: Any, groups: int, chunks: int, **attrs: Any
) -> np.ndarray:
    if chunks:
        parts = zip(np.split(x, chunks), np.split(y, chunks), strict=True)
        return np.stack([_kernel_grad_reference(*p, kernel=kernel, groups=groups, chunks=0, **attrs) for p in parts])
    rank, c, o = x.ndim - 2, x.shape[-1] // groups, y.shape[-1] // groups
    patches = _patches(x, kernel, **attrs)
    outs = []
    for g in range(groups):
        part = patches[(*[slice(None)] * (rank + 1), slice(g * c, (g + 1) * c))]
        axes = list(range(rank + 1))
        product = np.tensordot(part, _wide(y)[..., g * o : (g + 1) * o], (axes, axes))  # [c, *kernel, o]
        outs.append(np.moveaxis(product, 0, -2))
    return np.concatenate(outs, -1).astype(x.dtype)


def _grads_of_kernel_grad(
    g: Any, x: Any, y: Any, *, out: Any, kernel: Any, chunks: int, **attrs: Any
) -> tuple[Any, Any]:
    if chunks:
        raise GradientError("a convolution's gradient in chunks has none: chunks are introduced after differentiation")
    return conv_input_grad(y, g, shape=x.shape, **attrs), conv(x, g, **attrs)


def _kernel_grad_case(c: Any, chunks: int = 0) -> Any:
    x, w = c.shapes
    a = {k: v for k, v in c.attrs.items() if k != "groups"}
    spatial = conv_shape(x[1:-1], w[:-2], **a)
    return case(x, (x[0], *spatial, w[-1]), kernel=w[:-2], chunks=chunks, **c.attrs)


# With `chunks`, the images are cut in as many, and the sums over each are an element of the result's first axis.
conv_kernel_grad: Contraction = Contraction(
    "conv_kernel_grad",
    attrs={"kernel": integers, "chunks": integer, **_CONV_ATTRS},
    type_rule=_kernel_grad_type,
    axis_map=_kernel_grad_axes,
    reference=_kernel_grad_reference,
    batch=batch_kernel_grad,
    grad=_grads_of_kernel_grad,
    samples=samples(
        reals(-2, 2), reals(-2, 2), ulps=64,
        cases=(
            *map(_kernel_grad_case, _CONV_CASES),
            *(_kernel_grad_case(c, 2) for c in _CONV_CASES if not c.shapes[0][0] % 2),
        ),
    ),
)  # fmt: skip

__all__ = ["conv", "conv_input_grad", "conv_kernel_grad", "conv_shape", "dot"]
