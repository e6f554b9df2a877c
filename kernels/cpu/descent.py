"""Coordinate descent over rounded numbers: kernels/reference/descent.py, compiled.

Rows do not depend on each other, and few of their numbers change: a row's residual stays in the nearest cache, and a
row of H is read only for a number that does. Every sum is rounded in the specification's order, so that the results are
the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu.compiled import compiled
from kernels.cpu.parallel import map_ranges, ranges

Floats = npt.NDArray[np.float32]


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
    changed = 0
    rows, columns = codes.shape
    for i in range(rows):
        for j in range(columns):
            now = np.float32(codes[i, j])
            code = np.rint(now + residual[i, j] * shares[j] * scales[1][i, group_of[j]])
            code = min(max(code, ends[0]), ends[1])
            if code != now:
                step = scales[0][i, group_of[j]] * (code - now)
                for k in range(columns):
                    residual[i, k] -= step * hessian[j, k]
                residual[i, j] -= step * added
                codes[i, j] = np.int8(code)
                changed += 1
    return changed
