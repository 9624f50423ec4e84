"""Kernel source -> LLVM IR, by one walk over the syntax tree.

Numba's compiler makes an IR of the bytecode, infers the types of all of it together, and lowers that. Of a kernel,
types are known as one reads it: parameters are annotated, and an expression has the type that its operands give it.
So the tree is walked once, typed and lowered as it goes (`lowering_expressions.py`), which takes a fraction of the
time. What operators, casts and calls mean is Numba's (`lowering_rules.py`), so that a kernel computes what it would
under `numba.njit` with `error_model="numpy"`.

A variable has one type. Where a later assignment needs a wider one, lowering starts again with that. Functions that
`njit` decorates are lowered from their text at each call. Loops over ranges count in int64.

Innermost loops that call functions of `vmath` are marked to work on two vectors at a time: the body of such a loop is
a chain of dependent operations of four cycles each. A core that looks a hundred operations ahead sees too few of these
chains to fill its pipes, and LLVM's vectorizer interleaves iterations of short bodies only. Measured on AVX2: a third
less time for exp, tanh and log; with four vectors at a time longer bodies spill registers. What two vectors do not
divide is left to a loop of one vector at a time.
"""

# mypy: disable-error-code="attr-defined, misc, no-untyped-call"
# Numba types its public names, but not its compiler.

from __future__ import annotations

import ast
import types as python_types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from llvmlite import ir
from numba.core import errors, types

from tgc.backends.cpu.lowering_expressions import (
    Code,
    Expressions,
    Loop,
    Operand,
    Scope,
    WiderTypeError,
    tree_of,
)
from tgc.backends.cpu.lowering_rules import RAISED, contexts
from tgc.errors import BackendError

INTERLEAVED = 2  # vectors
HINT = "llvm.loop.interleave.count"  # the metadata that says so

_I64 = ir.IntType(64)


def lower(function: python_types.FunctionType, parameters: Sequence[Any], name: str) -> ir.Function:
    """A kernel as the function `int64 tgc.<its name>(parameters...)` of a new module. Its pointers do not alias.

    Args:
        function: the kernel, whose text its file, or `linecache`, has.
        parameters: their Numba types.
        name: of the module.

    Raises:
        BackendError: the kernel has something in it that is no part of the language of kernels, or types do not fit.
    """
    known: dict[tuple[Scope, str], Any] = {}
    while True:
        with suppress(WiderTypeError):
            return _lower(function, parameters, contexts()[1].create_module(name), known)


def _lower(
    function: python_types.FunctionType,
    parameters: Sequence[Any],
    module: ir.Module,
    known: dict[tuple[Scope, str], Any],
) -> ir.Function:
    kind = ir.FunctionType(_I64, [contexts()[1].get_value_type(t) for t in parameters])
    made = ir.Function(module, kind, f"tgc.{function.__name__}")
    made.linkage = "internal"
    made.attributes.add("noinline")  # inlined, its parameters would lose their noalias
    operands = []
    for name, parameter, argument in zip(tree_of(function).names, parameters, made.args, strict=True):
        argument.name = f"arg.{name}"
        if isinstance(parameter, types.CPointer):
            argument.add_attribute("noalias")
        operands.append(Operand(parameter, argument))
    builder = ir.IRBuilder(made.append_basic_block("entry"))
    start = made.append_basic_block("start")
    builder.branch(start)  # before it goes what is on the stack
    builder.position_at_end(start)
    walk = _Walk(Code(function.__name__, builder, known), function, operands)
    walk.block(walk.tree.body)
    if not builder.block.is_terminated:
        builder.ret(_I64(0))
    return made


