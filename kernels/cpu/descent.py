"""Coordinate descent over rounded numbers: kernels/reference/descent.py, compiled.

Rows do not depend on each other, and few of their numbers change. A block of columns goes its way with what H says of
these alone, which stays in the nearest caches; then what has changed in it reaches all other columns, some of them at a
time, so that all rows find those parts of H in the cache. Every sum is rounded in the specification's order, so that
the results are the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu.compiled import compiled, inlined
from kernels.cpu.parallel import map_ranges, ranges

Floats = npt.NDArray[np.float32]

# Columns of a block, and those that what has changed in it reaches at a time: 512 KB of H.
BLOCK, TILE = 128, 1024


def descend(
    codes: npt.NDArray[np.int8],
    residual: Floats,
    hessian: Floats,
    added: float,
    scales: Floats,
    group_of: npt.NDArray[np.int64],
    ends: tuple[int, int],
    threads: int = 0,
) -> int:
    """As kernels.reference.descent.descend, on several threads (0 = all cores). Arrays are to be contiguous."""
    rows, columns = codes.shape
    diagonal = np.ascontiguousarray(hessian.diagonal())
    shares = np.float32(1) / np.where(diagonal > 0, diagonal + np.float32(added), np.float32(np.inf))
    scales, group_of = np.ascontiguousarray(scales), np.ascontiguousarray(group_of, np.int64)
    inverse = np.float32(1) / scales
    bounds = (np.float32(ends[0]), np.float32(ends[1]))

    def run(first: int, end: int) -> int:
        part = slice(first, end)
        found: int = _descend(
            codes[part],
            residual[part],
            hessian,
            np.float32(added),
            shares,
            (scales[part], inverse[part]),
            group_of,
            bounds,
        )
        return found

    return sum(map_ranges(run, ranges(rows, columns, threads), threads))


@compiled
def _descend(
    codes: Any, residual: Any, hessian: Any, added: Any, shares: Any, scales: Any, group_of: Any, ends: Any
) -> Any:
    rows, columns = codes.shape
    # Of each row: how many codes of the block have changed, which, and by how much the weights have.
    counts, places = np.zeros(rows, np.int64), np.empty((rows, BLOCK), np.int64)
    steps = np.empty((rows, BLOCK), np.float32)
    changed = 0
    for first in range(0, columns, BLOCK):
        last = min(first + BLOCK, columns)
        for i in range(rows):
            count = 0
            for j in range(first, last):
                now = np.float32(codes[i, j])
                code = np.rint(now + residual[i, j] * shares[j] * scales[1][i, group_of[j]])
                code = min(max(code, ends[0]), ends[1])
                if code != now:
                    step = scales[0][i, group_of[j]] * (code - now)
                    _take(residual, i, hessian, j, step, first, last)
                    residual[i, j] -= step * added
                    codes[i, j] = np.int8(code)
                    places[i, count], steps[i, count] = j, step
                    count += 1
            counts[i] = count
            changed += count
        _spread(residual, hessian, counts, places, steps, 0, first)
        _spread(residual, hessian, counts, places, steps, last, columns)
    return changed


@inlined
def _spread(residual: Any, hessian: Any, counts: Any, places: Any, steps: Any, first: Any, last: Any) -> None:
    """Takes what has changed off columns [first, last)."""
    for start in range(first, last, TILE):
        end = min(start + TILE, last)
        for i in range(len(counts)):
            for number in range(counts[i]):
                _take(residual, i, hessian, places[i, number], steps[i, number], start, end)


@inlined
def _take(residual: Any, i: Any, hessian: Any, j: Any, step: Any, first: Any, last: Any) -> None:
    # Slices, since of places from 0 on the compiler knows that none is negative, and takes many at a time.
    left, moments = residual[i, first:last], hessian[j, first:last]
    for k in range(len(left)):
        left[k] -= step * moments[k]
