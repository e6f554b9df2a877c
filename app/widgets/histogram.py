"""The distribution of one tensor's weights: bars over value, with the exact count under the pointer."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app import text
from app.theme import Theme
from core.jobs import TensorStats

HEIGHT = 88


class Histogram(QWidget):
    """Shows one TensorStats. Double-click resets the view."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._stats: TensorStats | None = None
        self._caption = QLabel()
        self._caption.setProperty("role", "caption")
        self._caption.setWordWrap(True)
        self._caption.setMinimumHeight(2 * self._caption.fontMetrics().height())
        self._caption.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.plot = pg.PlotWidget()
        self.plot.setMinimumHeight(HEIGHT)
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.setMouseEnabled(x=True, y=False)
        self.plot.scene().sigMouseMoved.connect(self._hover)
        self.plot.scene().sigMouseClicked.connect(self._on_click)
        self._curve = pg.PlotCurveItem([0.0, 1.0], [0.0], stepMode="center", fillLevel=0)
        self.plot.addItem(self._curve)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.plot, 1)
        layout.addWidget(self._caption)
        theme.follow(self, self._restyle)
        self._restyle()

    def show_stats(self, stats: TensorStats) -> None:
        """Draws another tensor's distribution."""
        self._stats = stats
        self._curve.setData(np.asarray(stats.edges), np.asarray(stats.counts, dtype=float))
        self.plot.setAccessibleName(self.tr("Histogram of the weights of {0}").format(stats.name))
        self.plot.setAccessibleDescription(self._summary())
        self._caption.setText(self._summary())
        self.plot.getPlotItem().autoRange()

    def _summary(self) -> str:
        assert self._stats is not None
        stats = self._stats
        words = self.tr("{0} weights from {1} to {2}, mean {3}, standard deviation {4}").format(
            text.count(stats.elements), *map(text.number, (stats.minimum, stats.maximum, stats.mean, stats.std))
        )
        return words + (self.tr(", {0} are zero").format(text.count(stats.zeros)) if stats.zeros else "")

    def _hover(self, position: QPointF) -> None:
        if self._stats is None:
            return
        x = self.plot.getPlotItem().vb.mapSceneToView(position).x()
        bin_ = bisect_right(self._stats.edges, x) - 1
        if not 0 <= bin_ < len(self._stats.counts):
            self._caption.setText(self._summary())
            return
        low, high = self._stats.edges[bin_], self._stats.edges[bin_ + 1]
        count = self._stats.counts[bin_]
        share = count / max(self._stats.elements, 1)
        self._caption.setText(
            self.tr("{0} to {1}: {2} weights ({3:.2f} %)").format(
                text.number(low), text.number(high), text.exact(count), 100 * share
            )
        )

    def _on_click(self, event: Any) -> None:
        if event.double():
            self.plot.getPlotItem().autoRange()

    def _restyle(self) -> None:
        item = self.plot.getPlotItem()
        color = self._theme.color("series0")
        self._curve.setPen(pg.mkPen(color, width=1))
        color.setAlpha(110)
        self._curve.setBrush(pg.mkBrush(color))
        item.setLabel("bottom", self.tr("Value of the weight"))
        item.setLabel("left", self.tr("Weights"))
        self._theme.style_plot(item)
