"""Q4_K, Q5_K and Q6_K, compiled: super-blocks of 256 with quantized scales, found by `kernels.cpu.search`.

The search holds one sub-block per lane (two super-blocks of Q4_K or Q5_K at a time, one of Q6_K); the codes are then
rounded once more, from the scales as they are stored, with 16 neighbouring elements in the lanes.

Source: ggml-quants.c, quantize_row_q4_K_ref, quantize_row_q5_K_ref, quantize_row_q6_K_ref and their dequantize twins.
"""

from __future__ import annotations

import importlib
from dataclasses import astuple
from typing import Any

import numpy as np

from kernels.blocks import FORMATS
from kernels.codecs import AFFINE_SEARCHES
from kernels.cpu import parallel
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.half import load_half, store_half
from kernels.cpu.lanes import advanced, load, load_bytes, load_columns, room, store, store_bytes
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.search import GROUP_MAX_EPS, make_qkx2_quants, make_qx_quants, weights_of_k_types
from kernels.cpu.vectors import larger, rint, smaller, splat, to_floats, to_integers

SUPER_BLOCK = 256
Q4_K_BYTES, Q5_K_BYTES, Q6_K_BYTES = (FORMATS[name].bytes for name in ("Q4_K", "Q5_K", "Q6_K"))
# (nmax, first, step, steps), constants of the compiled code.
Q4_K_SEARCH, Q5_K_SEARCH = (astuple(AFFINE_SEARCHES[name]) for name in ("Q4_K", "Q5_K"))
# Where the fields of a block begin.
SCALES_AT = 4
Q4_K_CODES_AT = 16
Q5_K_HIGH_AT, Q5_K_CODES_AT = 16, 48
Q6_K_HIGH_AT, Q6_K_SCALES_AT, Q6_K_D_AT = 128, 192, 208


@inlined
def _fit_two_blocks(x: Any, first: int, second: int, rooms: Any, search: Any, scales: Any, minima: Any) -> None:
    """Scales and negated minima of the 8 + 8 sub-blocks of the super-blocks that start at `first` and `second`."""
    xs, ws, codes = rooms
    for half in range(2):
        load_columns(x, first + 16 * half, second + 16 * half, 32, advanced(xs, 16 * half))
    weights_of_k_types(xs, ws, 32)
    scale, minimum = make_qkx2_quants(xs, ws, codes, 32, search)
    store(scales, 0, scale)
    store(minima, 0, 0 - minimum)


@inlined
def _quantize_scales(scales: Any, lane: int, codes: Any) -> Any:
    """Codes 0 … 63 of 8 scales from `lane` on; gives the unit they count in, as float32."""
    most = np.float32(0)
    for j in range(lane, lane + 8):
        most = max(most, scales[j])
    inverse = np.float32(63) / most if most > 0 else np.float32(0)
    for j in range(8):
        scaled = inverse * scales[lane + j]
        codes[j] = np.uint8(np.rint(min(scaled, np.float32(63)))) if scaled > 0 else np.uint8(0)
    return most / np.float32(63)


@inlined
def _store_scales(out: Any, at: int, scale_codes: Any, minimum_codes: Any) -> None:
    """12 bytes of 8 six-bit scales and 8 six-bit minima."""
    for j in range(4):
        upper_scale, upper_minimum = scale_codes[j + 4], minimum_codes[j + 4]
        out[at + j] = scale_codes[j] | ((upper_scale >> 4) << 6)
        out[at + j + 4] = minimum_codes[j] | ((upper_minimum >> 4) << 6)
        out[at + j + 8] = (upper_scale & 15) | ((upper_minimum & 15) << 4)


@inlined
def _store_header(out: Any, at: int, scales: Any, minima: Any, lane: int, codes: Any) -> None:
    """d, dmin and the packed scales; `scales` and `minima` become what a decoder will make of them."""
    scale_codes, minimum_codes = codes[:8], codes[8:]
    d = store_half(out, at, _quantize_scales(scales, lane, scale_codes))
    d_minimum = store_half(out, at + 2, _quantize_scales(minima, lane, minimum_codes))
    _store_scales(out, at + SCALES_AT, scale_codes, minimum_codes)
    for j in range(8):
        scales[lane + j] = d * np.float32(scale_codes[j])
        minima[lane + j] = d_minimum * np.float32(minimum_codes[j])


@inlined
def _affine_codes(x: Any, start: int, scale: Any, minimum: Any, nmax: int) -> Any:
    """Codes 0 … nmax of 16 elements for a stored scale and negated minimum; 0 where the scale is."""
    divisor = scale if scale != 0 else np.float32(np.inf)
    return to_integers(smaller(larger(rint((load(x, start) + minimum) / divisor), 0), nmax))


