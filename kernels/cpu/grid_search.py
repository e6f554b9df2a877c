"""The search of ggml's IQ2 and IQ3 types for compiled code: 16 groups at a time, one group per lane.

ggml rounds a vector of 4 or 8 weights at each of its candidate scales and, where the grid lacks the rounded codes,
measures a list of neighbours. Here the two halves of that work are apart:

    which scale   the candidates, on a wider range, are scored with the grid point nearest to the rounded codes, one
                  look-up in a table whatever the weights of the errors: most Σ(w·x·q)² / Σ w·q² wins
    which points  at the winning scale, and again at the scale as it is stored, the whole grid is measured with the
                  weights: a point is two halves of 2 or 4 codes, whose errors are summed up once for all half points,
                  so a point costs one minimum, and an addition where its first half is new

After each of the two, scales are fitted to the codes; last, d to all codes of its super-block. Levels are what a
decoder makes of codes, which in some formats is not quite the 2·code + 1 that ggml searches with.

A super-block is divided by its largest magnitude first, so neither squares nor weights leave the range of float32.

Source: ggml-quants.c, quantize_row_iq2_*_impl and quantize_row_iq3_*_impl: formats, weights of errors, even signs.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels import grids
from kernels.blocks import FORMATS
from kernels.codecs import CODECS
from kernels.cpu import parallel
from kernels.cpu.compiled import inlined, spliced
from kernels.cpu.gather import gather
from kernels.cpu.half import store_half
from kernels.cpu.lanes import advanced, load, load_columns, room, smallest_at, store, store_bytes
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import (
    larger,
    magnitude,
    muladd,
    root,
    smaller,
    splat,
    tag_of,
    tagged,
    to_floats,
    to_integers,
    where,
)

SUPER_BLOCK = 256
LARGEST = 3.0e38  # stands for "no point yet"
# A super-block with no magnitude above the first, or with one above the second, where squares overflow, becomes zero;
# so does a group without a magnitude above this part of its super-block's largest.
SMALLEST, TOO_LARGE = 1e-30, 1e18
SMALLEST_PART = 1e-12
LARGEST_HALF = np.float32(65504)
LANE_BYTES = 64  # of 16 float32
PER_STEP = 4  # second halves looked at in one step
TOP_MULTIPLE = 31  # the largest scale of a super-block over this becomes half a step: 2·15 + 1 of them
# Added to all weights, so that among points that cost nothing the smallest is taken.
WEIGHTLESS = 1e-20

GRIDS = {"IQ1_M": "IQ1_S"}  # formats that use the grid of another
NO_IMPORTANCE = np.empty(0, np.float32)
Table = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.uint16]
# nearest, runs, offsets, points, indices, levels, stretches: see `tables`.
Tables = tuple[Table, Table, Offsets, Table, Table, Floats, Floats]


def _nearest_points(name: str, points: Table) -> Table:
    """By rounded codes, the first in the lowest digit of base `levels`: the nearest grid point's packed codes.

    Nearest with levels as weights, since errors of large weights count for more.
    """
    facts = grids.FACTS[name]
    radix, width = len(facts.levels), facts.width
    every = (np.arange(radix**width)[:, None] // radix ** np.arange(width) % radix).astype(np.float32)
    codes = grids.codes(name).astype(np.float32)
    weights = np.abs(np.array(facts.levels, np.float32) / facts.levels[-1])[every.astype(np.int32)] + np.float32(0.05)
    distance = weights @ np.square(codes).T - 2 * (weights * every) @ codes.T
    nearest: Table = points[distance.argmin(axis=1)]
    return nearest


def _runs(firsts: Table, seconds: Table) -> tuple[Table, Offsets]:
    """Points sorted by their first halves: of each run the first half and its steps; and where the second halves are.

    Those are offsets in bytes of lanes of errors. Runs are filled up to whole steps with second halves they have, and
    the long ones come first, so that a processor foresees where they end.
    """
    halves, counts = np.unique(firsts, return_counts=True)
    pairs: list[tuple[int, int]] = []
    ordered: list[int] = []
    for first in halves[np.argsort(-counts, kind="stable")]:
        run = seconds[firsts == first].tolist()
        run += run[:1] * (-len(run) % PER_STEP)
        pairs.append((int(first), len(run) // PER_STEP))
        ordered += run
    return np.array(pairs, np.int32).reshape(-1), np.array(ordered, np.uint16) * np.uint16(LANE_BYTES)


@functools.cache
def tables(name: str, unit: float, stretches: tuple[float, ...]) -> Tables:
    """The grid of a format as the search takes it.

    A half point is a number in base `levels`. nearest: by rounded codes, the packed codes of the nearest point.
    runs, offsets: as `_runs` has them. points, indices: by first half times the number of half points plus second
    half, the packed codes and the index in the grid of a point. levels: what codes stand for, the decoder's over
    `unit`. stretches: to what level each candidate brings the largest weight of a group.
    """
    facts, codes = grids.FACTS[name], grids.codes(name).astype(np.int32)
    half, radix = facts.width // 2, len(facts.levels)
    digits = radix ** np.arange(half, dtype=np.int32)
    firsts, seconds = codes[:, :half] @ digits, codes[:, half:] @ digits
    packed = grids.pack(codes, facts.bits)
    points, indices = np.zeros((2, radix**facts.width), np.int32)
    points[firsts * radix**half + seconds] = packed
    indices[firsts * radix**half + seconds] = np.arange(len(codes))
    levels = np.array(facts.levels, np.float32) / np.float32(unit)
    stretched = levels[-1] * np.array(stretches, np.float32)
    return _nearest_points(name, packed), *_runs(firsts, seconds), points, indices, levels, stretched


@inlined
def load_groups(source: Any, starts: tuple[int, int], group: int, target: Any) -> None:
    """16 groups, one per lane: 8 from each of the two starts."""
    for part in range(0, group, 16):
        load_columns(source, starts[0] + part, starts[1] + part, group, advanced(target, part))


@inlined
def normalize(xs: Any, group: int, norms: Any) -> Any:
    """Divide super-blocks by their largest magnitudes, which become norms[lane]; gives 0 or Σ x²/256 of them."""
    per_block = SUPER_BLOCK // group
    most = splat(0)
    for e in range(group):
        most = larger(magnitude(xs[e]), most)
    store(norms, 0, most)
    for first in range(0, 16, per_block):
        norm = np.float32(0)
        for lane in range(first, first + per_block):
            norm = max(norm, norms[lane])
        for lane in range(first, first + per_block):
            norms[lane] = norm
    norm = load(norms, 0)
    inverse = where(norm > SMALLEST, 1 / norm, 0)
    energies = splat(0)
    for e in range(group):
        x = xs[e] * inverse
        xs[e] = x
        energies = muladd(x, x, energies)
    return energies


@inlined
def mean_squares(energies: Any, group: int, room_for_sums: Any) -> Any:
    """Σ x²/256 of super-blocks from the Σ x² of their groups."""
    per_block = SUPER_BLOCK // group
    store(room_for_sums, 0, energies)
    for first in range(0, 16, per_block):
        total = np.float32(0)
        for lane in range(first, first + per_block):
            total += room_for_sums[lane]
        for lane in range(first, first + per_block):
            room_for_sums[lane] = total / np.float32(SUPER_BLOCK)
    return load(room_for_sums, 0)


@inlined
def weigh(xs: Any, ws: Any, group: int, given: bool, spread: Any, level: Any) -> None:
    """Weights of errors: importance, which is in ws, times √(spread + x²); or, where there is none, level + x²."""
    for e in range(group):
        square = xs[e] * xs[e]
        ws[e] = (ws[e] * root(spread + square) if given else root(level + square)) + WEIGHTLESS


@inlined
def split_signs(xs: Any, ws: Any, group: int, signs: Any) -> None:
    """Magnitudes, and 8 signs per byte: signs[16·k + lane] of elements 8·k … 8·k + 7."""
    for k in range(group // 8):
        bits, bit = splat(0), 1.0
        for e in range(8 * k, 8 * k + 8):
            bits = where(xs[e] < 0, bits + bit, bits)
            xs[e] = magnitude(xs[e])
            bit *= 2
        store_bytes(signs, 16 * k, to_integers(bits))


@inlined
def split_even_signs(xs: Any, ws: Any, group: int, signs: Any) -> None:
    """As `split_signs`, with an even number of negative signs: else the weight that costs least keeps the wrong one."""
    for k in range(group // 8):
        odd, least, which = splat(0), splat(LARGEST), splat(0)
        for i in range(8):
            x = xs[8 * k + i]
            cost = ws[8 * k + i] * x * x
            odd = where(x < 0, 1 - odd, odd)
            which = where(cost < least, i, which)
            least = smaller(cost, least)
        bits, bit = splat(0), 1.0
        for i in range(8):
            x = xs[8 * k + i]
            flipped = (odd > 0.5) & (magnitude(which - i) < 0.5)
            above, below = where(flipped, bit, 0), where(flipped, 0, bit)
            bits += where(x < 0, below, above)
            xs[8 * k + i] = where(flipped, 0 - magnitude(x), magnitude(x))
            bit *= 2
        store_bytes(signs, 16 * k, to_integers(bits) & 127)


@spliced
def _sums_of_point(xs: Any, ws: Any, first: int, width: int, point: Any, level_of: Any) -> tuple[Any, Any]:
    """Σ w·x·q and Σ w·q² of a vector whose packed codes are `point`."""
    sum_qx, sum_q2 = splat(0), splat(0)
    bits, digit = (3, 7) if width == 4 else (2, 3)
    for i in range(width):
        q = level_of(to_floats((point >> (bits * i)) & digit))
        weighted = ws[first + i] * q
        sum_qx = muladd(weighted, xs[first + i], sum_qx)
        sum_q2 = muladd(weighted, q, sum_q2)
    return sum_qx, sum_q2


@spliced
def _best_scale(xs: Any, ws: Any, shape: tuple[int, int], grid: Any, level_of: Any, code_of: Any) -> Any:
    """Of all candidates the scale with most (Σ w·x·q)² / Σ w·q², codes being those of the points nearest to them."""
    group, width = shape
    nearest, levels, stretches = grid[0], grid[5], grid[6]
    radix = np.float32(levels.size)
    most = splat(0)
    for e in range(group):
        most = larger(xs[e], most)
    scale, best = most / levels[levels.size - 1], splat(0)
    reciprocal = where(most > SMALLEST_PART, 1 / most, 0)
    for k in range(stretches.size):
        inverse = stretches[k] * reciprocal
        sum_qx, sum_q2 = splat(0), splat(0)
        for first in range(0, group, width):
            packed = splat(0)
            for i in range(width):
                packed = muladd(packed, radix, code_of(xs[first + width - 1 - i] * inverse))
            point = gather(nearest, to_integers(packed))
            of_point = _sums_of_point(xs, ws, first, width, point, level_of)
            sum_qx, sum_q2 = sum_qx + of_point[0], sum_q2 + of_point[1]
        tried = sum_qx / sum_q2
        score = where((sum_q2 > 0) & (sum_qx > 0), tried * sum_qx, 0)
        better = score > best
        best = where(better, score, best)
        scale = where(better, tried, scale)
    return where(most > SMALLEST_PART, scale, 0)


@inlined
def _half_errors(xs: Any, ws: Any, first: int, half: int, scale: Any, levels: Any, errors: Any) -> int:
    """Σ w·(scale·level - x)² of every half point: errors[c₀ + n·c₁ + …], n levels; and how many they are.

    Each is tagged with its place.
    """
    count = 1
    errors[0] = splat(0)
    for e in range(first, first + half):
        for c in range(levels.size - 1, -1, -1):
            difference = scale * levels[c] - xs[e]
            error = ws[e] * difference * difference
            for t in range(count):
                errors[count * c + t] = tagged(errors[t] + error, count * c + t)
        count *= levels.size
    return count


@inlined
def _best_places(firsts: Any, seconds: Any, count: int, grid: Any) -> Any:
    """The grid point of least error from the errors of `count` half points: count · first half + second half.

    The second halves of a run are told apart by the tags of their errors, so each costs a minimum and nothing else.
    """
    runs, offsets = grid[1], grid[2]
    best, first, second = splat(LARGEST), splat(0), splat(0)
    at = 0
    for run in range(runs.size // 2):
        least = splat(LARGEST)
        for _ in range(runs[2 * run + 1]):
            least = smaller(smallest_at(seconds, offsets, at, PER_STEP), least)
            at += PER_STEP
        error = firsts[runs[2 * run]] + least
        better = error < best
        first, second = where(better, runs[2 * run], first), where(better, least, second)
        best = smaller(error, best)
    return to_integers(first * count) + tag_of(second)


@inlined
def search_points(xs: Any, ws: Any, first: int, width: int, scale: Any, grid: Any, errors: Any) -> Any:
    """Where in the tables the grid points of least Σ w·(scale·level - x)² are, for the vectors at xs[first]."""
    half = width // 2
    count = _half_errors(xs, ws, first, half, scale, grid[5], errors[0])
    _half_errors(xs, ws, first + half, half, scale, grid[5], errors[1])
    return _best_places(errors[0], errors[1], count, grid)


@spliced
def _fit_points(xs: Any, ws: Any, shape: Any, scale: Any, grid: Any, rooms: Any, level_of: Any) -> tuple[Any, Any]:
    """Σ w·x·q and Σ w·q² of the best points for the scales given; low[16·k + lane], high[…] become their indices."""
    group, width = shape
    errors, low, high = rooms
    sum_qx, sum_q2 = splat(0), splat(0)
    for k in range(group // width):
        position = search_points(xs, ws, width * k, width, scale, grid, errors)
        index = gather(grid[4], position)
        store_bytes(low, 16 * k, index & 255)
        store_bytes(high, 16 * k, index >> 8)
        of_point = _sums_of_point(xs, ws, width * k, width, gather(grid[3], position), level_of)
        sum_qx, sum_q2 = sum_qx + of_point[0], sum_q2 + of_point[1]
    return sum_qx, sum_q2


@inlined
def _multiples(scales: Any, group: int, units: Any, multiples: Any) -> None:
    """scales[lane] becomes a multiple 1, 3 … 31 of its super-block's unit, multiples[lane] its 4 bits."""
    per_block = SUPER_BLOCK // group
    for first in range(0, 16, per_block):
        most = np.float32(0)
        for lane in range(first, first + per_block):
            most = max(most, scales[lane])
        unit = most / np.float32(TOP_MULTIPLE)
        for lane in range(first, first + per_block):
            units[lane] = unit
            code = np.float32(0)
            if most > 0:
                code = min(
                    max(np.rint((scales[lane] / unit - np.float32(1)) * np.float32(0.5)), np.float32(0)), np.float32(15)
                )
            multiples[lane] = np.uint8(code)
            scales[lane] = 2 * code + 1


