"""Functions of functions, with the signatures and meaning of JAX's.

They compose with each other and with `jit`. In a trace they record; outside of any trace their programs are compiled.
"""

from tgc.transforms.jacobians import hessian, jacfwd, jacobian, jacrev
from tgc.transforms.mapping import vmap
from tgc.transforms.products import jvp, linearize, vjp
from tgc.transforms.shapes import eval_shape

__all__ = ["eval_shape", "hessian", "jacfwd", "jacobian", "jacrev", "jvp", "linearize", "vjp", "vmap"]
