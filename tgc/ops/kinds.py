"""The kinds of ops. A kind fixes what a definition must say and what a backend may rely on.

    Elementwise   one scalar rule
    Movement      one rule: output element at an index, as an expression of operand elements (creation, gather and
                  pooling windows included)
    Reduce        scalar rules `init`, `step` and `finish` over reduced axes
    Contraction   named axes and one affine access map an operand
    Cumulative    a fold along one axis that keeps its intermediate results (`tgc.ops.cumulative`)
    Attention     attention, and its gradient, without the matrix of scores (`tgc.ops.attention`)
    Scatter       updates combined with what is at computed places
    WindowTransform, TransformedProduct   convolution in Winograd's domain (`tgc.ops.winograd`)
    Opaque        what a library routine computes: sorting, factorizations (`tgc.ops.opaque`)
    Region        a node whose meaning is its body graph
    Control       bodies that run repeatedly, or by choice

A definition also carries an independent NumPy `reference` (the oracle), a `grad` rule made of other ops, and `samples`
from which its tests are generated. A missing field fails at import. Backends implement kinds, never single ops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from tgc.errors import AttributeSpecError, DTypeError, LinearAlgebraError, OutOfRangeError, ShapeError
from tgc.ir import Attr, Graph, Op, recorder
from tgc.ops.samples import Samples
from tgc.sizes import equal_shapes, is_size
from tgc.types import BOOL, FLOAT8S, SHORT_NAMES, DType, TensorType, as_dtype, type_of

Grad: TypeAlias = Callable[..., tuple[Any, ...]]
Batch: TypeAlias = Callable[..., Any]  # (operands, whether each has the mapped axis in front, **attrs) -> result(s), so
Jvp: TypeAlias = Callable[..., tuple[Any, ...]]  # (tangents or None, *operands, out=, **attrs) -> tangents of results
AttrSpec: TypeAlias = Mapping[str, Callable[[Any], Any]]
TypeRule: TypeAlias = Callable[..., TensorType]

REGISTRY: Final[dict[str, Op]] = {}


def no_gradient(g: Any, *operands: Any, out: Any, **attrs: Any) -> tuple[None, ...]:
    """The gradient rule of ops whose results do not vary smoothly with any operand (comparisons, integers, ...)."""
    return (None,) * len(operands)


def no_operands(operands: Sequence[Any], batched: Sequence[bool], **attrs: Any) -> Any:
    """The batch rule of ops without operands: there is nothing that they could be mapped over."""
    raise AssertionError("an op without operands was mapped over an axis")


def integer(x: Any) -> int:
    """Attribute check: an int or a size."""
    if is_size(x):
        return x  # type: ignore[no-any-return]
    if isinstance(x, bool) or not isinstance(x, int | np.integer):
        raise TypeError(f"expected an integer, got {x!r}")
    return int(x)


def integers(x: Any) -> tuple[int, ...]:
    """Attribute check: a tuple of ints."""
    return tuple(integer(i) for i in x)


def pairs(x: Any) -> tuple[tuple[int, ...], ...]:
    """Attribute check: a tuple of tuples of ints, such as the padding of each axis."""
    return tuple(integers(p) for p in x)


def scalar(x: Any) -> bool | int | float | tuple[float, float]:
    """Attribute check: a Python number (NumPy scalars are converted), a size, or the pair of a complex one's parts."""
    if is_size(x):
        return x  # type: ignore[no-any-return]
    x = x.item() if isinstance(x, np.generic | np.ndarray) else x
    if isinstance(x, complex):
        return x.real, x.imag
    if isinstance(x, tuple) and len(x) == 2 and all(type(part) is float for part in x):
        return x
    if not isinstance(x, bool | int | float):
        raise TypeError(f"expected a number, got {x!r}")
    return x


def dtype(x: Any) -> DType:
    """Attribute check: a supported dtype."""
    return as_dtype(x)


def flag(x: Any) -> bool:
    """Attribute check: a boolean."""
    if not isinstance(x, bool | np.bool_):
        raise TypeError(f"expected a boolean, got {x!r}")
    return bool(x)


def text(x: Any) -> str:
    """Attribute check: a string."""
    if not isinstance(x, str):
        raise TypeError(f"expected a string, got {x!r}")
    return x


def texts(x: Any) -> tuple[str, ...]:
    """Attribute check: a tuple of strings."""
    return tuple(text(t) for t in x)


def places(x: Any) -> tuple[str | tuple[str, int], ...]:
    """Attribute check: places in memory, texts or, at offsets that are sizes, pairs."""
    return tuple((text(p[0]), integer(p[1])) if isinstance(p, tuple) else text(p) for p in x)


