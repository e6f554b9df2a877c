"""Axes of plots: layers on a row of tensors, and values on a linear or logarithmic scale with round numbers."""

from __future__ import annotations

import bisect
import math
from typing import Any

import pyqtgraph as pg

_MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
# So near to an end of an axis, as a share of it, the words of a tick may have no room.
EDGE = 0.06
Ticks = list[tuple[float, list[float]]]


class LayerAxis(pg.AxisItem):
    """Positions are numbers of tensors in layer order; ticks stand where a layer begins and carry its number."""

    def __init__(self, orientation: str) -> None:
        super().__init__(orientation)
        self._starts: list[tuple[int, str]] = []

    def set_tensors(self, layers: list[int | None]) -> None:
        """Takes the layer of each tensor in order; None is outside the layers."""
        self._starts = [
            (at, str(layer))
            for at, layer in enumerate(layers)
            if layer is not None and (at == 0 or layers[at - 1] != layer)
        ]
        self.picture = None
        self.update()

    def tickValues(self, low: float, high: float, size: float) -> Ticks:
        """Every n-th layer's first tensor, so that labels stay about 40 pixels apart."""
        seen = [at for at, _label in self._starts if low <= at <= high]
        if not seen:
            return []
        every = next((n for n in (1, 2, 5, 10, 20, 50) if len(seen) / n * 40 <= size), 100)
        chosen = [at for at in seen if int(self._label(at)) % every == 0]
        return [(1.0, [float(at) for at in chosen])]

    def tickStrings(self, values: list[float], _scale: float, _spacing: float) -> list[str]:
        """Numbers of the layers."""
        return [self._label(round(value)) for value in values]

    def _label(self, at: int) -> str:
        i = bisect.bisect_left(self._starts, (at, ""))
        return self._starts[i][1] if i < len(self._starts) and self._starts[i][0] == at else ""


class ValueAxis(pg.AxisItem):
    """Round numbers; in logarithmic mode positions are decimal logarithms and labels the numbers themselves."""

    def __init__(self, orientation: str) -> None:
        super().__init__(orientation)
        self._log = False
        self.enableAutoSIPrefix(False)

    def set_log(self, log: bool) -> None:
        """Switches between linear and logarithmic."""
        self._log = log
        self.picture = None
        self.update()

    def tickValues(self, low: float, high: float, size: float) -> Ticks:
        """Ticks at least about 30 pixels apart."""
        if not self._log:
            ticks: Any = super().tickValues(low, high, size)
            return list(ticks[:2])
        return [(1.0, log_ticks(low, high, max(int(size // 32), 2)))]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """The values in up to three significant digits."""
        if self._log:
            numbers = [10**value for value in values]
            return [f"{n:.0f}" if 1000 <= n < 1_000_000 else f"{n:.3g}" for n in numbers]
        return list(super().tickStrings(values, scale, spacing))


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Logarithms of round numbers between 10**low and 10**high: at most about `most`, at least two where possible."""
    best: list[float] = []
    decades = range(math.floor(low), math.ceil(high) + 1)
    step = max(1, math.ceil((high - low) / most))
    edge = EDGE * (high - low)
    while step > 1 and sum(low + edge <= e <= high - edge and e % step == 0 for e in decades) < 2:
        step -= 1
    for mantissas in _MANTISSAS[: len(_MANTISSAS) if step == 1 else 1]:  # between decades left out there is nothing
        ticks = [e + math.log10(m) for e in decades if e % step == 0 for m in mantissas]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) > most and len(best) >= 2:
            break
        best = ticks
    few = len(best) < min(5, most) and high - low < 1
    return max(best, _linear_ticks(low, high, most), key=len) if few else best


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Evenly spaced round numbers, for a range of less than half a decade."""
    first, last = 10**low, 10**high
    raw = (last - first) / most
    if raw <= 0:
        return [low]
    power = 10 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw)
    start = math.ceil(first / step)
    return [math.log10(i * step) for i in range(start, math.floor(last / step) + 1)]
