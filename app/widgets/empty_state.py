"""What a page shows instead of an empty table: an icon, what to do in words, and buttons that do it."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.theme import Theme

ICON = 40
MAX_WIDTH = 420


class EmptyState(QWidget):
    """Centered in the room it is given."""

    def __init__(self, theme: Theme, icon: str, title: str, words: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._icon_name = icon
        self._icon = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        heading = QLabel(title, alignment=Qt.AlignmentFlag.AlignCenter)
        heading.setProperty("role", "section")
        self._sentence = sentence = QLabel(words, alignment=Qt.AlignmentFlag.AlignCenter)
        sentence.setProperty("role", "muted")
        sentence.setWordWrap(True)
        sentence.setMaximumWidth(MAX_WIDTH)
        sentence.setMinimumWidth(MAX_WIDTH)
        self._buttons = QHBoxLayout()
        self._buttons.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 24, 24, 24)
        layout.setSpacing(8)
        layout.addStretch(2)
        layout.addWidget(self._icon)
        layout.addWidget(heading)
        # A wrapped label that is aligned itself is given the height of fewer lines than it needs.
        middle = QHBoxLayout()
        middle.addStretch(1)
        middle.addWidget(sentence)
        middle.addStretch(1)
        layout.addLayout(middle)
        layout.addSpacing(8)
        layout.addLayout(self._buttons)
        layout.addStretch(3)
        theme.follow(self, self._recolor)
        self._recolor()

    def set_words(self, words: str) -> None:
        """Says something else below the title."""
        self._sentence.setText(words)

    def words(self) -> str:
        """What is said below the title."""
        return self._sentence.text()

    def add_button(self, words: str, on_click: Callable[[], None], *, primary: bool = False) -> QPushButton:
        """Adds a button below the words."""
        button = QPushButton(words)
        button.setProperty("primary", primary)
        button.clicked.connect(lambda: on_click())
        self._buttons.addWidget(button)
        return button

    def _recolor(self) -> None:
        self._icon.setPixmap(self._theme.icon(self._icon_name, "muted").pixmap(QSize(ICON, ICON)))
