"""TQ1_0, TQ2_0, Q1_0 and Q2_0, compiled: one scale per block and codes of one to two bits, without a search.

Same arithmetic as ggml, rounding by rounding, so that finite blocks come out byte for byte alike. Importance is not
used. The mean of Q1_0 is added up one element after another, sixteen blocks side by side.

Source: ggml-quants.c, quantize_row_tq1_0_ref, quantize_row_tq2_0_ref, quantize_row_q1_0_ref, quantize_row_q2_0_ref and
their dequantize twins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.blocks import FORMATS
from kernels.cpu import parallel
from kernels.cpu.batches import BATCH, take
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.half import load_half, store_half
from kernels.cpu.lanes import load, load_bytes, load_columns, room, store, store_bytes
from kernels.cpu.lookup import stairs_of_floats
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import (
    bits_to_lanes,
    lanes_to_bits,
    larger,
    largest,
    magnitude,
    round_away,
    smaller,
    splat,
    to_floats,
    to_integers,
)

SUPER_BLOCK = 256
TQ1_0_BYTES, TQ2_0_BYTES, Q1_0_BYTES, Q2_0_BYTES = (FORMATS[name].bytes for name in ("TQ1_0", "TQ2_0", "Q1_0", "Q2_0"))
Q1_0_BLOCK, Q2_0_BLOCK = FORMATS["Q1_0"].elements, FORMATS["Q2_0"].elements
# Where the fields of a block begin; Q1_0 and Q2_0 begin with d and their codes follow.
TQ1_0_LAST_AT, TQ1_0_D_AT, TQ2_0_D_AT, CODES_AT = 48, 52, 64, 2
# Five trits in a byte are scaled from 3^5 to 256 values, rounded up; half a step keeps the quotient off the integers.
TRITS = np.float32(1 / 243)
PAIR_SHIFTS = np.arange(0, 32, 2, dtype=np.uint8)
is_positive = stairs_of_floats(">=", [0.0], [0, 1])


@inlined
def _largest_magnitude(x: Any, start: int, n: int) -> Any:
    """The largest magnitude of n elements."""
    most = splat(0)
    for i in range(start, start + n, 16):
        most = larger(magnitude(load(x, i)), most)
    return largest(most)


@inlined
def _reciprocal(d: Any) -> Any:
    """1/d in float32, and 0 where d is 0."""
    return np.float32(1) / d if d != 0 else np.float32(0)


@inlined
def _trits(x: Any, start: int, inverse: Any) -> Any:
    """Codes 0 … 2, standing for -1 … 1, of 16 elements."""
    return to_integers(smaller(larger(round_away(load(x, start) * inverse), -1), 1)) + 1


@inlined
def _packed_trits(trits: Any) -> Any:
    """Bytes of five trits each, given as numbers below 3^5."""
    return to_integers((to_floats((trits << 8) + 242) + 0.5) * TRITS)


@inlined
def _five_trits(x: Any, start: int, stride: int, inverse: Any) -> Any:
    """16 bytes, each of five elements `stride` apart."""
    trits = to_integers(splat(0))
    for n in range(5):
        trits = (trits << 1) + trits + _trits(x, start + stride * n, inverse)
    return _packed_trits(trits)


@compiled
def _encode_tq1_0(x: Any, out: Any) -> None:
    last = np.zeros(16, np.uint8)
    for b in range(out.size // TQ1_0_BYTES):
        start, at = b * SUPER_BLOCK, b * TQ1_0_BYTES
        d = _largest_magnitude(x, start, SUPER_BLOCK)
        inverse = _reciprocal(d)
        store_half(out, at + TQ1_0_D_AT, d)
        for half in range(2):
            store_bytes(out, at + 16 * half, _five_trits(x, start + 16 * half, 32, inverse))
        store_bytes(out, at + 32, _five_trits(x, start + 160, 16, inverse))
        store_bytes(last, 0, _trits(x, start + 240, inverse))
        for j in range(4):
            trits = np.int32(last[j]) * 81 + np.int32(last[j + 4]) * 27 + np.int32(last[j + 8]) * 9
            out[at + TQ1_0_LAST_AT + j] = ((trits + np.int32(last[j + 12]) * 3) * 256 + 242) // 243


@inlined
def _next_trit(digits: Any) -> tuple[Any, Any]:
    """The first trit of bytes, as -1 … 1, and the bytes without it."""
    tripled = (digits << 1) + digits
    return to_floats((tripled >> 8) - 1), tripled & 255


@compiled
def _decode_tq1_0(blocks: Any, out: Any) -> None:
    last = np.zeros(16, np.uint8)
    for b in range(blocks.size // TQ1_0_BYTES):
        start, at = b * SUPER_BLOCK, b * TQ1_0_BYTES
        d = load_half(blocks, at + TQ1_0_D_AT)
        for part in range(3):
            digits = load_bytes(blocks, at + 16 * part)
            first, stride = (start + 16 * part, 32) if part < 2 else (start + 160, 16)
            for n in range(5):
                trits, digits = _next_trit(digits)
                store(out, first + stride * n, trits * d)
        for j in range(4):
            digit = np.int32(blocks[at + TQ1_0_LAST_AT + j])
            for n in range(4):
                last[4 * n + j] = (digit * 3) >> 8
                digit = digit * 3 & 255
        store(out, start + 240, to_floats(load_bytes(last, 0) - 1) * d)


@compiled
def _encode_tq2_0(x: Any, out: Any) -> None:
    for b in range(out.size // TQ2_0_BYTES):
        start, at = b * SUPER_BLOCK, b * TQ2_0_BYTES
        d = _largest_magnitude(x, start, SUPER_BLOCK)
        inverse = _reciprocal(d)
        store_half(out, at + TQ2_0_D_AT, d)
        for part in range(4):
            half, column = part >> 1, part & 1
            packed = to_integers(splat(0))
            for n in range(4):
                packed = packed | (_trits(x, start + 128 * half + 16 * column + 32 * n, inverse) << (2 * n))
            store_bytes(out, at + 16 * part, packed)


@compiled
def _decode_tq2_0(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // TQ2_0_BYTES):
        start, at = b * SUPER_BLOCK, b * TQ2_0_BYTES
        d = load_half(blocks, at + TQ2_0_D_AT)
        for part in range(4):
            half, column = part >> 1, part & 1
            packed = load_bytes(blocks, at + 16 * part)
            for n in range(4):
                codes = to_floats(((packed >> (2 * n)) & 3) - 1)
                store(out, start + 128 * half + 16 * column + 32 * n, codes * d)


@compiled
def _encode_q1_0(x: Any, out: Any) -> None:
    columns = room(16)
    batch, sums = np.empty(BATCH * Q1_0_BLOCK, np.float32), np.empty(16, np.float32)
    n_blocks = out.size // Q1_0_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        take(x, first, count, Q1_0_BLOCK, batch)
        total = splat(0)
        for part in range(0, Q1_0_BLOCK, 16):
            load_columns(batch, part, 8 * Q1_0_BLOCK + part, Q1_0_BLOCK, columns)
            for e in range(16):
                total += magnitude(columns[e])
        store(sums, 0, total / Q1_0_BLOCK)
        for i in range(count):
            at = (first + i) * Q1_0_BYTES
            store_half(out, at, sums[i])
            for part in range(Q1_0_BLOCK // 16):
                bits = lanes_to_bits(is_positive(load(batch, i * Q1_0_BLOCK + 16 * part)))
                out[at + CODES_AT + 2 * part] = bits & 255
                out[at + CODES_AT + 2 * part + 1] = bits >> 8


@compiled
def _decode_q1_0(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q1_0_BYTES):
        at = b * Q1_0_BYTES
        d = load_half(blocks, at)
        for part in range(Q1_0_BLOCK // 16):
            low, high = blocks[at + CODES_AT + 2 * part], blocks[at + CODES_AT + 2 * part + 1]
            bits = bits_to_lanes(np.int64(low) | (np.int64(high) << 8))
            store(out, b * Q1_0_BLOCK + 16 * part, to_floats(bits + bits - 1) * d)


@inlined
def _spread(bits: Any) -> Any:
    """16 bits moved to the even places of 32."""
    bits = (bits | (bits << 8)) & 0x00FF00FF
    bits = (bits | (bits << 4)) & 0x0F0F0F0F
    bits = (bits | (bits << 2)) & 0x33333333
    return (bits | (bits << 1)) & 0x55555555


@compiled
def _encode_q2_0(x: Any, out: Any) -> None:
    for b in range(out.size // Q2_0_BYTES):
        start, at = b * Q2_0_BLOCK, b * Q2_0_BYTES
        d = _largest_magnitude(x, start, Q2_0_BLOCK)
        inverse = _reciprocal(d)
        store_half(out, at, d)
        for part in range(Q2_0_BLOCK // 16):
            codes = _trits(x, start + 16 * part, inverse)
            pairs = _spread(lanes_to_bits(codes)) | (_spread(lanes_to_bits(codes >> 1)) << 1)
            for i in range(4):
                out[at + CODES_AT + 4 * part + i] = (pairs >> (8 * i)) & 255


@compiled
def _decode_q2_0(blocks: Any, out: Any) -> None:
    shifts = load_bytes(PAIR_SHIFTS, 0)
    for b in range(blocks.size // Q2_0_BYTES):
        at = b * Q2_0_BYTES
        d = load_half(blocks, at)
        for part in range(Q2_0_BLOCK // 16):
            word = np.int64(0)
            for i in range(4):
                word |= np.int64(blocks[at + CODES_AT + 4 * part + i]) << (8 * i)
            store(out, b * Q2_0_BLOCK + 16 * part, to_floats(((word >> shifts) & 3) - 1) * d)


def encode_tq1_0(x: Floats, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256) -> uint8 (n_blocks, 54)."""
    return parallel.encode(_encode_tq1_0, FORMATS["TQ1_0"], x, threads)


