"""Searches with given weights, 16 groups at a time, one per lane: what ggml does where there is an importance matrix.

Candidates, arithmetic and acceptance are ggml's, rounding by rounding: one lane adds up its group one element after
another, as C does, nothing is fused and nothing divided by way of a reciprocal. So the same candidate wins here as in
ggml, also where errors all but tie. A group is xs[0 … n-1], its weights ws[0 … n-1].

    make_qx_quants    w = scale·q        q -nmax … nmax-1   most (Σ w·x·q)² / Σ w·q² of 19 scales near -nmax/extreme
    make_qkx3_quants  w = scale·q + min  q 0 … nmax, min <= 0   least error of a least-squares fit to stretched codes
    make_qp_quants    w = scale·q >= 0   q 0 … nmax         nine scales, then codes one by one while the ratio grows
    make_q3_quants    w = scale·q        q -nmax … nmax-1   codes one by one while the ratio grows

Source: ggml-quants.c, the functions of the same names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.cpu.compiled import inlined
from kernels.cpu.lanes import advanced
from kernels.cpu.lookup import any_lane
from kernels.cpu.search import affine_codes, affine_fit, squared_error
from kernels.cpu.vectors import larger, magnitude, rint, smaller, splat, where

GROUP_MAX_EPS = 1e-15  # groups whose largest magnitude is below this count as all zero
NUDGES = 9  # make_qx_quants tries -9 … 9 tenths of a code
QP_NUDGES = 4  # make_qp_quants tries -4 … 4 tenths of a code
PASSES = 5  # at most so many rounds over the codes of a group


@inlined
def extremes(xs: Any, n: int) -> tuple[Any, Any]:
    """The first element of largest magnitude with its sign, and that magnitude."""
    extreme, most = splat(0), splat(0)
    for e in range(n):
        x = xs[e]
        above = magnitude(x) > most
        most = where(above, magnitude(x), most)
        extreme = where(above, x, extreme)
    return extreme, most


@inlined
def _nudge(k: int, most: int) -> int:
    """-most … -1, 1 … most for k = 0 … 2·most-1."""
    return k - most if k < most else k - most + 1


@inlined
def _symmetric_sums(xs: Any, ws: Any, n: int, nmax: int, inverse: Any) -> tuple[Any, Any]:
    """Σ w·x·q and Σ w·q² of the codes q = round(x·inverse), clipped to -nmax … nmax-1; ws[n …] holds w·x."""
    sum_lx, sum_l2 = splat(0), splat(0)
    for e in range(n):
        code = smaller(larger(rint(inverse * xs[e]), -nmax), nmax - 1)
        sum_lx += ws[n + e] * code
        sum_l2 += ws[e] * code * code
    return sum_lx, sum_l2


@inlined
def make_qx_quants(xs: Any, ws: Any, n: int, nmax: int) -> tuple[Any, Any]:
    """Signed scales and what to multiply by for the codes; both 0 for a group of zeros. ws: room for 2·n lanes."""
    extreme, most = extremes(xs, n)
    for e in range(n):
        ws[n + e] = ws[e] * xs[e]
    chosen = -np.float32(nmax) / extreme
    sum_lx, sum_l2 = _symmetric_sums(xs, ws, n, nmax, chosen)
    scale = where(sum_l2 > 0, sum_lx / sum_l2, 0)
    best = scale * sum_lx
    for k in range(2 * NUDGES):
        inverse = -(np.float32(nmax) + np.float32(0.1) * np.float32(_nudge(k, NUDGES))) / extreme
        sum_lx, sum_l2 = _symmetric_sums(xs, ws, n, nmax, inverse)
        better = (sum_l2 > 0) & (sum_lx * sum_lx > best * sum_l2)
        scale = where(better, sum_lx / sum_l2, scale)
        best = where(better, scale * sum_lx, best)
        chosen = where(better, inverse, chosen)
    empty = most < GROUP_MAX_EPS
    return where(empty, 0, scale), where(empty, 0, chosen)


@inlined
def _absolute_error(xs: Any, ws: Any, codes: Any, n: int, scale: Any, minimum: Any) -> Any:
    """Σ w·|scale·q + minimum - x|."""
    error = splat(0)
    for e in range(n):
        error += ws[e] * magnitude(scale * codes[e] + minimum - xs[e])
    return error


def _affine_search(error_of: Any) -> Any:
    """The search for scale and minimum that judges candidates by `error_of`."""

    @inlined
    def make_qkx3_quants(xs: Any, ws: Any, codes: Any, n: int, search: Any) -> tuple[Any, Any, Any, Any]:
        """Scales and minima (<= 0), and of the codes that won: what they were multiplied by and measured from.

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
        low = smaller(low, 0)
        flat_low = low

        chosen, origin = np.float32(nmax) / (high - low), low
        scale, minimum = 1 / chosen, low
        affine_codes(xs, codes, n, nmax, chosen, minimum)
        best = error_of(xs, ws, codes, n, scale, minimum)
        for k in range(steps + 1):
            levels = np.float32(first) + np.float32(step) * np.float32(k) + np.float32(nmax)
            # From the minimum of the best candidate so far, not from that of the group: so does ggml.
            inverse = levels / (high - minimum)
            affine_codes(xs, codes, n, nmax, inverse, minimum)
            tried, tried_minimum, solvable = affine_fit(xs, ws, codes, n, (sum_w, sum_x))
            error = error_of(xs, ws, codes, n, tried, tried_minimum)
            better = solvable & (error < best)
            best = where(better, error, best)
            chosen, origin = where(better, inverse, chosen), where(better, minimum, origin)
            scale = where(better, tried, scale)
            minimum = where(better, tried_minimum, minimum)
        spread = high > flat_low
        return where(spread, scale, 0), where(spread, minimum, flat_low), where(spread, chosen, 0), origin

    return make_qkx3_quants


