"""What jobs are computed with: the threads and the device of the settings, and the GPUs that are there."""

from __future__ import annotations

import shutil
from typing import Any

from PySide6.QtCore import QObject, QProcess, QTimer, Signal

from app.settings import Settings
from core.estimate.machine import QUESTION, TOOL, computes_on_gpus, parse_gpus
from core.estimate.values import Gpu

INTERVAL_MS = 4000
# Fields of a job that say what it is computed with.
Fields = dict[str, Any]


class Computing(QObject):
    """Asks NVIDIA's own tool every few seconds, without waiting for it. Signals: changed() when an answer came.

    gpus: as the tool listed them last; none where there is no such tool or it fails. No library of the engine is loaded
    here, so whether jobs can use them is told from what is installed.
    """

    changed = Signal()

    def __init__(self, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.gpus: tuple[Gpu, ...] = ()
        self._settings = settings
        self._can_use = computes_on_gpus()
        self._tool = shutil.which(TOOL)
        self._process = QProcess(self)
        self._process.finished.connect(self._take)
        self._timer = QTimer(self, interval=INTERVAL_MS)
        self._timer.timeout.connect(self.refresh)
        if self._tool:
            self._timer.start()
            self.refresh()

    @property
    def has_cuda(self) -> bool:
        """Whether jobs can compute on a GPU."""
        return self._can_use and bool(self.gpus)

    @property
    def for_layers(self) -> Fields:
        """Of a job that runs a model's layers on a text: a GPU where there is one, unless the settings forbid it."""
        return self._with("cuda" if self.has_cuda and self._settings.value("device") != "cpu" else "cpu")

    @property
    def for_searches(self) -> Fields:
        """Of a job that searches the blocks of a file's types: the processor, unless the settings ask for the GPU."""
        return self._with("cuda" if self.has_cuda and self._settings.value("device") == "cuda" else "cpu")

    @property
    def on_processor(self) -> Fields:
        """Of a job that no GPU is used by."""
        return self._with("cpu")

    def _with(self, device: str) -> Fields:
        return {"threads": self._settings.value("threads"), "device": device}

    def refresh(self) -> None:
        """Asks, unless the last question is still open."""
        if self._tool and self._process.state() is QProcess.ProcessState.NotRunning:
            self._process.start(self._tool, list(QUESTION))

    def stop(self) -> None:
        """Asks no more."""
        self._timer.stop()
        self._process.kill()
        self._process.waitForFinished()

    def _take(self) -> None:
        answer = bytes(self._process.readAllStandardOutput().data()).decode("utf-8", "replace")
        self.gpus = parse_gpus(answer)
        self.changed.emit()
