"""A small plot whose figures are said by whoever holds it: what lies under the pointer, and the right button.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.widgets.plot_axes import ValueAxis

HEIGHT = 88


class PointedPlot(QWidget):
    """Values on a logarithmic axis over a linear one. Double-click resets the view.

    Signals: pointed(str) with the figures under the pointer, '' where there are none; menu_wanted(QPoint) for the right
    button. titles: of the axes below and at the left. A subclass draws, and says what a place is.
    """

    pointed = Signal(str)
    menu_wanted = Signal(object)

    def __init__(self, theme: Any, titles: tuple[str, str]) -> None:
        super().__init__()
        self._theme, self._titles = theme, titles
        self._items: list[Any] = []
        values = ValueAxis("left")
        values.set_log(True)
        self.plot = pg.PlotWidget(axisItems={"left": values, "bottom": ValueAxis("bottom")}, enableMenu=False)
        self.plot.setMinimumHeight(HEIGHT)
        self.plot.setFrameShape(pg.QtWidgets.QFrame.Shape.NoFrame)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.plot.getPlotItem().hideButtons()
        self.plot.scene().sigMouseMoved.connect(self._hover)
        self.plot.scene().sigMouseClicked.connect(self._clicked)
        self.plot.viewport().installEventFilter(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.plot)

    def drawn(self) -> list[Any]:
        """What is to be drawn now, in this order."""
        raise NotImplementedError

    def words_at(self, x: float) -> str:
        """The figures at a place of the axis below; '' where there are none."""
        raise NotImplementedError

    def reset_view(self) -> None:
        """Shows all of it again."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draws what is to be drawn in the place of what was."""
        item = self.plot.getPlotItem()
        for old in self._items:
            item.removeItem(old)
        self._items = self.drawn()
        for new in self._items:
            item.addItem(new, ignoreBounds=True)
        muted = self._theme.color("muted").name()
        for side, words in zip(("bottom", "left"), self._titles, strict=True):
            item.setLabel(side, words, color=muted)
        self._theme.style_plot(item)

    def _hover(self, position: QPointF) -> None:
        self.pointed.emit(self.words_at(self.plot.getPlotItem().getViewBox().mapSceneToView(position).x()))

    def _clicked(self, event: Any) -> None:
        if event.button() == Qt.MouseButton.RightButton:
            self.menu_wanted.emit(event.screenPos().toPoint())
        elif event.double():
            self.reset_view()

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        """Leaving the plot takes the figures away."""
        if event.type() == QEvent.Type.Leave:
            self.pointed.emit("")
        return super().eventFilter(watched, event)
