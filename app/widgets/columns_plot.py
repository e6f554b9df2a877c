"""The largest magnitude of every column of what meets a matrix, with the threshold of outliers.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtGui import QColor

from app import text
from app.widgets.pointed_plot import PointedPlot
from core.jobs import ActivationFigures

translate = QCoreApplication.translate


class ColumnsPlot(PointedPlot):
    """Columns across, their largest magnitude up; those that reach the threshold are triangles."""

    def __init__(self, theme: Any) -> None:
        titles = (translate("ColumnsPlot", "Column"), translate("ColumnsPlot", "Largest magnitude"))
        super().__init__(theme, titles)
        self._figures: ActivationFigures | None = None
        theme.follow(self, self.redraw)
        self.redraw()

    def show_figures(self, figures: ActivationFigures) -> None:
        """Draws another matrix' columns."""
        self._figures = figures
        self.redraw()
        self.reset_view()

    def points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First column of each run, its largest magnitude, and whether that reaches the threshold; (runs,) each."""
        if self._figures is None:
            return np.empty(0), np.empty(0), np.empty(0, bool)
        largest = np.asarray(self._figures.largest)
        columns = np.arange(len(largest)) * self._run()
        return columns, largest, largest >= self._figures.threshold

    def scatter_items(self) -> list[pg.ScatterPlotItem]:
        """The drawn items, for vector export."""
        return [item for item in self._items if isinstance(item, pg.ScatterPlotItem)]

    def reset_view(self) -> None:
        """Shows all of it again."""
        columns, heights, _ = self.points()
        if self._figures is None or not len(columns):
            return
        ends = [*_log(heights), math.log10(self._figures.threshold)]
        view = self.plot.getPlotItem().getViewBox()
        view.setRange(xRange=(0, max(self._figures.columns - 1, 1)), padding=0.02)
        view.setRange(yRange=(min(ends), max(ends)), padding=0.12)

    def _run(self) -> int:
        """How many neighbouring columns a point stands for."""
        assert self._figures is not None
        return -(-self._figures.columns // max(len(self._figures.largest), 1))

    # ------------------------------------------------------------ drawing

    def drawn(self) -> list[Any]:
        """The columns, and the threshold."""
        if self._figures is None:
            return []
        columns, heights, reach = self.points()
        shapes = ((~reach, "series0", "o", 4), (reach, "series5", "t1", 9))
        return [*(self._scatter(columns[of], heights[of], *look) for of, *look in shapes), self._threshold()]

    def _scatter(self, x: np.ndarray, y: np.ndarray, name: str, symbol: str, size: int) -> pg.ScatterPlotItem:
        color = QColor(self._theme.color(name))
        color.setAlphaF(0.8)
        return pg.ScatterPlotItem(x=x, y=_log(y), symbol=symbol, size=size, pen=pg.mkPen(None), brush=color)

    def _threshold(self) -> pg.InfiniteLine:
        assert self._figures is not None
        words = translate("ColumnsPlot", "threshold {0}").format(text.number(self._figures.threshold))
        pen = pg.mkPen(self._theme.color("bad"), width=1, style=Qt.PenStyle.DashLine)
        options = {"position": 0.99, "color": self._theme.color("text"), "anchors": [(1, 0), (1, 0)]}
        return pg.InfiniteLine(math.log10(self._figures.threshold), angle=0, pen=pen, label=words, labelOpts=options)

    # ------------------------------------------------------------ pointing

    def words_at(self, x: float) -> str:
        """The nearest column's largest magnitude."""
        columns, heights, _ = self.points()
        if not len(columns) or not -1 <= x <= columns[-1] + self._run():
            return ""
        at = int(np.abs(columns + (self._run() - 1) / 2 - x).argmin())
        last = int(columns[at]) + self._run() - 1
        one = translate("ColumnsPlot", "column {0}: largest magnitude {1}")
        more = translate("ColumnsPlot", "columns {0} to {2}: largest magnitude {1}")
        words = one if self._run() == 1 else more
        return words.format(int(columns[at]), text.number(float(heights[at])), last)


def _log(values: np.ndarray) -> np.ndarray:
    """Decimal logarithms; a column that never had anything stands at the bottom."""
    return np.log10(np.maximum(values, 1e-6))
