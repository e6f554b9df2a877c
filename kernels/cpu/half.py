"""IEEE half precision in compiled code, which numba does not offer on a CPU: bits of a float32, and back.

Where the processor converts (x86 with F16C, every 64-bit ARM), LLVM's `fptrunc` and `fpext` are one instruction each.
Elsewhere LLVM would call a routine of the compiler's support library that a running Python does not contain, so there
the same results come from integer arithmetic. Which one is used is decided once, by the features numba compiles for.
Both round to nearest, ties to even, overflow to infinity from 65520 on, and keep NaN a NaN.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core.registry import cpu_target

from kernels.cpu.compiled import inlined, intrinsic, types

HALF, BITS16 = ir.HalfType(), ir.IntType(16)


@intrinsic
def hardware_half_bits(typing: Any, value: Any) -> Any:
    """The bits of the half nearest to a float32, as uint16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], HALF), BITS16)

    return types.uint16(types.float32), generate


@intrinsic
def hardware_half_value(typing: Any, bits: Any) -> Any:
    """The float32 equal to the half with these bits (uint16)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], HALF), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def float_bits(typing: Any, value: Any) -> Any:
    """The bits of a float32, as uint32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@intrinsic
def float_value(typing: Any, bits: Any) -> Any:
    """The float32 with these bits (uint32)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), generate


INFINITY_BITS = np.uint32(0x7F800000)
OVERFLOW_BITS = np.uint32(0x477FF000)  # 65520, the first float32 that rounds to infinity
SMALLEST_NORMAL_BITS = np.uint32(0x38800000)  # 2^-14
# Adding this float aligns a magnitude below 2^-14 so that its half's mantissa is in the lowest bits, rounded.
SUBNORMAL_MAGIC = np.float32(0.5)
SUBNORMAL_MAGIC_BITS = np.uint32(0x3F000000)
# Multiplying by 2^112 moves a half's exponent field, shifted into a float's place, from bias 15 to bias 127.
REBIAS = np.float32(2.0**112)


@inlined
def integer_half_bits(value: Any) -> Any:
    """The bits of the half nearest to a float32, as uint16, without a conversion instruction."""
    bits = float_bits(value)
    sign = (bits >> np.uint32(16)) & np.uint32(0x8000)
    size = bits & np.uint32(0x7FFFFFFF)
    odd = (size >> np.uint32(13)) & np.uint32(1)
    # Exponent bias 127 -> 15; 0xFFF plus the lowest kept bit rounds the 13 dropped bits, halves to even.
    normal = (size - np.uint32(112 << 23) + np.uint32(0xFFF) + odd) >> np.uint32(13)
    subnormal = float_bits(float_value(size) + SUBNORMAL_MAGIC) - SUBNORMAL_MAGIC_BITS
    nan = np.uint32(0x7E00) | ((size >> np.uint32(13)) & np.uint32(0x3FF))
    special = nan if size > INFINITY_BITS else np.uint32(0x7C00)
    finite = subnormal if size < SMALLEST_NORMAL_BITS else normal
    return np.uint16(sign | (special if size >= OVERFLOW_BITS else finite))


@inlined
def integer_half_value(bits: Any) -> Any:
    """The float32 equal to the half with these bits (uint16), without a conversion instruction."""
    wide = np.uint32(bits)
    sign = (wide & np.uint32(0x8000)) << np.uint32(16)
    size = (wide & np.uint32(0x7FFF)) << np.uint32(13)
    finite = float_bits(float_value(size) * REBIAS)
    quiet = np.uint32(0x400000) if size > np.uint32(0x7C00 << 13) else np.uint32(0)
    special = size | INFINITY_BITS | quiet
    return float_value(sign | (special if size >= np.uint32(0x7C00 << 13) else finite))


def processor_converts() -> bool:
    """Whether the processor that numba compiles for has half conversions."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return True
    _triple, _name, features = cpu_target.target_context.codegen().magic_tuple()
    return "+f16c" in features.split(",")


half_bits = hardware_half_bits if processor_converts() else integer_half_bits
half_value = hardware_half_value if processor_converts() else integer_half_value


@inlined
def store_half(out: Any, at: int, value: Any) -> Any:
    """Write a float32 as a half to bytes `at`, `at + 1`; gives the float32 that was stored."""
    bits = half_bits(value)
    out[at] = bits & 255
    out[at + 1] = bits >> 8
    return half_value(bits)


@inlined
def load_half(blocks: Any, at: int) -> Any:
    """The float32 equal to the half in bytes `at`, `at + 1`."""
    return half_value(np.uint16(np.uint16(blocks[at]) | (np.uint16(blocks[at + 1]) << 8)))