@inlined
def _store_q4_k(out: Any, at: int, x: Any, start: int, scales: Any, minima: Any, lane: int) -> None:
    for pair in range(4):
        j = lane + 2 * pair
        for half in range(2):
            element = start + 64 * pair + 16 * half
            first = _affine_codes(x, element, scales[j], minima[j], 15)
            second = _affine_codes(x, element + 32, scales[j + 1], minima[j + 1], 15)
            store_bytes(out, at + Q4_K_CODES_AT + 32 * pair + 16 * half, first | (second << 4))


@inlined
def _store_q5_k(out: Any, at: int, x: Any, start: int, scales: Any, minima: Any, lane: int) -> None:
    for half in range(2):
        high = to_integers(splat(0))
        for pair in range(4):
            j = lane + 2 * pair
            element = start + 64 * pair + 16 * half
            first = _affine_codes(x, element, scales[j], minima[j], 31)
            second = _affine_codes(x, element + 32, scales[j + 1], minima[j + 1], 31)
            store_bytes(out, at + Q5_K_CODES_AT + 32 * pair + 16 * half, (first & 15) | ((second & 15) << 4))
            high = high | ((first >> 4) << (2 * pair)) | ((second >> 4) << (2 * pair + 1))
        store_bytes(out, at + Q5_K_HIGH_AT + 16 * half, high)


@compiled
def _encode_q4_k(x: Any, out: Any) -> None:
    rooms = room(32), room(32), room(32)
    scales, minima = np.empty(16, np.float32), np.empty(16, np.float32)
    codes = np.empty(16, np.uint8)
    n_blocks = out.size // Q4_K_BYTES
    for b in range(0, n_blocks, 2):
        last = min(b + 1, n_blocks - 1)
        _fit_two_blocks(x, b * SUPER_BLOCK, last * SUPER_BLOCK, rooms, Q4_K_SEARCH, scales, minima)
        for i in range(b, last + 1):
            lane = 8 * (i - b)
            _store_header(out, i * Q4_K_BYTES, scales, minima, lane, codes)
            _store_q4_k(out, i * Q4_K_BYTES, x, i * SUPER_BLOCK, scales, minima, lane)


@compiled
def _encode_q5_k(x: Any, out: Any) -> None:
    rooms = room(32), room(32), room(32)
    scales, minima = np.empty(16, np.float32), np.empty(16, np.float32)
    codes = np.empty(16, np.uint8)
    n_blocks = out.size // Q5_K_BYTES
    for b in range(0, n_blocks, 2):
        last = min(b + 1, n_blocks - 1)
        _fit_two_blocks(x, b * SUPER_BLOCK, last * SUPER_BLOCK, rooms, Q5_K_SEARCH, scales, minima)
        for i in range(b, last + 1):
            lane = 8 * (i - b)
            _store_header(out, i * Q5_K_BYTES, scales, minima, lane, codes)
            _store_q5_k(out, i * Q5_K_BYTES, x, i * SUPER_BLOCK, scales, minima, lane)


@inlined
def _scale_and_minimum(blocks: Any, at: int, j: int) -> tuple[Any, Any]:
    """The six-bit scale and minimum of sub-block j from 12 packed bytes."""
    if j < 4:
        return np.float32(blocks[at + j] & 63), np.float32(blocks[at + j + 4] & 63)
    low = blocks[at + j + 4]
    scale = (low & 15) | ((blocks[at + j - 4] >> 6) << 4)
    minimum = (low >> 4) | ((blocks[at + j] >> 6) << 4)
    return np.float32(scale), np.float32(minimum)


@compiled
def _decode_q4_k(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q4_K_BYTES):
        at = b * Q4_K_BYTES
        d, d_minimum = load_half(blocks, at), load_half(blocks, at + 2)
        for j in range(8):
            scale, minimum = _scale_and_minimum(blocks, at + SCALES_AT, j)
            shift = 4 * (j & 1)
            for half in range(2):
                nibbles = load_bytes(blocks, at + Q4_K_CODES_AT + 32 * (j >> 1) + 16 * half)
                codes = to_floats((nibbles >> shift) & 15)
                store(out, b * SUPER_BLOCK + 32 * j + 16 * half, codes * (d * scale) - d_minimum * minimum)


@compiled
def _decode_q5_k(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q5_K_BYTES):
        at = b * Q5_K_BYTES
        d, d_minimum = load_half(blocks, at), load_half(blocks, at + 2)
        for j in range(8):
            scale, minimum = _scale_and_minimum(blocks, at + SCALES_AT, j)
            shift = 4 * (j & 1)
            for half in range(2):
                nibbles = load_bytes(blocks, at + Q5_K_CODES_AT + 32 * (j >> 1) + 16 * half)
                high = load_bytes(blocks, at + Q5_K_HIGH_AT + 16 * half)
                codes = to_floats(((nibbles >> shift) & 15) | (((high >> j) & 1) << 4))
                store(out, b * SUPER_BLOCK + 32 * j + 16 * half, codes * (d * scale) - d_minimum * minimum)


