"""What can be wrong with a model: every error of this frontend is a `tgc.errors.TgcError` that names the node."""

from __future__ import annotations

from tgc.errors import TgcError


class OnnxError(TgcError):
    """A model cannot be imported or run.

    Attributes:
        node: that which the message names; None if it names none.
    """

    node: object = None


class InvalidModelError(OnnxError):
    """The file or model is malformed: it contradicts the ONNX standard, or itself."""


class UnsupportedOperatorError(OnnxError):
    """An operator, a version of it, or an attribute of it has no rule."""


class UntraceableError(OnnxError):
    """A node needs numbers that are unknown while its graph is traced.

    `Model.__call__` computes such nodes, or what they need, between compiled programs; inside of `tgc.grad` or another
    trace nothing can.

    Attributes:
        name: the value whose numbers are needed before the node is traced; empty if the whole node needs numbers.
        outer: the node of the outermost graph that holds this one.
    """

    outer: object = None

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name
