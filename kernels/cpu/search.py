"""The searches of ggml's K types, 16 groups of weights at a time: one group per lane, so that no sum crosses lanes.

Candidates, arithmetic and acceptance are those of `kernels.reference.search`, rounding by rounding: one lane adds up
its group one weight after another, as C does, nothing is fused and nothing divided by way of a reciprocal. So the same
candidate wins here as in ggml, and the blocks are the same to the byte.

Cheaper sums were measured and given up. The error of a candidate follows from the sums of its fit without a second
pass over the weights, but as a difference of large numbers: where weights lie far from zero, or one of them far from
the others, another candidate wins, with 1.5 times ggml's squared error and worse. It was a fifth faster.

Source: ggml-quants.c, make_qx_quants (rmse_type 1, no importance) and make_qkx2_quants (squared error).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.cpu.compiled import inlined
from kernels.cpu.vectors import larger, magnitude, rint, root, smaller, splat, where

GROUP_MAX_EPS = 1e-15  # groups whose largest magnitude is below this count as all zero
NUDGES = 9  # make_qx_quants tries -9 … 9 tenths of a code


@inlined
def weights_of_k_types(xs: Any, ws: Any, n: int) -> None:
    """Weights √(Σ x²/n) + |x| of every group: what ggml uses where no importance is given."""
    energy = splat(0)
    for e in range(n):
        energy += xs[e] * xs[e]
    mean = root(energy / n)
    for e in range(n):
        ws[e] = mean + magnitude(xs[e])


@inlined
def affine_codes(xs: Any, codes: Any, n: int, nmax: int, inverse: Any, minimum: Any) -> None:
    """The codes round((x - minimum)·inverse), clipped to 0 … nmax."""
    for e in range(n):
        codes[e] = smaller(larger(rint(inverse * (xs[e] - minimum)), 0), nmax)


@inlined
def affine_fit(xs: Any, ws: Any, codes: Any, n: int, of_weights: Any) -> tuple[Any, Any, Any]:
    """Scale and minimum (<= 0) of least weighted squared error for given codes, and whether there is one."""
    sum_l, sum_l2, sum_xl = splat(0), splat(0), splat(0)
    for e in range(n):
        weighted = ws[e] * codes[e]
        sum_l += weighted
        sum_l2 += weighted * codes[e]
        sum_xl += weighted * xs[e]
    sum_w, sum_x = of_weights
    determinant = sum_w * sum_l2 - sum_l * sum_l
    scale = (sum_w * sum_xl - sum_x * sum_l) / determinant
    minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant
    positive = minimum > 0
    return where(positive, sum_xl / sum_l2, scale), where(positive, 0, minimum), determinant > 0


@inlined
def squared_error(xs: Any, ws: Any, codes: Any, n: int, scale: Any, minimum: Any) -> Any:
    """Σ w·(scale·q + minimum - x)²."""
    error = splat(0)
    for e in range(n):
        difference = scale * codes[e] + minimum - xs[e]
        error += ws[e] * (difference * difference)
    return error


@inlined
def make_qkx2_quants(xs: Any, ws: Any, codes: Any, n: int, search: tuple[int, float, float, int]) -> tuple[Any, Any]:
    """Scales and minima (<= 0) of w = scale·q + minimum, q 0 … nmax, for xs[0 … n-1] with weights ws.

    search: nmax, first, step, steps of `kernels.codecs.AffineSearch`. codes: room for n lanes.
    """
    nmax, first, step, steps = search
    low, high = xs[0], xs[0]
    sum_w = ws[0]
    sum_x = sum_w * xs[0]
    for e in range(1, n):
        low, high = smaller(xs[e], low), larger(xs[e], high)
        sum_w += ws[e]
        sum_x += ws[e] * xs[e]
    of_weights = sum_w, sum_x
    low = smaller(low, 0)

    inverse = nmax / (high - low)
    scale, minimum = 1 / inverse, low
    affine_codes(xs, codes, n, nmax, inverse, minimum)
    best = squared_error(xs, ws, codes, n, scale, minimum)
    for k in range(steps + 1):
        levels = np.float32(first) + np.float32(step) * np.float32(k) + np.float32(nmax)
        # From the minimum of the best candidate so far, not from that of the group: so does ggml.
        affine_codes(xs, codes, n, nmax, levels / (high - minimum), minimum)
        tried, tried_minimum, solvable = affine_fit(xs, ws, codes, n, of_weights)
        error = squared_error(xs, ws, codes, n, tried, tried_minimum)
        better = solvable & (error < best)
        best = where(better, error, best)
        scale = where(better, tried, scale)
        minimum = where(better, tried_minimum, minimum)
    spread = high > low
    return where(spread, scale, 0), where(spread, minimum, low)


@inlined
def _fit_symmetric(xs: Any, ws: Any, n: int, nmax: int, inverse: Any) -> tuple[Any, Any]:
    """Σ w·x·q and Σ w·q² of the codes q = round(x·inverse), clipped to -nmax … nmax-1; ws holds w, then w·x."""
    sum_lx, sum_l2 = splat(0), splat(0)
    for e in range(n):
        code = smaller(larger(rint(inverse * xs[e]), -nmax), nmax - 1)
        sum_lx += ws[n + e] * code
        sum_l2 += ws[e] * code * code
    return sum_lx, sum_l2


@inlined
def make_qx_quants(xs: Any, ws: Any, n: int, nmax: int) -> Any:
    """Signed scales of w = scale·q, q -nmax … nmax-1, for xs[0 … n-1]; ws is room for 2·n lanes."""
    extreme, most = splat(0), splat(0)
    for e in range(n):
        x = xs[e]
        ws[e] = x * x
        ws[n + e] = x * x * x
        above = magnitude(x) > most
        most = where(above, magnitude(x), most)
        extreme = where(above, x, extreme)

    sum_lx, sum_l2 = _fit_symmetric(xs, ws, n, nmax, -nmax / extreme)
    scale = where(sum_l2 > 0, sum_lx / sum_l2, 0)
    best = scale * sum_lx
    for k in range(2 * NUDGES):
        nudge = k - NUDGES if k < NUDGES else k - NUDGES + 1  # -9 … -1, 1 … 9
        levels = np.float32(nmax) + np.float32(0.1) * np.float32(nudge)
        sum_lx, sum_l2 = _fit_symmetric(xs, ws, n, nmax, -levels / extreme)
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        scale = where(better, sum_lx / sum_l2, scale)
        best = where(better, scale * sum_lx, best)
    return where(most < GROUP_MAX_EPS, 0, scale)
