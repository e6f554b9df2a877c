"""What meets a layer on a calibration text: extremes, histogram, largest magnitude of each column; and static ranges.

The histogram is even steps around 0 whose width doubles when a larger number comes, so that one pass is enough. Sources
of the rules: Nagel et al., arXiv 2106.08295 (percentile, error); Migacz, 8-bit Inference with TensorRT, GTC 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.methods.linear import Floats, Scheme, grid
from core.methods.ranges import HISTOGRAM_BINS, thresholds_of

BINS = 4 * HISTOGRAM_BINS
# Numbers of a batch that are counted in the histogram: whole tokens, evenly spaced.
COUNTED = 1 << 18
SHRINKS = np.geomspace(1.0, 0.01, 128)
Counts = NDArray[np.int64]


class Observed:
    """Statistics of inputs (tokens, columns) that are added one batch after another."""

    def __init__(self, columns: int) -> None:
        self.low, self.high = np.inf, -np.inf
        self.tokens = 0
        self._largest = torch.zeros(columns)
        self._sum = torch.zeros(columns, dtype=torch.float64)
        self.counts: Counts = np.zeros(BINS, np.int64)
        self.reach = 0.0

    def add(self, x: torch.Tensor) -> None:
        """Counts a batch in."""
        x = x.detach().to("cpu", torch.float32)
        low, high = x.amin(0), x.amax(0)
        self._largest = torch.maximum(self._largest, torch.maximum(-low, high))
        self._sum += x.abs().sum(0)
        self.low, self.high = min(self.low, float(low.min())), max(self.high, float(high.max()))
        self._widen(max(-self.low, self.high))
        if 0 < self.reach < np.inf:
            # An odd step is in time with no window, so that first tokens are counted as often as they are there.
            step = -(-x.numel() // COUNTED) | 1
            part = x[-self.tokens % step :: step]
            self.counts += torch.histc(part, BINS, -self.reach, self.reach).numpy().astype(np.int64)
        self.tokens += len(x)

    def hook(self, module: Any, inputs: tuple[Any, ...]) -> None:
        """Counts what meets a torch module, (…, columns); for its forward pre-hooks."""
        self.add(inputs[0].reshape(-1, inputs[0].shape[-1]))

    def _widen(self, reach: float) -> None:
        """Doubles the steps until they reach far enough: two neighbours become one, around 0."""
        if self.reach == 0:
            self.reach = reach
        while reach > self.reach and np.isfinite(reach):
            inner = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([np.zeros(BINS // 4, np.int64), inner, np.zeros(BINS // 4, np.int64)])
            self.reach *= 2

    @property
    def largest(self) -> Floats:
        """The largest magnitude of each column: float32 (columns,)."""
        largest: Floats = self._largest.numpy()
        return largest

    @property
    def mean_magnitudes(self) -> Floats:
        """The mean magnitude of each column: float32 (columns,)."""
        means: Floats = (self._sum / max(1, self.tokens)).float().numpy()
        return means

    @property
    def middles(self) -> NDArray[np.float64]:
        """The middle of each step of the histogram."""
        edges = np.linspace(-self.reach, self.reach, BINS + 1)
        return (edges[1:] + edges[:-1]) / 2

    def percentile(self, percent: float) -> float:
        """The number that so many percent are not above, as finely as the histogram knows; the ends are exact."""
        if percent <= 0 or percent >= 100 or not self.counts.any():
            return self.low if percent <= 0 else self.high
        place = int(np.searchsorted(np.cumsum(self.counts), percent / 100 * self.counts.sum()))
        return float(np.clip(self.middles[place], self.low, self.high))


# (statistics, integers, percent on each side) -> the ends of the range
StaticRule = Callable[[Observed, Scheme, float], tuple[float, float]]


def static_range(observed: Observed, rule: str, scheme: Scheme, percent: float = 99.99) -> tuple[float, float]:
    """The range that a scale for all inputs should cover. rule: a name of RULES. Raises KeyError for others."""
    if not observed.reach:
        return 0.0, 0.0
    return RULES[rule](observed, scheme, percent)


def _whole(observed: Observed, scheme: Scheme, percent: float) -> tuple[float, float]:
    return observed.low, observed.high


def _percentile(observed: Observed, scheme: Scheme, percent: float) -> tuple[float, float]:
    """All but the outermost numbers on each side; of a symmetric range, but the largest magnitudes."""
    if not scheme.symmetric:
        return observed.percentile(100 - percent), observed.percentile(percent)
    folded = np.cumsum(_folded(observed))
    place = int(np.searchsorted(folded, percent / 100 * folded[-1]))
    reach = min((place + 1) / len(folded) * observed.reach, max(-observed.low, observed.high))
    return -reach, reach


def _squared_error(observed: Observed, scheme: Scheme, percent: float) -> tuple[float, float]:
    """The share of the whole range with the least squared error of the histogram's steps."""
    used = observed.counts > 0
    x, counts = observed.middles[used], observed.counts[used].astype(np.float64)
    lows, highs = (np.float32(end) * SHRINKS.astype(np.float32) for end in (observed.low, observed.high))
    scales, zeros = (values.astype(np.float64) for values in grid(lows, highs, scheme))
    errors = []
    for scale, zero in zip(scales, zeros, strict=True):
        codes = np.clip(np.rint(x / scale) + zero, scheme.lowest, scheme.highest)
        errors.append(float((counts * (x - (codes - zero) * scale) ** 2).sum()))
    best = int(np.argmin(errors))
    return float(lows[best]), float(highs[best])


def _entropy(observed: Observed, scheme: Scheme, percent: float) -> tuple[float, float]:
    """The range whose quantized histogram has the least KL divergence from what was seen."""
    magnitudes = _folded(observed).reshape(1, HISTOGRAM_BINS, -1).sum(axis=2)
    reach = float(thresholds_of(magnitudes, np.array([observed.reach], np.float32), scheme.highest + 1)[0])
    return max(observed.low, -reach), min(observed.high, reach)


def _folded(observed: Observed) -> Counts:
    """The histogram of magnitudes: BINS / 2 steps from 0."""
    half = BINS // 2
    folded: Counts = observed.counts[half:] + observed.counts[:half][::-1]
    return folded


RULES: dict[str, StaticRule] = {
    "minmax": _whole,
    "percentile": _percentile,
    "mse": _squared_error,
    "entropy": _entropy,
}
