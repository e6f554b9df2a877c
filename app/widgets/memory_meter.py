"""Small meters of this computer's memory and of its GPUs': a bar and 'used of total' in GiB."""

from __future__ import annotations

import psutil
from PySide6.QtCore import QRectF, QTimer
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from app import text
from app.computing import Computing
from app.theme import Theme

INTERVAL_MS = 2000
WARN_SHARE = 0.85
FULL_SHARE = 0.95


class MemoryMeter(QWidget):
    """Reads the system's memory every two seconds while it is visible."""

    def __init__(self, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bar = _Bar(theme)
        self._label = QLabel()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self._bar)
        layout.addWidget(self._label)
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.refresh)
        self._timer.start()
        self.refresh()

    def refresh(self) -> None:
        """Reads the memory now."""
        memory = psutil.virtual_memory()
        used = memory.total - memory.available
        self._bar.set_share(used / memory.total)
        self._label.setText(self.tr("Memory {0} / {1} GiB").format(text.gib(used), text.gib(memory.total)))
        self.setToolTip(
            self.tr("{0} of this computer's memory are in use, {1} are free.").format(
                text.size(used), text.size(memory.available)
            )
        )


class GpuMeter(QWidget):
    """Shows what `computing` has found last; hidden where there is no GPU."""

    def __init__(self, theme: Theme, computing: Computing, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._computing = computing
        self._bar = _Bar(theme)
        self._label = QLabel()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self._bar)
        layout.addWidget(self._label)
        self.hide()
        computing.changed.connect(self._show)

    def words(self) -> str:
        """What is shown."""
        return self._label.text()

    def _show(self) -> None:
        gpus = self._computing.gpus
        self.setVisible(bool(gpus))
        if not gpus:
            return
        used, total = sum(gpu.total - gpu.free for gpu in gpus), sum(gpu.total for gpu in gpus)
        self._bar.set_share(used / total if total else 0)
        self._label.setText(self.tr("GPU {0} / {1} GiB").format(text.gib(used), text.gib(total)))
        lines = (
            self.tr("{0}: {1} of {2} in use").format(gpu.name, text.size(gpu.total - gpu.free), text.size(gpu.total))
            for gpu in gpus
        )
        self.setToolTip("\n".join(lines))


class _Bar(QWidget):
    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        self._share = 0.0
        self.setFixedSize(64, 6)
        theme.follow(self, self.update)

    def set_share(self, share: float) -> None:
        self._share = share
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self._theme.color("border"))
        painter.setBrush(self._theme.color("grid"))
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.drawRoundedRect(frame, 3, 3)
        name = "accent" if self._share < WARN_SHARE else "warn" if self._share < FULL_SHARE else "bad"
        painter.setBrush(self._theme.color(name))
        painter.setPen(self._theme.color(name))
        filled = QRectF(frame)
        filled.setWidth(max(self._share * frame.width(), frame.height()))
        painter.drawRoundedRect(filled, 3, 3)
        painter.end()
