"""Sequences and optionals: Python's tuples of tensors, and None, known while tracing but for the tensors in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tgc import numpy as tnp
from tgc.frontends.onnx.errors import InvalidModelError, OnnxError
from tgc.frontends.onnx.registry import converts
from tgc.frontends.onnx.structure import Info
from tgc.frontends.onnx.translate import Subgraph
from tgc.frontends.onnx.values import Array, Sequence, Tensor


@converts("SequenceEmpty", since=11)
def sequence_empty(*, dtype: int = 1) -> Sequence:
    """ONNX SequenceEmpty."""
    return Sequence()


@converts("SequenceConstruct", since=11)
def sequence_construct(*inputs: Tensor) -> Sequence:
    """ONNX SequenceConstruct."""
    return Sequence(inputs)


def _place(sequence: Sequence, position: Array, most: int) -> int:
    """A position, counted from the end if it is negative, that is `most` at the most."""
    place = int(position.reshape(-1)[0])
    if not -len(sequence) <= place <= most:
        raise OnnxError(f"position {place} in a sequence of {len(sequence)}")
    return place + len(sequence) if place < 0 else place


@converts("SequenceInsert", since=11, static=["position"])
def sequence_insert(sequence: Sequence, tensor: Tensor, position: Array | None = None, /) -> Sequence:
    """ONNX SequenceInsert: behind the last, by default."""
    place = len(sequence) if position is None else _place(sequence, position, len(sequence))
    return Sequence((*sequence[:place], tensor, *sequence[place:]))


@converts("SequenceErase", since=11, static=["position"])
def sequence_erase(sequence: Sequence, position: Array | None = None, /) -> Sequence:
    """ONNX SequenceErase: the last, by default."""
    place = _place(sequence, np.array(-1) if position is None else position, len(sequence) - 1)
    return Sequence((*sequence[:place], *sequence[place + 1 :]))


@converts("SequenceAt", since=11, static=["position"])
def sequence_at(sequence: Sequence, position: Array, /) -> Tensor:
    """ONNX SequenceAt."""
    return sequence[_place(sequence, position, len(sequence) - 1)]


@converts("SequenceLength", since=11)
def sequence_length(sequence: Sequence, /) -> Array:
    """ONNX SequenceLength."""
    return np.array(len(sequence), np.int64)


@converts("SplitToSequence", since=11, static=["split"])
def split_to_sequence(x: Tensor, split: Array | None = None, /, *, axis: int = 0, keepdims: int = 1) -> Sequence:
    """ONNX SplitToSequence: in parts of one size, of the sizes given, or in slices of size one."""
    n = x.shape[axis]
    if split is None or split.ndim == 0:
        step = 1 if split is None else int(split)
        if step < 1:
            raise OnnxError(f"parts of size {step}")
        ends = list(range(step, n, step))
    else:
        ends = np.cumsum(split)[:-1].tolist()
        if split.min(initial=0) < 0 or split.sum() != n:
            raise OnnxError(f"parts of sizes {split.tolist()} of an axis of size {n}")
    parts = tnp.split(x, ends, axis=axis)
    squeezed = split is None and not keepdims
    return Sequence(tnp.squeeze(part, axis=axis) if squeezed else part for part in parts)


@converts("ConcatFromSequence", since=11)
def concat_from_sequence(sequence: Sequence, /, *, axis: int, new_axis: int = 0) -> Tensor:
    """ONNX ConcatFromSequence: along an axis, or stacked along a new one."""
    return (tnp.stack if new_axis else tnp.concatenate)(list(sequence), axis=axis)


@converts("SequenceMap", since=17)
def sequence_map(sequence: Sequence, /, *more: Any, body: Subgraph) -> tuple[Sequence, ...]:
    """ONNX SequenceMap: the body of each element, with those of other sequences in its place, and tensors."""
    if any(isinstance(x, Sequence) and len(x) != len(sequence) for x in more):
        raise OnnxError("sequences of different lengths")
    rows = [body(x, *(y[k] if isinstance(y, Sequence) else y for y in more)) for k, x in enumerate(sequence)]
    return tuple(Sequence(row[k] for row in rows) for k in range(len(body.graph.outputs)))


@converts("Optional", since=15)
def optional(x: Any = None, /, *, type: Info | None = None) -> Any:
    """ONNX Optional: the value itself, None if there is none."""
    if x is None and type is None:
        raise InvalidModelError("Optional needs an operand or a type")
    return x


@converts("OptionalHasElement", since=15)
def optional_has_element(x: Any = None, /) -> Array:
    """ONNX OptionalHasElement."""
    return np.array(x is not None)


@converts("OptionalGetElement", since=15)
def optional_get_element(x: Any, /) -> Any:
    """ONNX OptionalGetElement."""
    if x is None:
        raise OnnxError("the optional holds no element")
    return x
