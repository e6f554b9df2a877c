"""The column loop of GPTQ: kernels/reference/columns.py, compiled.

Rows do not depend on each other. So a few rows at a time are turned into columns, where one instruction works on the
same column of several rows, and all that the loop touches stays in the nearest cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu.compiled import compiled
from kernels.cpu.parallel import map_ranges, ranges

Floats = npt.NDArray[np.float32]

# Rows that are worked on together: with blocks of 128 columns, 16 KB.
LANES = 32
# Columns whose errors reach the columns behind them in one pass, which then loads and stores each of those once.
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
    """As kernels.reference.columns.quantize_columns, on several threads (0 = all cores)."""
    rows, count = len(w), len(group_of)
    codes, errors = np.empty((rows, count), np.int8), np.empty((rows, count), np.float32)
    tables = (np.ascontiguousarray(factor), np.ascontiguousarray(scales), np.ascontiguousarray(offsets))
    group_of = np.ascontiguousarray(group_of, np.int64)
    lowest, highest = np.float32(ends[0]), np.float32(ends[1])

    def run(first: int, end: int) -> None:
        _columns(w, *tables, group_of, lowest, highest, first * LANES, min(rows, end * LANES), codes, errors)

    map_ranges(run, ranges(-(-rows // LANES), LANES * w.shape[1] * 16, threads), threads)
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
    first: Any,
    end: Any,
    codes: Any,
    errors: Any,
) -> None:
    columns, count = w.shape[1], len(group_of)
    tile = np.empty((columns, LANES), np.float32)
    scale, inverse, offset = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    step_errors, code = np.empty((STEP, LANES), np.float32), np.empty(LANES, np.float32)
    for start in range(first, end, LANES):
        rows = min(LANES, end - start)
        for lane in range(LANES):
            row = start + min(lane, rows - 1)  # what is missing of the last tile is a copy of its last row
            for j in range(columns):
                tile[j, lane] = w[row, j]
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
                reciprocal = np.float32(1) / factor[j, j]
                now, error = tile[j], step_errors[j - begin]
                for lane in range(LANES):
                    number = np.rint((now[lane] - offset[lane]) * inverse[lane])
                    number = lowest if number < lowest else number
                    number = highest if number > highest else number
                    code[lane] = number
                    error[lane] = (now[lane] - (scale[lane] * number + offset[lane])) * reciprocal
                _spread(tile, factor, error, j, j + 1, behind)
                for lane in range(rows):
                    codes[start + lane, j] = np.int8(code[lane])
                    errors[start + lane, j] = error[lane]
            if behind - begin == STEP:
                _spread_step(tile, factor, step_errors, begin, columns)
            else:
                for j in range(begin, behind):
                    _spread(tile, factor, step_errors[j - begin], j, behind, columns)
        for j in range(count, columns):
            for lane in range(rows):
                w[start + lane, j] = tile[j, lane]


@compiled
def _spread(tile: Any, factor: Any, error: Any, j: Any, first: Any, end: Any) -> None:
    """Takes the error of column j off columns `first` to `end`."""
    for k in range(first, end):
        share, later = factor[j, k], tile[k]
        for lane in range(LANES):
            later[lane] -= error[lane] * share


@compiled
def _spread_step(tile: Any, factor: Any, errors: Any, begin: Any, end: Any) -> None:
    """The same of STEP columns at once, in their order, so that every sum is rounded as one by one."""
    for k in range(begin + STEP, end):
        later = tile[k]
        s0, s1, s2, s3 = factor[begin, k], factor[begin + 1, k], factor[begin + 2, k], factor[begin + 3, k]
        s4, s5, s6, s7 = factor[begin + 4, k], factor[begin + 5, k], factor[begin + 6, k], factor[begin + 7, k]
        for lane in range(LANES):
            x = later[lane]
            x -= errors[0, lane] * s0
            x -= errors[1, lane] * s1
            x -= errors[2, lane] * s2
            x -= errors[3, lane] * s3
            x -= errors[4, lane] * s4
            x -= errors[5, lane] * s5
            x -= errors[6, lane] * s6
            x -= errors[7, lane] * s7
            later[lane] = x
