"""float16, bfloat16 and float8 elements, carried as their bits (u16, u8), to and from float32.

Device functions (see ``pointers.device``): inlined and vectorizable in compiled loops, callable from Python.
Narrowing rounds to nearest, ties to even; NaN stays NaN with its sign.
float8 is that of the OCP 8-bit floating point specification, 2023: E5M2 has infinities, E4M3 has none, and what is
beyond its largest number, 448, becomes NaN (as in ml_dtypes, whose `float8_e4m3fn` it is).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from tgc.backends.cpu.pointers import Rule, device
from tgc.backends.cpu.target import CpuTarget
from tgc.types import F8E4M3, F8E5M2, DType

_I16, _I32, _F16, _F32 = ir.IntType(16), ir.IntType(32), ir.HalfType(), ir.FloatType()


def _unary(result: Any, parameter: Any, emit: Callable[[Any, Any, Any], Any]) -> Rule:
    """Rule of a function of one number, whose LLVM form is ``emit(context, builder, value)``."""

    def rule(value: Any) -> tuple[Any, Callable[..., Any]] | None:
        if not isinstance(value, types.Number):
            return None
        return result(parameter), lambda context, builder, signature, arguments: emit(context, builder, arguments[0])

    return rule


def _emit_f32_from_bf16(context: Any, builder: Any, value: Any) -> Any:
    return builder.bitcast(builder.shl(builder.zext(value, _I32), _I32(16)), _F32)


def _emit_bf16_from_f32(context: Any, builder: Any, value: Any) -> Any:
    # On integers throughout: a floating-point NaN test may be removed by fast-math flags, and the bfloat16 conversion
    # instructions of x86 flush subnormals to zero.
    bits = builder.bitcast(value, _I32)
    high = builder.lshr(bits, _I32(16))
    rounded = builder.lshr(builder.add(bits, builder.add(builder.and_(high, _I32(1)), _I32(0x7FFF))), _I32(16))
    is_nan = builder.icmp_unsigned(">", builder.and_(bits, _I32(0x7FFFFFFF)), _I32(0x7F800000))
    return builder.trunc(builder.select(is_nan, builder.or_(high, _I32(0x40)), rounded), _I16)


def _has_half(context: Any) -> bool:
    """Whether what is compiled may use instructions for float16: a kernel for its target, or a function of Numba's."""
    target: CpuTarget | None = getattr(context, "kernel_target", None)
    if target is None:
        triple, _, features = context.codegen().magic_tuple()
        target = CpuTarget.of(triple, frozenset(f[1:] for f in features.split(",") if f.startswith("+")))
    return target.converts_half


@dataclass(frozen=True, slots=True)
class _Format:
    """A binary format: `bits` in all, of them `mantissa`; `special` is the magnitude of infinity, or else of NaN."""

    bits: int
    mantissa: int
    bias: int
    special: int
    nan: int

    def widen(self, builder: Any, value: Any) -> Any:
        """LLVM form of the float32 equal to the number whose bits are `value`."""
        wide = builder.zext(value, _I32)
        magnitude = builder.and_(wide, _I32((1 << self.bits - 1) - 1))
        # A product mends the exponent, whose biases differ; it is right for subnormals too.
        shifted = builder.bitcast(builder.shl(magnitude, _I32(23 - self.mantissa)), _F32)
        scaled = builder.fmul(shifted, ir.Constant(_F32, 2.0 ** (127 - self.bias)))
        special = builder.icmp_unsigned(">=", magnitude, _I32(self.special))
        exponent = builder.select(special, _I32(0x7F800000), _I32(0))
        sign = builder.shl(builder.and_(wide, _I32(1 << self.bits - 1)), _I32(32 - self.bits))
        return builder.bitcast(builder.or_(builder.or_(builder.bitcast(scaled, _I32), exponent), sign), _F32)

    def narrow(self, builder: Any, value: Any) -> Any:
        """LLVM form of the bits of the number nearest to the float32 `value`."""
        bits = builder.bitcast(value, _I32)
        magnitude = builder.and_(bits, _I32(0x7FFFFFFF))
        sign = builder.and_(builder.lshr(bits, _I32(32 - self.bits)), _I32(1 << self.bits - 1))
        # Added to a number whose last place is the smallest one here, a subnormal result is rounded by the addition.
        unit = 23 - self.mantissa + 1 - self.bias
        small = builder.fadd(builder.bitcast(magnitude, _F32), ir.Constant(_F32, 2.0**unit))
        subnormal = builder.sub(builder.bitcast(small, _I32), _I32(127 + unit << 23))
        shift, offset = 23 - self.mantissa, 127 - self.bias
        odd = builder.and_(builder.lshr(magnitude, _I32(shift)), _I32(1))
        rebiased = builder.sub(magnitude, _I32(offset << 23))
        normal = builder.lshr(builder.add(rebiased, builder.add(odd, _I32((1 << shift - 1) - 1))), _I32(shift))
        finite = builder.select(builder.icmp_unsigned("<", magnitude, _I32(offset + 1 << 23)), subnormal, normal)
        kept = builder.select(builder.icmp_unsigned("<", finite, _I32(self.special)), finite, _I32(self.special))
        is_nan = builder.icmp_unsigned(">", magnitude, _I32(0x7F800000))
        result = builder.or_(builder.select(is_nan, _I32(self.nan), kept), sign)
        return builder.trunc(result, ir.IntType(self.bits))


