"""Divergence of every model on each kind of text, as bars side by side with their standard errors.

Importing this file imports pyqtgraph; pages do so only when a plot is first shown.
"""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app.models.comparisons import Comparison, OfCategory, of_categories
from app.models.names import model_title
from app.widgets.elided_label import ElidedLabel
from app.widgets.flow import FlowLayout
from app.widgets.plot_axes import ValueAxis
from app.widgets.plot_export import CONTROL, export_menu

translate = QCoreApplication.translate
# Share of a group's width that its bars take.
FILLED = 0.8
SERIES = 8


class CategoryBars(QWidget):
    """Shows a Comparison. Signals: chosen(str), the name of an OfCategory, when its bar is clicked."""

    chosen = Signal(str)

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._rows: list[OfCategory] = []
        self._categories: list[str] = []
        self._models: dict[str, str] = {}
        self.setObjectName("category_bars")
        self._build()
        theme.follow(self, self._redraw)

    def set_comparison(self, comparison: Comparison) -> None:
        """Shows its models."""
        self._rows = of_categories(comparison.models)
        self._categories = list(dict.fromkeys(row.evaluation.category for row in self._rows))
        self._models = {model.name: model.short for model in comparison.models}
        title = translate("CategoryBars", "Mean KLD by kind of text: models made from {0}").format(comparison.title)
        self._title.setText(title)
        self.setAccessibleName(title)
        self._redraw()
        self.reset_view()
        self._say(None)

    def bars(self) -> list[tuple[str, float]]:
        """(name of the row, mean KLD) of every bar."""
        return [(row.name, row.evaluation.mean_kld) for row in self._rows]

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the bars for CSV."""
        rows = [
            [row.evaluation.category, row.model.name, row.evaluation.mean_kld, row.evaluation.mean_kld_window_error]
            for row in self._rows
        ]
        return ["category", "model", "mean_kld", "mean_kld_window_error"], rows

    def reset_view(self) -> None:
        """Shows all bars again."""
        highest = max(
            (row.evaluation.mean_kld + row.evaluation.mean_kld_window_error for row in self._rows), default=1.0
        )
        view = self._plot.getPlotItem().getViewBox()
        view.setRange(xRange=(-0.5, len(self._categories) - 0.5), yRange=(0, highest * 1.05), padding=0)

    # ------------------------------------------------------------ building

    def _build(self) -> None:
        self._title = ElidedLabel()
        self._title.setProperty("role", "section")
        self._legend = QWidget()
        self._flow = FlowLayout(self._legend, spacing=14)
        self._readout = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self._readout.setProperty(CONTROL, True)
        self._axis = pg.AxisItem("bottom")
        self._plot = pg.PlotWidget(axisItems={"left": ValueAxis("left"), "bottom": self._axis}, enableMenu=False)
        self._plot.setMinimumHeight(120)
        self._plot.setFrameShape(pg.QtWidgets.QFrame.Shape.NoFrame)
        self._plot.getPlotItem().hideButtons()
        scene = self._plot.scene()
        scene.sigMouseMoved.connect(lambda where: self._say(self._at(where)))
        scene.sigMouseClicked.connect(self._clicked)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self._title)
        layout.addWidget(self._legend)
        layout.addWidget(self._plot, 1)
        layout.addWidget(self._readout)

    # ------------------------------------------------------------ drawing

    def _redraw(self) -> None:
        item = self._plot.getPlotItem()
        item.clear()
        for row in self._rows:
            place, color = self._place(row), self._color(row.model.name)
            figures = row.evaluation
            item.addItem(
                pg.BarGraphItem(x=[place], height=[figures.mean_kld], width=self._width, brush=color, pen=None)
            )
        if self._rows:
            item.addItem(self._errors())
        self._axis.setTicks([[(at, self._shown(name)) for at, name in enumerate(self._categories)]])
        item.setLabel("left", translate("CategoryBars", "Mean KLD, nats"), color=self._theme.color("muted").name())
        self._theme.style_plot(item)
        self._fill_legend()

    def _errors(self) -> pg.ErrorBarItem:
        x = np.array([self._place(row) for row in self._rows])
        y = np.array([row.evaluation.mean_kld for row in self._rows])
        error = np.array([row.evaluation.mean_kld_window_error for row in self._rows])
        pen = pg.mkPen(self._theme.color("text"), width=1)
        return pg.ErrorBarItem(x=x, y=y, top=error, bottom=np.minimum(error, y), beam=self._width / 3, pen=pen)

    @property
    def _width(self) -> float:
        return FILLED / max(len(self._models), 1)

    def _place(self, row: OfCategory) -> float:
        group, at = self._categories.index(row.evaluation.category), list(self._models).index(row.model.name)
        return group + (at - (len(self._models) - 1) / 2) * self._width

    def _color(self, model: str) -> Any:
        return self._theme.color(f"series{list(self._models).index(model) % SERIES}")

    def _shown(self, category: str) -> str:
        return model_title(category) if "/" in category or "\\" in category else category

    def _fill_legend(self) -> None:
        while self._flow.count():
            taken = self._flow.takeAt(0)
            if taken and taken.widget():
                taken.widget().hide()
                taken.widget().deleteLater()
        for name, short in self._models.items():
            entry = QLabel(f'<span style="color: {self._color(name).name()}">■</span> {escape(short)}')
            entry.setToolTip(name)
            self._flow.addWidget(entry)
        self._legend.updateGeometry()

    # ------------------------------------------------------------ pointing

    def _at(self, scene_pos: Any) -> OfCategory | None:
        view = self._plot.getPlotItem().getViewBox()
        if not view.sceneBoundingRect().contains(scene_pos):
            return None
        x = view.mapSceneToView(scene_pos).x()
        return next((row for row in self._rows if abs(self._place(row) - x) <= self._width / 2), None)

    def _say(self, row: OfCategory | None) -> None:
        if row is None:
            self._readout.setText(translate("CategoryBars", "Point at a bar for its figures."))
            return
        found = row.evaluation
        self._readout.setText(
            translate("CategoryBars", "{0}, {1}   mean KLD {2} ± {3}   perplexity {4} of {5}   {6} tokens").format(
                row.model.title,
                self._shown(found.category),
                f"{found.mean_kld:.5f}",
                f"{found.mean_kld_window_error:.5f}",
                f"{found.ppl:.3f}",
                f"{found.ppl_base:.3f}",
                found.tokens,
            )
        )

    def _clicked(self, event: Any) -> None:
        if event.button() == Qt.MouseButton.RightButton:
            export_menu(self, self._title.text()).popup(event.screenPos().toPoint())
        elif event.double():
            self.reset_view()
        elif row := self._at(event.scenePos()):
            self.chosen.emit(row.name)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """The menu key; the right mouse button is handled by the scene."""
        if event.reason() == QContextMenuEvent.Reason.Keyboard:
            export_menu(self, self._title.text()).popup(self.mapToGlobal(self.rect().center()))
