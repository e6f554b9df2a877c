"""The level "best" of the types of uneven levels, compiled: 16 groups at a time, one per lane, specified in reference.

The search for scales is compiled, its sums being in another order than the specification's, so that where candidates
all but tie another may win; codes are packed and compared with those of the fast search by the specification's own
functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.best_levels import LARGEST_MULTIPLES, LEVEL_SEARCHES, UNIT_FITS
from kernels.cpu import microscaling, nonlinear, parallel, ternary
from kernels.cpu.batches import BATCH, take
from kernels.cpu.best_search import as_half, reciprocal
from kernels.cpu.compiled import compiled, inlined, spliced
from kernels.cpu.lanes import advanced, load, load_columns, room, store
from kernels.cpu.lookup import stairs_of_floats
from kernels.cpu.microscaling import MIDDLES
from kernels.cpu.nonlinear import nearest_level
from kernels.cpu.parallel import Bytes, Floats
from kernels.cpu.vectors import larger, magnitude, rint, smaller, splat, to_floats, where
from kernels.cpu.weighted import extremes
from kernels.reference import best_levels as specified
from kernels.reference.layout import c_arithmetic

LARGEST = 3.0e38  # stands for "nothing found yet"
nearest_trit = stairs_of_floats(">", (-0.5, 0.5), (-1, 0, 1))
nearest_sign = stairs_of_floats(">", (0.0,), (-1, 1))
nearest_of_four = stairs_of_floats(">", (-0.5, 0.5, 1.5), (-1, 0, 1, 2))
nearest_size = stairs_of_floats(">", MIDDLES, (0, 1, 2, 3, 4, 6, 8, 12))
TRIT_STARTS, SIGN_STARTS, FOUR_STARTS, UNEVEN_STARTS = (
    np.array(LEVEL_SEARCHES[name].starts, np.float32) for name in ("TQ1_0", "Q1_0", "Q2_0", "IQ4_NL")
)
TRIT_REFITS, SIGN_REFITS, FOUR_REFITS, UNEVEN_REFITS = (
    LEVEL_SEARCHES[name].refits for name in ("TQ1_0", "Q1_0", "Q2_0", "IQ4_NL")
)
MULTIPLES = np.array(LARGEST_MULTIPLES, np.float32)


@inlined
def _small_float(x: Any) -> Any:
    """The level of E2M1, doubled, nearest to x."""
    size = to_floats(nearest_size(magnitude(x)))
    return where(x < 0, 0 - size, size)


@inlined
def _trit(x: Any) -> Any:
    return to_floats(nearest_trit(x))


@inlined
def _sign(x: Any) -> Any:
    return to_floats(nearest_sign(x))


@inlined
def _one_of_four(x: Any) -> Any:
    return to_floats(nearest_of_four(x))


@inlined
def _uneven(x: Any) -> Any:
    return to_floats(nearest_level(x))


@inlined
def _take(x: Any, first: int, count: int, n: int, batch: Any, xs: Any) -> None:
    """16 groups of n elements, one per lane; zeros behind the last."""
    take(x, first, count, n, batch)
    for part in range(0, n, 16):
        load_columns(batch, part, 8 * n + part, n, advanced(xs, part))


@spliced
def _measured(xs: Any, ws: Any, n: int, scale: Any, level_of: Any) -> tuple[Any, Any, Any]:
    """Σ w·(scale·q - x)², Σ w·x·q and Σ w·q² of the nearest levels q."""
    inverse = reciprocal(scale)
    error, sum_qx, sum_q2 = splat(0), splat(0), splat(0)
    for e in range(n):
        x, w = xs[e], ws[e]
        q = level_of(x * inverse)
        difference = q * scale - x
        error += w * (difference * difference)
        sum_qx += w * q * x
        sum_q2 += w * q * q
    return error, sum_qx, sum_q2


@spliced
def _best_free(xs: Any, ws: Any, n: int, search: Any, level_of: Any) -> Any:
    """Scales of least error among search = starts, refits."""
    starts, refits = search
    extreme, _ = extremes(xs, n)
    found, least = splat(0), splat(LARGEST)
    for k in range(starts.size):
        scale = as_half(extreme / starts[k])
        for _ in range(refits + 1):
            error, sum_qx, sum_q2 = _measured(xs, ws, n, scale, level_of)
            found = where(error < least, scale, found)
            least = smaller(error, least)
            scale = as_half(where(sum_q2 > 0, sum_qx / sum_q2, 0))
    return found


@spliced
def _fill(given: Any, scales: Any, n: int, search: Any, level_of: Any) -> None:
    """The best free scales of groups of n elements; given: x and what errors count, flat."""
    x, weights = given
    xs, ws = room(256), room(256)
    batch, found = np.empty(BATCH * n, np.float32), np.empty(16, np.float32)
    for first in range(0, scales.size, BATCH):
        count = min(BATCH, scales.size - first)
        _take(x, first, count, n, batch, xs)
        _take(weights, first, count, n, batch, ws)
        store(found, 0, _best_free(xs, ws, n, search, level_of))
        for i in range(count):
            scales[first + i] = found[i]


@compiled
def _search_trits(x: Any, weights: Any, scales: Any) -> None:
    _fill((x, weights), scales, 256, (TRIT_STARTS, TRIT_REFITS), _trit)


@compiled
def _search_signs(x: Any, weights: Any, scales: Any) -> None:
    _fill((x, weights), scales, 128, (SIGN_STARTS, SIGN_REFITS), _sign)


@compiled
def _search_fours(x: Any, weights: Any, scales: Any) -> None:
    _fill((x, weights), scales, 64, (FOUR_STARTS, FOUR_REFITS), _one_of_four)


@compiled
def _search_uneven(x: Any, weights: Any, scales: Any) -> None:
    _fill((x, weights), scales, 32, (UNEVEN_STARTS, UNEVEN_REFITS), _uneven)


@spliced
def _fill_known(given: Any, candidates: Any, scales: Any, n: int) -> None:
    """The best of the candidates (groups, tries), flat, for groups of n elements of E2M1."""
    x, weights = given
    xs, ws = room(32), room(32)
    batch, tried = np.empty(BATCH * n, np.float32), np.empty(16, np.float32)
    tries = candidates.size // max(1, scales.size)
    for first in range(0, scales.size, BATCH):
        count = min(BATCH, scales.size - first)
        _take(x, first, count, n, batch, xs)
        _take(weights, first, count, n, batch, ws)
        found, least = splat(0), splat(LARGEST)
        for k in range(tries):
            for i in range(16):
                tried[i] = candidates[(first + min(i, count - 1)) * tries + k]
            scale = load(tried, 0)
            error, _, _ = _measured(xs, ws, n, scale, _small_float)
            found = where(error < least, scale, found)
            least = smaller(error, least)
        store(tried, 0, found)
        for i in range(count):
            scales[first + i] = tried[i]


@compiled
def _search_32(x: Any, weights: Any, candidates: Any, scales: Any) -> None:
    _fill_known((x, weights), candidates, scales, 32)


@compiled
def _search_16(x: Any, weights: Any, candidates: Any, scales: Any) -> None:
    _fill_known((x, weights), candidates, scales, 16)


@inlined
def _totals(errors: Any) -> None:
    """The errors (16,) become the sums over their super-block's 8 lanes."""
    for first in (0, 8):
        total = np.float32(0)
        for lane in range(first, first + 8):
            total += errors[lane]
        for lane in range(first, first + 8):
            errors[lane] = total


