"""A quiet card with a heading, a sentence and a button: an offer that can be taken or left."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget


class HintCard(QFrame):
    """As wide as its place; the button stands at its right."""

    def __init__(self, title: str, words: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        heading = QLabel(title)
        heading.setProperty("role", "section")
        sentence = QLabel(words)
        sentence.setProperty("role", "muted")
        sentence.setWordWrap(True)
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addWidget(heading)
        column.addWidget(sentence)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(16, 12, 16, 12)
        self._row.setSpacing(16)
        self._row.addLayout(column, 1)

    def add_button(self, words: str, on_click: Callable[[], None]) -> QPushButton:
        """Adds a button at the right."""
        button = QPushButton(words)
        button.clicked.connect(lambda: on_click())
        self._row.addWidget(button)
        return button
