"""The search of ggml's IQ2 and IQ3 types: scales of groups, and codes whose vectors lie on a grid.

Per group of 16 or 32 weights, given weights w for their errors: signs are split off, so that x >= 0. For each candidate
scale s every x is rounded by itself to a level 2·code + 1; a vector of 4 or 8 codes that the grid lacks is replaced by
the neighbour q with the least Σ sqrt(w)·(s·q - x)². The candidate with the largest (Σ w·x·q)² / Σ w·q² wins, and
Σ w·x·q / Σ w·q² becomes the scale. Then vectors are looked up once more with that scale, and it is fitted once more.
Last, the largest scale of a super-block over 31 becomes its half, and every group gets a 4-bit multiple l: its scale is
d·(2·l + 1).

Where signs of 8 weights must be even in number but are not, the weight that costs least, w·x², takes the wrong sign and
is searched for as a negative one.

Inside this module a group's weights lie along the first axes: (vectors, width, groups), so that sums run over them one
after another in float32 as C does, vectorised over groups. Constants are rows of kernels.grid_search.

Source: ggml-quants.c, quantize_row_iq2_xxs_impl, .._iq2_xs_impl, .._iq2_s_impl, .._iq3_xxs_impl, .._iq3_s_impl,
iq2_find_best_neighbour, iq3_find_best_neighbour, make_qp_quants. One thing differs: where all weights of a group of
IQ3_S are zero, ggml writes the codes of the groups after it one place too early; here every group keeps its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels import grids
from kernels.grid_search import GRID_SEARCHES, TOP_MULTIPLE, GridSearch
from kernels.reference.layout import Bytes, Floats
from kernels.reference.search import GROUP_MAX_EPS, Codes, nearest_int, sequential_sum

Flags = npt.NDArray[np.bool_]
BATCH = 1 << 14  # vectors whose neighbours are measured at a time


@dataclass(frozen=True, slots=True)
class GridFit:
    """Super-blocks as found.

    d (n,); 4-bit multiples of it (n, groups); grid indices (n, vectors); signs of 8 weights each (n, 32), in which a
    set bit stands for a negative one.
    """

    d: Floats
    multiples: Bytes
    points: Codes
    signs: Bytes


def mean_square(x: Floats, factor: float) -> Floats:
    """factor·Σx²/256 of super-blocks (n, 256), as (n, 1)."""
    total = sequential_sum(np.ascontiguousarray((x * x).T))
    sigma2: Floats = np.float32(factor) * total / np.float32(256)
    return sigma2[:, None]


def error_weights(x: Floats, sigma2: Floats, importance: Floats) -> Floats:
    """importance·sqrt(σ² + x²) of super-blocks x (n, 256), with the importance (blocks_per_row, 256) of one row."""
    blocks = np.arange(len(x)) % len(importance)
    weights: Floats = importance[blocks] * np.sqrt(sigma2 + x * x)
    return weights


def _weights(name: str, x: Floats, importance: Floats | None) -> Floats:
    """The weights of the errors (n, 256); raises ValueError where a format needs importance and there is none."""
    search = GRID_SEARCHES[name]
    sigma2 = mean_square(x, search.spread)
    if importance is not None:
        return error_weights(x, sigma2, importance)
    if search.plain is None:
        raise ValueError(f"{name} cannot be encoded without importance")
    return x * x if search.plain == "squares" else np.float32(0.25) * sigma2 + x * x


def _split_signs(x: Floats, weights: Floats, even: bool) -> tuple[Floats, Bytes]:
    """Magnitudes (n, 256) and sign bits (n, 32) of 8 weights each, their number made even where asked."""
    negative = ~(x >= 0)
    if even:
        octets = negative.reshape(-1, 8)
        cheapest = (weights * x * x).reshape(-1, 8).argmin(axis=1)
        odd = octets.sum(axis=1) % 2 == 1
        octets[np.flatnonzero(odd), cheapest[odd]] ^= True
    signs = np.packbits(negative, axis=1, bitorder="little")
    return np.where(negative, -x, x), signs & np.uint8(127) if even else signs


def best_neighbours(name: str, rows: Codes, x: Floats, weights: Floats, scaled: tuple[Floats, Floats]) -> Codes:
    """Of the neighbours in each row of a grid's table the one with the least Σ w·(scale·level - x)², as indices (m,).

    rows (m,); x, weights (m, width); scaled: the scale (m,), and the levels (m, n_levels) that codes stand for. The
    first of equals wins; the nearest neighbour stands where no error is a number, and where ggml aborts.
    """
    found = np.empty(len(rows), dtype=np.int32)
    for start in range(0, len(rows), BATCH):
        part = slice(start, start + BATCH)
        scale, levels = scaled[0][part], scaled[1][part]
        found[part] = _best_of_batch(name, rows[part], x[part], weights[part], (scale, levels))
    return found


def _best_of_batch(name: str, rows: Codes, x: Floats, weights: Floats, scaled: tuple[Floats, Floats]) -> Codes:
    """`best_neighbours` of some vectors: all pairs of vector and neighbour lie one after another."""
    table, codes = grids.neighbourhood(name), grids.codes(name)
    first, counts = table.starts[rows], table.starts[rows + 1] - table.starts[rows]
    segments = np.concatenate([[0], np.cumsum(counts)[:-1]])
    owner = np.repeat(np.arange(len(rows)), counts)
    points = table.neighbours[np.arange(len(owner)) - segments[owner] + first[owner]]
    scale, levels = scaled
    error = np.zeros(len(owner), dtype=np.float32)
    for i in range(codes.shape[1]):
        difference = scale[owner] * levels[owner, codes[points, i]] - x[owner, i]
        error += weights[owner, i] * difference * difference
    hits = np.flatnonzero(error == np.fmin.reduceat(error, segments)[owner])
    winner = segments.copy()
    winner[owner[hits[::-1]]] = hits[::-1]
    best: Codes = points[winner].astype(np.int32)
    return best


class _Groups:
    """Groups of magnitudes with the weights of their errors, (vectors, width, groups) each."""

    def __init__(self, name: str, x: Floats, weights: Floats) -> None:
        """Super-blocks x, weights (n, 256) of a format."""
        facts, search = grids.FACTS[name], GRID_SEARCHES[name]
        self.name, self.bits, self.top = name, facts.bits, len(facts.levels) - 1
        shape = (-1, search.group // facts.width, facts.width)
        self.x = np.ascontiguousarray(x.reshape(shape).transpose(1, 2, 0))
        self.weights = np.ascontiguousarray(weights.reshape(shape).transpose(1, 2, 0))
        self.roots = np.sqrt(self.weights)
        self.table = grids.neighbourhood(name)
        self.levels = np.arange(1, 2 * self.top + 2, 2, dtype=np.float32)

    def places(self, codes: Codes) -> Codes:
        """Where vectors of codes (vectors, width, groups) are in the grid's table, (vectors, groups)."""
        packed = sum((codes[:, i] << self.bits * i for i in range(1, codes.shape[1])), codes[:, 0])
        return self.table.places[packed]

    def snapped(self, inverse: Floats, scale: Floats) -> tuple[Codes, Flags]:
        """Codes on the grid for x·inverse, and which vectors were there without help, (vectors, groups)."""
        codes = np.clip(nearest_int(np.float32(0.5) * (inverse * self.x - np.float32(1))), 0, self.top)
        places = self.places(codes)
        vector, group = np.nonzero(places < 0)
        levels = np.broadcast_to(self.levels, (len(group), len(self.levels)))
        rows = -1 - places[vector, group]
        x, roots = self.x[vector, :, group], self.roots[vector, :, group]
        if len(rows):
            found = best_neighbours(self.name, rows, x, roots, (scale[group], levels))
            codes[vector, :, group] = grids.codes(self.name)[found]
        return codes, places >= 0

    def sums(self, codes: Codes) -> tuple[Floats, Floats]:
        """Σ w·x·q and Σ w·q² of levels q = 2·code + 1, (groups,)."""
        q = (2 * codes + 1).astype(np.float32)
        flat = (-1, codes.shape[2])
        sum_qx = sequential_sum((self.weights * self.x * q).reshape(flat))
        return sum_qx, sequential_sum((self.weights * q * q).reshape(flat))

    def largest(self) -> Floats:
        """The largest magnitude, (groups,)."""
        extreme: Floats = self.x.max(axis=(0, 1))
        return extreme

    def free_scale(self) -> Floats:
        """The scale for codes 0..levels without a grid, (groups,)."""
        flat = (-1, self.x.shape[2])
        return free_code_scale(self.x.reshape(flat), self.weights.reshape(flat), self.top + 2)