@inlined
def _extremes_of_blocks(scales: Any, extreme: Any) -> None:
    """extreme[lane] becomes the scale of largest magnitude in the lane's super-block."""
    for first in (0, 8):
        most = np.float32(0)
        for lane in range(first, first + 8):
            if abs(scales[lane]) > abs(most):
                most = scales[lane]
        for lane in range(first, first + 8):
            extreme[lane] = most


@inlined
def _total_error(xs: Any, ws: Any, scale: Any, errors: Any) -> Any:
    """The errors of super-blocks, the same in all 8 lanes."""
    error, _, _ = _measured(xs, ws, 32, scale, _uneven)
    store(errors, 0, error)
    _totals(errors)
    return load(errors, 0)


@inlined
def _whole(multiples: Any) -> Any:
    return smaller(larger(rint(multiples), -32), 31)


@inlined
def _best_units(xs: Any, ws: Any, scales: Any, scratch: Any) -> tuple[Any, Any, Any]:
    """The d and multiples of two super-blocks with their errors, of a few that make the extreme scale a multiple."""
    extreme, errors = scratch
    store(errors, 0, scales)
    _extremes_of_blocks(errors, extreme)
    d, by, least = splat(0), splat(0), splat(LARGEST)
    for k in range(MULTIPLES.size):
        tried = as_half(load(extreme, 0) / MULTIPLES[k])
        multiples = _whole(scales * reciprocal(tried))
        error = _total_error(xs, ws, tried * multiples, errors)
        d, by = where(error < least, tried, d), where(error < least, multiples, by)
        least = smaller(error, least)
    return d, by, least