def decode_tq1_0(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 54) -> float32 (n_blocks, 256)."""
    return parallel.decode(_decode_tq1_0, FORMATS["TQ1_0"], blocks, threads)


def encode_tq2_0(x: Floats, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256) -> uint8 (n_blocks, 66)."""
    return parallel.encode(_encode_tq2_0, FORMATS["TQ2_0"], x, threads)


def decode_tq2_0(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 66) -> float32 (n_blocks, 256)."""
    return parallel.decode(_decode_tq2_0, FORMATS["TQ2_0"], blocks, threads)


def encode_q1_0(x: Floats, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 128) -> uint8 (n_blocks, 18)."""
    return parallel.encode(_encode_q1_0, FORMATS["Q1_0"], x, threads)


def decode_q1_0(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 18) -> float32 (n_blocks, 128)."""
    return parallel.decode(_decode_q1_0, FORMATS["Q1_0"], blocks, threads)


def encode_q2_0(x: Floats, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 64) -> uint8 (n_blocks, 18)."""
    return parallel.encode(_encode_q2_0, FORMATS["Q2_0"], x, threads)


def decode_q2_0(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 18) -> float32 (n_blocks, 64)."""
    return parallel.decode(_decode_q2_0, FORMATS["Q2_0"], blocks, threads)
