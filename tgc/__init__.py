"""tgc: a tensor graph compiler and runtime in Python."""

__version__ = "0.1.0"

from tgc import drawing as _drawing  # noqa: F401  # methods of Graph
from tgc import eager as _eager  # noqa: F401  # eager ops run compiled
from tgc import errors, nn, numpy, random
from tgc.checkpoint import checkpoint
from tgc.composite import custom_vjp
from tgc.control import associative_scan, cond, fori_loop, map, scan, switch, while_loop
from tgc.gradients import grad, value_and_grad
from tgc.interpret import interpret
from tgc.ir import Graph
from tgc.jit import jit
from tgc.loaded import load
from tgc.ops.elementwise import stop_gradient
from tgc.text import load_graph, parse, save_graph
from tgc.transforms import eval_shape, hessian, jacfwd, jacobian, jacrev, jvp, linearize, vjp, vmap
from tgc.types import TensorType, tensor_type

__all__ = [
    "Graph", "TensorType", "associative_scan", "checkpoint", "cond", "custom_vjp", "errors", "eval_shape", "fori_loop",
    "grad", "hessian", "interpret", "jacfwd", "jacobian", "jacrev", "jit", "jvp", "linearize", "load", "load_graph",
    "map", "nn", "numpy", "parse", "random", "save_graph", "scan", "stop_gradient", "switch", "tensor_type",
    "value_and_grad", "vjp", "vmap", "while_loop",
]  # fmt: skip
