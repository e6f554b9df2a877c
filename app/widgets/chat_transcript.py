"""The conversation from top to bottom: each prompt, and below it the answers side by side."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from app.theme import Theme
from app.widgets.chat_answer import Answer, Prompt

WIDTHS = {1: 760, 2: 1400}
# At the right of the conversation, for the scroll bar: its coming and going must not move the text.
MARGIN = 12
# A prompt takes at most this share of the width.
PROMPT_SHARE = 0.8
NEAR_END = 40


class Exchange(QWidget):
    """One prompt (none, where something is reported without having been asked) and its answers, as columns."""

    def __init__(self, theme: Theme, prompt: str, names: list[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.answers = [Answer(theme, name) for name in names]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        self._prompt = Prompt(theme, prompt) if prompt else None
        if self._prompt:
            layout.addWidget(self._prompt, alignment=Qt.AlignmentFlag.AlignRight)
        columns = QHBoxLayout()
        columns.setSpacing(16)
        for answer in self.answers:
            answer.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            columns.addWidget(answer, 1)
        layout.addLayout(columns)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The prompt's bubble is as wide as its words, within its share."""
        super().resizeEvent(event)
        if self._prompt:
            self._prompt.fit(int(self.width() * PROMPT_SHARE))


class Transcript(QScrollArea):
    """Keeps to the end while text comes in, unless the user has scrolled away from it."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.exchanges: list[Exchange] = []
        self._at_end = True
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._column = QWidget()
        self._lines = QVBoxLayout(self._column)
        self._lines.setContentsMargins(0, 8, 0, 8)
        self._lines.setSpacing(24)
        self._lines.addStretch(1)
        body = QWidget()
        body.setProperty("transparent", True)
        sides = QHBoxLayout(body)
        self._sides = sides
        sides.setContentsMargins(0, 0, MARGIN, 0)
        sides.addStretch(1)
        sides.addWidget(self._column, 1000)
        sides.addStretch(1)
        self.setWidget(body)
        bar = self.verticalScrollBar()
        bar.rangeChanged.connect(self._follow)
        bar.valueChanged.connect(self._remember)

    def add(self, prompt: str, names: list[str]) -> Exchange:
        """Appends an exchange and scrolls to it."""
        exchange = Exchange(self._theme, prompt, names)
        self._column.setMaximumWidth(WIDTHS[len(names)])
        self.exchanges.append(exchange)
        self._lines.insertWidget(self._lines.count() - 1, exchange)
        self._at_end = True
        return exchange

    def clear(self) -> None:
        """Removes all exchanges."""
        for exchange in self.exchanges:
            self._lines.removeWidget(exchange)
            exchange.hide()
            exchange.deleteLater()
        self.exchanges = []

    def _follow(self, lowest: int, highest: int) -> None:
        self._sides.setContentsMargins(0, 0, 0 if highest > lowest else MARGIN, 0)
        if self._at_end:
            self.verticalScrollBar().setValue(highest)

    def _remember(self, value: int) -> None:
        self._at_end = value >= self.verticalScrollBar().maximum() - NEAR_END