@inlined
def _store_q6_k_scales(out: Any, at: int, scales: Any) -> bool:
    """Store d and 16 scale codes; `scales` become the divisors of the codes. False where all scales vanish."""
    extreme = np.float32(0)
    for j in range(16):
        if abs(scales[j]) > abs(extreme):
            extreme = scales[j]
    if not abs(extreme) >= GROUP_MAX_EPS:
        return False
    inverse = np.float32(-128) / extreme
    d = store_half(out, at + Q6_K_D_AT, np.float32(1) / inverse)
    for j in range(16):
        scaled = np.rint(inverse * scales[j])
        code = np.int32(min(scaled, np.float32(127))) if scaled > -128 else np.int32(-128)
        out[at + Q6_K_SCALES_AT + j] = np.uint8(code & 255)
        step = d * np.float32(code)
        scales[j] = step if step != 0 else np.float32(np.inf)
    return True


@inlined
def _symmetric_codes(x: Any, start: int, scale: Any) -> Any:
    """Codes 0 … 63, standing for -32 … 31, of 16 elements."""
    return to_integers(smaller(larger(rint(load(x, start) / scale), -32), 31) + 32)


@inlined
def _store_q6_k(out: Any, at: int, x: Any, start: int, scales: Any) -> None:
    for part in range(4):
        half, column = part >> 1, part & 1
        j = 8 * half + column
        q1 = _symmetric_codes(x, start + 16 * j, scales[j])
        q2 = _symmetric_codes(x, start + 16 * j + 32, scales[j + 2])
        q3 = _symmetric_codes(x, start + 16 * j + 64, scales[j + 4])
        q4 = _symmetric_codes(x, start + 16 * j + 96, scales[j + 6])
        low, high = at + 64 * half + 16 * column, at + Q6_K_HIGH_AT + 32 * half + 16 * column
        store_bytes(out, low, (q1 & 15) | ((q3 & 15) << 4))
        store_bytes(out, low + 32, (q2 & 15) | ((q4 & 15) << 4))
        store_bytes(out, high, (q1 >> 4) | ((q2 >> 4) << 2) | ((q3 >> 4) << 4) | ((q4 >> 4) << 6))


@compiled
def _encode_q6_k(x: Any, out: Any) -> None:
    xs, ws = room(16), room(32)
    scales = np.empty(16, np.float32)
    for b in range(out.size // Q6_K_BYTES):
        start, at = b * SUPER_BLOCK, b * Q6_K_BYTES
        load_columns(x, start, start + 128, 16, xs)
        store(scales, 0, make_qx_quants(xs, ws, 16, 32))
        if not _store_q6_k_scales(out, at, scales):
            out[at : at + Q6_K_BYTES] = 0
            continue
        _store_q6_k(out, at, x, start, scales)


@compiled
def _decode_q6_k(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q6_K_BYTES):
        at = b * Q6_K_BYTES
        d = load_half(blocks, at + Q6_K_D_AT)
        for j in range(16):
            half, row, column = j >> 3, (j >> 1) & 3, j & 1
            low = load_bytes(blocks, at + 64 * half + 32 * (row & 1) + 16 * column)
            high = load_bytes(blocks, at + Q6_K_HIGH_AT + 32 * half + 16 * column)
            codes = ((low >> (4 * (row >> 1))) & 15) | (((high >> (2 * row)) & 3) << 4)
            scale = np.float32(np.int8(blocks[at + Q6_K_SCALES_AT + j]))
            store(out, b * SUPER_BLOCK + 16 * j, to_floats(codes - 32) * (d * scale))


def encode_q4_k(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 144)."""
    if importance is not None:
        weighted = importlib.import_module("kernels.cpu.weighted_kquants")
        return parallel.encode_weighted(weighted.encode_q4_k, FORMATS["Q4_K"], x, importance, threads)
    return parallel.encode(_encode_q4_k, FORMATS["Q4_K"], x, threads)


def decode_q4_k(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 144) -> float32 (n_blocks, 256)."""
    return parallel.decode(_decode_q4_k, FORMATS["Q4_K"], blocks, threads)


def encode_q5_k(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 176)."""
    if importance is not None:
        weighted = importlib.import_module("kernels.cpu.weighted_kquants")
        return parallel.encode_weighted(weighted.encode_q5_k, FORMATS["Q5_K"], x, importance, threads)
    return parallel.encode(_encode_q5_k, FORMATS["Q5_K"], x, threads)


def decode_q5_k(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 176) -> float32 (n_blocks, 256)."""
    return parallel.decode(_decode_q5_k, FORMATS["Q5_K"], blocks, threads)


def encode_q6_k(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 210)."""
    if importance is not None:
        weighted = importlib.import_module("kernels.cpu.weighted_kquants")
        return parallel.encode_weighted(weighted.encode_q6_k, FORMATS["Q6_K"], x, importance, threads)
    return parallel.encode(_encode_q6_k, FORMATS["Q6_K"], x, threads)


def decode_q6_k(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 210) -> float32 (n_blocks, 256)."""
    return parallel.decode(_decode_q6_k, FORMATS["Q6_K"], blocks, threads)
