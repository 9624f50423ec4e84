"""tgc: a tensor graph compiler and runtime in Python."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

from tgc import drawing as _drawing  # noqa: F401  # methods of Graph
from tgc import eager as _eager  # noqa: F401  # eager ops run compiled
from tgc import errors, numpy
from tgc.checkpoint import checkpoint
from tgc.composite import custom_vjp
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.jit import jit
from tgc.ops.elementwise import stop_gradient
from tgc.text import load_graph, parse, save_graph
from tgc.types import TensorType, tensor_type

if TYPE_CHECKING:
    from tgc import nn, random
    from tgc.control import associative_scan, cond, fori_loop, map, scan, switch, while_loop
    from tgc.gradients import grad, value_and_grad
    from tgc.loaded import load
    from tgc.transforms import eval_shape, hessian, jacfwd, jacobian, jacrev, jvp, linearize, vjp, vmap

# What is imported when it is first used: a process that runs programs starts sooner without it.
_LATER = {
    "control": ("associative_scan", "cond", "fori_loop", "map", "scan", "switch", "while_loop"),
    "gradients": ("grad", "value_and_grad"),
    "loaded": ("load",),
    "transforms": ("eval_shape", "hessian", "jacfwd", "jacobian", "jacrev", "jvp", "linearize", "vjp", "vmap"),
}
_HOMES = {name: home for home, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in ("nn", "random"):
        return import_module(f"tgc.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tgc' has no attribute {name!r}")
    home = import_module(f"tgc.{_HOMES[name]}")
    found = globals()[name] = getattr(home, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "Graph", "TensorType", "associative_scan", "checkpoint", "cond", "custom_vjp", "errors", "eval_shape", "fori_loop",
    "grad", "hessian", "interpret", "jacfwd", "jacobian", "jacrev", "jit", "jvp", "linearize", "load", "load_graph",
    "map", "nn", "numpy", "parse", "random", "save_graph", "scan", "stop_gradient", "switch", "tensor_type",
    "value_and_grad", "vjp", "vmap", "while_loop",
]  # fmt: skip
