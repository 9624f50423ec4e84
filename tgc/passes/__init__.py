"""Graph passes. Importing this package registers them all."""

from tgc.config import PIPELINE
from tgc.passes import (
    attention,
    decompose,
    fold,
    fuse,
    hoist,
    inline,
    lanes,
    layout,
    memory,
    rematerialize,
    rules,
    simplify,
    sink,
    split,
    winograd,
)
from tgc.passes.manager import PASSES, Compilation, Pass, Refusal, parse_pipeline, refuse, register, run

__all__ = [
    "PASSES", "PIPELINE", "Compilation", "Pass", "Refusal", "attention", "decompose", "fold", "fuse", "hoist", "inline",
    "lanes", "layout", "memory", "parse_pipeline", "refuse", "register", "rematerialize", "rules", "run", "simplify",
    "sink", "split", "winograd",
]  # fmt: skip
