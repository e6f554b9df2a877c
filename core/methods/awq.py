"""AWQ: columns that meet large activations are scaled up before weights are rounded, and ranges cut to lose least.

A layer computes W x = (W s) (x / s): multiplying a column by s before rounding divides what its error does by s. Scales
are sought among powers of the activations' mean magnitudes, by the error of the layer's output tr(dW H dW'), with H the
moments of its inputs; then each group's range is cut by the same error. Source: Lin et al., AWQ, arXiv 2306.00978; the
second family of candidates, which divides by the weights' own sizes, is AutoAWQ's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from core.methods.calibration import AWQ_EXPONENTS, AWQ_ROWS
from core.methods.linear import Floats, Linear, Scheme, assembled, grid
from core.methods.table import CHANNEL, TENSOR

RATIOS = np.linspace(0.1, 1.0, AWQ_EXPONENTS)
SHRINKS = np.linspace(1.0, 0.5, 11, dtype=np.float32)
# Numbers of a chunk of rows whose ranges are cut together.
CHUNK_ELEMENTS = 1 << 22
TINY = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Consumer:
    """A matrix that the scales go into, float32 (rows, columns), and how it is going to be rounded: what comes back."""

    w: Floats
    rounded: Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What scales are sought for. moments: float32 (columns, columns). magnitudes: mean |x| (columns,).

    channel_of: which scale each column has, int (columns,); several columns may have the same. realized: the nearest
    scales (channels,) that can be folded without any error.
    """

    consumers: Sequence[Consumer]
    moments: torch.Tensor
    magnitudes: Floats
    channel_of: np.ndarray
    realized: Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Scales:
    """The best scales (channels,), with the error of all outputs over their squares, with them and without."""

    scales: Floats
    loss: float
    plain_loss: float


def search(problem: Problem) -> Scales:
    """The candidate with the least error; scales of 1 where none is better."""
    sampled = [_sampled(consumer.w) for consumer in problem.consumers]
    outputs = [max(_loss(w, problem.moments), 1e-30) for w in sampled]

    def loss_of(scales: Floats) -> float:
        columns = scales[problem.channel_of]
        differences = [
            w - consumer.rounded(w * columns) / columns for w, consumer in zip(sampled, problem.consumers, strict=True)
        ]
        return sum(_loss(d, problem.moments) / own for d, own in zip(differences, outputs, strict=True))

    plain = np.ones(int(problem.channel_of.max()) + 1, np.float32)
    best, least = plain, loss_of(plain)
    start = least
    for wished in candidates(problem):
        scales = problem.realized(wished)
        found = loss_of(scales)
        if found < least:
            best, least = scales, found
    return Scales(best, least, start)


def candidates(problem: Problem) -> list[Floats]:
    """Powers of the activations' magnitudes, by themselves and over powers of the weights', around 1."""
    counts = np.bincount(problem.channel_of)
    x = np.bincount(problem.channel_of, problem.magnitudes) / counts
    sizes = np.mean([weight_sizes(consumer.w) for consumer in problem.consumers], axis=0)
    w = np.bincount(problem.channel_of, sizes) / counts
    found = [x**ratio for ratio in RATIOS] + [x**ratio / (w ** (1 - ratio) + TINY) for ratio in RATIOS[:-1]]
    return [_centred(scales) for scales in found]


def weight_sizes(w: Floats) -> Floats:
    """The mean over the rows of each column's magnitude as a share of its row's largest: float32 (columns,)."""
    largest = np.maximum(np.abs(w).max(axis=1, keepdims=True), np.float32(1e-30))
    sizes: Floats = (np.abs(w) / largest).mean(axis=0).astype(np.float32)
    return sizes


def _centred(scales: np.ndarray) -> Floats:
    """Scales whose largest and smallest are as far from 1."""
    scales = np.maximum(scales, TINY)
    centred: Floats = (scales / np.sqrt(scales.max() * scales.min())).astype(np.float32)
    return centred


def clipped(w: Floats, moments: torch.Tensor, scheme: Scheme) -> Linear:
    """A matrix (rows, columns) rounded with each group's range cut where the error of the output is least.

    moments: float32 (columns, columns); between groups they are left out of account. Raises ValueError where groups do
    not divide the rows or are the whole tensor.
    """
    if scheme.group == TENSOR:
        raise ValueError("AWQ cuts the ranges of groups and rows, not of a whole tensor")
    groups = scheme.grouped(w)
    length = groups.shape[1]
    blocks = diagonal_blocks(moments, length)
    low, high = groups.min(axis=1), groups.max(axis=1)
    shrinks = np.empty(len(groups), np.float32)
    per_row = len(blocks)
    step = max(1, CHUNK_ELEMENTS // w.shape[1]) * per_row
    for first in range(0, len(groups), step):
        part = slice(first, first + step)
        shrinks[part] = _best_shrinks(groups[part], low[part], high[part], blocks, scheme)
    return assembled(w, *grid(low * shrinks, high * shrinks, scheme), scheme)


def diagonal_blocks(moments: torch.Tensor, length: int) -> torch.Tensor:
    """The moments inside groups of columns: (groups, length, length)."""
    count = len(moments) // length
    inside = moments.reshape(count, length, count, length)
    blocks: torch.Tensor = inside[torch.arange(count), :, torch.arange(count)]
    return blocks


def _best_shrinks(groups: Floats, low: Floats, high: Floats, blocks: torch.Tensor, scheme: Scheme) -> Floats:
    """Of whole rows of groups (n, length): the share of the range that has the least error, (n,)."""
    own, weights = _of_rows(scheme), torch.from_numpy(groups)
    blocks = blocks.cpu()
    best, least = np.ones(len(groups), np.float32), np.full(len(groups), np.inf, np.float32)
    for shrink in SHRINKS:
        values = _values(weights, *grid(low * shrink, high * shrink, own), own)
        errors = (weights - values).reshape(-1, len(blocks), groups.shape[1]).transpose(0, 1)
        found = ((errors @ blocks) * errors).sum(-1).T.reshape(-1).numpy()
        better = found < least
        best[better], least[better] = shrink, found[better]
    return best


def plain(w: Floats, scheme: Scheme) -> Floats:
    """What a matrix (rows, columns) comes to with ranges that cover all of it: float32 (rows, columns)."""
    groups, own = scheme.grouped(w), _of_rows(scheme)
    scales, zeros = grid(groups.min(axis=1), groups.max(axis=1), own)
    values: Floats = _values(torch.from_numpy(groups), scales, zeros, own).numpy().reshape(w.shape)
    return values


def _of_rows(scheme: Scheme) -> Scheme:
    return Scheme(scheme.bits, CHANNEL, scheme.symmetric, scheme.full_range, scheme.scale_type, scheme.first_zero)


def _values(groups: torch.Tensor, scales: Floats, zeros: Floats, scheme: Scheme) -> torch.Tensor:
    """What groups (n, length) are rounded to. scales, zeros: (n,)."""
    scale, zero = (torch.from_numpy(values)[:, None] for values in (scales, zeros))
    codes = (groups / scale).round_().add_(zero).clamp_(scheme.lowest, scheme.highest)
    return codes.sub_(zero).mul_(scale)


def _sampled(w: Floats) -> Floats:
    rows = np.linspace(0, len(w) - 1, min(len(w), AWQ_ROWS)).astype(np.int64)
    return w[rows]


def _loss(difference: Floats, moments: torch.Tensor) -> float:
    d = torch.from_numpy(np.ascontiguousarray(difference, np.float32)).to(moments.device)
    return float(((d @ moments) * d).sum(dtype=torch.float64))
