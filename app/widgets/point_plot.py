"""A scatter plot of named points with error bars, a line through some of them, and words at the points.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QColor, QContextMenuEvent, QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.widgets.elided_label import ElidedLabel
from app.widgets.plot_axes import ValueAxis
from app.widgets.plot_export import CONTROL, export_menu

SYMBOLS = ("o", "s", "t", "d", "t1", "p", "star", "h")
SIZE, REACH = 10, 16
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


class PointPlot(QWidget):
    """Shows a Drawing. Signals: chosen(str) when a point is clicked or reached with the arrow keys.

    points() gives what is drawn as (name, x, y). `controls` is the row at the right of the title.
    """

    chosen = Signal(str)

    def __init__(self, theme: Any, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._drawing = Drawing("", "", "", ())
        self._shown: list[Point] = []
        self._xy = np.empty((0, 2))
        self._items: list[Any] = []
        self._selected = ""
        self.setObjectName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._build()
        theme.follow(self, self._redraw)

    # ------------------------------------------------------------ what is shown

    def draw(self, drawing: Drawing) -> None:
        """Shows this."""
        self._drawing = drawing
        self._shown = [point for point in drawing.points if not drawing.log or point.y > 0]
        self._xy = np.array([(point.x, self._height(point.y)) for point in self._shown]).reshape(-1, 2)
        self._values.set_log(drawing.log)
        self._title.setText(drawing.title)
        self.setAccessibleName(drawing.title)
        self._redraw()
        self.reset_view()
        self._say("")

    def points(self) -> list[tuple[str, float, float]]:
        """(name, x, y) of every point drawn."""
        return [(point.name, point.x, point.y) for point in self._shown]

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the plot for CSV."""
        return ["name", "x", "y", "y_error"], [[p.name, p.x, p.y, p.error] for p in self._drawing.points]

    def select(self, name: str) -> None:
        """Rings the point of this name; a name without a point removes the ring. Emits nothing."""
        self._selected = name
        self._ring(self._selection, name)
        self._say(name)

    def reset_view(self) -> None:
        """Shows all points again."""
        if len(self._xy):
            (x0, y0), (x1, y1) = self._xy.min(axis=0), self._xy.max(axis=0)
            view = self._plot.getPlotItem().getViewBox()
            view.setRange(xRange=(x0, x1), padding=0.06)
            view.setRange(yRange=(y0, y1), padding=0.22)

    def scatter_items(self) -> list[pg.ScatterPlotItem]:
        """The drawn items, for vector export."""
        return [*(item for item in self._items if isinstance(item, pg.ScatterPlotItem)), self._selection]

    # ------------------------------------------------------------ building

    def _build(self) -> None:
        self._title = ElidedLabel()
        self._title.setProperty("role", "section")
        self._readout = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self._readout.setProperty(CONTROL, True)
        self.controls = QHBoxLayout()
        self.controls.setSpacing(8)
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        head.addLayout(self.controls)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(head)
        layout.addWidget(self._build_plot(), 1)
        layout.addWidget(self._readout)

    def _build_plot(self) -> pg.PlotWidget:
        self._values = ValueAxis("left")
        axes = {"left": self._values, "bottom": ValueAxis("bottom")}
        self._plot = pg.PlotWidget(axisItems=axes, enableMenu=False)
        self._plot.setMinimumHeight(88)
        self._plot.setFrameShape(pg.QtWidgets.QFrame.Shape.NoFrame)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        item = self._plot.getPlotItem()
        item.hideButtons()
        self._selection, self._hover = (pg.ScatterPlotItem(size=SIZE + 8, symbol="o", brush=None) for _ in range(2))
        for ring in (self._selection, self._hover):
            ring.setZValue(10)
            item.addItem(ring, ignoreBounds=True)
        scene = self._plot.scene()
        scene.sigMouseMoved.connect(self._pointed)
        scene.sigMouseClicked.connect(self._clicked)
        self._plot.viewport().installEventFilter(self)
        return self._plot

    # ------------------------------------------------------------ drawing

    def _height(self, value: float) -> float:
        return math.log10(value) if self._drawing.log else value

    def _redraw(self) -> None:
        item = self._plot.getPlotItem()
        for old in self._items:
            item.removeItem(old)
        self._items = [*self._line(), *self._bars(), *self._scatters(), *self._labels()]
        for new in self._items:
            item.addItem(new, ignoreBounds=isinstance(new, pg.TextItem))
        muted = self._theme.color("muted").name()
        item.setLabel("left", self._drawing.left, color=muted)
        item.setLabel("bottom", self._drawing.bottom, color=muted)
        self._theme.style_plot(item)
        self._selection.setPen(pg.mkPen(self._theme.color("text"), width=2))
        self._hover.setPen(pg.mkPen(self._theme.color("muted"), width=1.5))
        self._ring(self._selection, self._selected)
        self._ring(self._hover, "")

    def _line(self) -> list[Any]:
        places = {point.name: xy for point, xy in zip(self._shown, self._xy, strict=True)}
        through = [places[name] for name in self._drawing.line if name in places]
        if len(through) < 2:
            return []
        x, y = np.array(through).T
        return [pg.PlotDataItem(x, y, pen=pg.mkPen(self._theme.color("muted"), width=1.5, style=Qt.PenStyle.DashLine))]

    def _bars(self) -> list[Any]:
        found = [(point, xy) for point, xy in zip(self._shown, self._xy, strict=True) if point.error > 0]
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
        return [self._scatter(each, self._xy[series == each]) for each in sorted(set(series.tolist()))]

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
        middle = (self._xy[:, 0].min() + self._xy[:, 0].max()) / 2 if len(self._xy) else 0.0
        for point, (x, y) in zip(self._shown, self._xy, strict=True):
            if point.label:
                side = (-0.05, 1.15) if x <= middle else (1.05, 1.15)
                words = pg.TextItem(point.label, color=self._theme.color("text"), anchor=side)
                words.setPos(x, y)
                found.append(words)
        return found

    # ------------------------------------------------------------ pointing and choosing

    def _nearest(self, scene_pos: QPointF) -> str:
        view = self._plot.getPlotItem().getViewBox()
        area = view.sceneBoundingRect()
        if not len(self._xy) or not area.contains(scene_pos):
            return ""
        (x0, x1), (y0, y1) = view.viewRange()
        px = area.left() + (self._xy[:, 0] - x0) / (x1 - x0) * area.width()
        py = area.bottom() - (self._xy[:, 1] - y0) / (y1 - y0) * area.height()
        distance = np.hypot(px - scene_pos.x(), py - scene_pos.y())
        best = int(distance.argmin())
        return self._shown[best].name if distance[best] <= REACH else ""

    def _pointed(self, scene_pos: QPointF) -> None:
        name = self._nearest(scene_pos)
        self._ring(self._hover, name)
        self._say(name or self._selected)

    def _clicked(self, event: Any) -> None:
        if event.button() == Qt.MouseButton.RightButton:
            export_menu(self, self._drawing.title).popup(event.screenPos().toPoint())
        elif event.double():
            self.reset_view()
        elif name := self._nearest(event.scenePos()):
            self._choose(name)

    def _choose(self, name: str) -> None:
        self.select(name)
        self.chosen.emit(name)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right walk through the points; Home resets the view."""
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        names = [point.name for point in sorted(self._shown, key=lambda point: point.x)]
        if step and names:
            at = names.index(self._selected) + step if self._selected in names else 0
            self._choose(names[at % len(names)])
        elif event.key() == Qt.Key.Key_Home:
            self.reset_view()
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """The menu key; the right mouse button is handled by the scene, because dragging with it zooms."""
        if event.reason() == QContextMenuEvent.Reason.Keyboard:
            export_menu(self, self._drawing.title).popup(self.mapToGlobal(self.rect().center()))

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        """Leaving the plot takes the hover ring away."""
        if event.type() == QEvent.Type.Leave:
            self._ring(self._hover, "")
            self._say(self._selected)
        return super().eventFilter(watched, event)

    def _ring(self, ring: pg.ScatterPlotItem, name: str) -> None:
        places = [xy for point, xy in zip(self._shown, self._xy, strict=True) if point.name == name]
        ring.setData(*(([places[0][0]], [places[0][1]]) if places else ([], [])))

    def _say(self, name: str) -> None:
        words = next((point.words for point in self._drawing.points if point.name == name), "")
        self._readout.setText(words or self._drawing.hint)