class _Walk(Expressions):
    """The walk over a function: the kernel, or one that it calls, whose code goes where the call is and on at `end`."""

    def __init__(
        self,
        code: Code,
        function: python_types.FunctionType,
        operands: Sequence[Operand],
        end: ir.Block | None = None,
    ) -> None:
        super().__init__(code, function, operands)
        self.end = end

    @contextmanager
    def at(self, node: ast.stmt) -> Iterator[None]:
        """What goes wrong in a statement is told with its text."""
        try:
            yield
        except (errors.NumbaError, NotImplementedError) as error:  # the latter where Numba has a type and no code
            raise self.error(node, str(error).strip()) from error

    def block(self, body: Sequence[ast.stmt]) -> None:
        """Statements, up to one after which none is reached."""
        for node in body:
            if self.builder.block.is_terminated:
                return
            with self.at(node):
                self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign():
                operand = self.expression(node.value)
                for target in node.targets:
                    self.assign(target, operand)
            case ast.AugAssign(target=ast.Name() as target):
                operands = self.name(target), self.expression(node.value)
                self.assign(target, self.operate(node, node.op, operands))
            case ast.AugAssign(target=ast.Subscript() as target):
                element, place = self.element(target)
                operands = Operand(element, self.builder.load(place)), self.expression(node.value)
                self.builder.store(self.cast(self.operate(node, node.op, operands), element), place)
            case ast.For(target=ast.Name(), orelse=[]):
                self.for_range(node)
            case ast.While(orelse=[]):
                self.while_loop(node)
            case ast.If():
                self.branch(node)
            case ast.Return():
                self.finish(node)
            case ast.Continue():
                self.builder.branch(self.code.loops[-1].turn)
            case ast.Break():
                self.builder.branch(self.code.loops[-1].end)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                return
            case ast.Expr():
                self.expression(node.value)
            case _:
                raise self.error(node, f"kernels have no {type(node).__name__} of this form")

    def assign(self, target: ast.expr, operand: Operand) -> None:
        match target:
            case ast.Name(id=name):
                self.set(name, operand)
            case ast.Tuple(elts=targets) if isinstance(operand.type, types.BaseTuple):
                kinds = operand.type.types
                if len(kinds) != len(targets):
                    raise self.error(target, f"{len(targets)} variables for {len(kinds)} values")
                for k, (part, kind) in enumerate(zip(targets, kinds, strict=True)):
                    self.assign(part, Operand(kind, self.builder.extract_value(operand.value, k)))
            case ast.Subscript():
                element, place = self.element(target)
                self.builder.store(self.cast(operand, element), place)
            case _:
                raise self.error(target, f"{operand.type} cannot be assigned to this")

    def branch(self, node: ast.If) -> None:
        condition = self.truth(node.test)
        then, end = (self.builder.append_basic_block(name) for name in ("then", "endif"))
        otherwise = self.builder.append_basic_block("else") if node.orelse else end
        self.builder.cbranch(condition, then, otherwise)
        reached = not node.orelse
        for start, body in ((then, node.body), (otherwise, node.orelse)):
            if body:
                self.builder.position_at_end(start)
                with self.code.branch():
                    self.block(body)
                reached |= not self.builder.block.is_terminated
                self.go_to(end)
        self.builder.position_at_end(end)
        if not reached:
            self.builder.unreachable()

    def go_to(self, block: ir.Block) -> None:
        """Branch to a block, unless the one that ends here goes elsewhere."""
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    def for_range(self, node: ast.For) -> None:
        call = node.iter
        if not (isinstance(call, ast.Call) and self.static(call.func) is range and 1 <= len(call.args) <= 3):
            raise self.error(node, "loops are over range()")
        bounds = [Operand(types.int64, self.cast(self.expression(a), types.int64)) for a in call.args]
        if len(bounds) == 1:
            bounds.insert(0, Operand(types.int64, _I64(0)))
        start, stop, step = (*(b.value for b in bounds), _I64(1))[:3]
        literal = step.constant if isinstance(step, ir.Constant) else None
        if literal is None:
            with self.builder.if_then(self.builder.icmp_signed("==", step, _I64(0)), likely=False):
                self.builder.ret(_I64(RAISED))
        elif literal == 0:
            raise self.error(node, "the step of a range is 0")
        head, body, turn, end = (self.builder.append_basic_block(f"for.{n}") for n in ("head", "body", "turn", "end"))
        before = self.builder.block
        self.builder.branch(head)
        self.builder.position_at_end(head)
        count = self.builder.phi(_I64)
        count.add_incoming(start, before)
        goes_on = self.builder.icmp_signed(">" if literal is not None and literal < 0 else "<", count, stop)
        if literal is None:
            down = self.builder.icmp_signed(">", count, stop)
            goes_on = self.builder.select(self.builder.icmp_signed(">", step, _I64(0)), goes_on, down)
        self.builder.cbranch(goes_on, body, end)
        self.builder.position_at_end(body)
        assert isinstance(node.target, ast.Name)
        self.set(node.target.id, Operand(types.int64, count))
        loop = self.loop(node.body, turn, end)
        self.builder.position_at_end(turn)
        count.add_incoming(self.builder.add(count, step, flags=["nsw"]), turn)
        self.repeat(loop, head)
        self.builder.position_at_end(end)

    def while_loop(self, node: ast.While) -> None:
        head, body, turn, end = (self.builder.append_basic_block(f"while.{n}") for n in ("head", "body", "turn", "end"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self.truth(node.test), body, end)
        self.builder.position_at_end(body)
        loop = self.loop(node.body, turn, end)
        self.builder.position_at_end(turn)
        self.repeat(loop, head)
        self.builder.position_at_end(end)

    def loop(self, body: Sequence[ast.stmt], turn: ir.Block, end: ir.Block) -> Loop:
        """The body of a loop, in the block that is current."""
        for outer in self.code.loops:
            outer.innermost = False
        loop = Loop(turn, end)
        self.code.loops.append(loop)
        with self.code.branch():
            self.block(body)
        self.code.loops.pop()
        self.go_to(turn)
        return loop

    def repeat(self, loop: Loop, head: ir.Block) -> None:
        """The back edge of a loop."""
        edge = self.builder.branch(head)
        if loop.innermost and loop.calls_vmath:
            edge.set_metadata("llvm.loop", _hint(self.builder.module))

    def finish(self, node: ast.Return) -> None:
        found = self.expression(node.value) if node.value else Operand(types.none, None)
        if self.end is not None:
            if found.type != types.none:
                self.set("return", found)
            self.builder.branch(self.end)
        elif found.type == types.none:
            self.builder.ret(_I64(0))
        elif isinstance(found.type, types.Integer | types.Boolean):
            self.builder.ret(self.cast(found, types.int64))
        else:
            symbol = self.builder.module.name
            raise BackendError(f"kernel {symbol} returns a {found.type}; a kernel returns an integer status or None")

    def inline(self, function: python_types.FunctionType, operands: Sequence[Operand]) -> Operand:
        """The result of a function that is lowered where it is called."""
        end = self.builder.append_basic_block("returned")
        operands = [Operand(types.unliteral(o.type), o.value) for o in operands]
        walk = _Walk(self.code, function, operands, end)
        with self.code.branch():  # it may end in several places
            walk.block(walk.tree.body)
        if not self.builder.block.is_terminated:
            if "return" in walk.slots:
                raise walk.error(walk.tree.body[-1], f"{function.__name__} may end without a result")
            self.builder.branch(end)
        self.builder.position_at_end(end)
        if "return" not in walk.slots:
            return Operand(types.none, self.context.get_dummy_value())
        kind, slot = walk.slots["return"]
        return Operand(kind, self.builder.load(slot))


def _hint(module: Any) -> Any:
    """Metadata of one loop: its first operand is itself, which makes it distinct from that of other loops."""
    count = module.add_metadata([HINT, ir.IntType(32)(INTERLEAVED)])
    node = ir.MDValue(module, (), str(len(module.metadata)))
    node.operands = (node, count)
    return node
