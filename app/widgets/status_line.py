"""The thin line below: a message, the running job with percentage and time left, and the meters of memory."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QWidget

from app import text
from app.computing import Computing
from app.theme import Theme
from app.widgets.elided_label import ElidedLabel
from app.widgets.memory_meter import GpuMeter, MemoryMeter

HEIGHT = 28
MESSAGE_MS = 8000
NAME_WIDTH = 300


class StatusLine(QWidget):
    """Shows what is said for some seconds, and the running job for as long as it runs."""

    job_clicked = Signal()

    def __init__(self, theme: Theme, computing: Computing, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("statusLine")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(HEIGHT)
        self._message = ElidedLabel()
        self._message.setObjectName("statusMessage")
        self._job = QPushButton()
        self._job.setObjectName("statusJob")
        self._job.setToolTip(self.tr("Show the job"))
        self._job.clicked.connect(self.job_clicked)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedWidth(120)
        self._bar.setRange(0, 1000)
        self._bar.setAccessibleName(self.tr("Progress of the running job"))
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(lambda: self._message.setText(""))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 0, 12, 0)
        layout.setSpacing(8)
        layout.addWidget(self._message, 1)
        layout.addWidget(self._job)
        layout.addWidget(self._bar)
        layout.addSpacing(8)
        layout.addWidget(MemoryMeter(theme))
        layout.addWidget(GpuMeter(theme, computing))
        self.clear_job()

    def say(self, message: str, duration_ms: int = MESSAGE_MS) -> None:
        """Shows a message for a while."""
        self._message.setText(message)
        self._timer.start(duration_ms)

    def show_job(self, name: str, fraction: float, left_s: float | None) -> None:
        """Shows the running job: its name, the share done (0 to 1) and the seconds left where they are known."""
        shown = self.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, NAME_WIDTH)
        words = [shown, text.percent(fraction)]
        if left_s is not None:
            words.append(self.tr("{0} left").format(text.remaining(left_s)))
        self._job.setText("  ·  ".join(words))
        self._job.setToolTip(self.tr("Show the job: {0}").format(name))
        self._bar.setValue(round(1000 * fraction))
        self._job.show()
        self._bar.show()

    def clear_job(self) -> None:
        """No job runs."""
        self._job.hide()
        self._bar.hide()
