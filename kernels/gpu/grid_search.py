"""The search of kernels.reference.grid_search in torch: the same candidates, the same order of sums on every device.

Vectors off the grid meet their neighbours in one list of pairs, as in the reference; the least error of a vector, and
the first pair that has it, come from two scattered minima. Groups lie along the last axis, (vectors, width, groups).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kernels import grids
from kernels.gpu.grid_tables import tables
from kernels.gpu.search import GROUP_MAX_EPS, quotient, root, sequential_sum
from kernels.gpu.steps import stretched
from kernels.grid_search import GRID_SEARCHES, TOP_MULTIPLE, GridSearch

BATCH = 1 << 16  # vectors whose neighbours are measured at a time
ROUNDING_MAGIC = 12582912.0


@dataclass(frozen=True, slots=True)
class GridFit:
    """Super-blocks as found: fields of kernels.reference.grid_search.GridFit, d float32, the others int64."""

    d: Tensor
    multiples: Tensor
    points: Tensor
    signs: Tensor


def nearest_int(x: Tensor) -> Tensor:
    """The nearest integer as ggml has it, ties to even; what is too large for it, or NaN, too."""
    return ((x + ROUNDING_MAGIC).view(torch.int32) & 0x007FFFFF) - 0x00400000


def pack_octets(bits: Tensor) -> Tensor:
    """Bits (n, m, 8) -> int64 (n, m), the first bit lowest."""
    packed = torch.zeros(bits.shape[:2], dtype=torch.int64, device=bits.device)
    for position in range(8):
        packed |= bits[:, :, position].long() << position
    return packed


def mean_square(x: Tensor, factor: float) -> Tensor:
    """factor·Σx²/256 of super-blocks (n, 256), as (n, 1)."""
    return (factor * sequential_sum(x.square().T.contiguous()) / 256)[:, None]


def error_weights(x: Tensor, sigma2: Tensor, importance: Tensor) -> Tensor:
    """importance·sqrt(σ² + x²) of super-blocks x (n, 256), with the importance (blocks_per_row, 256) of one row."""
    blocks = torch.arange(len(x), device=x.device) % len(importance)
    return importance[blocks] * root(sigma2 + x * x)


def _weights(name: str, x: Tensor, importance: Tensor | None) -> Tensor:
    """The weights of the errors (n, 256); raises ValueError where a format needs importance and there is none."""
    search = GRID_SEARCHES[name]
    sigma2 = mean_square(x, search.spread)
    if importance is not None:
        return error_weights(x, sigma2, importance)
    if search.plain is None:
        raise ValueError(f"{name} cannot be encoded without importance")
    return x * x if search.plain == "squares" else 0.25 * sigma2 + x * x


def _split_signs(x: Tensor, weights: Tensor, even: bool) -> tuple[Tensor, Tensor]:
    """Magnitudes (n, 256) and sign bits (n, 32) of 8 weights each, their number made even where asked."""
    negative = ~(x >= 0).view(-1, 32, 8)
    if even:
        cost = (weights * x * x).view(-1, 32, 8)
        least = cost == cost.amin(dim=2, keepdim=True)
        cheapest = least & (least.cumsum(dim=2) == 1)
        odd = negative.sum(dim=2, keepdim=True) % 2 == 1
        negative = negative ^ (cheapest & odd)
    signs = pack_octets(negative)
    return torch.where(negative.view(-1, 256), -x, x), signs & 127 if even else signs


def best_neighbours(name: str, rows: Tensor, x: Tensor, weights: Tensor, scaled: tuple[Tensor, Tensor]) -> Tensor:
    """Of the neighbours in each row of a grid's table the one with the least Σ w·(scale·level - x)², as indices (m,).

    rows (m,); x, weights (m, width); scaled: the scale (m,), and the levels (m, n_levels) that codes stand for.
    """
    if not len(rows):
        return rows
    parts = [slice(start, start + BATCH) for start in range(0, len(rows), BATCH)]
    return torch.cat([_best_of_batch(name, rows[p], x[p], weights[p], (scaled[0][p], scaled[1][p])) for p in parts])


def _best_of_batch(name: str, rows: Tensor, x: Tensor, weights: Tensor, scaled: tuple[Tensor, Tensor]) -> Tensor:
    """`best_neighbours` of some vectors: all pairs of vector and neighbour lie one after another."""
    grid = tables(name, x.device)
    first = grid.starts[rows]
    counts = grid.starts[rows + 1] - first
    owner = torch.arange(len(rows), device=x.device).repeat_interleave(counts)
    pairs = torch.arange(len(owner), device=x.device)
    points = grid.neighbours[pairs + (first - counts.cumsum(0) + counts)[owner]]
    scale = scaled[0][owner]
    error = torch.zeros_like(scale)
    for i in range(x.shape[1]):
        difference = scale * scaled[1][owner, grid.codes[points, i]] - x[owner, i]
        error += weights[owner, i] * difference * difference
    error = torch.nan_to_num(error, nan=float("inf"), posinf=float("inf"))
    least = torch.full_like(x[:, 0], float("inf")).scatter_reduce_(0, owner, error, "amin")
    ties = torch.where(error == least[owner], pairs, len(pairs))
    winner = torch.full_like(rows, len(pairs)).scatter_reduce_(0, owner, ties, "amin")
    return points[winner]


class Groups:
    """Groups of magnitudes with the weights of their errors, (vectors, width, groups) each."""

    def __init__(self, name: str, x: Tensor, weights: Tensor) -> None:
        """Super-blocks x, weights (n, 256) of a format."""
        facts, search = grids.FACTS[name], GRID_SEARCHES[name]
        self.name, self.bits, self.top = name, facts.bits, len(facts.levels) - 1
        shape = (-1, search.group // facts.width, facts.width)
        self.x = x.view(shape).permute(1, 2, 0).contiguous()
        self.weights = weights.view(shape).permute(1, 2, 0).contiguous()
        self.roots = root(self.weights)
        self.grid = tables(name, x.device)
        self.levels = torch.arange(1, 2 * self.top + 2, 2, dtype=torch.float32, device=x.device)

    def flat(self, values: Tensor) -> Tensor:
        """(vectors, width, groups) as (elements, groups)."""
        return values.reshape(-1, values.shape[2])

    def places(self, codes: Tensor) -> Tensor:
        """Where vectors of codes (vectors, width, groups) are in the grid's table, (vectors, groups)."""
        packed = codes[:, 0].long()
        for i in range(1, codes.shape[1]):
            packed |= codes[:, i].long() << self.bits * i
        return self.grid.places[packed]

    def snapped(self, inverse: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Codes on the grid for x·inverse, and which vectors were there without help, (vectors, groups)."""
        codes = nearest_int(0.5 * (inverse * self.x - 1)).clamp_(0, self.top)
        places = self.places(codes)
        vector, group = torch.nonzero(places < 0, as_tuple=True)
        x, roots = self.x[vector, :, group], self.roots[vector, :, group]
        levels = self.levels.expand(len(group), -1)
        found = best_neighbours(self.name, -1 - places[vector, group], x, roots, (scale[group], levels))
        codes[vector, :, group] = self.grid.codes[found].to(codes.dtype)
        return codes, places >= 0

    def sums(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Σ w·x·q and Σ w·q² of levels q = 2·code + 1, (groups,)."""
        q = (2 * codes + 1).float()
        sum_qx = sequential_sum(self.flat(self.weights * self.x * q))
        return sum_qx, sequential_sum(self.flat(self.weights * q * q))

    def start(self, search: GridSearch) -> tuple[Tensor, Tensor]:
        """The scale if no candidate is any good, and what the candidates stretch, (groups,) each."""
        if search.start == "largest":
            largest = self.x.amax(dim=(0, 1))
            return quotient(largest, float(2 * self.top + 1)), largest
        scale = free_code_scale(self.flat(self.x), self.flat(self.weights), self.top + 2)
        return scale, scale * (self.top + 1)


def free_code_scale(x: Tensor, weights: Tensor, nmax: int) -> Tensor:
    """Scales (groups,) for w = scale·q, q 0..nmax, of x, weights (n, groups); see kernels.reference.grid_search."""
    largest = x.amax(dim=0).clamp(min=0)
    inverse = quotient(float(nmax), largest)
    best = _squared_error(x, weights, quotient(1.0, inverse) * (nearest_int(inverse * x) & 255).float())
    for k in (-4, -3, -2, -1, 1, 2, 3, 4):
        tried = quotient(stretched(nmax, 0.0, 0.1, k), largest)
        levels = nearest_int(tried * x).clamp(max=nmax).float()
        error = _squared_error(x, weights, quotient(1.0, tried) * levels)
        inverse, best = torch.where(error < best, tried, inverse), torch.where(error < best, error, best)
    scale = _improve_codes(x, weights, nearest_int(inverse * x).clamp(max=nmax), nmax)
    return torch.where(largest < GROUP_MAX_EPS, torch.zeros_like(scale), scale)


def _squared_error(x: Tensor, weights: Tensor, fitted: Tensor) -> Tensor:
    """Σ w·(x - fitted)² over axis 0, multiplied in ggml's order."""
    difference = x - fitted
    return sequential_sum(weights * difference * difference)


def _improve_codes(x: Tensor, weights: Tensor, codes: Tensor, nmax: int) -> Tensor:
    """The fitted scale (groups,) after up to five rounds of changes to the codes (n, groups)."""
    sum_lx = sequential_sum(weights * x * codes)
    sum_l2 = sequential_sum(weights * codes * codes)
    kept = codes & 255
    for _ in range(5):
        before = kept.clone()
        for value, weight, code in zip(x, weights, kept, strict=True):
            rest_lx, rest_l2 = sum_lx - weight * value * code, sum_l2 - weight * code * code
            new = nearest_int(value * rest_l2 / rest_lx).clamp(max=nmax)
            new_lx, new_l2 = rest_lx + weight * value * new, rest_l2 + weight * new * new
            better = (rest_lx > 0) & (rest_l2 > 0) & (new != code)
            better &= new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2
            code.copy_(torch.where(better, new & 255, code))
            sum_lx, sum_l2 = torch.where(better, new_lx, sum_lx), torch.where(better, new_l2, sum_l2)
        if torch.equal(before, kept):
            break
    return torch.where(sum_l2 > 0, sum_lx / sum_l2, torch.zeros_like(sum_l2))


def _first_search(groups: Groups, search: GridSearch, start: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Of all candidates the best scale (groups,), its codes, and which vectors were on the grid without help."""
    scale, base = start
    codes = torch.zeros(groups.x.shape, dtype=torch.int32, device=scale.device)
    on_grid = torch.full((len(codes), len(scale)), search.refit == "the vectors", device=scale.device)
    best = torch.zeros_like(scale)
    top = np.float32(2 * groups.top + 1)
    for k in range(-search.steps, search.steps + 1):
        inverse = quotient(float(top + np.float32(k) * np.float32(search.step)), base)
        tried, on = groups.snapped(inverse, quotient(1.0, inverse))
        sum_qx, sum_q2 = groups.sums(tried)
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        scale = torch.where(better, sum_qx / sum_q2, scale)
        best = torch.where(better, scale * sum_qx, best)
        codes, on_grid = torch.where(better, tried, codes), torch.where(better, on, on_grid)
    return scale, codes, on_grid


def _refit(groups: Groups, search: GridSearch, found: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Scales and codes after vectors were looked up again with the scale found."""
    scale, codes, on_grid = found
    due = (scale > 0) & (~on_grid.all(dim=0) | (search.refit == "always"))
    again, _ = groups.snapped(quotient(1.0, scale), scale)
    vectors = due & ~on_grid if search.refit == "the vectors" else due.expand_as(on_grid)
    codes = torch.where(vectors[:, None], again, codes)
    sum_qx, sum_q2 = groups.sums(codes)
    return torch.where(due & (sum_q2 > 0), sum_qx / sum_q2, scale), codes


def round_multiples(d: Tensor, scales: Tensor, top: int) -> Tensor:
    """The l in 0..top, int64, for which d·(2·l + 1) is nearest to scales (n, groups), for d (n, 1); 0 where d is 0."""
    nearest = nearest_int(0.5 * (quotient(1.0, d) * scales - 1)).clamp(0, top).long()
    return torch.where(d == 0, torch.zeros_like(nearest), nearest)


def fit_grid(name: str, x: Tensor, importance: Tensor | None) -> GridFit:
    """Search for the best codes of super-blocks x (n, 256); importance as in kernels.codecs.

    Raises ValueError where the format needs importance and there is none.
    """
    search, n = GRID_SEARCHES[name], len(x)
    weights = _weights(name, x, importance)
    magnitudes, signs = _split_signs(x, weights, search.even_signs)
    groups = Groups(name, magnitudes, weights)
    start = groups.start(search)
    empty = (groups.x.amax(dim=(0, 1)) < search.smallest) | ~(start[1] > 0)
    scale, codes = _refit(groups, search, _first_search(groups, search, start))
    scale = scale.masked_fill(empty, 0).view(n, -1)
    points = groups.places(codes).masked_fill(empty, 0).T.reshape(n, -1)
    octets = search.group // 8
    flipped = torch.where(scale < 0, 127 if search.even_signs else 255, 0).repeat_interleave(octets, dim=1)
    signs = (signs ^ flipped).masked_fill(empty.view(n, -1).repeat_interleave(octets, dim=1), 0)
    d = quotient(scale.abs().amax(dim=1, keepdim=True), float(TOP_MULTIPLE))
    fudge = float(np.float32(search.fudge))
    return GridFit(d * fudge, round_multiples(d, scale.abs(), 15), points.masked_fill(d == 0, 0), signs)
