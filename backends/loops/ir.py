"""The loop IR: scalar expressions, statements and kernels.

    Expr  = Const | Var | Apply(primitive, operands) | Load(buffer, index) | Guard(condition, then, otherwise)
    Stmt  = For | If | Let | Assign | Store | Stack | Tile | WindowTile | Turn | Words | Prefetch | Comment
    Kernel = buffers, run-time integers, and a body run for each tile of lo..hi

Expressions are immutable and compared by structure. Integer expressions (places, sizes) are i64. A kernel holds no
sizes: they are run-time integers whose values travel beside it, so one kernel serves every batch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from tgc.types import BOOL, I64, DType

T = TypeVar("T")
SQUARE = 16  # rows and columns of a block that is transposed: a row is a line of the cache, in float32


class _Arithmetic:
    """Python operators on integer expressions, folding constants on the way."""

    def __add__(self, other: Any) -> Expr:
        return integer("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return integer("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return integer("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return integer("sub", other, self)

    def __mul__(self, other: Any) -> Expr:
        return integer("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return integer("mul", other, self)

    def __floordiv__(self, other: Any) -> Expr:
        return integer("floor_div", self, other)

    def __mod__(self, other: Any) -> Expr:
        return integer("mod", self, other)

    def __lt__(self, other: Any) -> Expr:
        return integer("lt", self, other)

    def __ge__(self, other: Any) -> Expr:
        return integer("ge", self, other)


def _hashed(cls: type[T]) -> type[T]:
    """Cache the structural hash: expressions share operands, and are hashed over and over."""
    structural = cls.__hash__

    def cached(self: Any) -> int:
        try:
            return self._hash  # type: ignore[no-any-return]
        except AttributeError:
            value = structural(self)
            object.__setattr__(self, "_hash", value)
            return value

    cls.__hash__ = cached  # type: ignore[method-assign]
    return cls


@_hashed
@dataclass(frozen=True)
class Const(_Arithmetic):
    """A number."""

    value: bool | int | float
    dtype: DType

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Const) or self.dtype != other.dtype:
            return False
        return self.value is other.value or repr(self.value) == repr(other.value)


@_hashed
@dataclass(frozen=True)
class Var(_Arithmetic):
    """A loop variable, a run-time integer, an accumulator or a named expression."""

    name: str
    dtype: DType = I64


@_hashed
@dataclass(frozen=True)
class Apply(_Arithmetic):
    """A scalar primitive of `tgc.ops.scalar`, `cast`, `nearest` (to the nearest int32), `index`, `philox`,
    `round_<half>` or a reorderable `fold_add`.
    """

    primitive: str
    operands: tuple[Expr, ...]
    dtype: DType


@_hashed
@dataclass(frozen=True)
class Load(_Arithmetic):
    """The element of a buffer at one place an axis."""

    buffer: Buffer
    index: tuple[Expr, ...]
    dtype: DType


@_hashed
@dataclass(frozen=True)
class Guard(_Arithmetic):
    """`then` where the condition holds, else `otherwise`; only the chosen one is evaluated."""

    condition: Expr
    then: Expr
    otherwise: Expr
    dtype: DType


Expr: TypeAlias = Const | Var | Apply | Load | Guard

_FOLD: dict[str, Callable[[int, int], Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "floor_div": lambda a, b: a // b,
    "mod": lambda a, b: a % b, "lt": lambda a, b: a < b, "ge": lambda a, b: a >= b,
}  # fmt: skip


def number(x: Any) -> Expr:
    """An i64 expression from an int or an expression."""
    return x if isinstance(x, Const | Var | Apply | Load | Guard) else Const(int(x), I64)


def integer(primitive: str, left: Any, right: Any) -> Expr:
    """A folded application of an integer primitive."""
    a, b = number(left), number(right)
    dtype = BOOL if primitive in ("lt", "ge") else I64
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(_FOLD[primitive](int(a.value), int(b.value)), dtype)
    one = {"add": 0, "sub": 0, "mul": 1, "floor_div": 1}.get(primitive)
    if isinstance(b, Const):
        if b.value == one:
            return a
        if b.value == 0 and primitive == "mul":
            return b
        if primitive == "sub":
            return integer("add", a, Const(-int(b.value), I64))
        if primitive == "add" and isinstance(a, Apply) and a.primitive == "add" and isinstance(a.operands[1], Const):
            return integer("add", a.operands[0], int(a.operands[1].value) + int(b.value))
    if isinstance(a, Const) and primitive in ("add", "mul"):
        return integer(primitive, b, a)
    return Apply(primitive, (a, b), dtype)


def children(x: Expr) -> tuple[Expr, ...]:
    """The expressions directly below one."""
    if isinstance(x, Apply):  # half as long as matching patterns, for what is asked most of all
        return x.operands
    if isinstance(x, Load):
        return x.index
    return (x.condition, x.then, x.otherwise) if isinstance(x, Guard) else ()


def read_by(x: Expr) -> frozenset[str | Buffer]:
    """The names of variables and the buffers that an expression reads."""
    known: frozenset[str | Buffer] | None = getattr(x, "_read_by", None)
    if known is None:
        own: list[str | Buffer] = [x.name] if isinstance(x, Var) else [x.buffer] if isinstance(x, Load) else []
        known = frozenset(own).union(*map(read_by, children(x)))
        object.__setattr__(x, "_read_by", known)  # expressions share operands, and are asked over and over
    return known


def walk(roots: Sequence[Expr]) -> list[Expr]:
    """Every distinct expression under `roots`, operands before their users."""
    seen: set[Expr] = set()
    found: list[Expr] = []

    def visit(x: Expr) -> None:
        if x not in seen:
            seen.add(x)
            for child in children(x):
                visit(child)
            found.append(x)

    for root in roots:
        visit(root)
    return found


def substitute(x: Expr, replace: Callable[[Expr], Expr | None], memo: dict[Expr, Expr]) -> Expr:
    """`x` with every subexpression for which `replace` returns another one exchanged, top down."""
    if x in memo:
        return memo[x]
    new = replace(x)
    if new is None:
        match x:
            case Apply():
                operands = tuple(substitute(o, replace, memo) for o in x.operands)
                if x.primitive in _FOLD and x.operands[0].dtype == I64:
                    new = integer(x.primitive, *operands)
                else:
                    new = Apply(x.primitive, operands, x.dtype)
            case Load():
                new = Load(x.buffer, tuple(substitute(i, replace, memo) for i in x.index), x.dtype)
            case Guard():
                condition, then, otherwise = (substitute(c, replace, memo) for c in children(x))
                new = Guard(condition, then, otherwise, x.dtype)
            case _:
                new = x
    memo[x] = new
    return new


@dataclass(frozen=True)
class Buffer:
    """Memory that a kernel reads or writes: its physical axes are addressed through run-time strides.

    `name` is unique in the kernel. `strides` are integers in elements, the last one 1; `sizes` are the physical sizes.
    """

    name: str
    dtype: DType
    sizes: tuple[int, ...] = field(compare=False)
    strides: tuple[int, ...] = field(compare=False)

    def stride(self, axis: int) -> Expr:
        """The run-time integer that holds one stride."""
        return Const(1, I64) if axis == len(self.strides) - 1 else Var(f"{self.name}_s{axis}")

    @staticmethod
    def row_major(name: str, dtype: DType, sizes: Sequence[int]) -> Buffer:
        strides = tuple(math.prod(sizes[a + 1 :]) for a in range(len(sizes)))
        return Buffer(name, dtype, tuple(sizes), strides)


@dataclass(frozen=True)
class For:
    """for var in range(lo, hi): body."""

    var: str
    lo: Expr
    hi: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True)
class If:
    """if condition: body, else: otherwise."""

    condition: Expr
    body: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...] = ()


@dataclass(frozen=True)
class Let:
    """name = value; also how an accumulator changes."""

    name: str
    value: Expr


@dataclass(frozen=True)
class Store:
    """buffer[index] = value, one place an axis."""

    buffer: Buffer
    index: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True)
class Stack:
    """A local buffer of a fixed number of elements, on the stack."""

    buffer: Buffer
    elements: int


@dataclass(frozen=True)
class Tile:
    """One register tile of a contraction: c[rows, columns] = sum over k of a[row, k] * b[k, columns].

    `rows_at` is a local i64 buffer with the place in `a` of each row, from `rows_from` on; `levels` hold (extent,
    stride in a, stride in b) of each loop over k, outermost first; places and strides count elements. Columns from
    `valid` on are not touched. `c_rows` is a local i64 buffer with the place in `c`, from `c_at` on, of each row; what
    they are added to is an operand, a place in it and such a buffer: `c` itself, or what is read before it is written.
    Without `rows_at`, `a` is a block of rows in tile registers' form (`Rows`), and the rows of `c` lie `columns` apart.

    `ahead` is an operand, a place in it, which need not be inside, and how much further each step of k goes: what lies
    there will be needed soon.
    """

    rows: int
    columns: int
    a: Buffer
    a_at: Expr
    rows_at: Buffer | None
    b: Buffer
    b_at: Expr
    c: Buffer
    valid: Expr
    levels: tuple[tuple[Expr, Expr, Expr], ...]
    c_rows: Buffer
    c_at: Expr = Const(0, I64)
    onto: tuple[Buffer, Expr, Buffer] | None = None
    rows_from: Expr = Const(0, I64)
    ahead: tuple[Buffer, Expr, Expr] | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of 8-bit integers gathered for tile registers: block[row, k] = a[row, k] for each of `count` rows.

    `levels` are those of the `Tile` that takes `block` as its `a`; the places of the rows are told as there.
    """

    a: Buffer
    a_at: Expr
    rows_at: Buffer
    rows_from: Expr
    count: Expr
    levels: tuple[tuple[Expr, Expr, Expr], ...]
    block: Buffer


