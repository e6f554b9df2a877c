"""Where the user writes: a field that grows with its text, and one button that sends or stops."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QPushButton, QWidget

MAX_LINES = 7


class Composer(QWidget):
    """sent: the text, which is then cleared. stopped: the user wants the answer to end."""

    sent = Signal(str)
    stopped = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.field = _Field()
        self.field.setAccessibleName(self.tr("Message"))
        self.field.setPlaceholderText(self.tr("Write a message"))
        self.field.setToolTip(self.tr("Enter sends, Shift+Enter begins a new line"))
        self.field.submitted.connect(self.send)
        self.field.textChanged.connect(self._refresh)
        self.button = QPushButton()
        self.button.setProperty("primary", True)
        self.button.clicked.connect(self._act)
        self._busy = False
        self._enabled = True
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self.field, 1)
        layout.addWidget(self.button, alignment=Qt.AlignmentFlag.AlignBottom)
        self.setFocusProxy(self.field)
        self._refresh()

    def set_busy(self, busy: bool) -> None:
        """While busy the button stops; the field can be written in all the time."""
        self._busy = busy
        self._refresh()

    def set_enabled(self, enabled: bool) -> None:
        """Whether there is somebody to send to."""
        self._enabled = enabled
        self._refresh()

    def send(self) -> None:
        """Sends what is written, if it may be sent now."""
        words = self.field.toPlainText().strip()
        if words and not self._busy and self._enabled:
            self.field.clear()
            self.sent.emit(words)

    def _act(self) -> None:
        if self._busy:
            self.stopped.emit()
        else:
            self.send()

    def _refresh(self) -> None:
        self.button.setText(self.tr("Stop") if self._busy else self.tr("Send"))
        self.button.setToolTip(self.tr("Esc") if self._busy else self.tr("Enter"))
        can_send = self._enabled and bool(self.field.toPlainText().strip())
        self.button.setEnabled(self._busy or can_send)


class _Field(QPlainTextEdit):
    """Enter submits, Shift+Enter begins a new line; grows up to MAX_LINES, then scrolls."""

    submitted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setTabChangesFocus(True)
        self.document().documentLayout().documentSizeChanged.connect(self._fit)
        self._fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter, alone, submits."""
        is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if is_enter and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.submitted.emit()
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another width may need other lines."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        # A plain text document measures its height in lines.
        needed = max(int(self.document().size().height()), 1)
        lines = min(needed, MAX_LINES)
        is_cut = needed > MAX_LINES
        policy = Qt.ScrollBarPolicy
        self.setVerticalScrollBarPolicy(policy.ScrollBarAsNeeded if is_cut else policy.ScrollBarAlwaysOff)
        frame = 2 * int(self.document().documentMargin()) + self.height() - self.viewport().height()
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + max(frame, 18))
