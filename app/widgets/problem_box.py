"""An error inside a page: what happened, why, and what to do, in the place where it matters."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from app.models.window_words import report_in_window
from core.errors import ErrorReport


class ProblemBox(QFrame):
    """Hidden until it is given a report. Signals: fix_wanted() when the button that mends it is pressed.

    For tests: objectName `problem_fix` of the button.
    """

    fix_wanted = Signal()

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.setProperty("card", True)
        self.setObjectName("problem")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self._icon = QLabel()
        self._what, self._why, self._remedy = QLabel(), QLabel(), QLabel()
        self._what.setProperty("role", "section")
        self._why.setProperty("role", "muted")
        words = QVBoxLayout()
        words.setSpacing(4)
        for label in (self._what, self._why, self._remedy):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            words.addWidget(label)
        self._fix = QPushButton()
        self._fix.setObjectName("problem_fix")
        self._fix.clicked.connect(self.fix_wanted)
        self._fix.hide()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 12, 12, 12)
        layout.setSpacing(12)
        layout.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(words, 1)
        layout.addWidget(self._fix, 0, Qt.AlignmentFlag.AlignBottom)
        theme.follow(self, self._recolor)
        self._recolor()
        self.hide()

    def show_report(self, report: ErrorReport | None, fix: str = "") -> None:
        """Shows a report, or hides the box; fix: the words of a button that mends it, '' for none."""
        self.setVisible(report is not None)
        self._fix.setText(fix)
        self._fix.setVisible(bool(fix))
        if report is None:
            return
        report = report_in_window(report)
        remedy = "" if fix else report.remedy
        for label, words in ((self._what, report.what), (self._why, report.why), (self._remedy, remedy)):
            label.setText(f"{words[:1].upper()}{words[1:].rstrip('.')}." if words else "")
            label.setVisible(bool(words))
        self.setAccessibleName(self.text())

    def text(self) -> str:
        """All that is said, on one line."""
        return " ".join(label.text() for label in (self._what, self._why, self._remedy) if label.text())

    def _recolor(self) -> None:
        self._icon.setPixmap(self._theme.icon("error", "bad").pixmap(QSize(20, 20)))