def _squared_error(x: Floats, weights: Floats, fitted: Floats) -> Floats:
    """Σ w·(x - fitted)² over axis 0, multiplied in ggml's order."""
    difference = x - fitted
    return sequential_sum(weights * difference * difference)


def free_code_scale(x: Floats, weights: Floats, nmax: int) -> Floats:
    """Scales (groups,) for w = scale·q, q 0..nmax, of x, weights (n, groups), x >= 0 but for a few (make_qp_quants).

    Stretched scales are tried without a fit, the codes of the best are fitted, and then changed one at a time as long
    as (Σ w·x·q)² / Σ w·q² grows, in at most five rounds. A negative code is kept as its low byte, as ggml keeps it.
    """
    largest: Floats = np.fmax(np.fmax.reduce(x, axis=0), np.float32(0))
    inverse: Floats = np.float32(nmax) / largest
    codes = nearest_int(inverse * x).astype(np.uint8).astype(np.float32)
    best = _squared_error(x, weights, np.float32(1) / inverse * codes)
    for k in (-4, -3, -2, -1, 1, 2, 3, 4):
        tried: Floats = (np.float32(0.1) * np.float32(k) + np.float32(nmax)) / largest
        levels = np.minimum(nearest_int(tried * x), nmax).astype(np.float32)
        error = _squared_error(x, weights, np.float32(1) / tried * levels)
        inverse = np.where(error < best, tried, inverse)
        best = np.where(error < best, error, best)
    scale = _improve_codes(x, weights, np.minimum(nearest_int(inverse * x), nmax), nmax)
    return np.where(largest < GROUP_MAX_EPS, np.float32(0), scale)


