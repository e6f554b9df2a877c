"""The searches of ggml's K types for the best scale of a group of weights, candidate by candidate.

Both searches try a few scales near the obvious one, round all weights with each, fit the scale anew by weighted least
squares for those codes, and keep the best. Names and order of the arithmetic are ggml's, so that the same candidate
wins here as there: every sum runs over the elements of a group one after another in float32, vectorised over groups.
For that, groups lie along the second axis inside this module: x.T has shape (n, groups).

    make_qx_quants   w = scale · q          q -nmax..nmax-1   maximise (Σ w·x·q)² / Σ w·q²  with w = x²
    make_qkx2_quants w = scale · q + min    q 0..nmax         minimise Σ w·(scale·q + min - x)²,  min <= 0

Rounding is nearest_int: adding 1.5·2^23 leaves the nearest integer, ties to even, in the low mantissa bits. Outside
|x| < 2^22, and for NaN, it yields what those bits happen to be; that is kept, since ggml's result depends on it.

Ties are no rare accident here: a candidate of 30.5 levels puts the largest element of every group exactly between two
codes, and only the correctly rounded quotient levels/(max - min) makes the same choice as ggml.

Source: ggml-quants.c, nearest_int, make_qx_quants (rmse_type 1, no importance), make_qkx2_quants (squared error).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.codecs import AffineSearch
from kernels.reference.layout import Floats

Codes = npt.NDArray[np.int32]

GROUP_MAX_EPS = np.float32(1e-15)  # groups whose largest magnitude is below this count as all zero
ROUNDING_MAGIC = np.float32(12582912)
NUDGES = tuple(k for k in range(-9, 10) if k != 0)


def nearest_int(x: Floats) -> Codes:
    """The nearest integer, ties to even, for |x| < 2^22; x of any shape."""
    bits = np.asarray(x + ROUNDING_MAGIC, dtype=np.float32).view(np.int32)
    return (bits & 0x007FFFFF) - 0x00400000


def sequential_sum(terms: Floats) -> Floats:
    """Σ over axis 0 in float32, one after another: numpy's own sum may add in pairs, which C does not."""
    total = np.zeros(terms.shape[1:], dtype=np.float32)
    for row in terms:
        total += row
    return total


def _fit_symmetric(x: Floats, codes: Floats) -> tuple[Floats, Floats]:
    """Σ w·x·q and Σ w·q² with w = x²; x and codes (n, groups)."""
    weights = x * x
    return sequential_sum(weights * x * codes), sequential_sum(weights * codes * codes)


def make_qx_quants(x: Floats, nmax: int) -> tuple[Floats, Codes]:
    """Scales (groups,), signed, and codes (groups, n) in 0..2·nmax-1 for x (groups, n)."""
    x = np.ascontiguousarray(x.T)
    magnitude = np.abs(x)
    extreme = np.take_along_axis(x, magnitude.argmax(axis=0)[None], axis=0)[0]
    empty = magnitude.max(axis=0) < GROUP_MAX_EPS

    def candidate(numerator: np.float32) -> Codes:
        return np.clip(nearest_int(numerator / extreme * x), -nmax, nmax - 1)

    codes = candidate(np.float32(-nmax))
    sum_lx, sum_l2 = _fit_symmetric(x, codes.astype(np.float32))
    scale = np.where(sum_l2 != 0, sum_lx / sum_l2, np.float32(0))
    best = scale * sum_lx
    for nudge in NUDGES:
        tried = candidate(-(np.float32(nmax) + np.float32(0.1) * np.float32(nudge)))
        sum_lx, sum_l2 = _fit_symmetric(x, tried.astype(np.float32))
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        scale = np.where(better, sum_lx / sum_l2, scale)
        best = np.where(better, scale * sum_lx, best)
        codes = np.where(better, tried, codes)
    return np.where(empty, np.float32(0), scale), np.where(empty, 0, codes + nmax).T


def _weighted_error(x: Floats, weights: Floats, fitted: Floats) -> Floats:
    """Σ w·(fitted - x)² over axis 0."""
    difference = fitted - x
    return sequential_sum(weights * (difference * difference))


def _fit_affine(x: Floats, weights: Floats, levels: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """The weighted least squares scale and minimum (<= 0) for given codes, and whether there is one; all (groups,)."""
    sum_w, sum_x = sequential_sum(weights), sequential_sum(weights * x)
    sum_l = sequential_sum(weights * levels)
    sum_l2 = sequential_sum(weights * levels * levels)
    sum_xl = sequential_sum(weights * levels * x)
    determinant = sum_w * sum_l2 - sum_l * sum_l
    scale: Floats = np.divide(sum_w * sum_xl - sum_x * sum_l, determinant)
    low: Floats = np.divide(sum_l2 * sum_x - sum_l * sum_xl, determinant)
    scale = np.where(low > 0, np.divide(sum_xl, sum_l2), scale)
    low = np.where(low > 0, np.float32(0), low)
    return scale, low, determinant > 0


def make_qkx2_quants(x: Floats, weights: Floats, search: AffineSearch) -> tuple[Floats, Floats, Codes]:
    """Scales (groups,), negated minima (groups,) >= 0 and codes (groups, n) in 0..nmax for x, weights (groups, n).

    Each candidate is measured from the minimum of the best one so far, not from that of the group: the order matters.
    """
    x, weights = np.ascontiguousarray(x.T), np.ascontiguousarray(weights.T)
    nmax = np.float32(search.nmax)
    high = x.max(axis=0)
    low: Floats = np.minimum(x.min(axis=0), np.float32(0))
    flat, flat_low = high == low, low

    def candidate(levels: np.float32) -> Codes:
        return np.clip(nearest_int(levels / (high - low) * (x - low)), 0, search.nmax)

    codes = candidate(nmax)
    scale: Floats = np.divide(np.float32(1), nmax / (high - low))
    best = _weighted_error(x, weights, scale * codes.astype(np.float32) + low)
    for k in range(search.steps + 1):
        tried = candidate(np.float32(search.first) + np.float32(search.step) * np.float32(k) + nmax)
        levels = tried.astype(np.float32)
        new_scale, new_low, solvable = _fit_affine(x, weights, levels)
        error = _weighted_error(x, weights, new_scale * levels + new_low)
        better = solvable & (error < best)
        best = np.where(better, error, best)
        scale, low = np.where(better, new_scale, scale), np.where(better, new_low, low)
        codes = np.where(better, tried, codes)
    scale, low = np.where(flat, np.float32(0), scale), np.where(flat, flat_low, low)
    return scale, -low, np.where(flat, 0, codes).T
