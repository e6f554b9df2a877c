"""The searches of ggml's K types, 16 groups of weights at a time: one group per lane, so that no sum crosses lanes.

Candidates, order and acceptance are those of `kernels.reference.search`; the error of a candidate is not summed in a
second pass over the weights but follows from the sums of the fit itself. With q the codes of a candidate, s its scale
and m its offset,

    Σ w·(s·q + m - x)² = Σ w·x² - 2·s·Σ w·q·x - 2·m·Σ w·x + s²·Σ w·q² + 2·s·m·Σ w·q + m²·Σ w

In float32 such a difference of sums is only as good as the sums are small, so the codes are counted from the middle of
their range: weights lie around zero, hence Σ w·q and m are small and the products hardly cancel.

Millions of weights per second of the Q4_K search on one core of a Zen 5 server, by what is in the lanes: neighbouring
elements, by LLVM's vectoriser 60; groups, by LLVM's vectoriser with sums in memory 111; groups, with lane types 330.

Source: ggml-quants.c, make_qx_quants (rmse_type 1, no importance) and make_qkx2_quants (squared error).
"""

from __future__ import annotations

from typing import Any

from kernels.cpu.compiled import inlined
from kernels.cpu.vectors import larger, magnitude, muladd, rint, root, smaller, splat, where

GROUP_MAX_EPS = 1e-15  # groups whose largest magnitude is below this count as all zero
# What rounding does to an error computed from sums, relative to Σ w·x². A candidate must be better by more: where the
# first one fits exactly (weights that were quantized before), noise must not replace it by one that almost does.
NOISE = 2.0**-22
# A determinant this small beside its first term is rounding: all codes are one.
FLAT = 1e-5
LARGEST = 3.0e38  # stands for "no candidate yet"
NUDGES = 9  # make_qx_quants tries -9 … 9 tenths of a code
# Some candidates put the extreme of every group exactly between two codes, where ggml's arithmetic, without fused
# multiply-add, rounds to the even one. This much, in codes, keeps rounding errors from choosing the other one.
TIE = 1.5e-5


@inlined
def _sums_of_codes(xs: Any, ws: Any, n: int, nmax: int, inverse: Any, minimum: Any) -> tuple[Any, Any, Any]:
    """Σ w·q, Σ w·q², Σ w·q·x of the codes q = round((x - minimum)·inverse) in 0 … nmax, less the middle."""
    middle = (nmax + 1) // 2
    shift = (0 - minimum) * inverse - (middle + TIE)
    sum_l, sum_l2, sum_xl = splat(0), splat(0), splat(0)
    for e in range(n):
        x = xs[e]
        code = smaller(larger(rint(muladd(x, inverse, shift)), -middle), nmax - middle)
        weighted = ws[e] * code
        sum_l += weighted
        sum_l2 = muladd(weighted, code, sum_l2)
        sum_xl = muladd(weighted, x, sum_xl)
    return sum_l, sum_l2, sum_xl


@inlined
def weights_of_k_types(xs: Any, ws: Any, n: int) -> None:
    """Weights √(Σ x²/n) + |x| of every group: what ggml uses where no importance is given."""
    energy = splat(0)
    for e in range(n):
        energy = muladd(xs[e], xs[e], energy)
    mean = root(energy / n)
    for e in range(n):
        ws[e] = mean + magnitude(xs[e])


@inlined
def _fit(of_codes: Any, of_weights: Any, middle: int) -> tuple[Any, Any]:
    """Scale and minimum (<= 0) of least weighted squared error for given codes."""
    sum_l, sum_l2, sum_xl = of_codes
    sum_w, sum_x, _ = of_weights
    determinant = sum_w * sum_l2 - sum_l * sum_l
    reciprocal = 1 / determinant
    scale = (sum_w * sum_xl - sum_x * sum_l) * reciprocal
    minimum = (sum_l2 * sum_x - sum_l * sum_xl) * reciprocal - scale * middle
    # There is no slope where all codes are one, and no positive minimum in the format; then the scale alone is fitted,
    # to codes counted from 0.
    sum_q2 = sum_l2 + middle * (2 * sum_l + middle * sum_w)
    alone = (sum_xl + middle * sum_x) / sum_q2
    both = (determinant > FLAT * sum_w * sum_l2) & (minimum < 0)
    return where(both, scale, alone), where(both, minimum, 0)


