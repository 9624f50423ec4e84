"""The ONNX graph that is being made, and the table of emitters: what each primitive becomes.

A value of tgc's graph has a `Place`: the name of an ONNX tensor that broadcasts to it as NumPy's arrays do. Primitives
take operands of one shape; ONNX's elementwise operators broadcast, and so does what is left of a broadcast until an
operator needs it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, defs, helper, numpy_helper

from tgc.frontends.onnx.errors import UnsupportedOperatorError
from tgc.ir import Graph, Node, Value, digest_of
from tgc.sizes import Size, is_size, surely_equal
from tgc.sizes.polynomial import Polynomial
from tgc.types import BF16, BOOL, F16, F32, I8, I16, I32, I64, U8, U16, U32, DType, is_complex

OPSET = 20
_TURNED = ".turned"  # what names of constants that lie otherwise end in
Shape = tuple[int, ...]


class Place(NamedTuple):
    """A tensor, and its shape: that of a value but for leading axes, and axes of size 1 along which it is repeated."""

    name: str
    shape: Shape


Emitter = Callable[..., Any]
Function = TypeVar("Function", bound=Emitter)
EMITTERS: dict[str, Emitter] = {}


def exports(*names: str) -> Callable[[Function], Function]:
    """Enter the decorated function as the emitter of primitives.

    It takes the emission and the node, and returns the name of the tensor that is the result, or its `Place`, or a
    tuple of one for each result.
    """

    def enter(function: Function) -> Function:
        for name in names:
            if name in EMITTERS:
                raise TypeError(f"{name} has two emitters")
            EMITTERS[name] = function
        return function

    return enter


class NoOperatorError(UnsupportedOperatorError):
    """Why a primitive cannot be exported; the node that is being emitted is not named yet."""


def element_type(dtype: DType) -> int:
    """ONNX's number of a dtype.

    Raises:
        NoOperatorError: it is complex: ONNX has no arithmetic of these.
    """
    if is_complex(dtype):
        raise NoOperatorError(f"ONNX has no operators for {dtype}")
    number: int = helper.np_dtype_to_tensor_dtype(dtype)
    return number


# The dtype that an operator is applied in where it is not defined for another one: exact, or as exact as that one is.
_WIDER = {BOOL: I32, I8: I32, I16: I32, U8: I32, U16: I32, U32: I64, I32: I64, F16: F32, BF16: F32}


@cache
def _types(operator: str) -> frozenset[str]:
    """What the standard lets all of an operator's operands be that are numbers, or all if none has to be one."""
    schema = defs.get_schema(operator, OPSET)
    allowed = {c.type_param_str: frozenset(c.allowed_type_strs) for c in schema.type_constraints}
    each = [allowed[v.type_str] for v in schema.inputs if v.type_str in allowed]
    return frozenset.intersection(*([types for types in each if "tensor(float)" in types] or each))


