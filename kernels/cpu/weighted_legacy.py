"""Q4_0, Q4_1, Q5_0 and Q5_1 with importance, compiled: what `kernels.cpu.legacy` calls where it is given.

Blocks of 32, sixteen at a time, one per lane. The σ² in the weights is that of the whole row. The codes stay those of
the candidate that won; they are not rounded again.

Source: ggml-quants.c, quantize_row_q4_0_impl, quantize_row_q4_1_impl, quantize_row_q5_0_impl, quantize_row_q5_1_impl.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np

from kernels.codecs import WEIGHTED_AFFINE_SEARCHES
from kernels.cpu.batches import BATCH, take, weigh
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.half import store_half
from kernels.cpu.lanes import advanced, load, load_columns, room, store
from kernels.cpu.legacy import (
    BLOCK,
    Q4_0_BYTES,
    Q4_1_BYTES,
    Q5_0_BYTES,
    Q5_1_BYTES,
    _store_fifth_bits,
    _store_nibbles,
)
from kernels.cpu.vectors import larger, rint, smaller, splat, to_integers
from kernels.cpu.weighted import make_qkx3_quants, make_qx_quants

Q4_1_SEARCH, Q5_1_SEARCH = (astuple(WEIGHTED_AFFINE_SEARCHES[name]) for name in ("Q4_1", "Q5_1"))


@inlined
def _spreads_of_rows(x: Any, row_length: int) -> Any:
    """σ² = Σ x²/n of every row, added up one element after another as C does."""
    spreads = np.empty(x.size // row_length, np.float32)
    for row in range(spreads.size):
        total = np.float32(0)
        for i in range(row * row_length, (row + 1) * row_length):
            total += x[i] * x[i]
        spreads[row] = total / np.float32(row_length)
    return spreads


@inlined
def _load_blocks(batch: Any, xs: Any) -> None:
    """The 16 blocks of a batch, one per lane."""
    for half in range(2):
        load_columns(batch, 16 * half, 8 * BLOCK + 16 * half, BLOCK, advanced(xs, 16 * half))


@inlined
def _load_batch(x: Any, importance: Any, span: tuple[int, int], spreads: Any, scratch: Any, rooms: Any) -> None:
    """Blocks first … first + count - 1 and their weights into lanes; the blocks stay in scratch."""
    first, count = span
    batch, weights, own = scratch
    xs, ws = rooms
    per_row = importance.size // BLOCK
    take(x, first, count, BLOCK, batch)
    for i in range(BATCH):
        own[i] = spreads[min((first + i) // per_row, spreads.size - 1)]
    weigh(batch, importance, first, BLOCK, own, weights)
    _load_blocks(batch, xs)
    _load_blocks(weights, ws)


@inlined
def _symmetric_codes(batch: Any, start: int, inverse: Any, levels: int) -> Any:
    """Codes 0 … 2·levels-1 of 16 elements; 0 in a block of zeros, which has no scale."""
    if inverse == 0:
        return to_integers(splat(0))
    return to_integers(smaller(larger(rint(inverse * load(batch, start)), -levels), levels - 1) + levels)


@inlined
def _affine_codes(batch: Any, start: int, inverse: Any, origin: Any, nmax: int) -> Any:
    """Codes 0 … nmax of 16 elements measured from `origin`."""
    return to_integers(smaller(larger(rint(inverse * (load(batch, start) - origin)), 0), nmax))


@compiled
def encode_q4_0(x: Any, importance: Any, out: Any) -> None:
    """Fill `out` with the blocks of whole rows, flat, given the importance of one row, flat."""
    rooms = room(32), room(64)
    scratch = np.empty(BATCH * BLOCK, np.float32), np.empty(BATCH * BLOCK, np.float32), np.empty(16, np.float32)
    scales, inverses = np.empty(16, np.float32), np.empty(16, np.float32)
    spreads = _spreads_of_rows(x, importance.size)
    n_blocks = out.size // Q4_0_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), spreads, scratch, rooms)
        scale, inverse = make_qx_quants(rooms[0], rooms[1], BLOCK, 8)
        store(scales, 0, scale)
        store(inverses, 0, inverse)
        for i in range(count):
            start, at = BLOCK * i, Q4_0_BYTES * (first + i)
            store_half(out, at, scales[i])
            low = _symmetric_codes(scratch[0], start, inverses[i], 8)
            _store_nibbles(out, at + 2, low, _symmetric_codes(scratch[0], start + 16, inverses[i], 8))


@compiled
def encode_q5_0(x: Any, importance: Any, out: Any) -> None:
    """Fill `out` with the blocks of whole rows, flat, given the importance of one row, flat."""
    rooms = room(32), room(64)
    scratch = np.empty(BATCH * BLOCK, np.float32), np.empty(BATCH * BLOCK, np.float32), np.empty(16, np.float32)
    scales, inverses = np.empty(16, np.float32), np.empty(16, np.float32)
    spreads = _spreads_of_rows(x, importance.size)
    n_blocks = out.size // Q5_0_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), spreads, scratch, rooms)
        scale, inverse = make_qx_quants(rooms[0], rooms[1], BLOCK, 16)
        store(scales, 0, scale)
        store(inverses, 0, inverse)
        for i in range(count):
            start, at = BLOCK * i, Q5_0_BYTES * (first + i)
            store_half(out, at, scales[i])
            low = _symmetric_codes(scratch[0], start, inverses[i], 16)
            high = _symmetric_codes(scratch[0], start + 16, inverses[i], 16)
            _store_fifth_bits(out, at + 2, low, high)
            _store_nibbles(out, at + 6, low, high)


@inlined
def _fit_affine(rooms: Any, codes: Any, search: Any, fitted: Any) -> None:
    """Scales, minima, and what the codes are multiplied by and measured from, of 16 blocks; fitted (4, 16), flat."""
    scale, minimum, inverse, origin = make_qkx3_quants(rooms[0], rooms[1], codes, BLOCK, search)
    store(fitted, 0, scale)
    store(fitted, 16, minimum)
    store(fitted, 32, inverse)
    store(fitted, 48, origin)


@compiled
def encode_q4_1(x: Any, importance: Any, out: Any) -> None:
    """Fill `out` with the blocks of whole rows, flat, given the importance of one row, flat."""
    rooms, codes = (room(32), room(32)), room(32)
    scratch = np.empty(BATCH * BLOCK, np.float32), np.empty(BATCH * BLOCK, np.float32), np.empty(16, np.float32)
    fitted = np.empty(64, np.float32)
    spreads = _spreads_of_rows(x, importance.size)
    n_blocks = out.size // Q4_1_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), spreads, scratch, rooms)
        _fit_affine(rooms, codes, Q4_1_SEARCH, fitted)
        for i in range(count):
            start, at = BLOCK * i, Q4_1_BYTES * (first + i)
            inverse, origin = fitted[32 + i], fitted[48 + i]
            store_half(out, at, fitted[i])
            store_half(out, at + 2, fitted[16 + i])
            low = _affine_codes(scratch[0], start, inverse, origin, 15)
            _store_nibbles(out, at + 4, low, _affine_codes(scratch[0], start + 16, inverse, origin, 15))


@compiled
def encode_q5_1(x: Any, importance: Any, out: Any) -> None:
    """Fill `out` with the blocks of whole rows, flat, given the importance of one row, flat."""
    rooms, codes = (room(32), room(32)), room(32)
    scratch = np.empty(BATCH * BLOCK, np.float32), np.empty(BATCH * BLOCK, np.float32), np.empty(16, np.float32)
    fitted = np.empty(64, np.float32)
    spreads = _spreads_of_rows(x, importance.size)
    n_blocks = out.size // Q5_1_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), spreads, scratch, rooms)
        _fit_affine(rooms, codes, Q5_1_SEARCH, fitted)
        for i in range(count):
            start, at = BLOCK * i, Q5_1_BYTES * (first + i)
            inverse, origin = fitted[32 + i], fitted[48 + i]
            store_half(out, at, fitted[i])
            store_half(out, at + 2, fitted[16 + i])
            low = _affine_codes(scratch[0], start, inverse, origin, 31)
            high = _affine_codes(scratch[0], start + 16, inverse, origin, 31)
            _store_fifth_bits(out, at + 4, low, high)
            _store_nibbles(out, at + 8, low, high)
