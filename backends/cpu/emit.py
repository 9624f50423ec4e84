"""Loop IR -> the text of a Numba kernel.

Every expression is printed so that its Numba type is its IR dtype: integers narrower than i64 are cut back after each
operation (Numba would widen them), float constants carry their type.
"""

from __future__ import annotations

from collections.abc import Sequence

from tgc.backends.cpu.target import CpuTarget
from tgc.backends.loops.ir import (
    Apply,
    Buffer,
    Comment,
    Const,
    Expr,
    For,
    Guard,
    If,
    Kernel,
    Let,
    Load,
    Prefetch,
    Rows,
    Stack,
    Stmt,
    Store,
    Tile,
    Turn,
    Var,
    WindowTile,
    Words,
)  # fmt: skip
from tgc.errors import BackendError
from tgc.ops.scalar import MATH
from tgc.passes.tiles import TILED
from tgc.types import (
    BF16,
    BOOL,
    F8E4M3,
    F8E5M2,
    F16,
    F64,
    I8,
    I16,
    I32,
    I64,
    NARROW,
    SHORT_NAMES,
    U8,
    U16,
    U32,
    U64,
    UNSIGNED,
    DType,
    as_dtype,
)

INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "bit_and": "&", "bit_or": "|", "bit_xor": "^",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
FLOAT_CALLS = {
    "maximum": "float_maximum", "minimum": "float_minimum", "floor": "floor", "ceil": "ceil", "trunc": "trunc",
    "round": "round_even", "sqrt": "sqrt", "mod": "mod_float", "floor_div": "floor_div_float",
    "copysign": "copysign", "fma": "fma_once",
}  # fmt: skip
INT_CALLS = {"floor_div": "floor_div_int", "mod": "mod_int", "pow": "pow_int", "gcd": "gcd_int"}
LIBRARY = frozenset({*MATH, "pow", "atan2"})  # functions of `vmath`, one a float dtype
STORED = {BOOL: "u8", F8E4M3: "u8", F8E5M2: "u8", F16: "u16", BF16: "u16"}
NUMPY = {
    "f32": "float32", "f64": "float64", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "c64": "complex64", "c128": "complex128",
}  # fmt: skip


def storage_name(dtype: DType) -> str:
    """The element type by which a kernel addresses a buffer of `dtype`."""
    return STORED.get(dtype, SHORT_NAMES[dtype])


