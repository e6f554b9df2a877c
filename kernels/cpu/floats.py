"""F32, F16 and BF16, compiled: rounding to nearest, ties to even, as `kernels.reference.floats`."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.blocks import FORMATS
from kernels.cpu import parallel
from kernels.cpu.compiled import compiled
from kernels.cpu.half import float_bits, float_value, half_bits, half_value
from kernels.cpu.parallel import Bytes, Floats

QUIET = np.uint32(64)  # the quiet bit of a NaN, in the upper half of its float32
INFINITY_BITS = np.uint32(0x7F800000)


def _copy(source: Any, target: Any) -> None:
    """The same bytes; nothing to compile, and numpy too releases the GIL for it."""
    target.view(np.uint8)[:] = source.view(np.uint8)


@compiled
def _encode_f16(x: Any, out: Any) -> None:
    halves = out.view(np.uint16)
    for i in range(x.size):
        halves[i] = half_bits(x[i])


@compiled
def _decode_f16(blocks: Any, out: Any) -> None:
    halves = blocks.view(np.uint16)
    for i in range(out.size):
        out[i] = half_value(halves[i])


@compiled
def _encode_bf16(x: Any, out: Any) -> None:
    halves = out.view(np.uint16)
    for i in range(x.size):
        bits = float_bits(x[i])
        kept = bits >> np.uint32(16)
        rounded = (bits + np.uint32(0x7FFF) + (kept & np.uint32(1))) >> np.uint32(16)
        is_nan = (bits & np.uint32(0x7FFFFFFF)) > INFINITY_BITS
        halves[i] = np.uint16((kept | QUIET) if is_nan else rounded)


@compiled
def _decode_bf16(blocks: Any, out: Any) -> None:
    halves = blocks.view(np.uint16)
    for i in range(out.size):
        out[i] = float_value(np.uint32(halves[i]) << np.uint32(16))


def encode_f32(x: Floats, threads: int = 0) -> Bytes:
    """float32 (n, 1) -> uint8 (n, 4), a copy."""
    return parallel.encode(_copy, FORMATS["F32"], x, threads)


def decode_f32(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n, 4) -> float32 (n, 1), a copy."""
    return parallel.decode(_copy, FORMATS["F32"], blocks, threads)


def encode_f16(x: Floats, threads: int = 0) -> Bytes:
    """float32 (n, 1) -> uint8 (n, 2)."""
    return parallel.encode(_encode_f16, FORMATS["F16"], x, threads)


def decode_f16(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n, 2) -> float32 (n, 1)."""
    return parallel.decode(_decode_f16, FORMATS["F16"], blocks, threads)


def encode_bf16(x: Floats, threads: int = 0) -> Bytes:
    """float32 (n, 1) -> uint8 (n, 2); a NaN stays a NaN and becomes quiet, as in ggml."""
    return parallel.encode(_encode_bf16, FORMATS["BF16"], x, threads)


def decode_bf16(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n, 2) -> float32 (n, 1)."""
    return parallel.decode(_decode_bf16, FORMATS["BF16"], blocks, threads)