@dataclass(frozen=True)
class WindowTile:
    """One register tile of a contraction of each column by itself: c[row, j] = sum over k of a[row, k, j] * b[k, j].

    Row `r` and step `t` of the innermost of `levels` lie (r * row_step + t * tap_step) * `unit` elements along `a`;
    `taps` such steps are unrolled. Of these places, `left` and `right` at the ends are outside of `a`, as good as zero.
    The other fields are those of `Tile`.
    """

    rows: int
    columns: int
    taps: int
    row_step: int
    tap_step: int
    a: Buffer
    a_at: Expr
    unit: Expr
    b: Buffer
    b_at: Expr
    c: Buffer
    c_at: Expr
    c_row: Expr
    valid: Expr
    levels: tuple[tuple[Expr, Expr, Expr], ...]
    accumulate: bool
    left: int = 0
    right: int = 0


@dataclass(frozen=True)
class Turn:
    """A square block of memory, transposed: block[to + c * row + r] = source[at + r * step + c], r and c < `SQUARE`."""

    block: Buffer
    source: Buffer
    at: Expr
    step: Expr
    to: Expr = Const(0, I64)
    row: Expr = Const(SQUARE, I64)


@dataclass(frozen=True)
class Words:
    """Random words of a key: block[i] = word first + i, for i < `count` and some more; `first` is a multiple of 4."""

    block: Buffer
    key: tuple[Expr, Expr]
    first: Expr
    count: Expr


