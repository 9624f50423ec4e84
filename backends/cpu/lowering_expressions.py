"""The expressions of kernels -> LLVM IR; statements are in `lowering.py`, which says what there is."""

# mypy: disable-error-code="attr-defined, misc, no-untyped-call"
# Numba types its public names, but not its compiler.

from __future__ import annotations

import ast
import builtins
import functools
import linecache
import operator
import types as python_types
from abc import ABC, abstractmethod
from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba.core import errors, types
from numba.core.dispatcher import Dispatcher

from tgc.backends.cpu.lowering_rules import contexts, number, rule
from tgc.backends.cpu.vmath import FUNCTIONS
from tgc.errors import BackendError

Scope: TypeAlias = tuple[Any, ...]  # a function and the types of its arguments

_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.LShift: operator.lshift,
    ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert,
}  # fmt: skip

_DIVISIONS = (operator.floordiv, operator.mod)
_VMATH = frozenset(FUNCTIONS.values())


@dataclass(frozen=True, slots=True)
class Operand:
    """A value in the code, with its Numba type, which for constants may be a literal's."""

    type: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Tree:
    """What the text of a function says: its parameters, its statements, names that they assign to; the file's lines.

    `settled` are names that are assigned to in one place, before all that reads them: values that need no memory.
    """

    names: tuple[str, ...]
    body: Sequence[ast.stmt]
    assigned: frozenset[str]
    settled: frozenset[str]
    lines: Sequence[str]


@functools.lru_cache(1 << 8)
def tree_of(function: python_types.FunctionType) -> Tree:
    """The syntax tree of a function, whose parameters have no defaults and are not by keyword.

    Raises:
        BackendError: its text is not to be found, or its parameters are others.
    """
    code = function.__code__
    lines, definitions = _definitions(code.co_filename)
    definition = definitions.get(code.co_firstlineno)
    if definition is None or definition.name != function.__name__:
        raise BackendError(f"the text of {function.__name__} is not in {code.co_filename}")
    parameters = definition.args
    if parameters.posonlyargs or parameters.kwonlyargs or parameters.vararg or parameters.kwarg or parameters.defaults:
        raise BackendError(f"the parameters of {function.__name__} must be plain ones")
    names = tuple(a.arg for a in parameters.args)
    assigned, settled = _assignments(definition.body, names)
    return Tree(names, definition.body, assigned, settled, lines)


@functools.lru_cache(8)
def _definitions(filename: str) -> tuple[list[str], dict[int, ast.FunctionDef]]:
    """The lines of a file, and the functions in it by the number of the first of theirs."""
    lines = linecache.getlines(filename)
    found: dict[int, ast.FunctionDef] = {}
    waiting: list[ast.stmt] = list(ast.parse("".join(lines)).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef):
            found[min([node.lineno, *(d.lineno for d in node.decorator_list)])] = node
        for part in ("body", "orelse", "handlers", "finalbody"):
            waiting += getattr(node, part, ())
    return lines, found


