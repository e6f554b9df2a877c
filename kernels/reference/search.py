"""The searches of ggml's K types for the best scale of a group of weights, candidate by candidate.

The grid searches try a few scales near the obvious one, round all weights with each, fit the scale anew by weighted
least squares for those codes, and keep the best; the coordinate searches then change one code at a time while that
helps. Names and order of the arithmetic are ggml's, so that the same candidate wins here as there: every sum runs over
the elements of a group one after another in float32, vectorised over groups. For that, groups lie along the second axis
inside this module: x.T has shape (n, groups).

    make_qx_quants   w = scale · q          q -nmax..nmax-1   maximise (Σ w·x·q)² / Σ w·q²
    make_q3_quants   the same, one scale, then up to 5 passes over the codes; w = x²
    make_qkx2_quants w = scale · q + min    q 0..nmax         minimise Σ w·loss(scale·q + min - x),  min <= 0
    make_qp_quants   w = scale · q          q 0..nmax, x >= 0 minimise Σ w·(scale·q - x)², then up to 5 passes

make_qkx3_quants, which ggml uses with an importance matrix, is make_qkx2_quants with other candidates (for finite x).

Rounding is nearest_int: adding 1.5·2^23 leaves the nearest integer, ties to even, in the low mantissa bits. Outside
|x| < 2^22, and for NaN, it yields what those bits happen to be; that is kept, since ggml's result depends on it.

Ties are no rare accident here: a candidate of 30.5 levels puts the largest element of every group exactly between two
codes, and only the correctly rounded quotient levels/(max - min) makes the same choice as ggml.

Source: ggml-quants.c, nearest_int, make_qx_quants (rmse_type 1), make_q3_quants, make_qkx2_quants, make_qkx3_quants,
make_qp_quants.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernels.codecs import AffineSearch
from kernels.reference.layout import Floats

Codes = npt.NDArray[np.int32]
Loss = Callable[[Floats], Floats]

GROUP_MAX_EPS = np.float32(1e-15)  # groups whose largest magnitude is below this count as all zero
ROUNDING_MAGIC = np.float32(12582912)
NUDGES = tuple(k for k in range(-9, 10) if k != 0)
FINE_NUDGES = tuple(k for k in range(-4, 5) if k != 0)
PASSES = 5  # of a coordinate search; one that changes nothing is followed by others that change nothing


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


def extreme_scale(scales: Floats) -> Floats:
    """Per block of scales (n, groups) the first of the largest magnitude, (n, 1); 0 where all are NaN."""
    magnitude = np.nan_to_num(np.abs(scales), nan=0.0, posinf=np.inf)
    extreme = np.take_along_axis(scales, magnitude.argmax(axis=1)[:, None], axis=1)
    return np.where(np.isnan(extreme), np.float32(0), extreme)


def _extreme(x: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Per group of x (n, groups) the first element of the largest magnitude, and whether that counts as zero."""
    magnitude = np.nan_to_num(np.abs(x), nan=0.0, posinf=np.inf)
    extreme = np.take_along_axis(x, magnitude.argmax(axis=0)[None], axis=0)[0]
    return extreme, magnitude.max(axis=0) < GROUP_MAX_EPS


def _fit_symmetric(x: Floats, weights: Floats, codes: Floats) -> tuple[Floats, Floats]:
    """Σ w·x·q and Σ w·q²; x, weights and codes (n, groups)."""
    return sequential_sum(weights * x * codes), sequential_sum(weights * codes * codes)


def make_qx_quants(x: Floats, nmax: int, weights: Floats | None = None) -> tuple[Floats, Codes]:
    """Scales (groups,), signed, and codes (groups, n) in 0..2·nmax-1 for x and weights (groups, n); None means x²."""
    x = np.ascontiguousarray(x.T)
    weights = x * x if weights is None else np.ascontiguousarray(weights.T)
    extreme, empty = _extreme(x)

    def candidate(numerator: np.float32) -> Codes:
        return np.clip(nearest_int(numerator / extreme * x), -nmax, nmax - 1)

    codes = candidate(np.float32(-nmax))
    sum_lx, sum_l2 = _fit_symmetric(x, weights, codes.astype(np.float32))
    scale = np.where(sum_l2 != 0, sum_lx / sum_l2, np.float32(0))
    best = scale * sum_lx
    for nudge in NUDGES:
        tried = candidate(-(np.float32(nmax) + np.float32(0.1) * np.float32(nudge)))
        sum_lx, sum_l2 = _fit_symmetric(x, weights, tried.astype(np.float32))
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        scale = np.where(better, sum_lx / sum_l2, scale)
        best = np.where(better, scale * sum_lx, best)
        codes = np.where(better, tried, codes)
    return np.where(empty, np.float32(0), scale), np.where(empty, 0, codes + nmax).T


