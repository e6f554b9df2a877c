"""The column loop of GPTQ: kernels/reference/columns.py, compiled.

Rows do not depend on each other. So a few rows at a time are turned into columns, whose 32 numbers are two vectors of
lanes, and all that the loop touches stays in the nearest caches. Eight columns are rounded one after another; then
their errors, which stay in registers meanwhile, reach all columns behind them in one pass, which loads and stores each
of those once. Every sum is rounded in the specification's order, so that the results are the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.lanes import load, load_columns, load_everywhere, room, store, store_bytes
from kernels.cpu.parallel import map_ranges, ranges
from kernels.cpu.vectors import LANES as VECTOR
from kernels.cpu.vectors import larger, rint, smaller, splat, to_integers

Floats = npt.NDArray[np.float32]

# Rows that are worked on together: with blocks of 128 columns, 16 KB.
LANES = 2 * VECTOR
# Columns whose errors reach the columns behind them in one pass.
STEP = 8


def quantize_columns(
    w: Floats,
    factor: Floats,
    scales: Floats,
    offsets: Floats,
    group_of: npt.NDArray[np.int64],
    ends: tuple[int, int],
    threads: int = 0,
) -> tuple[npt.NDArray[np.int8], Floats]:
    """As kernels.reference.columns.quantize_columns, on several threads (0 = all cores). w is to be contiguous."""
    rows, columns, count = *w.shape, len(group_of)
    codes, errors = np.empty((rows, count), np.int8), np.empty((rows, count), np.float32)
    flat = w.view()
    flat.shape = (-1,)  # raises where this would be a copy, which is not what is to be changed
    tables = (np.ascontiguousarray(factor).reshape(-1), np.ascontiguousarray(scales), np.ascontiguousarray(offsets))
    group_of = np.ascontiguousarray(group_of, np.int64)
    lowest, highest = np.float32(ends[0]), np.float32(ends[1])

    def run(first: int, end: int) -> None:
        span = (first * LANES, min(rows, end * LANES))
        _columns(flat, *tables, group_of, lowest, highest, columns, span, codes.reshape(-1), errors.reshape(-1))

    map_ranges(run, ranges(-(-rows // LANES), LANES * columns * 2, threads), threads)
    return codes, errors


@compiled
def _columns(
    w: Any,
    factor: Any,
    scales: Any,
    offsets: Any,
    group_of: Any,
    lowest: Any,
    highest: Any,
    columns: Any,
    span: Any,
    codes: Any,
    errors: Any,
) -> None:
    count = len(group_of)
    # Columns of the rows, each of which its code takes the place of, and errors.
    tile, wrong = np.empty(columns * LANES, np.float32), np.empty(count * LANES, np.float32)
    scale, inverse, offset = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for start in range(span[0], span[1], LANES):
        rows = min(LANES, span[1] - start)
        _turn(w, start, rows, columns, tile)
        group = np.int64(-1)
        for begin in range(0, count, STEP):
            behind = min(begin + STEP, count)
            for j in range(begin, behind):
                if group_of[j] != group:
                    group = group_of[j]
                    for lane in range(LANES):
                        row = start + min(lane, rows - 1)
                        scale[lane], offset[lane] = scales[row, group], offsets[row, group]
                        inverse[lane] = np.float32(1) / scale[lane]
                reciprocal = splat(np.float32(1) / factor[j * columns + j])
                for half in range(0, LANES, VECTOR):
                    at = j * LANES + half
                    now, s, o = load(tile, at), load(scale, half), load(offset, half)
                    code = smaller(larger(rint((now - o) * load(inverse, half)), lowest), highest)
                    error = (now - (s * code + o)) * reciprocal
                    store(tile, at, code)
                    store(wrong, at, error)
                    for k in range(j + 1, behind):
                        share = load_everywhere(factor, j * columns + k)
                        store(tile, k * LANES + half, load(tile, k * LANES + half) - error * share)
            if behind - begin == STEP:
                _spread(tile, wrong, factor, begin, columns)
            else:
                for j in range(begin, behind):
                    for k in range(behind, columns):
                        share = load_everywhere(factor, j * columns + k)
                        for half in range(0, LANES, VECTOR):
                            at = k * LANES + half
                            store(tile, at, load(tile, at) - load(wrong, j * LANES + half) * share)
        _turn_back(tile, wrong, start, rows, columns, count, w, codes, errors)


@inlined
def _spread(tile: Any, wrong: Any, factor: Any, begin: Any, columns: Any) -> None:
    """Takes the errors of STEP columns off all columns behind them, one after another."""
    at = begin * LANES
    a0, a1, a2, a3 = load(wrong, at), load(wrong, at + 32), load(wrong, at + 64), load(wrong, at + 96)
    a4, a5, a6, a7 = load(wrong, at + 128), load(wrong, at + 160), load(wrong, at + 192), load(wrong, at + 224)
    at += VECTOR
    b0, b1, b2, b3 = load(wrong, at), load(wrong, at + 32), load(wrong, at + 64), load(wrong, at + 96)
    b4, b5, b6, b7 = load(wrong, at + 128), load(wrong, at + 160), load(wrong, at + 192), load(wrong, at + 224)
    for k in range(begin + STEP, columns):
        place = begin * columns + k
        a, b = load(tile, k * LANES), load(tile, k * LANES + VECTOR)
        share = load_everywhere(factor, place)
        a, b = a - a0 * share, b - b0 * share
        share = load_everywhere(factor, place + columns)
        a, b = a - a1 * share, b - b1 * share
        share = load_everywhere(factor, place + 2 * columns)
        a, b = a - a2 * share, b - b2 * share
        share = load_everywhere(factor, place + 3 * columns)
        a, b = a - a3 * share, b - b3 * share
        share = load_everywhere(factor, place + 4 * columns)
        a, b = a - a4 * share, b - b4 * share
        share = load_everywhere(factor, place + 5 * columns)
        a, b = a - a5 * share, b - b5 * share
        share = load_everywhere(factor, place + 6 * columns)
        a, b = a - a6 * share, b - b6 * share
        share = load_everywhere(factor, place + 7 * columns)
        a, b = a - a7 * share, b - b7 * share
        store(tile, k * LANES, a)
        store(tile, k * LANES + VECTOR, b)


@inlined
def _turn(w: Any, start: Any, rows: Any, columns: Any, tile: Any) -> None:
    """Rows into columns; what is missing of the last tile is a copy of its last row."""
    whole = columns - columns % VECTOR if rows == LANES else 0
    turned = room(16)
    for half in range(0, LANES, VECTOR):
        for j in range(0, whole, VECTOR):
            at = (start + half) * columns + j
            load_columns(w, at, at + 8 * columns, columns, turned)
            for i in range(VECTOR):
                store(tile, (j + i) * LANES + half, turned[i])
    for j in range(whole, columns):
        for lane in range(LANES):
            tile[j * LANES + lane] = w[(start + min(lane, rows - 1)) * columns + j]


@inlined
def _turn_back(
    tile: Any, wrong: Any, start: Any, rows: Any, columns: Any, count: Any, w: Any, codes: Any, errors: Any
) -> None:
    """Columns into rows: codes, errors, and what the columns have become that are still to be rounded."""
    whole = count - count % VECTOR if rows == LANES else 0
    turned = room(16)
    for half in range(0, LANES, VECTOR):
        for j in range(0, whole, VECTOR):
            at, to = j * LANES + half, (start + half) * count + j
            load_columns(wrong, at, at + 8 * LANES, LANES, turned)
            for i in range(VECTOR):
                store(errors, to + i * count, turned[i])
            load_columns(tile, at, at + 8 * LANES, LANES, turned)
            for i in range(VECTOR):
                store_bytes(codes, to + i * count, to_integers(turned[i]))
    for lane in range(rows):
        for j in range(whole, count):
            codes[(start + lane) * count + j] = np.int8(tile[j * LANES + lane])
            errors[(start + lane) * count + j] = wrong[j * LANES + lane]
        for j in range(count, columns):
            w[(start + lane) * columns + j] = tile[j * LANES + lane]
