"""Q2_K and Q3_K, compiled: super-blocks of 16 sub-blocks of 16, one sub-block per lane in the searches.

With importance, sixteen super-blocks go together: their sub-blocks' scales are searched for as without, then the
super-blocks' own scales with one super-block per lane. The codes are rounded once more from the scales as stored, with
16 neighbouring elements in the lanes; where a stored scale is 0 they stay those of the search, as in ggml.

Source: ggml-quants.c, quantize_row_q2_K_ref and _impl, quantize_row_q3_K_ref and _impl, and their dequantize twins.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np

from kernels.blocks import FORMATS
from kernels.codecs import AFFINE_SEARCHES, WEIGHTED_AFFINE_SEARCHES
from kernels.cpu import parallel
from kernels.cpu.batches import BATCH, energies, take, weigh
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.half import load_half, store_half
from kernels.cpu.lanes import advanced, load, load_bytes, load_columns, room, store, store_bytes
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import larger, magnitude, rint, smaller, splat, to_floats, to_integers, where
from kernels.cpu.weighted import (
    make_q3_quants,
    make_qkx3_quants,
    make_qkx3_quants_absolute,
    make_qp_quants,
    make_qx_quants,
)

SUPER_BLOCK = 256
Q2_K_BYTES, Q3_K_BYTES = FORMATS["Q2_K"].bytes, FORMATS["Q3_K"].bytes
# (nmax, first, step, steps), constants of the compiled code.
Q2_K_SEARCH, Q2_K_WEIGHTED_SEARCH = astuple(AFFINE_SEARCHES["Q2_K"]), astuple(WEIGHTED_AFFINE_SEARCHES["Q2_K"])
# Where the fields of a block begin.
Q2_K_CODES_AT, Q2_K_D_AT, Q2_K_MINIMUM_AT = 16, 80, 82
Q3_K_CODES_AT, Q3_K_SCALES_AT, Q3_K_D_AT = 32, 96, 108


@inlined
def _load_sub_blocks(x: Any, start: int, xs: Any) -> None:
    """The 16 sub-blocks of the super-block that starts at `start`, one per lane."""
    load_columns(x, start, start + 128, 16, xs)


@inlined
def _sum(ws: Any) -> Any:
    """Σ w of every sub-block."""
    total = splat(0)
    for e in range(16):
        total += ws[e]
    return total


# Q2_K


@inlined
def _four_bits(values: Any, codes: Any) -> Any:
    """Codes 0 … 15 of 16 values; gives the unit they count in, as float32."""
    most = np.float32(0)
    for j in range(16):
        most = max(most, values[j])
    if not most > 0:
        store(codes, 0, splat(0))
        return np.float32(0)
    store(codes, 0, larger(smaller(rint(np.float32(15) / most * load(values, 0)), 15), 0))
    return most / np.float32(15)


@inlined
def _affine_codes(x: Any, start: int, stored: tuple[Any, Any], found: tuple[Any, Any]) -> Any:
    """Codes 0 … 3 of 16 elements for the stored scale and negated minimum, or for what the search found."""
    scale, minimum = stored
    inverse, origin = found
    exact = (load(x, start) + minimum) / scale if scale != 0 else (load(x, start) - origin) * inverse
    return to_integers(smaller(larger(rint(exact), 0), 3))


@inlined
def _store_q2_k(out: Any, at: int, x: Any, start: int, units: Any, fields: Any) -> None:
    """One block from d and dmin, the codes of scales and minima, and the search's inverse scales and origins."""
    scales, minima, inverses, origins = fields
    d, d_minimum = store_half(out, at + Q2_K_D_AT, units[0]), store_half(out, at + Q2_K_MINIMUM_AT, units[1])
    store_bytes(out, at, to_integers(load(scales, 0)) | (to_integers(load(minima, 0)) << 4))
    for part in range(4):
        half, column = part >> 1, part & 1
        packed = to_integers(splat(0))
        for row in range(4):
            j = 8 * half + 2 * row + column
            stored, found = (d * scales[j], d_minimum * minima[j]), (inverses[j], origins[j])
            packed = packed | (_affine_codes(x, start + 16 * j, stored, found) << (2 * row))
        store_bytes(out, at + Q2_K_CODES_AT + 16 * part, packed)


