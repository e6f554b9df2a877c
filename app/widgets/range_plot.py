"""A histogram with marks over it: the range that integers cover, percentiles, what else has a place on the axis.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, Qt

from app import text
from app.widgets.pointed_plot import PointedPlot
from core.jobs import Histogram

# Where the logarithmic axis of counts begins: below one.
FLOOR = 0.5
# What the words beside a mark take of the axis, at most.
ROOM = 0.15
translate = QCoreApplication.translate


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the axis. words: beside it. is_range: one of the two ends of the range that is covered."""

    at: float
    words: str
    is_range: bool = False


class RangePlot(PointedPlot):
    """Shows a Histogram with Marks; counts are on a logarithmic axis, because the tails are what matters."""

    def __init__(self, theme: Any, bottom: str, left: str) -> None:
        super().__init__(theme, (bottom, left))
        self._histogram: Histogram | None = None
        self._marks: tuple[Mark, ...] = ()
        self.plot.setMouseEnabled(x=True, y=False)
        theme.follow(self, self.redraw)
        self.redraw()

    def show_histogram(self, histogram: Histogram | None, marks: Sequence[Mark] = ()) -> None:
        """Draws another distribution, or none."""
        self._histogram, self._marks = histogram, tuple(marks)
        self.redraw()
        self.reset_view()

    def marks(self) -> tuple[Mark, ...]:
        """What is marked."""
        return self._marks

    def bars(self) -> tuple[np.ndarray, np.ndarray]:
        """The edges (steps + 1) and the counts (steps) that are drawn."""
        if self._histogram is None:
            return np.array([0.0, 1.0]), np.array([0])
        shown = self._histogram
        return np.linspace(shown.low, shown.high, len(shown.counts) + 1), np.asarray(shown.counts)

    def reset_view(self) -> None:
        """Shows all of it again."""
        edges, counts = self.bars()
        ends = [*edges[[0, -1]], *(mark.at for mark in self._marks)]
        view = self.plot.getPlotItem().getViewBox()
        view.setRange(xRange=(min(ends), max(ends)), padding=0.04)
        view.setRange(yRange=(math.log10(FLOOR), math.log10(max(int(counts.max()), 1)) + 0.35), padding=0)

    # ------------------------------------------------------------ drawing

    def drawn(self) -> list[Any]:
        """The range, the counts, and the marks."""
        return [*self._region(), self._curve(), *map(self._line, self._marks)]

    def _curve(self) -> pg.PlotCurveItem:
        edges, counts = self.bars()
        color = self._theme.color("series0")
        pen = pg.mkPen(color, width=1)
        color.setAlpha(110)
        heights = np.log10(np.maximum(counts, FLOOR))
        return pg.PlotCurveItem(
            edges, heights, stepMode="center", fillLevel=math.log10(FLOOR), pen=pen, brush=pg.mkBrush(color)
        )

    def _region(self) -> list[Any]:
        ends = [mark.at for mark in self._marks if mark.is_range]
        if len(ends) != 2:
            return []
        color = self._theme.color("series2")
        color.setAlpha(36)
        region = pg.LinearRegionItem(ends, movable=False, brush=pg.mkBrush(color), pen=pg.mkPen(None))
        region.setZValue(-10)
        return [region]

    def _line(self, mark: Mark) -> pg.InfiniteLine:
        color = self._theme.color("series2" if mark.is_range else "muted")
        style = Qt.PenStyle.SolidLine if mark.is_range else Qt.PenStyle.DashLine
        side = self._side(mark.at)
        options = {"position": 0.94, "color": self._theme.color("text"), "anchors": [(side, 0.5), (side, 0.5)]}
        pen = pg.mkPen(color, width=2 if mark.is_range else 1, style=style)
        return pg.InfiniteLine(mark.at, angle=90, pen=pen, label=mark.words, labelOpts=options)

    def _side(self, at: float) -> int:
        """Of the words beside a line: 1 at its left, 0 at its right, away from the middle where there is room."""
        edges, _ = self.bars()
        share = (at - edges[0]) / max(edges[-1] - edges[0], 1e-30)
        is_inside = ROOM <= share <= 1 - ROOM
        return int((share <= 0.5) == is_inside)

    # ------------------------------------------------------------ pointing

    def words_at(self, x: float) -> str:
        """The count of the step there."""
        edges, counts = self.bars()
        step = int(np.searchsorted(edges, x, "right")) - 1
        if self._histogram is None or not 0 <= step < len(counts):
            return ""
        share = 100 * counts[step] / max(int(counts.sum()), 1)
        return translate("RangePlot", "{0} to {1}: {2} of {3} ({4} %)").format(
            text.number(edges[step]),
            text.number(edges[step + 1]),
            text.exact(int(counts[step])),
            text.exact(int(counts.sum())),
            f"{share:.3g}",
        )
