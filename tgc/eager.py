"""Heavy ops on NumPy arrays outside of any trace: compiled programs of one op, kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tgc.ir import Attr, Builder, Graph
from tgc.ops.kinds import Primitive, set_eager
from tgc.runtime.lowered import Lowered
from tgc.runtime.registry import Executable
from tgc.types import TensorType, type_of


@functools.lru_cache(maxsize=1024)
def _program(
    op: Primitive, types: tuple[TensorType, ...], attrs: tuple[tuple[str, Attr], ...]
) -> tuple[Graph, Executable]:
    builder = Builder(op.name)
    inputs = [builder.input(t, f"x{k}") for k, t in enumerate(types)]
    graph = builder.build(builder.emit(op, inputs, dict(attrs)))
    return graph, Lowered(graph).compile()


def _apply_compiled(op: Primitive, operands: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """Apply one op to NumPy arrays by a cached program; a tuple if it has other than one result."""
    arrays = [np.asarray(x) for x in operands]
    checked = op.check_attrs(attrs)
    _, executable = _program(op, tuple(map(type_of, arrays)), tuple(sorted(checked.items())))
    results = executable([np.ascontiguousarray(a) for a in arrays])
    return results[0] if len(results) == 1 else tuple(results)


set_eager(_apply_compiled)