class _Coordinates:
    """A coordinate search: codes (n, groups) of x with weights, and the sums Σ w·x·q and Σ w·q² that belong to them."""

    def __init__(self, x: Floats, weights: Floats, codes: Codes) -> None:
        """x, weights and codes (n, groups); the codes are changed in place."""
        self.x, self.weights, self.codes = x, weights, codes
        self.sum_lx, self.sum_l2 = _fit_symmetric(x, weights, codes.astype(np.float32))

    def scale(self) -> Floats:
        """The least squares scale, 0 where all codes or weights are 0."""
        return np.where(self.sum_l2 > 0, self.sum_lx / self.sum_l2, np.float32(0))

    def improve(self, i: int, low: int, high: int) -> None:
        """Give element i the code, in low..high, that fits the scale of the others, where (Σwxq)²/Σwq² grows by it."""
        x, weight, code = self.x[i], self.weights[i], self.codes[i].astype(np.float32)
        sum_lx, sum_l2 = self.sum_lx - weight * x * code, self.sum_l2 - weight * code * code
        tried = np.clip(nearest_int(x * sum_l2 / sum_lx), low, high)
        # An unsigned code of the others' scale needs others; a signed one may stand alone.
        possible = (sum_lx > 0) & ((sum_l2 > 0) | (low < 0)) & (tried != self.codes[i])
        levels = tried.astype(np.float32)
        sum_lx, sum_l2 = sum_lx + weight * x * levels, sum_l2 + weight * levels * levels
        better = possible & (sum_l2 > 0) & (sum_lx * sum_lx * self.sum_l2 > self.sum_lx * self.sum_lx * sum_l2)
        self.codes[i] = np.where(better, tried, self.codes[i])
        self.sum_lx = np.where(better, sum_lx, self.sum_lx)
        self.sum_l2 = np.where(better, sum_l2, self.sum_l2)


def make_q3_quants(x: Floats, nmax: int) -> tuple[Floats, Codes]:
    """Scales (groups,), signed, and codes (groups, n) in 0..2·nmax-1 for x (groups, n), weighted by x²."""
    x = np.ascontiguousarray(x.T)
    extreme, empty = _extreme(x)
    codes = np.clip(nearest_int(np.float32(-nmax) / extreme * x), -nmax, nmax - 1)
    search = _Coordinates(x, x * x, codes)
    for i in list(range(len(x))) * PASSES:
        search.improve(i, -nmax, nmax - 1)
    return np.where(empty, np.float32(0), search.scale()), np.where(empty, 0, codes + nmax).T


def make_qp_quants(x: Floats, nmax: int, weights: Floats) -> tuple[Floats, Codes]:
    """Scales (groups,) and codes (groups, n) in 0..nmax for x >= 0 and weights (groups, n)."""
    x, weights = np.ascontiguousarray(x.T), np.ascontiguousarray(weights.T)
    largest = np.fmax.reduce(x, axis=0)
    empty = ~(largest >= GROUP_MAX_EPS)

    def error(inverse: Floats) -> Floats:
        difference = x - np.float32(1) / inverse * np.minimum(nearest_int(inverse * x), nmax).astype(np.float32)
        return sequential_sum(weights * difference * difference)

    inverse: Floats = np.float32(nmax) / largest
    best = error(inverse)
    for nudge in FINE_NUDGES:
        tried = (np.float32(0.1) * np.float32(nudge) + np.float32(nmax)) / largest
        tried_error = error(tried)
        inverse = np.where(tried_error < best, tried, inverse)
        best = np.where(tried_error < best, tried_error, best)
    search = _Coordinates(x, weights, np.minimum(nearest_int(inverse * x), nmax))
    for i in list(range(len(x))) * PASSES:
        search.improve(i, 0, nmax)
    return np.where(empty, np.float32(0), search.scale()), np.where(empty, 0, search.codes).T


def _weighted_error(x: Floats, weights: Floats, fitted: Floats, loss: Loss) -> Floats:
    """Σ w·loss(fitted - x) over axis 0."""
    return sequential_sum(weights * loss(fitted - x))


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


def make_qkx2_quants(
    x: Floats, weights: Floats, search: AffineSearch, loss: Loss = np.square
) -> tuple[Floats, Floats, Codes]:
    """Scales (groups,), negated minima (groups,) >= 0 and codes (groups, n) in 0..nmax for x, weights (groups, n).

    Each candidate is measured from the minimum of the best one so far, not from that of the group: the order matters.
    """
    x, weights = np.ascontiguousarray(x.T), np.ascontiguousarray(weights.T)
    nmax = np.float32(search.nmax)
    high = x.max(axis=0)
    low: Floats = x.min(axis=0)
    low = np.where(low > 0, np.float32(0), low)  # -0 stays
    flat, flat_low = high == low, low

    def candidate(levels: np.float32) -> Codes:
        # Finite positions, however far, end at the nearest code in ggml's blocks; only of others the bits remain.
        position = levels / (high - low) * (x - low)
        inside = np.where(np.isfinite(position), np.clip(position, -1, search.nmax + 1), position)
        return np.clip(nearest_int(inside), 0, search.nmax)

    codes = candidate(nmax)
    scale: Floats = np.divide(np.float32(1), nmax / (high - low))
    best = _weighted_error(x, weights, scale * codes.astype(np.float32) + low, loss)
    for k in range(search.steps + 1):
        tried = candidate(np.float32(search.first) + np.float32(search.step) * np.float32(k) + nmax)
        levels = tried.astype(np.float32)
        new_scale, new_low, solvable = _fit_affine(x, weights, levels)
        error = _weighted_error(x, weights, new_scale * levels + new_low, loss)
        better = solvable & (error < best)
        best = np.where(better, error, best)
        scale, low = np.where(better, new_scale, scale), np.where(better, new_low, low)
        codes = np.where(better, tried, codes)
    scale, low = np.where(flat, np.float32(0), scale), np.where(flat, flat_low, low)
    return scale, -low, np.where(flat, 0, codes).T