class Emission:
    """An ONNX graph in the making; bodies of control flow are emissions within one, and see its tensors.

    Attributes:
        places: of the values that have been emitted.
        known: the arrays of constants, by name.
        biased: by the names of convolutions, what makes one with a bias instead.
        means: by the names of sums, how many elements these are of, and what makes their mean instead.
        reshapes: by the names of what Reshape has made, its operand, and the shape of that.
        sizes: by the number of an atom (`tgc.sizes`), a tensor and its axis, whose size it is less a number.
    """

    def __init__(self, outer: Emission | None = None, names: Iterable[str] = ()) -> None:
        self.root: Emission = outer.root if outer else self
        self.nodes: list[NodeProto] = []
        self.places: dict[Value, Place] = dict(outer.places) if outer else {}
        self.known: dict[str, np.ndarray] = outer.known if outer else {}
        self.biased: dict[str, Callable[[str], str]] = {}
        self.means: dict[str, tuple[int, Callable[[], str]]] = {}
        self.reshapes: dict[str, tuple[str, Shape]] = {}
        self.sizes: dict[int, tuple[str, int, int]] = dict(outer.sizes) if outer else {}
        self._named: dict[str, str] = outer._named if outer else {}
        self._taken: dict[str, int] = outer._taken if outer else dict.fromkeys(names, 1)
        self._turned: dict[str, tuple[str, Shape]] = dict(outer._turned) if outer else {}
        self._emitted: dict[object, str] = {}
        self._where = ""

    # --------------------------------------------------------------------------------------------------------- tensors

    def fresh(self, stem: str) -> str:
        """A name that nothing has yet."""
        name = stem
        while name in self._taken:
            self._taken[stem] += 1
            name = f"{stem}_{self._taken[stem] - 1}"
        self._taken[name] = 1
        return name

    def op(self, name: str, *inputs: str, **attributes: Any) -> str:
        """Apply an operator: the name of its output. Equal applications are one."""
        key = name, inputs, repr(attributes)
        if key not in self._emitted:
            (self._emitted[key],) = self.ops(1, name, *inputs, **attributes)
        return self._emitted[key]

    def typed(self, name: str, *inputs: str, dtype: DType, result: DType | None = None, **attributes: Any) -> str:
        """Apply an operator to operands of a dtype; where ONNX has it not for that one, to wider numbers.

        Args:
            result: the dtype of the output where it is not that of the operands.

        Raises:
            NoOperatorError: there is none for wider ones either.
        """
        wide = self.wider(name, dtype)
        if wide == dtype:
            return self.op(name, *inputs, **attributes)
        made = self.op(name, *(self.op("Cast", x, to=element_type(wide)) for x in inputs), **attributes)
        return made if result not in (None, dtype) else self.op("Cast", made, to=element_type(dtype))

    def wider(self, name: str, dtype: DType) -> DType:
        """The dtype, `dtype` or a wider one, that ONNX has an operator for."""
        wide: DType | None = dtype
        while wide is not None:
            if f"tensor({TensorProto.DataType.Name(element_type(wide)).lower()})" in _types(name):
                return wide
            wide = _WIDER.get(wide)
        raise NoOperatorError(f"ONNX has no {name} of {dtype}")

    def ops(self, count: int, name: str, *inputs: str, **attributes: Any) -> list[str]:
        """The same for an operator of `count` outputs."""
        outputs = [self.fresh(name) for _ in range(count)]
        self.nodes.append(helper.make_node(name, inputs, outputs, doc_string=self._where, **attributes))
        return outputs

    def initializer(self, name: str, array: np.ndarray) -> str:
        """The name of a new initializer: the one that is given, or nearly so."""
        element_type(array.dtype)
        made = self.fresh(name)
        self.known[made] = array
        return made

    def constant(self, array: np.ndarray, name: str = "constant") -> str:
        """The name of an initializer with these elements; equal ones are one."""
        key = digest_of(np.asarray(array))
        if key not in self._named:
            self._named[key] = self.initializer(name, np.asarray(array))
        return self._named[key]

    def scalar(self, number: float, dtype: DType) -> str:
        """A constant of no axes."""
        return self.constant(np.asarray(number).astype(dtype))

    def integers(self, numbers: Sequence[int]) -> str:
        """int64[n] of integers and sizes."""
        if not any(isinstance(n, Size) for n in numbers):
            return self.constant(np.array(numbers, np.int64))
        return self.op("Concat", *map(self._vector, numbers), axis=0)

    def _vector(self, n: int) -> str:
        """int64[1] of one integer."""
        if not isinstance(n, Size):
            return self.constant(np.array([n], np.int64))
        return self._polynomial(n.polynomial)

    def _polynomial(self, p: Polynomial) -> str:
        total = ""
        for monomial, factor in p:
            term = self._vector(factor) if factor != 1 or not monomial else ""
            for atom in monomial:
                if atom not in self.sizes:
                    raise NoOperatorError("a size that is no polynomial of the sizes of tensors")
                name, axis, more = self.sizes[atom]
                size = self.op("Shape", name, start=axis, end=axis + 1)
                size = self.op("Sub", size, self._vector(more)) if more else size
                term = self.op("Mul", term, size) if term else size
            total = self.op("Add", total, term) if total else term
        return total

    def whole(self, v: Value) -> str:
        """The tensor of a value, in its shape."""
        place = self.places[v]
        if not surely_equal(place.shape, v.shape):
            self.places[v] = place = Place(self.op("Expand", place.name, self.integers(v.shape)), v.shape)
        return place.name

    def turned(self, name: str, perm: Sequence[int]) -> str:
        """A tensor with its axes permuted; transposes of transposes, and of constants, are none."""
        source, perm = name, tuple(perm)
        if name in self._turned:
            source, before = self._turned[name]
            perm = tuple(before[a] for a in perm)
        if perm == tuple(range(len(perm))):
            return source
        if source in self.known:
            made = self.constant(np.ascontiguousarray(self.known[source].transpose(perm)), f"{source}{_TURNED}")
        else:
            made = self.op("Transpose", source, perm=perm)
        self._turned[made] = source, perm
        return made

    def unturned(self, places: Sequence[Place]) -> tuple[list[Place], Shape] | None:
        """Operands as they were before a permutation of axes that all have in common, and that permutation.

        None if there is none. Scalars and constants have any; so transposes stay behind elementwise operators, until
        they meet another one.
        """
        rank = max(len(p.shape) for p in places)
        perms = {self._turned[p.name][1] for p in places if p.name in self._turned and len(p.shape) == rank}
        if len(perms) != 1:
            return None
        (perm,) = perms
        back = [perm.index(a) for a in range(rank)]
        before = []
        for name, shape in places:
            padded = (1,) * (rank - len(shape)) + shape
            if shape and name in self._turned:
                name = self._turned[name][0]
            elif shape and name in self.known:
                name = self.constant(self.known[name].reshape(padded).transpose(back), f"{name}{_TURNED}")
            elif shape:
                return None
            before.append(Place(name, tuple(padded[a] for a in back) if shape else ()))
        return before, perm

    # ----------------------------------------------------------------------------------------------------------- nodes

    def inline(self, graph: Graph, operands: Sequence[Place]) -> list[Place]:
        """Emit the nodes of a graph whose inputs have the places `operands`; the places of its outputs."""
        for v, place in zip(graph.inputs, operands, strict=True):
            self._put(v, place)
        for c in graph.constants:
            if c.data is None:
                raise NoOperatorError(f"constant {c.digest} has no data")
            self.places[c.value] = Place(self.constant(c.data), c.value.shape)
        for node in graph.nodes:
            self._node(node)
        return [self.places[v] for v in graph.outputs]

    def _node(self, node: Node) -> None:
        self._where = ", ".join(node.loc) or self._where
        at = f" at {self._where}" if self._where else ""
        if node.op.name not in EMITTERS:
            raise UnsupportedOperatorError(f"{node.op.name}{at}: ONNX has no operator for it")
        try:
            made = EMITTERS[node.op.name](self, node)
        except NoOperatorError as error:
            raise UnsupportedOperatorError(f"{node.op.name}{at}: {error}") from error
        results = made if isinstance(made, tuple) and not isinstance(made, Place) else (made,)
        for v, result in zip(node.results, results, strict=True):
            self._put(v, result if isinstance(result, Place) else Place(result, v.shape))

    def _put(self, v: Value, place: Place) -> None:
        self.places[v] = place
        for axis, n in enumerate(place.shape):
            match polynomial_of(n):
                case (((atom,), 1),):
                    self.sizes.setdefault(atom, (place.name, axis, 0))
                case (((), more), ((atom,), 1)):
                    self.sizes.setdefault(atom, (place.name, axis, more))

    def graph(self, name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> GraphProto:
        """The graph of the nodes that outputs need; initializers, which bodies see too, are the root's."""
        live, kept = {v.name for v in outputs}, []
        for node in reversed(self.nodes):
            if not live.isdisjoint(node.output):
                kept.append(node)
                live |= used(node)
        constants = {n: a for n, a in self.known.items() if n in live} if self.root is self else {}
        # What is left of a constant that only lies otherwise now has its name
        names = {n: n.removesuffix(_TURNED) for n in constants if n.endswith(_TURNED)}
        names = {n: base for n, base in names.items() if base not in live}
        for node in kept:
            rename(node, names)
        tensors = [numpy_helper.from_array(a, names.get(n, n)) for n, a in constants.items()]
        return helper.make_graph(kept[::-1], name, list(inputs), list(outputs), tensors)


def rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Let a node, and those of graphs among its attributes, read tensors under other names."""
    node.input[:] = [names.get(n, n) for n in node.input]
    for attribute in node.attribute:
        for inner in attribute.g.node:
            rename(inner, names)


def used(node: NodeProto) -> set[str]:
    """The names that a node reads, in graphs among its attributes too."""
    names = set(node.input)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            names |= {v.name for v in attribute.g.output}.union(*map(used, attribute.g.node))
    return names


def polynomial_of(n: Any) -> Polynomial:
    """The expression of a size; an empty one for plain integers."""
    return n.polynomial if isinstance(n, Size) else ()


def atom_of(n: int) -> int | None:
    """The number of the atom that a size is; None for what is computed of several, and for plain integers."""
    match polynomial_of(n):
        case (((atom,), 1),):
            return atom
    return None


def info(name: str, v: Value, names: Mapping[int, str] = MappingProxyType({})) -> ValueInfoProto:
    """What a graph says of an input or output; `names` has those of sizes that are symbols, by atom."""
    shape = [names.get(-1 if (atom := atom_of(n)) is None else atom) if is_size(n) else n for n in v.shape]
    return helper.make_tensor_value_info(name, element_type(v.dtype), shape)
