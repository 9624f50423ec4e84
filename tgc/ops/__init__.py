"""Every primitive, each defined once. Importing this package fills the registry."""

from tgc.ops import (
    activations,
    attention,
    bits,
    contraction,
    control,
    creation,
    cumulative,
    dynamic,
    elementwise,
    fft,
    linalg,
    movement,
    opaque,
    reduce,
    region,
    scan,
    scatter,
    sort,
    window,
    winograd,
)
from tgc.ops.kinds import REGISTRY

__all__ = [
    "REGISTRY", "activations", "attention", "bits", "contraction", "control", "creation", "cumulative", "dynamic",
    "elementwise", "fft", "linalg", "movement", "opaque", "reduce", "region", "scan", "scatter", "sort", "window",
    "winograd",
]  # fmt: skip
