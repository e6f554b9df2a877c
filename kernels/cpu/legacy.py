"""Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0, compiled: blocks of 32 as two vectors of 16, which is also how their nibbles pair.

Same arithmetic as `kernels.reference.legacy`, operation by operation, so that finite blocks come out byte for byte
alike. Codes are clipped before they become integers: NaN gives a code, never a crash.

Source: ggml-quants.c, quantize_row_q4_0_ref … quantize_row_q8_0_ref and dequantize_row_q4_0 … dequantize_row_q8_0.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from kernels.blocks import FORMATS
from kernels.cpu import parallel
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.half import load_half, store_half
from kernels.cpu.lanes import load, load_bytes, load_signed_bytes, store, store_bytes
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import (
    bits_to_lanes,
    lanes_to_bits,
    larger,
    largest,
    magnitude,
    round_away,
    smaller,
    smallest,
    to_floats,
    to_integers,
)

BLOCK = 32
Q4_0_BYTES, Q4_1_BYTES, Q5_0_BYTES, Q5_1_BYTES, Q8_0_BYTES = (
    FORMATS[name].bytes for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
)


@inlined
def _reciprocal(d: Any) -> Any:
    """1/d in float32, and 0 where d is 0."""
    return np.float32(1) / d if d != 0 else np.float32(0)


@inlined
def _signed_extreme(x: Any, start: int) -> Any:
    """The first of 32 elements with the largest magnitude."""
    low_half, high_half = load(x, start), load(x, start + 16)
    highest = largest(larger(low_half, high_half))
    lowest = smallest(smaller(low_half, high_half))
    if highest == -lowest:
        for i in range(start, start + 32):
            if abs(x[i]) == highest:
                return x[i]
    return highest if highest > -lowest else lowest


@inlined
def _symmetric_codes(x: Any, start: int, inverse: Any, levels: int) -> Any:
    """Codes 0 … 2·levels-1 of 16 elements: one half is added and the fraction dropped."""
    return to_integers(smaller(larger(load(x, start) * inverse + (levels + 0.5), 0), 2 * levels - 1))


@inlined
def _affine_codes(x: Any, start: int, low: Any, inverse: Any, nmax: int) -> Any:
    """Codes 0 … nmax of 16 elements above `low`: one half is added and the fraction dropped."""
    return to_integers(smaller(larger((load(x, start) - low) * inverse + 0.5, 0), nmax))


@inlined
def _store_nibbles(out: Any, at: int, first: Any, second: Any) -> None:
    """16 bytes of the low four bits of elements 0 … 15 and 16 … 31."""
    store_bytes(out, at, (first & 15) | ((second & 15) << 4))


@inlined
def _store_fifth_bits(out: Any, at: int, first: Any, second: Any) -> None:
    """4 bytes, bit j being the fifth bit of element j."""
    bits = lanes_to_bits(first >> 4) | (lanes_to_bits(second >> 4) << 16)
    for i in range(4):
        out[at + i] = (bits >> (8 * i)) & 255


@inlined
def _load_five_bits(blocks: Any, qh: int, qs: int) -> tuple[Any, Any]:
    """Codes 0 … 31 of elements 0 … 15 and 16 … 31."""
    low = np.int64(blocks[qh]) | (np.int64(blocks[qh + 1]) << 8)
    high = np.int64(blocks[qh + 2]) | (np.int64(blocks[qh + 3]) << 8)
    nibbles = load_bytes(blocks, qs)
    return (nibbles & 15) | (bits_to_lanes(low) << 4), (nibbles >> 4) | (bits_to_lanes(high) << 4)


@compiled
def _encode_q4_0(x: Any, out: Any) -> None:
    for b in range(out.size // Q4_0_BYTES):
        start, at = BLOCK * b, Q4_0_BYTES * b
        d = _signed_extreme(x, start) / np.float32(-8)
        inverse = _reciprocal(d)
        store_half(out, at, d)
        first = _symmetric_codes(x, start, inverse, 8)
        _store_nibbles(out, at + 2, first, _symmetric_codes(x, start + 16, inverse, 8))


@compiled
def _encode_q5_0(x: Any, out: Any) -> None:
    for b in range(out.size // Q5_0_BYTES):
        start, at = BLOCK * b, Q5_0_BYTES * b
        d = _signed_extreme(x, start) / np.float32(-16)
        inverse = _reciprocal(d)
        store_half(out, at, d)
        first = _symmetric_codes(x, start, inverse, 16)
        second = _symmetric_codes(x, start + 16, inverse, 16)
        _store_fifth_bits(out, at + 2, first, second)
        _store_nibbles(out, at + 6, first, second)


@inlined
def _span(x: Any, start: int, nmax: int) -> tuple[Any, Any]:
    """Minimum and step of 32 elements spread over codes 0 … nmax."""
    low_half, high_half = load(x, start), load(x, start + 16)
    low = smallest(smaller(low_half, high_half))
    return low, (largest(larger(low_half, high_half)) - low) / np.float32(nmax)


@compiled
def _encode_q4_1(x: Any, out: Any) -> None:
    for b in range(out.size // Q4_1_BYTES):
        start, at = BLOCK * b, Q4_1_BYTES * b
        low, d = _span(x, start, 15)
        inverse = _reciprocal(d)
        store_half(out, at, d)
        store_half(out, at + 2, low)
        first = _affine_codes(x, start, low, inverse, 15)
        _store_nibbles(out, at + 4, first, _affine_codes(x, start + 16, low, inverse, 15))


@compiled
def _encode_q5_1(x: Any, out: Any) -> None:
    for b in range(out.size // Q5_1_BYTES):
        start, at = BLOCK * b, Q5_1_BYTES * b
        low, d = _span(x, start, 31)
        inverse = _reciprocal(d)
        store_half(out, at, d)
        store_half(out, at + 2, low)
        first = _affine_codes(x, start, low, inverse, 31)
        second = _affine_codes(x, start + 16, low, inverse, 31)
        _store_fifth_bits(out, at + 4, first, second)
        _store_nibbles(out, at + 8, first, second)


@compiled
def _encode_q8_0(x: Any, out: Any) -> None:
    for b in range(out.size // Q8_0_BYTES):
        start, at = BLOCK * b, Q8_0_BYTES * b
        d = largest(larger(magnitude(load(x, start)), magnitude(load(x, start + 16)))) / np.float32(127)
        inverse = _reciprocal(d)
        store_half(out, at, d)
        for half in range(2):
            scaled = smaller(larger(load(x, start + 16 * half) * inverse, -127), 127)
            store_bytes(out, at + 2 + 16 * half, to_integers(round_away(scaled)))


@compiled
def _decode_q4_0(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q4_0_BYTES):
        d = load_half(blocks, Q4_0_BYTES * b)
        nibbles = load_bytes(blocks, Q4_0_BYTES * b + 2)
        store(out, BLOCK * b, to_floats((nibbles & 15) - 8) * d)
        store(out, BLOCK * b + 16, to_floats((nibbles >> 4) - 8) * d)


@compiled
def _decode_q5_0(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q5_0_BYTES):
        d = load_half(blocks, Q5_0_BYTES * b)
        first, second = _load_five_bits(blocks, Q5_0_BYTES * b + 2, Q5_0_BYTES * b + 6)
        store(out, BLOCK * b, to_floats(first - 16) * d)
        store(out, BLOCK * b + 16, to_floats(second - 16) * d)


@compiled
def _decode_q4_1(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q4_1_BYTES):
        d, m = load_half(blocks, Q4_1_BYTES * b), load_half(blocks, Q4_1_BYTES * b + 2)
        nibbles = load_bytes(blocks, Q4_1_BYTES * b + 4)
        store(out, BLOCK * b, to_floats(nibbles & 15) * d + m)
        store(out, BLOCK * b + 16, to_floats(nibbles >> 4) * d + m)


@compiled
def _decode_q5_1(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q5_1_BYTES):
        d, m = load_half(blocks, Q5_1_BYTES * b), load_half(blocks, Q5_1_BYTES * b + 2)
        first, second = _load_five_bits(blocks, Q5_1_BYTES * b + 4, Q5_1_BYTES * b + 8)
        store(out, BLOCK * b, to_floats(first) * d + m)
        store(out, BLOCK * b + 16, to_floats(second) * d + m)


@compiled
def _decode_q8_0(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q8_0_BYTES):
        d = load_half(blocks, Q8_0_BYTES * b)
        for half in range(2):
            codes = load_signed_bytes(blocks, Q8_0_BYTES * b + 2 + 16 * half)
            store(out, BLOCK * b + 16 * half, to_floats(codes) * d)


def encode_q4_0(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 18)."""
    if importance is not None:
        weighted = importlib.import_module("kernels.cpu.weighted_legacy")
        return parallel.encode_weighted(weighted.encode_q4_0, FORMATS["Q4_0"], x, importance, threads)
    return parallel.encode(_encode_q4_0, FORMATS["Q4_0"], x, threads)


