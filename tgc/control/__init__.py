"""Control flow inside of compiled programs, with the signatures and the meaning of `jax.lax`.

Bodies are traced once and become graphs of their own (`tgc.ops.control`); loops and branches run in native code without
returning to Python, nested to any depth. Bodies may close over tensors of enclosing traces and over arrays. Outside of
any trace the functions run compiled: programs are kept by the graphs of their bodies, so that calling again with
another function of the same meaning compiles nothing.

All take and return pytrees of tensors. `scan`, `fori_loop` with bounds that are Python ints, `map`, `cond`, `switch`
and `associative_scan` have gradients; `while_loop` has none.
"""

from tgc.control.associative import associative_scan
from tgc.control.branches import cond, switch
from tgc.control.loops import fori_loop, map, scan, while_loop

__all__ = ["associative_scan", "cond", "fori_loop", "map", "scan", "switch", "while_loop"]
