"""What definitions of opaque ops share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tgc.ops.batch import in_front, primitive, size_of
from tgc.ops.kinds import Batch


def over_leading_axes(name: str) -> Batch:
    """The batch rule of an op for which all axes but the last ones are batches: one more axis in front is one more."""

    def rule(operands: Sequence[Any], batched: Sequence[bool], **attrs: Any) -> Any:
        size = size_of(operands, batched)
        return primitive(name)(*(in_front(x, b, size) for x, b in zip(operands, batched, strict=True)), **attrs)

    return rule


__all__ = ["over_leading_axes"]
