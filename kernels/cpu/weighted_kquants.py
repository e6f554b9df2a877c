"""Q4_K, Q5_K and Q6_K with importance, compiled: what `kernels.cpu.kquants` calls where it is given.

Sixteen super-blocks go together: two at a time are searched for the scales and minima of their sub-blocks, one
sub-block per lane, then all sixteen for their d and dmin, one super-block per lane. The codes are those of
`kernels.cpu.kquants`.

Source: ggml-quants.c, quantize_row_q4_K_impl, quantize_row_q5_K_impl, quantize_row_q6_K_impl.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np

from kernels.codecs import WEIGHTED_AFFINE_SEARCHES
from kernels.cpu.batches import BATCH, energies, take, weigh
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.half import store_half
from kernels.cpu.kquants import (
    Q4_K_BYTES,
    Q5_K_BYTES,
    Q6_K_BYTES,
    SCALES_AT,
    SUPER_BLOCK,
    _store_q4_k,
    _store_q5_k,
    _store_q6_k,
    _store_q6_k_scales,
    _store_scales,
)
from kernels.cpu.lanes import advanced, load_columns, room, store, store_bytes
from kernels.cpu.vectors import splat, to_integers
from kernels.cpu.weighted import make_qkx3_quants, make_qp_quants, make_qx_quants

Q4_K_SEARCH, Q5_K_SEARCH = (astuple(WEIGHTED_AFFINE_SEARCHES[name]) for name in ("Q4_K", "Q5_K"))
# Scales, then minima, of a batch, 8 to a super-block; loads of 16 reach 8 beyond the last.
MINIMA_AT, FITTED = 8 * BATCH, 16 * BATCH + 8


@inlined
def _load_sub_blocks(x: Any, first: int, xs: Any) -> None:
    """The 8 + 8 sub-blocks of the two super-blocks that start at `first`, one per lane."""
    for half in range(2):
        start = first + 16 * half
        load_columns(x, start, start + SUPER_BLOCK, 32, advanced(xs, 16 * half))


@inlined
def _fit_batch(batch: Any, weights: Any, search: Any, rooms: Any, fitted: Any, sums: Any) -> None:
    """Scales and negated minima of the sub-blocks of 16 super-blocks, and the sums of their weights."""
    xs, ws, codes = rooms
    for pair in range(BATCH // 2):
        _load_sub_blocks(batch, 2 * pair * SUPER_BLOCK, xs)
        _load_sub_blocks(weights, 2 * pair * SUPER_BLOCK, ws)
        total = splat(0)
        for e in range(32):
            total += ws[e]
        store(sums, 16 * pair, total)
        scale, minimum, _, _ = make_qkx3_quants(xs, ws, codes, 32, search)
        store(fitted, 16 * pair, scale)
        store(fitted, MINIMA_AT + 16 * pair, 0 - minimum)


@inlined
def _search_units(fitted: Any, sums: Any, rooms: Any, units: Any, codes: Any) -> None:
    """Units, (2, 16), of scales and minima, and their codes, (2, 8, 16), one super-block per column."""
    xs, ws, found = rooms
    for kind in range(2):
        load_columns(fitted, MINIMA_AT * kind, MINIMA_AT * kind + 64, 8, xs)
        load_columns(sums, 0, 64, 8, ws)
        store(units, 16 * kind, make_qp_quants(xs, ws, found, 8, 63))
        for j in range(8):
            store_bytes(codes, 128 * kind + 16 * j, to_integers(found[j]))


@inlined
def _store_header(out: Any, at: int, units: Any, codes: Any, i: int, decoded: Any) -> None:
    """d, dmin and the packed scales of super-block i; decoded becomes the 8 scales and 8 minima of a decoder."""
    own = codes.reshape(2, 8, 16)[:, :, i]
    _store_scales(out, at + SCALES_AT, own[0], own[1])
    for kind in range(2):
        unit = store_half(out, at + 2 * kind, units[16 * kind + i])
        for j in range(8):
            decoded[8 * kind + j] = unit * np.float32(own[kind, j])


@compiled
def encode_q4_k(x: Any, importance: Any, out: Any) -> None:
    """Fill `out` with the blocks of whole rows, flat, given the importance of one row, flat."""
    rooms = room(32), room(32), room(32)
    batch, weights = np.empty(BATCH * SUPER_BLOCK, np.float32), np.empty(BATCH * SUPER_BLOCK, np.float32)
    fitted, sums = np.zeros(FITTED, np.float32), np.zeros(FITTED, np.float32)
    units, codes, decoded = np.empty(32, np.float32), np.empty(256, np.uint8), np.empty(16, np.float32)
    n_blocks = out.size // Q4_K_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        take(x, first, count, SUPER_BLOCK, batch)
        store(units, 0, 2 * energies(batch, SUPER_BLOCK) / SUPER_BLOCK)
        weigh(batch, importance, first, SUPER_BLOCK, units, weights)
        _fit_batch(batch, weights, Q4_K_SEARCH, rooms, fitted, sums)
        _search_units(fitted, sums, rooms, units, codes)
        for i in range(count):
            at = (first + i) * Q4_K_BYTES
            _store_header(out, at, units, codes, i, decoded)
            _store_q4_k(out, at, batch, i * SUPER_BLOCK, decoded, decoded[8:], 0)


@compiled
def encode_q5_k(x: Any, importance: Any, out: Any) -> None:
    """Fill `out` with the blocks of whole rows, flat, given the importance of one row, flat."""
    rooms = room(32), room(32), room(32)
    batch, weights = np.empty(BATCH * SUPER_BLOCK, np.float32), np.empty(BATCH * SUPER_BLOCK, np.float32)
    fitted, sums = np.zeros(FITTED, np.float32), np.zeros(FITTED, np.float32)
    units, codes, decoded = np.empty(32, np.float32), np.empty(256, np.uint8), np.empty(16, np.float32)
    n_blocks = out.size // Q5_K_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        take(x, first, count, SUPER_BLOCK, batch)
        store(units, 0, 2 * energies(batch, SUPER_BLOCK) / SUPER_BLOCK)
        weigh(batch, importance, first, SUPER_BLOCK, units, weights)
        _fit_batch(batch, weights, Q5_K_SEARCH, rooms, fitted, sums)
        _search_units(fitted, sums, rooms, units, codes)
        for i in range(count):
            at = (first + i) * Q5_K_BYTES
            _store_header(out, at, units, codes, i, decoded)
            _store_q5_k(out, at, batch, i * SUPER_BLOCK, decoded, decoded[8:], 0)


@compiled
def encode_q6_k(x: Any, importance: Any, out: Any) -> None:
    """Fill `out` with the blocks of whole rows, flat, given the importance of one row, flat, which is the weight."""
    xs, ws = room(16), room(32)
    scales = np.empty(16, np.float32)
    per_row = importance.size // SUPER_BLOCK
    for b in range(out.size // Q6_K_BYTES):
        start, at = b * SUPER_BLOCK, b * Q6_K_BYTES
        column = b % per_row * SUPER_BLOCK
        load_columns(x, start, start + 128, 16, xs)
        load_columns(importance, column, column + 128, 16, ws)
        scale, _ = make_qx_quants(xs, ws, 16, 32)
        store(scales, 0, scale)
        if _store_q6_k_scales(out, at, scales):
            _store_q6_k(out, at, x, start, scales)
        else:
            out[at : at + Q6_K_BYTES] = 0