def _improve_codes(x: Floats, weights: Floats, codes: Codes, nmax: int) -> Floats:
    """The fitted scale (groups,) after up to five rounds of changes to the codes (n, groups)."""
    sum_lx = sequential_sum(weights * x * codes.astype(np.float32))
    sum_l2 = sequential_sum(weights * codes.astype(np.float32) * codes.astype(np.float32))
    kept = codes.astype(np.uint8)
    for _ in range(5):
        changed = False
        for value, weight, code in zip(x, weights, kept, strict=True):
            old = code.astype(np.float32)
            rest_lx, rest_l2 = sum_lx - weight * value * old, sum_l2 - weight * old * old
            tried = np.minimum(nearest_int(value * rest_l2 / rest_lx), nmax)
            new = tried.astype(np.float32)
            new_lx, new_l2 = rest_lx + weight * value * new, rest_l2 + weight * new * new
            better = (rest_lx > 0) & (rest_l2 > 0) & (tried != code)
            better &= new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2
            code[better] = tried[better].astype(np.uint8)
            sum_lx, sum_l2 = np.where(better, new_lx, sum_lx), np.where(better, new_l2, sum_l2)
            changed |= bool(better.any())
        if not changed:
            break
    return np.where(sum_l2 > 0, sum_lx / sum_l2, np.float32(0))


