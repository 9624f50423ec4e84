"""Every primitive, each defined once. Importing this package fills the registry."""

from tgc.ops import contraction, control, creation, elementwise, movement, reduce, region, scan, scatter, window
from tgc.ops.kinds import REGISTRY

__all__ = [
    "REGISTRY", "contraction", "control", "creation", "elementwise", "movement", "reduce", "region", "scan",
    "scatter", "window",
]  # fmt: skip
