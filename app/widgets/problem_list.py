"""Files that could not be read, as a line that unfolds into a list of what is wrong with each."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from app.theme import Theme
from core.jobs import ScanProblem

SHOWN = 50


class ProblemList(QWidget):
    """Hidden while there is nothing to tell."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._head = QPushButton()
        self._head.setProperty("link", True)
        self._head.setCheckable(True)
        theme.decorate(self._head, "warning", "warn")
        self._list = QLabel()
        self._list.setWordWrap(True)
        self._list.setTextFormat(Qt.TextFormat.PlainText)
        self._list.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._list.hide()
        self._head.toggled.connect(self._list.setVisible)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._head, alignment=Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self._list)
        self.hide()

    def show_problems(self, problems: tuple[ScanProblem, ...]) -> None:
        """Lists these, or disappears."""
        count = len(problems)
        many = self.tr("{0} files could not be read").format(count)
        self._head.setText(self.tr("One file could not be read") if count == 1 else many)
        self._list.setText("\n".join(f"{problem.path}: {problem.problem}" for problem in problems[:SHOWN]))
        self.setVisible(bool(problems))

    def words(self) -> str:
        """What it lists."""
        return self._list.text()
