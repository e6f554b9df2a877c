"""A sentence with an icon in front and, where there is something to look at, a link behind it."""

from __future__ import annotations

from html import escape
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget


class NoteLine(QWidget):
    """Hidden while there is nothing to say. Signals: clicked() when the link is followed."""

    clicked = Signal()

    def __init__(self, theme: Any, icon: str, color: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme, self._drawn = theme, (icon, color)
        self._said = ("", "")
        self._icon, self._words = QLabel(), QLabel()
        self._words.setWordWrap(True)
        self._words.setTextFormat(Qt.TextFormat.RichText)
        self._words.setTextInteractionFlags(
            Qt.TextInteractionFlag.LinksAccessibleByMouse | Qt.TextInteractionFlag.LinksAccessibleByKeyboard
        )
        self._words.linkActivated.connect(lambda _link: self.clicked.emit())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self._words, 1)
        theme.follow(self, self._redraw)
        self._redraw()
        self.hide()

    def say(self, words: str, link: str = "") -> None:
        """Shows these words and the link's words; empty words hide the line."""
        self._said = (words, link)
        self.setAccessibleName(words)
        self.setVisible(bool(words))
        self._redraw()

    def text(self) -> str:
        """What is said, without the link."""
        return self._said[0]

    def _redraw(self) -> None:
        self._icon.setPixmap(self._theme.icon(*self._drawn).pixmap(QSize(16, 16)))
        words, link = self._said
        color = self._theme.color("accent").name()
        behind = f' <a href="#" style="color: {color}; text-decoration: none">{escape(link)}</a>' if link else ""
        self._words.setText(escape(words) + behind)
