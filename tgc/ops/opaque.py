"""Ops that a library computes, and the batch rule that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from tgc.ir import Attr
from tgc.ops.batch import in_front, primitive, size_of
from tgc.ops.kinds import Batch, Primitive
from tgc.types import DType, TensorType


@dataclass(frozen=True, eq=False, repr=False)
class Opaque(Primitive):
    """What a library routine computes; it has one result or several.

    The routine works on the last axes of its operands; all axes before them are batches, the same for all operands. A
    backend for the CPU calls `reference`, a NumPy function; other backends have a routine of the op's name.
    """

    _: KW_ONLY
    type_rule: Callable[..., tuple[TensorType, ...]]
    domain: frozenset[DType]
    batch: Batch

    def infer(self, operands: Sequence[TensorType], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
        return self.type_rule(self, operands, **attrs)


def over_leading_axes(name: str) -> Batch:
    """The batch rule of an op for which all axes but the last ones are batches: one more axis in front is one more."""

    def rule(operands: Sequence[Any], batched: Sequence[bool], **attrs: Any) -> Any:
        size = size_of(operands, batched)
        return primitive(name)(*(in_front(x, b, size) for x, b in zip(operands, batched, strict=True)), **attrs)

    return rule


__all__ = ["Opaque", "over_leading_axes"]
