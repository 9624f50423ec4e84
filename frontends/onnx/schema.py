"""The rule of a node; for operators without one, the functions by which the ONNX standard defines them."""

from __future__ import annotations

from typing import Any

from onnx import FunctionProto, TypeProto, defs, helper

from tgc.frontends.onnx.errors import UnsupportedOperatorError
from tgc.frontends.onnx.formats import leave
from tgc.frontends.onnx.reader import Reader
from tgc.frontends.onnx.registry import Rule, rule_of
from tgc.frontends.onnx.structure import Node, OnnxGraph
from tgc.frontends.onnx.values import Sequence
from tgc.sizes import hints_of


def rule_for(node: Node) -> Rule | None:
    """The rule of a node's operator; None if the node calls a function, of the model or of the standard.

    Raises:
        UnsupportedOperatorError: there is neither.
    """
    if node.function is not None:
        return None
    try:
        return rule_of(node.domain, node.op, node.version)
    except UnsupportedOperatorError as error:
        if _schema(node) is not None:
            return None
        raise UnsupportedOperatorError(f"{node}: {error}") from error


def _schema(node: Node) -> defs.OpSchema | None:
    """The standard's definition of a node's operator, if it is by a function."""
    if not defs.has(node.op, node.domain):
        return None
    try:
        schema = defs.get_schema(node.op, node.version, node.domain)
    except defs.SchemaError:
        return None
    return schema if schema.has_function or schema.has_context_dependent_function else None


def expansion(node: Node, operands: list[Any]) -> OnnxGraph:
    """The body by which the standard defines a node's operator for such operands."""
    schema = _schema(node)
    assert schema is not None, "rule_for found it"
    if schema.has_function:
        text = schema.get_function_with_opset_version(_latest(schema.function_opset_versions, node.version))
    else:
        latest = _latest(schema.context_dependent_function_opset_versions, node.version)
        types = [_type(x).SerializeToString() for x in operands]
        proto = node.proto.SerializeToString()
        text = schema.get_context_dependent_function_with_opset_version(latest, proto, types)
    function = FunctionProto.FromString(text)
    return Reader(node.opsets).function(function, {a.name: a for a in node.proto.attribute})


def _latest(versions: list[int], version: int) -> int:
    """The last of the versions that is not after one."""
    return max((v for v in versions if v <= version), default=min(versions))


def _type(x: Any) -> TypeProto:
    """ONNX's type of a value."""
    if x is None:
        return TypeProto()
    if isinstance(x, Sequence):
        return helper.make_sequence_type_proto(_type(x[0]) if x else TypeProto())
    dtype = leave(x).dtype if x.dtype.kind != "O" else "int64"
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(dtype), hints_of(tuple(x.shape)))