def _start(groups: _Groups, search: GridSearch) -> tuple[Floats, Floats]:
    """The scale if no candidate is any good, and what the candidates stretch, (groups,) each."""
    if search.start == "largest":
        largest = groups.largest()
        return largest / np.float32(2 * groups.top + 1), largest
    scale = groups.free_scale()
    return scale, scale * np.float32(groups.top + 1)


def _first_search(groups: _Groups, search: GridSearch, start: tuple[Floats, Floats]) -> tuple[Floats, Codes, Flags]:
    """Of all candidates the best scale (groups,), its codes, and which vectors were on the grid without help."""
    scale, stretched = start
    codes = np.zeros(groups.x.shape, dtype=np.int32)
    on_grid = np.full((len(codes), len(scale)), search.refit == "the vectors")
    best = np.zeros_like(scale)
    for k in range(-search.steps, search.steps + 1):
        inverse: Floats = (np.float32(2 * groups.top + 1) + np.float32(k) * np.float32(search.step)) / stretched
        tried, on = groups.snapped(inverse, np.float32(1) / inverse)
        sum_qx, sum_q2 = groups.sums(tried)
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        scale = np.where(better, sum_qx / sum_q2, scale)
        best = np.where(better, scale * sum_qx, best)
        codes = np.where(better, tried, codes)
        on_grid = np.where(better, on, on_grid)
    return scale, codes, on_grid


def _refit(groups: _Groups, search: GridSearch, found: tuple[Floats, Codes, Flags]) -> tuple[Floats, Codes]:
    """Scales and codes after vectors were looked up again with the scale found."""
    scale, codes, on_grid = found
    due = (scale > 0) & (~on_grid.all(axis=0) | (search.refit == "always"))
    again, _ = groups.snapped(np.float32(1) / scale, scale)
    vectors = due & ~on_grid if search.refit == "the vectors" else np.broadcast_to(due, on_grid.shape)
    codes = np.where(vectors[:, None], again, codes)
    sum_qx, sum_q2 = groups.sums(codes)
    return np.where(due & (sum_q2 > 0), sum_qx / sum_q2, scale), codes


def round_multiples(d: Floats, scales: Floats, top: int) -> Bytes:
    """The l in 0..top for which d·(2·l + 1) is nearest to scales (n, groups), for d (n, 1)."""
    inverse = np.float32(1) / d
    nearest = nearest_int(np.float32(0.5) * (inverse * scales - np.float32(1)))
    return np.clip(nearest, 0, top).astype(np.uint8)


def fit_grid(name: str, x: Floats, importance: Floats | None) -> GridFit:
    """Search for the best codes of super-blocks x (n, 256); importance as in kernels.codecs.

    Raises ValueError where the format needs importance and there is none.
    """
    search, n = GRID_SEARCHES[name], len(x)
    weights = _weights(name, x, importance)
    magnitudes, signs = _split_signs(x, weights, search.even_signs)
    groups = _Groups(name, magnitudes, weights)
    start = _start(groups, search)
    empty = (groups.largest() < np.float32(search.smallest)) | ~(start[1] > 0)
    scale, codes = _refit(groups, search, _first_search(groups, search, start))
    scale = np.where(empty, np.float32(0), scale).reshape(n, -1)
    points = np.where(empty, 0, groups.places(codes)).T.reshape(n, -1)
    flipped = np.where(scale < 0, np.uint8(127 if search.even_signs else 255), np.uint8(0))
    kept = np.where(empty, np.uint8(0), np.uint8(255)).reshape(n, -1)
    octets = search.group // 8
    signs = (signs ^ np.repeat(flipped, octets, axis=1)) & np.repeat(kept, octets, axis=1)
    d = np.abs(scale).max(axis=1, keepdims=True) / np.float32(TOP_MULTIPLE)
    nothing = d == 0
    multiples = np.where(nothing, np.uint8(0), round_multiples(d, np.abs(scale), 15))
    return GridFit(d[:, 0] * np.float32(search.fudge), multiples, np.where(nothing, 0, points), signs)
