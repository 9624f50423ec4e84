"""Constants, shapes, and operators that move elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tgc import numpy as tnp
from tgc.errors import ShapeError
from tgc.frontends.onnx import formats
from tgc.frontends.onnx.errors import InvalidModelError
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.values import Array, Tensor, vector


@converts("Constant")
def constant(
    *,
    value: Array | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
    value_string: str | None = None,
    value_strings: Sequence[str] | None = None,
) -> Array:
    """ONNX Constant: the one attribute that is given."""
    if value is not None:
        return value
    for given, dtype in (
        (value_float, np.float32),
        (value_floats, np.float32),
        (value_int, np.int64),
        (value_ints, np.int64),
        (value_string, object),
        (value_strings, object),
    ):
        if given is not None:
            return np.array(given, dtype)
    raise InvalidModelError("Constant needs one attribute")


@converts("ConstantOfShape", since=9, static=["input"])
def constant_of_shape(input: Array, /, *, value: Array | None = None) -> Any:
    """ONNX ConstantOfShape: zeros of float32, unless a tensor of one element says otherwise."""
    one = np.zeros(1, np.float32) if value is None else formats.enter(value)
    shape = tuple(input.tolist())
    if isinstance(one, formats.Coded):
        return formats.Coded(tnp.full(shape, one.codes.item(), dtype=np.uint8), one.dtype)
    return tnp.full(shape, one.item(), dtype=one.dtype)


@converts("Shape")
def shape(data: Tensor, /, *, start: int = 0, end: int | None = None) -> Array:
    """ONNX Shape, int64: of the axes from `start` to `end`."""
    return vector(data.shape[start:end])


@converts("Size")
def size(data: Tensor, /) -> Array:
    """ONNX Size, int64: the number of elements."""
    return vector([math.prod(data.shape)]).reshape(())


@converts("Range", since=11, static=["start", "limit", "delta"])
def range_(start: Array, limit: Array, delta: Array, /, *, stash_type: int = 1) -> Tensor:
    """ONNX Range: half precision is computed in float32."""
    first, last, step = (v.item() for v in (start, limit, delta))
    return tnp.arange(first, last, step, dtype=np.int64 if start.dtype == object else start.dtype)


@converts("EyeLike", since=9)
def eye_like(input: Tensor, /, *, dtype: int | None = None, k: int = 0) -> Any:
    """ONNX EyeLike: ones on the diagonal that begins in column `k`."""
    rows, columns = input.shape
    return formats.convert(tnp.eye(rows, columns, k=k, dtype=np.uint8), _chosen(input, dtype))


def _chosen(input: Tensor, dtype: int | None) -> np.dtype:
    return input.dtype if dtype is None else formats.dtype_of(dtype)


@converts("Reshape", since=5, static=["shape"])
def reshape(data: Tensor, shape: Array, /, *, allowzero: int = 0) -> Tensor:
    """ONNX Reshape: 0 keeps a size unless `allowzero`, -1 is inferred."""
    sizes = shape.tolist()
    if not allowzero:
        sizes = [data.shape[a] if isinstance(n, int) and n == 0 else n for a, n in enumerate(sizes)]
    return tnp.reshape(data, sizes)


@converts("Flatten")
def flatten(data: Tensor, /, *, axis: int = 1) -> Tensor:
    """ONNX Flatten: the axes before `axis`, and those from it on, as one each."""
    at = axis if axis >= 0 else axis + data.ndim
    return tnp.reshape(data, (math.prod(data.shape[:at]), math.prod(data.shape[at:])))


@converts("Squeeze", since=13, static=["axes"])
def squeeze(data: Tensor, axes: Array | None = None, /) -> Tensor:
    """ONNX Squeeze: by default all axes of size 1."""
    return squeeze_1(data, axes=None if axes is None else axes.tolist())


@converts("Squeeze")
def squeeze_1(data: Tensor, /, *, axes: Sequence[int] | None = None) -> Tensor:
    """ONNX Squeeze until opset 12."""
    gone = [a for a, n in enumerate(data.shape) if n == 1] if axes is None else [a % data.ndim for a in axes]
    if any(data.shape[a] != 1 for a in gone):
        raise ShapeError(f"axes {gone} of {data.shape} are not all of size 1")
    return tnp.reshape(data, [n for a, n in enumerate(data.shape) if a not in gone])


@converts("Unsqueeze", since=13, static=["axes"])
def unsqueeze(data: Tensor, axes: Array, /) -> Tensor:
    """ONNX Unsqueeze: axes of size 1, counted in the result."""
    return tnp.expand_dims(data, tuple(axes.reshape(-1).tolist()))


@converts("Unsqueeze")
def unsqueeze_1(data: Tensor, /, *, axes: Sequence[int]) -> Tensor:
    """ONNX Unsqueeze until opset 12."""
    return tnp.expand_dims(data, tuple(axes))


@converts("Transpose")
def transpose(data: Tensor, /, *, perm: Sequence[int] | None = None) -> Tensor:
    """ONNX Transpose: reverses the axes by default."""
    return tnp.transpose(data, perm)


@converts("Expand", since=8, static=["shape"])
def expand(data: Tensor, shape: Array, /) -> Tensor:
    """ONNX Expand: to the shape to which both broadcast."""
    return tnp.broadcast_to(data, tnp.broadcast_shapes(data.shape, tuple(shape.tolist())))


@converts("Tile", since=6, static=["repeats"])
def tile(data: Tensor, repeats: Array, /) -> Tensor:
    """ONNX Tile."""
    return tnp.tile(data, tuple(repeats.tolist()))


@converts("Concat", since=4)
def concat(*inputs: Tensor, axis: int) -> Tensor:
    """ONNX Concat."""
    return inputs[0] if len(inputs) == 1 else tnp.concatenate(inputs, axis)


@converts("Split", since=13, static=["split"])
def split_(
    data: Tensor, split: Array | None = None, /, *, axis: int = 0, num_outputs: int | None = None, outputs: int
) -> tuple[Tensor, ...]:
    """ONNX Split: parts of the sizes in `split`, or of one size, the last one smaller if need be."""
    n = data.shape[axis]
    if split is None:
        count = outputs if num_outputs is None else num_outputs
        each = -(-n // count)
        return tuple(_cut(data, axis, i * each, n if i == count - 1 else (i + 1) * each) for i in range(count))
    ends = np.cumsum(split, dtype=split.dtype).tolist()
    return tuple(_cut(data, axis, begin, end) for begin, end in zip([0, *ends], ends, strict=False))


def _cut(x: Tensor, axis: int, begin: int, end: int, step: int | None = None) -> Tensor:
    return x[(slice(None),) * (axis % x.ndim) + (slice(begin, end, step),)]


@converts("Split", since=2)
def split_2(data: Tensor, /, *, axis: int = 0, split: Sequence[int] | None = None, outputs: int) -> tuple[Tensor, ...]:
    """ONNX Split until opset 12."""
    return split_(data, None if split is None else vector(split), axis=axis, outputs=outputs)


@converts("Slice", since=10, static=["starts", "ends", "axes", "steps"])
def slice_(
    data: Tensor, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None, /
) -> Tensor:
    """ONNX Slice: as Python's slices, whose ends are limited to the axis; a negative step goes back from `starts`."""
    ranges = [slice(None)] * data.ndim
    named = range(len(starts)) if axes is None else axes.tolist()
    by = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(named, starts.tolist(), ends.tolist(), by, strict=True):
        # a negative end that reaches beyond the first element means that this is the last one: None
        before = isinstance(end, int) and step < 0 and end < 0 and end + data.shape[axis] < 0
        ranges[axis] = slice(start, None if before else end, step)
    return data[tuple(ranges)]


