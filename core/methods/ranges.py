"""Which range of weights a scale should cover: THE table of rules, from taking all of it to searching for the best.

A narrower range has finer steps and cuts off what lies outside. Each rule takes the weights in groups and gives the
lower and the upper end of each group's range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.methods.linear import Floats, Linear, Scheme, assembled, grid
from kernels.cpu.scales import best_ends

# Candidates of the search by error: from the whole range down to a fifth of it, GPTQ's grid of a hundred steps.
SHRINKS = np.linspace(1.0, 0.2, 81, dtype=np.float32)
# Steps from the first of them, and then from the best that was found; a likely one comes first, since what turns out to
# be worse is left early.
COARSE = np.roll(np.arange(0, len(SHRINKS), 4), -4)
FINE = np.array([0, -1, 1, -2, 2, -3, 3])
HISTOGRAM_BINS = 2048
THRESHOLDS = 128
SMOOTHING = 1e-4
# How much the errors of each of a chunk's weights count is held at once, so chunks are bounded.
CHUNK_ELEMENTS = 1 << 18


@dataclass(frozen=True, slots=True)
class RangeSetting:
    """How a range is chosen. rule: a name of RULES. percentile: of the weights kept on each side, in percent.

    low, high: the range given by hand.

    The percentile's default lies between the two largest weights of a row of a thousand: a percentile of 99.9 cuts off
    whole weights that meet massive activations, and at 4 bits loses more by that than finer steps win.
    """

    rule: str = "minmax"
    percentile: float = 99.95
    low: float = 0.0
    high: float = 0.0


Ends = tuple[Floats, Floats]
# (groups (m, g), importance of the columns (columns,) or None, scheme, setting) -> ends (m,), (m,)
RangeRule = Callable[[Floats, Floats | None, Scheme, RangeSetting], Ends]


def quantize(w: Floats, scheme: Scheme, setting: RangeSetting, importance: Floats | None = None) -> Linear:
    """A matrix (rows, columns) as linear integers. importance: float32 (columns,), how much each column's error counts.

    Raises ValueError where groups do not divide the rows, and for a rule that is not in the table.
    """
    groups = scheme.grouped(w)
    if setting.rule not in RULES:
        raise ValueError(f"there is no range rule {setting.rule}")
    low, high = RULES[setting.rule](groups, importance, scheme, setting)
    return assembled(w, *grid(low, high, scheme), scheme)


def minmax(groups: Floats, importance: Floats | None, scheme: Scheme, setting: RangeSetting) -> Ends:
    """All of it."""
    return groups.min(axis=1), groups.max(axis=1)


def percentile(groups: Floats, importance: Floats | None, scheme: Scheme, setting: RangeSetting) -> Ends:
    """All but the outermost weights on each side; of a symmetric range, but the largest magnitudes."""
    share = setting.percentile / 100
    if scheme.symmetric:
        reach = np.quantile(np.abs(groups), share, axis=1).astype(np.float32)
        return -reach, reach
    low, high = np.quantile(groups, (1 - share, share), axis=1).astype(np.float32)
    return low, high


def squared_error(groups: Floats, importance: Floats | None, scheme: Scheme, setting: RangeSetting) -> Ends:
    """The share of the whole range with the least squared error, columns counted by their importance.

    Where that is not known, errors of large weights count more, as in ggml's searches: a few of them meet activations
    that are larger still, and must not be cut off. Of the shares every few are tried, and then those beside the best.
    """
    if importance is not None:
        return best_ends(groups, importance, SHRINKS, (COARSE, FINE), scheme.levels)
    step = max(1, CHUNK_ELEMENTS // groups.shape[1])
    parts = [groups[first : first + step] for first in range(0, len(groups), step)]
    found = [best_ends(part, _by_size(part), SHRINKS, (COARSE, FINE), scheme.levels) for part in parts]
    low, high = (np.concatenate(ends) for ends in zip(*found, strict=True))
    return low, high


def _by_size(groups: Floats) -> Floats:
    """How much the error of each weight counts, from groups (m, g): sqrt(mean w^2 + w^2), float32 (m * g,)."""
    squares = np.square(groups)
    sizes: Floats = np.sqrt(squares.mean(axis=1, keepdims=True) + squares).reshape(-1)
    return sizes


def entropy(groups: Floats, importance: Floats | None, scheme: Scheme, setting: RangeSetting) -> Ends:
    """The range whose quantized histogram has the least KL divergence from that of the weights.

    Meant for whole tensors and rows: a group has too few weights for a histogram. Source: Migacz, 8-bit Inference
    with TensorRT, GTC 2017.
    """
    step = max(1, CHUNK_ELEMENTS // HISTOGRAM_BINS)
    parts = [np.abs(groups[first : first + step]) for first in range(0, len(groups), step)]
    reach = np.concatenate([entropy_thresholds(part, scheme.highest + 1) for part in parts])
    return np.maximum(groups.min(axis=1), -reach), np.minimum(groups.max(axis=1), reach)


def entropy_thresholds(magnitudes: Floats, levels: int) -> Floats:
    """Where to cut magnitudes (m, n) for `levels` steps each, by the KL divergence of their histograms: (m,)."""
    tops = magnitudes.max(axis=1)
    return thresholds_of(_histograms(magnitudes, tops), tops, levels)


def _histograms(magnitudes: Floats, tops: Floats) -> NDArray[np.int64]:
    """HISTOGRAM_BINS even steps from 0 to each of `tops`, (m, HISTOGRAM_BINS)."""
    m, n = magnitudes.shape
    counts = np.zeros(m * HISTOGRAM_BINS, np.int64)
    per_unit = (HISTOGRAM_BINS / np.where(tops > 0, tops, 1).astype(np.float64))[:, None]
    firsts = HISTOGRAM_BINS * np.arange(m)[:, None]
    step = max(1, CHUNK_ELEMENTS // m)
    for first in range(0, n, step):
        places = (magnitudes[:, first : first + step] * per_unit).astype(np.int64)
        counts += np.bincount((np.minimum(places, HISTOGRAM_BINS - 1) + firsts).reshape(-1), minlength=len(counts))
    return counts.reshape(m, HISTOGRAM_BINS)


def thresholds_of(counts: NDArray[np.int64], tops: Floats, levels: int) -> Floats:
    """The same of histograms of magnitudes (m, HISTOGRAM_BINS), even steps from 0 to each of `tops` (m,)."""
    ends = np.unique(np.linspace(max(levels, HISTOGRAM_BINS // THRESHOLDS), HISTOGRAM_BINS, THRESHOLDS).astype(int))
    best = ends[np.argmin(_divergences(counts, ends, levels), axis=0)]
    reach: Floats = (best / HISTOGRAM_BINS * tops).astype(np.float32)
    return reach


def _divergences(counts: NDArray[np.int64], ends: NDArray[np.int64], levels: int) -> NDArray[np.float64]:
    """KL divergence of histograms (m, bins) cut at `ends` (the rest in the last bin) from copies in `levels` steps.

    (ends, m). In a copy all bins of a step that are not empty are alike, and to all bins SMOOTHING is added. So what
    bins add up to is known from running sums, at the edges of steps alone; only the last bin is not like the others.
    """
    filled = counts > 0
    smooth = counts + SMOOTHING
    logs = np.where(filled, smooth * np.log(smooth), 0)
    sums, bins, own = (_running(each) for each in (counts, filled, logs))
    found = []
    for end in ends:
        edges = -(-np.arange(levels + 1) * end // levels)
        inside, present = np.diff(sums[:, edges]), np.diff(bins[:, edges])
        spread = np.log(inside / np.maximum(present, 1) + SMOOTHING)
        total = own[:, end] - (spread * (inside + SMOOTHING * present)).sum(axis=1)
        last, tail, is_filled = smooth[:, end - 1], sums[:, -1] - sums[:, end], filled[:, end - 1]
        total -= np.where(is_filled, logs[:, end - 1] - spread[:, -1] * last, 0)
        total += (last + tail) * (np.log(last + tail) - np.where(is_filled, spread[:, -1], np.log(SMOOTHING)))
        p, q = sums[:, -1] + SMOOTHING * end, sums[:, end] + SMOOTHING * end
        found.append(total / p + np.log(q / p))
    return np.array(found)


def _running(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Sums of the first 0, 1, ... of each row, (m, n + 1)."""
    sums = np.zeros((len(numbers), numbers.shape[1] + 1))
    np.cumsum(numbers, axis=1, out=sums[:, 1:])
    return sums


def given(groups: Floats, importance: Floats | None, scheme: Scheme, setting: RangeSetting) -> Ends:
    """The same range for every group, as the user gave it."""
    shape = len(groups)
    return np.full(shape, setting.low, np.float32), np.full(shape, setting.high, np.float32)


RULES: dict[str, RangeRule] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": squared_error,
    "entropy": entropy,
    "given": given,
}