@inlined
def _moved(xs: Any, ws: Any, d: Any, by: Any) -> Any:
    """The multiples, each one more or less where that makes its group's error smaller."""
    least, _, _ = _measured(xs, ws, 32, d * by, _uneven)
    best = by
    for step in range(-1, 2, 2):
        tried = _whole(by + np.float32(step))
        error, _, _ = _measured(xs, ws, 32, d * tried, _uneven)
        best = where(error < least, tried, best)
        least = smaller(error, least)
    return best


@inlined
def _refitted(xs: Any, ws: Any, d: Any, by: Any, scratch: Any) -> Any:
    """The d of least error for the codes and multiples."""
    upper, lower = scratch
    _, sum_qx, sum_q2 = _measured(xs, ws, 32, d * by, _uneven)
    store(upper, 0, by * sum_qx)
    store(lower, 0, by * by * sum_q2)
    _totals(upper)
    _totals(lower)
    return as_half(where(load(lower, 0) > 0, load(upper, 0) / load(lower, 0), 0))


@compiled
def _search_iq4_xs(x: Any, weights: Any, scales: Any) -> None:
    """Fills scales (2, groups), flat: of every group d, then its multiple."""
    xs, ws = room(32), room(32)
    batch, scratch = np.empty(BATCH * 32, np.float32), (np.empty(16, np.float32), np.empty(16, np.float32))
    groups = scales.size // 2
    for first in range(0, groups, BATCH):
        count = min(BATCH, groups - first)
        _take(x, first, count, 32, batch, xs)
        _take(weights, first, count, 32, batch, ws)
        free = _best_free(xs, ws, 32, (UNEVEN_STARTS, UNEVEN_REFITS), _uneven)
        d, by, least = _best_units(xs, ws, free, scratch)
        for _ in range(UNIT_FITS):
            by = _moved(xs, ws, d, by)
            least = _total_error(xs, ws, d * by, scratch[0])
            tried = _refitted(xs, ws, d, by, scratch)
            error = _total_error(xs, ws, tried * by, scratch[0])
            d = where(error < least, tried, d)
        store(scratch[0], 0, d)
        store(scratch[1], 0, by)
        for i in range(count):
            scales[first + i], scales[groups + first + i] = scratch[0][i], scratch[1][i]


def _in_parts(x: Floats, threads: int, encode: Callable[[slice], Bytes]) -> Bytes:
    """Blocks of all of x, encoded in parts by a number of threads."""
    spans = parallel.ranges(len(x), x.shape[1], threads)
    parts = parallel.map_ranges(lambda start, stop: encode(slice(start, stop)), spans, threads)
    return np.concatenate(parts)


def _weights(name: str, x: Floats, importance: Floats | None) -> Floats:
    with c_arithmetic():
        return specified.error_weights(name, x, importance)


