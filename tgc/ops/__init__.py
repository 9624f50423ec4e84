"""Every primitive, each defined once. Importing this package fills the registry."""

from tgc.ops import contraction, creation, elementwise, movement, reduce, region, scatter, window
from tgc.ops.kinds import REGISTRY

__all__ = ["REGISTRY", "contraction", "creation", "elementwise", "movement", "reduce", "region", "scatter", "window"]
