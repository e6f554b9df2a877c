"""The error of every tensor in layer order, as a scatter plot with one symbol and colour per kind of module.

Importing this file imports pyqtgraph; pages do so only when the plot is first shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from pyqtgraph.graphicsItems.ScatterPlotItem import renderSymbol
from PySide6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication, QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPixmap
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from app import text
from app.models.modules import SERIES_LABELS, in_layer_order, place
from app.models.modules import word as module_word
from app.models.names import model_title
from app.models.results import decibels
from app.widgets.flow import FlowLayout
from app.widgets.named_points import NamedPoints
from app.widgets.plot_axes import LayerAxis
from app.widgets.plot_export import CONTROL
from core.jobs import CompareResult, QuantizeResult, TensorResult

SYMBOLS = ("o", "s", "t", "d", "t1", "p", "star", "h")
_SIZE, LOWEST = 8, 140
# Shown series look like plain words with their symbol; only pointing at them shows that they are switches.
LEGEND_STYLE = "QToolButton { padding: 2px 6px 2px 4px; } QToolButton:checked:!hover { background: transparent; }"


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure that can be plotted. log: on a logarithmic axis."""

    key: str
    label: str
    axis: str
    value: Callable[[TensorResult], float | None]
    log: bool


MEASURES: tuple[Measure, ...] = (
    Measure(
        "relative_rmse",
        QT_TRANSLATE_NOOP("ErrorPlot", "Relative RMSE"),
        QT_TRANSLATE_NOOP("ErrorPlot", "Relative RMSE"),
        lambda t: t.relative_rmse,
        True,
    ),
    Measure(
        "rmse",
        QT_TRANSLATE_NOOP("ErrorPlot", "RMSE"),
        QT_TRANSLATE_NOOP("ErrorPlot", "RMSE, units of the weights"),
        lambda t: t.rmse,
        True,
    ),
    Measure(
        "max_error",
        QT_TRANSLATE_NOOP("ErrorPlot", "Max error"),
        QT_TRANSLATE_NOOP("ErrorPlot", "Max error, units of the weights"),
        lambda t: t.max_error,
        True,
    ),
    Measure("snr_db", QT_TRANSLATE_NOOP("ErrorPlot", "SNR"), "SNR, dB", lambda t: t.snr_db, False),
)


translate = QCoreApplication.translate