@inlined
def _error(of_codes: Any, of_weights: Any, scale: Any, offset: Any) -> Any:
    """Σ w·(scale·q + offset - x)² from the sums."""
    sum_l, sum_l2, sum_xl = of_codes
    sum_w, sum_x, sum_x2 = of_weights
    linear = scale * sum_xl + offset * sum_x
    return sum_x2 - 2 * linear + scale * (scale * sum_l2 + 2 * offset * sum_l) + offset * offset * sum_w


@inlined
def make_qkx2_quants(xs: Any, ws: Any, n: int, nmax: int, first: float, step: float, steps: int) -> tuple[Any, Any]:
    """Scales and minima (<= 0) of w = scale·q + minimum, q 0 … nmax, for xs[0 … n-1] with weights ws."""
    low, high = smaller(xs[0], 0), xs[0]
    sum_w, sum_x, sum_x2 = splat(0), splat(0), splat(0)
    for e in range(n):
        x = xs[e]
        low, high = smaller(x, low), larger(x, high)
        weighted = ws[e] * x
        sum_w += ws[e]
        sum_x += weighted
        sum_x2 = muladd(weighted, x, sum_x2)
    of_weights = sum_w, sum_x, sum_x2

    margin = NOISE * sum_x2
    middle = (nmax + 1) // 2
    scale, minimum = (high - low) / nmax, low
    of_codes = _sums_of_codes(xs, ws, n, nmax, nmax / (high - low), minimum)
    best = _error(of_codes, of_weights, scale, minimum + scale * middle)
    for k in range(steps + 1):
        inverse = (nmax + (first + step * k)) / (high - minimum)
        of_codes = _sums_of_codes(xs, ws, n, nmax, inverse, minimum)
        tried, tried_minimum = _fit(of_codes, of_weights, middle)
        error = _error(of_codes, of_weights, tried, tried_minimum + tried * middle)
        better = error < best - margin
        best = where(better, error, best)
        scale = where(better, tried, scale)
        minimum = where(better, tried_minimum, minimum)
    spread = high > low
    return where(spread, scale, 0), where(spread, minimum, low)


@inlined
def make_qx_quants(xs: Any, ws: Any, n: int, nmax: int) -> Any:
    """Signed scales of w = scale·q, q -nmax … nmax-1, for xs[0 … n-1]; ws is room for n lanes.

    Six-bit errors are so small beside Σ w·x² that a difference of float32 sums would tell candidates apart at random.
    So the sums are those of the residuals u = x·inverse - q, in which nothing cancels: the best scale is
    (1 + Σ w·u·q / Σ w·q²) / inverse, and its error Σ w·u² - (Σ w·u·q)² / Σ w·q², divided by inverse².
    """
    extreme, most = splat(0), splat(0)
    for e in range(n):
        x = xs[e]
        ws[e] = x * x
        above = magnitude(x) > most
        most = where(above, magnitude(x), most)
        extreme = where(above, x, extreme)

    scale, best = splat(0), splat(LARGEST)
    for k in range(2 * NUDGES + 1):
        # The unstretched scale comes first, as in ggml; then -9 … -1, 1 … 9.
        nudge = 0 if k == 0 else (k - NUDGES - 1 if k <= NUDGES else k - NUDGES)
        levels = nmax + 0.1 * nudge + TIE
        inverse = -levels / extreme
        sum_u2, sum_uq, sum_q2 = splat(0), splat(0), splat(0)
        for e in range(n):
            exact = xs[e] * inverse
            code = smaller(larger(rint(exact), -nmax), nmax - 1)
            residual = exact - code
            weighted = ws[e] * residual
            sum_u2 = muladd(weighted, residual, sum_u2)
            sum_uq = muladd(weighted, code, sum_uq)
            sum_q2 = muladd(ws[e] * code, code, sum_q2)
        change = sum_uq / sum_q2
        error = (sum_u2 - change * sum_uq) * (1 / (levels * levels))
        better = error < best
        best = where(better, error, best)
        scale = where(better, (1 + change) / inverse, scale)
    return where(most > GROUP_MAX_EPS, scale, 0)
