"""IQ1_S and IQ1_M, compiled: 8 weights are one point of a grid of 2048 vectors of -1, 0 and 1, all shifted by ±1/8.

Layouts are described in kernels.reference.iq1. A group's scale and shifts are those of the candidate with the most
(Σ w·x·q)² / Σ w·q², q being the weights rounded to -1, 0 and 1 off the grid; ggml tries all ways to cut the sorted
weights in three. d is fitted to the rounded scales, each weighed by its Σ w·q². Of what ggml then makes it larger, 12.5
or 11.25 %, a fourth is kept, for the points are searched for with the scales as stored: the whole grid, with the
weights of the errors.

Source: ggml-quants.c, quantize_row_iq1_s_impl, quantize_row_iq1_m_impl and their dequantize_row twins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.blocks import FORMATS
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.gather import gather
from kernels.cpu.grid_search import (
    SMALLEST,
    SMALLEST_PART,
    TOO_LARGE,
    decode_grid,
    encode_blocks,
    load_groups,
    mean_squares,
    normalize,
    search_points,
    tables,
    weigh,
)
from kernels.cpu.half import half_bits, half_value, load_half, store_half
from kernels.cpu.lanes import load, room, store, store_bytes
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import larger, magnitude, muladd, splat, to_integers, where

SUPER_BLOCK = 256
S_BYTES, M_BYTES = FORMATS["IQ1_S"].bytes, FORMATS["IQ1_M"].bytes
S_GROUP, M_GROUP = 32, 16
SHIFT = 0.125
SPREAD, LEVEL = 2.0, 0.1  # of the weights of errors, in mean squares of a super-block
TOP_MULTIPLE = 15  # the largest scale of a super-block over this becomes half a step: 2·7 + 1 of them
S_FACTOR, M_FACTOR = 1.03, 1.03  # of d, beyond what fits the codes best
S_STRETCHES = tuple(1.0 * 1.13**k for k in range(12))
M_STRETCHES = tuple(1.1 * 1.2**k for k in range(5))
# Where fields begin.
S_HIGH_AT, M_HIGH_AT, M_SCALES_AT = 34, 32, 48


@inlined
def _sums(xs: Any, ws: Any, first: int, inverse: Any, shift: float) -> tuple[Any, Any]:
    """Σ w·x·q and Σ w·q² of 8 weights, rounded to -1, 0 and 1 plus `shift`, off the grid or on it."""
    sum_qx, sum_q2 = splat(0), splat(0)
    for i in range(first, first + 8):
        level = xs[i] * inverse
        q = where(level > shift + 0.5, shift + 1, where(level > shift - 0.5, shift, shift - 1))
        weighted = ws[i] * q
        sum_qx = muladd(weighted, xs[i], sum_qx)
        sum_q2 = muladd(weighted, q, sum_q2)
    return sum_qx, sum_q2


@inlined
def _better(sum_qx: Any, sum_q2: Any, found: Any) -> tuple[Any, Any, Any]:
    """(score, scale) of the sums where their score is above that of `found`, and where that is."""
    best, scale = found
    tried = sum_qx / sum_q2
    score = where((sum_q2 > 0) & (sum_qx > 0), tried * sum_qx, 0)
    better = score > best
    return where(better, score, best), where(better, tried, scale), better


@inlined
def _largest(xs: Any, group: int) -> Any:
    most = splat(0)
    for e in range(group):
        most = larger(magnitude(xs[e]), most)
    return most


@inlined
def _best_of_s(xs: Any, ws: Any, stretches: Any, shifts: Any) -> tuple[Any, Any]:
    """Scales of groups of 32 and their Σ w·q²; shifts[0 … 3] become their shifts."""
    most = _largest(xs, S_GROUP)
    reciprocal = where(most > SMALLEST_PART, 1 / most, 0)
    best, scale, energy, shift = splat(0), most, splat(0), splat(SHIFT)
    for trial in range(2 * stretches.size):
        tried_shift = SHIFT if trial & 1 else -SHIFT
        inverse = stretches[trial >> 1] * reciprocal
        sum_qx, sum_q2 = splat(0), splat(0)
        for k in range(4):
            of_eight = _sums(xs, ws, 8 * k, inverse, tried_shift)
            sum_qx, sum_q2 = sum_qx + of_eight[0], sum_q2 + of_eight[1]
        best, scale, better = _better(sum_qx, sum_q2, (best, scale))
        energy, shift = where(better, sum_q2, energy), where(better, tried_shift, shift)
    for k in range(4):
        shifts[k] = shift
    return where(most > SMALLEST_PART, scale, 0), energy


@inlined
def _best_of_m(xs: Any, ws: Any, stretches: Any, shifts: Any) -> tuple[Any, Any]:
    """Scales of groups of 16 and their Σ w·q²; shifts[0] and shifts[1] become the shifts of their halves."""
    most = _largest(xs, M_GROUP)
    reciprocal = where(most > SMALLEST_PART, 1 / most, 0)
    best, scale, energy = splat(0), most, splat(0)
    shifts[0], shifts[1] = splat(SHIFT), splat(SHIFT)
    for trial in range(stretches.size):
        inverse = stretches[trial] * reciprocal
        first = _sums(xs, ws, 0, inverse, SHIFT), _sums(xs, ws, 0, inverse, -SHIFT)
        second = _sums(xs, ws, 8, inverse, SHIFT), _sums(xs, ws, 8, inverse, -SHIFT)
        for choice in range(4):
            a, b = first[choice & 1], second[choice >> 1]
            best, scale, better = _better(a[0] + b[0], a[1] + b[1], (best, scale))
            energy = where(better, a[1] + b[1], energy)
            shifts[0] = where(better, -SHIFT if choice & 1 else SHIFT, shifts[0])
            shifts[1] = where(better, -SHIFT if choice >> 1 else SHIFT, shifts[1])
    return where(most > SMALLEST_PART, scale, 0), energy


@inlined
def _multiple(scale: Any, unit: Any) -> Any:
    """The code 0 … 7 of the multiple 1, 3 … 15 of a unit above 0 that is nearest to a scale."""
    code = np.rint((scale / unit - np.float32(1)) * np.float32(0.5))
    return min(max(code, np.float32(0)), np.float32(7))


@inlined
def _round_scales(scales: Any, energies: Any, per_block: int, factor: float, rooms: Any) -> None:
    """scales[lane] becomes 1, 3 … 15 times units[lane], a unit of its super-block; multiples[lane] says which.

    The unit is the one that fits the multiples best, each weighed by Σ w·q² of its group, times `factor`.
    """
    multiples, units = rooms
    for first in range(0, 16, per_block):
        most, sum_qx, sum_q2 = np.float32(0), np.float32(0), np.float32(0)
        for lane in range(first, first + per_block):
            most = max(most, scales[lane])
        unit = most / np.float32(TOP_MULTIPLE)
        for lane in range(first, first + per_block):
            code = _multiple(scales[lane], unit) if most > 0 else np.float32(0)
            multiples[lane] = np.uint8(code)
            weighted = (2 * code + 1) * energies[lane]
            sum_qx += weighted * scales[lane]
            sum_q2 += weighted * (2 * code + 1)
        unit = np.float32(factor) * (sum_qx / sum_q2 if sum_q2 > 0 else np.float32(0))
        for lane in range(first, first + per_block):
            units[lane] = unit
            scales[lane] = np.float32(2 * multiples[lane] + 1) * unit


@inlined
def _take(given: Any, starts: tuple[int, int], columns: tuple[int, int], group: int, rooms: Any) -> None:
    """16 groups, normalized, and the weights of their errors; norms[lane] become the norms of super-blocks."""
    x, importance = given
    xs, ws, norms, sums = rooms
    load_groups(x, starts, group, xs)
    if importance.size:
        load_groups(importance, columns, group, ws)
    mean = mean_squares(normalize(xs, group, norms), group, sums)
    weigh(xs, ws, group, importance.size > 0, mean * np.float32(SPREAD), mean * np.float32(LEVEL))


@inlined
def _find_points(xs: Any, ws: Any, count: int, shifts: Any, scale: Any, grid: Any, fields: Any) -> None:
    """The best points of `count` vectors: low[16·k + lane], high[…], the bits of their indices, and down[…]."""
    low, high, down = fields
    errors = room(81), room(81)
    for k in range(count):
        shift = shifts[k]
        for i in range(8 * k, 8 * k + 8):
            xs[i] = xs[i] - scale * shift
        index = gather(grid[4], search_points(xs, ws, 8 * k, 8, scale, grid, errors))
        store_bytes(low, 16 * k, index & 255)
        store_bytes(high, 16 * k, index >> 8)
        store_bytes(down, 16 * k, to_integers(where(shift < 0, 1, 0)))


@inlined
def _store_s(out: Any, at: int, lane: int, fields: Any, multiples: Any) -> None:
    low, high, down = fields
    for g in range(8):
        bits = np.int64(multiples[lane + g]) << 12 | np.int64(down[lane + g]) << 15
        for k in range(4):
            out[at + 2 + 4 * g + k] = low[16 * k + lane + g]
            bits |= np.int64(high[16 * k + lane + g]) << (3 * k)
        out[at + S_HIGH_AT + 2 * g] = bits & 255
        out[at + S_HIGH_AT + 2 * g + 1] = bits >> 8


@inlined
def _store_m(out: Any, at: int, d: Any, fields: Any, multiples: Any) -> None:
    low, high, down = fields
    for g in range(16):
        out[at + 2 * g], out[at + 2 * g + 1] = low[g], low[16 + g]
        out[at + M_HIGH_AT + g] = high[g] | (down[g] << 3) | (high[16 + g] << 4) | (down[16 + g] << 7)
    bits = np.int64(half_bits(d))
    for i in range(4):
        word = ((bits >> (4 * i)) & 15) << 12
        for k in range(4):
            word |= np.int64(multiples[4 * i + k]) << (3 * k)
        out[at + M_SCALES_AT + 2 * i] = word & 255
        out[at + M_SCALES_AT + 2 * i + 1] = word >> 8


@compiled
def _encode_iq1_s(x: Any, importance: Any, grid: Any, out: Any) -> None:
    xs, ws, shifts = room(32), room(32), room(4)
    norms, sums = np.empty(16, np.float32), np.empty(16, np.float32)
    scales, units = np.empty(16, np.float32), np.empty(16, np.float32)
    multiples = np.empty(16, np.uint8)
    fields = np.empty(64, np.uint8), np.empty(64, np.uint8), np.empty(64, np.uint8)
    n_blocks, per_row = out.size // S_BYTES, max(1, importance.size // SUPER_BLOCK)
    for b in range(0, n_blocks, 2):
        last = min(b + 1, n_blocks - 1)
        starts = b * SUPER_BLOCK, last * SUPER_BLOCK
        columns = b % per_row * SUPER_BLOCK, last % per_row * SUPER_BLOCK
        _take((x, importance), starts, columns, S_GROUP, (xs, ws, norms, sums))
        scale, energy = _best_of_s(xs, ws, grid[6], shifts)
        store(scales, 0, scale)
        store(sums, 0, energy)
        _round_scales(scales, sums, 8, S_FACTOR, (multiples, units))
        _find_points(xs, ws, 4, shifts, load(scales, 0), grid, fields)
        for i in range(b, last + 1):
            lane, at = 8 * (i - b), i * S_BYTES
            if not (SMALLEST < norms[lane] < TOO_LARGE and units[lane] > 0):
                out[at : at + S_BYTES] = 0
                continue
            store_half(out, at, norms[lane] * units[lane])
            _store_s(out, at, lane, fields, multiples)


@compiled
def _encode_iq1_m(x: Any, importance: Any, grid: Any, out: Any) -> None:
    xs, ws, shifts = room(16), room(16), room(2)
    norms, sums = np.empty(16, np.float32), np.empty(16, np.float32)
    scales, units = np.empty(16, np.float32), np.empty(16, np.float32)
    multiples = np.empty(16, np.uint8)
    fields = np.empty(32, np.uint8), np.empty(32, np.uint8), np.empty(32, np.uint8)
    per_row = max(1, importance.size // SUPER_BLOCK)
    for b in range(out.size // M_BYTES):
        start, column, at = b * SUPER_BLOCK, b % per_row * SUPER_BLOCK, b * M_BYTES
        _take((x, importance), (start, start + 128), (column, column + 128), M_GROUP, (xs, ws, norms, sums))
        scale, energy = _best_of_m(xs, ws, grid[6], shifts)
        store(scales, 0, scale)
        store(sums, 0, energy)
        _round_scales(scales, sums, 16, M_FACTOR, (multiples, units))
        if not (SMALLEST < norms[0] < TOO_LARGE and units[0] > 0):
            out[at : at + M_BYTES] = 0
            continue
        _find_points(xs, ws, 2, shifts, load(scales, 0), grid, fields)
        _store_m(out, at, norms[0] * units[0], fields, multiples)


@inlined
def _store_values(values: Any, point: Any, scale: Any, down: Any, out: Any, to: int) -> None:
    """out[to …] = scale·(values of a point ± 1/8)."""
    shift = np.float32(-SHIFT) if down else np.float32(SHIFT)
    for i in range(8):
        out[to + i] = scale * (values[8 * point + i] + shift)


@compiled
def _decode_iq1_s(blocks: Any, values: Any, out: Any) -> None:
    for b in range(blocks.size // S_BYTES):
        at = b * S_BYTES
        d = load_half(blocks, at)
        for g in range(8):
            high = np.int64(blocks[at + S_HIGH_AT + 2 * g]) | np.int64(blocks[at + S_HIGH_AT + 2 * g + 1]) << 8
            scale = d * np.float32(2 * ((high >> 12) & 7) + 1)
            for k in range(4):
                point = blocks[at + 2 + 4 * g + k] | ((high >> (3 * k)) & 7) << 8
                _store_values(values, point, scale, high >> 15, out, b * SUPER_BLOCK + 32 * g + 8 * k)


@compiled
def _decode_iq1_m(blocks: Any, values: Any, out: Any) -> None:
    words = np.empty(4, np.int64)
    for b in range(blocks.size // M_BYTES):
        at = b * M_BYTES
        bits = 0
        for i in range(4):
            low, high = blocks[at + M_SCALES_AT + 2 * i], blocks[at + M_SCALES_AT + 2 * i + 1]
            words[i] = np.int64(low) | np.int64(high) << 8
            bits |= (words[i] >> 12) << (4 * i)
        d = half_value(np.uint16(bits))
        for k in range(32):
            multiple = (words[k >> 3] >> (3 * ((k >> 1) & 3))) & 7
            high = (np.int64(blocks[at + M_HIGH_AT + (k >> 1)]) >> (4 * (k & 1))) & 15
            point = blocks[at + k] | (high & 7) << 8
            _store_values(values, point, d * np.float32(2 * multiple + 1), high >> 3, out, b * SUPER_BLOCK + 8 * k)


def encode_iq1_s(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 50).

    Raises ValueError where there is no importance.
    """
    return encode_blocks("IQ1_S", _encode_iq1_s, tables("IQ1_S", 1.0, S_STRETCHES), (x, importance), threads)


def decode_iq1_s(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 50) -> float32 (n_blocks, 256)."""
    return decode_grid("IQ1_S", _decode_iq1_s, blocks, threads)


def encode_iq1_m(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 56)."""
    return encode_blocks("IQ1_M", _encode_iq1_m, tables("IQ1_S", 1.0, M_STRETCHES), (x, importance), threads)


def decode_iq1_m(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 56) -> float32 (n_blocks, 256)."""
    return decode_grid("IQ1_M", _decode_iq1_m, blocks, threads)
