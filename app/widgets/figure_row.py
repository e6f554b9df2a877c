"""Figures side by side: a small caption over a value each, wrapping where the page is narrow."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app.glossary import explain
from app.widgets.flow import FlowLayout


class FigureRow(QWidget):
    """Captions and values; `add` makes one, its label is set as facts change."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._flow = FlowLayout(self, spacing=12, line_spacing=8)

    def add(self, caption: str, term: str = "") -> QLabel:
        """A value with a caption, explained by a glossary entry where one is given; returns the value's label."""
        figure = QWidget()
        title, value = QLabel(caption), QLabel()
        title.setProperty("role", "caption")
        value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        value.setAccessibleName(caption)
        column = QVBoxLayout(figure)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(title)
        column.addWidget(value)
        if term:
            explain(figure, term)
        self._flow.addWidget(figure)
        return value

    def add_widget(self, caption: str, widget: QWidget, term: str = "") -> None:
        """A caption over any widget."""
        figure = QWidget()
        title = QLabel(caption)
        title.setProperty("role", "caption")
        column = QVBoxLayout(figure)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(title)
        column.addWidget(widget)
        if term:
            explain(title, term)
        self._flow.addWidget(figure)

    def sizeHint(self) -> QSize:
        """Height at the present width."""
        return QSize(600, self._flow.heightForWidth(max(self.width(), 300)))
