"""Q2_K to Q6_K at the level "best", compiled: the blocks of the fast search, improved in place.

One sub-block per lane: a super-block of Q2_K, Q3_K and Q6_K at a time, two of Q4_K and Q5_K. A block is written anew
only where its error is less than before. Search and layouts are those of kernels.reference.best_super_blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.best_search import SPREADS, WINDOW_SEARCHES
from kernels.blocks import FORMATS
from kernels.cpu import kquants, kquants_small, parallel
from kernels.cpu.batches import BATCH, energies, take, weigh
from kernels.cpu.best_search import constants, is_less, refine_multiples
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.half import load_half, store_half
from kernels.cpu.kquants import (
    Q4_K_BYTES,
    Q5_K_BYTES,
    Q6_K_BYTES,
    Q6_K_D_AT,
    Q6_K_SCALES_AT,
    SCALES_AT,
    SUPER_BLOCK,
    _scale_and_minimum,
    _store_q4_k,
    _store_q5_k,
    _store_q6_k,
    _store_scales,
)
from kernels.cpu.kquants_small import (
    Q2_K_BYTES,
    Q2_K_D_AT,
    Q2_K_MINIMUM_AT,
    Q3_K_BYTES,
    Q3_K_D_AT,
    Q3_K_SCALES_AT,
    _six_bit_scale,
    _store_q2_k,
    _store_q3_k,
)
from kernels.cpu.lanes import advanced, load, load_bytes, load_columns, load_signed_bytes, room, store, store_bytes
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import to_floats, to_integers

# Constants of the compiled code.
Q2_K_SEARCH, Q3_K_SEARCH, Q4_K_SEARCH, Q5_K_SEARCH, Q6_K_SEARCH = (
    constants(WINDOW_SEARCHES[name]) for name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
)
Q2_K_SPREAD, Q3_K_SPREAD, Q4_K_SPREAD, Q5_K_SPREAD, Q6_K_SPREAD = (
    SPREADS[name] for name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
)


@inlined
def _scratch() -> tuple[Any, Any]:
    """Room for the weights of 16 super-blocks and for what their errors count."""
    return np.empty(BATCH * SUPER_BLOCK, np.float32), np.empty(BATCH * SUPER_BLOCK, np.float32)


@inlined
def _state() -> tuple[Any, Any, Any]:
    """Room for what the lanes have: halves, multiples (scales, then minima), errors (before, then after)."""
    return np.zeros(32, np.float32), np.zeros(32, np.float32), np.empty(32, np.float32)


@inlined
def _load_batch(x: Any, importance: Any, span: tuple[int, int], spread: float, scratch: Any) -> None:
    """Super-blocks first … first + count - 1 and what their errors count, zeros behind the last."""
    batch, weights = scratch
    spreads = np.empty(16, np.float32)
    take(x, span[0], span[1], SUPER_BLOCK, batch)
    store(spreads, 0, spread * energies(batch, SUPER_BLOCK) / SUPER_BLOCK)
    weigh(batch, importance, span[0], SUPER_BLOCK, spreads, weights)


@inlined
def _load_16(scratch: Any, i: int, rooms: Any) -> None:
    """The 16 sub-blocks of super-block i and their weights, one per lane."""
    for kind in range(2):
        load_columns(scratch[kind], i * SUPER_BLOCK, i * SUPER_BLOCK + 128, 16, rooms[kind])


@inlined
def _load_8(scratch: Any, i: int, rooms: Any) -> None:
    """The 8 + 8 sub-blocks of super-blocks i and i + 1 and their weights, one per lane."""
    for kind in range(2):
        for half in range(2):
            start = i * SUPER_BLOCK + 16 * half
            load_columns(scratch[kind], start, start + SUPER_BLOCK, 32, advanced(rooms[kind], 16 * half))


# Q2_K


@inlined
def _improve_one_q2_k(out: Any, at: int, batch: Any, start: int, rooms: Any, state: Any) -> None:
    halves, multiples, errors = state
    halves[:16], halves[16:] = load_half(out, at + Q2_K_D_AT), load_half(out, at + Q2_K_MINIMUM_AT)
    packed = load_bytes(out, at)
    store(multiples, 0, to_floats(packed & 15))
    store(multiples, 16, to_floats(packed >> 4))
    refine_multiples((rooms[0], rooms[1], 16), state, Q2_K_SEARCH, 16)
    if is_less(errors, 0, 16):
        none = np.zeros(16, np.float32)
        _store_q2_k(out, at, batch, start, (halves[0], halves[16]), (multiples, multiples[16:], none, none))


@compiled
def improve_q2_k(x: Any, importance: Any, out: Any) -> None:
    """Improve the blocks of whole rows in place, flat, given the importance of one row, flat."""
    rooms, scratch, state = (room(16), room(16)), _scratch(), _state()
    n_blocks = out.size // Q2_K_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), Q2_K_SPREAD, scratch)
        for i in range(count):
            _load_16(scratch, i, rooms)
            _improve_one_q2_k(out, (first + i) * Q2_K_BYTES, scratch[0], i * SUPER_BLOCK, rooms, state)


# Q3_K


@inlined
def _improve_one_q3_k(out: Any, at: int, batch: Any, start: int, rooms: Any, state: Any) -> None:
    halves, multiples, errors = state
    halves[:16] = load_half(out, at + Q3_K_D_AT)
    for j in range(16):
        multiples[j] = _six_bit_scale(out, at + Q3_K_SCALES_AT, j)
    refine_multiples((rooms[0], rooms[1], 16), state, Q3_K_SEARCH, 16)
    if is_less(errors, 0, 16):
        store(multiples, 0, load(multiples, 0) + 32)
        none, own = np.zeros(SUPER_BLOCK, np.float32), np.empty(16, np.float32)
        _store_q3_k(out, at, batch, start, (halves[0], multiples, none, own))


@compiled
def improve_q3_k(x: Any, importance: Any, out: Any) -> None:
    """Improve the blocks of whole rows in place, flat, given the importance of one row, flat."""
    rooms, scratch, state = (room(16), room(16)), _scratch(), _state()
    n_blocks = out.size // Q3_K_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), Q3_K_SPREAD, scratch)
        for i in range(count):
            _load_16(scratch, i, rooms)
            _improve_one_q3_k(out, (first + i) * Q3_K_BYTES, scratch[0], i * SUPER_BLOCK, rooms, state)


# Q4_K and Q5_K


@inlined
def _read_affine(out: Any, at: int, lane: int, state: Any) -> None:
    """The halves and multiples of a block into eight lanes."""
    halves, multiples, _ = state
    halves[lane : lane + 8], halves[16 + lane : 24 + lane] = load_half(out, at), load_half(out, at + 2)
    for j in range(8):
        multiples[lane + j], multiples[16 + lane + j] = _scale_and_minimum(out, at + SCALES_AT, j)


@inlined
def _write_affine(out: Any, at: int, lane: int, state: Any, decoded: Any) -> None:
    """The halves and multiples of eight lanes; decoded becomes the scales and minima of all lanes, (2, 16)."""
    halves, multiples, _ = state
    codes = np.empty(16, np.uint8)
    for j in range(8):
        codes[j], codes[8 + j] = np.uint8(multiples[lane + j]), np.uint8(multiples[16 + lane + j])
    store_half(out, at, halves[lane])
    store_half(out, at + 2, halves[16 + lane])
    _store_scales(out, at + SCALES_AT, codes[:8], codes[8:])
    for kind in range(2):
        store(decoded, 16 * kind, load(halves, 16 * kind) * load(multiples, 16 * kind))


@compiled
def improve_q4_k(x: Any, importance: Any, out: Any) -> None:
    """Improve the blocks of whole rows in place, flat, given the importance of one row, flat."""
    rooms, scratch, state, decoded = (room(32), room(32)), _scratch(), _state(), np.empty(32, np.float32)
    n_blocks = out.size // Q4_K_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), Q4_K_SPREAD, scratch)
        for pair in range(0, count, 2):
            _load_8(scratch, pair, rooms)
            for i in range(pair, min(pair + 2, count)):
                _read_affine(out, (first + i) * Q4_K_BYTES, 8 * (i - pair), state)
            refine_multiples((rooms[0], rooms[1], 32), state, Q4_K_SEARCH, 8)
            for i in range(pair, min(pair + 2, count)):
                lane, at = 8 * (i - pair), (first + i) * Q4_K_BYTES
                if is_less(state[2], lane, 8):
                    _write_affine(out, at, lane, state, decoded)
                    _store_q4_k(out, at, scratch[0], i * SUPER_BLOCK, decoded, decoded[16:], lane)


@compiled
def improve_q5_k(x: Any, importance: Any, out: Any) -> None:
    """Improve the blocks of whole rows in place, flat, given the importance of one row, flat."""
    rooms, scratch, state, decoded = (room(32), room(32)), _scratch(), _state(), np.empty(32, np.float32)
    n_blocks = out.size // Q5_K_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), Q5_K_SPREAD, scratch)
        for pair in range(0, count, 2):
            _load_8(scratch, pair, rooms)
            for i in range(pair, min(pair + 2, count)):
                _read_affine(out, (first + i) * Q5_K_BYTES, 8 * (i - pair), state)
            refine_multiples((rooms[0], rooms[1], 32), state, Q5_K_SEARCH, 8)
            for i in range(pair, min(pair + 2, count)):
                lane, at = 8 * (i - pair), (first + i) * Q5_K_BYTES
                if is_less(state[2], lane, 8):
                    _write_affine(out, at, lane, state, decoded)
                    _store_q5_k(out, at, scratch[0], i * SUPER_BLOCK, decoded, decoded[16:], lane)


# Q6_K


@inlined
def _improve_one_q6_k(out: Any, at: int, batch: Any, start: int, rooms: Any, state: Any) -> None:
    halves, multiples, errors = state
    halves[:16] = load_half(out, at + Q6_K_D_AT)
    store(multiples, 0, to_floats(load_signed_bytes(out, at + Q6_K_SCALES_AT)))
    refine_multiples((rooms[0], rooms[1], 16), state, Q6_K_SEARCH, 16)
    if is_less(errors, 0, 16):
        store_half(out, at + Q6_K_D_AT, halves[0])
        store_bytes(out, at + Q6_K_SCALES_AT, to_integers(load(multiples, 0)))
        for j in range(16):
            step = halves[0] * multiples[j]
            multiples[j] = step if step != 0 else np.float32(np.inf)
        _store_q6_k(out, at, batch, start, multiples)


@compiled
def improve_q6_k(x: Any, importance: Any, out: Any) -> None:
    """Improve the blocks of whole rows in place, flat, given the importance of one row, flat, which is the weight."""
    rooms, scratch, state = (room(16), room(16)), _scratch(), _state()
    batch, weights = scratch
    n_blocks, per_row = out.size // Q6_K_BYTES, importance.size // SUPER_BLOCK
    for b in range(n_blocks):
        take(x, b, 1, SUPER_BLOCK, batch)
        take(importance, b % per_row, 1, SUPER_BLOCK, weights)
        _load_16(scratch, 0, rooms)
        _improve_one_q6_k(out, b * Q6_K_BYTES, batch, 0, rooms, state)


@compiled
def improve_q6_k_by_size(x: Any, importance: Any, out: Any) -> None:
    """As `improve_q6_k`, with weights that grow with the magnitude, as the other types have them."""
    rooms, scratch, state = (room(16), room(16)), _scratch(), _state()
    n_blocks = out.size // Q6_K_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), Q6_K_SPREAD, scratch)
        for i in range(count):
            _load_16(scratch, i, rooms)
            _improve_one_q6_k(out, (first + i) * Q6_K_BYTES, scratch[0], i * SUPER_BLOCK, rooms, state)


def _improved(
    function: Callable[[Any, Any, Any], None], name: str, x: Floats, importance: Floats | None, fast: tuple[Bytes, int]
) -> Bytes:
    """The blocks of the fast search, improved; without importance by ones."""
    ones = np.ones((1, SUPER_BLOCK), np.float32)
    parallel.improve(function, FORMATS[name], x, ones if importance is None else importance, fast)
    return fast[0]


def encode_q2_k(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 84)."""
    fast = kquants_small.encode_q2_k(x, importance, threads)
    return _improved(improve_q2_k, "Q2_K", x, importance, (fast, threads))


def encode_q3_k(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 110)."""
    fast = kquants_small.encode_q3_k(x, importance, threads)
    return _improved(improve_q3_k, "Q3_K", x, importance, (fast, threads))


def encode_q4_k(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 144)."""
    fast = kquants.encode_q4_k(x, importance, threads)
    return _improved(improve_q4_k, "Q4_K", x, importance, (fast, threads))


def encode_q5_k(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 176)."""
    fast = kquants.encode_q5_k(x, importance, threads)
    return _improved(improve_q5_k, "Q5_K", x, importance, (fast, threads))


def encode_q6_k(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 210)."""
    fast = kquants.encode_q6_k(x, importance, threads)
    function = improve_q6_k_by_size if importance is None else improve_q6_k
    return _improved(function, "Q6_K", x, importance, (fast, threads))
