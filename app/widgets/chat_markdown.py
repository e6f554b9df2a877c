"""A model's answer as text that wraps and grows: Markdown without raw HTML, and nothing is ever fetched for it.

Model output is not trusted: tags are shown as they are, images are not loaded from anywhere, links cannot be clicked.
"""

from __future__ import annotations

import time

from PySide6.QtCore import QByteArray, QSize, Qt, QTimer, QUrl
from PySide6.QtGui import (
    QResizeEvent,
    QTextCursor,
    QTextDocument,
)
from PySide6.QtWidgets import QFrame, QSizePolicy, QTextEdit, QWidget

from app.theme import Theme
from app.widgets.chat_style import style

# Re-reading a long answer takes a while; at most this share of the time is spent on it.
INTERVAL_MS = 50
LOAD_FACTOR = 4
FEATURES = QTextDocument.MarkdownFeature.MarkdownDialectGitHub | QTextDocument.MarkdownFeature.MarkdownNoHTML


class MarkdownView(QTextEdit):
    """As high as its text. `append` is meant for streaming: the text is re-read a few times per second at most."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._source = ""
        self._is_rendering = False
        self.setObjectName("answerText")
        self.setReadOnly(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setStyleSheet("#answerText { border: none; background: transparent; padding: 0; }")
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.document().setDocumentMargin(0)
        self.document().documentLayout().documentSizeChanged.connect(self._fit)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._render)
        theme.follow(self, self._render)

    @property
    def source(self) -> str:
        """The text as the model wrote it."""
        return self._source

    def append_source(self, text: str) -> None:
        """Adds text; it is seen within a few tens of milliseconds."""
        self._source += text
        if not self._timer.isActive():
            self._timer.start()

    def set_source(self, text: str) -> None:
        """Replaces the text and shows it now."""
        self._source = text
        self._render()

    def loadResource(self, kind: int, name: QUrl) -> object:
        """Nothing is loaded, wherever it is."""
        return QByteArray()

    def sizeHint(self) -> QSize:
        """The width it has, and the height of its text."""
        return QSize(200, self._text_height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another width is another height."""
        super().resizeEvent(event)
        self._fit()

    def _render(self) -> None:
        started = time.perf_counter()
        selected = self.textCursor()
        anchor, position = selected.anchor(), selected.position()
        # Reading and styling change the size block by block; only the last of these sizes counts.
        self._is_rendering = True
        self.document().setMarkdown(self._source, FEATURES)
        style(self.document(), self._theme)
        self._is_rendering = False
        if anchor != position:
            self._select(anchor, position)
        self._fit()
        self._timer.setInterval(max(INTERVAL_MS, int((time.perf_counter() - started) * 1000 * LOAD_FACTOR)))

    def _select(self, anchor: int, position: int) -> None:
        last = self.document().characterCount() - 1
        cursor = self.textCursor()
        cursor.setPosition(min(anchor, last))
        cursor.setPosition(min(position, last), QTextCursor.MoveMode.KeepAnchor)
        self.setTextCursor(cursor)

    def _text_height(self) -> int:
        return max(int(self.document().size().height() + 0.999), self.fontMetrics().height())

    def _fit(self) -> None:
        height = self.height() if self._is_rendering else self._text_height()
        if height != self.height():
            self.setFixedHeight(height)