def _improved(name: str, x: Floats, importance: Floats | None, how: tuple[Any, Bytes, Any, int]) -> Bytes:
    """Blocks by a compiled search where they are better than fast ones; how: search, fast blocks, decoder, threads."""
    search, fast, decode, threads = how
    x = np.require(x, np.float32, ["C", "A"])
    weights, table = _weights(name, x, importance), LEVEL_SEARCHES[name]

    def encode(part: slice) -> Bytes:
        scale = np.zeros(x[part].size // table.group, np.float32)
        given = [parallel.read_only_flat(values[part]) for values in (x, weights)]
        with c_arithmetic():
            if table.steps:
                tries = [tried.reshape(-1) for tried in specified.stored_scales(name, fast[part])]
                given.append(parallel.read_only_flat(np.stack(tries, axis=1)))
            search(*given, scale)
            return specified.finished(
                name, x[part], weights[part], scale.reshape(len(x[part]), -1), (fast[part], decode)
            )

    return _in_parts(x, threads, encode)


def encode_iq4_xs(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 136)."""
    fast = nonlinear.encode_iq4_xs(x, importance, threads=threads)
    x = np.require(x, np.float32, ["C", "A"])
    weights = _weights("IQ4_NL", x, importance)

    def encode(part: slice) -> Bytes:
        scales = np.zeros((2, 8 * len(x[part])), np.float32)
        given = parallel.read_only_flat(x[part]), parallel.read_only_flat(weights[part])
        _search_iq4_xs(given[0], given[1], scales.reshape(-1))
        groups = specified.Groups(
            x[part].reshape(-1, 32), weights[part].reshape(-1, 32), LEVEL_SEARCHES["IQ4_NL"].levels
        )
        with c_arithmetic():
            blocks = specified.packed_iq4_xs(groups, scales[0, ::8], scales[1].reshape(-1, 8))
            return specified.better_of(
                x[part], weights[part], blocks, (fast[part], lambda b: nonlinear.decode_iq4_xs(b, 1))
            )

    return _in_parts(x, threads, encode)


def encode_iq4_nl(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 18)."""
    fast = nonlinear.encode_iq4_nl(x, importance, threads=threads)
    return _improved("IQ4_NL", x, importance, (_search_uneven, fast, lambda b: nonlinear.decode_iq4_nl(b, 1), threads))


def encode_mxfp4(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 32), importance (blocks_per_row, 32) -> uint8 (n_blocks, 17)."""
    fast = microscaling.encode_mxfp4(x, threads=threads)
    return _improved("MXFP4", x, importance, (_search_32, fast, lambda b: microscaling.decode_mxfp4(b, 1), threads))


def encode_nvfp4(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 64), importance (blocks_per_row, 64) -> uint8 (n_blocks, 36)."""
    fast = microscaling.encode_nvfp4(x, threads=threads)
    return _improved("NVFP4", x, importance, (_search_16, fast, lambda b: microscaling.decode_nvfp4(b, 1), threads))


def encode_tq1_0(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 54)."""
    fast = ternary.encode_tq1_0(x, threads=threads)
    return _improved("TQ1_0", x, importance, (_search_trits, fast, lambda b: ternary.decode_tq1_0(b, 1), threads))


def encode_tq2_0(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 256), importance (blocks_per_row, 256) -> uint8 (n_blocks, 66)."""
    fast = ternary.encode_tq2_0(x, threads=threads)
    return _improved("TQ2_0", x, importance, (_search_trits, fast, lambda b: ternary.decode_tq2_0(b, 1), threads))


def encode_q1_0(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 128), importance (blocks_per_row, 128) -> uint8 (n_blocks, 18)."""
    fast = ternary.encode_q1_0(x, threads=threads)
    return _improved("Q1_0", x, importance, (_search_signs, fast, lambda b: ternary.decode_q1_0(b, 1), threads))


def encode_q2_0(x: Floats, importance: Floats | None = None, threads: int = 0) -> Bytes:
    """float32 (n_blocks, 64), importance (blocks_per_row, 64) -> uint8 (n_blocks, 18)."""
    fast = ternary.encode_q2_0(x, threads=threads)
    return _improved("Q2_0", x, importance, (_search_fours, fast, lambda b: ternary.decode_q2_0(b, 1), threads))
