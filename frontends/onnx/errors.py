"""What can be wrong with a model: every error of this frontend is a `tgc.errors.TgcError` that names the node."""

from __future__ import annotations

from tgc.errors import TgcError


class OnnxError(TgcError):
    """A model cannot be imported or run."""


class InvalidModelError(OnnxError):
    """The file or model is malformed: it contradicts the ONNX standard, or itself."""


class UnsupportedOperatorError(OnnxError):
    """An operator, a version of it, or an attribute of it has no rule."""