@dataclass(frozen=True)
class Prefetch:
    """The line of memory of an element, which need not exist, will be needed soon: to be read, or written, too."""

    buffer: Buffer
    index: tuple[Expr, ...]
    written: bool


@dataclass(frozen=True)
class Comment:
    """A line for readers."""

    text: str


Stmt: TypeAlias = For | If | Let | Store | Stack | Tile | Rows | WindowTile | Turn | Words | Prefetch | Comment


@dataclass(frozen=True)
class Kernel:
    """Code for a range lo..hi of tiles, and how to launch it.

    `buffers` are the kernel's pointers in order, `values` the run-time integers by name, `scalars` the numbers that the
    graph holds (1/batch, a learning rate); `tile` is the loop variable over lo..hi. `bindings` say for each buffer
    which operand ("in", k) or result ("out", k) it is.
    `tiles`, `work` (elements of computation in all) and `parts` (that share the tiles; 0: as many as suit the work) are
    facts of this launch, not of the code.
    """

    name: str
    doc: str
    buffers: tuple[Buffer, ...]
    values: dict[str, int]
    scalars: dict[str, Const]
    body: tuple[Stmt, ...]
    tile: str
    bindings: tuple[tuple[str, int], ...]
    tiles: int
    work: int
    checked: bool = False  # whether it may report an index out of range
    parts: int = 0