def region(x: Any) -> Graph:
    """Attribute check: a graph."""
    if not isinstance(x, Graph):
        raise TypeError(f"expected a graph, got {x!r}")
    return x


def regions(x: Any) -> tuple[Graph, ...]:
    """Attribute check: a tuple of graphs, at least one."""
    if not isinstance(x, tuple | list) or not x:
        raise TypeError(f"expected graphs, got {x!r}")
    return tuple(region(g) for g in x)


Eager: TypeAlias = Callable[["Primitive", Sequence[Any], Mapping[str, Any]], Any]


def evaluate(op: Primitive, operands: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """Apply `op` to NumPy arrays by its reference, after checking types and attributes.

    Raises:
        ShapeError, DTypeError, AttributeSpecError: operands or attributes do not fit the op.
        OutOfRangeError: an index lies outside the axis that it addresses.
        LinearAlgebraError: a matrix has no such factorization or inverse.
    """
    arrays = [a.astype(as_dtype(a.dtype), copy=False) for a in map(np.asarray, operands)]
    attrs = op.check_attrs(attrs)
    types = op.infer([type_of(a) for a in arrays], attrs)
    try:
        with np.errstate(all="ignore"):
            found = op.reference(*arrays, **attrs)
    except (IndexError, np.linalg.LinAlgError) as error:
        kind = OutOfRangeError if isinstance(error, IndexError) else LinearAlgebraError
        raise kind(f"{op.name}({', '.join(str(type_of(a)) for a in arrays)}): {error}") from error
    results = found if isinstance(found, tuple) else (found,)
    made = tuple(np.asarray(r).astype(t.dtype, copy=False) for r, t in zip(results, types, strict=True))
    return made if isinstance(found, tuple) else made[0]


_compiled: Eager = evaluate


def set_eager(compiled: Eager) -> None:
    """Install what applies heavy ops to NumPy arrays outside of any trace (the runtime's cached programs)."""
    global _compiled
    _compiled = compiled


@dataclass(frozen=True, eq=False, repr=False)
class Primitive(Op):
    """What all kinds have in common."""

    name: str
    _: KW_ONLY
    reference: Callable[..., Any]
    grad: Grad
    samples: Samples
    attrs: AttrSpec
    optional: AttrSpec = field(default_factory=lambda: MappingProxyType({}))  # attributes that a node may do without
    batch: Batch | None = None  # elementwise ops and reductions are mapped by their kind: see `tgc.batching`
    jvp: Jvp | None = None  # None: the transpose of `grad`, see `tgc.forward`
    heavy = False  # whether eager application is worth a compiled program

    def __post_init__(self) -> None:
        if self.name in REGISTRY:
            raise ValueError(f"op {self.name} is defined twice")
        REGISTRY[self.name] = self

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        """Record the op in the current trace, or apply it to NumPy arrays when there is none."""
        trace = recorder()
        if trace is not None:
            return trace.bind(self, operands, self.check_attrs(attrs))
        return (_compiled if self.heavy else evaluate)(self, operands, attrs)

    def check_attrs(self, attrs: Mapping[str, Any]) -> dict[str, Attr]:
        """Attributes in canonical form.

        Raises:
            AttributeSpecError: one is unknown, missing or of the wrong type.
        """
        given, known = attrs.keys(), self.attrs.keys()
        if given != known and not known <= given <= known | self.optional.keys():
            raise AttributeSpecError(f"{self.name} takes the attributes {sorted(self.attrs)}, got {sorted(attrs)}")
        checked = {}
        for key in attrs:
            try:
                checked[key] = self.check_of(key)(attrs[key])
            except (TypeError, ValueError) as error:
                raise AttributeSpecError(f"attribute {key} of {self.name}: {error}") from error
        return checked

    def check_of(self, key: str) -> Callable[[Any], Any]:
        """What brings attribute `key` into canonical form."""
        return self.attrs[key] if key in self.attrs else self.optional[key]

    def refuse(self, reason: str, operands: Sequence[TensorType]) -> ShapeError:
        """The error that says why operand shapes do not fit."""
        return ShapeError(f"{self.name}({', '.join(map(str, operands))}): {reason}")

    def made(self, operands: Sequence[TensorType], dtype: DType, shape: Sequence[int]) -> TensorType:
        """A row-major result type; sizes that attributes ask for must not be negative."""
        if any(n < 0 for n in shape):
            raise self.refuse(f"a shape holds no negative sizes, got {tuple(shape)}", operands)
        return TensorType(dtype, tuple(shape))

    def expect(self, operands: Sequence[TensorType], *domains: frozenset[DType]) -> None:
        """Check the number of operands and the dtype of each."""
        if len(operands) != len(domains):
            raise ShapeError(f"{self.name} takes {len(domains)} operands, got {len(operands)}")
        for i, (t, domain) in enumerate(zip(operands, domains, strict=True)):
            if t.dtype not in domain:
                names = ", ".join(SHORT_NAMES[d] for d in SHORT_NAMES if d in domain)
                hint = "; float8 is for storage: cast it to another float" if t.dtype in FLOAT8S else ""
                raise DTypeError(f"{self.name}: operand {i} is {t}; its dtype must be one of {names}{hint}")


@dataclass(frozen=True, eq=False, repr=False)
class Elementwise(Primitive):
    """out[i] = scalar(s, x[i], y[i], ..., **attrs), each element by itself.

    Operands have one shape (`tgc.ops.arithmetic` broadcasts) and, where they share a domain, one dtype. `scalar` is
    written in the language of `tgc.ops.scalar`. The result has the layout of the operands if they agree on one.
    """

    _: KW_ONLY
    arity: int
    scalar: Callable[..., Any]
    domain: frozenset[DType]
    result: Callable[..., DType] | None = None  # result dtype from operand dtypes and attrs; None: as the last operand
    mixed: tuple[frozenset[DType], ...] = ()  # the domain of each operand where not all have `domain`

    def infer(self, operands: Sequence[TensorType], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
        domains = self.mixed or (self.domain,) * self.arity
        self.expect(operands, *domains)
        if not all(equal_shapes(t.shape, operands[0].shape) for t in operands[1:]):
            raise self.refuse("operand shapes differ", operands)
        if len({(domain, t.dtype) for domain, t in zip(domains, operands, strict=True)}) > len(set(domains)):
            raise DTypeError(f"{self.name}({', '.join(map(str, operands))}): operand dtypes differ")
        layouts = {t.layout for t in operands}
        dtype = self.result(*(t.dtype for t in operands), **attrs) if self.result else operands[-1].dtype
        return (TensorType(dtype, operands[-1].shape, layouts.pop() if len(layouts) == 1 else None),)


def boolean(*dtypes: DType, **attrs: Attr) -> DType:
    """Result rule of comparisons and predicates."""
    return BOOL


@dataclass(frozen=True, eq=False, repr=False)
class Ruled(Primitive):
    """What the kinds have in common whose ops have one result, of the type that `type_rule` gives it."""

    _: KW_ONLY
    type_rule: TypeRule
    batch: Batch

    def infer(self, operands: Sequence[TensorType], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
        return (self.type_rule(self, operands, **attrs),)


@dataclass(frozen=True, eq=False, repr=False)
class Movement(Ruled):
    """out[index] = element(s, index, **attrs), which may read operands by `s.load(operand, index)`.

    `index` is one integer expression an output axis; `s.dim(operand, axis)` and `s.size(axis)` are operand and output
    sizes; `s.guard(condition, then, otherwise)` evaluates `then()` (which may load) only where the condition holds.
    For the fusion pass, `reads(*operand types, **attrs)` is how often an operand's element is read, at most, and
    `loads(**attrs)` at how many places an output element looks.
    """

    _: KW_ONLY
    element: Callable[..., Any]
    cheap: bool = True  # whether to recompute rather than to store an element that has several readers
    reads: Callable[..., float] = lambda *types, **attrs: 1.0
    loads: Callable[..., int] = lambda **attrs: 1


@dataclass(frozen=True, eq=False, repr=False)
class Reduce(Primitive):
    """out[kept] = finish(fold of step over the reduced axes, from init); the state is a tuple of scalars.

    Attribute `axes` is sorted; attribute `chunks` > 0 cuts the first reduced axis (size n) in that many ranges
    [i*n//chunks, (i+1)*n//chunks), folds each by itself and makes the chunk the first axis of the result. There may be
    more chunks than n only where folding nothing is defined.
    """

    _: KW_ONLY
    init: Callable[..., tuple[Any, ...]]
    step: Callable[..., tuple[Any, ...]]  # (s, state, x, position): position counts along the reduced axes, row-major
    finish: Callable[..., Any]
    domain: frozenset[DType]
    result: Callable[[DType], DType]
    empty: bool  # whether folding nothing is defined
    splits: bool  # whether the op folds the results of its own chunks

    def infer(self, operands: Sequence[TensorType], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
        self.expect(operands, self.domain)
        (x,) = operands
        axes: Any = attrs["axes"]
        chunks: Any = attrs["chunks"]
        if list(axes) != sorted(set(axes)) or any(not 0 <= a < x.rank for a in axes):
            raise self.refuse(f"axes {axes} are not distinct, sorted axes of the operand", operands)
        if not self.empty and any(x.shape[a] == 0 for a in axes):
            raise self.refuse("cannot reduce an axis of size zero", operands)
        if chunks < 0 or (chunks and (not self.splits or not axes)):
            raise self.refuse(f"cannot reduce in {chunks} chunks", operands)
        if chunks and not self.empty and x.shape[axes[0]] < chunks:
            raise self.refuse(f"cannot cut axis {axes[0]} of size {x.shape[axes[0]]} in {chunks} chunks", operands)
        kept = tuple(n for a, n in enumerate(x.shape) if a not in axes)
        return (TensorType(self.result(x.dtype), (chunks, *kept) if chunks else kept),)


@dataclass(frozen=True, slots=True)
class AxisMap:
    """How a contraction reads its operands: an operand axis is a sum of coefficient * named axis.

    `extents` orders and sizes the named axes; `lhs`, `rhs` and `out` hold a {axis: coefficient} for each tensor axis.
    Axes not in `out` are summed over. `low` counts the zeros in front of the left operand along each of its axes, which
    the sums count in; the products of these, and of as many behind the operand as the extents reach, are left out.
    """

    extents: Mapping[str, int]
    lhs: tuple[Mapping[str, int], ...]
    rhs: tuple[Mapping[str, int], ...]
    out: tuple[Mapping[str, int], ...]
    low: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Contraction(Ruled):
    """out[...] = sum of lhs[...] * rhs[...] along named axes; `axis_map(lhs type, rhs type, **attrs)` says how."""

    _: KW_ONLY
    axis_map: Callable[..., AxisMap]
    heavy = True


@dataclass(frozen=True, eq=False, repr=False)
class Scatter(Ruled):
    """out = operand 0, then combine(s, element of out, element of the update) for each row of operand 2, in its place.

    Operand 1 holds the integer places of the rows along axis 0. Updates of one row are combined in order.
    """

    _: KW_ONLY
    combine: Callable[..., Any]  # (s, element of the result, element of the update)
    heavy = True


REPEATABLE: Final[AttrSpec] = MappingProxyType({"again": integer})
"""Optional attribute of nodes that a graph may hold several times, so that a value need not be kept: which one it is.

The first has none. Nodes that differ in it are not merged by value numbering, though they compute the same.
"""


@dataclass(frozen=True, eq=False, repr=False)
class Region(Primitive):
    """A node whose meaning is its `body` graph: fused kernels, checkpoints, composites.

    The pass `inline` puts the body of a `transparent` region in its place.
    """

    _: KW_ONLY
    transparent: bool = False

    def infer(self, operands: Sequence[TensorType], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
        body = attrs["body"]
        assert isinstance(body, Graph)
        wanted = tuple(v.type for v in body.inputs)
        if tuple(operands) != wanted:
            raise self.refuse(f"the body @{body.name} takes ({', '.join(map(str, wanted))})", operands)
        return tuple(v.type for v in body.outputs)


@dataclass(frozen=True, eq=False, repr=False)
class Control(Primitive):
    """A node that runs the graphs among its attributes: once for each step of a loop, or one of several.

    `type_rule(op, operand types, **attrs)` gives the types of all results. What other kinds are told of operands alone,
    these ops must be told of graphs too, so that their rules take a function of graphs first:

        reference(run, *operands, **attrs)                     run(graph, *arrays) -> arrays
        grad(joint, g, *operands, out=results, **attrs)        joint(graph, given outputs): see `tgc.autodiff.joint`
        batch(vectorized, operands, batched, **attrs)          vectorized(graph, ...): see `tgc.ops.control_batch`
        jvp(pushed, tangents, *operands, out=results, **attrs) pushed(graph, ...): see `tgc.ops.control_jvp`

    Attribute `places` is () until memory is planned, then the places of the results and of the bodies' own memory.
    """

    _: KW_ONLY
    type_rule: Callable[..., tuple[TensorType, ...]]
    heavy = True

    def infer(self, operands: Sequence[TensorType], attrs: Mapping[str, Attr]) -> tuple[TensorType, ...]:
        return self.type_rule(self, [t.with_layout(None) for t in operands], **attrs)
