"""Scalar primitives as functions that generated kernels call, beside those of `vmath`.

They follow NumPy: NaN propagates through maximum and minimum, integers wrap, division of integers by zero gives zero.
Functions built by `device` become a few LLVM instructions; all also run as plain Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types

from tgc.backends.cpu import vmath_ops
from tgc.backends.cpu.pointers import NUMPY, Rule, device
from tgc.backends.cpu.target import CpuTarget
from tgc.backends.cpu.vmath_ops import Emitted

scalar = njit(forceinline=True, nogil=True, error_model="numpy")


def _float_intrinsic(llvm_name: str, arity: int) -> Rule:
    """Rule of a function that is one overloaded LLVM intrinsic on floats."""

    def rule(*operands: Any) -> tuple[Any, Callable[..., Any]] | None:
        if len(operands) != arity or not all(isinstance(t, types.Float) and t == operands[0] for t in operands):
            return None

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kind = values[0].type
            name = f"{llvm_name}.{kind.intrinsic_name}"
            module = builder.module
            function = module.globals.get(name) or ir.Function(module, ir.FunctionType(kind, [kind] * arity), name)
            return builder.call(function, values, fastmath=["nsz"])

        return operands[0](*operands), codegen

    if arity == 1:
        return lambda x: rule(x)
    return lambda x, y: rule(x, y)


@device(_float_intrinsic("llvm.maximum", 2))
def float_maximum(x: Any, y: Any) -> Any:
    """The larger of two floats, NaN if either is."""
    return x if x > y or x != x else y


@device(_float_intrinsic("llvm.minimum", 2))
def float_minimum(x: Any, y: Any) -> Any:
    """The smaller of two floats, NaN if either is."""
    return x if x < y or x != x else y


def _appended(body: Callable[..., Emitted], x: Any, *others: Any) -> tuple[Any, Callable[..., Any]] | None:
    """What a rule says of floats of one type: `body` is appended, for the target of the kernel."""
    if not isinstance(x, types.Float) or any(other != x for other in others):
        return None

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target = getattr(context, "kernel_target", None) or CpuTarget.host()
        return body(*(Emitted(builder, NUMPY[x], value, target) for value in values)).value

    return x(x, *others), codegen


def _rounding(body: Callable[[Emitted], Emitted]) -> Rule:
    return lambda x: _appended(body, x)


@device(_rounding(vmath_ops.floor))
def floor(x: Any) -> Any:
    """Largest whole number not above x."""
    return np.floor(x)


@device(_rounding(vmath_ops.ceil))
def ceil(x: Any) -> Any:
    """Smallest whole number not below x."""
    return np.ceil(x)


@device(_rounding(vmath_ops.trunc))
def trunc(x: Any) -> Any:
    """x without its fraction."""
    return np.trunc(x)


@device(_rounding(vmath_ops.round_even))
def round_even(x: Any) -> Any:
    """Nearest whole number, ties to even."""
    return np.round(x)


def _nearest_rule(x: Any) -> tuple[Any, Callable[..., Any]] | None:
    if not isinstance(x, types.Float):
        return None

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind, word = values[0].type, ir.IntType(32)
        name = f"llvm.lrint.i32.{kind.intrinsic_name}"
        function = builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(word, [kind]), name)
        return builder.call(function, values)

    return types.int32(x), codegen


@device(_nearest_rule)
def nearest(x: Any) -> Any:
    """The int32 nearest to x, ties to even; some number for those that are out of range."""
    with np.errstate(invalid="ignore"):
        return np.int32(np.round(x))


def _fold_rule(instruction: str) -> Rule:
    def rule(x: Any, y: Any) -> tuple[Any, Callable[..., Any]] | None:
        if not isinstance(x, types.Float) or x != y:
            return None

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return getattr(builder, instruction)(*values, flags=["reassoc", "nsz"])

        return x(x, y), codegen

    return rule


@device(_fold_rule("fadd"))
def fold_add(total: Any, x: Any) -> Any:
    """total + x as a step of a sum, whose terms LLVM may add in another (fixed) order: vectorized accumulators."""
    return total + x


@device(_fold_rule("fmul"))
def fold_mul(total: Any, x: Any) -> Any:
    """total * x as a step of a product, whose factors LLVM may reorder."""
    return total * x


def _fmod_rule(x: Any, y: Any) -> tuple[Any, Callable[..., Any]] | None:
    if not isinstance(x, types.Float) or x != y:
        return None
    return x(x, y), lambda context, builder, signature, values: builder.frem(*values)


@device(_fmod_rule)
def fmod(x: Any, y: Any) -> Any:
    """C's remainder: the sign of x, exact."""
    return np.fmod(x, y)