_FLOAT16 = _Format(bits=16, mantissa=10, bias=15, special=0x7C00, nan=0x7E00)
_E4M3 = _Format(bits=8, mantissa=3, bias=7, special=0x7F, nan=0x7F)
_E5M2 = _Format(bits=8, mantissa=2, bias=15, special=0x7C, nan=0x7E)


def _emit_f32_from_f16(context: Any, builder: Any, value: Any) -> Any:
    if _has_half(context):
        return builder.fpext(builder.bitcast(value, _F16), _F32)
    return _FLOAT16.widen(builder, value)


def _emit_f16_from_f32(context: Any, builder: Any, value: Any) -> Any:
    if not _has_half(context):
        return _FLOAT16.narrow(builder, value)
    bits = builder.bitcast(value, _I32)
    magnitude = builder.and_(bits, _I32(0x7FFFFFFF))
    sign = builder.and_(builder.lshr(bits, _I32(16)), _I32(0x8000))
    # Without its sign: LLVM makes fptrunc(copysign(x, fptrunc(y))) of a float64 y into a copysign in float16, for
    # which it narrows y at once, by a function of its runtime library (__truncdfhf2) that no process here defines.
    narrow = builder.bitcast(builder.fptrunc(builder.bitcast(magnitude, _F32), _F16), _I16)
    return builder.or_(narrow, builder.trunc(sign, _I16))


@device(_unary(types.float32, types.uint16, _emit_f32_from_bf16))
def f32_from_bf16(value: int) -> np.float32:
    """The float32 equal to the bfloat16 whose bits are ``value`` (exact)."""
    return np.uint32(int(value) << 16).view(np.float32)


@device(_unary(types.uint16, types.float32, _emit_bf16_from_f32))
def bf16_from_f32(value: float) -> int:
    """Bits of the bfloat16 nearest to the float32 ``value``."""
    bits = int(np.float32(value).view(np.uint32))
    if bits & 0x7FFFFFFF > 0x7F800000:
        return bits >> 16 | 0x40
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


@device(_unary(types.float32, types.uint16, _emit_f32_from_f16))
def f32_from_f16(value: int) -> np.float32:
    """The float32 equal to the float16 whose bits are ``value`` (exact)."""
    return np.float32(np.uint16(value).view(np.float16))


@device(_unary(types.uint16, types.float32, _emit_f16_from_f32))
def f16_from_f32(value: float) -> int:
    """Bits of the float16 nearest to the float32 ``value``; from 65520 on, those of infinity."""
    with np.errstate(over="ignore"):
        return int(np.float32(value).astype(np.float16).view(np.uint16))


def _widened(bits: int, dtype: DType) -> np.float32:
    return np.float32(np.uint8(bits).view(dtype))


def _narrowed(value: float, dtype: DType) -> int:
    with np.errstate(over="ignore", invalid="ignore"):
        return int(np.float32(value).astype(dtype).view(np.uint8))


@device(_unary(types.float32, types.uint8, lambda context, builder, value: _E4M3.widen(builder, value)))
def f32_from_f8e4m3(value: int) -> np.float32:
    """The float32 equal to the E4M3 number whose bits are ``value`` (exact)."""
    return _widened(value, F8E4M3)


@device(_unary(types.uint8, types.float32, lambda context, builder, value: _E4M3.narrow(builder, value)))
def f8e4m3_from_f32(value: float) -> int:
    """Bits of the E4M3 number nearest to the float32 ``value``; beyond 464, those of NaN."""
    return _narrowed(value, F8E4M3)


@device(_unary(types.float32, types.uint8, lambda context, builder, value: _E5M2.widen(builder, value)))
def f32_from_f8e5m2(value: int) -> np.float32:
    """The float32 equal to the E5M2 number whose bits are ``value`` (exact)."""
    return _widened(value, F8E5M2)


@device(_unary(types.uint8, types.float32, lambda context, builder, value: _E5M2.narrow(builder, value)))
def f8e5m2_from_f32(value: float) -> int:
    """Bits of the E5M2 number nearest to the float32 ``value``; from 61440 on, those of infinity."""
    return _narrowed(value, F8E5M2)


def _emit_f32_to_odd(context: Any, builder: Any, value: Any) -> Any:
    near = builder.fptrunc(value, _F32)
    back = builder.fpext(near, ir.DoubleType())
    bits = builder.bitcast(near, _I32)
    module, kind = builder.module, ir.DoubleType()
    name = "llvm.fabs.f64"
    fabs = module.globals.get(name) or ir.Function(module, ir.FunctionType(kind, [kind]), name)
    beyond = builder.fcmp_ordered(">", builder.call(fabs, [back]), builder.call(fabs, [value]))
    toward_zero = builder.select(beyond, builder.sub(bits, _I32(1)), bits)
    inexact = builder.fcmp_ordered("!=", back, value)
    return builder.bitcast(builder.select(inexact, builder.or_(toward_zero, _I32(1)), bits), _F32)


@device(_unary(types.float32, types.float64, _emit_f32_to_odd))
def f32_to_odd(value: float) -> np.float32:
    """float64 to float32, rounded to odd: what is then rounded to a narrow type is as if rounded from float64 at once.

    Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008.
    """
    near = np.float32(value)
    if np.float64(near) == value or value != value:
        return near
    bits = int(near.view(np.uint32)) - bool(abs(np.float64(near)) > abs(value))
    return np.uint32(bits | 1).view(np.float32)