class ErrorPlot(NamedPoints):
    """A scatter plot over the tensors of a result: `ErrorPlot(theme).set_result(result)`.

    points() gives what is drawn as (tensor name, value); tensors copied without loss have no place on a logarithmic
    axis and are counted in words below the plot instead. Signals: tensor_selected(str) when a point is clicked or
    reached with the arrow keys; lossless_requested() when the words about lossless tensors are clicked.
    """

    tensor_selected = Signal(str)
    lossless_requested = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        self._layers = LayerAxis("bottom")
        super().__init__(theme, self._layers, LOWEST, parent)
        self._tensors: list[TensorResult] = []
        self._measure = MEASURES[0]
        self._hidden_series: set[int] = set()
        self._scatters: dict[int, pg.ScatterPlotItem] = {}
        self._title_of = ""
        self.setObjectName("error_plot")
        self.chosen.connect(self.tensor_selected)
        self._build()
        theme.follow(self, self._restyle)

    # ------------------------------------------------------------ what is shown

    def set_result(self, result: QuantizeResult | CompareResult) -> ErrorPlot:
        """Shows the tensors of a result in layer order; returns itself."""
        self._tensors = in_layer_order(result.tensors)
        self._title_of = model_title(result.output if isinstance(result, QuantizeResult) else result.other)
        self._selected = ""
        self._hidden_series.clear()
        self._layers.set_tensors([place(t.name).layer for t in self._tensors])
        self._draw_all()
        return self

    def set_measure(self, key: str) -> None:
        """Plots another figure. Raises StopIteration for a key without a row in MEASURES."""
        self._choice.setCurrentIndex(next(i for i, row in enumerate(MEASURES) if row.key == key))

    @property
    def measure(self) -> Measure:
        """The figure that is plotted."""
        return self._measure

    def points(self) -> list[tuple[str, float]]:
        """(tensor name, value) of every point drawn, in layer order."""
        shown = [(t, self._measure.value(t)) for t in self._tensors if self._is_drawn(t)]
        return [(t.name, float(value)) for t, value in shown if value is not None]

    def lossless(self) -> list[str]:
        """Names of the tensors without any error, which are not on the axis."""
        return [t.name for t in self._tensors if _is_lossless(t)]

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the plot for CSV: every tensor in layer order with all measures, lossless ones included."""
        header = ["tensor", "layer", "module", *(measure.key for measure in MEASURES)]
        rows = []
        for t in self._tensors:
            where = place(t.name)
            rows.append([t.name, where.layer, where.name, *(measure.value(t) for measure in MEASURES)])
        return header, rows

    def reset_view(self) -> None:
        """Shows all points again."""
        box = self.plot.getPlotItem().getViewBox()
        box.autoRange(padding=0.04)
        # Points are drawn in pixels, and low plots would cut those at the edges.
        low, high = box.viewRange()[1]
        box.setYRange(low, high, padding=0.08)

    def scatter_items(self) -> list[pg.ScatterPlotItem]:
        """The drawn items, for vector export."""
        return [*self._scatters.values(), self._selection]

    # ------------------------------------------------------------ building

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(self._build_head())
        self._legend = QWidget()
        self._legend.setStyleSheet(LEGEND_STYLE)
        self._legend_flow = FlowLayout(self._legend, spacing=0)
        layout.addWidget(self._legend)
        layout.addWidget(self.plot, 1)
        foot = QHBoxLayout()
        foot.setSpacing(16)
        foot.addWidget(self.readout, 1)
        foot.addWidget(self._build_lossless())
        layout.addLayout(foot)

    def _build_head(self) -> QHBoxLayout:
        self._choice = QComboBox()
        self._choice.setObjectName("measure")
        for row in MEASURES:
            self._choice.addItem(translate("ErrorPlot", row.label), row.key)
        self._choice.currentIndexChanged.connect(self._measure_chosen)
        label = QLabel(translate("ErrorPlot", "&Measure"))
        label.setBuddy(self._choice)
        for control in (label, self._choice):
            control.setProperty(CONTROL, True)
        head = QHBoxLayout()
        head.addWidget(self.title, 1)
        head.addWidget(label)
        head.addWidget(self._choice)
        return head

    def _build_lossless(self) -> QPushButton:
        self._lossless = QPushButton()
        self._lossless.setObjectName("lossless")
        self._lossless.setProperty("link", "true")
        self._lossless.clicked.connect(self.lossless_requested)
        return self._lossless

    # ------------------------------------------------------------ drawing

    def _draw_all(self) -> None:
        self._build_legend()
        self._draw_points()
        self.say("")
        n = len(self.lossless())
        self._lossless.setVisible(n > 0)
        self._lossless.setText(
            translate("ErrorPlot", "{0} of {1} copied without loss (not drawn)").format(n, len(self._tensors))
        )
        self._lossless.setToolTip(translate("ErrorPlot", "Show them in the table"))

    def _draw_points(self) -> None:
        item = self.plot.getPlotItem()
        for scatter in self._scatters.values():
            item.removeItem(scatter)
        self._scatters = {}
        drawn = [(x, t) for x, t in enumerate(self._tensors) if self._is_drawn(t)]
        self.names = [t.name for _x, t in drawn]
        self.places = np.array([(x, self._height(t)) for x, t in drawn]).reshape(-1, 2)
        of_series = np.array([place(t.name).module.series for _x, t in drawn], dtype=int)
        for series in sorted(set(of_series.tolist())):
            self._scatters[series] = self._scatter(series, self.places[of_series == series])
            item.addItem(self._scatters[series])
        self._values.set_log(self._measure.log)
        self._restyle_plot()
        self.ring_again()
        self.reset_view()

    def _scatter(self, series: int, xy: np.ndarray) -> pg.ScatterPlotItem:
        scatter = pg.ScatterPlotItem(x=xy[:, 0], y=xy[:, 1], symbol=SYMBOLS[series], size=_SIZE, pxMode=True)
        scatter.setPen(self._pen(series))
        scatter.setBrush(self._brush(series))
        return scatter

    def _height(self, tensor: TensorResult) -> float:
        value = self._measure.value(tensor)
        assert value is not None
        return math.log10(value) if self._measure.log else value

    def _is_drawn(self, tensor: TensorResult) -> bool:
        return not _is_lossless(tensor) and place(tensor.name).module.series not in self._hidden_series

    def _pen(self, series: int) -> Any:
        color = self._theme.color(f"series{series}")
        return pg.mkPen(color.lighter(125) if self._theme.is_dark else color.darker(125), width=1)

    def _brush(self, series: int) -> QColor:
        color = QColor(self._theme.color(f"series{series}"))
        color.setAlphaF(0.75)
        return color

    def _build_legend(self) -> None:
        while self._legend_flow.count():
            taken = self._legend_flow.takeAt(0)
            if taken and taken.widget():
                taken.widget().deleteLater()
        present = {place(t.name).module.series for t in self._tensors if not _is_lossless(t)}
        for series in sorted(present):
            self._legend_flow.addWidget(self._legend_entry(series))
        self._legend.updateGeometry()

    def _legend_entry(self, series: int) -> QToolButton:
        button = QToolButton()
        button.setText(module_word(SERIES_LABELS[series]))
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        button.setCheckable(True)
        button.setChecked(series not in self._hidden_series)
        button.setProperty("series", series)
        button.setProperty("legend", "true")
        button.setToolTip(translate("ErrorPlot", "Show or hide these tensors"))
        button.setIconSize(QSize(12, 12))
        button.setIcon(self._symbol(series))
        button.toggled.connect(lambda shown, series=series: self._show_series(series, shown))
        return button

    def _symbol(self, series: int) -> QIcon:
        image = renderSymbol(SYMBOLS[series], 20, self._pen(series), pg.mkBrush(self._theme.color(f"series{series}")))
        return QIcon(QPixmap.fromImage(image))

    def _show_series(self, series: int, shown: bool) -> None:
        self._hidden_series ^= {series} if shown == (series in self._hidden_series) else set()
        self._draw_points()

    def _restyle(self) -> None:
        for series, scatter in self._scatters.items():
            scatter.setPen(self._pen(series))
            scatter.setBrush(self._brush(series))
        for button in self._legend.findChildren(QToolButton):
            button.setIcon(self._symbol(button.property("series")))
        self._restyle_plot()

    def _restyle_plot(self) -> None:
        item = self.plot.getPlotItem()
        muted = self._theme.color("muted").name()
        item.setLabel("left", translate("ErrorPlot", self._measure.axis), color=muted)
        item.setLabel("bottom", translate("ErrorPlot", "Layer, tensors in the order of the model"), color=muted)
        self._theme.style_plot(item)
        self.style_rings()
        self.title.setText(
            translate("ErrorPlot", "{0} of each tensor: {1}").format(
                translate("ErrorPlot", self._measure.label), self._title_of
            )
        )
        self.setAccessibleName(self.title.text())

    # ------------------------------------------------------------ pointing and choosing

    def _measure_chosen(self, index: int) -> None:
        self._measure = MEASURES[index]
        self._draw_points()
        self.say("")

    def words_of(self, name: str) -> str:
        """The exact figures of a tensor."""
        tensor = next((t for t in self._tensors if t.name == name), None)
        return readout(tensor) if tensor else translate("ErrorPlot", "Point at a tensor for its figures.")

    def stem(self) -> str:
        """The model and the figure."""
        return f"{self._title_of}-{self._measure.key}"


def _is_lossless(tensor: TensorResult) -> bool:
    return tensor.snr_db is None or tensor.rmse == 0


def readout(tensor: TensorResult) -> str:
    """One line with a tensor's name and exact figures."""
    snr = decibels(tensor.snr_db) + (" dB" if tensor.snr_db is not None else "")
    return translate(
        "ErrorPlot", "{0}   {1}, {2} bits   relative RMSE {3}   SNR {4}   RMSE {5}   max error {6}"
    ).format(
        tensor.name,
        tensor.type,
        text.bits(tensor.bpw),
        text.number(tensor.relative_rmse),
        snr,
        text.number(tensor.rmse),
        text.number(tensor.max_error),
    )