@device(_float_intrinsic("llvm.sqrt", 1))
def sqrt(x: Any) -> Any:
    """Square root."""
    return np.sqrt(x)


def _select_rule(condition: Any, x: Any, y: Any) -> tuple[Any, Callable[..., Any]] | None:
    if not isinstance(condition, types.Boolean) or x != y:
        return None

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        chosen = context.cast(builder, values[0], types.boolean, types.boolean)
        return builder.select(chosen, values[1], values[2])

    return x(types.boolean, x, y), codegen


@device(_select_rule)
def select(condition: Any, x: Any, y: Any) -> Any:
    """x if the condition holds, else y; both are evaluated."""
    return x if condition else y


def _division_rule(remainder: bool) -> Rule:
    """Rule of integer division in the operands' own type: Numba would widen them, and mix signs with its literals."""

    def rule(x: Any, y: Any) -> tuple[Any, Callable[..., Any]] | None:
        if x not in types.integer_domain or x != y:
            return None

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            value, by = values
            zero, one, minus = (ir.Constant(value.type, k) for k in (0, 1, -1))
            by_zero = builder.icmp_unsigned("==", by, zero)
            if not x.signed:
                found = (builder.urem if remainder else builder.udiv)(value, builder.select(by_zero, one, by))
                return builder.select(by_zero, zero, found)
            by_minus = builder.icmp_signed("==", by, minus)  # of the lowest number, the quotient overflows
            safe = builder.select(builder.or_(by_zero, by_minus), one, by)
            quotient, rest = builder.sdiv(value, safe), builder.srem(value, safe)
            opposite = builder.icmp_signed("<", builder.xor(rest, safe), zero)
            down = builder.and_(opposite, builder.icmp_signed("!=", rest, zero))
            if remainder:  # 0 of a division by 1
                return builder.select(down, builder.add(rest, safe), rest)
            floor = builder.select(down, builder.sub(quotient, one), quotient)
            return builder.select(by_zero, zero, builder.select(by_minus, builder.neg(value), floor))

        return x(x, y), codegen

    return rule


@device(_division_rule(remainder=False))
def floor_div_int(x: Any, y: Any) -> Any:
    """floor(x / y); 0 for y = 0, and -x (wrapping) for y = -1."""
    return x * 0 if y == 0 else -x if y == -1 else x // y


@device(_division_rule(remainder=True))
def mod_int(x: Any, y: Any) -> Any:
    """x - floor(x / y) * y; 0 for y = 0."""
    return x * 0 if y in (0, -1) else x % y


def _one_rule(x: Any) -> tuple[Any, Callable[..., Any]] | None:
    if not isinstance(x, types.Number):
        return None
    return x(x), lambda context, builder, signature, values: ir.Constant(values[0].type, 1)


@device(_one_rule)
def one_like(x: Any) -> Any:
    """1 in the type of x: of float32 and a literal Numba makes float64, of uint64 and a literal no uint64."""
    return type(x)(1)


@device(_float_intrinsic("llvm.copysign", 2))
def copysign(x: Any, y: Any) -> Any:
    """|x| with the sign of y."""
    return np.copysign(x, y)


@device(lambda x, y, z: _appended(vmath_ops.fma_once, x, y, z) if x == types.float32 else None)
def fma_once(x: Any, y: Any, z: Any) -> Any:
    """x * y + z of float32, rounded once."""
    return vmath_ops.fma_once(x, y, z)


@scalar
def mod_float(x: Any, y: Any) -> Any:
    """NumPy's remainder of floats: the sign of y, exact."""
    m = fmod(x, y)
    if m == 0:
        return copysign(m, y)
    return m + y if (m < 0) != (y < 0) else m


@scalar
def floor_div_float(x: Any, y: Any) -> Any:
    """NumPy's floor division of floats."""
    if y == 0:
        return x / y
    m = fmod(x, y)
    q = (x - m) / y
    if m != 0 and (m < 0) != (y < 0):
        q = q - one_like(q)
    if q == 0:
        return copysign(q, x / y)
    f = floor(q)
    return f + one_like(f) if q - f > 0.5 else f