make_qkx3_quants = _affine_search(squared_error)
make_qkx3_quants_absolute = _affine_search(_absolute_error)


@inlined
def _codes_of_positive(xs: Any, ws: Any, codes: Any, n: int, nmax: int, largest: Any) -> None:
    """Codes 0 … nmax of the scale, among nine, of least weighted squared error."""
    chosen = np.float32(nmax) / largest
    scale, best = 1 / chosen, splat(0)
    for e in range(n):
        difference = xs[e] - scale * rint(chosen * xs[e])
        best += ws[e] * difference * difference
    for k in range(2 * QP_NUDGES):
        inverse = (np.float32(0.1) * np.float32(_nudge(k, QP_NUDGES)) + np.float32(nmax)) / largest
        scale, error = 1 / inverse, splat(0)
        for e in range(n):
            difference = xs[e] - scale * smaller(rint(inverse * xs[e]), nmax)
            error += ws[e] * difference * difference
        better = error < best
        best = where(better, error, best)
        chosen = where(better, inverse, chosen)
    for e in range(n):
        codes[e] = larger(smaller(rint(chosen * xs[e]), nmax), 0)


@inlined
def _sums_of_codes(xs: Any, ws: Any, codes: Any, n: int) -> tuple[Any, Any]:
    """Σ w·x·q and Σ w·q²."""
    sum_lx, sum_l2 = splat(0), splat(0)
    for e in range(n):
        sum_lx += ws[e] * xs[e] * codes[e]
        sum_l2 += ws[e] * codes[e] * codes[e]
    return sum_lx, sum_l2


@inlined
def _ratio(sums: tuple[Any, Any]) -> Any:
    """The scale Σ w·x·q / Σ w·q² that fits given codes best."""
    sum_lx, sum_l2 = sums
    return where(sum_l2 > 0, sum_lx / sum_l2, 0)