@converts("Slice")
def slice_1(
    data: Tensor, /, *, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int] | None = None
) -> Tensor:
    """ONNX Slice until opset 9."""
    return slice_(data, vector(starts), vector(ends), None if axes is None else vector(axes))


@converts("Pad", since=11, static=["pads", "axes"])
def pad(
    data: Tensor,
    pads: Array,
    constant_value: Tensor | None = None,
    axes: Array | None = None,
    /,
    *,
    mode: str = "constant",
) -> Tensor:
    """ONNX Pad: `pads` has what comes before all axes, then what comes behind; negative numbers cut off."""
    widths: list[tuple[int, int]] = [(0, 0)] * data.ndim
    both = pads.tolist()
    count = len(both) // 2
    for axis, low, high in zip(
        range(count) if axes is None else axes.tolist(), both[:count], both[count:], strict=True
    ):
        widths[axis] = low, high
    kept = [slice(max(-low, 0), n - max(-high, 0)) for n, (low, high) in zip(data.shape, widths, strict=True)]
    if any(min(pair) < 0 for pair in widths):
        data = data[tuple(kept)]
    more = [(max(low, 0), max(high, 0)) for low, high in widths]
    if mode != "constant":
        return tnp.pad(data, more, mode)
    if constant_value is None or isinstance(constant_value, np.ndarray):
        value = 0 if constant_value is None else constant_value.astype(data.dtype).item()
        return tnp.pad(data, more, constant_values=value)
    inside = tnp.pad(tnp.ones(data.shape, bool), more)
    return tnp.where(inside, tnp.pad(data, more), tnp.reshape(constant_value, ()))


