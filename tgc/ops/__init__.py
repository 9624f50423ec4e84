"""Every primitive, each defined once. Importing this package fills the registry."""

from tgc.ops import (
    contraction,
    control,
    creation,
    cumulative,
    dynamic,
    elementwise,
    linalg,
    movement,
    opaque,
    reduce,
    region,
    scan,
    scatter,
    sort,
    window,
)
from tgc.ops.kinds import REGISTRY

__all__ = [
    "REGISTRY", "contraction", "control", "creation", "cumulative", "dynamic", "elementwise", "linalg", "movement",
    "opaque", "reduce", "region", "scan", "scatter", "sort", "window",
]  # fmt: skip