class Emitter:
    """Text of one kernel; collects the names that it must import."""

    def __init__(self, kernel: Kernel, target: CpuTarget) -> None:
        self.kernel, self.target = kernel, target
        self.imports: dict[str, set[str]] = {}
        self.tiles: dict[str, str] = {}
        self.registered = 0  # rows of the tiles in tile registers, at most

    # ------------------------------------------------------------------------------------------------ expressions

    def use(self, module: str, name: str) -> str:
        self.imports.setdefault(module, set()).add(name)
        return name

    def kind(self, dtype: DType) -> str:
        """The constructor of a scalar type, such as f32(...)."""
        short = SHORT_NAMES[dtype]
        self.use("numpy", f"{NUMPY[short]} as {short}")
        return short

    def expr(self, x: Expr) -> str:
        match x:
            case Const():
                return self.const(x)
            case Var():
                return x.name
            case Load():
                return self.load(x)
            case Guard():
                return f"({self.expr(x.then)} if {self.expr(x.condition)} else {self.expr(x.otherwise)})"
            case Apply():
                return self.apply(x)

    def const(self, x: Const) -> str:
        if x.dtype in (BOOL, I64):
            return repr(x.value) if x.value >= 0 else f"({x.value})"
        if isinstance(x.value, float) and (x.value != x.value or abs(x.value) == float("inf")):
            self.use("numpy", "inf, nan")
        return f"{self.kind(x.dtype)}({x.value!r})"

    def address(self, buffer: Buffer, index: Sequence[Expr]) -> str:
        terms = []
        for axis, i in enumerate(index):
            if i == Const(0, I64):
                continue
            stride = buffer.stride(axis)
            place = self.expr(i)
            terms.append(_bare(place) if stride == Const(1, I64) else f"{place} * {self.expr(stride)}")
        return " + ".join(terms) or "0"

    def load(self, x: Load) -> str:
        element = f"{x.buffer.name}[{self.address(x.buffer, x.index)}]"
        if x.buffer.dtype == BOOL:
            return f"({element} != 0)"
        if x.buffer.dtype in NARROW:
            return f"{self.use('narrow', f'f32_from_{SHORT_NAMES[x.buffer.dtype]}')}({element})"
        return element

    def apply(self, x: Apply) -> str:
        args = [self.expr(o) for o in x.operands]
        dtype = x.operands[0].dtype
        name = x.primitive
        floating = dtype.kind == "f"
        if name in ("real", "imag"):
            return f"{args[0]}.{name}"
        if name == "complex":
            return f"{self.kind(x.dtype)}(complex({', '.join(args)}))"
        if name == "cast":
            return self.cast(args[0], dtype, x.dtype)
        if name == "nearest":
            return f"{self.use('scalars', 'nearest')}({args[0]})"
        if name in ("fold_add", "fold_mul"):
            if floating:
                return f"{self.use('scalars', name)}({', '.join(args)})"
            name = name.removeprefix("fold_")
        if name in INFIX:
            return self.narrow(f"({args[0]} {INFIX[name]} {args[1]})", x.dtype)
        if name in ("maximum", "minimum") and not floating:
            return self.narrow(f"{name[:3]}({', '.join(args)})", x.dtype)
        if name in ("select", "shift_left", "shift_right"):
            return f"{self.use('scalars', name)}({', '.join(args)})"
        if name == "abs" and dtype in UNSIGNED:
            return args[0]
        if name in ("neg", "abs"):
            return self.narrow(f"(-{args[0]})" if name == "neg" else f"abs({args[0]})", x.dtype)
        if name == "sign":
            return self.sign(args[0], dtype)
        if name == "bit_not":
            return f"(not {args[0]})" if dtype == BOOL else self.narrow(f"(~{args[0]})", x.dtype)
        if name == "is_nan":
            return f"({args[0]} != {args[0]})"
        if name in ("is_inf", "is_finite"):
            self.use("numpy", "inf, nan")
            return f"(abs({args[0]}) {'==' if name == 'is_inf' else '<'} {self.kind(dtype)}(inf))"
        if name.startswith("round_"):
            short = SHORT_NAMES[as_dtype(name.removeprefix("round_"))]
            there, back = (self.use("narrow", n) for n in (f"{short}_from_f32", f"f32_from_{short}"))
            wide = f"{self.use('narrow', 'f32_to_odd')}({args[0]})" if dtype == F64 else args[0]
            return f"{back}({there}({wide}))"
        if name == "index":
            return f"{self.use('scalars', 'wrap_index')}({', '.join(args)})"
        if name == "philox":
            return self.narrow(f"{self.use('scalars', 'philox')}({', '.join(args)})", x.dtype)
        if floating and name in FLOAT_CALLS:
            return self.narrow(f"{self.use('scalars', FLOAT_CALLS[name])}({', '.join(args)})", x.dtype)
        if name in INT_CALLS and not floating:
            if (
                dtype == I64 and name in ("floor_div", "mod") and isinstance(x.operands[1], Const | Var)
            ):  # places and sizes: positive
                return f"({args[0]} {'//' if name == 'floor_div' else '%'} {args[1]})"
            return self.narrow(f"{self.use('scalars', INT_CALLS[name])}({', '.join(args)})", x.dtype)
        if floating and name in LIBRARY:
            return f"{self.use('vmath', f'{name}_{SHORT_NAMES[dtype]}')}({', '.join(args)})"
        raise BackendError(f"scalar primitive {name} has no CPU code for {dtype}")

    def narrow(self, text: str, dtype: DType) -> str:
        """`text`, an integer that Numba has widened, in its own dtype."""
        return text if dtype.kind == "f" or dtype in (I64, BOOL) else f"{self.kind(dtype)}({text})"

    def cast(self, text: str, old: DType, new: DType) -> str:
        if new == BOOL:
            return f"({text} != 0)"
        if old.kind == "f" and new == U32:  # by way of i64: negative numbers wrap
            return f"{self.kind(new)}({self.kind(I64)}({text}))"
        if old.kind == "f" and new in (I8, U8, I16, U16):  # by way of i32: what is out of range wraps
            return f"{self.kind(new)}({self.kind(I32)}({text}))"
        if old.kind == "f" and new == U64:
            return f"{self.use('scalars', 'u64_from_float')}({text})"
        return f"{self.kind(new)}({text})"

    def sign(self, text: str, dtype: DType) -> str:
        kind, call = self.kind(dtype), self.use("scalars", "select")
        one, none = f"{kind}(1)", f"{kind}(0)"
        below = none if dtype.kind == "u" else f"{kind}(-1)"
        zero = f"{call}({text} == {text}, {none}, {text})" if dtype.kind == "f" else none  # NaN stays
        return f"{call}({text} > {none}, {one}, {call}({text} < {none}, {below}, {zero}))"

    # ------------------------------------------------------------------------------------------------- statements

    def block(self, stmts: Sequence[Stmt], depth: int) -> list[str]:
        lines: list[str] = []
        pad = "    " * depth
        for s in stmts:
            lines += [pad + line for line in self.stmt(s)]
        return lines or [pad + "pass"]

    def stmt(self, s: Stmt) -> list[str]:
        match s:
            case For():
                head = f"for {s.var} in range({self.expr(s.lo)}, {self.expr(s.hi)}):"
                return [head, *self.block(s.body, 1)]
            case If():
                otherwise = ["else:", *self.block(s.otherwise, 1)] if s.otherwise else []
                return [f"if {self.expr(s.condition)}:", *self.block(s.body, 1), *otherwise]
            case Let():
                return [*self.checks(s.value), f"{s.name} = {_bare(self.expr(s.value))}"]
            case Store():
                return [f"{s.buffer.name}[{self.address(s.buffer, s.index)}] = {self.stored(s)}"]
            case Stack():
                return self.stack(s)
            case Tile():
                return self.tile(s)
            case Rows():
                return self.rows(s)
            case WindowTile():
                return self.window_tile(s)
            case Turn():
                block, source = self.moved(s.block, s.to), self.moved(s.source, s.at)
                lanes, code = self.target.lanes(s.source.dtype), storage_name(s.source.dtype)
                name = f"turn_{code}"
                self.tiles[name] = f"{name} = {self.use('turn', 'turn')}({lanes}, {code!r})"
                return [f"{name}({block}, {self.expr(s.row)}, {source}, {self.expr(s.step)})"]
            case Words():
                name, key = "words_u32", ", ".join(map(self.expr, s.key))
                self.tiles[name] = f"{name} = {self.use('words', 'words')}({self.target.lanes(U32)})"
                return [f"{name}({s.block.name}, {key}, {self.expr(s.first)}, {self.expr(s.count)})"]
            case Prefetch():
                call = self.use("pointers", "prefetch_to_write" if s.written else "prefetch")
                place = self.address(s.buffer, s.index)
                return [f"{call}({self.use('pointers', 'offset')}({s.buffer.name}, {place}))"]
            case Comment():
                return [f"# {s.text}"]

    def checks(self, x: Expr) -> list[str]:
        if not isinstance(x, Apply) or x.primitive != "index":
            return []
        test = f"{self.use('scalars', 'out_of_range')}({', '.join(self.expr(o) for o in x.operands)})"
        return [f"bad = bad | {test}"]

    def stored(self, s: Store) -> str:
        text, dtype = self.expr(s.value), s.buffer.dtype
        if dtype == BOOL:
            return f"{self.kind(U8)}({text})"
        if dtype in NARROW:
            return f"{self.use('narrow', f'{SHORT_NAMES[dtype]}_from_f32')}({text})"
        return _bare(text)

    def stack(self, s: Stack) -> list[str]:
        short = storage_name(s.buffer.dtype)
        numba_name = NUMPY[short]
        self.use("numba", f"{numba_name} as n_{short}")
        return [f"{s.buffer.name} = {self.use('pointers', 'stack')}({s.elements}, n_{short})"]

    def tile(self, s: Tile) -> list[str]:
        name = self.byte_tile(s) if s.c.dtype == I32 else self.micro_kernel("tile", s)
        extents, a, b = self.levels(s)
        lhs, rhs, out = self.moved(s.a, s.a_at), self.moved(s.b, s.b_at), self.moved(s.c, s.c_at)
        if s.rows_at is None:
            return [f"{name}({lhs}, {rhs}, {b}, {extents}, {out}, {s.columns}, {s.onto is not None})"]
        onto, onto_at, onto_rows = s.onto or (s.c, Const(0, I64), s.c_rows)
        added = f"{self.moved(onto, onto_at)}, {onto_rows.name}"
        ahead, place, step = s.ahead or (s.b, s.b_at, Const(0, I64))
        return [
            f"{name}({lhs}, {self.moved(s.rows_at, s.rows_from)}, {a}, {rhs}, {b}, {extents},",
            f"    {out}, {s.c_rows.name}, {added}, {self.expr(s.valid)}, {s.onto is not None},",
            f"    {self.moved(ahead, place)}, {self.expr(step)})",
        ]

    def rows(self, s: Rows) -> list[str]:
        levels, kind = len(s.levels), s.a.dtype
        name = f"byte_rows_k{levels}_{SHORT_NAMES[kind]}"
        self.tiles[name] = f"{name} = {self.use('amx', 'byte_rows')}({levels}, {kind == I8})"
        a, rows_at = self.moved(s.a, s.a_at), self.moved(s.rows_at, s.rows_from)
        extents, steps, _ = self.levels(s)
        return [f"{name}({a}, {rows_at}, {_bare(self.expr(s.count))}, {steps}, {extents}, {s.block.name})"]

    def window_tile(self, s: WindowTile) -> list[str]:
        ends = (s.left, s.right) if s.left or s.right else ()
        name = self.micro_kernel("window_tile", s, s.taps, s.row_step, s.tap_step, *ends)
        extents, a, b = self.levels(s)
        lhs, rhs, out = self.moved(s.a, s.a_at), self.moved(s.b, s.b_at), self.moved(s.c, s.c_at)
        return [
            f"{name}({lhs}, {self.expr(s.unit)}, {a}, {rhs}, {b}, {extents},",
            f"    {out}, {self.expr(s.c_row)}, {self.expr(s.valid)}, {s.accumulate})",
        ]

    def levels(self, s: Tile | Rows | WindowTile) -> list[str]:
        """Tuples of the extents of the loops over k, and of their steps in both operands."""
        return ["(" + "".join(self.expr(x) + ", " for x in part) + ")" for part in zip(*s.levels, strict=True)]

    def micro_kernel(self, function: str, s: Tile | WindowTile, *more: int) -> str:
        """The name of the micro-kernel of a tile's shape, which the text makes by a function of the module so named."""
        short = SHORT_NAMES[s.c.dtype]
        lanes = self.target.lanes(s.c.dtype)
        masked = not isinstance(s.valid, Const)
        steps = "".join(f"_{n}" for n in more)
        name = f"{function}_{s.rows}x{s.columns}_k{len(s.levels)}{steps}" + ("_masked" if masked else "")
        self.use(function, function)
        sizes = ", ".join(map(str, (s.rows, s.columns // lanes, lanes, len(s.levels), *more)))
        self.tiles[name] = f"{name} = {function}({sizes}, dtype={short!r}, masked={masked})"
        return name

    def byte_tile(self, s: Tile) -> str:
        """The name of the micro-kernel of a tile of 8-bit integers, which is made as others are."""
        lanes, levels = self.target.lanes(s.c.dtype), len(s.levels)
        kinds = [x.dtype for x in (s.a, s.b)]
        signed = [kind == I8 for kind in kinds]
        if s.rows_at is None:
            return self.matrix_tile(s, signed)
        by = self.target.byte_products
        if by == "vpdpbusd" and all(signed) == any(signed):  # it multiplies unsigned integers by signed ones
            by = "pmaddwd"
        name = f"tile_{s.rows}x{s.columns}_k{levels}_" + "".join(SHORT_NAMES[kind] for kind in kinds)
        sizes = ", ".join(map(str, (s.rows, s.columns // lanes, lanes, levels, *signed)))
        self.tiles[name] = f"{name} = {self.use('byte_tile', 'byte_tile')}({sizes}, {by!r})"
        return name

    def matrix_tile(self, s: Tile, signed: list[bool]) -> str:
        """The name of the micro-kernel of a tile in tile registers, which the kernel then has from its beginning."""
        levels, kinds = len(s.levels), "".join(SHORT_NAMES[x.dtype] for x in (s.a, s.b))
        self.registered = max(self.registered, s.rows)
        name = f"matrix_tile_{s.rows}x{s.columns}_k{levels}_{kinds}"
        sizes = ", ".join(map(str, (s.rows, s.columns // TILED, levels, *signed)))
        self.tiles[name] = f"{name} = {self.use('amx', 'matrix_tile')}({sizes})"
        return name

    def moved(self, buffer: Buffer, by: Expr) -> str:
        """A pointer into a buffer."""
        if by == Const(0, I64):
            return buffer.name
        return f"{self.use('pointers', 'offset')}({buffer.name}, {_bare(self.expr(by))})"

    def with_registers(self) -> tuple[list[str], list[str]]:
        """What begins and ends the use of tile registers."""
        config = f"tile_config_{self.registered}"
        self.tiles[config] = f"{config} = {self.use('amx', 'tile_config')}({self.registered})"
        self.tiles["released"] = f"released = {self.use('amx', 'tile_release')}()"
        return [f"    {config}()"], ["    released()"]

    # --------------------------------------------------------------------------------------------- the whole text

    def source(self) -> str:
        k = self.kernel
        lines = []
        if k.checked:
            lines.append("    bad = False")
        stacks = [s for s in k.body if isinstance(s, Stack)]
        lines += self.block(stacks, 1) if stacks else []
        body = self.block([s for s in k.body if not isinstance(s, Stack)], 2)
        begin, end = self.with_registers() if self.registered else ([], [])
        lines += [*begin, f"    for {k.tile} in range(lo, hi):", *body, *end]
        if k.checked:
            lines.append("    return 1 if bad else 0")
        parameters = [f"{b.name}: {storage_name(b.dtype)}[:]" for b in k.buffers] + [f"{n}: i64" for n in k.values]
        parameters += [f"{n}: {SHORT_NAMES[c.dtype]}" for n, c in k.scalars.items()]
        head = []
        for module, names in sorted(self.imports.items()):
            path = module if module in ("numpy", "numba") else f"tgc.backends.cpu.{module}"
            head.append(f"from {path} import {', '.join(sorted(names))}")
        head += [*self.tiles.values(), ""] if self.tiles else [""]
        text = [*head, f"def {k.name}({', '.join([*parameters, 'lo', 'hi', 'part'])}):", *lines, ""]
        return "\n".join(text)


def _bare(text: str) -> str:
    """`text` without the parentheses around all of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0 and i < len(text) - 1:
            return text
    return text[1:-1]


def emit(kernel: Kernel, target: CpuTarget) -> str:
    """The Python source of a kernel."""
    return Emitter(kernel, target).source()
