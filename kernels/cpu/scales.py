"""Which of several candidate grids suits each group of weights best: kernels/reference/scales.py, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu.compiled import compiled_sums, inlined
from kernels.cpu.parallel import map_ranges, ranges, read_only_flat

Floats = npt.NDArray[np.float32]


def best_candidates(
    groups: Floats, importance: Floats, scales: Floats, zeros: Floats, lowest: int, highest: int, threads: int = 0
) -> npt.NDArray[np.int64]:
    """As kernels.reference.scales.best_candidates, on several threads (0 = all cores)."""
    m, length = groups.shape
    best = np.empty(m, np.int64)
    flat = read_only_flat(np.ascontiguousarray(groups, np.float32))
    weights = read_only_flat(np.ascontiguousarray(importance, np.float32))
    scales, zeros = np.ascontiguousarray(scales, np.float32), np.ascontiguousarray(zeros, np.float32)

    def run(first: int, end: int) -> None:
        _best(flat, weights, scales, zeros, np.float32(lowest), np.float32(highest), length, first, end, best)

    map_ranges(run, ranges(m, length * scales.shape[1], threads), threads)
    return best


@compiled_sums
def _best(
    x: Any, weights: Any, scales: Any, zeros: Any, low: Any, high: Any, length: Any, first: Any, end: Any, best: Any
) -> None:
    for group in range(first, end):
        least = np.float64(np.inf)
        best[group] = 0
        for candidate in range(scales.shape[1]):
            scale, zero = scales[group, candidate], zeros[group, candidate]
            error = np.float64(0)
            done = 0
            while done < length:  # stretches in which the columns' importance runs on without starting anew
                column = (group * length + done) % len(weights)
                count = min(length - done, len(weights) - column)
                start = group * length + done
                error += _error(x[start : start + count], weights[column : column + count], scale, zero, low, high)
                done += count
            if error < least:
                least = error
                best[group] = candidate


@inlined
def _error(x: Any, weights: Any, scale: Any, zero: Any, low: Any, high: Any) -> Any:
    """Weighted squared error of one stretch; slices from 0 on, so that LLVM sees that no index is negative."""
    inverse = np.float32(1) / scale
    total = np.float32(0)
    for i in range(len(x)):
        code = np.rint(x[i] * inverse) + zero
        code = low if code < low else code
        code = high if code > high else code
        difference = x[i] - scale * (code - zero)
        total += weights[i] * difference * difference
    return total
