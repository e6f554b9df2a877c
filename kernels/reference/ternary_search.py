"""The search of ggml's IQ1 types: scales of groups, codes -1, 0, 1 that all lie 1/8 above or below, on a grid.

Weights x are coded as scale·(q + δ) with q in -1..1 and δ = 1/8 or -1/8: one δ for all 32 weights of a group of IQ1_S,
one for each half of the 16 of IQ1_M. Sorted by size, the weights of a group fall into three runs, one per code, so all
pairs of boundaries are tried with every choice of δ; sums over runs come from prefix sums. The choice with the largest
(Σ w·x·v)² / Σ w·v² over the values v = q + δ wins; a negative scale turns codes and δ around. Then each vector of 8
codes that the grid lacks is replaced by the neighbour with the least Σ w·(scale·v - x)², and the scale is fitted once
more.

Inside this module the weights of a group lie along the first axis, (elements, groups), and sums run over them one after
another in float32, in ggml's order. Equal weights keep their order when sorted, as in C libraries whose qsort merges.

Source: ggml-quants.c, quantize_row_iq1_s_impl, quantize_row_iq1_m_impl, iq1_find_best_neighbour2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels import grids
from kernels.reference.grid_search import Flags, best_neighbours
from kernels.reference.layout import Floats
from kernels.reference.search import Codes, sequential_sum

DELTA = np.float32(0.125)
RISEN = np.array([-1, 0, 1], dtype=np.float32) + DELTA
LOWERED = np.array([-1, 0, 1], dtype=np.float32) - DELTA

# A choice of δ: (Σ w·x·v, Σ w·v², whether δ is negative in each half of the group).
Choice = tuple[Floats, Floats, tuple[bool, bool]]


@dataclass(frozen=True, slots=True)
class TernaryFit:
    """Super-blocks as found: scales of groups (n, groups); of 8 weights each (n, 32) grid indices and whether δ < 0."""

    scales: Floats
    points: Codes
    lowered: Flags


class _Sorted:
    """Prefix sums of w·x and w over the weights of groups in ascending order, (elements + 1, groups)."""

    def __init__(self, x: Floats, weights: Floats, order: npt.NDArray[np.intp], member: Flags) -> None:
        """x, weights (elements, groups); `member` (elements, groups) says which elements count."""
        kept = np.where(member, weights, np.float32(0))
        zero = np.zeros((1, x.shape[1]), dtype=np.float32)
        ordered, sizes = np.take_along_axis(kept, order, axis=0), np.take_along_axis(x, order, axis=0)
        self.x = np.concatenate([zero, np.cumsum(ordered * sizes, axis=0, dtype=np.float32)])
        self.w = np.concatenate([zero, np.cumsum(ordered, axis=0, dtype=np.float32)])


def _whole_choices(x: Floats, weights: Floats, order: npt.NDArray[np.intp]) -> Iterator[tuple[int, int, Choice]]:
    """Both choices of one δ for a group, for all boundaries i1 <= i2; the arithmetic of IQ1_S."""
    sums = _Sorted(x, weights, order, np.ones(x.shape, dtype=np.bool_))
    for i1 in range(len(x) + 1):
        for i2 in range(i1, len(x) + 1):
            low, middle, high = sums.x[i1], sums.x[i2] - sums.x[i1], sums.x[-1] - sums.x[i2]
            low_w, middle_w, high_w = sums.w[i1], sums.w[i2] - sums.w[i1], sums.w[-1] - sums.w[i2]
            for v, lowered in ((RISEN, False), (LOWERED, True)):
                sum_qx = low * v[0] + middle * v[1] + high * v[2]
                sum_q2 = low_w * v[0] * v[0] + middle_w * v[1] * v[1] + high_w * v[2] * v[2]
                yield i1, i2, (sum_qx, sum_q2, (lowered, lowered))


def _half_choices(x: Floats, weights: Floats, order: npt.NDArray[np.intp]) -> Iterator[tuple[int, int, Choice]]:
    """All four choices of δ for the halves of a group, for all boundaries i1 <= i2; the arithmetic of IQ1_M."""
    first = np.broadcast_to(np.arange(len(x))[:, None] < len(x) // 2, x.shape)
    halves = [_Sorted(x, weights, order, member) for member in (first, ~first)]
    for i1 in range(len(x) + 1):
        for i2 in range(i1, len(x) + 1):
            of_x, of_w = [], []
            for sums in halves:
                passed = sums.x[i1] + sums.x[i2]
                of_x.append([sums.x[-1] * v[2] - passed for v in (RISEN, LOWERED)])
                of_w.append([_squared_levels(sums.w, v, i1, i2) for v in (RISEN, LOWERED)])
            for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
                yield i1, i2, (of_x[0][a] + of_x[1][b], of_w[0][a] + of_w[1][b], (bool(a), bool(b)))


def _squared_levels(w: Floats, v: Floats, i1: int, i2: int) -> Floats:
    """Σ w·v² of three runs that end at i1, i2 and the last element, from prefix sums w."""
    sum_q2: Floats = w[-1] * v[2] * v[2] + w[i1] * (v[0] * v[0] - v[1] * v[1]) + w[i2] * (v[1] * v[1] - v[2] * v[2])
    return sum_q2


def _split(x: Floats, weights: Floats, halves: bool) -> tuple[Floats, Codes, Flags]:
    """The best scale >= 0 (groups,), codes 0..2 (elements, groups) and whether δ < 0 (2, groups); 0 where none is."""
    order = np.argsort(x, axis=0, kind="stable")
    n = x.shape[1]
    scale, best = np.zeros(n, np.float32), np.full(n, np.finfo(np.float32).min)
    bounds, lowered = np.full((2, n), len(x)), np.zeros((2, n), dtype=np.bool_)
    choices = _half_choices if halves else _whole_choices
    for i1, i2, (sum_qx, sum_q2, signs) in choices(x, weights, order):
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        scale = np.where(better, sum_qx / sum_q2, scale)
        best = np.where(better, scale * sum_qx, best)
        bounds = np.where(better, [[i1], [i2]], bounds)
        lowered = np.where(better, np.array(signs)[:, None], lowered)
    rank = np.argsort(order, axis=0, kind="stable")
    codes = (rank >= bounds[0]).astype(np.int32) + (rank >= bounds[1])
    turned = scale < 0
    return np.abs(scale), np.where(turned, 2 - codes, codes), lowered ^ turned


def level_values(codes: Codes, lowered: Flags) -> Floats:
    """The values q + δ of codes 0..2, with `lowered` of a shape that broadcasts against them."""
    delta = np.where(lowered, -DELTA, DELTA)
    values: Floats = (codes - 1).astype(np.float32) + delta
    return values


def fit_ternary(name: str, x: Floats, weights: Floats, smallest: float) -> TernaryFit:
    """Search for the best codes of super-blocks x, weights (n, 256) of IQ1_S or IQ1_M.

    A group whose largest magnitude is below `smallest` counts as zero: scale 0, point 0, δ positive.
    """
    group = 32 if name == "IQ1_S" else 16
    groups, group_weights = (np.ascontiguousarray(values.reshape(-1, group).T) for values in (x, weights))
    scale, codes, of_halves = _split(groups, group_weights, halves=name == "IQ1_M")
    empty = (np.abs(groups).max(axis=0) < np.float32(smallest)) | ~(scale > 0)
    scale = np.where(empty, np.float32(0), scale)
    lowered = np.repeat(of_halves, group // 16, axis=0) & ~empty
    points, moved = _points(groups, group_weights, (scale, codes, lowered))
    q = level_values(grids.codes("IQ1_S").astype(np.int32)[points].transpose(0, 2, 1), lowered[:, None])
    q = q.reshape(groups.shape)
    sum_qx, sum_q2 = sequential_sum(group_weights * q * groups), sequential_sum(group_weights * q * q)
    scale = np.where(moved & ~empty & (sum_qx > 0) & (sum_q2 > 0), sum_qx / sum_q2, scale)
    points = np.where(empty, 0, points)
    n = len(x)
    return TernaryFit(scale.reshape(n, -1), points.T.reshape(n, 32), lowered.T.reshape(n, 32))


def _points(x: Floats, weights: Floats, found: tuple[Floats, Codes, Flags]) -> tuple[Codes, Flags]:
    """Grid indices (octets, groups) of codes (elements, groups), and which groups had a vector off the grid."""
    scale, codes, lowered = found
    octets = (-1, 8, x.shape[1])
    packed = sum((codes.reshape(octets)[:, i] << 2 * i for i in range(1, 8)), codes.reshape(octets)[:, 0])
    places: Codes = grids.neighbourhood("IQ1_S").places[packed]
    octet, group = np.nonzero(places < 0)
    points = places.copy()
    if len(octet):
        levels = np.where(lowered[octet, group][:, None], LOWERED, RISEN)
        vectors, octet_weights = x.reshape(octets)[octet, :, group], weights.reshape(octets)[octet, :, group]
        rows = -1 - places[octet, group]
        points[octet, group] = best_neighbours("IQ1_S", rows, vectors, octet_weights, (scale[group], levels))
    return points, np.any(places < 0, axis=0, keepdims=True)[0]
