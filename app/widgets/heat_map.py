"""SNR of every module in every layer as a heat map with a colour bar.

Importing this file imports pyqtgraph (its viridis map); pages do so only when the map is first shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QFont,
    QFontMetrics,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app.models.modules import in_layer_order, place
from app.models.modules import word as module_word
from app.models.names import model_title
from app.models.results import decibels
from app.widgets.elided_label import ElidedLabel
from app.widgets.plot_export import CONTROL, export_menu
from core.jobs import CompareResult, QuantizeResult, TensorResult

COLOR_MAP = "viridis"
_BAR_WIDTH, _TICKS = 14, 5


translate = QCoreApplication.translate


@dataclass(frozen=True, slots=True)
class Grid:
    """Tensors by (module name, layer); modules and layers in the model's order, lossless modules left out."""

    modules: tuple[str, ...]
    layers: tuple[int, ...]
    cells: dict[tuple[str, int], TensorResult]
    outside: tuple[TensorResult, ...]
    lossless: tuple[str, ...]

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest SNR in dB of all cells that have one."""
        values = [cell.snr_db for cell in self.cells.values() if cell.snr_db is not None]
        return (min(values), max(values)) if values else (0.0, 0.0)


def grid_of(tensors: tuple[TensorResult, ...]) -> Grid:
    """Arranges tensors by layer and module."""
    ordered = in_layer_order(tensors)
    inside = [(t, place(t.name)) for t in ordered if place(t.name).layer is not None]
    lossy = {where.name for t, where in inside if t.snr_db is not None}
    ranked = sorted({(where.rank, where.name) for _t, where in inside})
    return Grid(
        modules=tuple(name for _rank, name in ranked if name in lossy),
        layers=tuple(sorted({where.layer for _t, where in inside if where.layer is not None})),
        cells={(w.name, w.layer): t for t, w in inside if w.name in lossy and w.layer is not None},
        outside=tuple(t for t in ordered if place(t.name).layer is None and t.snr_db is not None),
        lossless=tuple(name for _rank, name in ranked if name not in lossy),
    )


class HeatMap(QWidget):
    """Layers across, modules down, SNR as colour: `HeatMap(theme).set_result(result)`.

    Cells without a value (no such tensor, or copied without loss) stay blank. Signals: tensor_selected(str).
    """

    tensor_selected = Signal(str)

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("heat_map")
        self._stem = ""
        self._title = ElidedLabel()
        self._title.setProperty("role", "section")
        self._readout = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self._readout.setObjectName("readout")
        self._readout.setProperty(CONTROL, True)
        self._note = QLabel()
        self._note.setProperty("role", "caption")
        self._map = _Map(theme, self)
        self._map.pointed.connect(self._say)
        self._map.chosen.connect(self._choose)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self._title)
        layout.addWidget(self._map, 1)
        foot = QHBoxLayout()
        foot.addWidget(self._readout, 1)
        foot.addWidget(self._note)
        layout.addLayout(foot)

    def set_result(self, result: QuantizeResult | CompareResult) -> HeatMap:
        """Shows a result; returns itself."""
        name = model_title(result.output if isinstance(result, QuantizeResult) else result.other)
        self._stem = f"{name}-snr-by-layer"
        self._title.setText(translate("HeatMap", "SNR by layer and module: {0}").format(name))
        self.setAccessibleName(self._title.text())
        self._map.set_grid(grid_of(result.tensors))
        self._note.setText(self._outside_words())
        self._say("")
        return self

    @property
    def grid(self) -> Grid:
        """What is shown."""
        return self._map.grid

    def select(self, name: str) -> None:
        """Frames the cell of this tensor, or no cell. Emits nothing."""
        self._map.set_selected(name)
        self._say(name)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin of the map for CSV: one row per layer, one column per module, SNR in dB or empty."""
        grid = self.grid
        cells = [[grid.cells.get((module, layer)) for module in grid.modules] for layer in grid.layers]
        rows = [[layer, *(c.snr_db if c else None for c in row)] for layer, row in zip(grid.layers, cells, strict=True)]
        return ["layer", *grid.modules], rows

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Export as PNG, SVG, CSV."""
        export_menu(self, self._stem).popup(event.globalPos())

    def _choose(self, name: str) -> None:
        self.select(name)
        self.tensor_selected.emit(name)

    def _say(self, name: str) -> None:
        tensor = next((cell for cell in self.grid.cells.values() if cell.name == name), None)
        if tensor is None:
            self._readout.setText(translate("HeatMap", "Point at a cell for its figures."))
            return
        from app.widgets.error_plot import readout

        self._readout.setText(readout(tensor))

    def _outside_words(self) -> str:
        grid = self.grid
        outside = ", ".join(f"{place(t.name).name} {decibels(t.snr_db)} dB" for t in grid.outside)
        parts = [translate("HeatMap", "Outside the layers: {0}").format(outside)] if outside else []
        if grid.lossless:
            parts.append(translate("HeatMap", "without loss: {0}").format(", ".join(grid.lossless)))
        return " · ".join(parts)


class _Map(QWidget):
    """The cells, axes and colour bar, painted; knows positions, not results."""

    pointed = Signal(str)
    chosen = Signal(str)

    def __init__(self, theme: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme
        self.grid = Grid((), (), {}, (), ())
        self._selected = self._hovered = ""
        self._colors: np.ndarray = pg.colormap.get(COLOR_MAP).getLookupTable(nPts=256)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(translate("HeatMap", "SNR by layer and module"))
        theme.follow(self, self.update)

    def set_grid(self, grid: Grid) -> None:
        self.grid = grid
        self._selected = self._hovered = ""
        self.update()

    def set_selected(self, name: str) -> None:
        self._selected = name
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(720, 300)

    def minimumSizeHint(self) -> QSize:
        return QSize(320, 150)

    # ------------------------------------------------------------ geometry

    def _caption(self) -> QFont:
        font = QFont(self.font())
        font.setPixelSize(11)
        return font

    def _labels(self) -> list[str]:
        return [f"{module_word(place(f'blk.0.{name}.weight').module.label)}  {name}" for name in self.grid.modules]

    def _area(self) -> QRectF:
        metrics = QFontMetrics(self._caption())
        left = max((metrics.horizontalAdvance(label) for label in self._labels()), default=0) + 10
        right = 24 + _BAR_WIDTH + 6 + metrics.horizontalAdvance("00.0 dB") + 4
        below = 2 * metrics.height() + 8
        return QRectF(left, 4, max(self.width() - left - right, 10), max(self.height() - below - 4, 10))

    def _cell(self, row: int, column: int) -> QRectF:
        area = self._area()
        width, height = area.width() / len(self.grid.layers), area.height() / len(self.grid.modules)
        gap = 1 if width > 5 else 0
        return QRectF(area.left() + column * width, area.top() + row * height, width - gap, height - gap)

    def _tensor_at(self, pos: QPointF) -> str:
        area, grid = self._area(), self.grid
        if not grid.modules or not area.contains(pos):
            return ""
        row = min(int((pos.y() - area.top()) / area.height() * len(grid.modules)), len(grid.modules) - 1)
        column = min(int((pos.x() - area.left()) / area.width() * len(grid.layers)), len(grid.layers) - 1)
        cell = grid.cells.get((grid.modules[row], grid.layers[column]))
        return cell.name if cell else ""

    def color_of(self, snr_db: float) -> QColor:
        """The colour of a value within the limits of the grid."""
        low, high = self.grid.limits
        share = (snr_db - low) / (high - low) if high > low else 0.5
        return QColor(*(int(channel) for channel in self._colors[round(share * 255)][:3]))

    # ------------------------------------------------------------ drawing

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(self._caption())
        if not self.grid.modules:
            painter.setPen(self._theme.color("muted"))
            nothing = translate(
                "HeatMap", "Every tensor in the layers was copied without loss: there is no error to show."
            )
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, nothing)
            return
        self._paint_cells(painter)
        self._paint_axes(painter)
        self._paint_color_bar(painter)

    def _paint_cells(self, painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        framed: list[tuple[QRectF, QColor]] = []
        for row, module in enumerate(self.grid.modules):
            for column, layer in enumerate(self.grid.layers):
                tensor = self.grid.cells.get((module, layer))
                if tensor is None or tensor.snr_db is None:
                    continue
                place_ = self._cell(row, column)
                painter.fillRect(place_, self.color_of(tensor.snr_db))
                if tensor.name in (self._selected, self._hovered):
                    framed.append((place_, self._theme.color("text")))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for frame, color in framed:
            painter.setPen(QPen(color, 2))
            painter.drawRect(frame.adjusted(-1, -1, 1, 1))

    def _paint_axes(self, painter: QPainter) -> None:
        painter.setPen(self._theme.color("muted"))
        area, height = self._area(), QFontMetrics(painter.font()).height()
        for row, label in enumerate(self._labels()):
            cell = self._cell(row, 0)
            line = QRectF(0, cell.top(), area.left() - 8, cell.height())
            painter.drawText(line, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, label)
        step = area.width() / len(self.grid.layers)
        every = next((n for n in (1, 2, 5, 10, 20) if n * step >= 22), 50)
        for column, layer in enumerate(self.grid.layers):
            if layer % every == 0:
                tick = QRectF(self._cell(0, column).center().x() - 20, area.bottom() + 4, 40, height)
                painter.drawText(tick, Qt.AlignmentFlag.AlignHCenter, str(layer))
        title = QRectF(area.left(), area.bottom() + 4 + height, area.width(), height + 2)
        painter.drawText(title, Qt.AlignmentFlag.AlignHCenter, translate("HeatMap", "Layer"))

    def _paint_color_bar(self, painter: QPainter) -> None:
        area, height = self._area(), QFontMetrics(painter.font()).height()
        bar = QRect(round(area.right()) + 24, round(area.top()), _BAR_WIDTH, round(area.height()))
        low, high = self.grid.limits
        for y in range(bar.height()):
            share = 1 - y / max(bar.height() - 1, 1)
            painter.fillRect(bar.left(), bar.top() + y, bar.width(), 1, self.color_of(low + share * (high - low)))
        painter.setPen(self._theme.color("muted"))
        for tick in range(_TICKS):
            share = tick / (_TICKS - 1)
            y = bar.bottom() - share * bar.height()
            y = min(max(y - height / 2, bar.top() - 2), bar.bottom() - height + 2)
            label = QRectF(bar.right() + 6, y, 60, height)
            painter.drawText(label, Qt.AlignmentFlag.AlignVCenter, f"{low + share * (high - low):.1f}")
        unit = QRectF(bar.left() - 20, area.bottom() + 4, bar.width() + 80, height)
        painter.drawText(unit, Qt.AlignmentFlag.AlignLeft, translate("HeatMap", "SNR, dB"))

    # ------------------------------------------------------------ pointing and choosing

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._hovered = self._tensor_at(event.position())
        self.pointed.emit(self._hovered or self._selected)
        self.update()

    def leaveEvent(self, _event: Any) -> None:
        self._hovered = ""
        self.pointed.emit(self._selected)
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        name = self._tensor_at(event.position())
        if event.button() == Qt.MouseButton.LeftButton and name:
            self.chosen.emit(name)
        else:
            super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1), Qt.Key.Key_Up: (-1, 0), Qt.Key.Key_Down: (1, 0)}
        step = steps.get(Qt.Key(event.key()))
        if step is None or not self.grid.modules:
            super().keyPressEvent(event)
            return
        selected = next((where for where, cell in self.grid.cells.items() if cell.name == self._selected), None)
        row = self.grid.modules.index(selected[0]) + step[0] if selected else 0
        column = self.grid.layers.index(selected[1]) + step[1] if selected else 0
        module = self.grid.modules[row % len(self.grid.modules)]
        cell = self.grid.cells.get((module, self.grid.layers[column % len(self.grid.layers)]))
        if cell:
            self.chosen.emit(cell.name)
