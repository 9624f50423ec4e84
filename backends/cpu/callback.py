"""Opaque regions: launches whose address is a callback into Python that computes the op by its NumPy reference.

The launch loop runs without the GIL; such a launch has one part, which the thread of the call runs, and the callback
takes the GIL for it. What fails is kept for that thread, and raised when the loop has returned.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tgc.errors import BackendError, LinearAlgebraError
from tgc.ir import Graph, Node
from tgc.ops.kinds import Control
from tgc.ops.opaque import Opaque
from tgc.types import TensorType

if TYPE_CHECKING:
    from tgc.backends.loops.ir import Const

_ABI = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def opaque_nodes(graph: Graph) -> Iterator[Node]:
    """The opaque regions of a planned graph and of its bodies."""
    for node in graph.nodes:
        if isinstance(node.op, Control):
            for body in node.regions:
                yield from opaque_nodes(body)
        elif node.attrs.get("kind") == "opaque":
            yield node


class Callback:
    """An opaque region in the place of a kernel; it must live as long as programs that hold its address.

    Attributes:
        name: of the op.
        bindings, values, scalars, tiles, work, parts: as a `Kernel` has them.
    """

    values: Mapping[str, int] = {}
    scalars: Mapping[str, Const] = {}
    tiles = 1
    work = 0
    checked = False
    parts = 0

    def __init__(self, node: Node) -> None:
        (inner,) = node.body.nodes
        assert isinstance(inner.op, Opaque)
        self.name, self._op, self._attrs, self._loc = inner.op.name, inner.op, inner.attrs, node.loc
        self._types = [v.type for v in inner.operands]
        if any(v.type.layout is not None for v in (*inner.operands, *inner.results)):
            raise BackendError(f"{self._what}: operands and results must be row-major")
        inputs, outputs = node.body.inputs, node.body.outputs
        self._reads = [inputs.index(v) for v in inner.operands]
        self._writes = [inner.results.index(v) for v in outputs]  # results that nobody reads have no place
        self._buffers = [v.type for v in (*inputs, *outputs)]
        self.bindings = (*(("in", k) for k in range(len(inputs))), *(("out", k) for k in range(len(outputs))))
        self._failed = threading.local()
        self._function = _ABI(self._call)
        self.address: int = ctypes.cast(self._function, ctypes.c_void_p).value or 0

    @property
    def _what(self) -> str:
        where = f" at {', '.join(self._loc)}" if self._loc else ""
        return f"{self.name}({', '.join(map(str, self._types))}){where}"

    def _call(self, arguments: int, lo: int, hi: int, part: int) -> int:
        try:
            addresses = np.ctypeslib.as_array((ctypes.c_int64 * len(self._buffers)).from_address(arguments))
            arrays = [_view(int(a), t) for a, t in zip(addresses, self._buffers, strict=True)]
            operands = [arrays[k].view() for k in self._reads]
            for a in operands:
                a.setflags(write=False)
            with np.errstate(all="ignore"):
                found = self._op.reference(*operands, **self._attrs)
            results: Sequence[np.ndarray] = found if isinstance(found, tuple) else (found,)
            for out, k in zip(arrays[len(arrays) - len(self._writes) :], self._writes, strict=True):
                out[...] = results[k]
        except BaseException as error:  # noqa: BLE001 -- none can pass through native code: `fail` raises it
            self._failed.error = error
            return 1
        return 0

    def fail(self) -> NoReturn:
        """Raise what failed in this thread."""
        error: BaseException = self._failed.error
        del self._failed.error
        if isinstance(error, np.linalg.LinAlgError):
            raise LinearAlgebraError(f"{self._what}: {error}") from error
        if isinstance(error, Exception):
            raise BackendError(f"{self._what} raised {type(error).__name__}: {error}") from error
        raise error


def _view(address: int, t: TensorType) -> np.ndarray:
    if not t.size:
        return np.empty(t.shape, t.dtype)
    memory: np.ndarray = np.ctypeslib.as_array((ctypes.c_uint8 * t.nbytes).from_address(address))
    return memory.view(t.dtype).reshape(t.shape)