def _assignments(body: Sequence[ast.stmt], parameters: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The names that statements assign to, and those of them that are settled."""
    count = Counter(parameters)
    early: set[str] = set()  # read where they may have no value, or another one

    def names(nodes: Iterable[ast.AST], known: set[str]) -> list[str]:
        """What expressions assign to; they read what is known."""
        stored = []
        for node in (n for root in nodes for n in ast.walk(root) if isinstance(n, ast.Name)):
            if isinstance(node.ctx, ast.Store):
                stored.append(node.id)
            elif node.id not in known:
                early.add(node.id)
        count.update(stored)
        return stored

    def block(body: Sequence[ast.stmt], known: set[str]) -> None:
        for node in body:
            parts = (value for _, value in ast.iter_fields(node))
            fields = [x for part in parts for x in (part if isinstance(part, list) else (part,))]
            stored = names((f for f in fields if isinstance(f, ast.expr)), known)
            if isinstance(node, ast.AugAssign):
                count.update(stored)
            for part in ("body", "orelse"):
                block(getattr(node, part, ()), {*known, *(stored if part == "body" else ())})
            if not isinstance(node, ast.For):
                known.update(stored)

    block(body, set(parameters))
    assigned = frozenset(count.elements()) - {p for p in parameters if count[p] == 1}
    return assigned, frozenset(name for name in assigned if count[name] == 1 and name not in early)


class WiderTypeError(Exception):
    """A variable turned out to need a wider type than it was given."""


@dataclass(slots=True)
class Loop:
    """A loop around the place of the walk, and where `continue` and `break` lead there."""

    turn: ir.Block
    end: ir.Block
    innermost: bool = True
    calls_vmath: bool = False


@dataclass(slots=True)
class Code:
    """What the walks of a kernel and of the functions that it calls share.

    Attributes:
        types: of variables.
        loops: around the place of the walk.
        known: the results of operators that have been computed on every way to that place. LLVM would find them too,
            after it has gone over all the code again and again.
    """

    kernel: str
    builder: ir.IRBuilder
    types: dict[tuple[Scope, str], Any]
    loops: list[Loop] = field(default_factory=list)
    known: ChainMap[object, Operand] = field(default_factory=ChainMap)

    @contextmanager
    def branch(self) -> Iterator[None]:
        """Code that may be passed by: what is computed in it is not known behind it."""
        self.known = self.known.new_child()
        yield
        self.known = self.known.parents


class Expressions(ABC):
    """The part of the walk over a function that is over its expressions.

    Attributes:
        code: shared by the functions whose code goes into one.
        values: of parameters that nothing is assigned to, and of settled variables.
        slots: types and memory of the other variables so far.
    """

    def __init__(self, code: Code, function: python_types.FunctionType, operands: Sequence[Operand]) -> None:
        self.code, self.function, self.tree = code, function, tree_of(function)
        self.builder, self.context = code.builder, contexts()[1]
        self.scope: Scope = (function, *(o.type for o in operands))
        self.values: dict[str, Operand] = {}
        self.slots: dict[str, tuple[Any, ir.Value]] = {}
        if len(operands) != len(self.tree.names):
            raise errors.TypingError(f"{function.__name__} takes {len(self.tree.names)} operands, not {len(operands)}")
        for name, operand in zip(self.tree.names, operands, strict=True):
            if name in self.tree.assigned:
                self.set(name, operand)
            else:
                self.values[name] = operand

    @abstractmethod
    def inline(self, function: python_types.FunctionType, operands: Sequence[Operand]) -> Operand:
        """The result of a function that is lowered where it is called."""

    def error(self, node: Any, what: str) -> BackendError:
        """That a part of the text is no part of a kernel."""
        line = self.tree.lines[node.lineno - 1].strip()
        return BackendError(f"kernel {self.code.kernel} does not compile: {what}\nin {self.function.__name__}: {line}")

    def expression(self, node: ast.expr) -> Operand:
        match node:
            case ast.Constant(value=bool() | int() | float()):
                return self.constant(node.value)
            case ast.Name():
                return self.name(node)
            case ast.BinOp():
                return self.operate(node, node.op, map(self.expression, (node.left, node.right)))
            case ast.UnaryOp(op=ast.Not()):
                return Operand(types.boolean, self.builder.not_(self.truth(node.operand)))
            case ast.UnaryOp():
                operand = self.expression(node.operand)
                if isinstance(node.op, ast.USub) and isinstance(operand.type, types.IntegerLiteral):
                    return self.constant(-operand.type.literal_value)
                if isinstance(node.op, ast.USub) and operand.type == types.float64 and _is_constant(operand.value):
                    return self.constant(-operand.value.constant)
                return self.operate(node, node.op, [operand])
            case ast.Compare():
                return self.compare(node)
            case ast.BoolOp():
                return self.all_or_any(node)
            case ast.IfExp():
                return self.choice(node)
            case ast.Subscript():
                element, place = self.element(node)
                return Operand(element, self.builder.load(place))
            case ast.Tuple():
                parts = [self.expression(part) for part in node.elts]
                return self.pack(parts, types.Tuple.from_types([types.unliteral(part.type) for part in parts]))
            case ast.Attribute():
                return self.attribute(node)
            case ast.Call(keywords=[]):
                return self.call(self.static(node.func), map(self.expression, node.args))
            case _:
                raise self.error(node, f"kernels have no {type(node).__name__} of this form")

    def pack(self, parts: Sequence[Operand], kind: Any) -> Operand:
        """A tuple of some type."""
        values = [self.cast(part, element) for part, element in zip(parts, kind, strict=True)]
        return Operand(kind, self.context.make_tuple(self.builder, kind, values))

    def constant(self, value: Any) -> Operand:
        """A number of Python's or NumPy's."""
        if isinstance(value, bool | np.bool_):
            return Operand(types.boolean, ir.IntType(1)(int(value)))
        if isinstance(value, int):
            kind = types.literal(value)
            return Operand(kind, self.context.get_constant(types.unliteral(kind), value))
        kind = contexts()[0].resolve_value_type(value)
        return Operand(kind, self.context.get_constant_generic(self.builder, kind, value))

    def name(self, node: ast.Name) -> Operand:
        """The value of a variable, or of a name from outside of the function."""
        if node.id in self.values:
            return self.values[node.id]
        if node.id in self.slots:
            kind, slot = self.slots[node.id]
            return Operand(kind, self.builder.load(slot))
        if node.id in self.tree.assigned:
            raise self.error(node, f"{node.id} has no value yet")
        return self.object(self.static(node))

    def object(self, value: Any) -> Operand:
        """An object of Python's, as an operand."""
        if isinstance(value, bool | int | float | complex | np.generic):
            return self.constant(value)
        return Operand(contexts()[0].resolve_value_type(value), self.context.get_dummy_value())

    def static(self, node: ast.expr) -> Any:
        """The object that a name from outside of the function, or an attribute of one, stands for."""
        match node:
            case ast.Name(id=name):
                free = dict(zip(self.function.__code__.co_freevars, self.function.__closure__ or (), strict=True))
                if name in free:
                    return free[name].cell_contents
                for names in (self.function.__globals__, vars(builtins)):
                    if name in names:
                        return names[name]
                raise self.error(node, f"NameError: name {name!r} is not defined")
            case ast.Attribute():
                owner = self.static(node.value)
                if not hasattr(owner, node.attr):
                    raise self.error(node, f"{owner!r} has no attribute {node.attr}")
                return getattr(owner, node.attr)
            case _:
                raise self.error(node, "only functions are called")

    def attribute(self, node: ast.Attribute) -> Operand:
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if not names & (self.values.keys() | self.slots.keys()):
            return self.object(self.static(node))
        owner = self.expression(node.value)
        kind = contexts()[0].resolve_getattr(types.unliteral(owner.type), node.attr)
        if kind is None:
            raise self.error(node, f"a {owner.type} has no attribute {node.attr}")
        get = self.context.get_getattr(types.unliteral(owner.type), node.attr)
        return Operand(kind, get(self.context, self.builder, types.unliteral(owner.type), owner.value, node.attr))

    def element(self, node: ast.Subscript) -> tuple[Any, ir.Value]:
        """The type and the address of an element."""
        pointer = self.expression(node.value)
        if not isinstance(pointer.type, types.CPointer):
            raise self.error(node, f"a {pointer.type} has no elements")
        place = self.cast(self.expression(node.slice), types.int64)
        key = "element", pointer.value, _identity(place)
        if key not in self.code.known:
            self.code.known[key] = Operand(pointer.type, self.builder.gep(pointer.value, [place]))
        return pointer.type.dtype, self.code.known[key].value

    def compare(self, node: ast.Compare) -> Operand:
        operands = [self.expression(part) for part in (node.left, *node.comparators)]
        found = [
            self.operate(node, op, pair).value for op, *pair in zip(node.ops, operands, operands[1:], strict=False)
        ]
        return Operand(types.boolean, functools.reduce(self.builder.and_, found))

    def all_or_any(self, node: ast.BoolOp) -> Operand:
        """`and` and `or`, of which the later operands are evaluated only where they decide."""
        every = isinstance(node.op, ast.And)
        end = self.builder.append_basic_block("decided")
        edges = []
        with self.code.branch():
            for part in node.values[:-1]:
                condition = self.truth(part)
                edges.append((ir.IntType(1)(int(not every)), self.builder.block))
                following = self.builder.append_basic_block("undecided")
                self.builder.cbranch(condition, *((following, end) if every else (end, following)))
                self.builder.position_at_end(following)
            edges.append((self.truth(node.values[-1]), self.builder.block))
        self.builder.branch(end)
        self.builder.position_at_end(end)
        return Operand(types.boolean, self.join(ir.IntType(1), edges))

    def choice(self, node: ast.IfExp) -> Operand:
        """`a if condition else b`, of which one is evaluated."""
        condition = self.truth(node.test)
        starts = [self.builder.append_basic_block(name) for name in ("chosen", "other")]
        end = self.builder.append_basic_block("choice")
        self.builder.cbranch(condition, *starts)
        found = []
        for start, part in zip(starts, (node.body, node.orelse), strict=True):
            self.builder.position_at_end(start)
            with self.code.branch():
                found.append((self.expression(part), self.builder.block))
        one, other = (types.unliteral(operand.type) for operand, _ in found)
        kind = one if one == other else contexts()[0].unify_types(one, other)
        if kind is None:
            raise self.error(node, f"a {one} or a {other}")
        edges = []
        for operand, block in found:
            self.builder.position_at_end(block)
            edges.append((self.cast(operand, kind), self.builder.block))
            self.builder.branch(end)
        self.builder.position_at_end(end)
        return Operand(kind, self.join(self.context.get_value_type(kind), edges))

    def join(self, kind: ir.Type, edges: Sequence[tuple[ir.Value, ir.Block]]) -> ir.Value:
        phi = self.builder.phi(kind)
        for value, block in edges:
            phi.add_incoming(value, block)
        return phi

    def truth(self, node: ast.expr) -> ir.Value:
        operand = self.expression(node)
        return self.context.is_true(self.builder, types.unliteral(operand.type), operand.value)

    def cast(self, operand: Operand, kind: Any) -> ir.Value:
        have = types.unliteral(operand.type)
        if have == kind or operand.type == kind:
            return operand.value
        if isinstance(operand.type, types.IntegerLiteral) and isinstance(kind, types.Number):
            return self.context.get_constant(kind, operand.type.literal_value)
        if _is_constant(operand.value) and have == types.float64 and kind == types.float32:
            return self.context.get_constant(kind, operand.value.constant)
        return self.context.cast(self.builder, operand.value, have, kind)

    def operate(self, node: ast.AST, op: ast.AST, given: Iterable[Operand]) -> Operand:
        """The result of an operator."""
        if type(op) not in _OPERATORS:
            raise self.error(node, f"kernels have no operator {type(op).__name__}")
        operands = tuple(given)
        key = type(op), *((o.type, _identity(o.value)) for o in operands)
        if key not in self.code.known:
            self.code.known[key] = self.call(_OPERATORS[type(op)], operands)
        return self.code.known[key]

    def call(self, callee: Any, given: Iterable[Operand]) -> Operand:
        """The result of a function for operands."""
        operands = list(given)
        if isinstance(callee, Dispatcher):
            return self.inline(callee.py_func, operands)
        if callee in _VMATH and self.code.loops:
            self.code.loops[-1].calls_vmath = True
        kind = number(callee) if len(operands) == 1 else None
        if kind is not None and isinstance(operands[0].type, types.Number | types.Boolean):
            return Operand(kind, self.cast(operands[0], kind))
        signature, append = rule(callee, tuple(operand.type for operand in operands))
        if callee in _DIVISIONS and signature.return_type == types.int64:
            return Operand(types.int64, self.divide(callee, *(self.cast(o, types.int64) for o in operands)))
        if signature.args and isinstance(signature.args[-1], types.StarArgTuple | types.StarArgUniTuple):
            first = len(signature.args) - 1
            operands[first:] = [self.pack(operands[first:], signature.args[-1])]
        values = [self.cast(o, kind) for o, kind in zip(operands, signature.args, strict=True)]
        return Operand(signature.return_type, append(self.builder, values))

    def divide(self, callee: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        """The floor of a quotient, or the remainder; 0 where there is none. Numba's code for it branches."""
        builder, quotient = self.builder, callee is operator.floordiv
        whole, zero, one = x.type, x.type(0), x.type(1)
        divisor = y.constant if _is_constant(y) else 0
        if divisor > 0 and divisor & (divisor - 1) == 0:
            return builder.ashr(x, whole(divisor.bit_length() - 1)) if quotient else builder.and_(x, whole(divisor - 1))
        fails = None
        if divisor in (0, -1):  # or not known
            overflows = builder.icmp_signed("==", y, whole(-1))
            overflows = builder.and_(overflows, builder.icmp_signed("==", x, whole(types.int64.minval)))
            fails = builder.or_(overflows, builder.icmp_signed("==", y, zero))
            y = builder.select(fails, one, y)
        remainder = builder.srem(x, y)
        away = builder.icmp_signed("<", builder.xor(remainder, y), zero)  # rounded towards 0, it is of the other sign
        away = builder.and_(away, builder.icmp_signed("!=", remainder, zero))
        if quotient:
            found = builder.add(builder.sdiv(x, y), builder.sext(away, whole))
        else:
            found = builder.add(remainder, builder.select(away, y, zero))
        return found if fails is None else builder.select(fails, zero, found)

    def set(self, name: str, operand: Operand) -> None:
        """Set a variable, which comes to be with the first assignment."""
        kind, key = types.unliteral(operand.type), (self.scope, name)
        if name in self.tree.settled:
            self.values[name] = Operand(kind, operand.value)
            return
        known = self.code.types.setdefault(key, kind)
        if known != kind:
            wide = contexts()[0].unify_types(known, kind)
            if wide is None:
                raise errors.TypingError(f"{name} is a {known} and a {kind}")
            if wide != known:
                self.code.types[key] = wide
                raise WiderTypeError
        if name not in self.slots:
            with self.builder.goto_entry_block():
                self.slots[name] = known, self.builder.alloca(self.context.get_value_type(known), name=name)
        self.builder.store(self.cast(operand, known), self.slots[name][1])


def _is_constant(value: ir.Value) -> bool:
    return isinstance(value, ir.Constant)


def _identity(value: ir.Value) -> object:
    """What is the same for equal constants of one type, and for nothing else."""
    return repr(value.constant) if _is_constant(value) else value
