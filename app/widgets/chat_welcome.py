"""What an empty chat shows: a sentence, and prompts to try."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from app.theme import Theme

ICON = 40
MAX_WIDTH = 440


class Welcome(QWidget):
    """suggested: a prompt that was clicked."""

    suggested = Signal(str)

    def __init__(self, theme: Theme, prompts: list[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._icon = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        heading = QLabel(self.tr("Ask the model something"), alignment=Qt.AlignmentFlag.AlignCenter)
        heading.setProperty("role", "section")
        self._sentence = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        self._sentence.setProperty("role", "muted")
        self._sentence.setWordWrap(True)
        self._sentence.setFixedWidth(MAX_WIDTH)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
        layout.addStretch(2)
        layout.addWidget(self._icon)
        layout.addWidget(heading)
        layout.addWidget(self._sentence, alignment=Qt.AlignmentFlag.AlignCenter)
        layout.addSpacing(8)
        self._buttons = [self._make_button(prompt) for prompt in prompts]
        for button in self._buttons:
            layout.addWidget(button, alignment=Qt.AlignmentFlag.AlignCenter)
        layout.addStretch(3)
        theme.follow(self, self._recolor)
        self._recolor()

    def set_sentence(self, words: str, prompts_work: bool) -> None:
        """What to do, and whether the prompts can be tried."""
        self._sentence.setText(words)
        for button in self._buttons:
            button.setVisible(prompts_work)

    def sentence(self) -> str:
        """The words shown."""
        return self._sentence.text()

    def _make_button(self, prompt: str) -> QPushButton:
        button = QPushButton(prompt)
        button.setFixedWidth(MAX_WIDTH)
        button.clicked.connect(lambda: self.suggested.emit(prompt))
        return button

    def _recolor(self) -> None:
        self._icon.setPixmap(self._theme.icon("chat", "muted").pixmap(QSize(ICON, ICON)))
