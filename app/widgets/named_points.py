"""A plot of points that have names: pointed at, clicked, walked through with the arrow keys, exported.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent
from PySide6.QtWidgets import QWidget

from app.widgets.elided_label import ElidedLabel
from app.widgets.plot_axes import ValueAxis
from app.widgets.plot_export import CONTROL, export_menu

SIZE, REACH = 10, 16


class NamedPoints(QWidget):
    """Signals: chosen(str) when a point is clicked or reached with the arrow keys.

    A subclass puts `title`, `plot` and `readout` where they belong, and fills `names` and `places`: of every point
    drawn, (n, 2) in the plot's coordinates.
    """

    chosen = Signal(str)

    def __init__(self, theme: Any, bottom: pg.AxisItem, lowest: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.names: list[str] = []
        self.places = np.empty((0, 2))
        self._selected = ""
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.title = ElidedLabel()
        self.title.setProperty("role", "section")
        self.readout = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self.readout.setObjectName("readout")
        self.readout.setProperty(CONTROL, True)
        self._values = ValueAxis("left")
        self.plot = pg.PlotWidget(axisItems={"left": self._values, "bottom": bottom}, enableMenu=False)
        self.plot.setMinimumHeight(lowest)
        self.plot.setFrameShape(pg.QtWidgets.QFrame.Shape.NoFrame)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        item = self.plot.getPlotItem()
        item.hideButtons()
        self._selection, self._hover = (pg.ScatterPlotItem(size=SIZE + 8, symbol="o", brush=None) for _ in range(2))
        for ring in (self._selection, self._hover):
            ring.setZValue(10)
            item.addItem(ring, ignoreBounds=True)
        scene = self.plot.scene()
        scene.sigMouseMoved.connect(self._pointed)
        scene.sigMouseClicked.connect(self._clicked)
        self.plot.viewport().installEventFilter(self)

    # ------------------------------------------------------------ what a subclass says

    def words_of(self, name: str) -> str:
        """The figures of a point; of a name without one, what can be done."""
        raise NotImplementedError

    def stem(self) -> str:
        """What the names of exported files begin with."""
        raise NotImplementedError

    def reset_view(self) -> None:
        """Shows all points again."""
        raise NotImplementedError

    # ------------------------------------------------------------ pointing and choosing

    def select(self, name: str) -> None:
        """Rings the point of this name; a name without a point removes the ring. Emits nothing."""
        self._selected = name
        self.ring_again()
        self.say(name)

    def ring_again(self) -> None:
        """Rings the selected point where it is now; none is pointed at."""
        self._ring(self._selection, self._selected)
        self._ring(self._hover, "")

    def style_rings(self) -> None:
        """Takes the colours of the theme."""
        self._selection.setPen(pg.mkPen(self._theme.color("text"), width=2))
        self._hover.setPen(pg.mkPen(self._theme.color("muted"), width=1.5))

    def say(self, name: str) -> None:
        """Says the figures of a point."""
        self.readout.setText(self.words_of(name))

    def _nearest(self, scene_pos: QPointF) -> str:
        """The name of the point nearest to a place in the scene and within reach, or ''."""
        view = self.plot.getPlotItem().getViewBox()
        area = view.sceneBoundingRect()
        if not len(self.places) or not area.contains(scene_pos):
            return ""
        (x0, x1), (y0, y1) = view.viewRange()
        px = area.left() + (self.places[:, 0] - x0) / (x1 - x0) * area.width()
        py = area.bottom() - (self.places[:, 1] - y0) / (y1 - y0) * area.height()
        distance = np.hypot(px - scene_pos.x(), py - scene_pos.y())
        best = int(distance.argmin())
        return self.names[best] if distance[best] <= REACH else ""

    def _pointed(self, scene_pos: QPointF) -> None:
        name = self._nearest(scene_pos)
        self._ring(self._hover, name)
        self.say(name or self._selected)

    def _clicked(self, event: Any) -> None:
        if event.button() == Qt.MouseButton.RightButton:
            export_menu(self, self.stem()).popup(event.screenPos().toPoint())
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
        names = [self.names[at] for at in np.argsort(self.places[:, 0], kind="stable")]
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
            export_menu(self, self.stem()).popup(self.mapToGlobal(self.rect().center()))

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        """Leaving the plot takes the hover ring away."""
        if event.type() == QEvent.Type.Leave:
            self._ring(self._hover, "")
            self.say(self._selected)
        return super().eventFilter(watched, event)

    def _ring(self, ring: pg.ScatterPlotItem, name: str) -> None:
        at = self.places[self.names.index(name)] if name in self.names else None
        ring.setData(*(([], []) if at is None else ([at[0]], [at[1]])))
