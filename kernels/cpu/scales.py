"""Which of several candidate grids suits each group of weights best: kernels/reference/scales.py, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu.compiled import compiled_sums
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

    map_ranges(run, ranges(m, length * len(scales), threads), threads)
    return best


@compiled_sums
def _best(
    x: Any, weights: Any, scales: Any, zeros: Any, low: Any, high: Any, length: Any, first: Any, end: Any, best: Any
) -> None:
    for group in range(first, end):
        least = np.float32(np.inf)
        best[group] = 0
        for candidate in range(len(scales)):
            scale, zero = scales[candidate, group], zeros[candidate, group]
            inverse = np.float32(1) / scale
            error = np.float64(0)
            done = 0
            while done < length:  # stretches in which the columns' importance runs on without starting anew
                column = (group * length + done) % len(weights)
                count = min(length - done, len(weights) - column)
                start = group * length + done
                part = np.float32(0)
                for i in range(count):
                    value = x[start + i]
                    code = min(max(np.rint(value * inverse) + zero, low), high)
                    difference = value - scale * (code - zero)
                    part += weights[column + i] * difference * difference
                error += part
                done += count
            if error < least:
                least = np.float32(error)
                best[group] = candidate
