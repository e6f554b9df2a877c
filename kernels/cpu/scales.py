"""Which share of its range suits each group of weights best: kernels/reference/scales.py, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.cpu.compiled import compiled_sums, inlined
from kernels.cpu.half import float_bits, float_value, half_bits, half_value
from kernels.cpu.lanes import load
from kernels.cpu.parallel import map_ranges, ranges, read_only_flat
from kernels.cpu.vectors import LANES, larger, largest, rint, smaller, smallest, splat, total_of
from kernels.reference.scales import SMALLEST, Ends, Floats, Levels, Places

# Weights after whose errors it is asked whether a candidate can still be the best.
STRETCH = 32
# Weights of which a candidate's error takes as long as a single step of other loops.
SHARE = 4


def best_ends(
    groups: Floats, importance: Floats, shares: Floats, steps: tuple[Places, ...], levels: Levels, threads: int = 0
) -> Ends:
    """As kernels.reference.scales.best_ends, on several threads (0 = all cores)."""
    m, length = groups.shape
    low, high = np.empty(m, np.float32), np.empty(m, np.float32)
    flat = read_only_flat(np.ascontiguousarray(groups, np.float32))
    weights = read_only_flat(np.ascontiguousarray(importance, np.float32))
    tried = np.concatenate(steps).astype(np.int64), np.cumsum([0, *map(len, steps)])
    numbers = _numbers(levels)

    def run(first: int, end: int) -> None:
        _best(flat, weights, shares, tried, numbers, length, (first, end), (low, high))

    map_ranges(run, ranges(m, length * len(tried[0]) // SHARE, threads), threads)
    return low, high


def _numbers(levels: Levels) -> tuple[Any, ...]:
    """Levels as compiled code takes them."""
    ends = (np.float32(number) for number in (levels.lowest, levels.highest, levels.lowest_zero, levels.spread))
    kinds = levels.scale_type.split("+")
    return *ends, levels.symmetric, "BF16" in kinds, "F16" in kinds, SMALLEST[levels.scale_type]


@compiled_sums
def _best(x: Any, weights: Any, shares: Any, tried: Any, numbers: Any, length: Any, groups: Any, ends: Any) -> None:
    steps, rounds = tried
    for group in range(groups[0], groups[1]):
        low, high = _range(x, group * length, length)
        found, column = 0, (group * length) % len(weights)
        for number in range(len(rounds) - 1):
            least, best = np.float64(np.inf), found
            for step in steps[rounds[number] : rounds[number + 1]]:
                at = min(max(found + step, 0), len(shares) - 1)
                scale, zero = _covering(low * shares[at], high * shares[at], numbers)
                error = _error(x, group * length, weights, column, length, scale, zero, numbers, least)
                if error < least:
                    least, best = error, at
            found = best
        ends[0][group], ends[1][group] = low * shares[found], high * shares[found]


@inlined
def _range(x: Any, start: Any, length: Any) -> Any:
    lows, highs, whole = splat(x[start]), splat(x[start]), length - length % LANES
    for i in range(start, start + whole, LANES):
        now = load(x, i)
        lows, highs = smaller(lows, now), larger(highs, now)
    low, high = smallest(lows), largest(highs)
    for i in range(start + whole, start + length):
        low, high = min(low, x[i]), max(high, x[i])
    return low, high


@inlined
def _covering(low: Any, high: Any, numbers: Any) -> Any:
    """Scale and zero of one range."""
    lowest, highest, lowest_zero, spread, symmetric, as_bf16, as_f16, positive = numbers
    if symmetric:
        return _scale(max(abs(low), abs(high)) / spread, as_bf16, as_f16, positive), np.float32(0)
    low, high = min(low, np.float32(0)), max(high, np.float32(0))
    scale = _scale((high - low) / spread, as_bf16, as_f16, positive)
    zero = lowest - np.rint(low / scale)
    if zero < lowest_zero:
        scale = max(scale, _scale(high / (highest - lowest_zero), as_bf16, as_f16, positive))
    return scale, min(max(zero, lowest_zero), highest)


@inlined
def _scale(scale: Any, as_bf16: Any, as_f16: Any, positive: Any) -> Any:
    """Rounded to its type."""
    if not scale > 0:
        return np.float32(1)
    if as_bf16:
        bits = float_bits(scale)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        scale = max(float_value((bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)), SMALLEST_BF16)
    if as_f16:
        scale = half_value(half_bits(scale))
    return max(scale, positive)


SMALLEST_BF16 = SMALLEST["BF16"]


@inlined
def _error(
    x: Any, start: Any, weights: Any, column: Any, length: Any, scale: Any, zero: Any, numbers: Any, least: Any
) -> Any:
    """Weighted squared error of a group, or of as much of it as is more than `least`."""
    error, done = np.float64(0), 0
    # Stretches in which the columns' importance runs on without starting anew.
    while done < length and error < least:
        count = min(length - done, len(weights) - column, STRETCH)
        error += _stretch(x, start + done, weights, column, count, scale, zero, numbers[0], numbers[1])
        done += count
        column = column + count if column + count < len(weights) else 0
    return error


@inlined
def _stretch(
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
