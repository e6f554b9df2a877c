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
    error, code = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for start in range(first, end, LANES):
        rows = min(LANES, end - start)
        for lane in range(LANES):
            row = start + min(lane, rows - 1)  # what is missing of the last tile is a copy of its last row
            for j in range(columns):
                tile[j, lane] = w[row, j]
        group = np.int64(-1)
        for j in range(count):
            if group_of[j] != group:
                group = group_of[j]
                for lane in range(LANES):
                    row = start + min(lane, rows - 1)
                    scale[lane], offset[lane] = scales[row, group], offsets[row, group]
                    inverse[lane] = np.float32(1) / scale[lane]
            reciprocal = np.float32(1) / factor[j, j]
            now = tile[j]
            for lane in range(LANES):
                number = np.rint((now[lane] - offset[lane]) * inverse[lane])
                number = lowest if number < lowest else number
                number = highest if number > highest else number
                code[lane] = number
                error[lane] = (now[lane] - (scale[lane] * number + offset[lane])) * reciprocal
            for k in range(j + 1, columns):
                share, later = factor[j, k], tile[k]
                for lane in range(LANES):
                    later[lane] -= error[lane] * share
            for lane in range(rows):
                codes[start + lane, j] = np.int8(code[lane])
                errors[start + lane, j] = error[lane]
        for j in range(count, columns):
            for lane in range(rows):
                w[start + lane, j] = tile[j, lane]
