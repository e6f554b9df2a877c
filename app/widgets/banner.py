"""A line above the pages for something that should be read: words, one action, and a button that puts it away."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QToolButton, QWidget

from app.theme import Theme


class Banner(QWidget):
    """Hidden until `show_message`."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("banner")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._words = QLabel()
        self._words.setWordWrap(True)
        self._action = QPushButton()
        self._action.clicked.connect(self._act)
        self._on_action: Callable[[], None] = self.hide
        close = QToolButton()
        close.setAccessibleName(self.tr("Close this message"))
        close.setToolTip(self.tr("Close this message"))
        close.clicked.connect(self.hide)
        theme.decorate(close, "close", "muted")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 6, 8, 6)
        layout.addWidget(self._words, 1)
        layout.addWidget(self._action)
        layout.addWidget(close)
        self.hide()

    def show_message(self, words: str, action: str, on_action: Callable[[], None]) -> None:
        """Shows the words and one button named `action`."""
        self._words.setText(words)
        self._action.setText(action)
        self._on_action = on_action
        self.show()

    def words(self) -> str:
        """What it says."""
        return self._words.text()

    def _act(self) -> None:
        self._on_action()
