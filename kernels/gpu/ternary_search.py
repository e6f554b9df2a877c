"""The search of kernels.reference.ternary_search in torch: the same choices, the same order of sums on every device.

Weights of a group lie along the first axis, (elements, groups).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.gpu.grid_search import best_neighbours
from kernels.gpu.grid_tables import tables
from kernels.gpu.search import sequential_sum

DELTA = 0.125
RISEN = (-1 + DELTA, DELTA, 1 + DELTA)
LOWERED = (-1 - DELTA, -DELTA, 1 - DELTA)
LOWEST = torch.finfo(torch.float32).min

# A choice of δ: (Σ w·x·v, Σ w·v², whether δ is negative in each half of the group).
Choice = tuple[Tensor, Tensor, tuple[bool, bool]]


@dataclass(frozen=True, slots=True)
class TernaryFit:
    """Super-blocks as found: scales of groups (n, groups); of 8 weights each (n, 32) grid indices and whether δ < 0."""

    scales: Tensor
    points: Tensor
    lowered: Tensor


def _prefixes(terms: Tensor) -> Tensor:
    """Sums over the first 0, 1, 2, ... rows of (elements, groups), one after another: cumsum adds in trees on a GPU."""
    sums = torch.zeros((len(terms) + 1, terms.shape[1]), device=terms.device)
    for i, row in enumerate(terms):
        torch.add(sums[i], row, out=sums[i + 1])
    return sums


def _whole_choices(x: Tensor, weights: Tensor, order: Tensor) -> Iterator[tuple[int, int, Choice]]:
    """Both choices of one δ for a group, for all boundaries i1 <= i2; the arithmetic of IQ1_S."""
    ordered = weights.gather(0, order)
    sx, sw = _prefixes(ordered * x.gather(0, order)), _prefixes(ordered)
    for i1 in range(len(x) + 1):
        for i2 in range(i1, len(x) + 1):
            low, middle, high = sx[i1], sx[i2] - sx[i1], sx[-1] - sx[i2]
            low_w, middle_w, high_w = sw[i1], sw[i2] - sw[i1], sw[-1] - sw[i2]
            for v, lowered in ((RISEN, False), (LOWERED, True)):
                sum_qx = low * v[0] + middle * v[1] + high * v[2]
                sum_q2 = low_w * v[0] * v[0] + middle_w * v[1] * v[1] + high_w * v[2] * v[2]
                yield i1, i2, (sum_qx, sum_q2, (lowered, lowered))


def _half_choices(x: Tensor, weights: Tensor, order: Tensor) -> Iterator[tuple[int, int, Choice]]:
    """All four choices of δ for the halves of a group, for all boundaries i1 <= i2; the arithmetic of IQ1_M."""
    sorted_x, sorted_weights, first = x.gather(0, order), weights.gather(0, order), order < len(x) // 2
    halves = []
    for member in (first, ~first):
        kept = sorted_weights.masked_fill(~member, 0)
        halves.append((_prefixes(kept * sorted_x), _prefixes(kept)))
    for i1 in range(len(x) + 1):
        for i2 in range(i1, len(x) + 1):
            of_x = [[sx[-1] * v[2] - (sx[i1] + sx[i2]) for v in (RISEN, LOWERED)] for sx, _ in halves]
            of_w = [[_squared_levels(sw, v, i1, i2) for v in (RISEN, LOWERED)] for _, sw in halves]
            for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
                yield i1, i2, (of_x[0][a] + of_x[1][b], of_w[0][a] + of_w[1][b], (bool(a), bool(b)))


def _squared_levels(w: Tensor, v: tuple[float, float, float], i1: int, i2: int) -> Tensor:
    """Σ w·v² of three runs that end at i1, i2 and the last element, from prefix sums w; factors are exact."""
    return w[-1] * v[2] * v[2] + w[i1] * (v[0] * v[0] - v[1] * v[1]) + w[i2] * (v[1] * v[1] - v[2] * v[2])


def _split(x: Tensor, weights: Tensor, halves: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The best scale >= 0 (groups,), codes 0..2 (elements, groups) and whether δ < 0 (2, groups); 0 where none is."""
    order = x.sort(dim=0, stable=True).indices
    scale = torch.zeros_like(x[0])
    best = torch.full_like(scale, LOWEST)
    # What won: the boundaries, and the signs of δ of both halves.
    won = torch.tensor([[len(x)], [len(x)], [0], [0]], device=x.device).repeat(1, x.shape[1])
    choices = _half_choices if halves else _whole_choices
    for i1, i2, (sum_qx, sum_q2, signs) in choices(x, weights, order):
        better = (sum_q2 > 0) & (sum_qx * sum_qx > best * sum_q2)
        scale = torch.where(better, sum_qx / sum_q2, scale)
        best = torch.where(better, scale * sum_qx, best)
        for row, value in zip(won, (i1, i2, *signs), strict=True):
            row.masked_fill_(better, value)
    rank = order.argsort(dim=0)
    codes = (rank >= won[0]).long() + (rank >= won[1])
    turned = scale < 0
    return scale.abs(), torch.where(turned, 2 - codes, codes), (won[2:] == 1) ^ turned


