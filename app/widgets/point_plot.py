"""A scatter plot of named points with error bars, a line through some of them, and words at the points.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.widgets.named_points import SIZE, NamedPoints
from app.widgets.plot_axes import ValueAxis

SYMBOLS = ("o", "s", "t", "d", "t1", "p", "star", "h")
LOWEST = 88
# Error bars that reach to nothing or below end so far under their point, in decades.
DEEPEST = 1.0
translate = QCoreApplication.translate


@dataclass(frozen=True, slots=True)
class Point:
    """One point. error: half of the bar in y's unit. series: its colour and symbol. words: read when pointed at."""

    name: str
    x: float
    y: float
    error: float = 0.0
    series: int = 0
    label: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn. log: whether y is on a logarithmic axis; points with y of 0 or less are then left out.

    line: the names of the points that a line goes through, in order.
    """

    title: str
    bottom: str
    left: str
    points: tuple[Point, ...]
    log: bool = True
    line: tuple[str, ...] = ()
    hint: str = ""


class PointPlot(NamedPoints):
    """Shows a Drawing. points() gives what is drawn as (name, x, y); `controls` is a row at the right of the title."""

    def __init__(self, theme: Any, name: str, parent: QWidget | None = None) -> None:
        super().__init__(theme, ValueAxis("bottom"), LOWEST, parent)
        self._drawing = Drawing("", "", "", ())
        self._shown: list[Point] = []
        self._items: list[Any] = []
        self.setObjectName(name)
        self._build()
        theme.follow(self, self._redraw)

    # ------------------------------------------------------------ what is shown

    def draw(self, drawing: Drawing) -> None:
        """Shows this."""
        self._drawing = drawing
        self._shown = [point for point in drawing.points if not drawing.log or point.y > 0]
        self.names = [point.name for point in self._shown]
        self.places = np.array([(point.x, self._height(point.y)) for point in self._shown]).reshape(-1, 2)
        self._values.set_log(drawing.log)
        self.title.setText(drawing.title)
        self.setAccessibleName(drawing.title)
        self._redraw()
        self.reset_view()
        self.say("")

    def points(self) -> list[tuple[str, float, float]]:
        """(name, x, y) of every point drawn."""
        return [(point.name, point.x, point.y) for point in self._shown]

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the plot for CSV."""
        return ["name", "x", "y", "y_error"], [[p.name, p.x, p.y, p.error] for p in self._drawing.points]

    def reset_view(self) -> None:
        """Shows all points again."""
        if len(self.places):
            (x0, y0), (x1, y1) = self.places.min(axis=0), self.places.max(axis=0)
            view = self.plot.getPlotItem().getViewBox()
            view.setRange(xRange=(x0, x1), padding=0.06)
            view.setRange(yRange=(y0, y1), padding=0.22)

    def scatter_items(self) -> list[pg.ScatterPlotItem]:
        """The drawn items, for vector export."""
        return [*(item for item in self._items if isinstance(item, pg.ScatterPlotItem)), self._selection]

    # ------------------------------------------------------------ building

    def _build(self) -> None:
        self.controls = QHBoxLayout()
        self.controls.setSpacing(8)
        head = QHBoxLayout()
        head.addWidget(self.title, 1)
        head.addLayout(self.controls)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(head)
        layout.addWidget(self.plot, 1)
        layout.addWidget(self.readout)

    # ------------------------------------------------------------ drawing

    def _height(self, value: float) -> float:
        return math.log10(value) if self._drawing.log else value

    def _redraw(self) -> None:
        item = self.plot.getPlotItem()
        for old in self._items:
            item.removeItem(old)
        self._items = [*self._line(), *self._bars(), *self._scatters(), *self._labels()]
        for new in self._items:
            item.addItem(new, ignoreBounds=isinstance(new, pg.TextItem))
        muted = self._theme.color("muted").name()
        item.setLabel("left", self._drawing.left, color=muted)
        item.setLabel("bottom", self._drawing.bottom, color=muted)
        self._theme.style_plot(item)
        self.style_rings()
        self.ring_again()

    def _line(self) -> list[Any]:
        places = {point.name: xy for point, xy in zip(self._shown, self.places, strict=True)}
        through = [places[name] for name in self._drawing.line if name in places]
        if len(through) < 2:
            return []
        x, y = np.array(through).T
        return [pg.PlotDataItem(x, y, pen=pg.mkPen(self._theme.color("muted"), width=1.5, style=Qt.PenStyle.DashLine))]

    def _bars(self) -> list[Any]:
        found = [(point, xy) for point, xy in zip(self._shown, self.places, strict=True) if point.error > 0]
        if not found:
            return []
        x, y = np.array([xy for _, xy in found]).T
        top = np.array([self._height(point.y + point.error) for point, _ in found]) - y
        bottom = y - np.array([self._lower(point) for point, _ in found])
        pen = pg.mkPen(self._theme.color("muted"), width=1)
        return [pg.ErrorBarItem(x=x, y=y, top=top, bottom=bottom, beam=0, pen=pen)]

    def _lower(self, point: Point) -> float:
        low = point.y - point.error
        if not self._drawing.log:
            return low
        return math.log10(max(low, point.y / 10**DEEPEST))

    def _scatters(self) -> list[Any]:
        series = np.array([point.series for point in self._shown], dtype=int)
        return [self._scatter(each, self.places[series == each]) for each in sorted(set(series.tolist()))]

    def _scatter(self, series: int, xy: np.ndarray) -> pg.ScatterPlotItem:
        color = self._theme.color(f"series{series}")
        edge = color.lighter(125) if self._theme.is_dark else color.darker(125)
        fill = QColor(color)
        fill.setAlphaF(0.8)
        return pg.ScatterPlotItem(
            x=xy[:, 0], y=xy[:, 1], symbol=SYMBOLS[series], size=SIZE, pen=pg.mkPen(edge, width=1), brush=fill
        )

    def _labels(self) -> list[Any]:
        """Words beside the points, at that side where there is more room."""
        found = []
        middle = (self.places[:, 0].min() + self.places[:, 0].max()) / 2 if len(self.places) else 0.0
        for point, (x, y) in zip(self._shown, self.places, strict=True):
            if point.label:
                side = (-0.05, 1.15) if x <= middle else (1.05, 1.15)
                words = pg.TextItem(point.label, color=self._theme.color("text"), anchor=side)
                words.setPos(x, y)
                found.append(words)
        return found

    # ------------------------------------------------------------ pointing and choosing

    def words_of(self, name: str) -> str:
        """The words of a point, else the drawing's hint."""
        words = next((point.words for point in self._drawing.points if point.name == name), "")
        return words or self._drawing.hint

    def stem(self) -> str:
        """The drawing's title."""
        return self._drawing.title
