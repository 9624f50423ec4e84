"""What a checked model is made of: graphs of nodes with decoded attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from onnx import NodeProto

from tgc.types import DType

Shape: TypeAlias = "tuple[int | str | None, ...] | None"  # sizes, their names, or None where nothing is said


@dataclass(frozen=True, slots=True)
class Info:
    """What a model says of an input or output.

    Attributes:
        kind: "tensor", "sparse_tensor", "sequence", "optional" or "map"; empty if nothing is said.
        dtype: of the tensor, or of those in the sequence; object for strings; None if nothing is said.
        shape: of the tensor, or of those in the sequence.
    """

    name: str
    kind: str = ""
    dtype: DType | None = None
    shape: Shape = None

    def __str__(self) -> str:
        sizes = "" if self.shape is None else f"[{', '.join('?' if n is None else str(n) for n in self.shape)}]"
        inner = f"{'' if self.dtype is None else self.dtype}{sizes}"
        return f"{self.name}: {inner if self.kind in ('', 'tensor') else f'{self.kind}({inner})'}"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One application of an operator or function.

    Attributes:
        domain, op, version: the operator, and the version of its operator set.
        inputs, outputs: names of values; empty for those that are left out.
        attributes: by name, decoded: int, float, str, tuples of these, NumPy arrays, `OnnxGraph`, `Info`.
        captures: names of outer values that graphs among the attributes read.
        function: the body, if the node calls a function of the model.
        opsets: the versions of operator sets that the node's graph imports, by domain.
        proto: as it is in the file, references to attributes of functions resolved.
    """

    label: str
    domain: str
    op: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object]
    captures: tuple[str, ...]
    function: OnnxGraph | None
    opsets: Mapping[str, int]
    proto: NodeProto

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of all values that the node needs."""
        return (*(n for n in self.inputs if n), *self.captures)

    @property
    def graphs(self) -> tuple[OnnxGraph, ...]:
        """The graphs among the attributes."""
        return tuple(a for a in self.attributes.values() if isinstance(a, OnnxGraph))

    def __str__(self) -> str:
        return f'node "{self.label}" ({f"{self.domain}." if self.domain else ""}{self.op})'


@dataclass(frozen=True, slots=True, eq=False)
class OnnxGraph:
    """A graph whose nodes are in topological order.

    Attributes:
        inputs: those without an initializer.
        initializers: values that are part of the model, by name.
        captures: names of values of enclosing graphs that are read.
        made: what has been made of the graph (plans, programs) and is kept with it.
    """

    name: str
    inputs: tuple[Info, ...]
    outputs: tuple[Info, ...]
    initializers: Mapping[str, np.ndarray]
    nodes: tuple[Node, ...]
    captures: tuple[str, ...] = ()
    made: dict[str, Any] = field(default_factory=dict)
