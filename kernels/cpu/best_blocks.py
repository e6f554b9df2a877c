"""Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 at the level "best", compiled: the blocks of the fast search, improved in place.

Blocks of 32, sixteen at a time, one per lane. A block is written anew only where another scale (and minimum) has less
error than its own. Search and layouts are those of kernels.reference.best_blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.best_search import SCALE_SEARCHES, TRIM_SEARCHES, TrimSearch
from kernels.blocks import FORMATS
from kernels.cpu import legacy, parallel
from kernels.cpu.batches import BATCH
from kernels.cpu.best_search import best_scale, best_scale_and_minimum
from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.half import load_half, store_half
from kernels.cpu.lanes import load, room, store, store_bytes
from kernels.cpu.legacy import (
    BLOCK,
    Q4_0_BYTES,
    Q4_1_BYTES,
    Q5_0_BYTES,
    Q5_1_BYTES,
    Q8_0_BYTES,
    _reciprocal,
    _store_fifth_bits,
    _store_nibbles,
)
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import larger, rint, smaller, to_integers, where
from kernels.cpu.weighted_legacy import _affine_codes, _load_batch, _spreads_of_rows, _symmetric_codes


def _levels(name: str) -> Any:
    """The candidates of a type with a scale alone, as a constant of compiled code."""
    return np.array(SCALE_SEARCHES[name].levels, np.float32)


def _trims(search: TrimSearch) -> tuple[int, Any, int]:
    """The search of a type with scale and minimum, as constants of compiled code."""
    return search.nmax, tuple(np.float32(trim) for trim in search.trims), search.refits


Q4_0_LEVELS, Q5_0_LEVELS, Q8_0_LEVELS = _levels("Q4_0"), _levels("Q5_0"), _levels("Q8_0")
Q4_1_TRIMS, Q5_1_TRIMS = _trims(TRIM_SEARCHES["Q4_1"]), _trims(TRIM_SEARCHES["Q5_1"])


@inlined
def _scratch() -> tuple[Any, Any, Any]:
    """Room for 16 blocks, what their errors count, and the spreads of their rows."""
    return np.empty(BATCH * BLOCK, np.float32), np.empty(BATCH * BLOCK, np.float32), np.empty(16, np.float32)


@inlined
def _read(out: Any, first: int, count: int, size: int, at: int, values: Any) -> None:
    """The half at byte `at` of so many blocks of `size` bytes."""
    for i in range(count):
        values[i] = load_half(out, (first + i) * size + at)


@inlined
def _scales(rooms: Any, levels: Any, nmax: int, found: Any) -> None:
    """found, (2, 16): scales before become scales after, and whether they are better, 1 or 0."""
    scale, better = best_scale(rooms[0], rooms[1], BLOCK, load(found, 0), (levels, nmax))
    store(found, 0, scale)
    store(found, 16, where(better, 1, 0))


@inlined
def _scales_and_minima(rooms: Any, search: Any, found: Any) -> None:
    """found, (3, 16): scales and minima before become those after, and whether they are better, 1 or 0."""
    start = load(found, 0), load(found, 16)
    scale, minimum, better = best_scale_and_minimum(rooms[0], rooms[1], BLOCK, start, search)
    store(found, 0, scale)
    store(found, 16, minimum)
    store(found, 32, where(better, 1, 0))


@compiled
def improve_q4_0(x: Any, importance: Any, out: Any) -> None:
    """Improve the blocks of whole rows in place, flat, given the importance of one row, flat."""
    rooms, scratch, found = (room(32), room(32)), _scratch(), np.zeros(32, np.float32)
    spreads = _spreads_of_rows(x, importance.size)
    n_blocks = out.size // Q4_0_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), spreads, scratch, rooms)
        _read(out, first, count, Q4_0_BYTES, 0, found)
        _scales(rooms, Q4_0_LEVELS, 8, found)
        for i in range(count):
            if found[16 + i] != 0:
                at, inverse = Q4_0_BYTES * (first + i), _reciprocal(found[i])
                store_half(out, at, found[i])
                low = _symmetric_codes(scratch[0], BLOCK * i, inverse, 8)
                _store_nibbles(out, at + 2, low, _symmetric_codes(scratch[0], BLOCK * i + 16, inverse, 8))


@compiled
def improve_q5_0(x: Any, importance: Any, out: Any) -> None:
    """Improve the blocks of whole rows in place, flat, given the importance of one row, flat."""
    rooms, scratch, found = (room(32), room(32)), _scratch(), np.zeros(32, np.float32)
    spreads = _spreads_of_rows(x, importance.size)
    n_blocks = out.size // Q5_0_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), spreads, scratch, rooms)
        _read(out, first, count, Q5_0_BYTES, 0, found)
        _scales(rooms, Q5_0_LEVELS, 16, found)
        for i in range(count):
            if found[16 + i] != 0:
                at, inverse = Q5_0_BYTES * (first + i), _reciprocal(found[i])
                store_half(out, at, found[i])
                low = _symmetric_codes(scratch[0], BLOCK * i, inverse, 16)
                high = _symmetric_codes(scratch[0], BLOCK * i + 16, inverse, 16)
                _store_fifth_bits(out, at + 2, low, high)
                _store_nibbles(out, at + 6, low, high)


@compiled
def improve_q8_0(x: Any, importance: Any, out: Any) -> None:
    """Improve the blocks of whole rows in place, flat, given the importance of one row, flat."""
    rooms, scratch, found = (room(32), room(32)), _scratch(), np.zeros(32, np.float32)
    spreads = _spreads_of_rows(x, importance.size)
    n_blocks = out.size // Q8_0_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), spreads, scratch, rooms)
        _read(out, first, count, Q8_0_BYTES, 0, found)
        _scales(rooms, Q8_0_LEVELS, 128, found)
        for i in range(count):
            if found[16 + i] != 0:
                at, inverse = Q8_0_BYTES * (first + i), _reciprocal(found[i])
                store_half(out, at, found[i])
                for half in range(2):
                    level = rint(inverse * load(scratch[0], BLOCK * i + 16 * half))
                    store_bytes(out, at + 2 + 16 * half, to_integers(smaller(larger(level, -128), 127)))


@compiled
def improve_q4_1(x: Any, importance: Any, out: Any) -> None:
    """Improve the blocks of whole rows in place, flat, given the importance of one row, flat."""
    rooms, scratch, found = (room(32), room(32)), _scratch(), np.zeros(48, np.float32)
    spreads = _spreads_of_rows(x, importance.size)
    n_blocks = out.size // Q4_1_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), spreads, scratch, rooms)
        for kind in range(2):
            _read(out, first, count, Q4_1_BYTES, 2 * kind, found[16 * kind :])
        _scales_and_minima(rooms, Q4_1_TRIMS, found)
        for i in range(count):
            if found[32 + i] != 0:
                at, inverse, origin = Q4_1_BYTES * (first + i), _reciprocal(found[i]), found[16 + i]
                store_half(out, at, found[i])
                store_half(out, at + 2, origin)
                low = _affine_codes(scratch[0], BLOCK * i, inverse, origin, 15)
                _store_nibbles(out, at + 4, low, _affine_codes(scratch[0], BLOCK * i + 16, inverse, origin, 15))


@compiled
def improve_q5_1(x: Any, importance: Any, out: Any) -> None:
    """Improve the blocks of whole rows in place, flat, given the importance of one row, flat."""
    rooms, scratch, found = (room(32), room(32)), _scratch(), np.zeros(48, np.float32)
    spreads = _spreads_of_rows(x, importance.size)
    n_blocks = out.size // Q5_1_BYTES
    for first in range(0, n_blocks, BATCH):
        count = min(BATCH, n_blocks - first)
        _load_batch(x, importance, (first, count), spreads, scratch, rooms)
        for kind in range(2):
            _read(out, first, count, Q5_1_BYTES, 2 * kind, found[16 * kind :])
        _scales_and_minima(rooms, Q5_1_TRIMS, found)
        for i in range(count):
            if found[32 + i] != 0:
                at, inverse, origin = Q5_1_BYTES * (first + i), _reciprocal(found[i]), found[16 + i]
                store_half(out, at, found[i])
                store_half(out, at + 2, origin)
                low = _affine_codes(scratch[0], BLOCK * i, inverse, origin, 31)
                high = _affine_codes(scratch[0], BLOCK * i + 16, inverse, origin, 31)
                _store_fifth_bits(out, at + 4, low, high)
                _store_nibbles(out, at + 8, low, high)


def _improved(
    function: Callable[[Any, Any, Any], None], name: str, x: Floats, importance: Floats | None, fast: tuple[Bytes, int]
) -> Bytes:
    """The blocks of the fast search, improved; without importance by ones, every block being a row."""
    ones = np.ones((1, BLOCK), np.float32)
    parallel.improve(function, FORMATS[name], x, ones if importance is None else importance, fast)
    return fast[0]


def encode_q4_0(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 18)."""
    fast = legacy.encode_q4_0(x, importance, threads)
    return _improved(improve_q4_0, "Q4_0", x, importance, (fast, threads))


def encode_q4_1(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 20)."""
    fast = legacy.encode_q4_1(x, importance, threads)
    return _improved(improve_q4_1, "Q4_1", x, importance, (fast, threads))


def encode_q5_0(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 22)."""
    fast = legacy.encode_q5_0(x, importance, threads)
    return _improved(improve_q5_0, "Q5_0", x, importance, (fast, threads))


def encode_q5_1(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 24)."""
    fast = legacy.encode_q5_1(x, importance, threads)
    return _improved(improve_q5_1, "Q5_1", x, importance, (fast, threads))


def encode_q8_0(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 34)."""
    fast = legacy.encode_q8_0(x, threads)
    return _improved(improve_q8_0, "Q8_0", x, importance, (fast, threads))