@compiled
def _encode_q2_k(x: Any, out: Any) -> None:
    xs, ws, room_for_codes = room(16), room(16), room(16)
    values, scales, minima = np.empty(16, np.float32), np.empty(16, np.float32), np.empty(16, np.float32)
    inverses, origins = np.empty(16, np.float32), np.empty(16, np.float32)
    for b in range(out.size // Q2_K_BYTES):
        _load_sub_blocks(x, b * SUPER_BLOCK, xs)
        for e in range(16):
            ws[e] = magnitude(xs[e])
        scale, minimum, inverse, origin = make_qkx3_quants_absolute(xs, ws, room_for_codes, 16, Q2_K_SEARCH)
        store(inverses, 0, inverse)
        store(origins, 0, origin)
        store(values, 0, scale)
        d = _four_bits(values, scales)
        store(values, 0, 0 - minimum)
        d_minimum = _four_bits(values, minima)
        fields = scales, minima, inverses, origins
        _store_q2_k(out, b * Q2_K_BYTES, x, b * SUPER_BLOCK, (d, d_minimum), fields)


@inlined
def _search_units(values: Any, start: int, sums: Any, rooms: Any, units: Any) -> None:
    """Units of 16 super-blocks; their 16 values each, by super-block from `start` on, become codes 0 … 15."""
    xs, ws, room_for_codes = rooms
    load_columns(values, start, start + 128, 16, xs)
    load_columns(sums, 0, 128, 16, ws)
    store(units, start >> 4, make_qp_quants(xs, ws, room_for_codes, 16, 15))
    for j in range(16):
        store(values, start + 16 * j, room_for_codes[j])
    load_columns(values, start, start + 128, 16, xs)
    for i in range(16):
        store(values, start + 16 * i, xs[i])


@compiled
def _encode_weighted_q2_k(x: Any, importance: Any, out: Any) -> None:
    rooms = room(16), room(16), room(16)
    xs, ws, room_for_codes = rooms
    batch, weights = np.empty(BATCH * SUPER_BLOCK, np.float32), np.empty(BATCH * SUPER_BLOCK, np.float32)
    # Of 16 super-blocks: scales, then minima; their units; and the inverse scales, then origins, of the search.
    fitted, sums, units = np.empty(512, np.float32), np.empty(256, np.float32), np.empty(32, np.float32)
    found = np.empty(512, np.float32)
    n_blocks = out.size // Q2_K_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        take(x, first, count, SUPER_BLOCK, batch)
        store(units, 0, energies(batch, SUPER_BLOCK) / SUPER_BLOCK)
        weigh(batch, importance, first, SUPER_BLOCK, units, weights)
        for i in range(BATCH):
            _load_sub_blocks(batch, i * SUPER_BLOCK, xs)
            _load_sub_blocks(weights, i * SUPER_BLOCK, ws)
            store(sums, 16 * i, _sum(ws))
            scale, minimum, inverse, origin = make_qkx3_quants(xs, ws, room_for_codes, 16, Q2_K_WEIGHTED_SEARCH)
            store(fitted, 16 * i, scale)
            store(fitted, 256 + 16 * i, 0 - minimum)
            store(found, 16 * i, inverse)
            store(found, 256 + 16 * i, origin)
        for start in (0, 256):
            _search_units(fitted, start, sums, rooms, units)
        for i in range(count):
            fields = fitted[16 * i :], fitted[256 + 16 * i :], found[16 * i :], found[256 + 16 * i :]
            at = (first + i) * Q2_K_BYTES
            _store_q2_k(out, at, batch, i * SUPER_BLOCK, (units[i], units[16 + i]), fields)


@compiled
def _decode_q2_k(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q2_K_BYTES):
        at = b * Q2_K_BYTES
        d, d_minimum = load_half(blocks, at + Q2_K_D_AT), load_half(blocks, at + Q2_K_MINIMUM_AT)
        for j in range(16):
            half, row, column = j >> 3, (j >> 1) & 3, j & 1
            packed = load_bytes(blocks, at + Q2_K_CODES_AT + 32 * half + 16 * column)
            scale, minimum = np.float32(blocks[at + j] & 15), np.float32(blocks[at + j] >> 4)
            codes = to_floats((packed >> (2 * row)) & 3)
            store(out, b * SUPER_BLOCK + 16 * j, codes * (d * scale) - d_minimum * minimum)


# Q3_K


@inlined
def _store_six_bits(out: Any, at: int, codes: Any) -> None:
    """12 bytes of 16 codes 0 … 63: low nibbles of 8 and 8, then the upper two bits of four sub-blocks in each byte."""
    for j in range(8):
        low, high = np.int32(codes[j]), np.int32(codes[j + 8])
        out[at + j] = (low & 15) | ((high & 15) << 4)
    for j in range(4):
        packed = np.int32(0)
        for row in range(4):
            packed |= (np.int32(codes[j + 4 * row]) >> 4) << (2 * row)
        out[at + 8 + j] = packed


@inlined
def _symmetric_codes(x: Any, start: int, scale: Any) -> Any:
    """Codes 0 … 7, standing for -4 … 3, of 16 elements."""
    return to_integers(smaller(larger(rint(load(x, start) / scale), -4), 3) + 4)


@inlined
def _store_q3_k(out: Any, at: int, x: Any, start: int, fields: Any) -> None:
    """One block from its d, the codes 0 … 63 of its scales, the codes of the search, (16, sub-blocks), and scratch."""
    unit, scales, found, own = fields
    d = store_half(out, at + Q3_K_D_AT, unit)
    _store_six_bits(out, at + Q3_K_SCALES_AT, scales)
    for column in range(2):
        high = to_integers(splat(0))
        for half in range(2):
            low = to_integers(splat(0))
            for row in range(4):
                j = 8 * half + 2 * row + column
                scale = d * (scales[j] - np.float32(32))
                if scale != 0:
                    codes = _symmetric_codes(x, start + 16 * j, scale)
                else:
                    for e in range(16):
                        own[e] = found[16 * e + j]
                    codes = to_integers(load(own, 0) + 4)
                low = low | ((codes & 3) << (2 * row))
                high = high | ((codes >> 2) << (4 * half + row))
            store_bytes(out, at + Q3_K_CODES_AT + 32 * half + 16 * column, low)
        store_bytes(out, at + 16 * column, high)


@inlined
def _six_bits(scales: Any) -> Any:
    """`scales` become codes 0 … 63, standing for -32 … 31; gives the unit they count in: the extreme one is -32."""
    extreme = np.float32(0)
    for j in range(16):
        if abs(scales[j]) > abs(extreme):
            extreme = scales[j]
    if extreme == 0:
        store(scales, 0, splat(0))
        return np.float32(0)
    inverse = np.float32(-32) / extreme
    store(scales, 0, smaller(larger(rint(inverse * load(scales, 0)), -32), 31) + 32)
    return np.float32(1) / inverse


@compiled
def _encode_q3_k(x: Any, out: Any) -> None:
    xs, ws, codes = room(64), room(64), room(64)
    scales, codes_in_memory = np.empty(64, np.float32), np.empty(1024, np.float32)
    scratch = np.empty(16, np.float32)
    n_blocks = out.size // Q3_K_BYTES
    for first in range(0, n_blocks, 4):
        for i in range(4):
            _load_sub_blocks(x, min(first + i, n_blocks - 1) * SUPER_BLOCK, advanced(xs, 16 * i))
        found = make_q3_quants(xs, ws, codes, 16, 4)
        for i in range(4):
            store(scales, 16 * i, found[i])
        for e in range(64):
            store(codes_in_memory, 16 * e, codes[e])
        for b in range(first, min(first + 4, n_blocks)):
            own = scales[16 * (b - first) : 16 * (b - first) + 16]
            fields = _six_bits(own), own, codes_in_memory[256 * (b - first) :], scratch
            _store_q3_k(out, b * Q3_K_BYTES, x, b * SUPER_BLOCK, fields)


@inlined
def _search_signed_units(scales: Any, sums: Any, xs: Any, ws: Any, units: Any) -> None:
    """Units of 16 super-blocks; their scales, (16, 16) by super-block, become codes 0 … 63 that stand for -32 … 31."""
    load_columns(scales, 0, 128, 16, xs)
    load_columns(sums, 0, 128, 16, ws)
    unit, inverse = make_qx_quants(xs, ws, 16, 32)
    store(units, 0, unit)
    for j in range(16):
        code = smaller(larger(rint(inverse * xs[j]), -32), 31) + 32
        store(scales, 16 * j, where(magnitude(inverse) > 0, code, 0))
    load_columns(scales, 0, 128, 16, xs)
    for i in range(16):
        store(scales, 16 * i, xs[i])


@compiled
def _encode_weighted_q3_k(x: Any, importance: Any, out: Any) -> None:
    xs, ws = room(16), room(32)
    batch, weights = np.empty(BATCH * SUPER_BLOCK, np.float32), np.empty(BATCH * SUPER_BLOCK, np.float32)
    scales, sums, units = np.empty(256, np.float32), np.empty(256, np.float32), np.empty(16, np.float32)
    codes, scratch = np.empty(BATCH * SUPER_BLOCK, np.float32), np.empty(16, np.float32)
    n_blocks = out.size // Q3_K_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        take(x, first, count, SUPER_BLOCK, batch)
        store(units, 0, 2 * energies(batch, SUPER_BLOCK) / SUPER_BLOCK)
        weigh(batch, importance, first, SUPER_BLOCK, units, weights)
        for i in range(BATCH):
            _load_sub_blocks(batch, i * SUPER_BLOCK, xs)
            _load_sub_blocks(weights, i * SUPER_BLOCK, ws)
            store(sums, 16 * i, _sum(ws))
            scale, inverse = make_qx_quants(xs, ws, 16, 4)
            store(scales, 16 * i, scale)
            for e in range(16):
                code = smaller(larger(rint(inverse * xs[e]), -4), 3)
                store(codes, 256 * i + 16 * e, where(magnitude(inverse) > 0, code, -4))
        _search_signed_units(scales, sums, xs, ws, units)
        for i in range(count):
            at = (first + i) * Q3_K_BYTES
            fields = units[i], scales[16 * i :], codes[256 * i :], scratch
            _store_q3_k(out, at, batch, i * SUPER_BLOCK, fields)


@inlined
def _six_bit_scale(blocks: Any, at: int, j: int) -> Any:
    """The scale -32 … 31 of sub-block j from 12 packed bytes."""
    low = (blocks[at + (j & 7)] >> (4 * (j >> 3))) & 15
    high = (blocks[at + 8 + (j & 3)] >> (2 * (j >> 2))) & 3
    return np.float32(np.int32(low | (high << 4)) - 32)


@compiled
def _decode_q3_k(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // Q3_K_BYTES):
        at = b * Q3_K_BYTES
        d = load_half(blocks, at + Q3_K_D_AT)
        for j in range(16):
            half, row, column = j >> 3, (j >> 1) & 3, j & 1
            low = load_bytes(blocks, at + Q3_K_CODES_AT + 32 * half + 16 * column)
            high = load_bytes(blocks, at + 16 * column)
            codes = ((low >> (2 * row)) & 3) | (((high >> (4 * half + row)) & 1) << 2)
            scale = d * _six_bit_scale(blocks, at + Q3_K_SCALES_AT, j)
            store(out, b * SUPER_BLOCK + 16 * j, to_floats(codes - 4) * scale)


def encode_q2_k(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 84)."""
    if importance is not None:
        return parallel.encode_weighted(_encode_weighted_q2_k, FORMATS["Q2_K"], x, importance, threads)
    return parallel.encode(_encode_q2_k, FORMATS["Q2_K"], x, threads)


def decode_q2_k(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 84) -> float32 (n_blocks, 256)."""
    return parallel.decode(_decode_q2_k, FORMATS["Q2_K"], blocks, threads)


def encode_q3_k(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 110)."""
    if importance is not None:
        return parallel.encode_weighted(_encode_weighted_q3_k, FORMATS["Q3_K"], x, importance, threads)
    return parallel.encode(_encode_q3_k, FORMATS["Q3_K"], x, threads)


def decode_q3_k(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 110) -> float32 (n_blocks, 256)."""
    return parallel.decode(_decode_q3_k, FORMATS["Q3_K"], blocks, threads)