@scalar
def pow_int(x: Any, y: Any) -> Any:
    """x ** y, wrapping; for negative y what rounds towards zero: 0, 1 or -1."""
    one = one_like(x)
    if y < 0:
        if x == 1:
            return one
        if x == -1:
            return -one if y & one else one
        return one - one
    result = one
    while y > 0:
        if y & one:
            result = result * x
        x = x * x
        y = y >> one
    return result


@scalar
def gcd_int(x: Any, y: Any) -> Any:
    """The greatest common divisor of |x| and |y|, wrapping as abs does."""
    while y != 0:
        x, y = y, mod_int(x, y)
    return abs(x)


def _u64_rule(x: Any) -> tuple[Any, Callable[..., Any]] | None:
    if not isinstance(x, types.Float):
        return None

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        (value,), word = values, ir.IntType(64)
        half = ir.Constant(value.type, 2.0**63)
        low, high = (builder.fptosi(part, word) for part in (value, builder.fsub(value, half)))
        high = builder.xor(high, ir.Constant(word, 1 << 63))
        return builder.select(builder.fcmp_ordered("<", value, half), low, high)

    return types.uint64(x), codegen


@device(_u64_rule)
def u64_from_float(x: Any) -> Any:
    """x without its fraction, of negative numbers modulo 2 ** 64: by way of signed integers, as C compilers do."""
    return np.uint64(int(x) % 2**64)


def _shift_rule(left: bool) -> Rule:
    def rule(x: Any, y: Any) -> tuple[Any, Callable[..., Any]] | None:
        if x not in types.integer_domain or x != y:
            return None

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            value, by = values
            bits, zero = ir.Constant(value.type, value.type.width), ir.Constant(value.type, 0)
            fits = builder.icmp_unsigned("<", by, bits)
            if x.signed and not left:
                last = ir.Constant(value.type, value.type.width - 1)
                return builder.ashr(value, builder.select(fits, by, last))
            shifted = (builder.shl if left else builder.lshr)(value, builder.select(fits, by, zero))
            return builder.select(fits, shifted, zero)

        return x(x, y), codegen

    return rule


@device(_shift_rule(left=True))
def shift_left(x: Any, y: Any) -> Any:
    """x << y; 0 where y is not below the number of bits."""
    return x << y if 0 <= y < 8 * x.itemsize else x * 0


@device(_shift_rule(left=False))
def shift_right(x: Any, y: Any) -> Any:
    """x >> y, keeping the sign; as if by the number of bits - 1, or of unsigned numbers 0, where y is more."""
    bits = 8 * x.itemsize
    if 0 <= y < bits:
        return x >> y
    return x * 0 if x.dtype.kind == "u" else x >> x.dtype.type(bits - 1)


@scalar
def wrap_index(i: int, n: int) -> int:
    """The place of index i, negative ones counted from the end; 0 if there is none."""
    place = i + n if i < 0 else i
    return place if 0 <= place < n else 0


@scalar
def out_of_range(i: int, n: int) -> bool:
    """Whether index i, negative ones counted from the end, addresses no element of n."""
    return (i < -n) | (i >= n)


@scalar
def _mul_high_low(a: Any, b: Any) -> tuple[Any, Any]:
    product = np.uint64(a) * np.uint64(b)
    return np.uint32(product >> np.uint64(32)), np.uint32(product & np.uint64(0xFFFFFFFF))


@scalar
def philox(key0: Any, key1: Any, position: Any) -> Any:
    """Word `position % 4` of block `position // 4` of Philox4x32-10 (Salmon et al., SC 2011)."""
    block = np.uint64(position) >> np.uint64(2)
    c0, c1 = np.uint32(block & np.uint64(0xFFFFFFFF)), np.uint32(block >> np.uint64(32))
    c2 = c3 = np.uint32(0)
    for _ in range(10):
        high0, low0 = _mul_high_low(np.uint32(0xD2511F53), c0)
        high1, low1 = _mul_high_low(np.uint32(0xCD9E8D57), c2)
        c0, c1, c2, c3 = np.uint32(high1 ^ c1 ^ key0), low1, np.uint32(high0 ^ c3 ^ key1), low0
        key0 = np.uint32(np.uint64(key0) + np.uint64(0x9E3779B9))
        key1 = np.uint32(np.uint64(key1) + np.uint64(0xBB67AE85))
    word = position & 3
    low, high = select(word == 0, c0, c1), select(word == 2, c2, c3)
    return select(word < 2, low, high)