@inlined
def _fit_unit(sums: Any, first: int, count: int, unit: Any) -> Any:
    """The best unit for all codes of a super-block: Σ w·x·q / Σ w·q² over its lanes."""
    sum_qx, sum_q2 = np.float32(0), np.float32(0)
    for lane in range(first, first + count):
        sum_qx += sums[lane]
        sum_q2 += sums[16 + lane]
    return sum_qx / sum_q2 if sum_q2 > 0 and sum_qx > 0 else unit


@spliced
def encode_grid(
    given: Any, grid: Any, out: Any, search: Any, level_of: Any, code_of: Any, split_signs: Any, store_block: Any
) -> None:
    """Blocks of an IQ2 or IQ3 format.

    given: flat weights, and flat importance of one row, or nothing. search: group, width, bytes per block, and the
    spread and level of weights of errors in mean squares of a super-block. level_of: codes -> levels. code_of: levels
    -> nearest codes. split_signs: one of the two here. store_block: writes the fields after d.
    """
    x, importance = given
    group, width, block_bytes, spread, level = search
    shape = group, width
    per_block = SUPER_BLOCK // group
    in_lanes, n_blocks = 16 // per_block, out.size // block_bytes
    blocks_per_row = max(1, importance.size // SUPER_BLOCK)
    xs, ws, errors = room(32), room(32), (room(81), room(81))
    norms, sums, scales, units = (
        np.empty(16, np.float32),
        np.empty(32, np.float32),
        np.empty(16, np.float32),
        np.empty(16, np.float32),
    )
    low, high, signs, multiples = (
        np.empty(128, np.uint8),
        np.empty(128, np.uint8),
        np.empty(64, np.uint8),
        np.empty(16, np.uint8),
    )
    for b in range(0, n_blocks, in_lanes):
        last = min(b + in_lanes - 1, n_blocks - 1)
        apart = SUPER_BLOCK // 2 if in_lanes == 1 else 0
        load_groups(x, (b * SUPER_BLOCK, last * SUPER_BLOCK + apart), group, xs)
        if importance.size:
            columns = b % blocks_per_row * SUPER_BLOCK, last % blocks_per_row * SUPER_BLOCK + apart
            load_groups(importance, columns, group, ws)
        mean = mean_squares(normalize(xs, group, norms), group, sums)
        weigh(xs, ws, group, importance.size > 0, mean * np.float32(spread), mean * np.float32(level))
        split_signs(xs, ws, group, signs)
        scale = _best_scale(xs, ws, shape, grid, level_of, code_of)
        multiple = splat(0)
        for final in range(2):
            if final:
                store(scales, 0, scale)
                _multiples(scales, group, units, multiples)
                multiple = load(scales, 0)
                scale = multiple * load(units, 0)
            sum_qx, sum_q2 = _fit_points(xs, ws, shape, scale, grid, (errors, low, high), level_of)
            if not final:
                scale = where((scale > 0) & (sum_q2 > 0) & (sum_qx > 0), sum_qx / sum_q2, scale)
            store(sums, 0, sum_qx * multiple)
            store(sums, 16, sum_q2 * multiple * multiple)
        for i in range(b, last + 1):
            lane, at = per_block * (i - b), i * block_bytes
            if not (SMALLEST < norms[lane] < TOO_LARGE and units[lane] > 0):
                out[at : at + block_bytes] = 0
                continue
            # Refitted, the step may leave the range of a half that it was in before.
            step = norms[lane] * _fit_unit(sums, lane, per_block, units[lane])
            store_half(out, at, LARGEST_HALF if step > LARGEST_HALF else step)
            store_block(out, at + 2, lane, (low, high, signs, multiples))


@inlined
def even_signs(stored: Any) -> Any:
    """All 8 sign bits for the 7 that are stored: the 8th makes their number even."""
    parity = stored ^ (stored >> 4)
    parity ^= parity >> 2
    parity ^= parity >> 1
    return stored | ((parity & 1) << 7)


@inlined
def signed_values(values: Any, first: Any, count: int, scale: Any, signs: Any, out: Any, to: int) -> None:
    """out[to …] = scale · values[first …], negative where a bit of `signs` is set, the lowest for the first."""
    for i in range(count):
        value = scale * values[first + i]
        out[to + i] = -value if (signs >> i) & 1 else value


def encode_blocks(name: str, function: Any, grid: Tables, given: tuple[Floats, Floats | None], threads: int) -> Bytes:
    """Blocks from (x, importance) by a compiled function(x, importance, grid, out).

    Raises ValueError where the format needs importance and there is none.
    """
    x, importance = given
    if importance is None and CODECS[name].importance == "required":
        raise ValueError(f"{name} cannot be encoded without importance")
    if importance is None:
        return parallel.encode(lambda part, out: function(part, NO_IMPORTANCE, grid, out), FORMATS[name], x, threads)
    return parallel.encode_weighted(
        lambda part, weights, out: function(part, weights, grid, out), FORMATS[name], x, importance, threads
    )


def decode_grid(name: str, function: Any, blocks: Bytes, threads: int) -> Floats:
    """Values from blocks by a compiled function(blocks, grid's values, out)."""
    values = grids.values(GRIDS.get(name, name)).reshape(-1)
    return parallel.decode(lambda part, out: function(part, values, out), FORMATS[name], blocks, threads)
