"""Before a quantization starts: one line that sums up, and behind it the checks and the memory to run the result."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from app.widgets.elided_label import ElidedLabel
from app.widgets.preflight_list import PreflightList, summary
from app.widgets.run_memory import RunMemory
from core.jobs import EstimateResult, PreflightResult

# Timing this computer takes a worker some seconds, so it waits until nothing has changed for a while.
PATIENCE_MS = 1500
DETAILS_HEIGHT = 200


class BeforeStart(QWidget):
    """Asks nothing itself: its owner brings the answers.

    Signals: timing_wanted() when the time is still unknown, opened(bool) when the details are shown or hidden.
    For tests: objectNames `before_start` (the line) and `before_details` (the button).
    """

    timing_wanted = Signal()
    opened = Signal(bool)

    def __init__(self, theme: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.result: PreflightResult | None = None
        self.checks = PreflightList(theme)
        self.memory = RunMemory(theme)
        self._line = ElidedLabel()
        self._line.setObjectName("before_start")
        self.button = QPushButton(self.tr("&Before you start"))
        self.button.setObjectName("before_details")
        self.button.setProperty("link", "true")
        self.button.setCheckable(True)
        self.button.setStyleSheet("QPushButton { padding: 0; min-height: 0; }")
        self._details = self._make_details()
        self._soon = QTimer(self, singleShot=True, interval=PATIENCE_MS)
        self._soon.timeout.connect(self.timing_wanted)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.button)
        line.addWidget(self._line, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(line)
        layout.addWidget(self._details)
        self.button.toggled.connect(self._details.setVisible)
        self.button.toggled.connect(self.opened)
        self.forget()

    def forget(self) -> None:
        """The choice is another: what was found belongs to the old one."""
        self._soon.stop()
        self.show_checks(None)
        self.memory.show_result(None)

    def show_checks(self, result: PreflightResult | None) -> None:
        """Shows what a preflight found, and has the time measured where it is missing."""
        self.result = result
        self.checks.show_result(result)
        if result is not None and result.worst != "error" and result.seconds is None:
            self._soon.start()
        self._sum_up()

    def show_memory(self, result: EstimateResult) -> None:
        """Shows what model and result take to run."""
        self.memory.show_result(result)
        self._sum_up()

    def text(self) -> str:
        """The line."""
        return str(self._line.text())

    def _sum_up(self) -> None:
        words = [summary(self.result)] if self.result else [self.tr("Checking…")]
        if self.memory.words.text():
            words.append(self.memory.words.text().splitlines()[-1].rstrip("."))
        self._line.setText(" · ".join(words))

    def _make_details(self) -> QWidget:
        inner = QWidget()
        inner.setProperty("transparent", True)
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(16)
        column.addWidget(self.checks)
        column.addWidget(self.memory)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        scroll.setMinimumHeight(DETAILS_HEIGHT)
        scroll.hide()
        return scroll