@inlined
def _improve_one(xs: Any, ws: Any, codes: Any, e: int, sums: Any, limits: Any) -> tuple[tuple[Any, Any], Any]:
    """Give element e of every group a better code if there is one; the sums with it, and where it changed.

    Better means that (Σ w·x·q)² / Σ w·q² grows. limits: lowest and highest code, and what Σ w·q² of the other codes
    must exceed for a code to be changed.
    """
    lowest, highest, least = limits
    x, weight, code = xs[e], ws[e], codes[e]
    sum_lx, sum_l2 = sums
    weighted = weight * x
    rest_lx = sum_lx - weighted * code
    rest_l2 = sum_l2 - weight * code * code
    tried = smaller(larger(rint(x * rest_l2 / rest_lx), lowest), highest)
    tried_lx = rest_lx + weighted * tried
    tried_l2 = rest_l2 + weight * tried * tried
    possible = (rest_lx > 0) & (rest_l2 > least) & (tried_l2 > 0) & (magnitude(tried - code) > 0)
    better = possible & (tried_lx * tried_lx * sum_l2 > sum_lx * sum_lx * tried_l2)
    codes[e] = where(better, tried, code)
    return (where(better, tried_lx, sum_lx), where(better, tried_l2, sum_l2)), where(better, 1, 0)


@inlined
def make_qp_quants(xs: Any, ws: Any, codes: Any, n: int, nmax: int) -> Any:
    """Scales >= 0 for xs >= 0; codes[0 … n-1] become the codes 0 … nmax."""
    largest = splat(0)
    for e in range(n):
        largest = larger(xs[e], largest)
    _codes_of_positive(xs, ws, codes, n, nmax, largest)
    sums = _sums_of_codes(xs, ws, codes, n)
    for _ in range(PASSES):
        changes = splat(0)
        for e in range(n):
            sums, changed = _improve_one(xs, ws, codes, e, sums, (0, nmax, 0.0))
            changes += changed
        if not any_lane(changes > 0):
            break
    empty = largest < GROUP_MAX_EPS
    for e in range(n):
        codes[e] = where(empty, 0, codes[e])
    return where(empty, 0, _ratio(sums))


@inlined
def _begin_q3(xs: Any, ws: Any, codes: Any, n: int, nmax: int) -> tuple[Any, Any]:
    """The weights x², and the codes of the scale -nmax/extreme with their sums; the lowest codes for a group of zeros.

    A group of zeros weighs nothing: its sums are 0 and none of its codes will change.
    """
    extreme, most = extremes(xs, n)
    empty = most < GROUP_MAX_EPS
    inverse = -np.float32(nmax) / extreme
    for e in range(n):
        ws[e] = where(empty, 0, xs[e] * xs[e])
        codes[e] = where(empty, -nmax, smaller(larger(rint(inverse * xs[e]), -nmax), nmax - 1))
    return _sums_of_codes(xs, ws, codes, n)


@inlined
def make_q3_quants(xs: Any, ws: Any, codes: Any, n: int, nmax: int) -> tuple[Any, Any, Any, Any]:
    """Signed scales of four sets of groups, xs[0 … n-1], xs[n … 2n-1] and so on; ws, codes: room for 4·n lanes.

    Every step waits for the one before; four independent chains of steps take little longer than one.
    """
    limits = -nmax, nmax - 1, -np.inf
    a = _begin_q3(xs, ws, codes, n, nmax)
    b = _begin_q3(advanced(xs, n), advanced(ws, n), advanced(codes, n), n, nmax)
    c = _begin_q3(advanced(xs, 2 * n), advanced(ws, 2 * n), advanced(codes, 2 * n), n, nmax)
    d = _begin_q3(advanced(xs, 3 * n), advanced(ws, 3 * n), advanced(codes, 3 * n), n, nmax)
    for _ in range(PASSES):
        changes = splat(0)
        for e in range(n):
            a, change_a = _improve_one(xs, ws, codes, e, a, limits)
            b, change_b = _improve_one(xs, ws, codes, e + n, b, limits)
            c, change_c = _improve_one(xs, ws, codes, e + 2 * n, c, limits)
            d, change_d = _improve_one(xs, ws, codes, e + 3 * n, d, limits)
            changes += change_a + change_b + (change_c + change_d)
        if not any_lane(changes > 0):
            break
    return _ratio(a), _ratio(b), _ratio(c), _ratio(d)
