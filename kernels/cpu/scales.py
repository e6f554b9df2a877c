"""Which of several candidate grids suits each group of weights best: kernels/reference/scales.py, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu.compiled import compiled_sums, inlined
from kernels.cpu.lanes import load
from kernels.cpu.parallel import map_ranges, ranges, read_only_flat
from kernels.cpu.vectors import LANES, larger, rint, smaller, splat, total_of

Floats = npt.NDArray[np.float32]

# Weights after whose errors it is asked whether a candidate can still be the best.
STRETCH = 32
# Weights of which a candidate's error takes as long as a single step of other loops.
SHARE = 4


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

    map_ranges(run, ranges(m, length * scales.shape[1] // SHARE, threads), threads)
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
            # Stretches in which the columns' importance runs on without starting anew; what is worse already is left.
            while done < length and error < least:
                column = (group * length + done) % len(weights)
                count = min(length - done, len(weights) - column, STRETCH)
                error += _error(x, group * length + done, weights, column, count, scale, zero, low, high)
                done += count
            if error < least:
                least = error
                best[group] = candidate


@inlined
def _error(
    x: Any, start: Any, weights: Any, column: Any, count: Any, scale: Any, zero: Any, low: Any, high: Any
) -> Any:
    """Weighted squared error of one stretch."""
    inverse = np.float32(1) / scale
    sums, whole = splat(0.0), count - count % LANES
    for i in range(0, whole, LANES):
        now = load(x, start + i)
        code = smaller(larger(rint(now * inverse) + zero, low), high)
        difference = now - (code - zero) * scale
        sums += load(weights, column + i) * difference * difference
    total = total_of(sums)
    for i in range(whole, count):
        code = min(max(np.rint(x[start + i] * inverse) + zero, low), high)
        difference = x[start + i] - scale * (code - zero)
        total += weights[column + i] * difference * difference
    return total
