"""Error sums in float64 in one pass over source and copy, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from kernels.cpu import parallel
from kernels.cpu.compiled import compiled_sums, intrinsic, types
from kernels.cpu.parallel import Floats
from kernels.measure import ErrorSums

# Elements summed at a time; fixed, so that the number of threads does not change the order of additions.
TASK = 1 << 18


@intrinsic
def _double_bits(typing: Any, value: Any) -> Any:
    """The bits of a float64, as int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), generate


@compiled_sums
def _error_sums(x: Any, y: Any) -> tuple[float, float, float, float, int]:
    """Σ(x-y)², Σx², Σy², Σxy and the bits of max |x-y| of two flat float32 arrays.

    Magnitudes compare as their bits do, and NaN above all of them; integer maxima can be taken in lanes.
    """
    squared_error = squared_x = squared_y = product = 0.0
    most = 0
    for i in range(x.size):
        a, b = np.float64(x[i]), np.float64(y[i])
        error = a - b
        squared_error += error * error
        squared_x += a * a
        squared_y += b * b
        product += a * b
        most = max(most, _double_bits(abs(error)))
    return squared_error, squared_x, squared_y, product, most


def measure(x: Floats, y: Floats, threads: int = 0) -> ErrorSums:
    """The error sums of y against x, two float32 arrays of one shape; raises ValueError where the shapes differ."""
    if x.shape != y.shape:
        raise ValueError(f"arrays of one shape expected, not {x.shape} and {y.shape}")
    source, copy = (parallel.read_only_flat(np.require(array, np.float32, ["C", "A"])) for array in (x, y))

    def run(start: int, stop: int) -> ErrorSums:
        squared_error, squared_x, squared_y, product, most = _error_sums(source[start:stop], copy[start:stop])
        largest = float(np.int64(most).view(np.float64))
        return ErrorSums(stop - start, squared_error, squared_x, squared_y, product, largest)

    starts = range(0, source.size, TASK)
    spans = [(start, min(start + TASK, source.size)) for start in starts]
    total = ErrorSums()
    for part in parallel.map_ranges(run, spans, threads):
        total = total + part
    return total
