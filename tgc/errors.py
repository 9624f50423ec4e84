"""Every error that tgc raises on purpose, in one hierarchy.

Each class also derives from the built-in exception that NumPy or Python would raise in the same place, so that
`except TypeError` keeps its meaning for users who do not know tgc's own names.
"""

from __future__ import annotations

from numpy.linalg import LinAlgError


class TgcError(Exception):
    """Base of all errors raised by tgc."""


class ConfigError(TgcError, ValueError):
    """An environment variable of tgc's has a value without meaning."""


class ShapeError(TgcError, ValueError):
    """Operand shapes (or shape-like attributes) do not fit an op."""


class AxisError(ShapeError, IndexError):
    """An axis does not exist."""


class DTypeError(TgcError, TypeError):
    """Operand dtypes do not fit an op, or a dtype is not supported."""


class AttributeSpecError(TgcError, TypeError):
    """An op was given an unknown, missing or ill-typed attribute."""


class TraceError(TgcError, TypeError):
    """Python code did something with a traced value that tracing cannot record."""


class ConcretizationError(TraceError):
    """A traced value was used where a concrete number or boolean is needed."""


class LeakedTracerError(TraceError):
    """A traced value was used after the trace that made it had ended."""


class GradientError(TgcError, TypeError):
    """A gradient was asked for that does not exist."""


class VerifyError(TgcError, ValueError):
    """A graph violates the rules of the IR."""


class ParseError(TgcError, ValueError):
    """Text is not a graph in `.tgir` form."""


class PassError(TgcError, RuntimeError):
    """A pass produced a graph that is wrong or computes something else."""


class StepLimitError(TgcError, RuntimeError):
    """A while loop ran for longer than its interpretation may (`TGC_CHECK` on random numbers)."""


class BackendError(TgcError, RuntimeError):
    """A backend is unknown, or cannot lower or run a graph."""


class CacheError(TgcError, RuntimeError):
    """A cached or saved artifact is corrupted or of a foreign version."""


class ArtifactError(CacheError):
    """A saved program is damaged, of another version of its format, or no saved program at all."""


class OutOfRangeError(TgcError, IndexError):
    """An index computed at run time lies outside the axis that it addresses."""


class OutOfMemoryError(TgcError, MemoryError):
    """A program needs more memory than there is."""


class NoElementError(TgcError, ValueError):
    """There is no element to choose: all are NaN."""


class LinearAlgebraError(TgcError, LinAlgError):
    """A matrix has no such factorization or inverse, or an iteration does not converge."""
