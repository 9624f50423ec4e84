"""Graph passes. Importing this package registers them all."""

from tgc.passes import decompose, fold, fuse, inline, layout, memory, rules, simplify, split
from tgc.passes.manager import PASSES, Compilation, Pass, Refusal, parse_pipeline, refuse, register, run

PIPELINE = "inline,fold,simplify,sink,simplify,decompose,layout,fold,simplify,split,fuse"

__all__ = [
    "PASSES", "PIPELINE", "Compilation", "Pass", "Refusal", "decompose", "fold", "fuse", "inline", "layout",
    "memory", "parse_pipeline", "refuse", "register", "rules", "run", "simplify", "split",
]  # fmt: skip
