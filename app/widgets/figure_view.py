"""The frame of a view that shows one matrix of a checkpoint at a time: its name, its plots, its figures in a line."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.models.checkpoint_figures import FiguresModel
from app.models.names import model_title
from app.widgets.elided_label import ElidedLabel
from app.widgets.plot_export import CONTROL, export_menu
from core.jobs import QuantizeResult


class FigureView(QWidget):
    """Subclasses show `current` in `show_row` and say it in `words_of`. The arrow keys walk through the matrices.

    Signals: tensor_selected(str) when another matrix is reached with the arrow keys. `model` is the table twin.
    """

    tensor_selected = Signal(str)

    def __init__(self, theme: Any, name: str, model: FiguresModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.theme, self.model = theme, model
        model.setParent(self)
        self.current: Any = None
        self.setObjectName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._of = ""
        self._title = ElidedLabel()
        self._title.setProperty("role", "section")
        self._readout = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self._readout.setObjectName("readout")
        self._readout.setProperty(CONTROL, True)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(6)
        self._layout.addWidget(self._title)

    # ------------------------------------------------------------ what subclasses give

    def title_of(self, row: Any) -> str:
        """The heading for a matrix."""
        raise NotImplementedError

    def words_of(self, row: Any) -> str:
        """Its exact figures, on one line."""
        raise NotImplementedError

    def show_row(self, row: Any) -> None:
        """Draws it."""
        raise NotImplementedError

    def reset_view(self) -> None:
        """Shows all of the plots again."""
        raise NotImplementedError

    def compose(self, *plots: QWidget) -> None:
        """Puts the plots below the heading, one below the other."""
        for plot in plots:
            self._layout.addWidget(plot, 1)
        self._layout.addWidget(self._readout)

    # ------------------------------------------------------------ what others ask

    def set_result(self, result: QuantizeResult) -> FigureView:
        """Shows a result, beginning with the first matrix; returns itself."""
        self._of = model_title(result.output)
        self.model.set_result(result)
        self.current = None
        if self.model.rows:
            self.select(self.model.rows[0].name)
        return self

    def select(self, name: str) -> None:
        """Shows this matrix; of a name without figures the last stays. Emits nothing."""
        row = self.row_of(name)
        if row is None or row is self.current:
            return
        self.current = row
        self._title.setText(f"{self.title_of(row)}: {self._of}")
        self.setAccessibleName(self._title.text())
        self.setAccessibleDescription(self.words_of(row))
        self.show_row(row)
        self.say("")

    def row_of(self, name: str) -> Any:
        """The figures of a matrix, None where there are none."""
        at = self.model.row_of(name)
        return self.model.rows[at] if at >= 0 else None

    def say(self, words: str) -> None:
        """Says what is under the pointer, else the figures of the matrix."""
        self._readout.setText(words or (self.words_of(self.current) if self.current is not None else ""))

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The twin for CSV: all matrices."""
        return self.model.table()

    # ------------------------------------------------------------ Qt

    def open_menu(self, at: QPoint) -> None:
        """Export as PNG, SVG, CSV."""
        export_menu(self, f"{self._of}-{self.objectName()}").popup(at)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """The menu key; the right mouse button is handled by the plots."""
        if event.reason() == QContextMenuEvent.Reason.Keyboard:
            self.open_menu(self.mapToGlobal(self.rect().center()))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right walk through the matrices; Home resets the view."""
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step and self.current is not None:
            at = self.model.row_of(self.current.name) + step
            name = self.model.rows[at % len(self.model.rows)].name
            self.select(name)
            self.tensor_selected.emit(name)
        elif event.key() == Qt.Key.Key_Home:
            self.reset_view()
        else:
            super().keyPressEvent(event)