def level_values(codes: Tensor, lowered: Tensor) -> Tensor:
    """The values q + δ of codes 0..2, with `lowered` of a shape that broadcasts against them."""
    return (codes - 1).float() + torch.where(lowered, -DELTA, DELTA)


def fit_ternary(name: str, x: Tensor, weights: Tensor, smallest: float) -> TernaryFit:
    """Search for the best codes of super-blocks x, weights (n, 256) of IQ1_S or IQ1_M.

    A group whose largest magnitude is below `smallest` counts as zero: scale 0, point 0, δ positive.
    """
    group, n = 32 if name == "IQ1_S" else 16, len(x)
    groups, group_weights = (values.reshape(-1, group).T.contiguous() for values in (x, weights))
    scale, codes, of_halves = _split(groups, group_weights, halves=name == "IQ1_M")
    empty = (groups.abs().amax(dim=0) < smallest) | ~(scale > 0)
    scale = scale.masked_fill(empty, 0)
    lowered = of_halves.repeat_interleave(group // 16, dim=0) & ~empty
    points, moved = _points(groups, group_weights, (scale, codes, lowered))
    vectors = tables("IQ1_S", x.device).codes[points].transpose(1, 2)
    q = level_values(vectors, lowered[:, None]).reshape(groups.shape)
    sum_qx, sum_q2 = sequential_sum(group_weights * q * groups), sequential_sum(group_weights * q * q)
    scale = torch.where(moved & ~empty & (sum_qx > 0) & (sum_q2 > 0), sum_qx / sum_q2, scale)
    points = points.masked_fill(empty, 0)
    return TernaryFit(scale.view(n, -1), points.T.reshape(n, 32), lowered.T.reshape(n, 32))


def _points(x: Tensor, weights: Tensor, found: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Grid indices (octets, groups) of codes (elements, groups), and which groups had a vector off the grid."""
    scale, codes, lowered = found
    octets = (-1, 8, x.shape[1])
    packed = sum((codes.view(octets)[:, i] << 2 * i for i in range(1, 8)), codes.view(octets)[:, 0])
    places = tables("IQ1_S", x.device).places[packed]
    octet, group = torch.nonzero(places < 0, as_tuple=True)
    levels = torch.tensor([RISEN, LOWERED], device=x.device)[lowered[octet, group].long()]
    vectors, octet_weights = x.view(octets)[octet, :, group], weights.view(octets)[octet, :, group]
    points = places.clone()
    rows = -1 - places[octet, group]
    points[octet, group] = best_neighbours("IQ1_S", rows, vectors, octet_weights, (scale[group], levels))
    return points, (places < 0).any(dim=0)