def decode_q4_0(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 18) -> float32 (n_blocks, 32)."""
    return parallel.decode(_decode_q4_0, FORMATS["Q4_0"], blocks, threads)


def encode_q4_1(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 20)."""
    if importance is not None:
        weighted = importlib.import_module("kernels.cpu.weighted_legacy")
        return parallel.encode_weighted(weighted.encode_q4_1, FORMATS["Q4_1"], x, importance, threads)
    return parallel.encode(_encode_q4_1, FORMATS["Q4_1"], x, threads)


def decode_q4_1(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 20) -> float32 (n_blocks, 32)."""
    return parallel.decode(_decode_q4_1, FORMATS["Q4_1"], blocks, threads)


def encode_q5_0(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 22)."""
    if importance is not None:
        weighted = importlib.import_module("kernels.cpu.weighted_legacy")
        return parallel.encode_weighted(weighted.encode_q5_0, FORMATS["Q5_0"], x, importance, threads)
    return parallel.encode(_encode_q5_0, FORMATS["Q5_0"], x, threads)


def decode_q5_0(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 22) -> float32 (n_blocks, 32)."""
    return parallel.decode(_decode_q5_0, FORMATS["Q5_0"], blocks, threads)


def encode_q5_1(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 24)."""
    if importance is not None:
        weighted = importlib.import_module("kernels.cpu.weighted_legacy")
        return parallel.encode_weighted(weighted.encode_q5_1, FORMATS["Q5_1"], x, importance, threads)
    return parallel.encode(_encode_q5_1, FORMATS["Q5_1"], x, threads)


def decode_q5_1(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 24) -> float32 (n_blocks, 32)."""
    return parallel.decode(_decode_q5_1, FORMATS["Q5_1"], blocks, threads)


def encode_q8_0(x: Floats, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32) -> uint8 (n_blocks, 34)."""
    return parallel.encode(_encode_q8_0, FORMATS["Q8_0"], x, threads)


def decode_q8_0(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 34) -> float32 (n_blocks, 32)."""
    return parallel.decode(_decode_q8_0, FORMATS["Q8_0"], blocks, threads)
