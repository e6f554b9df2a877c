"""The searches of the level "best", 16 groups of weights at a time, one per lane; specified in kernels.reference.

They differ from `kernels.reference.best_search` in the order of sums and in fused operations, so that where two
candidates all but tie another may win. Every lane ends with an error that is no more than that of its start.
A group is xs[0 … n-1], its weights ws[0 … n-1].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.best_search import EVERY, WindowSearch
from kernels.cpu.compiled import inlined
from kernels.cpu.half import half_bits, half_value
from kernels.cpu.lanes import load, store
from kernels.cpu.vectors import larger, magnitude, muladd, rint, smaller, splat, where
from kernels.cpu.weighted import extremes

SPLITTER = 2.0**13 + 1  # leaves 11 bits of the 24 of a float32
SMALLEST_NORMAL = 2.0**-14  # of the halves; below it they are 2^-24 apart, as float32 around ALIGNER are
ALIGNER = 0.75
BEYOND = 65520.0  # the first float32 that no half is near to


@inlined
def as_half(x: Any) -> Any:
    """The nearest halves, as float32; infinity beyond their range."""
    carried = x * SPLITTER
    rounded = where(magnitude(x) < SMALLEST_NORMAL, (x + ALIGNER) - ALIGNER, carried - (carried - x))
    return where(magnitude(x) < BEYOND, rounded, np.inf)


@inlined
def reciprocal(d: Any) -> Any:
    """1/d, and 0 where d is 0."""
    return where(magnitude(d) > 0, 1 / d, 0)


@inlined
def nearest(x: Any, inverse: Any, limits: tuple[int, int]) -> Any:
    """The codes nearest to x·inverse."""
    return smaller(larger(rint(x * inverse), limits[0]), limits[1])


@inlined
def errors(xs: Any, ws: Any, n: int, of: tuple[Any, Any], limits: tuple[int, int]) -> Any:
    """Σ w·(d·q + m - x)² with the nearest codes, for of = d, m."""
    d, m = of
    inverse, error = reciprocal(d), splat(0)
    for e in range(n):
        above = xs[e] - m
        difference = muladd(d, nearest(above, inverse, limits), 0 - above)
        error = muladd(ws[e] * difference, difference, error)
    return error


@inlined
def best_scale(xs: Any, ws: Any, n: int, start: Any, search: tuple[Any, int]) -> tuple[Any, Any]:
    """Halves d of w = d·q, q -nmax … nmax-1, and where they are better than `start`.

    search: how many codes the largest magnitude becomes in every candidate, and nmax.
    """
    levels, nmax = search
    limits = -nmax, nmax - 1
    extreme, _ = extremes(xs, n)
    first = errors(xs, ws, n, (start, splat(0)), limits)
    best, scale = first, start
    for k in range(2 * len(levels)):
        inverse = (levels[k >> 1] if k & 1 else -levels[k >> 1]) / extreme
        sum_lx, sum_l2 = splat(0), splat(0)
        for e in range(n):
            code = nearest(xs[e], inverse, limits)
            weighted = ws[e] * code
            sum_lx = muladd(weighted, xs[e], sum_lx)
            sum_l2 = muladd(weighted, code, sum_l2)
        d = as_half(sum_lx / sum_l2)
        tried = errors(xs, ws, n, (d, splat(0)), limits)
        better = tried < best
        best, scale = where(better, tried, best), where(better, d, scale)
    return scale, best < first


@inlined
def _totals(xs: Any, ws: Any, n: int) -> tuple[Any, Any]:
    """Σ w and Σ w·x."""
    total, sum_x = splat(0), splat(0)
    for e in range(n):
        total += ws[e]
        sum_x = muladd(ws[e], xs[e], sum_x)
    return total, sum_x


@inlined
def _refit(xs: Any, ws: Any, n: int, of: tuple[Any, Any], of_weights: Any, nmax: int) -> tuple[Any, Any]:
    """The least squares d and m for the codes nearest with other ones."""
    d, m = of
    inverse = reciprocal(d)
    sum_q, sum_qq, sum_qx = splat(0), splat(0), splat(0)
    for e in range(n):
        code = nearest(xs[e] - m, inverse, (0, nmax))
        weighted = ws[e] * code
        sum_q += weighted
        sum_qq = muladd(weighted, code, sum_qq)
        sum_qx = muladd(weighted, xs[e], sum_qx)
    total, sum_x = of_weights
    determinant = total * sum_qq - sum_q * sum_q
    return (total * sum_qx - sum_x * sum_q) / determinant, (sum_qq * sum_x - sum_q * sum_qx) / determinant


@inlined
def best_scale_and_minimum(xs: Any, ws: Any, n: int, start: tuple[Any, Any], search: Any) -> tuple[Any, Any, Any]:
    """Halves d and m of w = d·q + m, q 0 … nmax, and where they are better than `start`.

    search: nmax, trims, refits of `kernels.best_search.TrimSearch`.
    """
    nmax, trims, refits = search
    low, high = xs[0], xs[0]
    for e in range(1, n):
        low, high = smaller(xs[e], low), larger(xs[e], high)
    of_weights = _totals(xs, ws, n)
    scale, minimum = start
    first = errors(xs, ws, n, start, (0, nmax))
    best = first
    for k in range(len(trims) * len(trims)):
        m = low + trims[k // len(trims)] * (high - low)
        d = (high - trims[k % len(trims)] * (high - low) - m) / nmax
        for _ in range(refits):
            d, m = _refit(xs, ws, n, (d, m), of_weights, nmax)
        d, m = as_half(d), as_half(m)
        tried = errors(xs, ws, n, (d, m), (0, nmax))
        better = tried < best
        best = where(better, tried, best)
        scale, minimum = where(better, d, scale), where(better, m, minimum)
    return scale, minimum, best < first


# Multiples of a super-block's halves. A group has its own multiples s and m, float lanes, and the halves d and dmin of
# its super-block; `halves` keeps these for every lane in memory, d from 0 and dmin from 16 on.


@inlined
def _errors_of(groups: Any, halves: Any, s: Any, m: Any, search: Any) -> Any:
    """Errors of groups (xs, ws, n) with multiples s and m."""
    xs, ws, n = groups
    return errors(xs, ws, n, (load(halves, 0) * s, 0 - load(halves, 16) * m), search[0])


@inlined
def _moved(multiples: Any, k: int, every: int, limits: tuple[int, int]) -> Any:
    """What candidate k tries instead: k itself, or k more, within limits."""
    tried = splat(k) if every != 0 else multiples + k
    return smaller(larger(tried, limits[0]), limits[1])


@inlined
def _search_multiples(groups: Any, halves: Any, at: tuple[Any, Any, Any], search: Any, tried: Any) -> Any:
    """The best pair of multiples near those of at = s, m, errors, for every group, and the errors then.

    search: limits of the codes and of the multiples, and whether there is a minimum. tried: first, last and step of
    what is added to a multiple or, where the fourth number is not 0, of what it becomes.
    """
    s, m, best = at
    first, last, step, every = tried
    best_s, best_m = s, m
    affine = search[2]
    for k in range(first, last + 1, step):
        other_s = _moved(s, k, every, search[1])
        for j in range(first if affine else 0, last + 1 if affine else 1, step):
            other_m = _moved(m, j, every, search[1]) if affine else m
            error = _errors_of(groups, halves, other_s, other_m, search)
            better = error < best
            best = where(better, error, best)
            best_s, best_m = where(better, other_s, best_s), where(better, other_m, best_m)
    return best_s, best_m, best


@inlined
def _products(groups: Any, halves: Any, at: tuple[Any, Any], search: Any, sums: Any) -> None:
    """Σ w·a², w·a·b, w·b², w·a·x and w·b·x of every lane into sums (5, 16): w = d·a + dmin·b, a = s·q, b = -m."""
    xs, ws, n = groups
    s, m = at
    minimum = load(halves, 16) * m
    inverse = reciprocal(load(halves, 0) * s)
    sum_q, sum_qq, sum_qx = splat(0), splat(0), splat(0)
    for e in range(n):
        code = nearest(xs[e] + minimum, inverse, search[0])
        weighted = ws[e] * code
        sum_q += weighted
        sum_qq = muladd(weighted, code, sum_qq)
        sum_qx = muladd(weighted, xs[e], sum_qx)
    total, sum_x = _totals(xs, ws, n)
    store(sums, 0, s * s * sum_qq)
    store(sums, 16, 0 - s * m * sum_q)
    store(sums, 32, m * m * total)
    store(sums, 48, s * sum_qx)
    store(sums, 64, 0 - m * sum_x)


@inlined
def _sum_of(values: Any, first: int, count: int) -> Any:
    """The float64 sum of some values."""
    total = 0.0
    for i in range(first, first + count):
        total += values[i]
    return total


@inlined
def _solve(sums: Any, first: int, lanes: int, dmin: Any) -> tuple[Any, Any]:
    """The least squares d and dmin of the super-block in these lanes, as halves; the old dmin where it is not seen."""
    aa, ab, bb = _sum_of(sums, first, lanes), _sum_of(sums, 16 + first, lanes), _sum_of(sums, 32 + first, lanes)
    ax, bx = _sum_of(sums, 48 + first, lanes), _sum_of(sums, 64 + first, lanes)
    determinant = aa * bb - ab * ab
    d = (ax - dmin * ab) / aa
    if determinant > 1e-9 * aa * bb:
        d = (bb * ax - ab * bx) / determinant
        dmin = (aa * bx - ab * ax) / determinant
    return half_value(half_bits(np.float32(d))), half_value(half_bits(np.float32(dmin)))


@inlined
def _fit_halves(groups: Any, halves: Any, at: tuple[Any, Any, Any], search: Any, scratch: Any) -> Any:
    """Change the halves of super-blocks to the least squares ones where the error falls by it; the errors then.

    at: s, m and their errors. scratch: lanes to a super-block, room for sums (5, 16), halves, errors (2, 16).
    """
    lanes, sums, tried, errors = scratch
    s, m, before = at
    _products(groups, halves, (s, m), search, sums)
    for first in range(0, 16, lanes):
        d, dmin = _solve(sums, first, lanes, halves[16 + first])
        tried[first : first + lanes], tried[16 + first : 16 + first + lanes] = d, dmin
    store(errors, 0, before)
    store(errors, 16, _errors_of(groups, tried, s, m, search))
    for first in range(0, 16, lanes):
        possible = not search[2] or (tried[first] > 0 and tried[16 + first] >= 0)
        if possible and is_less(errors, first, lanes):
            for i in range(first, first + lanes):
                halves[i], halves[16 + i], errors[i] = tried[i], tried[16 + i], errors[16 + i]
    return load(errors, 0)


@inlined
def is_less(errors: Any, first: int, lanes: int) -> bool:
    """Whether the super-block in these lanes has less error in the second half of errors (2, 16) than in the first."""
    return bool(_sum_of(errors, 16 + first, lanes) < _sum_of(errors, first, lanes))


@inlined
def refine_multiples(groups: Any, state: tuple[Any, Any, Any], search: Any, lanes: int) -> None:
    """Better halves and multiples for what the lanes hold, so many of them a super-block.

    state: halves (2, 16), multiples (s, then m), and room for the errors before and after. search: see `constants`.
    """
    halves, multiples, found = state
    scratch = lanes, np.empty(80, np.float32), np.empty(32, np.float32), np.empty(32, np.float32)
    s, m = load(multiples, 0), load(multiples, 16)
    error = _errors_of(groups, halves, s, m, search)
    store(found, 0, error)
    for tried in search[3]:
        s, m, error = _search_multiples(groups, halves, (s, m, error), search, tried)
        error = _fit_halves(groups, halves, (s, m, error), search, scratch)
    store(found, 16, error)
    store(multiples, 0, s)
    store(multiples, 16, m)


def constants(search: WindowSearch) -> tuple[Any, ...]:
    """A row of the table for compiled code: limits of codes, of multiples, whether there is a minimum, the rounds."""
    rounds = tuple((*search.tried(window), int(window == EVERY)) for window in search.windows)
    return search.codes, search.multiples, search.affine, rounds
