"""IQ4_NL and IQ4_XS, compiled: 16 uneven levels, blocks of 32, one block (or sub-block) per lane in the search.

The scale is that of the largest (Σ w·q·x)² / Σ w·q² among 16 candidates, q being the levels nearest to the weights;
w is x² without importance. The codes are found once more from the scale that won, with 16 neighbouring elements in the
lanes. Sums run one element after another, as in C, so the same candidate wins as in ggml.

Source: ggml-quants.c, quantize_row_iq4_nl_impl as quantize_iq4_nl and quantize_iq4_xs call it; ggml-common.h,
kvalues_iq4nl.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from kernels.blocks import FORMATS
from kernels.codecs import NONLINEAR_VALUES
from kernels.cpu import parallel
from kernels.cpu.batches import BATCH, energies, take, weigh
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.half import load_half, store_half
from kernels.cpu.lanes import advanced, load, load_bytes, load_columns, room, store, store_bytes
from kernels.cpu.lookup import stairs_of_codes, stairs_of_floats
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import splat, to_floats, where
from kernels.cpu.weighted import GROUP_MAX_EPS, extremes

BLOCK, SUPER_BLOCK = 32, 256
IQ4_NL_BYTES, IQ4_XS_BYTES = FORMATS["IQ4_NL"].bytes, FORMATS["IQ4_XS"].bytes
# Where the fields of a block begin.
IQ4_NL_CODES_AT = 2
IQ4_XS_HIGH_AT, IQ4_XS_LOW_AT, IQ4_XS_CODES_AT = 2, 4, 8

LOWEST = NONLINEAR_VALUES[0]
MIDDLES = [(a + b) / 2 for a, b in pairwise(NONLINEAR_VALUES)]
CANDIDATES = 7  # to either side of the scale that puts the extreme on the lowest level
nearest_level = stairs_of_floats(">=", MIDDLES, NONLINEAR_VALUES)
nearest_code = stairs_of_floats(">=", MIDDLES, range(16))
level_of_code = stairs_of_codes(NONLINEAR_VALUES)


@inlined
def _sums_of_levels(xs: Any, ws: Any, inverse: Any) -> tuple[Any, Any]:
    """Σ w·q·x and Σ w·q² of the levels q nearest to x·inverse."""
    sum_qx, sum_q2 = splat(0), splat(0)
    for e in range(BLOCK):
        x = xs[e]
        level = to_floats(nearest_level(inverse * x))
        weighted = ws[e] * level
        sum_qx += weighted * x
        sum_q2 += weighted * level
    return sum_qx, sum_q2


@inlined
def _search(xs: Any, ws: Any) -> Any:
    """Signed scales of 16 blocks of 32; 0 for blocks of zeros."""
    extreme, most = extremes(xs, BLOCK)
    scale, best = splat(0), splat(0)
    for k in range(2 * CANDIDATES + 2):
        # First the scale whose extreme is on the opposite level, then those around the lowest one.
        levels = np.float32(k - 1 - CANDIDATES + LOWEST)
        inverse = levels / extreme if k > 0 else 1 / (extreme / np.float32(-LOWEST))
        sum_qx, sum_q2 = _sums_of_levels(xs, ws, inverse)
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        scale = where(better, sum_qx / sum_q2, scale)
        best = where(better, scale * sum_qx, best)
    return where(most < GROUP_MAX_EPS, 0, scale)


@inlined
def _store_codes(out: Any, at: int, x: Any, start: int, scale: Any) -> None:
    """16 bytes of the codes of 32 elements for a float32 scale; those of zeros where the scale is 0."""
    inverse = np.float32(1) / scale if scale != 0 else np.float32(0)
    first, second = nearest_code(load(x, start) * inverse), nearest_code(load(x, start + 16) * inverse)
    store_bytes(out, at, first | (second << 4))


@inlined
def _load_blocks(x: Any, first: int, second: int, xs: Any) -> None:
    """Eight blocks of 32 from `first` on and eight from `second` on, one per lane."""
    for half in range(2):
        load_columns(x, first + 16 * half, second + 16 * half, BLOCK, advanced(xs, 16 * half))


@inlined
def _square(xs: Any, ws: Any) -> None:
    """The weights x² of blocks without importance."""
    for e in range(BLOCK):
        ws[e] = xs[e] * xs[e]


@inlined
def _store_iq4_nl(out: Any, first: int, count: int, batch: Any, scales: Any) -> None:
    for i in range(count):
        at = (first + i) * IQ4_NL_BYTES
        store_half(out, at, scales[i])
        _store_codes(out, at + IQ4_NL_CODES_AT, batch, i * BLOCK, scales[i])


@compiled
def _encode_iq4_nl(x: Any, out: Any) -> None:
    xs, ws = room(32), room(32)
    batch, scales = np.empty(BATCH * BLOCK, np.float32), np.empty(16, np.float32)
    n_blocks = out.size // IQ4_NL_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        take(x, first, count, BLOCK, batch)
        _load_blocks(batch, 0, 8 * BLOCK, xs)
        _square(xs, ws)
        store(scales, 0, _search(xs, ws))
        _store_iq4_nl(out, first, count, batch, scales)


@compiled
def _encode_weighted_iq4_nl(x: Any, importance: Any, out: Any) -> None:
    xs, ws = room(32), room(32)
    batch, weights = np.empty(BATCH * BLOCK, np.float32), np.empty(BATCH * BLOCK, np.float32)
    scales = np.empty(16, np.float32)
    n_blocks = out.size // IQ4_NL_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        take(x, first, count, BLOCK, batch)
        store(scales, 0, 2 * energies(batch, BLOCK) / BLOCK)
        weigh(batch, importance, first, BLOCK, scales, weights)
        _load_blocks(batch, 0, 8 * BLOCK, xs)
        _load_blocks(weights, 0, 8 * BLOCK, ws)
        store(scales, 0, _search(xs, ws))
        _store_iq4_nl(out, first, count, batch, scales)


@compiled
def _decode_iq4_nl(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // IQ4_NL_BYTES):
        d = load_half(blocks, IQ4_NL_BYTES * b)
        codes = load_bytes(blocks, IQ4_NL_BYTES * b + IQ4_NL_CODES_AT)
        store(out, BLOCK * b, to_floats(level_of_code(codes & 15)) * d)
        store(out, BLOCK * b + 16, to_floats(level_of_code(codes >> 4)) * d)


@inlined
def _store_iq4_xs(out: Any, at: int, x: Any, start: int, scales: Any) -> None:
    """One super-block from the float32 scales (8,) of its sub-blocks: the extreme one becomes -32 times d."""
    extreme = np.float32(0)
    for j in range(8):
        if abs(scales[j]) > abs(extreme):
            extreme = scales[j]
    d = -extreme / np.float32(32)
    store_half(out, at, d)
    inverse = np.float32(1) / d if d != 0 else np.float32(0)
    high = np.int64(0)
    for j in range(8):
        multiple = max(np.float32(-32), min(np.float32(31), np.rint(inverse * scales[j])))
        code = np.int64(multiple) + 32
        low = (code & 15) << (4 * (j & 1))
        out[at + IQ4_XS_LOW_AT + (j >> 1)] = low if j & 1 == 0 else out[at + IQ4_XS_LOW_AT + (j >> 1)] | low
        high |= (code >> 4) << (2 * j)
        _store_codes(out, at + IQ4_XS_CODES_AT + 16 * j, x, start + BLOCK * j, d * multiple)
    out[at + IQ4_XS_HIGH_AT] = high & 255
    out[at + IQ4_XS_HIGH_AT + 1] = high >> 8


@compiled
def _encode_iq4_xs(x: Any, out: Any) -> None:
    xs, ws = room(32), room(32)
    scales = np.empty(16, np.float32)
    n_blocks = out.size // IQ4_XS_BYTES
    for b in range(0, n_blocks, 2):
        last = min(b + 1, n_blocks - 1)
        _load_blocks(x, b * SUPER_BLOCK, last * SUPER_BLOCK, xs)
        _square(xs, ws)
        store(scales, 0, _search(xs, ws))
        for i in range(b, last + 1):
            own = scales[8 * (i - b) : 8 * (i - b) + 8]
            _store_iq4_xs(out, i * IQ4_XS_BYTES, x, i * SUPER_BLOCK, own)


@compiled
def _encode_weighted_iq4_xs(x: Any, importance: Any, out: Any) -> None:
    xs, ws = room(32), room(32)
    batch, weights = np.empty(BATCH * SUPER_BLOCK, np.float32), np.empty(BATCH * SUPER_BLOCK, np.float32)
    spreads, scales = np.empty(16, np.float32), np.empty(16, np.float32)
    n_blocks = out.size // IQ4_XS_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        take(x, first, count, SUPER_BLOCK, batch)
        store(spreads, 0, 2 * energies(batch, SUPER_BLOCK) / SUPER_BLOCK)
        weigh(batch, importance, first, SUPER_BLOCK, spreads, weights)
        for b in range(0, count, 2):
            _load_blocks(batch, b * SUPER_BLOCK, (b + 1) * SUPER_BLOCK, xs)
            _load_blocks(weights, b * SUPER_BLOCK, (b + 1) * SUPER_BLOCK, ws)
            store(scales, 0, _search(xs, ws))
            for i in range(b, min(b + 2, count)):
                own = scales[8 * (i - b) : 8 * (i - b) + 8]
                _store_iq4_xs(out, (first + i) * IQ4_XS_BYTES, batch, i * SUPER_BLOCK, own)


@compiled
def _decode_iq4_xs(blocks: Any, out: Any) -> None:
    for b in range(blocks.size // IQ4_XS_BYTES):
        at = b * IQ4_XS_BYTES
        d = load_half(blocks, at)
        high = np.int64(blocks[at + IQ4_XS_HIGH_AT]) | (np.int64(blocks[at + IQ4_XS_HIGH_AT + 1]) << 8)
        for j in range(8):
            low = (np.int64(blocks[at + IQ4_XS_LOW_AT + (j >> 1)]) >> (4 * (j & 1))) & 15
            scale = d * np.float32((low | (((high >> (2 * j)) & 3) << 4)) - 32)
            codes = load_bytes(blocks, at + IQ4_XS_CODES_AT + 16 * j)
            store(out, b * SUPER_BLOCK + BLOCK * j, to_floats(level_of_code(codes & 15)) * scale)
            store(out, b * SUPER_BLOCK + BLOCK * j + 16, to_floats(level_of_code(codes >> 4)) * scale)


def encode_iq4_nl(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 18)."""
    if importance is not None:
        return parallel.encode_weighted(_encode_weighted_iq4_nl, FORMATS["IQ4_NL"], x, importance, threads)
    return parallel.encode(_encode_iq4_nl, FORMATS["IQ4_NL"], x, threads)


def decode_iq4_nl(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 18) -> float32 (n_blocks, 32)."""
    return parallel.decode(_decode_iq4_nl, FORMATS["IQ4_NL"], blocks, threads)


def encode_iq4_xs(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 136)."""
    if importance is not None:
        return parallel.encode_weighted(_encode_weighted_iq4_xs, FORMATS["IQ4_XS"], x, importance, threads)
    return parallel.encode(_encode_iq4_xs, FORMATS["IQ4_XS"], x, threads)


def decode_iq4_xs(blocks: Bytes, threads: int = 0) -> Floats:
    """uint8 (n_blocks, 136) -> float32 (n_blocks, 256)."""
    return parallel.decode(_decode_iq4_xs, FORMATS["IQ4_XS"], blocks, threads)