@converts("Pad", since=2)
def pad_2(data: Tensor, /, *, pads: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """ONNX Pad until opset 10."""
    return pad(data, vector(pads), np.asarray(value), mode=mode)


@converts("CenterCropPad", since=18, static=["shape"])
def center_crop_pad(data: Tensor, shape: Array, /, *, axes: Sequence[int] | None = None) -> Tensor:
    """ONNX CenterCropPad: axes brought to the sizes in `shape`, the middle staying where it is."""
    widths: list[tuple[int, int]] = [(0, 0)] * data.ndim
    for axis, wanted in zip(range(data.ndim) if axes is None else axes, shape.tolist(), strict=True):
        n = data.shape[axis]
        low = (wanted - n) // 2 if wanted >= n else -((n - wanted) // 2)
        widths[axis] = low, wanted - n - low
    return pad(data, vector([w[side] for side in (0, 1) for w in widths]))


_BLOCKS = {"DCR": (0, 3, 4, 1, 5, 2), "CRD": (0, 1, 4, 2, 5, 3)}  # [n, b, b, c, h, w] and [n, c, b, b, h, w]


@converts("DepthToSpace")
def depth_to_space(data: Tensor, /, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """ONNX DepthToSpace: channels become blocks of pixels."""
    n, c, h, w = data.shape
    b = blocksize
    split_up = (n, b, b, c // b**2, h, w) if mode == "DCR" else (n, c // b**2, b, b, h, w)
    return tnp.reshape(tnp.transpose(tnp.reshape(data, split_up), _BLOCKS[mode]), (n, c // b**2, h * b, w * b))


@converts("SpaceToDepth")
def space_to_depth(data: Tensor, /, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """ONNX SpaceToDepth: blocks of pixels become channels."""
    n, c, h, w = data.shape
    b = blocksize
    blocks = tnp.reshape(data, (n, c, h // b, b, w // b, b))
    perm = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return tnp.reshape(tnp.transpose(blocks, perm), (n, c * b**2, h // b, w // b))


@converts("Trilu", since=14, static=["k"])
def trilu(data: Tensor, k: Array | None = None, /, *, upper: int = 1) -> Tensor:
    """ONNX Trilu: what is on the k-th diagonal, and above or below it; else 0."""
    return (tnp.triu if upper else tnp.tril)(data, 0 if k is None else int(k.item()))


@converts("ReverseSequence", since=10)
def reverse_sequence(data: Tensor, sequence_lens: Tensor, /, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """ONNX ReverseSequence: the first elements of each sequence, as many as its length, in reverse."""
    time = tnp.arange(data.shape[time_axis])
    lengths = tnp.astype(sequence_lens, np.int64)[:, None]
    places = tnp.where(time < lengths, lengths - 1 - time, time)  # [batch, time]
    if time_axis < batch_axis:
        places = tnp.transpose(places)
    return tnp.take_along_axis(data, tnp.reshape(places, (*places.shape, *[1] * (data.ndim - 2))), time_axis)
